"""What the backward reads of the forward: kept where it took a reduction, computed again where it is a map."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from derive import expr as E
from derive.expr import Cmp, Expr, Get, Reduce, Softmax
from derive.program import Program, Statement


def recompute(forward: Program, backward: Program) -> tuple[list[Statement], tuple[str, ...], tuple[str, ...]]:
    """The backward's statements with forward maps written out.

    Returns:
        The statements; the forward values (outputs too) that are still read; those computed again.
    """
    compared = _compared(backward.statements)  # kept: computed again in another kernel it may round otherwise
    maps = {
        s.name: s
        for s in forward.statements
        if s.name not in forward.outputs
        and s.name not in compared
        and not any(isinstance(x, (Reduce, Softmax)) for x in E.subterms(s.expr))
    }
    memo: dict[Expr, Expr] = {}
    again: dict[str, None] = {}

    def rule(x: Expr) -> Expr:
        if isinstance(x, Get) and x.tensor in maps:
            again[x.tensor] = None
            s = maps[x.tensor]
            return write_out(E.substitute(s.expr, dict(zip(s.indices, x.subs, strict=True))))
        return x

    def write_out(e: Expr) -> Expr:
        return E.transform(e, rule, memo)

    statements = [Statement(s.name, s.indices, write_out(s.expr), s.line) for s in backward.statements]
    made = [s.name for s in forward.statements]
    read = {t for s in statements for t in E.tensors(s.expr)}
    return statements, tuple(n for n in made if n in read), tuple(n for n in made if n in again)


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


def unrounded(
    forward: Program, statements: list[Statement], kept: tuple[str, ...]
) -> tuple[Program, list[Statement], tuple[str, ...]]:
    """Keep outputs that the backward tests for equality as they were before rounding to 16 bits.

    `where(X[i,k]*W[k] == Y[i], ...)` finds the place of a maximum only if Y is what was compared.
    """
    tested = _compared(statements) & set(forward.outputs)
    if not tested:
        return forward, statements, kept
    new = {n: f"{n}_unrounded" for n in sorted(tested)}
    copies = [Statement(new[s.name], s.indices, s.target) for s in forward.statements if s.name in tested]

    def read(x: Expr) -> Expr:
        return Get(new[x.tensor], x.subs) if isinstance(x, Get) and x.tensor in new else x

    statements = [Statement(s.name, s.indices, E.transform(s.expr, read), s.line) for s in statements]
    forward = replace(forward, statements=(*forward.statements, *copies))
    return forward, statements, tuple(new.get(n, n) for n in kept)
