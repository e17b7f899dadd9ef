"""Plan contraction: C[batch, m, n] = Σ_k A[batch, m, k]·B[batch, n, k], in shared-memory tiles.

Either side may be any expression, so transposes, guards and scaling are folded into how a tile is loaded; maps that
follow are applied to the result while it is in registers.
"""

from __future__ import annotations

from derive import expr as E
from derive.expr import Expr, Get, Index
from derive.plan import ir
from derive.plan.context import Context
from derive.plan.group import Group
from derive.plan.ir import REAL, Local
from derive.plan.lower import Scope
from derive.plan.records import Contraction, Kernel, Launch
from derive.plan.spell import statement
from derive.plan.terms import local_name


def contraction_kernels(
    group: Group, context: Context, stored: set[str], name: str, accumulate: set[str]
) -> list[Kernel]:
    """One kernel: a block of 256 threads a tile of 64 by 64 results, each thread 4 by 4."""
    assert group.factors is not None
    left, right = group.factors
    batch, rows, columns = _roles(group, left, right)
    if len(rows) and len(columns) and columns[-1] is not group.domain[-1] and rows[-1] is group.domain[-1]:
        left, right, rows, columns = right, left, columns, rows  # neighbours in n are stored side by side
    names = context.namer.child()
    counters = [
        context.counter(ix, wish, names)
        for ix, wish in ((batch, "batch"), (rows, "m"), (columns, "n"), (group.inner, "k"))
    ]
    runs = list(zip((batch, rows, columns, group.inner), counters, strict=True))
    outer = context.scope(*runs)
    context.decode(outer, batch, counters[0])
    sides = [_side(outer, context, e, runs, which) for e, which in ((left, 1), (right, 2))]
    head, *rest = group.tasks
    total = outer.namer.fresh(local_name(head.name))
    after = outer.child()
    for n in (1, 2):
        context.decode(after, *runs[n])
    after.share([*(t.body for t in rest), *(t.statement.target for t in group.tasks)])
    after.memo[head.statement.target] = Local(REAL, total)
    if head.name in stored:
        after.store(head.statement, head.name in accumulate)
    for t in rest:
        after.define(t.statement, t.name in stored, t.name in accumulate)
    tail = ir.prune(tuple(after.stmts))
    used = ir.names_in(sides[0]) | ir.names_in(sides[1]) | ir.names_in(tail)
    before = ir.prune(tuple(outer.stmts), frozenset(used))
    used |= ir.names_in(before)
    counts = [context.count(ix) for ix, _ in runs]
    written = {context.buffers[s].name for s in stored}
    return [
        Kernel(
            name=name,
            plan="contraction",
            computes=tuple(statement(t.statement) for t in group.tasks),
            reads=context.reads(used, written),
            writes=tuple(b for b in context.buffers.values() if b.name in written),
            sizes=context.used_sizes(used | {s for c in counts for s in c.split("*")}),
            shape=Contraction(
                counters[0],
                counts[0],
                counters[1],
                counts[1],
                counters[2],
                counts[2],
                counters[3],
                counts[3],
                before,
                sides[0],
                sides[1],
                _runs_along(left, group.inner),
                _runs_along(right, group.inner),
                total,
                tail,
            ),
            launch=Launch(
                (f"blocks({counts[1]}, 64, 2**31)*blocks({counts[2]}, 64, 2**31)*({counts[0]})", "1", "1"),
                ("256", "1", "1"),
            ),
            accumulates=bool(accumulate & stored),
        )
    ]


def _roles(group: Group, left: Expr, right: Expr) -> tuple[tuple[Index, ...], tuple[Index, ...], tuple[Index, ...]]:
    both = left.free & right.free
    return (
        tuple(i for i in group.domain if i in both),
        tuple(i for i in group.domain if i in left.free - both),
        tuple(i for i in group.domain if i in right.free - both),
    )


def _side(outer: Scope, context: Context, e: Expr, runs: list[tuple[tuple[Index, ...], str]], which: int) -> ir.Block:
    """Statements that end in `value = ...`, an element of a tile."""
    scope = outer.child()
    for n in (which, 3):
        context.decode(scope, *runs[n])
    scope.share([e])
    value = scope.real(e)
    scope.stmts.append(ir.Assign("value", value))
    return ir.prune(tuple(scope.stmts))


def _runs_along(e: Expr, inner: tuple[Index, ...]) -> bool:
    """Whether memory runs along the reduced indices in the widest access of a side."""
    reads = [x for x in E.subterms(e) if isinstance(x, Get) and x.subs]
    if not reads:
        return False
    widest = max(reads, key=lambda g: len(g.free))
    return bool(widest.subs[-1].free & set(inner))
