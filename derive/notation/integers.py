"""Which inputs hold integers by their use alone.

    where(s < lengths[b], X[b,s], 0)        lengths counts places: as a real number of 16 bits, 257 would be 256
    where(s < lengths[b]//2, X[b,s], 0)     so does it here
    where(X[i] < bound[i], X[i], 0)         bound stays real
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from derive import expr as E
from derive.expr import Call, Cmp, Expr, Get, Index, Num, Param, Size


def compared_with_places(exprs: Iterable[Expr], params: Mapping[str, Fraction]) -> set[str]:
    """Tensors all of whose elements stand in comparisons between whole numbers, an index among them."""
    compared: set[str] = set()
    elsewhere: set[str] = set()

    def visit(e: Expr) -> None:
        if isinstance(e, Get):
            elsewhere.add(e.tensor)
        whole = list(_whole_terms(e, params)) if isinstance(e, Cmp) else []
        compared.update(x.tensor for x in whole if isinstance(x, Get))
        for part in whole or e.children:
            for x in part.children if whole else (part,):
                visit(x)

    for e in exprs:
        visit(e)
    return compared - elsewhere


def _whole_terms(c: Cmp, params: Mapping[str, Fraction]) -> list[Expr]:
    """The terms of both sides, if each is a whole multiple of an index, extent or element, and one is an index."""
    found = [x for side in (c.left, c.right) for x in _summands(side)]
    values = [(n*params[x.name], E.ONE) if isinstance(x, Param) else (n, x) for n, x in found]
    terms = [x for _, x in values]
    whole = all(n.denominator == 1 and isinstance(x, (Index, Size, Get, Num)) for n, x in values)
    return terms if whole and any(isinstance(x, Index) for x in terms) else []


def _summands(e: Expr) -> Iterator[tuple[Fraction, Expr]]:
    """What a sum is made of, `(3, x)` of `3·x`; of `x // 2` and of `x % 2` it is what x is made of."""
    for n, x in map(E.coefficient, E.terms(e)):
        if isinstance(x, Call) and x.fn in ("floordiv", "mod"):
            yield n, E.ONE
            yield from _summands(x.args[0])
        else:
            yield n, x
