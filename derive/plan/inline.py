"""Cheap maps written into the sums that read them, so that they need no pass over memory of their own.

    Z[i,j] = where(H[i,j] > 0, dY[i,j], 0);  dX[i,k] = sum(j, Z[i,j]*W[k,j])

A map is written into a contraction or a scatter when it reads one large tensor at most, computes no function, and
stands on arguments only (what a kernel makes, that kernel can follow with the map for nothing). When only maps still
read what has been written into a sum, it is written into them as well, and nothing is left of it.
"""

from __future__ import annotations

from collections.abc import Collection

from derive import expr as E
from derive.expr import Call, Expr, Get, Num, Pow, Reduce
from derive.plan.again import Again
from derive.plan.classify import classify
from derive.program import Statement

SMALL = 12  # sub-terms of a map that is cheap


def write_in(
    statements: list[Statement],
    menu: tuple[str, ...],
    apart: Collection[str] = (),
    results: Collection[str] = (),
    again: Again | None = None,
) -> list[Statement]:
    """`statements` with cheap maps written into the sums that read them; those of `apart` stay as they are."""
    if not menu:
        return statements
    made = {s.name for s in statements}
    cheap: dict[str, Statement] = {}
    written: dict[str, Statement] = {}
    out: list[Statement] = []
    for s in statements:
        reads = set(E.tensors(s.expr))
        whole = again.written(s) if again else s
        if s.name in apart:
            pass
        elif isinstance(s.expr, Reduce) and reads & {*cheap}:
            before = classify(s, menu).plan
            trial = Statement(s.name, s.indices, _written(s.expr, cheap), s.line)
            if before == classify(trial, menu).plan and before in ("contraction", "scatter"):
                s = trial
                written |= {n: m for n, m in cheap.items() if n in reads}
        elif not made & reads and _is_cheap(whole):
            cheap[s.name] = whole
        out.append(s)
    return _last_readers(out, written, apart, results)


def write_scalars(
    statements: list[Statement], menu: tuple[str, ...], apart: Collection[str] = (), results: Collection[str] = ()
) -> list[Statement]:
    """`statements` with maps of scalars written into the maps and sums that read them: no kernel for one number."""
    made = {s.name for s in statements}
    scalars: dict[str, Statement] = {}
    out: list[Statement] = []
    for s in statements:
        s = Statement(s.name, s.indices, _written(s.expr, scalars), s.line)
        small = not s.indices and not any(isinstance(x, Reduce) for x in E.subterms(s.expr))
        readers = [r for r in statements if s.name in E.tensors(r.expr)]
        plans = {classify(r, menu).plan for r in readers if r.name not in apart}
        if (
            menu
            and small
            and s.name not in {*apart, *results}
            and not made & set(E.tensors(s.expr))
            and not any(r.name in apart for r in readers)
            and plans <= {"pointwise", "row", "column"}
        ):
            scalars[s.name] = s
        else:
            out.append(s)
    return out


def _last_readers(
    statements: list[Statement], written: dict[str, Statement], apart: Collection[str], results: Collection[str]
) -> list[Statement]:
    """`statements` with those of `written` that only maps still read written into these."""
    gone: dict[str, Statement] = {}
    for n, m in written.items():
        readers = [s for s in statements if n in E.tensors(s.expr)]
        maps = not any(isinstance(x, Reduce) for s in readers for x in E.subterms(s.expr))
        if n not in results and maps and not any(s.name in apart for s in readers):
            gone[n] = m
    return [Statement(s.name, s.indices, _written(s.expr, gone), s.line) if gone else s for s in statements]


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
