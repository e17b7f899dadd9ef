"""Sums of products of three or more tensors, taken two at a time.

    Y[i,l] = sum(j, k, A[i,j]*B[j,k]*C[k,l])  =>  T[i,k] = sum(j, A[i,j]*B[j,k]);  Y[i,l] = sum(k, T[i,k]*C[k,l])

The order is the cheapest one by the number of terms (dynamic programming over the subsets of factors, as for an einsum
path), with 512 for every extent that the formula leaves open, among those whose temporaries are no larger than the
largest tensor of the product.  A product that one contraction takes for no more than twice that stays whole, and so
does one of two factors that share all their summed indices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from derive import expr as E
from derive.expr import Expr, Get, Index, Where
from derive.plan.classify import split, widest
from derive.plan.group import opened
from derive.plan.prepare import appearance
from derive.program import Statement

TYPICAL = 512
SAME = 0.9  # steps that cost little more than the whole are worth it: a contraction reads its tensors once a tile
MOST = 8  # factors of a product whose order is looked for

Indices = frozenset[Index]


def in_pairs(
    statements: list[Statement],
    fresh: Callable[[str], str],
    apart: Collection[str] = (),
    written: Callable[[Statement], Statement] = lambda s: s,
) -> list[Statement]:
    """`statements` with products of many tensors in steps; equal steps are taken once, those of `apart` stay.

    `written` gives a statement with every factor in sight; one that is not cut stays as it is.
    """
    steps = _Steps(fresh)
    for s in statements:
        whole = written(s)
        last = whole if s.name in apart else steps.taken(whole)
        steps.out.append(s if last is whole else last)
    return steps.out


@dataclass(frozen=True)
class _Way:
    """How the product of some factors is had: its cost so far, what is left of its indices, and of what it is made."""

    cost: float
    indices: Indices
    parts: tuple[int, int] | None  # two subsets of the factors, as bits


@dataclass
class _Steps:
    """The statements so far, and the products among them by what they are of."""

    fresh: Callable[[str], str]
    out: list[Statement] = field(default_factory=list)
    known: dict[Expr, tuple[str, tuple[int, ...]]] = field(default_factory=dict)

    def taken(self, s: Statement) -> Statement:
        """`s`, or its last step; the others are in `out` before it."""
        inner, body, op = opened(s)
        if op != "sum" or isinstance(body, Where) or any(isinstance(x, E.Reduce) for x in E.subterms(body)):
            return s
        groups = _grouped(body)
        private = any(sum(i in g.free for g in groups) == 1 for i in inner)
        if not 2 <= len(groups) <= MOST or (len(groups) == 2 and not private):
            return s
        ways = _ways([g.free for g in groups], frozenset(s.indices), lambda part, kept: self.has(groups, part, kept))
        best = ways.get(2 ** len(groups) - 1)
        if best is None or best.parts is None:
            return s
        direct = _terms(frozenset(inner) | frozenset(s.indices))
        whole = split(s.indices, inner, body) is not None
        if direct <= (2 if whole else SAME) * best.cost:
            return s
        sides = [self.made(s, groups, ways, part) for part in best.parts]
        left = sides[0].free | sides[1].free
        order = tuple(i for i in inner if i in left)
        return Statement(s.name, s.indices, E.reduction("sum", order, E.mul(*sides)), s.line)

    def made(self, s: Statement, groups: list[Expr], ways: dict[int, _Way], part: int) -> Expr:
        """The product of the factors of `part`, summed over what only they have; a statement, if it is no factor."""
        way = ways[part]
        whole = _product(groups, part, way.indices)
        if way.parts is None and not isinstance(whole, E.Reduce):
            return whole
        shape, place = _shape(whole)
        if shape not in self.known:
            e = whole
            if way.parts is not None:
                e = E.mul(*(self.made(s, groups, ways, p) for p in way.parts))
                e = E.reduction("sum", tuple(sorted(e.free - way.indices, key=lambda i: i.key)), e)
            rows = sorted(place, key=lambda i: i not in s.indices)  # those of the result lead: its rows lie in ours
            self.known[shape] = self.fresh(f"{s.name}_product"), tuple(place.index(i) for i in rows)
            self.out.append(Statement(self.known[shape][0], tuple(rows), e, s.line))
        name, axes = self.known[shape]
        return Get(name, tuple(place[a] for a in axes))

    def has(self, groups: list[Expr], part: int, kept: Indices) -> bool:
        return _shape(_product(groups, part, kept))[0] in self.known


def _product(groups: list[Expr], part: int, kept: Indices) -> Expr:
    """The product of the factors of `part`, summed over all but `kept`."""
    e = E.mul(*(g for n, g in enumerate(groups) if part >> n & 1))
    bound = tuple(sorted(e.free - kept, key=lambda i: i.key))
    return E.reduction("sum", bound, e) if bound else e


def _shape(e: Expr) -> tuple[Expr, tuple[Index, ...]]:
    """`e` whatever its indices are called, and these in the order in which they appear."""
    place = appearance(e)
    return E.substitute(e, {i: Index(f"@{n}", i.extent) for n, i in enumerate(place)}), place


def _grouped(body: Expr) -> list[Expr]:
    """The factors of a product, those whose indices another has multiplied into it."""
    parts = list(E.factors(body))
    tops = widest(parts)
    members: list[list[Expr]] = [[] for _ in tops]
    for f in parts:
        members[next(n for n, t in enumerate(tops) if f.free <= t)].append(f)
    return [E.mul(*m) for m in members]


def _ways(sets: list[Indices], result: Indices, has: Callable[[int, Indices], bool]) -> dict[int, _Way]:
    """The cheapest way to each subset of the factors whose product needs no temporary larger than all else.

    `has` says whether the product of a subset is there already.
    """
    room = max(_terms(s) for s in (*sets, result))
    ways: dict[int, _Way] = {}
    full = 2 ** len(sets) - 1
    for subset in range(1, full + 1):
        outside: Indices = frozenset().union(*(s for n, s in enumerate(sets) if not subset >> n & 1))
        kept = (result | outside) & frozenset().union(*(s for n, s in enumerate(sets) if subset >> n & 1))
        if subset & (subset - 1) == 0:
            own = sets[subset.bit_length() - 1]
            ways[subset] = _Way(0 if kept == own or has(subset, kept) else _terms(own), kept, None)
            continue
        if has(subset, kept):
            ways[subset] = _Way(0, kept, None)
            continue
        if subset != full and _terms(kept) > room:
            continue
        part = (subset - 1) & subset
        while part:
            a, b = ways.get(part), ways.get(subset ^ part)
            if part > subset ^ part and a is not None and b is not None:
                cost = a.cost + b.cost + _terms(a.indices | b.indices)
                if subset not in ways or cost <= ways[subset].cost:
                    ways[subset] = _Way(cost, kept, (part, subset ^ part))
            part = (part - 1) & subset
    return ways


def _terms(indices: Indices) -> float:
    return math.prod(int(i.extent[1:]) if i.extent.startswith("=") else TYPICAL for i in indices)
