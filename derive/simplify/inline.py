"""Adjoints put where they are used, if that loses nothing.

    dA[i] = e,  used once                  ->  e in its place, unless it is a matrix product, which keeps its name
    dA[i] = dB[i],  or a plain number      ->  always

A sum is never moved into another sum's body: that would compute it again for each of the outer indices.
"""

from __future__ import annotations

from derive import expr as E
from derive.expr import Expr, Get, Mul, Reduce
from derive.program import Statement
from derive.simplify.cost import cost


def uses(statements: list[Statement], name: str) -> list[tuple[int, Get, bool]]:
    """(statement, access, whether inside a reduction) for each distinct access to `name`."""
    found: list[tuple[int, Get, bool]] = []
    for n, s in enumerate(statements):
        seen: set[tuple[Expr, bool]] = set()

        def walk(x: Expr, inside: bool, n: int = n, seen: set[tuple[Expr, bool]] = seen) -> None:
            if (x, inside) in seen:
                return
            seen.add((x, inside))
            if isinstance(x, Get) and x.tensor == name:
                found.append((n, x, inside))
            for c in x.children:
                walk(c, inside or isinstance(x, Reduce))

        walk(s.expr, False)
    return found


def reads(statements: list[Statement], name: str) -> int:
    """How many places read `name`, equal terms counted once."""
    seen: set[Expr] = set()
    total = 0

    def walk(x: Expr) -> None:
        nonlocal total
        for c in x.children:
            total += isinstance(c, Get) and c.tensor == name
            if c not in seen:
                seen.add(c)
                walk(c)

    for s in statements:
        total += isinstance(s.expr, Get) and s.expr.tensor == name
        if s.expr not in seen:
            seen.add(s.expr)
            walk(s.expr)
    return total


def replace_access(e: Expr, s: Statement) -> Expr:
    """Every `s.name[subs]` in `e` by the definition of `s` at those subscripts."""
    def step(x: Expr) -> Expr:
        if isinstance(x, Get) and x.tensor == s.name:
            return E.substitute(s.expr, dict(zip(s.indices, x.subs, strict=True)))
        return x
    return E.transform(e, step) if s.name in E.tensors(e) else e


def inlinable(s: Statement, statements: list[Statement]) -> bool:
    """Whether the definition of `s` may stand in place of its uses."""
    if cost(s.expr) == 0 and isinstance(E.coefficient(s.expr)[1], (Get, E.Num, E.Size, E.Param)):
        return True
    if not E.tensors(s.expr) or all(not x.subs for x in E.subterms(s.expr) if isinstance(x, Get)):
        return s.expr._height == 0
    found = uses(statements, s.name)
    if len(found) != 1 or not all(isinstance(i, E.Index) for i in found[0][1].subs):
        return False
    return s.expr._height == 0 or (not found[0][2] and not multiplies(s.expr))


def multiplies(e: Expr) -> bool:
    """Whether `e` contains a product of matrices: a sum whose factors have no common owner of all indices."""
    for x in E.subterms(e):
        if isinstance(x, Reduce) and isinstance(x.body, Mul):
            parts = [f.free for f in x.body.args]
            whole = frozenset().union(*parts)
            if not any(p == whole for p in parts):
                return True
    return False
