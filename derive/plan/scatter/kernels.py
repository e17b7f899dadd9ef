"""Plan scatter: Σ_t where(v == ids[t], ...), the adjoint of a gather, without atomics.

The places t are sorted by the row that they add to, by a stable merge sort, so that each row's sum runs over its own
places in their order: the same bits at every run.  T places and V rows take O(T log T + V log T) steps, the sums one
step a place.
"""

from __future__ import annotations

from derive.expr import Index
from derive.plan import ir
from derive.plan.context import Context
from derive.plan.group import Group
from derive.plan.ir import INT, REAL, Local
from derive.plan.lower import Scope
from derive.plan.records import Buffer, Doubling, Kernel, Launch
from derive.plan.scatter.keys import Keys
from derive.plan.scatter.shape import CHUNK, PART, Merge, Parts, Rows, Scatter, Starts
from derive.plan.spell import statement

THREADS = 256


def scatter_kernels(group: Group, context: Context, stored: set[str], name: str, accumulate: set[str]) -> list[Kernel]:
    """Five kernels: rows and sorted chunks, merges, starts, parts of long rows, and the sums with the maps that follow.

    Args:
        group: the sum, and maps of its elements.
        stored: which of them are kept in memory.
        accumulate: which are gradients that may be added to what is there.
    """
    keys = group.keys
    assert keys is not None
    made = _Scratch(group, keys, context)
    return [
        _rows(keys, context, made, name),
        _merge(context, made, name),
        _starts(context, made, name),
        _parts(keys, group, context, made, name),
        _sums(keys, group, context, made, name, stored, accumulate),
    ]


class _Scratch:
    """The buffers that the kernels of one scatter share, and the counts that they have in common."""

    def __init__(self, group: Group, keys: Keys, context: Context):
        self.count, self.target = context.count(keys.places), context.count(keys.rows)
        self.free = tuple(i for i in group.domain if i not in keys.rows)
        self.width = context.count(self.free)
        stem = group.tasks[0].name

        def buffer(what: str, axes: tuple[str, ...], dtype: str = "index") -> Buffer:
            return Buffer(context.namer.fresh(f"{stem}_{what}"), what, axes, dtype, "scratch")

        self.rows = buffer("rows", (self.count,))
        self.order = buffer("order", (self.count,))
        self.spare = buffer("spare", (self.count,))
        self.starts = buffer("starts", (f"({self.target} + 1)",))
        free = tuple(context.size(i.extent) for i in self.free)
        self.parts = buffer("parts", (f"({self.count} // {PART})", *free), "compute")

    def sizes(self, context: Context, *more: str) -> tuple[str, ...]:
        """Size names in the counts and in `more`."""
        return context.used_sizes({w for text in more for w in text.split("*")})


def _rows(keys: Keys, context: Context, made: _Scratch, name: str) -> Kernel:
    """The row of each place, in sorted chunks."""
    names = context.namer.child()
    place = context.counter(keys.places, "place", names)
    scope = context.scope((keys.places, place))
    row = scope.namer.fresh("row", ours=True)
    context.decode(scope, keys.places, place)
    scope.share([keys.guard, *keys.targets])
    scope.stmts.append(ir.Declare(row, _product(context, keys.rows), INT))
    cond = scope.cond(keys.guard)
    inner = scope.child()
    chosen = inner.place(keys.targets, tuple(i.extent for i in keys.rows))
    scope.stmts.append(ir.If(cond, (*inner.stmts, ir.Assign(row, chosen))))
    body = ir.prune(tuple(scope.stmts))
    used = ir.names_in(body)
    targets = ", ".join(sorted(keys.integers))
    return Kernel(
        name=f"{name}_rows",
        plan="scatter",
        computes=(
            f"{made.rows.name}[t]: the row that {targets} says for place t, or {made.target} for none;  "
            f"{made.order.name}: the places of each {CHUNK} sorted by it",
        ),
        reads=context.reads(used, set()),
        writes=(made.rows, made.order),
        sizes=context.used_sizes(used | set(made.count.split("*"))),
        shape=Rows(place, made.count, body, row, made.rows.name, made.order.name),
        launch=Launch((f"-(-{made.count} // {CHUNK})", "1", "1"), (str(THREADS), "1", "1")),
    )


def _merge(context: Context, made: _Scratch, name: str) -> Kernel:
    return Kernel(
        name=f"{name}_merge",
        plan="scatter",
        computes=(f"{made.spare.name}: {made.order.name} with sorted runs of `width` places merged, two by two",),
        reads=(made.rows, made.order),
        writes=(made.spare,),
        sizes=("width=width", *made.sizes(context, made.count)),
        shape=Merge(made.count, made.rows.name, made.order.name, made.spare.name),
        launch=Launch(
            (f"blocks({made.count}, {THREADS * 8})", "1", "1"),
            (str(THREADS), "1", "1"),
            repeat=Doubling("width", str(CHUNK), made.count, (made.order.name, made.spare.name)),
        ),
    )


def _starts(context: Context, made: _Scratch, name: str) -> Kernel:
    return Kernel(
        name=f"{name}_starts",
        plan="scatter",
        computes=(f"{made.starts.name}[row]: where the places of a row start in {made.order.name}",),
        reads=(made.rows, made.order),
        writes=(made.starts,),
        sizes=made.sizes(context, made.count, made.target),
        shape=Starts(made.target, made.count, made.rows.name, made.order.name, made.starts.name),
        launch=Launch((f"blocks({made.target} + 1, {THREADS})", "1", "1"), (str(THREADS), "1", "1")),
    )


def _parts(keys: Keys, group: Group, context: Context, made: _Scratch, name: str) -> Kernel:
    names = context.namer.child()
    place, along = context.counter(keys.places, "place", names), context.counter(made.free, "along", names)
    scope = context.scope((keys.places, place), (made.free, along))
    context.decode(scope, made.free, along)
    if len(keys.rows) == 1:
        scope.stmts.append(ir.Let(scope.index(keys.rows[0]).name, Local(INT, "row")))  # type: ignore[attr-defined]
    else:
        context.decode(scope, keys.rows, "row")
    total = scope.namer.fresh("total", ours=True)
    scope.stmts.append(ir.Accumulator(total, "sum"))
    body = _place(scope, keys, context, place, total)
    head = ir.prune(tuple(scope.stmts), frozenset(ir.names_in(body)))
    used = ir.names_in(head) | ir.names_in(body)
    return Kernel(
        name=f"{name}_parts",
        plan="scatter",
        computes=(f"{made.parts.name}[part]: the sum of {PART} places in order, where they all add to one row",),
        reads=(made.rows, made.order, *context.reads(used, set())),
        writes=(made.parts,),
        sizes=made.sizes(context, made.count, made.target, made.width, *used),
        shape=Parts(
            made.count,
            f"({made.count})/{PART}" + (f"*{made.width}" if made.free else ""),
            made.target, made.width, along, head, place, body, total,
            made.rows.name, made.order.name, made.parts.name,
        ),
        launch=Launch((f"blocks({made.count} // {PART}*{made.width}, {THREADS})", "1", "1"), (str(THREADS), "1", "1")),
    )


def _sums(
    keys: Keys, group: Group, context: Context, made: _Scratch, name: str, stored: set[str], accumulate: set[str]
) -> Kernel:
    head, *rest = group.tasks
    counter = context.counter(group.domain, "element", context.namer.child())
    names = context.namer.child()
    names.reserve([counter])
    place = context.counter(keys.places, "place", names)
    scope = context.scope((group.domain, counter), (keys.places, place))
    context.decode(scope, group.domain, counter)
    scope.share([*(t.body for t in rest), *(t.statement.target for t in group.tasks)])
    row = scope.place(keys.rows, tuple(i.extent for i in keys.rows))
    along = scope.place(made.free, tuple(i.extent for i in made.free))
    total = scope.namer.fresh("total", ours=True)
    scope.stmts.append(ir.Accumulator(total, "sum"))
    body = _place(scope, keys, context, place, total)
    before, scope.stmts = scope.stmts, []
    scope.memo[head.statement.target] = ir.Apply(REAL, "total", (Local(REAL, total),))
    if head.name in stored:
        scope.store(head.statement, head.name in accumulate)
    for t in rest:
        scope.define(t.statement, t.name in stored, t.name in accumulate)
    after = ir.prune(tuple(scope.stmts))
    live = ir.names_in(body) | ir.names_in(after) | ir.names_in(row) | ir.names_in(along)
    start = ir.prune(tuple(before), frozenset(live))
    used = live | ir.names_in(start)
    written = {context.buffers[s].name for s in stored}
    count = context.count(group.domain)
    return Kernel(
        name=name,
        plan="scatter",
        computes=tuple(statement(t.statement) for t in group.tasks),
        reads=(made.order, made.starts, made.parts, *context.reads(used, written)),
        writes=tuple(b for b in context.buffers.values() if b.name in written),
        sizes=made.sizes(context, count, made.width, *used),
        shape=Scatter(
            counter, count, start, row, along, made.width, place, body, total, after,
            made.order.name, made.starts.name, made.parts.name,
        ),
        launch=Launch((f"blocks({count}, {THREADS})", "1", "1"), (str(THREADS), "1", "1")),
        accumulates=bool(accumulate & stored),
    )


def _place(scope: Scope, keys: Keys, context: Context, place: str, total: str) -> ir.Block:
    """What one place adds to `total`; an index that chooses rows together with the place is known already."""
    inner = scope.child()
    context.decode(inner, keys.places, place)
    inner.places.update({i: scope.places[i] for i in keys.places if i in scope.places})
    inner.share([keys.value])
    inner.loop(tuple(i for i in keys.inner if i not in keys.places), keys.value, total, "sum")
    return ir.prune(tuple(inner.stmts))


def _product(context: Context, indices: tuple[Index, ...]) -> ir.Scalar:
    value: ir.Scalar = ir.integer(1)
    for n, i in enumerate(indices):
        size = Local(INT, context.size(i.extent))
        value = size if n == 0 else ir.Binary(INT, "*", value, size)
    return value


