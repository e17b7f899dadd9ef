"""Reads at computed places, `C[3 - i]` or `D[ids[t]]`, and the conditions that keep them in range.

A bare index is in range wherever it runs; a computed place only where the conditions around it hold, and those that
stand before it in `c and d`.  So whoever moves a condition must not move it away from those that it needs:

    where(i < 3, where(C[2 - i] > 0, a, b), 0)      the inner condition is asked under the outer one only
    where(i < 3 and C[2 - i] > 0, a, 0)             and never before it
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from derive import expr as E
from derive.expr import Cmp, Expr, Get, Index, Logic, Reduce, Softmax, Where


def computed(e: Expr) -> dict[Expr, None]:
    """The places that `e` reads at and that are no bare index: of a tensor, or of a softmax that has no name yet."""
    places = (x.subs if isinstance(x, Get) else x.at for x in E.subterms(e) if isinstance(x, (Get, Softmax)))
    return {p: None for at in places for p in at if not isinstance(p, Index)}


def steady(e: Expr) -> bool:
    """Whether every access in `e` is in range wherever its indices run: subscripts are bare indices."""
    return not computed(e)


def keepers(around: Sequence[Expr], e: Expr) -> tuple[Expr, ...]:
    """Those of the conditions in force that may keep the reads of `e` in range, and what these need in turn.

    A condition says something of a place if they share an index; without one of its own, the one or the other may
    speak of every place.
    """
    kept: list[Expr] = []
    places = computed(e)
    for c in reversed(around):
        if any(not c.free or not p.free or c.free & p.free for p in places):
            kept.append(c)
            places |= computed(c)
    return tuple(reversed(kept))


def presence(e: Expr, atom: Expr) -> Expr:
    """A condition that holds wherever the value of `e` reads `atom`, and keeps what stands in its subscripts in range.

    An atom that several terms read, each under a guard of its own, has a slope that is a sum of guarded terms: what
    depends on its subscripts alone, as the delta `i = ids[3 - l]`, stands outside of all of them.
    """
    ways: dict[tuple[Expr, ...], None] = {}

    def walk(x: Expr, around: tuple[Expr, ...]) -> None:
        if x is atom:
            ways.setdefault(keepers(around, atom))
        elif isinstance(x, Where):
            walk(x.then, (*around, *E.conjuncts(x.cond)))
            walk(x.other, (*around, *E.conjuncts(E.negate(x.cond))))
        elif not isinstance(x, (Cmp, Logic, Reduce, Softmax)):  # what a reduction reads has a slope of its own
            for part in x.children:
                walk(part, around)

    walk(e, ())
    shared = [c for c in next(iter(ways)) if all(c in w for w in ways) and (len(ways) == 1 or steady(c))]
    rests = [E.logic("and", *(c for c in w if c not in shared)) for w in ways]
    return E.logic("and", *shared, E.logic("or", *rests))


def in_order(conditions: Iterable[Expr], more: Iterable[Expr]) -> list[Expr]:
    """`conditions` in their order, and each of `more` where what it needs is known and before what needs it.

    A condition of `more` that bounds a place, `0 <= i - ids[t]`, comes before those that read there, `C[i - ids[t]]`;
    what bounds its own reads, as it is computed from less, is drawn before it.
    """
    out = list(conditions)
    for m in sorted(more, key=depth):
        own = {x for x in E.subterms(m) if isinstance(x, Get)}
        at = next((n for n, c in enumerate(out) if any(x in own for p in computed(c) for x in E.subterms(p))), len(out))
        late = [c for c in keepers(out[at:], m) if depth(c) < depth(m)]
        out = [*out[:at], *late, m, *(c for c in out[at:] if c not in late)]
    return out


def surely_read(e: Expr) -> Iterable[Get]:
    """The accesses of `e` that are made whatever its conditions say."""
    if isinstance(e, Get):
        yield e
    parts = e.children
    if isinstance(e, Where):
        parts = (e.cond,)
    elif isinstance(e, Logic):
        parts = e.args[:1]
    for part in parts:
        yield from surely_read(part)


def needs(c: Expr) -> tuple[bool, int, int]:
    """An order for the conditions of a product, which has none. Each brings with it what it needs, but for those that
    a kink in a branch adds: such a one reads as deep as what stands in the branch, and is no conjunction."""
    parts = E.conjuncts(c)
    return not steady(c), depth(parts[0]), -len(parts)


def depth(e: Expr) -> int:
    """How many reads at computed places stand in one another."""
    return max((1 + depth(p) for p in computed(e)), default=0)
