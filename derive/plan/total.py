"""Plan total: sums over everything, and the maps that read the same elements.

A grid of blocks strides over the elements, each block keeps its partial results, and one more block adds these up.
A thread takes as many neighbours at a time as 16 bytes hold, and moves them at once where memory is aligned.
"""

from __future__ import annotations

from derive.plan import ir
from derive.plan.context import Context
from derive.plan.group import Group
from derive.plan.ir import INT, REAL, Local
from derive.plan.packs import packs
from derive.plan.partial import finish, first_tasks, joined, partial_buffers, reduce_early
from derive.plan.records import Buffer, Kernel, Launch, Total
from derive.plan.spell import statement


def total_kernels(group: Group, context: Context, stored: set[str], name: str, accumulate: set[str]) -> list[Kernel]:
    """Two kernels: maps and partial results of blocks, then the sum of these."""
    early = first_tasks(group)
    reduced = [t for t in early if t.op is not None]
    element = context.counter(group.inner, "element", context.namer.child())
    count = context.count(group.inner)
    chunks = f"total_chunks({count})"
    partial = partial_buffers(reduced, context, chunks)
    scope = context.scope((group.inner, element))
    inner = scope.child()
    context.decode(inner, group.inner, element)
    running = reduce_early(group, scope, inner, stored, accumulate)
    totals = tuple((local, op) for _, local, op in running)
    place = Local(INT, "blockIdx.x")
    after = tuple(ir.Store(partial[t.name].name, place, Local(REAL, local)) for t, local, _ in running)
    body = ir.prune(tuple(inner.stmts))
    head = ir.prune(tuple(scope.stmts), frozenset(ir.names_in(body)))
    runs = packs(body, element, context, inner.namer, {})
    used = ir.names_in(body) | ir.names_in(head)
    elements = {t.name for t in early if t.op is None} & stored
    written = {context.buffers[n].name for n in elements}
    first = Kernel(
        name=name if elements else context.namer.fresh(f"{name}_partial"),
        plan="total",
        computes=tuple(statement(t.statement) + (", of each block" if t.op else "") for t in early),
        reads=context.reads(used, written),
        writes=(*(b for b in context.buffers.values() if b.name in written), *partial.values()),
        sizes=context.used_sizes(used | set(count.split("*"))),
        shape=Total(element, count, head, body, totals, after, context.lanes if runs else 1, runs),
        launch=Launch((chunks, "1", "1"), ("256", "1", "1")),
        accumulates=bool(accumulate & elements),
        statements=tuple(t.statement for t in early),
    )
    last = context.namer.fresh(f"{name}_sum") if elements else name
    return [first, _combine(group, context, stored - elements, last, accumulate, partial, chunks)]


def _combine(
    group: Group,
    context: Context,
    stored: set[str],
    name: str,
    accumulate: set[str],
    partial: dict[str, Buffer],
    chunks: str,
) -> Kernel:
    """One block that adds up the partial results, and what follows."""
    chunk = "chunk"
    names = context.namer.child()
    names.reserve([chunk])
    tasks, totals, body, sums = joined(group, names, stored, partial, Local(INT, chunk))
    after = finish(group, (), "0", context, sums, stored, accumulate)
    used = ir.names_in(after)
    written = {context.buffers[n].name for n in stored}
    return Kernel(
        name=name,
        plan="total",
        computes=tuple(statement(t.statement) for t in tasks),
        reads=(*partial.values(), *context.reads(used, written)),
        writes=tuple(b for b in context.buffers.values() if b.name in written),
        sizes=(*context.used_sizes(used), f"chunks={chunks}"),
        shape=Total(chunk, "chunks", (), body, totals, after),
        launch=Launch(("1", "1", "1"), ("256", "1", "1")),
        accumulates=bool(accumulate & stored),
    )
