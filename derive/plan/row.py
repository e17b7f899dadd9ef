"""Plan row: reductions along the last axes and every map that shares their rows.

A row is worked on by the threads of a warp or less, or of a block; each keeps its own running value, and the threads
combine at the end of a phase.  A phase is one loop over the row: the reductions whose bodies are known by then, and
the maps that can be stored by then.
"""

from __future__ import annotations

from derive import expr as E
from derive.expr import Expr, Where
from derive.plan import ir
from derive.plan.context import Context
from derive.plan.group import Group, Task
from derive.plan.ir import REAL, Local, Scalar
from derive.plan.lower import Scope
from derive.plan.records import Kernel, Launch, Phase, Row
from derive.plan.spell import statement
from derive.plan.terms import local_name
from derive.program import Statement


def row_kernels(group: Group, context: Context, stored: set[str], name: str, accumulate: set[str]) -> list[Kernel]:
    """One kernel over the rows of `group.domain`, with elements `group.inner`."""
    names = context.namer.child()
    row = context.counter(group.domain, "row", names)
    element = context.counter(group.inner, "element", names)
    scope = context.scope((group.domain, row), (group.inner, element))
    context.decode(scope, group.domain, row)
    tasks = _written_out(group)
    levels = _levels(tasks, group)
    last = max((levels[t.name] + (_elementwise(t, group) and t.name in stored) for t in tasks), default=0)
    start = tuple(scope.stmts)
    phases: list[Phase] = []
    heads: list[ir.Stmt] = list(start)
    scope.stmts = []
    _rows(scope, tasks, levels, 0, group, stored, accumulate)
    heads += scope.stmts
    for level in range(1, last + 1):
        inside = [t for t in tasks if levels[t.name] == level and t.op is not None]
        maps = [t for t in tasks if levels[t.name] == level - 1 and _elementwise(t, group) and t.name in stored]
        scope.stmts = []
        locals_ = [scope.namer.fresh(local_name(t.name)) for t in inside]
        inner = scope.child()
        context.decode(inner, group.inner, element)
        inner.share([*(t.body for t in maps), *(t.body for t in inside), *(t.statement.target for t in maps)])
        for t in maps:
            inner.define(_as_statement(t), True, t.name in accumulate)
        totals = []
        for t, local in zip(inside, locals_, strict=True):
            assert t.op is not None
            totals.append((local, t.op))
            accumulate_into(inner, t.body, local, t.op)
            scope.memo[t.statement.target] = Local(REAL, local)
        after = _after(scope, inside, tasks, levels, level, group, stored, accumulate)
        phases.append(Phase(tuple(totals), tuple(inner.stmts), after))
    return [_kernel(group, context, name, row, element, tuple(heads), phases, stored, accumulate)]


def _kernel(
    group: Group,
    context: Context,
    name: str,
    row: str,
    element: str,
    head: ir.Block,
    phases: list[Phase],
    stored: set[str],
    accumulate: set[str],
) -> Kernel:
    rows, count = context.count(group.domain), context.count(group.inner)
    live: frozenset[str] = frozenset()
    kept: list[Phase] = []
    for p in reversed(phases):
        after = ir.prune(p.after, live)
        body = ir.prune(p.body, live | ir.names_in(after))
        kept.append(Phase(p.totals, body, after))
        live |= ir.names_in(after) | ir.names_in(body)
    head = ir.prune(head, live)
    used = live | ir.names_in(head)
    written = {context.buffers[n].name for n in stored}
    return Kernel(
        name=name,
        plan="row",
        computes=tuple(statement(t.statement) for t in group.tasks),
        reads=context.reads(set(used), written),
        writes=tuple(b for b in context.buffers.values() if b.name in written),
        sizes=context.used_sizes(set(used) | set(rows.split("*")) | set(count.split("*"))),
        shape=Row(row, rows, element, count, head, tuple(reversed(kept))),
        launch=Launch((f"row_blocks({rows}, {count})", "1", "1"), (f"*row_threads({count})", "", "1")),
        accumulates=bool(accumulate & stored),
    )


def _as_statement(t: Task) -> Statement:
    return Statement(t.name, t.statement.indices, t.body)


def _elementwise(t: Task, group: Group) -> bool:
    return t.op is None and len(t.statement.indices) > len(group.domain)


def _written_out(group: Group) -> list[Task]:
    """Tasks with the maps over elements written into those that read them: a later phase computes them again."""
    known: dict[Expr, Expr] = {}
    out = []
    for t in group.tasks:
        body = E.transform(t.body, lambda x: known.get(x, x))
        out.append(Task(t.statement, t.op, body))
        if _elementwise(t, group):
            known[t.statement.target] = body
    return out


def _levels(tasks: list[Task], group: Group) -> dict[str, int]:
    """The phase after which each task's value is known: 0 before any."""
    levels: dict[str, int] = {}
    for t in tasks:
        need = max((levels.get(x, 0) for x in E.tensors(t.body)), default=0)
        levels[t.name] = need + (t.op is not None)
    return levels


def _rows(
    scope: Scope,
    tasks: list[Task],
    levels: dict[str, int],
    level: int,
    group: Group,
    stored: set[str],
    accumulate: set[str],
) -> None:
    """Maps over rows that are known after `level` phases."""
    maps = [t for t in tasks if t.op is None and not _elementwise(t, group) and levels[t.name] == level]
    scope.share([*(t.body for t in maps), *(t.statement.target for t in tasks), *(t.statement.target for t in tasks)])
    for t in maps:
        scope.define(_as_statement(t), False)
    _store(scope, [t for t in maps if t.name in stored], accumulate)


def _store(scope: Scope, tasks: list[Task], accumulate: set[str]) -> None:
    """One thread of the row stores what belongs to the row."""
    inner = scope.child()
    for t in tasks:
        inner.store(t.statement, t.name in accumulate)
    if inner.stmts:
        scope.stmts.append(ir.If(Local(ir.BOOL, "writer"), tuple(inner.stmts)))


def _after(
    scope: Scope,
    inside: list[Task],
    tasks: list[Task],
    levels: dict[str, int],
    level: int,
    group: Group,
    stored: set[str],
    accumulate: set[str],
) -> ir.Block:
    _store(scope, [t for t in inside if t.name in stored], accumulate)
    _rows(scope, tasks, levels, level, group, stored, accumulate)
    return tuple(scope.stmts)


def accumulate_into(inner: Scope, body: Expr, local: str, op: str) -> None:
    if op == "sum" and isinstance(body, Where) and body.other is E.ZERO:
        cond, then = inner.cond(body.cond), inner.child()
        then.share([body.then])
        accumulate_into(then, body.then, local, op)
        inner.stmts.append(ir.If(cond, tuple(then.stmts)))
        return
    value: Scalar = inner.real(body)
    if op == "sum":
        inner.stmts.append(ir.Assign(local, ir.Binary(REAL, "+", Local(REAL, local), value)))
    else:
        pick = "fmax" if op == "max" else "fmin"
        inner.stmts.append(ir.Assign(local, ir.Apply(REAL, pick, (Local(REAL, local), value))))
