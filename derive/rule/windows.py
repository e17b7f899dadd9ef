"""The adjoint of a window as it is written by hand: added in at the places that the forward read.

    dX[i] = Σ_r where((i − r) % 2 == 0 and 0 <= i − r and (i − r)//2 < size(t), dY[(i − r)//2] W[r], 0)
    dK[i] = Σ_g where(2 i + g < size(h), dY[2 i + g], 0)         with g in 0 .. 1

are, with t = (i − r)//2 and h = 2 i + g put back, what `np.add.at` does with the places `2 t + r` and `h // 2`. This
undoes what `derive.deltas` has solved, and only where the forward reads all these places without a guard.
"""

from __future__ import annotations

from dataclasses import dataclass

from derive import expr as E
from derive.deltas import slope
from derive.expr import Add, Call, Cmp, Expr, Get, Index, Mul, Num, Reduce, Size, Where
from derive.program import Statement
from derive.rule.places import Places

Window = tuple[dict[Index, Expr], tuple[Index, ...], Expr]


def window(t: Expr, s: Statement, known: Places) -> Window | None:
    """(place of each index of `s` that is solved for, summed letters, value at the places), or None."""
    opened = _opened(t, s)
    if opened is None:
        return None
    outer, inner, body = opened
    conditions, value = list(E.conjuncts(body.cond)), E.mul(*outer, body.then)
    places: dict[Index, Expr] = {}
    for i in s.indices:
        taken = (*s.indices, *inner)
        found = _solved(i, conditions, taken) or _grouped(i, inner, conditions, taken)
        if found is None:
            continue
        values: dict[Expr, Expr] = {found.gone: found.value}
        conditions = [_put(c, values) for c in conditions if c not in found.spent]
        value = _put(value, values)
        places = {j: _put(p, values) for j, p in places.items()} | {i: found.place}
        inner = (*(j for j in inner if j is not found.gone), found.letter)
    left = frozenset[Index]().union(value.free, *(e.free for e in (*conditions, *places.values())))
    if not places or left & places.keys():
        return None
    if any(known.missing(p, i.extent, ()) for i, p in places.items()):
        return None
    return places, inner, E.where(E.logic("and", *conditions), value, E.ZERO)


@dataclass(frozen=True)
class _Found:
    """A letter that the deltas had solved for: the place it stands at, what is put for the index that goes."""

    letter: Index
    place: Expr
    gone: Index
    value: Expr
    spent: frozenset[Expr]


def _opened(t: Expr, s: Statement) -> tuple[list[Expr], tuple[Index, ...], Where] | None:
    """(factors in front, summed letters, guarded summand) of a term."""
    for f in E.factors(t):
        rest = [g for g in E.factors(t) if g is not f]
        if isinstance(f, Reduce) and f.op == "sum":
            inner, body = E.open_binder(f, avoid=s.indices)
        else:
            inner, body = (), f
        if isinstance(body, Where) and body.other is E.ZERO:
            return rest, inner, body
    return None


def _solved(i: Index, conditions: list[Expr], taken: tuple[Index, ...]) -> _Found | None:
    """t of `c·t = ±i + rest` with 0 <= t < size(t)."""
    for c in conditions:
        if not (isinstance(c, Cmp) and c.op == "<" and isinstance(c.right, Size)) or isinstance(c.left, Index):
            continue
        gap: Expr = c.left
        step: Expr = E.ONE
        if isinstance(c.left, Call) and c.left.fn == "floordiv" and isinstance(c.left.args[1], Num):
            gap, step = c.left.args
        sign = slope(gap, i)
        spent = {c, E.compare("<=", E.ZERO, gap)}
        if step is not E.ONE:
            spent.add(E.compare("==", E.call("mod", gap, step), E.ZERO))
        if sign is not None and abs(sign) == 1 and spent <= set(conditions):
            letter = E.fresh(Index("t", c.right.extent), taken)
            rest = E.sub(gap, E.mul(E.num(sign), i))
            stride = E.mul(step, letter)
            place = E.sub(stride, rest) if sign > 0 else E.sub(rest, stride)
            return _Found(letter, place, i, place, frozenset(spent))
    return None


def _grouped(i: Index, inner: tuple[Index, ...], conditions: list[Expr], taken: tuple[Index, ...]) -> _Found | None:
    """h of `h = c·i + g` with g in 0 .. c−1 and h < size(h)."""
    for c in conditions:
        if isinstance(c, Cmp) and c.op == "<" and isinstance(c.right, Size):
            step = slope(c.left, i)
            for g in inner:
                if step is not None and g.extent == f"={step}" and c.left is E.add(E.mul(E.num(step), i), g):
                    letter = E.fresh(Index("h", c.right.extent), taken)
                    place = E.call("floordiv", letter, E.num(step))
                    return _Found(letter, place, g, E.sub(letter, E.mul(E.num(step), i)), frozenset({c}))
    return None


def _put(e: Expr, values: dict[Expr, Expr]) -> Expr:
    """`e` with the values in place; in subscripts multiples are divided and multiplied out."""
    def step(x: Expr) -> Expr:
        if isinstance(x, Get):
            return Get(x.tensor, tuple(E.transform(s, _whole) for s in x.subs))
        return _whole(x) if isinstance(x, Call) else x

    return E.transform(E.substitute(e, values), step)


def _whole(x: Expr) -> Expr:
    """c·(a + b) = c·a + c·b; (c·a)//c = a; (c·a) % c = 0."""
    if isinstance(x, Mul) and len(x.args) == 2 and isinstance(x.args[0], Num) and isinstance(x.args[1], Add):
        return E.add(*(E.mul(x.args[0], t) for t in x.args[1].args))
    if isinstance(x, Call) and x.fn in ("floordiv", "mod") and isinstance(x.args[1], Num):
        c, rest = E.coefficient(x.args[0])
        if (c / x.args[1].value).denominator == 1 and not isinstance(x.args[0], Add):
            return E.mul(E.num(c / x.args[1].value), rest) if x.fn == "floordiv" else E.ZERO
    return x
