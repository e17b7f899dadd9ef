"""Which places a mask leaves: bounds on the inner index of a tile kernel, from affine conditions on the scores.

For a block whose own places run from `top` to `last`, the condition `s <= t` leaves keys up to `last`, and `t - s < w`
keys from `top - w + 1`.  One of the own index alone, as `t < lengths[b]`, leaves all or nothing.  A condition that says
nothing of this kind narrows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from derive import expr as E
from derive.expr import Call, Cmp, Expr, Get, Index, Logic, Num
from derive.plan import ir
from derive.plan.ir import INT, REAL, Local
from derive.plan.lower import Scope
from derive.plan.terms import is_integer
from derive.reads import steady

ZERO = ir.Literal(REAL, Fraction(0))


@dataclass(frozen=True)
class Bound:
    """`other <= limit` (upper) or `other >= limit`, where `limit` may hold the own index `slope` times.

    `own` says that it is the own index which is bounded, `real` that the limit is no whole number and not reached.
    """

    upper: bool
    slope: int
    limit: Expr  # free of both indices; the own index comes in by `slope`
    own: bool = False
    real: bool = False


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
    """What a condition says of `other`, or of `own` alone."""
    if isinstance(c, Logic) and c.op == "not" and isinstance(c.args[0], Cmp):  # not (a < b) is b <= a for integers
        inner = c.args[0]
        if inner.op not in ("<", "<="):
            return []
        c = Cmp("<=" if inner.op == "<" else "<", inner.right, inner.left)
    if not isinstance(c, Cmp) or c.op == "!=":
        return []
    if isinstance(c.left, Call) and c.left.fn == "abs" and c.op in ("<", "<="):  # |t - s| < w on either side
        (gap,) = c.left.args
        return [b for x in (gap, E.neg(gap)) for b in bound(Cmp(c.op, x, c.right), own, other, scope)]
    if not all(_whole(x, scope) for side in (c.left, c.right) for x in E.terms(side)):
        plain = c.op == "<" and c.left in (own, other) and not c.right.free & {own, other} and steady(c.right)
        return [Bound(True, 0, c.right, own=c.left is own, real=True)] if plain else []
    gap = E.sub(c.left, c.right)  # gap <= 0
    if not steady(gap):
        return []
    if c.op == "<":
        gap = E.add(gap, E.ONE)
    return [b for g in ([gap, E.neg(gap)] if c.op == "==" else [gap]) for b in _solved(g, own, other)]


def _whole(term: Expr, scope: Scope) -> bool:
    c, x = E.coefficient(term)
    return c.denominator == 1 and (isinstance(x, E.Size) or is_integer(x, scope.frame.memory))


def _solved(gap: Expr, own: Index, other: Index) -> list[Bound]:
    """`gap <= 0` for `other`, or for `own` when the other is not in it; each may stand once, by itself."""
    slope, theirs, rest = 0, 0, []
    for t in (y for x in E.terms(gap) for y in _spread(x)):
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
    if theirs == 0 and abs(slope) == 1:
        found = _solved(gap, other, own)
        return [replace(b, own=True) for b in found]
    if abs(theirs) != 1:
        return []
    if theirs == 1:
        return [Bound(True, -slope, E.add(*(E.neg(t) for t in rest)))]
    return [Bound(False, slope, E.add(*rest))]


def _spread(t: Expr) -> list[Expr]:
    """The terms of `-(a + b)`."""
    c, x = E.coefficient(t)
    return [E.mul(E.num(c), y) for y in E.terms(x)]


def narrowing(score: Expr, own: Index, other: Index, scope: Scope, top: str, last: str, side: int) -> ir.Block:
    """Statements that narrow `begin` and `stop`, for own places from `top` to `last`.

    `begin` stays a multiple of `side`, the tile's, so that tiles start where they start without a mask.
    """
    for c in conditions(score):
        for b in bound(c, own, other, scope):
            if not any(isinstance(x, Get) and x.free & {own, other} for x in E.subterms(b.limit)):
                _narrow(b, scope, top, last, side)
    return tuple(scope.stmts)


def _narrow(b: Bound, scope: Scope, top: str, last: str, side: int) -> None:
    stop, begin = Local(INT, "stop"), Local(INT, "begin")
    value: ir.Scalar
    end = Local(REAL if b.real else INT, scope.namer.fresh("limit", ours=True))
    if b.real:  # one beyond the last place below it is the limit rounded up; a NaN narrows nothing
        scope.stmts.append(ir.Let(end.name, scope.real(b.limit)))
        place = Local(INT, top) if b.own else stop
        out = ir.Binary(ir.BOOL, "<=", end, ir.Apply(REAL, "real", (place,)))
        least = ir.Apply(REAL, "fmax", (ir.Apply(REAL, "ceil", (end,)), ZERO))
        value = ir.integer(0) if b.own else ir.Apply(INT, "index", (least,))
        scope.stmts.append(ir.If(out, (ir.Assign("stop", value),)))
        return
    limit = E.add(b.limit, E.ONE) if b.upper and not b.own else b.limit  # `stop` is one beyond the last
    scope.stmts.append(ir.Let(end.name, _limit(limit, b, scope, top, last)))
    if b.own:  # no place of the block is left
        out = ir.Binary(ir.BOOL, "<", *((end, Local(INT, top)) if b.upper else (Local(INT, last), end)))
        scope.stmts.append(ir.If(out, (ir.Assign("stop", ir.integer(0)),)))
    elif b.upper:
        scope.stmts.append(ir.If(ir.Binary(ir.BOOL, "<", end, stop), (ir.Assign("stop", end),)))
    else:
        aligned = ir.Binary(INT, "-", end, ir.Binary(INT, "%", end, ir.integer(side)))
        scope.stmts.append(ir.If(ir.Binary(ir.BOOL, "<", begin, end), (ir.Assign("begin", aligned),)))


def _limit(limit: Expr, b: Bound, scope: Scope, top: str, last: str) -> ir.Scalar:
    """`limit` with the own place that leaves most, as `last + 1` for `s <= t`."""
    if not b.slope:
        return scope.integer(limit)
    extreme: ir.Scalar = Local(INT, last if (b.slope > 0) == b.upper else top)
    if abs(b.slope) > 1:
        extreme = ir.Binary(INT, "*", ir.integer(abs(b.slope)), extreme)
    if b.slope < 0:
        return ir.Binary(INT, "-", scope.integer(limit), extreme)
    return extreme if limit is E.ZERO else _plus(extreme, limit, scope)


def _plus(value: ir.Scalar, e: Expr, scope: Scope) -> ir.Scalar:
    for t in E.terms(e):
        c, _ = E.coefficient(t)
        value = ir.Binary(INT, "-" if c < 0 else "+", value, scope.integer(E.neg(t) if c < 0 else t))
    return value
