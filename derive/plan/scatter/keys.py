"""Which row of a result each place of an index tensor adds to: the pattern of a scatter, the adjoint of a gather.

    Σ_t where(v == ids[t] and ..., value, 0)         each place t adds to the row v = ids[t]
    Σ_t where(0 <= v - e and v - e < size(r), ...)   a window: each place (t, r) adds to the row v = e + r
"""

from __future__ import annotations

from dataclasses import dataclass

from derive import expr as E
from derive.expr import Cmp, Expr, Get, Index, Size, Where
from derive.reads import keepers


@dataclass(frozen=True)
class Keys:
    """How a sum scatters.

    Attributes:
        places: indices that choose a row together, in the order of the result's and then of the summed ones.
        rows: indices of the result that the places choose, in its order; the others are free.
        inner: every summed index.
        targets: what a chosen index must equal, an integer term over `places`; a place's own index stands for itself.
        guard: what must hold for a place to add anything, each target in range.
        value: what a place adds to an element of its row, with conditions that need more than the place.
    """

    places: tuple[Index, ...]
    rows: tuple[Index, ...]
    inner: tuple[Index, ...]
    targets: tuple[Expr, ...]
    guard: Expr
    value: Expr

    @property
    def integers(self) -> set[str]:
        """The tensors that rows are read from: real ones would make no scatter."""
        return {x.tensor for t in self.targets for x in E.subterms(t) if isinstance(x, Get)}


def scattered(domain: tuple[Index, ...], inner: tuple[Index, ...], body: Expr) -> Keys | None:
    """The keys of `Σ_inner body` at the indices `domain`; None if no index tensor chooses a row of it."""
    if not isinstance(body, Where) or body.other is not E.ZERO:
        return None
    body, inner = _windows_opened(body, domain, inner)
    if not isinstance(body, Where):
        return None
    conds = E.conjuncts(body.cond)
    targets: dict[Index, Expr] = {}
    keys: dict[Expr, Expr] = {}  # condition -> the same without the result's index: its target is in range
    for c in conds:
        found = _target(c, domain, targets)
        if found is not None:
            v, e = found
            targets[v] = e
            keys[c] = E.logic("and", E.compare("<=", E.ZERO, e), E.compare("<", e, Size(v.extent)))
    chosen = {i for e in targets.values() for i in e.free}
    if not chosen & set(inner) or chosen & targets.keys():
        return None
    places = tuple(i for i in (*domain, *inner) if i in chosen)
    rows = tuple(i for i in domain if i in targets or i in chosen)
    own: list[Expr] = []
    rest: list[Expr] = []
    for c in conds:  # in their order: what needs a condition that asks for more than the place comes after it
        apart = not keepers(rest, c)
        if c in keys and not apart:
            return None
        (own if apart and (c in keys or c.free <= chosen) else rest).append(c)
    return Keys(
        places,
        rows,
        inner,
        tuple(targets.get(i, i) for i in rows),
        E.logic("and", *(keys.get(c, c) for c in own)),
        E.where(E.logic("and", *rest), body.then, E.ZERO),
    )


def _target(c: Expr, domain: tuple[Index, ...], known: dict[Index, Expr]) -> tuple[Index, Expr] | None:
    """(v, e) of the condition `v == e`, where v is an index of the result and e is read from an index tensor."""
    if not isinstance(c, Cmp) or c.op != "==":
        return None
    for v, e in ((c.left, c.right), (c.right, c.left)):
        if isinstance(v, Index) and v in domain and v not in known and v not in e.free and _gathers(e):
            return v, e
    return None


def _windows_opened(body: Where, domain: tuple[Index, ...], inner: tuple[Index, ...]) -> tuple[Expr, tuple[Index, ...]]:
    """`where(0 <= v - e and v - e < size(r), f(v - e), 0)` as `where(v == e + r, f(r), 0)`, r summed over as well;
    so too for e - v."""
    opened: Expr = body
    for c in E.conjuncts(body.cond):
        if not (isinstance(c, Cmp) and c.op == "<" and isinstance(c.right, Size)):
            continue
        step = c.left
        found = _index_of(step, domain)
        lower = E.compare("<=", E.ZERO, step)
        if found is None or lower not in E.conjuncts(body.cond):
            continue
        v, sign = found
        rest = E.sub(step, E.mul(sign, v))
        if not _gathers(rest) or v in rest.free:
            continue
        r = E.fresh(Index("", c.right.extent), (*domain, *inner, *opened.free))
        within = _replaced(opened, step, r)
        assert isinstance(within, Where)
        ends = (E.compare("<=", E.ZERO, r), E.compare("<", r, c.right))
        others = [x for x in E.conjuncts(within.cond) if x not in ends]
        at = E.compare("==", v, E.mul(sign, E.sub(r, rest)))
        opened = Where(E.logic("and", *others, at), within.then, E.ZERO)
        inner = (*inner, r)
    return opened, inner


def _index_of(step: Expr, domain: tuple[Index, ...]) -> tuple[Index, Expr] | None:
    """(v, ±1) of a term ±v of `step`, v an index of the result."""
    for t in E.terms(step):
        c, v = E.coefficient(t)
        if isinstance(v, Index) and v in domain and abs(c) == 1:
            return v, E.num(c)
    return None


def _replaced(e: Expr, old: Expr, new: Expr) -> Expr:
    return E.transform(e, lambda x: new if x is old else x)


def _gathers(e: Expr) -> bool:
    return any(isinstance(x, Get) for x in E.subterms(e))
