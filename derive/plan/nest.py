"""Plan nest: one thread an element of the result, loops inside.  Right for every statement of the notation."""

from __future__ import annotations

from dataclasses import replace

from derive import expr as E
from derive.expr import Reduce
from derive.plan import ir
from derive.plan.context import Context
from derive.plan.group import Group
from derive.plan.names import Namer
from derive.plan.records import Kernel, Launch, Nest
from derive.plan.spell import statement

THREADS = 256


def nest_kernels(group: Group, context: Context, stored: set[str], name: str, accumulate: set[str]) -> list[Kernel]:
    """One kernel: a grid-stride loop over the elements of `group.domain`.

    Args:
        group: statements that all have the indices `group.domain`.
        stored: which of them are kept in memory; the others live in registers.
        accumulate: which are gradients that may be added to what is there.
    """
    counter = context.counter(group.domain, "element", context.namer.child())
    scope = context.scope((group.domain, counter))
    context.decode(scope, group.domain, counter)
    scope.share([*(s.expr for s in group.statements), *(s.target for s in group.statements)])
    for s in group.statements:
        scope.define(s, s.name in stored, s.name in accumulate)
    body = ir.prune(tuple(scope.stmts))
    count = context.count(group.domain)
    used = ir.names_in(body)
    written = {context.buffers[s.name].name for s in group.statements if s.name in stored}
    looped = any(isinstance(x, Reduce) for s in group.statements for x in E.subterms(s.expr))
    shape = Nest(counter, count, body) if looped else _packed(Nest(counter, count, body), context, scope.namer)
    return [
        Kernel(
            name=name,
            plan="nest" if looped else "pointwise",
            computes=tuple(statement(s) for s in group.statements),
            reads=context.reads(used, written),
            writes=tuple(b for b in context.buffers.values() if b.name in written),
            sizes=context.used_sizes(used | set(count.split("*"))),
            shape=shape,
            launch=Launch((f"blocks({count}, {THREADS * shape.lanes})", "1", "1"), (str(THREADS), "1", "1")),
            accumulates=bool(accumulate & stored),
            statements=group.statements,
        )
    ]


def _packed(shape: Nest, context: Context, names: Namer) -> Nest:
    """The same with as many lanes as 16 bytes hold, for each buffer that is read or written at the counter itself."""
    touched = ir.accesses(shape.body)
    packs = tuple(
        (b, names.fresh(f"{b.name}_pack"))
        for b in context.buffers.values()
        if b.dtype != "ids" and ir.Local(ir.INT, shape.counter) in touched.get(b.name, ())
    )
    return replace(shape, lanes=context.lanes, packs=packs) if packs else shape
