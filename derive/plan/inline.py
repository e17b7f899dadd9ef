"""Cheap maps written into the sums that read them, so that they need no pass over memory of their own.

    Z[i,j] = where(H[i,j] > 0, dY[i,j], 0);  dX[i,k] = sum(j, Z[i,j]*W[k,j])

A map is written into a contraction, a column sum or a scatter when it reads one large tensor at most, computes no
function, and stands on arguments only (what a kernel makes, that kernel can follow with the map for nothing).
"""

from __future__ import annotations

from collections.abc import Collection

from derive import expr as E
from derive.expr import Call, Expr, Get, Num, Pow, Reduce
from derive.plan.classify import classify
from derive.program import Statement

SMALL = 12  # sub-terms of a map that is cheap


def write_in(statements: list[Statement], menu: tuple[str, ...], apart: Collection[str] = ()) -> list[Statement]:
    """`statements` with cheap maps written into the sums that read them; those of `apart` stay as they are."""
    if not menu:
        return statements
    made = {s.name for s in statements}
    cheap: dict[str, Statement] = {}
    out: list[Statement] = []
    for s in statements:
        if s.name in apart:
            pass
        elif isinstance(s.expr, Reduce) and set(E.tensors(s.expr)) & set(cheap):
            trial = Statement(s.name, s.indices, _written(s.expr, cheap), s.line)
            before, after = classify(s, menu).plan, classify(trial, menu).plan
            if before == after and after in ("contraction", "column", "scatter"):
                s = trial
        elif not made & set(E.tensors(s.expr)) and _is_cheap(s):
            cheap[s.name] = s
        out.append(s)
    return out


def _written(e: Expr, cheap: dict[str, Statement]) -> Expr:
    def rule(x: Expr) -> Expr:
        if isinstance(x, Get) and x.tensor in cheap:
            s = cheap[x.tensor]
            return E.substitute(s.expr, dict(zip(s.indices, x.subs, strict=True)))
        return x

    return E.transform(e, rule)


def _is_cheap(s: Statement) -> bool:
    inside = E.subterms(s.expr)
    functions = [
        x
        for x in inside
        if isinstance(x, (Call, Reduce))
        or (isinstance(x, Pow) and not (isinstance(x.exponent, Num) and x.exponent.value in (2, 3)))
    ]
    large = [x for x in inside if isinstance(x, Get) and len(x.free) >= len(s.indices) > 0]
    return not functions and len(large) < 2 and len(inside) <= SMALL
