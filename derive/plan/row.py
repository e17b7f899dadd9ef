"""Plan row: reductions along the last axes, every map that shares their rows, and sums over these rows.

A row is worked on by the threads of a warp or less, or of a block; each keeps its own running value, and the threads
combine at the end of a phase.  A phase is one loop over the row: the reductions whose bodies are known by then, and
the maps that can be stored by then.  What two phases read is read once and kept in shared memory, where each thread
finds what it has put there itself; only a row that does not fit is read again.  A thread takes as many neighbours at
a time as 16 bytes hold, and reads and writes them at once where the row lies so.

Beside sums over rows (dgamma of a normalisation), each block goes over many rows and keeps a partial sum of each
column; a second kernel adds these up.  Partial sums pass through memory twice, so a block takes as many rows as keep
them below a twenty-fifth of what the rows move.
"""

from __future__ import annotations

from dataclasses import replace

from derive import expr as E
from derive.expr import Expr, Get, Index, Where
from derive.plan import ir
from derive.plan.context import Context
from derive.plan.group import Group, Task
from derive.plan.ir import BOOL, INT, REAL, Local
from derive.plan.lower import Scope
from derive.plan.merge import COLUMN, ELEMENT, ROW, level
from derive.plan.packs import packs
from derive.plan.partial import accumulate_into, combine, partial_buffers
from derive.plan.records import Kernel, Launch, Phase, Row
from derive.plan.settle import settle
from derive.plan.spell import statement, term
from derive.plan.terms import local_name
from derive.simplify.names import presentable

SPARE = 25  # partial sums may move one byte for so many of the rows
TEAM = (8, 512)  # elements a thread and threads a block where a few blocks go over all rows


def row_kernels(group: Group, context: Context, stored: set[str], name: str, accumulate: set[str]) -> list[Kernel]:
    """One kernel over the rows of `group.domain`, with elements `group.inner`; another for sums over rows."""
    return _Rows(group, context, stored, name, accumulate).kernels()


class _Rows:
    def __init__(self, group: Group, context: Context, stored: set[str], name: str, accumulate: set[str]) -> None:
        self.group, self.context, self.stored = group, context, stored
        self.name, self.accumulate = name, accumulate
        names = context.namer.child()
        self.row = context.counter(group.domain, "row", names)
        self.element = context.counter(group.inner, "element", names)
        self.rows, self.count = context.count(group.domain), context.count(group.inner)
        self.tasks = [t for t in group.tasks if level(t, group) != COLUMN]
        self.sums = [t for t in group.tasks if level(t, group) == COLUMN and t.op is not None]
        self.known = self._known()
        self.chunks = f"row_chunks({self.rows}, {self.count}, {self._share()})"
        self.partial = partial_buffers(self.sums, context, self.chunks, self.count)
        self.scope = context.scope((group.domain, self.row), (group.inner, self.element))
        self.arrays: dict[Expr, str] = {}  # what is kept, and the array that holds it
        self.runs: dict[tuple[str, ir.Scalar], str] = {}  # (buffer, offset) and the local of a run
        self.columns = {t.name: self.scope.namer.fresh(f"{t.name}_part") for t in self.sums}

    def kernels(self) -> list[Kernel]:
        scope = self.scope
        self.context.decode(scope, self.group.domain, self.row)
        parts = self._parts()
        integers = {n for n, b in self.context.buffers.items() if b.dtype == "ids"}
        kept = _kept([[t.body for t in part] for part in parts], self.group, integers)
        for x in kept:
            wish = local_name(x.tensor) if isinstance(x, Get) else "value"
            self.arrays[x] = scope.namer.fresh(f"{wish}_row", ours=True)
        start, scope.stmts = tuple(scope.stmts), []
        self._at_level(0)
        self._settle(parts[:1])
        head, phases = (*start, *scope.stmts), []
        filled: set[Expr] = set()
        for n, part in enumerate(parts, start=1):
            scope.stmts = []
            phase = self._phase(n, part, filled)
            self._settle(parts[n : n + 1])
            phases.append(replace(phase, after=tuple(scope.stmts)))
        found = [self._kernel(head, phases)]
        if self.sums:
            made = {t.name for t in self.group.tasks if level(t, self.group) == COLUMN}
            found.append(
                combine(
                    self.group,
                    self.group.inner,
                    self.context,
                    self.stored & made,
                    self.context.namer.fresh(f"{self.name}_sum"),
                    self.accumulate,
                    self.partial,
                    self.chunks,
                )
            )
        return found

    # ------------------------------------------------------------------------------------------ phases

    def _known(self) -> dict[str, int]:
        """The phase after which each task's value is known: 0 before any."""
        known: dict[str, int] = {}
        for t in (*self.tasks, *self.sums):
            need = max((known.get(x, 0) for x in E.tensors(t.body)), default=0)
            known[t.name] = need + (t.op is not None)
        return known

    def _parts(self) -> list[list[Task]]:
        """What each phase does: its reductions, the maps that it stores, and the maps over elements that these read."""
        last = max(self.known.values(), default=0)
        parts: list[list[Task]] = []
        for n in range(1, last + 2):
            due = {t.name for t in (*self.tasks, *self.sums) if t.op is not None and self.known[t.name] == n}
            due |= {t.name for t in self._maps(n)}
            if not due:
                continue
            for t in reversed(self.tasks):
                if level(t, self.group) == ELEMENT and any(
                    t.name in E.tensors(x.body) for x in (*self.tasks, *self.sums) if x.name in due
                ):
                    due.add(t.name)
            parts.append([t for t in (*self.tasks, *self.sums) if t.name in due])
        return parts

    def _maps(self, phase: int) -> list[Task]:
        """The maps over elements that a phase stores."""
        return [
            t
            for t in self.tasks
            if level(t, self.group) == ELEMENT and t.name in self.stored and self.known[t.name] == phase - 1
        ]

    def _phase(self, n: int, part: list[Task], filled: set[Expr]) -> Phase:
        scope, group = self.scope, self.group
        inside = [t for t in part if t.op is not None and level(t, group) == ROW]
        maps = [t for t in part if t.op is None]
        locals_ = {t.name: scope.namer.fresh(local_name(t.name, t.name in self.stored)) for t in inside}
        inner = scope.child()
        self.context.decode(inner, group.inner, self.element)
        inner.share([*(t.body for t in part), *(t.statement.target for t in maps)])
        self._recall(inner, [t.body for t in part], filled)
        storing = {t.name for t in self._maps(n)}
        for t in part:
            if t.op is None:
                inner.define(t.statement, t.name in storing, t.name in self.accumulate)
            elif t.name in locals_:
                accumulate_into(inner, t.body, locals_[t.name], t.op)
            else:
                accumulate_into(inner, t.body, f"{self.columns[t.name]}[at]", t.op)
        for t in inside:
            scope.memo[t.statement.target] = Local(REAL, locals_[t.name])
        self._store([t for t in inside if t.name in self.stored])
        self._at_level(n)
        return Phase(tuple((locals_[t.name], t.op) for t in inside if t.op), tuple(inner.stmts), ())

    def _settle(self, parts: list[list[Task]]) -> None:
        """Before a phase: what none of its elements changes."""
        for t in (t for part in parts for t in part):
            settle(self.scope, t.body, frozenset(self.group.inner))

    def _recall(self, inner: Scope, bodies: list[Expr], filled: set[Expr]) -> None:
        """Locals for what is kept: read from memory and put away by the first phase, found again by the others."""
        read = {x for b in bodies for x in E.subterms(b)}
        for x, array in self.arrays.items():
            if x not in read:
                continue
            local = inner.namer.fresh(array.removesuffix("_row"))
            place = ir.Load(REAL, array, Local(INT, "at"))
            branch = inner.child()
            branch.shared -= {x}
            value = branch.real(x)
            if x not in filled:
                inner.namer.reserve(branch.namer.taken)
                inner.memo |= branch.memo
                inner.stmts += [
                    *branch.stmts,
                    ir.Let(local, value),
                    ir.If(Local(BOOL, "held"), (ir.Store(array, place.offset, Local(REAL, local)),)),
                ]
                filled.add(x)
            elif branch.stmts:
                again = (*branch.stmts, ir.Assign(local, value))
                inner.stmts.append(ir.Declare(local, None))
                inner.stmts.append(ir.If(Local(BOOL, "held"), (ir.Assign(local, place),), again))
            else:
                inner.stmts.append(ir.Let(local, ir.Choose(REAL, Local(BOOL, "held"), place, value)))
            inner.memo[x] = Local(REAL, local)

    def _at_level(self, n: int) -> None:
        """Maps over rows that are known after `n` phases."""
        maps = [t for t in self.tasks if t.op is None and level(t, self.group) == ROW and self.known[t.name] == n]
        targets = [t.statement.target for t in self.tasks]
        self.scope.share([*(t.body for t in maps), *targets, *targets])
        for t in maps:
            self.scope.define(t.statement, False)
        self._store([t for t in maps if t.name in self.stored])

    def _store(self, tasks: list[Task]) -> None:
        """One thread of the row stores what belongs to the row."""
        inner = self.scope.child()
        for t in tasks:
            inner.store(t.statement, t.name in self.accumulate)
        if inner.stmts:
            self.scope.stmts.append(ir.If(Local(BOOL, "writer"), tuple(inner.stmts)))

    # ------------------------------------------------------------------------------------------ the kernel

    def _kernel(self, head: ir.Block, phases: list[Phase]) -> Kernel:
        group, context = self.group, self.context
        live: frozenset[str] = frozenset()
        kept: list[Phase] = []
        for p in reversed(phases):
            after = ir.prune(p.after, live)
            body = ir.prune(p.body, live | ir.names_in(after))
            kept.append(Phase(p.totals, body, after, packs(body, self.element, context, self.scope.namer, self.runs)))
            live |= ir.names_in(after) | ir.names_in(body)
        head = ir.prune(head, live)
        used = live | ir.names_in(head)
        mine = [t for t in group.tasks if level(t, group) != COLUMN or t.op is not None]
        written = {context.buffers[t.name].name for t in self.tasks if t.name in self.stored}
        sizes = context.used_sizes(set(used) | set(self.rows.split("*")) | set(self.count.split("*")))
        held = context.wide * (len(self.arrays) + len(self.sums))  # bytes kept an element
        names = {i: shown.name for i, shown in zip(group.space, presentable(group.space), strict=True)}
        lanes = context.lanes if any(p.packs for p in kept) else 1
        given = (held, lanes, *TEAM) if self.sums else (held, lanes) if lanes > 1 else (held,) if held else ()
        cut = ", ".join((self.count, *map(str, given)))
        shared = f"row_shared({cut})"
        return Kernel(
            name=self.name,
            plan="row",
            computes=tuple(
                statement(t.statement) + (", of each block's rows" if level(t, group) == COLUMN else "") for t in mine
            ),
            reads=context.reads(set(used), written),
            writes=(*(b for b in context.buffers.values() if b.name in written), *self.partial.values()),
            sizes=(*sizes, f"shared={shared}") if held else sizes,
            shape=Row(
                self.row,
                self.rows,
                self.element,
                self.count,
                head,
                tuple(reversed(kept)),
                tuple((array, term(x, names=names)) for x, array in self.arrays.items()),
                tuple((self.columns[t.name], t.op or "", self.partial[t.name].name) for t in self.sums),
                lanes,
            ),
            launch=Launch(
                (self.chunks if self.sums else f"row_blocks({self.rows}, {cut})", "1", "1"),
                (f"*row_threads({cut})", "", "1"),
                shared if held else "0",
            ),
            accumulates=bool(self.accumulate & self.stored & {t.name for t in self.tasks}),
            statements=tuple(t.statement for t in mine),
        )

    def _share(self) -> int:
        """Rows a block, so that partial sums, written and read, move little beside the rows."""
        space = set(self.group.space)
        moved = {t.name for t in self.group.tasks if t.name in self.stored and set(t.statement.indices) == space}
        made = self.group.made
        for t in self.group.tasks:
            moved |= {x.tensor for x in E.subterms(t.body) if isinstance(x, Get) and set(x.subs) >= space} - made
        bytes_ = sum(self.context.item(n) for n in moved)
        return -(-2 * SPARE * self.context.wide * len(self.sums) // max(bytes_, 1))


def _kept(phases: list[list[Expr]], group: Group, integers: set[str]) -> list[Expr]:
    """What is worth keeping of a row: accesses, and choices between accesses, that several phases read.

    The first of these phases must read it without condition. Entries of integer tensors are read again.
    """
    every = [list(dict.fromkeys(x for body in bodies for x in E.subterms(body))) for bodies in phases]
    found: list[Expr] = []
    for x in reversed(list(dict.fromkeys(x for terms in every for x in terms))):
        if not _of_row(x, group, integers):
            continue
        readers = [n for n, bodies in enumerate(phases) if any(x in _outside(b, found) for b in bodies)]
        if len(readers) > 1 and any(x in _sure(b) for b in phases[readers[0]]):
            found.append(x)
    return found[::-1]


def _of_row(x: Expr, group: Group, integers: set[str]) -> bool:
    """Whether `x` is an element of memory that belongs to one row, or a choice that reads one."""
    if isinstance(x, Where):
        inside = E.subterms(x)
        return not group.made & set(E.tensors(x)) and any(
            isinstance(g, Get) and _of_row(g, group, integers) for g in inside
        )
    if not isinstance(x, Get) or x.tensor in group.made or x.tensor in integers:
        return False
    plain = all(isinstance(s, Index) for s in x.subs)
    return plain and x.free >= set(group.domain) and bool(x.free & set(group.inner))


def _outside(e: Expr, found: list[Expr]) -> set[Expr]:
    """The sub-terms of `e` that stand outside of what is kept already."""
    if e in found:
        return set()
    return {e}.union(*(_outside(c, found) for c in e.children))


def _sure(e: Expr) -> set[Expr]:
    """The sub-terms of `e` that are evaluated whatever its conditions say."""
    if isinstance(e, Where):
        return {e} | _sure(e.cond)
    return {e}.union(*(_sure(c) for c in e.children))
