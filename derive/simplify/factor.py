"""Common factors taken out of a sum: `a·b + a·c = a·(b + c)`.

Powers share their smallest exponent, guarded terms `where(c, a, 0)` count as `a · where(c, 1, 0)` for factors that
other terms need anyway.  A step is kept only if it makes the term smaller, so it ends.
"""

from __future__ import annotations

from collections.abc import Callable

from derive import expr as E
from derive.expr import Add, Expr, Num, Where
from derive.simplify.cost import cost

Bag = dict[Expr, Expr]  # base -> exponent


def factor(e: Expr) -> Expr:
    """Factor every sum in `e`, innermost first, where that saves operations."""
    return E.transform(e, lambda x: _best(x) if isinstance(x, Add) else x)


def _best(e: Add) -> Expr:
    best: Expr = e
    for candidate in _candidates(e):
        if cost(candidate) < cost(best):
            best = candidate
    if best is not e and isinstance(best, Add):
        return _best(best)
    return best


def _bag(t: Expr) -> tuple[Bag, Callable[[Bag], Expr]]:
    """The factors of a term, and how to put the rest back together when some are taken out."""
    if isinstance(t, Where) and t.other is E.ZERO:
        inner, put = _bag(t.then)
        return inner, lambda rest: E.where(t.cond, put(rest), E.ZERO)
    bag: Bag = {}
    for f in E.factors(t):
        base, exponent = E.split_power(f)
        bag[base] = E.add(bag[base], exponent) if base in bag else exponent  # 2·√2 has two factors of one base
    return bag, lambda rest: E.mul(*(E.power(b, x) for b, x in rest.items()))


def _candidates(e: Add) -> list[Expr]:
    bags = [_bag(t) for t in e.args]
    guarded = [isinstance(t, Where) for t in e.args]
    bases = [b for b, _ in sorted(
        {b: None for bag, _ in bags for b in bag if not isinstance(b, Num)}.items(), key=lambda kv: kv[0].key)]
    out: list[Expr] = []
    signs = [E.coefficient(t)[0] for t in e.args]
    number = abs(signs[0])
    if number != 1 and all(abs(c) == number for c in signs):
        out.append(E.mul(E.num(number), _keep(E.add(*(E.mul(E.num(1 / number), t) for t in e.args)))))
    groups: dict[tuple[int, ...], None] = {}
    for b in bases:
        members = tuple(n for n, (bag, _) in enumerate(bags) if b in bag)
        if len(members) > 1 and not all(guarded[n] for n in members):
            groups.setdefault(members)
    for members in groups:
        common = _common([bags[n][0] for n in members])
        if not common:
            continue
        inner = _shorter(E.add(*(_without(bags[n], common) for n in members)))
        if cost(inner) >= cost(e):  # a power such as x^(y − 1) can come back as it was
            continue
        taken = E.mul(*(E.power(b, x) for b, x in common.items()))
        out.append(E.add(*(t for n, t in enumerate(e.args) if n not in members), E.mul(taken, _keep(inner))))
    return out


def _shorter(e: Expr) -> Expr:
    """`1 − (r + 1)` as `−r`: multiples of sums opened where their terms cancel."""
    terms = [E.mul(E.num(c), t) for c, rest in map(E.coefficient, E.terms(e)) for t in E.terms(rest)]
    opened = E.add(*terms)
    return opened if cost(opened) < cost(e) else e


def _keep(e: Expr) -> Expr:
    return _best(e) if isinstance(e, Add) else e


def _common(bags: list[Bag]) -> Bag:
    out: Bag = {}
    for b in bags[0]:
        if isinstance(b, Num) or not all(b in bag for bag in bags):
            continue
        exponents = [bag[b] for bag in bags]
        if all(x is exponents[0] for x in exponents):
            out[b] = exponents[0]
        elif all(isinstance(x, Num) for x in exponents):
            values = [x.value for x in exponents if isinstance(x, Num)]
            if all(v > 0 for v in values):
                out[b] = E.num(min(values))
            elif all(v < 0 for v in values):
                out[b] = E.num(max(values))
    return out


def _without(bag: tuple[Bag, Callable[[Bag], Expr]], common: Bag) -> Expr:
    rest = dict(bag[0])
    for b, x in common.items():
        left = E.sub(rest[b], x)
        if left is E.ZERO:
            del rest[b]
        else:
            rest[b] = left
    return bag[1](rest)
