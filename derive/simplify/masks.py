"""Guards that a softmax makes redundant: `where(c, P·x, 0) = P·x` when P is 0 wherever c fails.

`P = softmax(j, where(c, S, −1e30))` is exactly 0 where c fails, since −1e30 stands for minus infinity.  The guard is
dropped only if what it covers stays finite without it: products and sums of tensors, no division, root or logarithm.
"""

from __future__ import annotations

from derive import expr as E
from derive.expr import Add, Expr, Get, Index, Mul, Num, Pow, Reduce, Size, Softmax, Where
from derive.program import Program
from derive.reads import steady


def mask_of(program: Program) -> dict[str, tuple[tuple[Index, ...], Expr]]:
    """For each softmax statement, its indices and a condition outside of which it is 0."""
    found: dict[str, tuple[tuple[Index, ...], Expr]] = {}
    for s in program.statements:
        if isinstance(s.expr, Softmax):
            at: dict[Expr, Expr] = dict(zip(s.expr.indices, s.expr.at, strict=True))
            body = E.substitute(s.expr.body, at)
            conditions = list(_kept(body))
            if conditions:
                found[s.name] = (s.indices, E.logic("and", *conditions))
    return found


def _kept(body: Expr) -> list[Expr]:
    if isinstance(body, Where):
        if isinstance(body.other, Num) and body.other.value <= E.MASKED:
            return [body.cond, *_kept(body.then)]
        if isinstance(body.then, Num) and body.then.value <= E.MASKED:
            return [E.negate(body.cond), *_kept(body.other)]
    return []


def drop_guards(e: Expr, masks: dict[str, tuple[tuple[Index, ...], Expr]]) -> Expr:
    """Remove from every guard what the softmax factors under it imply."""
    if not masks:
        return e

    def step(x: Expr) -> Expr:
        if not (isinstance(x, Where) and x.other is E.ZERO):
            return x
        implied: set[Expr] = set()
        for f in E.factors(x.then):
            if isinstance(f, Get) and f.tensor in masks:
                indices, cond = masks[f.tensor]
                cond = E.substitute(cond, dict(zip(indices, f.subs, strict=True)))
                implied |= set(E.conjuncts(cond))
        rest = [c for c in E.conjuncts(x.cond) if c not in implied]
        if not implied or not _finite(x.then) or not all(map(steady, rest)):  # the rest may need what P implies
            return x
        return E.where(E.logic("and", *rest), x.then, E.ZERO)

    return E.transform(e, step)


def _finite(e: Expr) -> bool:
    """Whether `e` is finite whenever the tensors in it are."""
    for x in E.subterms(e):
        if isinstance(x, Pow):
            if not (isinstance(x.exponent, Num) and (x.exponent.value > 0 or isinstance(x.base, Size))):
                return False
        elif isinstance(x, Get):
            if not all(isinstance(s, Index) for s in x.subs):
                return False
        elif not isinstance(x, (Add, Mul, Num, Index, Size, Reduce, E.Param, E.Const)):
            return False
    return True
