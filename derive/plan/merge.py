"""Kernels that read the same memory become one kernel.

    dX[i,j] = dY[i,j]*w[j];  dw[j] = sum(i, dY[i,j]*X[i,j])        both over (i, j), both read dY: one pass

Two groups are put together when some tensor that both read has all indices that they run over, what the second reads
of the first is known where it is read, and nothing that has to run between them depends on the first. Their kinds
then decide:

    with          pointwise    row (i; j)            column (j; i)         row (; i,j), a sum over everything
    pointwise     pointwise    row                   column                row (; i,j)
    row (i; j)                 row                   row, with columns     row, and a sum over its rows
    column (j; i)                                    column                column, and a sum over its columns

It ends, since either a group is gone or one runs over fewer indices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from derive import expr as E
from derive.expr import Expr, Get, Index, Reduce
from derive.plan.again import Again
from derive.plan.group import Group, Task
from derive.program import Statement

KINDS = ("pointwise", "row", "column")


def merge(groups: Sequence[Group], fresh: Callable[[str], str], again: Again) -> list[Group]:
    """`groups` with those put together that read the same memory, in an order in which they can run.

    Args:
        groups: in an order in which they can run.
        fresh: gives a new tensor name near a wish.
        again: the maps that they may read by name.
    """
    out = list(groups)
    while (found := _once(out, fresh, again)) is not None:
        out = found
    return [replace(g, plan="total") if _is_total(g) else g for g in out]


def _once(groups: list[Group], fresh: Callable[[str], str], again: Again) -> list[Group] | None:
    for b in range(1, len(groups)):
        for a in range(b - 1, -1, -1):
            if groups[a].plan not in KINDS or groups[b].plan not in KINDS:
                continue
            waiting = _dependents(groups, a, b)
            if any(groups[n].made & groups[b].reads for n in waiting):
                continue
            for places in _matches(again.seen(groups[a]), again.seen(groups[b])):
                made = _together(groups[a], groups[b], places, fresh)
                if made is not None:
                    free = [groups[n] for n in range(a + 1, b) if n not in waiting]
                    return [*groups[:a], *free, *made, *(groups[n] for n in waiting), *groups[b + 1 :]]
    return None


def _dependents(groups: list[Group], a: int, b: int) -> list[int]:
    """The groups between that wait for `a`."""
    found: list[int] = []
    for n in range(a + 1, b):
        if any(groups[m].made & groups[n].reads for m in (a, *found)):
            found.append(n)
    return found


def _matches(a: Group, b: Group) -> Iterator[dict[Index, Index]]:
    """The indices of `b` as indices of `a`, from tensors that both access with every index that they have."""
    ours = [*_wide(a), *(t.statement.target for t in a.tasks if set(t.statement.indices) == set(a.space))]
    tried: list[dict[Index, Index]] = []
    for g in _wide(b):
        for h in ours:
            if g.tensor == h.tensor:
                places = dict(zip(g.subs, h.subs, strict=True))
                if places not in tried and all(i.extent == j.extent for i, j in places.items()):  # type: ignore[attr-defined]
                    tried.append(places)  # type: ignore[arg-type]
                    yield places  # type: ignore[misc]


def _wide(g: Group) -> list[Get]:
    """Accesses whose subscripts are the indices of `g`, each once."""
    space = set(g.space)
    inside = {x: None for t in g.tasks for x in E.subterms(t.body) if isinstance(x, Get)}
    return [x for x in inside if space and len(x.subs) == len(space) and set(x.subs) == space]


def _together(a: Group, b: Group, places: dict[Index, Index], fresh: Callable[[str], str]) -> list[Group] | None:
    b = _moved(b, places)
    tasks = (*a.tasks, *b.tasks)
    one: Group | None = None
    if "pointwise" in (a.plan, b.plan):
        one = replace(a if b.plan == "pointwise" else b, tasks=tasks)
    elif a.plan == b.plan and set(a.domain) == set(b.domain):
        one = replace(a, tasks=tasks)
    elif {a.plan, b.plan} == {"row", "column"} and set(a.domain) == set(b.inner) and a.domain and b.domain:
        one = replace(a if a.plan == "row" else b, tasks=tasks)
    elif not a.domain and a.plan == "row":
        return _split(a, b, tasks, fresh)
    elif not b.domain and b.plan == "row":
        return _split(b, a, tasks, fresh)
    if one is None or not legal(one) or (not one.domain and not _is_total(one)):
        return None
    return [one]


def _moved(g: Group, places: dict[Index, Index]) -> Group:
    """`g` in terms of other indices."""
    rename: dict[Expr, Expr] = {i: j for i, j in places.items()}  # noqa: C416

    def task(t: Task) -> Task:
        s = t.statement
        new = Statement(s.name, tuple(places[i] for i in s.indices), E.substitute(s.expr, rename), s.line)
        return Task(new, t.op, E.substitute(t.body, rename), tuple(places[i] for i in t.over))

    domain, inner = (tuple(places[i] for i in run) for run in (g.domain, g.inner))
    return replace(g, domain=domain, inner=inner, tasks=tuple(task(t) for t in g.tasks))


def _split(total: Group, host: Group, tasks: tuple[Task, ...], fresh: Callable[[str], str]) -> list[Group] | None:
    """A sum over everything as sums over the host's `inner` beside it, and the sum of these.

    sum(n, v, f[n,v])  =>  r[n] = sum(v, f[n,v]);  sum(n, r[n])
    """
    scalars = {t.name for t in total.tasks if not t.statement.indices}
    if scalars & host.reads or not _is_total(total):
        return None
    inside: list[Task] = []
    after: list[Task] = []
    for t in tasks:
        if t.name not in scalars:
            inside.append(t)
        elif t.op is None:
            after.append(t)
        else:
            part = Statement(fresh(f"{t.name}_{t.op}"), host.domain, E.close(Reduce, t.op, host.inner, t.body))
            inside.append(Task(part, t.op, t.body, host.inner))
            whole = Statement(t.name, (), E.close(Reduce, t.op, host.domain, part.target), t.statement.line)
            after.append(Task(whole, t.op, part.target, host.domain))
    one = replace(host, tasks=tuple(inside))
    return [one, Group("row", (), tuple(after), host.domain)] if legal(one) else None


ELEMENT, ROW, COLUMN = "element", "row", "column"


def level(t: Task, g: Group) -> str:
    """What a task of a row, column or pointwise group belongs to: an element, a row or a column."""
    if t.op is None and set(t.statement.indices) == set(g.space):
        return ELEMENT
    if g.plan in ("column", "total") or (g.domain and set(t.statement.indices) == set(g.inner)):
        return COLUMN
    return ROW


def legal(g: Group) -> bool:
    """Whether each task finds what it reads of the others: elements and rows on the way, columns at the end only."""
    made = {t.name: (t.statement.target, level(t, g)) for t in g.tasks}
    for t in g.tasks:
        mine = level(t, g)
        if not t.body.free <= {*t.statement.indices, *t.over}:
            return False
        for x in E.subterms(t.body):
            if not isinstance(x, Get) or x.tensor not in made:
                continue
            target, theirs = made[x.tensor]
            if x is not target or (theirs == COLUMN) != (mine == COLUMN and t.op is None):
                return False
    return True


def _is_total(g: Group) -> bool:
    """Whether `g` is one pass over everything: no element waits for a sum."""
    if g.plan != "row" or g.domain:
        return False
    scalars = {t.name for t in g.tasks if not t.statement.indices}
    early = [t for t in g.tasks if t.op is not None or set(t.statement.indices) == set(g.space)]
    return not any(scalars & set(E.tensors(t.body)) for t in early)
