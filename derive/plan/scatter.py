"""Plan scatter: Σ_t where(v == ids[t], ...), the adjoint of a gather, without atomics.

The places of equal ids are chained in order; each element of the result then walks the chain of its own id.
"""

from __future__ import annotations

from derive import expr as E
from derive.expr import Cmp, Expr, Index, Logic, Where
from derive.plan import ir
from derive.plan.context import Context
from derive.plan.group import Group
from derive.plan.ir import INT, REAL, Local
from derive.plan.records import Buffer, Kernel, Launch, Link, Nest
from derive.plan.spell import statement


def scatter_kernels(group: Group, context: Context, stored: set[str], name: str, accumulate: set[str]) -> list[Kernel]:
    """Two kernels: the chains, then the sums; maps that follow are part of the second."""
    head, *rest = group.tasks
    ids = group.ids
    assert ids is not None
    places = tuple(s for s in ids.subs if isinstance(s, Index))
    where = head.body
    assert isinstance(where, Where)
    target = _target(where.cond, ids)
    count, span = context.count(places), context.size(target.extent)
    first = Buffer(context.namer.fresh(f"{head.name}_first"), "first", (span,), "index", "chain")
    chain = Buffer(context.namer.fresh(f"{head.name}_next"), "next", (count,), "index", "chain")
    source = context.buffers[ids.tensor]
    link = Kernel(
        name=f"{name}_chains",
        plan="scatter",
        computes=(
            f"{first.name}[v]: the first place where {ids.tensor} is v;  {chain.name}[t]: the next place with the id "
            "of place t;  -1 at the end",
        ),
        reads=(source,),
        writes=(first, chain),
        sizes=context.used_sizes({*count.split("*"), span}),
        shape=Link(source.name, count, span, first.name, chain.name),
        launch=Launch((f"blocks({count}, 256)", "1", "1"), ("256", "1", "1")),
    )
    counter = context.counter(group.domain, "element", context.namer.child())
    names = context.namer.child()
    names.reserve([counter])
    place = context.counter(places, "place", names)
    scope = context.scope((group.domain, counter), (places, place))
    context.decode(scope, group.domain, counter)
    scope.share([*(t.body for t in rest), *(t.statement.target for t in group.tasks)])
    total = scope.namer.fresh("total", ours=True)
    inner = scope.child()
    context.decode(inner, places, place)
    left = tuple(i for i in group.inner if i not in places)
    inner.share([where])
    body = E.where(E.logic("and", *(c for c in _parts(where.cond) if not _is_key(c, target, ids))), where.then, E.ZERO)
    inner.loop(left, body, total, "sum")
    scope.stmts += [
        ir.Accumulator(total, "sum"),
        ir.Chase(place, ir.Load(INT, first.name, scope.integer(target)), chain.name, tuple(inner.stmts)),
    ]
    scope.memo[head.statement.target] = ir.Apply(REAL, "total", (Local(REAL, total),))
    if head.name in stored:
        scope.store(head.statement, head.name in accumulate)
    for t in rest:
        scope.define(t.statement, t.name in stored, t.name in accumulate)
    block = ir.prune(tuple(scope.stmts))
    used = ir.names_in(block)
    written = {context.buffers[s].name for s in stored}
    return [
        link,
        Kernel(
            name=name,
            plan="scatter",
            computes=tuple(statement(t.statement) for t in group.tasks),
            reads=(first, chain, *context.reads(used, written)),
            writes=tuple(b for b in context.buffers.values() if b.name in written),
            sizes=context.used_sizes(used | set(context.count(group.domain).split("*"))),
            shape=Nest(counter, context.count(group.domain), block),
            launch=Launch((f"blocks({context.count(group.domain)}, 256)", "1", "1"), ("256", "1", "1")),
            accumulates=bool(accumulate & stored),
        ),
    ]


def _parts(c: Expr) -> tuple[Expr, ...]:
    return c.args if isinstance(c, Logic) and c.op == "and" else (c,)


def _is_key(c: Expr, target: Index, ids: Expr) -> bool:
    return isinstance(c, Cmp) and c.op == "==" and {c.left, c.right} == {target, ids}


def _target(cond: Expr, ids: Expr) -> Index:
    for c in _parts(cond):
        if isinstance(c, Cmp) and c.op == "==":
            for v, other in ((c.left, c.right), (c.right, c.left)):
                if other is ids and isinstance(v, Index):
                    return v
    raise AssertionError("classify found an index here")
