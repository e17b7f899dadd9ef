"""Partial results: sums of each chunk, then the sum over chunks, always in the same order and without atomics."""

from __future__ import annotations

from derive.expr import ZERO, Expr, Index, Where
from derive.plan import ir
from derive.plan.context import Context
from derive.plan.group import Group, Task
from derive.plan.ir import INT, REAL, Local, Scalar
from derive.plan.lower import Scope
from derive.plan.merge import COLUMN, ELEMENT, level
from derive.plan.names import Namer
from derive.plan.records import Buffer, Column, Kernel, Launch
from derive.plan.settle import settle
from derive.plan.spell import statement
from derive.plan.terms import local_name

WIDTH = 32  # columns of a block
Running = tuple[Task, str, str]  # a reduction, the local that holds its running value, its op


def accumulate_into(inner: Scope, body: Expr, local: str, op: str) -> None:
    """`body` added to a running value; a guard in front stays a branch."""
    if op == "sum" and isinstance(body, Where) and body.other is ZERO:
        cond, then = inner.cond(body.cond), inner.child()
        then.share([body.then])
        accumulate_into(then, body.then, local, op)
        inner.stmts.append(ir.If(cond, tuple(then.stmts)))
    else:
        inner.stmts.append(join(local, op, inner.real(body)))


def reduce_early(
    group: Group,
    scope: Scope,
    inner: Scope,
    stored: set[str],
    accumulate: set[str],
    parts: dict[str, str] | None = None,
) -> list[Running]:
    """What a thread does at each element, into `inner`: maps are stored, each reduction adds to a running value of
    `scope`.  The reductions, each with its running value and op.

    Args:
        parts: filled with an array for each running value, which has one for each of the thread's neighbours.
    """
    early = first_tasks(group)
    scope.namer.reserve(inner.namer.taken)  # the indices of the loop are named already
    inner.share([*(t.body for t in early), *(t.statement.target for t in early if t.op is None)])
    for t in early:
        settle(scope, t.body, frozenset(group.inner))
    running = {t.name: (t, scope.namer.fresh(local_name(t.name, t.name in stored)), t.op) for t in early if t.op}
    if parts is not None:
        parts.update((name, scope.namer.fresh(f"{name}_part", ours=True)) for name in running)
    inner.namer.reserve(scope.namer.taken)  # all that stands before the loop has its name before anything in it
    for t in early:
        if t.op is None:
            inner.define(t.statement, t.name in stored, t.name in accumulate)
        else:
            local = running[t.name][1] if parts is None else f"{parts[t.name]}[lane]"
            accumulate_into(inner, t.body, local, t.op)
    return list(running.values())


def first_tasks(group: Group) -> list[Task]:
    """The maps and reductions over elements, which the first of the two kernels has."""
    return [t for t in group.tasks if level(t, group) == ELEMENT or t.op is not None]


def partial_buffers(tasks: list[Task], context: Context, chunks: str, columns: str = "1") -> dict[str, Buffer]:
    """For each reduction, where its partial results stand."""
    axes = (chunks,) if columns == "1" else (chunks, columns)
    return {
        t.name: Buffer(context.namer.fresh(f"{t.name}_partial"), f"{t.name}_partial", axes, "compute", "temporary")
        for t in tasks
    }


def combine(
    group: Group,
    order: tuple[Index, ...],
    context: Context,
    stored: set[str],
    name: str,
    accumulate: set[str],
    partial: dict[str, Buffer],
    chunks: str,
    needed: str = "",
) -> Kernel:
    """The kernel that reduces partial results over chunks, for each column of `order`, and what follows.

    Args:
        needed: a condition without which nothing is left to do.
    """
    names = context.namer.child()
    column = context.counter(order, "column", names)
    chunk = names.fresh("chunk", ours=True)
    names.reserve([chunk])
    columns = context.count(order)
    offset = ir.Binary(INT, "+", ir.Binary(INT, "*", Local(INT, chunk), Local(INT, "columns")), Local(INT, column))
    tasks, totals, body, sums = joined(group, names, stored, partial, offset)
    after = finish(group, order, column, context, sums, stored, accumulate)
    used = ir.names_in(after)
    written = {context.buffers[n].name for n in stored}
    return Kernel(
        name=name,
        plan="column",
        computes=tuple(statement(t.statement) for t in tasks),
        reads=(*partial.values(), *context.reads(used, written)),
        writes=tuple(b for b in context.buffers.values() if b.name in written),
        sizes=(*context.used_sizes(used | set(columns.split("*"))), f"chunks={chunks}"),
        shape=Column(column, columns, chunk, "chunks", (), body, totals, after),
        launch=Launch((f"blocks({columns}, {WIDTH}, 2**31)", "1", "1"), (str(WIDTH), "8", "1"), needed=needed),
        accumulates=bool(accumulate & stored),
    )


def joined(
    group: Group, names: Namer, stored: set[str], partial: dict[str, Buffer], offset: Scalar
) -> tuple[list[Task], tuple[tuple[str, str], ...], ir.Block, dict[str, Local]]:
    """The reductions of a group and what follows them; each reduction's running value and op, what adds the partial
    result at `offset` to it, and the value by the reduction's name."""
    tasks = [t for t in group.tasks if level(t, group) == COLUMN]
    running = {t.name: (names.fresh(local_name(t.name, t.name in stored)), t.op) for t in tasks if t.op is not None}
    body = tuple(join(*total, ir.Load(REAL, partial[n].name, offset)) for n, total in running.items())
    return tasks, tuple(running.values()), body, {n: Local(REAL, local) for n, (local, _) in running.items()}


def finish(
    group: Group,
    order: tuple[Index, ...],
    column: str,
    context: Context,
    sums: dict[str, Local],
    stored: set[str],
    accumulate: set[str],
) -> ir.Block:
    """What happens at a column once its reductions, `sums`, are known: they and the maps that follow are stored."""
    scope = context.scope((order, column))
    scope.namer.reserve(local.name for local in sums.values())
    context.decode(scope, order, column)
    tasks = [t for t in group.tasks if level(t, group) == COLUMN]
    scope.share([*(t.body for t in tasks if t.op is None), *(t.statement.target for t in tasks)])
    scope.memo.update({t.statement.target: sums[t.name] for t in tasks if t.op is not None})
    for t in tasks:
        if t.op is None:
            scope.define(t.statement, t.name in stored, t.name in accumulate)
        elif t.name in stored:
            scope.store(t.statement, t.name in accumulate)
    return ir.prune(tuple(scope.stmts))


def join(local: str, op: str, value: Scalar) -> ir.Assign:
    """`local = local + value`, or the greater, or the lesser."""
    if op == "sum":
        return ir.Assign(local, ir.Binary(REAL, "+", Local(REAL, local), value))
    return ir.Assign(local, ir.Apply(REAL, ir.EXTREMUM[op], (Local(REAL, local), value)))
