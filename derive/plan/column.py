"""Plan column: reductions over the leading axes.

Blocks of 32 columns by 8 threads reduce a chunk of rows each, into partial results; a second kernel, a thread a
column, reduces those in a fixed order and carries out the maps that follow.  No atomics: the same bits at every run.
"""

from __future__ import annotations

from dataclasses import replace

from derive import expr as E
from derive.expr import Get, Index
from derive.plan import ir
from derive.plan.context import Context
from derive.plan.group import Group
from derive.plan.ir import REAL, Local, Scalar
from derive.plan.records import Buffer, Column, Kernel, Launch, Nest
from derive.plan.row import accumulate_into
from derive.plan.spell import statement
from derive.plan.terms import local_name

WIDTH = 32


def column_kernels(group: Group, context: Context, stored: set[str], name: str, accumulate: set[str]) -> list[Kernel]:
    """Two kernels: partial results of chunks of rows, then their reduction."""
    order = _order(group)
    names = context.namer.child()
    column = context.counter(order, "column", names)
    row = context.counter(group.inner, "row", names)
    scope = context.scope((order, column), (group.inner, row))
    context.decode(scope, order, column)
    reduced = [t for t in group.tasks if t.op is not None]
    locals_ = [scope.namer.fresh(local_name(t.name)) for t in reduced]
    inner = scope.child()
    context.decode(inner, group.inner, row)
    inner.share([t.body for t in reduced])
    rows, columns = context.count(group.inner), context.count(order)
    chunks = f"column_chunks({rows})"
    totals, partial = [], {}
    for t, local in zip(reduced, locals_, strict=True):
        assert t.op is not None
        buffer = Buffer(
            context.namer.fresh(f"{t.name}_partial"), f"{t.name}_partial", (chunks, columns), "compute", "temporary"
        )
        totals.append((local, t.op, buffer.name))
        partial[t.name] = buffer
        accumulate_into(inner, t.body, local, t.op)
    body = ir.prune(tuple(scope.stmts) + tuple(inner.stmts))
    used = ir.names_in(body)
    first = Kernel(
        name=f"{name}_partial",
        plan="column",
        computes=tuple(statement(t.statement) + ", of each chunk of rows" for t in reduced),
        reads=context.reads(used, set()),
        writes=tuple(partial.values()),
        sizes=(*context.used_sizes(used | set(rows.split("*")) | set(columns.split("*"))), f"chunks={chunks}"),
        shape=Column(column, columns, row, rows, tuple(totals), body),
        launch=Launch((f"blocks({columns}, {WIDTH})", chunks, "1"), (str(WIDTH), "8", "1")),
    )
    return [first, _second(replace(group, domain=order), context, stored, name, accumulate, partial, column)]


def _second(
    group: Group,
    context: Context,
    stored: set[str],
    name: str,
    accumulate: set[str],
    partial: dict[str, Buffer],
    column: str,
) -> Kernel:
    scope = context.scope((group.domain, column))
    context.decode(scope, group.domain, column)
    scope.share([*(t.body for t in group.tasks if t.op is None), *(t.statement.target for t in group.tasks)])
    columns = context.count(group.domain)
    width: Scalar = scope.extent(i.extent for i in group.domain)
    for t in group.tasks:
        if t.op is None:
            scope.define(t.statement, t.name in stored, t.name in accumulate)
            continue
        local, chunk = scope.namer.fresh("total", ours=True), scope.namer.fresh("chunk", ours=True)
        offset = ir.Binary(ir.INT, "+", ir.Binary(ir.INT, "*", Local(ir.INT, chunk), width), Local(ir.INT, column))
        scope.stmts.append(ir.Accumulator(local, t.op))
        scope.stmts.append(
            ir.For(
                chunk,
                Local(ir.INT, "chunks"),
                (ir.Accumulate(local, t.op, ir.Load(REAL, partial[t.name].name, offset)),),
            )
        )
        scope.memo[t.statement.target] = (
            ir.Apply(REAL, "total", (Local(REAL, local),)) if t.op == "sum" else Local(REAL, local)
        )
        if t.name in stored:
            scope.store(t.statement, t.name in accumulate)
    body = ir.prune(tuple(scope.stmts))
    used = ir.names_in(body)
    written = {context.buffers[n].name for n in stored}
    return Kernel(
        name=name,
        plan="column",
        computes=tuple(statement(t.statement) for t in group.tasks),
        reads=(*partial.values(), *context.reads(used, written)),
        writes=tuple(b for b in context.buffers.values() if b.name in written),
        sizes=(
            *context.used_sizes(used | set(columns.split("*"))),
            f"chunks=column_chunks({context.count(group.inner)})",
        ),
        shape=Nest(column, columns, body),
        launch=Launch((f"blocks({columns}, 256)", "1", "1"), ("256", "1", "1")),
        accumulates=bool(accumulate & stored),
    )


def _order(group: Group) -> tuple[Index, ...]:
    """The columns, with the index along which memory runs last, so that neighbours are read by neighbours."""
    reads = [
        x
        for t in group.tasks
        for x in E.subterms(t.body)
        if isinstance(x, Get) and x.subs and isinstance(x.subs[-1], Index) and x.subs[-1] in group.domain
    ]
    if not reads:
        return group.domain
    last = max(reads, key=lambda g: len(g.free)).subs[-1]
    return (*(i for i in group.domain if i is not last), last)  # type: ignore[arg-type]
