"""Which kind of kernel suits a statement, from the indices that its reads share with its result."""

from __future__ import annotations

from fractions import Fraction
from math import inf

from derive import expr as E
from derive.expr import Expr, Get, Index, Reduce
from derive.plan.group import Group, Task, opened
from derive.plan.scatter.keys import scattered
from derive.plan.terms import peel
from derive.program import Statement
from derive.reads import steady

SECTOR = 8  # neighbours that memory moves at once, of 4 bytes


def classify(s: Statement, menu: tuple[str, ...]) -> Group:
    """The group of `s` alone: the first entry of the menu that fits, else a nest."""
    inner, body, op = opened(s)
    task = Task(s, op, body, inner)
    if any(isinstance(x, Reduce) for x in E.subterms(body)):
        return Group("nest", s.indices, (Task(s, None, s.expr),))
    if op is None:
        return Group("pointwise", s.indices, (task,))
    keys = scattered(s.indices, inner, body) if op == "sum" else None
    if "scatter" in menu and keys is not None:
        return Group("scatter", s.indices, (task,), inner, keys=keys)
    sides = split(s.indices, inner, body) if op == "sum" else None
    if "contraction" in menu and sides is not None:
        return Group("contraction", s.indices, (task,), inner, factors=sides)
    kind = direction(s.indices, body, inner)
    if kind in menu:
        return Group(kind, s.indices, (task,), inner)
    return Group("nest", s.indices, (Task(s, None, s.expr),))


def split(domain: tuple[Index, ...], inner: tuple[Index, ...], body: Expr) -> tuple[Expr, Expr] | None:
    """`Σ_inner f·g` as (f, g): each has an index of the result that the other lacks, and both have one of `inner`.

    Each side may be a product itself; more than two that no one contains are dealt out so that both sides have all of
    `inner`.  A condition in front belongs to the side that has all its indices.
    """
    guards, body = peel(body)
    parts = list(E.factors(body))
    tops = widest(parts)
    if 2 < len(tops) <= 8:
        tops = _dealt(tops, frozenset(domain), frozenset(inner))
    if len(tops) != 2:
        return None
    inside, result = set(inner), set(domain)
    left, right = tops
    if not (left - right) & result or not (right - left) & result or not left & inside or not right & inside:
        return None
    if (left | right) & result != result or (left | right) & inside != inside:
        return None
    sides: list[list[Expr]] = [[], []]
    for f in parts:
        sides[0 if f.free <= left else 1].append(f)
    first, second = E.mul(*sides[0]), E.mul(*sides[1])
    tests: list[list[Expr]] = [[], []]
    for c in guards:
        if c.free <= left:
            tests[0].append(c)
        elif c.free <= right:
            tests[1].append(c)
        else:
            return None
    for n, side in enumerate((first, second)):
        if tests[1 - n] and not all(map(steady, (side, *tests[n]))):
            return None  # what is read here may need a guard that went to the other side
    return (_guarded(tests[0], first), _guarded(tests[1], second))


def widest(parts: list[Expr]) -> list[frozenset[Index]]:
    """The sets of indices of factors that no other factor has all of."""
    tops: list[frozenset[Index]] = []
    for f in sorted(parts, key=lambda f: (-len(f.free), f.key)):
        if not any(f.free <= t for t in tops):
            tops.append(f.free)
    return tops


def _dealt(tops: list[frozenset[Index]], result: frozenset[Index], inner: frozenset[Index]) -> list[frozenset[Index]]:
    """Two unions of `tops` that both have all of `inner`, and each an index of the result that the other lacks; those
    with the fewest indices, or none."""
    best: list[frozenset[Index]] = []
    for chosen in range(1, 2 ** (len(tops) - 1)):
        sides = [frozenset().union(*(t for n, t in enumerate(tops) if (chosen >> n & 1) == side)) for side in (0, 1)]
        left, right = sides
        fits = inner <= left & right and (left - right) & result and (right - left) & result
        if fits and (not best or max(map(len, sides)) < max(map(len, best))):
            best = sides
    return best


def _guarded(conds: list[Expr], e: Expr) -> Expr:
    return E.where(E.logic("and", *conds), e, E.ZERO) if conds else e


def direction(domain: tuple[Index, ...], body: Expr, inner: tuple[Index, ...]) -> str:
    """row: memory runs along `inner`; column: along the result; nest: neither, or no fewer results than terms."""
    inside = set(inner)
    if not domain:
        return "row"
    reads = [x for x in E.subterms(body) if isinstance(x, Get) and x.free & inside]
    if any(not isinstance(s, Index) and s.free & inside and not gathered(s) for g in reads for s in g.subs):
        return _condensed(domain, reads, inside)
    straight = [g for g in reads if all(isinstance(s, Index) for s in g.subs)]
    width = max((len(g.free) for g in straight), default=0)
    votes = [bool(g.subs[-1].free & inside) for g in straight if len(g.free) == width]
    return "row" if 2 * sum(votes) >= len(votes) else "column"


def _condensed(domain: tuple[Index, ...], reads: list[Get], inside: set[Index]) -> str:
    """The direction of a sum with computed subscripts: a nest unless it makes few results of many terms.

    It does where a read that gives each result its own elements has all of `inside`, and more axes than the result: as
    `dY[b,c,t]` in `dW[c,r] = sum(b, t, X[b,c,t-r]*dY[b,c,t])`, and not `W[c,r]` in `sum(r, X[b,c,t-r]*W[c,r])`.  An
    axis of the result that no letter runs along is one that windows slide over, and as long as what they are summed to.
    """
    own = [g for g in reads if g.free >= inside and all(_step(s, inside) is not None for s in g.subs)]
    width = max(map(_axes, own), default=0)
    if width <= len(domain) or any("." in i.extent for i in domain):
        return "nest"
    votes = [(_step(g.subs[-1], inside) or 0) >= SECTOR for g in own if _axes(g) == width]
    return "row" if 2 * sum(votes) >= len(votes) else "column"


def _axes(g: Get) -> int:
    return len({s for s in g.subs if s.free})


def _step(s: Expr, inside: set[Index]) -> float | None:
    """How far apart along `s` the results lie, where each has elements of its own: 1 for an index of the result, 4 for
    `4*g + k` with a summed k, no end for a summed index; None where they may share some."""
    if isinstance(s, Index):
        return inf if s in inside else 1
    steps: dict[bool, list[Fraction]] = {True: [], False: []}
    for t in E.terms(s):
        c, v = E.coefficient(t)
        if isinstance(v, Index) and c > 0:
            steps[v in inside].append(c)
        elif v.free:
            return None
    apart = min(steps[False], default=inf)
    return float(apart) if apart > max(steps[True], default=0) else None


def gathered(s: Expr) -> bool:
    """Whether a subscript is read from an index tensor."""
    return isinstance(s, Get)
