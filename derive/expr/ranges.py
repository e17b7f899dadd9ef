"""Conditions on indices that always or never hold, as `0 <= t + r`, decided.

Of an index no more is known than that it is at least 0 and less than its extent; of values nothing is.  A planner may
let an index stand for a place that can be out of range, and ask: so this is no part of the constructors.
"""

from __future__ import annotations

import math
from fractions import Fraction

from derive.expr.build import ONE, coefficient, factors, sub, terms
from derive.expr.nodes import Cmp, Expr, Index, Size, Truth
from derive.expr.walk import transform

Bound = Fraction | float


def decide(e: Expr) -> Expr:
    """`e` without the comparisons of places whose answer is the same everywhere."""
    return transform(e, lambda x: _decided(x) if isinstance(x, Cmp) else x)


def _decided(c: Cmp) -> Expr:
    least, most = _range(sub(c.left, c.right))
    always = {"<": most < 0, "<=": most <= 0, "==": least == most == 0, "!=": most < 0 or least > 0}
    never = {"<": least >= 0, "<=": least > 0, "==": most < 0 or least > 0, "!=": least == most == 0}
    return Truth(always[c.op]) if always[c.op] or never[c.op] else c


def _range(e: Expr) -> tuple[Bound, Bound]:
    """The least and the most that `e` can be."""
    times = {rest: c for c, rest in map(coefficient, terms(e))}
    least = most = times.pop(ONE, Fraction(0))
    falls = rises = False
    for place in [x for x in times if isinstance(x, Index)]:
        size = Size(place.extent)
        if times[place]*times.get(size, 0) < 0:  # k·(place − size) is at most −k, or for a negative k at least −k
            k = min(times[place], -times[size], key=abs)
            times[place], times[size] = times[place] - k, times[size] + k
            falls, rises = falls or k > 0, rises or k < 0
            least, most = (least, most - k) if k > 0 else (least - k, most)
    for x, c in times.items():
        if not all(isinstance(f, (Index, Size)) for f in factors(x)):
            return -math.inf, math.inf
        falls, rises = falls or c < 0, rises or c > 0
    return -math.inf if falls else least, math.inf if rises else most
