"""Statements that one kernel carries out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from derive import expr as E
from derive.expr import Expr, Get, Index, Reduce
from derive.plan.scatter.keys import Keys
from derive.program import Statement


@dataclass(frozen=True)
class Task:
    """A statement in terms of its group's indices.

    Attributes:
        statement: what it defines.
        op: of its reduction over `over`; None for a map.
        body: what is reduced, or the value of the map.
        over: the group's `inner`, or its `domain` for a sum over rows beside a row kernel.
    """

    statement: Statement
    op: str | None
    body: Expr
    over: tuple[Index, ...] = ()

    @property
    def name(self) -> str:
        return self.statement.name


@dataclass(frozen=True)
class Group:
    """One kernel (or one fixed sequence of kernels) of the menu.

    Attributes:
        plan: entry of the menu.
        domain: indices of every map; the rows of a row kernel; the outputs of a reduction.
        tasks: what it computes, in order, all in terms of `domain` and `inner`.
        inner: indices that the kernel reduces over.
        factors: the two sides of a contraction.
        keys: of a scatter, which row each place adds to.
    """

    plan: str
    domain: tuple[Index, ...]
    tasks: tuple[Task, ...]
    inner: tuple[Index, ...] = field(default=())
    factors: tuple[Expr, Expr] | None = None
    keys: Keys | None = None

    @property
    def space(self) -> tuple[Index, ...]:
        """Every index that the kernel runs over."""
        return (*self.domain, *self.inner)

    @property
    def made(self) -> set[str]:
        return {t.name for t in self.tasks}

    @property
    def reads(self) -> set[str]:
        return {n for t in self.tasks for n in E.tensors(t.body)}

    @property
    def statements(self) -> tuple[Statement, ...]:
        return tuple(t.statement for t in self.tasks)

    def joined(self, task: Task) -> Group:
        return replace(self, tasks=(*self.tasks, task))


def unify(s: Statement, body: Expr, group: Group, inner: tuple[Index, ...]) -> dict[Index, Index] | None:
    """Indices of `s` (and `inner`, which it reduces over) as indices of `group`, so that it reads what the group makes
    where the group makes it; None when there is no such renaming.

    Accesses to what the group makes decide first, then accesses to what both read, then extents that fit.
    """
    found: dict[Index, Index] = {}
    theirs = {t.name: t.statement.target for t in group.tasks}
    mine = [x for x in E.subterms(body) if isinstance(x, Get)]
    shared = [x for t in group.tasks for x in E.subterms(t.body) if isinstance(x, Get)]
    ours = (*s.indices, *inner)

    def bind(g: Get, target: Get, must: bool) -> bool:
        pairs = []
        for a, b in zip(g.subs, target.subs, strict=True):
            if not isinstance(a, Index) or not isinstance(b, Index):
                return not must
            pairs.append((a, b))
        trial = dict(found)
        for a, b in pairs:
            if trial.get(a, b) is not b or any(v is b and k is not a for k, v in trial.items()):
                return not must
            if (a in inner) != (b in group.inner) and group.inner and inner:
                return not must
            trial[a] = b
        found.update(trial)
        return True

    if not all(bind(g, theirs[g.tensor], True) for g in mine if g.tensor in theirs):
        return None
    for g in mine:
        for h in shared:
            if g.tensor == h.tensor and g.tensor not in theirs:
                bind(g, h, False)
    free = [i for i in (*group.domain, *group.inner) if i not in found.values()]
    for i in ours:
        if i not in found:
            j = next(
                (f for f in free if f.extent == i.extent and (not inner or (f in group.inner) == (i in inner))), None
            )
            if j is None:
                return None
            free.remove(j)
            found[i] = j
    if any(a.extent != b.extent for a, b in found.items()):
        return None
    return {i: found[i] for i in ours}


def renamed(
    s: Statement, body: Expr, op: str | None, places: Mapping[Index, Index], over: tuple[Index, ...] = ()
) -> Task:
    """`s` as a task, in terms of the indices that `places` gives."""
    indices = tuple(places[i] for i in s.indices)
    rename = dict(places.items())
    new = E.substitute(body, rename)  # type: ignore[arg-type]
    value = new if op is None else E.substitute(s.expr, {i: places[i] for i in s.indices})
    return Task(Statement(s.name, indices, value, s.line), op, new, tuple(places[i] for i in over))


def opened(s: Statement) -> tuple[tuple[Index, ...], Expr, str | None]:
    """The indices that a statement reduces over at its root, what it reduces, and how; a map reduces over none."""
    if not isinstance(s.expr, Reduce):
        return (), s.expr, None
    indices, body = E.open_binder(s.expr, avoid=s.indices)
    return indices, body, s.expr.op
