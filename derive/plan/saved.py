"""What the backward reads of the forward: kept where it took a reduction, computed again where it is a map."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from derive import expr as E
from derive.expr import Cmp, Expr, Get, Reduce, Softmax
from derive.program import Program, Statement


def recompute(forward: Program, backward: Program) -> tuple[tuple[str, ...], dict[str, Statement]]:
    """What the backward reads of the forward.

    Returns:
        The values (outputs too) that are kept; the maps that are computed again, each after those that it reads.
    """
    compared = _compared(backward.statements)  # kept: computed again in another kernel it may round otherwise
    maps = {
        s.name: s
        for s in forward.statements
        if s.name not in forward.outputs
        and s.name not in compared
        and not any(isinstance(x, (Reduce, Softmax)) for x in E.subterms(s.expr))
    }
    read = {t for s in backward.statements for t in E.tensors(s.expr)}
    for s in reversed(forward.statements):
        if s.name in read and s.name in maps:
            read |= set(E.tensors(s.expr))
    made = [s.name for s in forward.statements if s.name in read]
    return tuple(n for n in made if n not in maps), {n: maps[n] for n in made if n in maps}


def _compared(statements: Iterable[Statement]) -> set[str]:
    """Tensors that stand in an equation of values."""
    return {
        x.tensor
        for s in statements
        for c in E.subterms(s.expr)
        if isinstance(c, Cmp) and c.op in ("==", "!=")
        for x in E.subterms(c)
        if isinstance(x, Get)
    }


def _met(forward: Program, statements: Iterable[Statement]) -> set[str]:
    """Outputs that are sums and stand beside their own cotangent in one: `Σ_v O·dO` with `O = Σ_s P·V`."""
    sums = {s.name for s in forward.statements if any(isinstance(f, Reduce) for f in E.factors(s.expr))}
    found = set()
    for x in (x for s in statements for x in E.subterms(s.expr) if isinstance(x, Reduce)):
        read = {f.tensor for f in E.factors(x.body) if isinstance(f, Get)}
        found |= {n for n in sums & read if f"d{n}" in read}
    return found


def _raised(statements: Iterable[Statement]) -> set[str]:
    """Tensors in the exponent of an exponential: what rounding adds there multiplies it."""
    return {
        t
        for s in statements
        for x in E.subterms(s.expr)
        if isinstance(x, E.Call) and x.fn == "exp"
        for t in E.tensors(x)
    }


def unrounded(
    forward: Program, statements: list[Statement], kept: tuple[str, ...]
) -> tuple[Program, list[Statement], tuple[str, ...]]:
    """Keep outputs as they were before rounding to 16 bits where the backward needs them so.

    `where(X[i,k]*W[k] == Y[i], ...)` finds the place of a maximum only if Y is what was compared; an attention's
    `dP - Σ_v O·dO` may be far smaller than either; and an `exp(X[i,k] - L[i])` of a log-sum-exp near 40000, which
    float16 rounds by up to 16, would be millions in place of 1.
    """
    needed = _compared(statements) | _met(forward, statements) | _raised(statements)
    tested = needed & set(forward.outputs)
    if not tested:
        return forward, statements, kept
    new = {n: f"{n}_unrounded" for n in sorted(tested)}
    copies = [Statement(new[s.name], s.indices, s.target) for s in forward.statements if s.name in tested]

    def read(x: Expr) -> Expr:
        return Get(new[x.tensor], x.subs) if isinstance(x, Get) and x.tensor in new else x

    statements = [Statement(s.name, s.indices, E.transform(s.expr, read), s.line) for s in statements]
    forward = replace(forward, statements=(*forward.statements, *copies))
    return forward, statements, tuple(new.get(n, n) for n in kept)
