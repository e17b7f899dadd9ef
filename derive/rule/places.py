"""Which places of a scatter are known to be in range: those that the forward formula itself reads.

A scatter comes from a gather, `E[ids[t], c]`, whose ids are in range wherever it is read, or from a comparison that
the formula spells, `where(ids[t] == v, ...)`, which holds for no v when they are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from derive import expr as E
from derive.expr import Cmp, Expr, Get, Index, Logic, Reduce, Softmax, Where
from derive.patterns import occurrence
from derive.program import Program


class Places:
    """Subscripts of a formula by the extent that they address, each with the guards it is read under."""

    def __init__(self, program: Program | None):
        self.read: dict[tuple[Expr, str], list[tuple[tuple[Index, ...], tuple[Expr, ...]]]] = {}
        self.integers = {t.name for t in program.inputs if t.integer} if program else set()
        for s in program.statements if program else ():
            for guards, g in _accesses(s.expr, (), s.indices):
                for sub, extent in zip(g.subs, program.axes(g.tensor) if program else (), strict=True):
                    if not isinstance(sub, Index):
                        p, order = _pattern(sub)
                        self.read.setdefault((p, extent), []).append((order, guards))

    def whole(self, e: Expr) -> bool:
        """Whether `e` is made of integers alone."""
        return all(x.tensor in self.integers for x in E.subterms(e) if isinstance(x, Get))

    def missing(self, e: Expr, extent: str, held: Iterable[Expr]) -> tuple[Expr, ...]:
        """The conditions that `e` needs besides those `held` to be a place on an axis."""
        p, order = _pattern(e)
        known = set(held)
        for there, guards in self.read.get((p, extent), ()):
            here: dict[Expr, Expr] = dict(zip(there, order, strict=True))
            if {E.substitute(g, here) for g in guards} <= known:
                return ()
        return (Cmp("<=", E.ZERO, e), Cmp("<", e, E.Size(extent)))


def _pattern(e: Expr) -> tuple[Expr, tuple[Index, ...]]:
    """`e` with placeholders for its indices, in an order that does not depend on their names where extents tell."""
    order = occurrence(e)
    if len({i.extent for i in order}) == len(order):
        order = tuple(sorted(order, key=lambda i: i.extent))
    return E.substitute(e, {i: Index(f"?{n}", i.extent) for n, i in enumerate(order)}), order


def _accesses(e: Expr, guards: tuple[Expr, ...], scope: tuple[Index, ...]) -> Iterator[tuple[tuple[Expr, ...], Get]]:
    if isinstance(e, Where):
        yield from _accesses(e.cond, guards, scope)
        yield from _accesses(e.then, (*guards, *E.conjuncts(e.cond)), scope)
        yield from _accesses(e.other, (*guards, *E.conjuncts(E.negate(e.cond))), scope)
        return
    if isinstance(e, Logic) and e.op != "not":
        for n, c in enumerate(e.args):
            yield from _accesses(c, (*guards, *e.args[:n]) if n else guards, scope)
        return
    if isinstance(e, (Reduce, Softmax)):
        inner, body = E.open_binder(e, avoid=scope)
        yield from _accesses(body, guards, (*scope, *inner))
        for at in e.at if isinstance(e, Softmax) else ():
            yield from _accesses(at, guards, scope)
        return
    if isinstance(e, Get):
        yield guards, e
    for c in e.children:
        yield from _accesses(c, guards, scope)


