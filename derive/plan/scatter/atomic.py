"""Plan scatter with atomics, on request: every place adds to its row at once, in whatever order they come.

Less work than sorting, and other bits at every run.
"""

from __future__ import annotations

from fractions import Fraction

from derive import expr as E
from derive.expr import Index, Where
from derive.plan import ir
from derive.plan.context import Context
from derive.plan.group import Group
from derive.plan.ir import INT, REAL, Local
from derive.plan.lower import Scope
from derive.plan.records import Buffer, Kernel, Launch, Nest
from derive.plan.scatter.keys import Keys
from derive.plan.spell import statement
from derive.program import Statement

THREADS = 256


def atomic_kernels(group: Group, context: Context, stored: set[str], name: str, accumulate: set[str]) -> list[Kernel]:
    """Zeros, the additions, and the maps that follow, unless there are none and the result is of the compute type."""
    keys, head = group.keys, group.tasks[0]
    assert keys is not None
    own = len(group.tasks) == 1 and head.name in stored and context.unrounded(head.name)
    if own:
        totals = context.buffers[head.name]
    else:
        axes = tuple(context.size(i.extent) for i in group.domain)
        totals = Buffer(context.namer.fresh(f"{head.name}_totals"), head.name, axes, "compute", "scratch")
    kernels = [
        _zeros(group, context, totals, f"{name}_zeros", own and head.name in accumulate),
        _additions(keys, group, context, totals, name if own else f"{name}_additions"),
    ]
    return kernels if own else [*kernels, _maps(group, context, totals, stored, name, accumulate)]


def _zeros(group: Group, context: Context, totals: Buffer, name: str, adding: bool) -> Kernel:
    counter = context.counter(group.domain, "element", context.namer.child())
    zero: ir.Stmt = ir.Store(totals.name, Local(INT, counter), ir.Literal(REAL, Fraction(0)))
    if adding:
        zero = ir.If(ir.Unary(ir.BOOL, "!", Local(ir.BOOL, "accumulate")), (zero,))
    text = f"{totals.name} = 0" + (", unless it is added to" if adding else "")
    return _nest(name, context, (group.domain, counter), (zero,), (text,), (), (totals,), adding)


def _additions(keys: Keys, group: Group, context: Context, totals: Buffer, name: str) -> Kernel:
    """Each place, at each free index, adds to the element of its row."""
    domain = (*keys.places, *(i for i in group.domain if i not in keys.rows))
    counter = context.counter(domain, "element", context.namer.child())
    scope = context.scope((domain, counter))
    context.decode(scope, domain, counter)
    scope.share([keys.guard, *keys.targets])
    cond, inner = scope.cond(keys.guard), scope.child()
    target = dict(zip(keys.rows, keys.targets, strict=True))
    subs = tuple(target.get(i, i) for i in group.domain)
    offset = inner.place(subs, tuple(i.extent for i in group.domain))
    inner.places.update({i: inner.integer(e) for i, e in target.items()})
    _add(inner, keys, totals.name, offset)
    scope.stmts.append(ir.If(cond, tuple(inner.stmts)))
    body = ir.prune(tuple(scope.stmts))
    text = f"{statement(group.tasks[0].statement)}, by atomics"
    text = text if totals.role != "scratch" else f"{totals.name}: {text}"
    reads = context.reads(ir.names_in(body), {totals.name})
    sums = (group.tasks[0].statement,)
    return _nest(name, context, (domain, counter), body, (text,), reads, (totals,), False, sums)


def _add(scope: Scope, keys: Keys, totals: str, offset: ir.Scalar) -> None:
    """One atomic addition, of the sum over what is neither a place nor free, where the conditions of the value hold."""
    left, value = tuple(i for i in keys.inner if i not in keys.places), keys.value
    if not left and isinstance(value, Where) and value.other is E.ZERO:
        cond, inner = scope.cond(value.cond), scope.child()
        inner.share([value.then])
        inner.stmts.append(ir.AtomicAdd(totals, offset, inner.real(value.then)))
        scope.stmts.append(ir.If(cond, tuple(inner.stmts)))
        return
    scope.share([value])
    found = scope.real(E.summation(left, value))
    scope.stmts.append(ir.AtomicAdd(totals, offset, found))


def _maps(
    group: Group, context: Context, totals: Buffer, stored: set[str], name: str, accumulate: set[str]
) -> Kernel:
    """The result, and the maps of its elements, from the totals."""
    head, *rest = group.tasks
    counter = context.counter(group.domain, "element", context.namer.child())
    scope = context.scope((group.domain, counter))
    context.decode(scope, group.domain, counter)
    scope.share([*(t.body for t in rest), *(t.statement.target for t in group.tasks)])
    total = scope.namer.fresh("total", ours=True)
    scope.stmts.append(ir.Let(total, ir.Load(REAL, totals.name, Local(INT, counter))))
    scope.memo[head.statement.target] = Local(REAL, total)
    if head.name in stored:
        scope.store(head.statement, head.name in accumulate)
    for t in rest:
        scope.define(t.statement, t.name in stored, t.name in accumulate)
    body = ir.prune(tuple(scope.stmts))
    written = {context.buffers[n].name for n in stored}
    texts = (f"{head.name} from {totals.name}", *(statement(t.statement) for t in rest))
    reads = (totals, *context.reads(ir.names_in(body), written))
    writes = tuple(b for b in context.buffers.values() if b.name in written)
    adding = bool(accumulate & stored)
    maps = tuple(t.statement for t in rest)
    return _nest(name, context, (group.domain, counter), body, texts, reads, writes, adding, maps)


def _nest(
    name: str,
    context: Context,
    loop: tuple[tuple[Index, ...], str],
    body: ir.Block,
    texts: tuple[str, ...],
    reads: tuple[Buffer, ...],
    writes: tuple[Buffer, ...],
    adding: bool,
    statements: tuple[Statement, ...] = (),
) -> Kernel:
    count = context.count(loop[0])
    return Kernel(
        name=name,
        plan="scatter",
        computes=texts,
        reads=reads,
        writes=writes,
        sizes=context.used_sizes(ir.names_in(body) | set(count.split("*"))),
        shape=Nest(loop[1], count, body),
        launch=Launch((f"blocks({count}, {THREADS})", "1", "1"), (str(THREADS), "1", "1")),
        accumulates=adding,
        statements=statements,
    )
