"""Plan contraction: C[batch, m, n] = Σ_k A[batch, m, k]·B[batch, n, k], in shared-memory tiles.

Either side may be any expression, so transposes, guards and scaling are folded into how a tile is loaded; maps that
follow are applied to a tile of results.  A tensor as it lies in memory is loaded 16 bytes at a time, and results are
stored so, where its address and its rows allow it.  In 16 bits the products are taken by tensor cores and added in
float32: a side that is a tensor of 16 bits as it is; one that is computed, or kept in float32, as the sum of two
bfloat16 numbers, 16 bits together.

A long sum with few results is split into chunks, whose number the wrapper finds from the sizes: then the kernel
stores the sum of each chunk, and a second one adds them up in a fixed order and carries out the maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from derive import expr as E
from derive.expr import Expr, Get, Index
from derive.plan import ir
from derive.plan.context import Context
from derive.plan.group import Group
from derive.plan.ir import REAL, Local, Scalar
from derive.plan.launches import SHORT
from derive.plan.lower import Scope
from derive.plan.packs import packs
from derive.plan.records import Buffer, Kernel, Launch, Packed
from derive.plan.spell import statement
from derive.plan.terms import local_name, runs_along
from derive.plan.tiles import Chunks, Contraction, Run, Side, exact, run_of

NARROW = ("float16", "bfloat16")

Indices = tuple[Index, ...]


@dataclass(frozen=True)
class _Roles:
    """The indices of a contraction by what they are to it, with the counter of each run."""

    batch: Indices
    rows: Indices
    columns: Indices
    inner: Indices
    counters: tuple[str, str, str, str]

    @property
    def runs(self) -> list[tuple[Indices, str]]:
        return list(zip((self.batch, self.rows, self.columns, self.inner), self.counters, strict=True))


def contraction_kernels(
    group: Group, context: Context, stored: set[str], name: str, accumulate: set[str]
) -> list[Kernel]:
    """A block a tile of 64 by 64 results; where the sum may be long, a second kernel that adds up chunks of it."""
    assert group.factors is not None
    left, right = group.factors
    batch, rows, columns = _roles(group, left, right)
    if len(rows) and len(columns) and columns[-1] is not group.domain[-1] and rows[-1] is group.domain[-1]:
        left, right, rows, columns = right, left, columns, rows  # neighbours in n are stored side by side
    names = context.namer.child()
    inner = _in_memory(group.inner, left, right)
    wishes = ((batch, "batch"), (rows, "m"), (columns, "n"), (inner, "k"))
    b, m, n, k = (context.counter(ix, wish, names) for ix, wish in wishes)
    roles = _Roles(batch, rows, columns, inner, (b, m, n, k))
    counts = tuple(context.count(ix) for ix, _ in roles.runs)
    outer = context.scope(*roles.runs)
    context.decode(outer, batch, b)
    element, parts = _elements(context, (left, right))
    sides = (
        _side(outer, context, left, roles, 1, parts[0]),
        _side(outer, context, right, roles, 2, parts[1]),
    )
    head = group.tasks[0]
    total = outer.namer.fresh(local_name(head.name))
    across, tail, runs = _after(outer, context, group, roles, Local(REAL, total), stored, accumulate)
    # With tensor cores any thread may store any results: neighbours only where these lie together.
    lanes = 1 if element in NARROW and not runs else 16 // context.wide
    used = ir.names_in(across) | ir.names_in(tail).union(*(_names(s) for s in sides))
    before = ir.prune(tuple(outer.stmts), frozenset(used))
    used |= ir.names_in(before) | {s for c in counts for s in c.split("*")}
    written = {context.buffers[s].name for s in stored}
    chunks = f"product_chunks({', '.join(counts)})"
    partial = _partial(context, head.name, (chunks, *counts[:3])) if _may_be_long(inner) else None
    writes = tuple(x for x in context.buffers.values() if x.name in written)
    kernel = Kernel(
        name=name,
        plan="contraction",
        computes=tuple(statement(t.statement) for t in group.tasks),
        reads=context.reads(used, written),
        writes=writes + ((partial,) if partial else ()),
        sizes=context.used_sizes(used),
        shape=Contraction(
            b, counts[0], m, counts[1], n, counts[2], k, counts[3], before, sides, element, element in NARROW, total,
            across, tail, lanes, runs, partial,
        ),
        launch=Launch(
            (f"tiles({', '.join(counts[:3])})", f"max({chunks}, 1)" if partial else "1", "1"),
            ("128" if element in NARROW else "256", "1", "1"),
        ),
        accumulates=bool(accumulate & stored),
        statements=tuple(t.statement for t in group.tasks),
    )  # fmt: skip
    if partial is None:
        return [kernel]
    return [kernel, _chunks(kernel, group, context, roles, partial, chunks, stored, accumulate)]


def _roles(group: Group, left: Expr, right: Expr) -> tuple[Indices, Indices, Indices]:
    both = left.free & right.free
    return (
        tuple(i for i in group.domain if i in both),
        tuple(i for i in group.domain if i in left.free - both),
        tuple(i for i in group.domain if i in right.free - both),
    )


def _in_memory(inner: Indices, left: Expr, right: Expr) -> Indices:
    """The reduced indices in the order of the widest access that has all of them."""
    reads = [g for e in (left, right) for g in E.subterms(e) if isinstance(g, Get) and g.free >= set(inner)]
    plain = [g for g in reads if all(isinstance(s, Index) for s in g.subs)]
    if not plain:
        return inner
    widest = max(plain, key=lambda g: (len(g.free), g.key))
    return tuple(s for s in widest.subs if isinstance(s, Index) and s in inner)


def _elements(context: Context, sides: tuple[Expr, Expr]) -> tuple[str, tuple[int, int]]:
    """The dtype of a tile's elements, and how many of them hold an element of each side."""
    if context.dtype not in NARROW:
        return context.dtype, (1, 1)
    narrow = frozenset(t for t, b in context.buffers.items() if b.dtype == "T")
    as_is = [exact(e, narrow) for e in sides]
    if all(as_is):
        return context.dtype, (1, 1)
    left, right = (1 if whole and context.dtype == "bfloat16" else 2 for whole in as_is)
    return "bfloat16", (left, right)


def _side(outer: Scope, context: Context, e: Expr, roles: _Roles, which: int, parts: int) -> Side:
    """How a tile of `e` is loaded: statements that end in `value = ...`, or the place of a run of neighbours."""
    scope = outer.child()
    own, inner = roles.runs[which][0], roles.inner
    for n in (which, 3):
        context.decode(scope, *roles.runs[n])
    found = run_of(e, inner, own)
    run = None
    if found is not None and context.buffers[found[0].tensor].dtype in ("T", "compute"):
        run = Run(context.buffers[found[0].tensor].name, scope.offset(found[0]))
        body = ir.prune(tuple(scope.stmts), frozenset(ir.names_in(run.offset)))
    else:
        scope.give(e)
        body = ir.prune(tuple(scope.stmts))
    tile, first, limit = (("As", "top", "rows"), ("Bs", "left", "columns"))[which - 1]
    along = found[1] if found is not None and run else runs_along(e, inner)
    return Side(tile, roles.counters[which], first, limit, body, along, run, parts)


def _names(side: Side) -> set[str]:
    used = ir.names_in(side.body)
    return used | ir.names_in(side.run.offset) | {side.run.buffer} if side.run else used


def _after(
    outer: Scope, context: Context, group: Group, roles: _Roles, total: Scalar, stored: set[str], accumulate: set[str]
) -> tuple[ir.Block, ir.Block, tuple[Packed, ...]]:
    """What is done with a result: it is stored, and the maps that follow are carried out.

    Returns: what a row of results needs; what is done with one; the memory of neighbours that lies in one piece, if
    any of it is written.
    """
    across = outer.child()
    context.decode(across, *roles.runs[1])
    after = across.child()
    context.decode(after, *roles.runs[2])
    block = _finish(after, group, total, stored, accumulate)
    runs = packs(block, roles.counters[2], context, after.namer, {})
    head = ir.prune(tuple(across.stmts), frozenset(ir.names_in(block)))
    return head, block, runs if any(x.write for x in runs) else ()


def _finish(scope: Scope, group: Group, total: Scalar, stored: set[str], accumulate: set[str]) -> ir.Block:
    head, *rest = group.tasks
    scope.share([*(t.body for t in rest), *(t.statement.target for t in group.tasks)])
    if not isinstance(total, Local) and (rest or head.name in accumulate):
        total = scope.let(local_name(head.name), total)
    scope.memo[head.statement.target] = total
    if head.name in stored:
        scope.store(head.statement, head.name in accumulate)
    for t in rest:
        scope.define(t.statement, t.name in stored, t.name in accumulate)
    return ir.prune(tuple(scope.stmts))


def _may_be_long(inner: Indices) -> bool:
    known = [int(i.extent[1:]) for i in inner if i.extent.startswith("=")]
    return len(known) < len(inner) or math.prod(known) >= SHORT


def _partial(context: Context, tensor: str, axes: tuple[str, ...]) -> Buffer:
    name = f"{tensor}_partial"
    shape = tuple(a for n, a in enumerate(axes) if n == 0 or a != "1")
    return Buffer(context.namer.fresh(name), name, shape, "compute", "temporary")


def _chunks(
    kernel: Kernel,
    group: Group,
    context: Context,
    roles: _Roles,
    partial: Buffer,
    chunks: str,
    stored: set[str],
    accumulate: set[str],
) -> Kernel:
    """The second kernel: a thread a result."""
    domain = (*roles.batch, *roles.rows, *roles.columns)
    names = context.namer.child()
    counter = context.counter(domain, "element", names)
    scope = context.scope((domain, counter))
    context.decode(scope, domain, counter)
    width = scope.extent(i.extent for i in domain)
    local, chunk = scope.namer.fresh("total", ours=True), scope.namer.fresh("chunk", ours=True)
    at = ir.Binary(ir.INT, "+", ir.Binary(ir.INT, "*", Local(ir.INT, chunk), width), Local(ir.INT, counter))
    scope.stmts.append(ir.Accumulator(local, "sum"))
    add = ir.Accumulate(local, "sum", ir.Load(REAL, partial.name, at))
    scope.stmts.append(ir.For(chunk, Local(ir.INT, "chunks"), (add,)))
    body = _finish(scope, group, ir.Apply(REAL, "total", (Local(REAL, local),)), stored, accumulate)
    count = context.count(domain)
    used = ir.names_in(body)
    written = {context.buffers[s].name for s in stored}
    return replace(
        kernel,
        name=context.namer.fresh(f"{kernel.name}_chunks"),
        computes=tuple(c + (", from chunks of the sum" if n == 0 else "") for n, c in enumerate(kernel.computes)),
        reads=(partial, *context.reads(used, written)),
        writes=tuple(x for x in context.buffers.values() if x.name in written),
        sizes=(*context.used_sizes(used | set(count.split("*"))), f"chunks={chunks}"),
        shape=Chunks(counter, count, body),
        launch=Launch((f"blocks({count}, 256)", "1", "1"), ("256", "1", "1"), needed=chunks),
        statements=(),
    )
