"""What a loop would compute again and again, computed before it.

    for d: dx[d] = g[d] - x[d]*mean*r**3         =>    scale = mean*r**3;  for d: dx[d] = g[d] - x[d]*scale

Only what is evaluated whatever the conditions say, and reads at bare indices, is moved.
"""

from __future__ import annotations

from derive import expr as E
from derive.expr import Add, Const, Expr, Get, Index, Mul, Num, Pow, Reduce, Size, Where
from derive.plan.ir import Literal, Local
from derive.plan.lower import Scope
from derive.plan.terms import is_integer, local_name
from derive.reads import steady


def settle(scope: Scope, e: Expr, bound: frozenset[Index], wish: str = "value") -> None:
    """Write into `scope` what of `e` does not depend on `bound`."""
    if is_integer(e, scope.frame.memory) or isinstance(e, (Num, Const, Size, Index)) or scope.find(e) is not None:
        return
    if not e.free & bound:
        if steady(e):
            _keep(scope, e, wish)
        return
    if isinstance(e, Where):
        settle(scope, e.cond, bound)
    elif isinstance(e, Mul):
        _product(scope, E.neg(e) if E.coefficient(e)[0] < 0 else e, bound)
    elif isinstance(e, Add):
        for t in e.args:
            settle(scope, E.neg(t) if E.coefficient(t)[0] < 0 else t, bound, "shift")
    elif not isinstance(e, (Get, Reduce)):
        for c in e.children:
            settle(scope, c, bound)


def _product(scope: Scope, e: Expr, bound: frozenset[Index]) -> None:
    fixed = [f for f in E.factors(e) if not f.free & bound]
    rest = [f for f in E.factors(e) if f.free & bound]
    if sum(not isinstance(f, Num) for f in fixed) > 1 and all(steady(f) for f in fixed):
        scale = E.mul(*fixed)
        settle(scope, scale, bound, "scale")
        if scope.find(scale) is not None:
            scope.scales[e] = (scale, E.mul(*rest))
        fixed = []
    for f in (*fixed, *rest):
        under = isinstance(f, Pow) and f.exponent is E.MINUS_ONE and not f.free & bound  # stays a division
        settle(scope, f.base if under and isinstance(f, Pow) else f, bound, "scale")


def _keep(scope: Scope, e: Expr, wish: str) -> None:
    for x in E.subterms(e):
        if isinstance(x, Get) and scope.find(x) is None and not is_integer(x, scope.frame.memory):
            scope.memo[x] = scope.let(local_name(x.tensor), scope.real(x))
    value = scope.real(e)
    if not isinstance(value, (Literal, Local)):
        value = scope.let(wish, value)
    scope.memo[e] = value
