"""Which places a mask leaves: bounds on the inner index of a tile kernel, from affine conditions on the scores.

For a block whose own places run from `top` to `last`, the condition `s <= t` leaves keys up to `last`, and `t - s < w`
keys from `top - w + 1`.  A condition that says nothing of this kind narrows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from derive import expr as E
from derive.expr import Cmp, Expr, Get, Index, Logic, Num
from derive.plan import ir
from derive.plan.ir import INT, Local
from derive.plan.lower import Scope
from derive.plan.terms import is_integer, steady


@dataclass(frozen=True)
class Bound:
    """`other <= limit` (upper) or `other >= limit`, where `limit` may hold the own index `slope` times."""

    upper: bool
    slope: int
    limit: Expr  # free of both indices; the own index comes in by `slope`


def conditions(score: Expr) -> list[Expr]:
    """What has to hold for a score not to be masked."""
    found: list[Expr] = []
    while isinstance(score, E.Where):
        if _masked(score.other):
            found += _conjuncts(score.cond)
            score = score.then
        elif _masked(score.then):
            found += _conjuncts(E.negate(score.cond))
            score = score.other
        else:
            break
    if isinstance(score, E.Add):  # S + where(mask, 0, -1e30)
        for t in score.args:
            if isinstance(t, E.Where) and any(_masked(x) for x in (t.then, t.other)):
                found += conditions(t)
    return found


def _masked(e: Expr) -> bool:
    return isinstance(e, Num) and e.value <= E.MASKED


def _conjuncts(c: Expr) -> list[Expr]:
    if isinstance(c, Logic) and c.op == "and":
        return [x for a in c.args for x in _conjuncts(a)]
    if isinstance(c, Logic) and c.op == "not" and isinstance(c.args[0], Logic) and c.args[0].op == "or":
        return [x for a in c.args[0].args for x in _conjuncts(E.negate(a))]
    return [c]


def bound(c: Expr, own: Index, other: Index, scope: Scope) -> list[Bound]:
    """What a condition says of `other`."""
    if isinstance(c, Logic) and c.op == "not" and isinstance(c.args[0], Cmp):  # not (a < b) is b <= a for integers
        inner = c.args[0]
        if inner.op not in ("<", "<="):
            return []
        c = Cmp("<=" if inner.op == "<" else "<", inner.right, inner.left)
    if not isinstance(c, Cmp) or c.op == "!=" or other not in c.free:
        return []
    gap = E.sub(c.left, c.right)  # gap <= 0
    if not is_integer(c.left, scope.frame.memory) or not is_integer(c.right, scope.frame.memory) or not steady(gap):
        return []
    if c.op == "<":
        gap = E.add(gap, E.ONE)
    found = _solved(gap, own, other)
    if c.op == "==":
        found += _solved(E.neg(gap), own, other)
    return found


def _solved(gap: Expr, own: Index, other: Index) -> list[Bound]:
    """`gap <= 0` for `other`, when it stands once, by itself."""
    slope, theirs, rest = 0, 0, []
    for t in E.terms(gap):
        c, x = E.coefficient(t)
        if c.denominator != 1:
            return []
        if x is own:
            slope = int(c)
        elif x is other:
            theirs = int(c)
        elif x.free & {own, other}:
            return []
        else:
            rest.append(t)
    constant = E.add(*rest)
    if theirs == 1:
        return [Bound(True, -slope, E.neg(constant))]
    if theirs == -1:
        return [Bound(False, slope, constant)]
    return []


def narrowing(score: Expr, own: Index, other: Index, scope: Scope, top: str, last: str) -> ir.Block:
    """Statements that narrow `begin` and `stop`, for own places from `top` to `last`.

    `begin` stays a multiple of the tile, so that tiles start where they start without a mask.
    """
    names: dict[str, None] = {}
    for c in conditions(score):
        for b in bound(c, own, other, scope):
            if any(isinstance(x, Get) and x.free & {own, other} for x in E.subterms(b.limit)):
                continue
            value = scope.integer(b.limit) if b.limit is not E.ZERO else ir.integer(0)
            if b.slope:
                extreme = Local(INT, last if (b.slope > 0) == b.upper else top)
                times = abs(b.slope)
                part: ir.Scalar = extreme if times == 1 else ir.Binary(INT, "*", ir.integer(times), extreme)
                plain = b.limit is E.ZERO and b.slope > 0
                value = part if plain else ir.Binary(INT, "+" if b.slope > 0 else "-", value, part)
            end = Local(INT, scope.namer.fresh("limit", ours=True))
            if b.upper:
                value = ir.Binary(INT, "+", value, ir.integer(1))
            scope.stmts.append(ir.Let(end.name, value))
            if b.upper:
                test = ir.Binary(ir.BOOL, "<", end, Local(INT, "stop"))
                scope.stmts.append(ir.If(test, (ir.Assign("stop", end),)))
            else:
                aligned = ir.Binary(INT, "-", end, ir.Binary(INT, "%", end, ir.integer(64)))
                test = ir.Binary(ir.BOOL, "<", Local(INT, "begin"), end)
                scope.stmts.append(ir.If(test, (ir.Assign("begin", aligned),)))
            names[end.name] = None
    return tuple(scope.stmts)
