"""Sums that a condition leaves one term of: `Σ_l where(l = a, f(l), 0) = f(a)`.

    Σ_l where(l = a and c(l), f(l), 0)   ->  where(0 ≤ a < size(l) and c(a), f(a), 0)

`a` is computed from numbers and indices, not read from a tensor: an entry of one can lie out of range, and the sum
over `v = labels[s]` says what is then meant.  What is known of its range is dropped.  Each step removes one summed
index, so it ends.
"""

from __future__ import annotations

from derive import expr as E
from derive.expr import Add, Cmp, Expr, Index, Mul, Num, Reduce, Size, Where


def sift(e: Expr) -> Expr:
    """Apply the rule above everywhere in `e`."""
    return E.transform(e, _step)


def _step(x: Expr) -> Expr:
    if isinstance(x, Reduce) and x.op == "sum":
        indices, body = E.open_binder(x)
        if isinstance(body, Where) and body.other is E.ZERO:
            conditions = E.conjuncts(body.cond)
            for c in conditions:
                found = _place(c, indices)
                if found is not None:
                    rest = [o for o in conditions if o is not c]
                    return _picked(indices, *found, E.where(E.logic("and", *rest), body.then, E.ZERO))
    return x


def _place(c: Expr, summed: tuple[Index, ...]) -> tuple[Index, Expr] | None:
    """The summed index that a condition fixes, and at what."""
    if isinstance(c, Cmp) and c.op == "==":
        for letter, a in ((c.left, c.right), (c.right, c.left)):
            if letter in summed and letter not in a.free and all(map(_whole, E.subterms(a))):
                assert isinstance(letter, Index)
                return letter, a
    return None


def _whole(x: Expr) -> bool:
    return isinstance(x, (Index, Size, Add, Mul)) or (isinstance(x, Num) and x.value.denominator == 1)


def _picked(summed: tuple[Index, ...], letter: Index, a: Expr, body: Expr) -> Expr:
    """The term of the sum at `letter = a`, 0 where there is no such place."""
    stated = letter.extent.startswith("=")
    size = E.num(int(letter.extent[1:])) if stated else Size(letter.extent)
    inside = [] if isinstance(a, Index) and a.extent == letter.extent else [
        E.compare("<=", E.ZERO, a), E.compare("<", a, size)]
    guard = E.decide(E.logic("and", *inside))
    rest = tuple(i for i in summed if i is not letter)
    return E.summation(rest, E.where(guard, E.substitute(body, {letter: a}), E.ZERO))
