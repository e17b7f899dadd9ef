"""Plan scatter: Σ_t where(v == ids[t], ...), the adjoint of a gather, without atomics.

The places t are sorted by the row that they add to, in chunks that fit in shared memory, so that each row's sum runs
over its own places in a fixed order: the same bits at every run.  The order is kept in 16 bits a place, with an index
of T/4096 by V/8 starts for T places and V rows.

Rows are taken in tiles of 8.  Most tiles of a long table have few places, and often none: each row of such a tile is
summed and written by one line of threads, as many neighbours a thread as 16 bytes hold.  An element of another tile is
summed by 8 threads or more, each over its share of the chunks, and 64 neighbours in the order that add to one row are
summed beforehand: a thread adds up at most T/(8*64) parts of a row that holds all places, and of every chunk that falls
to it less than 128 single places a row.
"""

from __future__ import annotations

from dataclasses import replace

from derive import expr as E
from derive.expr import Index
from derive.plan import ir
from derive.plan.context import Context
from derive.plan.group import Group
from derive.plan.ir import REAL, Local
from derive.plan.lower import Scope
from derive.plan.packs import packs
from derive.plan.records import Buffer, Kernel, Launch
from derive.plan.scatter.keys import Keys
from derive.plan.scatter.shape import BLOCKS, CHUNK, PART, SORTERS, SUMMERS, TILE, Order, Parts, Scatter
from derive.plan.spell import statement


def scatter_kernels(group: Group, context: Context, stored: set[str], name: str, accumulate: set[str]) -> list[Kernel]:
    """Three kernels: sorted chunks, parts of long rows, and the sums with the maps that follow.

    Args:
        group: the sum, and maps of its elements.
        stored: which of them are kept in memory.
        accumulate: which are gradients that may be added to what is there.
    """
    keys = group.keys
    assert keys is not None
    made = _Scratch(group, keys, context)
    return [
        _order(keys, context, made, name),
        _parts(keys, context, made, name),
        _sums(keys, group, context, made, name, stored, accumulate),
    ]


class _Scratch:
    """The buffers that the kernels of one scatter share, and the counts that they have in common."""

    def __init__(self, group: Group, keys: Keys, context: Context):
        self.count, self.target = context.count(keys.places), context.count(keys.rows)
        self.free = tuple(i for i in group.domain if i not in keys.rows)
        self.width = context.count(self.free)
        stem = group.tasks[0].name

        def buffer(what: str, axes: tuple[str, ...], dtype: str) -> Buffer:
            return Buffer(context.namer.fresh(f"{stem}_{what}"), what, axes, dtype, "scratch")

        self.order = buffer("order", (self.count,), "short")
        chunks, tiles = _over(self.count, CHUNK), _over(self.target, TILE)
        self.starts = buffer("starts", (f"({chunks})", f"({tiles} + 1)"), "short")
        free = tuple(context.size(i.extent) for i in self.free)
        self.parts = buffer("parts", (f"({self.count} // {PART})", *free), "compute")

    def sizes(self, context: Context, *more: str) -> tuple[str, ...]:
        """Size names in the counts and in `more`."""
        return context.used_sizes({w for text in (self.count, self.target, self.width, *more) for w in text.split("*")})


def _over(count: str, each: int) -> str:
    return f"({count} + {each - 1}) // {each}"


def _order(keys: Keys, context: Context, made: _Scratch, name: str) -> Kernel:
    """The places of each chunk, sorted by row, and where tiles of rows start in it."""
    place = context.counter(keys.places, "place", context.namer.child())
    scope = context.scope((keys.places, place))
    row = scope.namer.fresh("row", ours=True)
    context.decode(scope, keys.places, place)
    scope.share([keys.guard, *keys.targets])
    cond, inner = scope.cond(keys.guard), scope.child()
    chosen = inner.place(keys.targets, tuple(i.extent for i in keys.rows))
    scope.stmts.append(ir.If(cond, (*inner.stmts, ir.Assign(row, chosen))))
    body = ir.prune(tuple(scope.stmts))
    used = ir.names_in(body)
    targets = ", ".join(sorted(keys.integers))
    order, starts = made.order.name, made.starts.name
    return Kernel(
        name=f"{name}_order",
        plan="scatter",
        computes=(
            f"{order}: the places of each {CHUNK} sorted by the row that {targets} says, as place%{CHUNK} + "
            f"{CHUNK}*(row%{TILE}),",
            f"  and {CHUNK * TILE} more where {PART} of one row begin;  {starts}: where each {TILE} rows start in them",
        ),
        reads=context.reads(used, set()),
        writes=(made.order, made.starts),
        sizes=context.used_sizes(used | set(made.count.split("*")) | set(made.target.split("*"))),
        shape=Order(made.count, made.target, place, body, row, order, starts),
        launch=Launch((_over(made.count, CHUNK), "1", "1"), (str(SORTERS), "1", "1")),
    )


def _parts(keys: Keys, context: Context, made: _Scratch, name: str) -> Kernel:
    names = context.namer.child()
    place, along = context.counter(keys.places, "place", names), context.counter(made.free, "along", names)
    scope = context.scope((keys.places, place), (made.free, along))
    context.decode(scope, made.free, along)
    total = scope.namer.fresh("total", ours=True)
    scope.stmts.append(ir.Accumulator(total, "sum"))
    inner = scope.child()
    context.decode(inner, keys.places, place)
    rows = dict(zip(keys.rows, keys.targets, strict=True))  # that the place adds to: no row is at hand here
    value = E.substitute(keys.value, rows)  # type: ignore[arg-type]
    inner.share([value])
    inner.loop(_left(keys), value, total, "sum")
    body = ir.prune(tuple(inner.stmts))
    head = ir.prune(tuple(scope.stmts), frozenset(ir.names_in(body)))
    used = ir.names_in(head) | ir.names_in(body)
    return Kernel(
        name=f"{name}_parts",
        plan="scatter",
        computes=(f"{made.parts.name}[part]: the sum of {PART} places in order, where they all add to one row",),
        reads=(made.order, *context.reads(used, set())),
        writes=(made.parts,),
        sizes=context.used_sizes(used | set(made.count.split("*")) | set(made.width.split("*"))),
        shape=Parts(
            made.count,
            f"({made.count})/{PART}" + (f"*{made.width}" if made.free else ""),
            made.width, along, head, place, body, total, made.order.name, made.parts.name,
        ),
        launch=Launch((f"blocks({made.count} // {PART}*{made.width}, 256)", "1", "1"), ("256", "1", "1")),
    )


def _sums(
    keys: Keys, group: Group, context: Context, made: _Scratch, name: str, stored: set[str], accumulate: set[str]
) -> Kernel:
    names = context.namer.child()
    place, along, row = (
        context.counter(run, wish, names)
        for run, wish in ((keys.places, "place"), (made.free, "along"), (keys.rows, "row"))
    )
    scope = context.scope((keys.places, place), (made.free, along), (keys.rows, row))
    context.decode(scope, made.free, along)
    inner = scope.child()
    body, value = _place(inner, keys, context, place, row)
    behind = scope.child()  # the loop over places: their counter is not known there
    flat = tuple((run, at) for run, at in scope.frame.flat if place not in ir.names_in(at))
    behind.frame = replace(scope.frame, flat=flat)
    after, total = _after(behind, keys, group, context, row, stored, accumulate)
    own_body = ir.prune((*scope.stmts, *body), frozenset((value,)))
    own_after = ir.prune((*scope.stmts, *after))
    runs = [packs(block, along, context, s.namer, {}) for block, s in ((own_body, inner), (own_after, behind))]
    live = ir.names_in(body) | ir.names_in(after)
    head = ir.prune(tuple(scope.stmts), frozenset(live))
    used = live | ir.names_in(head)
    written = {context.buffers[s].name for s in stored}
    count = context.count(group.domain)
    tiles = f"({_over(made.target, TILE)})*({_over(made.width, 32)})"
    return Kernel(
        name=name,
        plan="scatter",
        computes=tuple(statement(t.statement) for t in group.tasks),
        reads=(made.order, made.starts, made.parts, *context.reads(used, written)),
        writes=tuple(b for b in context.buffers.values() if b.name in written),
        sizes=made.sizes(context, *used),
        shape=Scatter(
            count, made.target, made.count, made.width, row, along, head, place, body, value, total,
            after, made.order.name, made.starts.name, made.parts.name,
            own_body, own_after, context.lanes if any(runs) else 1, *runs,
        ),
        launch=Launch((f"blocks({tiles}, 1, {BLOCKS})", "1", "1"), (str(SUMMERS), "1", "1")),
        accumulates=bool(accumulate & stored),
        statements=tuple(t.statement for t in group.tasks),
    )


def _place(scope: Scope, keys: Keys, context: Context, place: str, row: str) -> tuple[ir.Block, str]:
    """What one place adds to an element of a row; an index that chooses rows with the place is known from the row."""
    context.decode(scope, keys.rows, row)
    known = dict(scope.places)
    context.decode(scope, keys.places, place)
    scope.places.update(known)
    scope.share([keys.value])
    found = scope.real(E.summation(_left(keys), keys.value))
    value = scope.namer.fresh("value", ours=True)
    scope.stmts.append(ir.Let(value, found))
    return ir.prune(tuple(scope.stmts), frozenset((value,))), value


def _after(
    scope: Scope, keys: Keys, group: Group, context: Context, row: str, stored: set[str], accumulate: set[str]
) -> tuple[ir.Block, str]:
    """The result and the maps of its elements, from the sum; and the name of the sum."""
    head, *rest = group.tasks
    context.decode(scope, keys.rows, row)
    scope.share([*(t.body for t in rest), *(t.statement.target for t in group.tasks)])
    total = scope.namer.fresh("total", ours=True)
    scope.memo[head.statement.target] = Local(REAL, total)
    if head.name in stored:
        scope.store(head.statement, head.name in accumulate)
    for t in rest:
        scope.define(t.statement, t.name in stored, t.name in accumulate)
    return ir.prune(tuple(scope.stmts)), total


def _left(keys: Keys) -> tuple[Index, ...]:
    """Indices that a place sums over on its own."""
    return tuple(i for i in keys.inner if i not in keys.places)
