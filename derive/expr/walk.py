"""Looking through terms: every sub-term, a rule applied everywhere, the tensors that are read."""

from __future__ import annotations

from collections.abc import Callable

from derive.expr.build import rebuild
from derive.expr.nodes import Expr, Get


def transform(e: Expr, rule: Callable[[Expr], Expr], memo: dict[Expr, Expr] | None = None) -> Expr:
    """Apply `rule` to every sub-term, leaves first.  `rule` must not move a term out of its binder."""
    memo = {} if memo is None else memo

    def walk(x: Expr) -> Expr:
        if x not in memo:
            kids = x.children
            new = tuple(walk(c) for c in kids)
            memo[x] = rule(x if all(a is b for a, b in zip(kids, new, strict=True)) else rebuild(x, new))
        return memo[x]

    return walk(e)


def subterms(e: Expr) -> list[Expr]:
    """Every distinct sub-term, parents after children."""
    seen: dict[Expr, None] = {}

    def walk(x: Expr) -> None:
        if x not in seen:
            for c in x.children:
                walk(c)
            seen[x] = None

    walk(e)
    return list(seen)


def tensors(e: Expr) -> dict[str, None]:
    """Names of the tensors that `e` reads, in a fixed order."""
    return {x.tensor: None for x in subterms(e) if isinstance(x, Get)}
