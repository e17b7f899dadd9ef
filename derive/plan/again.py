"""Maps that are computed again where they are read, under their names: the forward's in the backward, and those of
another kernel that can be had from what is read anyway.

    xhat[b,s,d] = rstd[b,s]*(X[b,s,d] - M[b,s])

A kernel over rows, columns or elements computes each where it is needed and calls it by its name; in any other, and
at any place but the kernel's own, what the name stands for is written out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from derive import expr as E
from derive.expr import Expr, Get, Index, Reduce
from derive.plan.classify import classify
from derive.plan.group import Group, Task
from derive.program import Statement

NAMED = ("pointwise", "row", "column", "total")


@dataclass(frozen=True)
class Again:
    """Maps by name, each after those that it reads."""

    maps: Mapping[str, Statement] = field(default_factory=dict)
    _memo: dict[Expr, Expr] = field(default_factory=dict, compare=False, repr=False)

    def out(self, e: Expr) -> Expr:
        """`e` with every name written out."""
        return E.transform(e, self._one, self._memo) if self.maps else e

    def _one(self, x: Expr) -> Expr:
        if isinstance(x, Get) and x.tensor in self.maps:
            s = self.maps[x.tensor]
            return self.out(E.substitute(s.expr, dict(zip(s.indices, x.subs, strict=True))))
        return x

    def without(self, names: Collection[str]) -> Again:
        """All but `names`, which are read where they stand."""
        return Again({n: s for n, s in self.maps.items() if n not in names})

    def written(self, s: Statement) -> Statement:
        return Statement(s.name, s.indices, self.out(s.expr), s.line)

    def suited(self, s: Statement, menu: tuple[str, ...]) -> Statement:
        """`s` with its names, where these do not hide what kind of kernel suits its reductions."""
        for r in E.subterms(s.expr):
            if isinstance(r, Reduce):
                kind = _kind(s, r, menu)
                inside = [x for x in E.subterms(self.out(r)) if isinstance(x, Reduce)]
                if kind not in NAMED or any(_kind(s, x, menu) != kind for x in inside):
                    return self.written(s)
        return s

    def seen(self, g: Group) -> Group:
        """`g` as its accesses to memory show it."""
        return replace(g, tasks=tuple(replace(t, body=self.out(t.body)) for t in g.tasks)) if self.maps else g

    def spared(self, groups: list[Group], results: Collection[str]) -> tuple[list[Group], Again]:
        """Maps between kernels that their readers had better compute again, from what they read anyway."""
        maps = dict(self.maps)
        for n, g in enumerate(groups):
            for t in g.tasks:
                readers = [h for m, h in enumerate(groups) if m != n and t.name in h.reads]
                if (
                    t.op is None
                    and t.statement.indices
                    and t.name not in results
                    and readers
                    and g.plan != "attention"
                    and all(self._has_all(h, t) for h in readers)
                ):
                    maps[t.name] = Statement(t.name, t.statement.indices, t.body, t.statement.line)
                    g = replace(g, tasks=tuple(x for x in g.tasks if x is not t))
            groups = [*groups[:n], g, *groups[n + 1 :]]
        return [g for g in groups if g.tasks], Again(maps)

    def _has_all(self, g: Group, t: Task) -> bool:
        """Whether `g` reads, at the same places, every tensor as large as `t` that `t` is made of."""
        mine = {x for u in self.seen(g).tasks for x in E.subterms(u.body) if isinstance(x, Get)}
        if g.plan not in NAMED or any(isinstance(x, Reduce) for x in E.subterms(t.body)):
            return False
        for x in mine:
            if x.tensor == t.name:
                if not _has_place(x, g):
                    return False
                body = E.substitute(self.out(t.body), dict(zip(t.statement.indices, x.subs, strict=True)))
                large = {y for y in E.subterms(body) if isinstance(y, Get) and len(y.free) >= len(x.subs)}
                if not large <= mine:
                    return False
        return True

    def complete(self, g: Group) -> Group:
        """`g` with the maps that it reads by name as tasks of its own: in front, or right behind what of `g` they read.

        A map that `g` gave up for others to compute again may stand on what `g` computes.
        """
        if not self.maps:
            return g
        places: dict[str, tuple[Expr, ...]] = {}

        def known(x: Expr) -> Expr:
            if not isinstance(x, Get) or x.tensor not in self.maps:
                return x
            if _has_place(x, g) and places.setdefault(x.tensor, x.subs) == x.subs:
                return x
            return self.out(x)

        tasks = [_rewritten(t, E.transform(t.body, known)) for t in g.tasks]
        front: dict[str, Task] = {}
        while missing := [n for n in places if n not in front]:
            for n in missing:
                s = self.maps[n]
                e = E.transform(E.substitute(s.expr, dict(zip(s.indices, places[n], strict=True))), known)
                indices = tuple(i for i in places[n] if isinstance(i, Index))
                front[n] = Task(Statement(n, indices, e), None, e)
        first = 0
        for task in (front[n] for n in self.maps if n in front):
            reads = set(E.tensors(task.body))
            at = max((k for k, t in enumerate(tasks, start=1) if t.name in reads), default=0)
            tasks.insert(max(at, first), task)
            first += at <= first
        return replace(g, tasks=tuple(tasks))


def _kind(s: Statement, r: Reduce, menu: tuple[str, ...]) -> str:
    return classify(Statement(s.name, tuple(i for i in s.indices if i in r.free), r), menu).plan


def _has_place(x: Get, g: Group) -> bool:
    """Whether a kernel of `g` has one place at which to compute `x`."""
    if g.plan not in NAMED or len(set(x.subs)) != len(x.subs) or not all(isinstance(i, Index) for i in x.subs):
        return False
    at = set(x.subs)
    return (
        at == set(g.space)
        or (g.plan == "row" and at == set(g.domain))
        or (g.plan == "pointwise" and at <= set(g.domain))
    )


def _rewritten(t: Task, body: Expr) -> Task:
    s = t.statement
    e = body if t.op is None else E.reduction(t.op, t.over, body)
    return replace(t, statement=Statement(s.name, s.indices, e, s.line), body=body)
