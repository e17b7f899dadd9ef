"""Sums that a condition leaves one term of: `Σ_l where(l = a, f(l), 0) = f(a)`.

    Σ_l where(l = a and c(l), f(l), 0)   ->  where(c(a), f(a), 0)

`a` is a place of l wherever it stands: another index of the same extent, or a number below an extent that the formula
states.  Elsewhere the sum says what is meant where there is no such place.  Each step removes one summed index, so it
ends.
"""

from __future__ import annotations

from derive import expr as E
from derive.expr import Cmp, Expr, Index, Num, Reduce, Where


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
                    rest = E.where(E.logic("and", *(o for o in conditions if o is not c)), body.then, E.ZERO)
                    return E.summation((i for i in indices if i not in found), E.substitute(rest, found))
    return x


def _place(c: Expr, summed: tuple[Index, ...]) -> dict[Expr, Expr] | None:
    """The summed index that a condition fixes, and at what."""
    if isinstance(c, Cmp) and c.op == "==":
        for letter, a in ((c.left, c.right), (c.right, c.left)):
            if isinstance(letter, Index) and letter in summed and a is not letter and _is_place(a, letter.extent):
                return {letter: a}
    return None


def _is_place(a: Expr, extent: str) -> bool:
    if isinstance(a, Num):
        return extent.startswith("=") and a.value.denominator == 1 and 0 <= a.value < int(extent[1:])
    return isinstance(a, Index) and a.extent == extent
