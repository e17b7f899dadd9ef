"""Plan column: reductions over the leading axes, and the maps that read the same elements.

Blocks of 32 columns reduce a chunk of rows each, into partial results; a second kernel of the same form reduces those
in a fixed order.  No atomics: the same bits at every run.  Few rows are one chunk, and need no second.  A thread takes
as many neighbouring columns as 16 bytes hold, and moves them at once where memory is aligned.
"""

from __future__ import annotations

from dataclasses import dataclass

from derive import expr as E
from derive.expr import Get, Index
from derive.plan import ir
from derive.plan.context import Context
from derive.plan.group import Group
from derive.plan.ir import BOOL, INT, REAL, Local
from derive.plan.packs import packs
from derive.plan.partial import WIDTH, Running, combine, finish, first_tasks, partial_buffers, reduce_early
from derive.plan.records import Column, Kernel, Launch, Packed
from derive.plan.spell import statement

THREADS = 256  # of a block
SHARED = 48 * 1024  # bytes of shared memory that a block has without asking


def column_kernels(group: Group, context: Context, stored: set[str], name: str, accumulate: set[str]) -> list[Kernel]:
    """Two kernels: maps and reductions of chunks of rows, then the reduction of several chunks."""
    order = _order(group)
    names = context.namer.child()
    column = context.counter(order, "column", names)
    row = context.counter(group.inner, "row", names)
    early = first_tasks(group)
    reduced = [t for t in early if t.op is not None]
    rows, columns = context.count(group.inner), context.count(order)
    chunks = f"column_chunks({rows})"
    partial = partial_buffers(reduced, context, chunks, columns)
    loop = _loop(group, context, stored, accumulate, (order, column), row, None)
    lanes = context.lanes if _together(loop, column, len(reduced), context) else 1
    parts: dict[str, str] = {}
    if lanes > 1:
        loop = _loop(group, context, stored, accumulate, (order, column), row, parts)
    chunk = ir.Binary(INT, "*", Local(INT, "blockIdx.y"), Local(INT, "columns"))
    place = ir.Binary(INT, "+", chunk, Local(INT, column))
    apart = tuple(ir.Store(partial[t.name].name, place, Local(REAL, local)) for t, local, _ in loop.running)
    sums = {t.name: Local(REAL, local) for t, local, _ in loop.running}
    whole = finish(group, order, column, context, sums, stored, accumulate)
    alone = ir.Binary(BOOL, "==", Local(INT, "chunks"), ir.integer(1))
    used = ir.names_in(loop.body) | ir.names_in(loop.head) | ir.names_in(whole)
    written = {context.buffers[n].name for n in stored}
    elements = {t.name for t in early if t.op is None} & stored
    first = Kernel(
        name=name,
        plan="column",
        computes=tuple(statement(t.statement) + (", of each chunk of rows" if t.op else "") for t in early),
        reads=context.reads(used, written),
        writes=(*(b for b in context.buffers.values() if b.name in written), *partial.values()),
        sizes=(*context.used_sizes(used | set(rows.split("*")) | set(columns.split("*"))), f"chunks={chunks}"),
        shape=Column(
            column,
            columns,
            row,
            rows,
            loop.head,
            loop.body,
            tuple((local, op) for _, local, op in loop.running),
            (ir.If(alone, whole, apart),),
            lanes,
            loop.runs if lanes > 1 else (),
            tuple(parts.values()),
        ),
        launch=Launch((f"blocks({columns}, {WIDTH}, 2**31)", chunks, "1"), (str(WIDTH // lanes), str(8 * lanes), "1")),
        accumulates=bool(accumulate & stored),
        statements=tuple(t.statement for t in early),
    )
    last = context.namer.fresh(f"{name}_sum")
    more = f"{chunks} > 1"
    return [first, combine(group, order, context, stored - elements, last, accumulate, partial, chunks, more)]


@dataclass(frozen=True)
class _Loop:
    """A thread's loop over rows: what comes before, what it does at a row, its running values, its runs of columns."""

    head: ir.Block
    body: ir.Block
    running: list[Running]
    runs: tuple[Packed, ...]


def _loop(
    group: Group,
    context: Context,
    stored: set[str],
    accumulate: set[str],
    across: tuple[tuple[Index, ...], str],
    row: str,
    parts: dict[str, str] | None,
) -> _Loop:
    scope = context.scope(across, (group.inner, row))
    context.decode(scope, *across)
    inner = scope.child()
    context.decode(inner, group.inner, row)
    running = reduce_early(group, scope, inner, stored, accumulate, parts)
    body = ir.prune(tuple(inner.stmts))
    head = ir.prune(tuple(scope.stmts), frozenset(ir.names_in(body)))
    return _Loop(head, body, running, packs(body, across[1], context, inner.namer, {}))


def _together(loop: _Loop, column: str, totals: int, context: Context) -> bool:
    """Whether a thread takes neighbouring columns: runs are read or written, nothing before the loop is a column's own,
    and what threads leave in shared memory fits there."""
    room = totals * context.lanes * (THREADS + WIDTH) * context.wide <= SHARED
    return bool(loop.runs) and column not in ir.names_in(loop.head) and room


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
