"""`Σ_l f(l)·[l = e] = f(e)`: unit cotangents sifted out of a partial derivative."""

from __future__ import annotations

from derive import expr as E
from derive.expr import Expr, Index, Reduce
from derive.guards import draw_guards


def sift(e: Expr) -> Expr:
    """Every sum over an index that an equation in its guard fixes is replaced by its one term."""
    def step(x: Expr) -> Expr:
        if not (isinstance(x, Reduce) and x.op == "sum"):
            return x
        indices, body = E.open_binder(x, avoid=e.free)
        body = draw_guards(body)
        if not (isinstance(body, E.Where) and body.other is E.ZERO):
            return x
        conditions = list(E.conjuncts(body.cond))
        value, left = body.then, list(indices)
        for i in indices:
            fixed = next((v for c in conditions if (v := _solved(c, i)) is not None), None)
            if fixed is not None:
                values: dict[Expr, Expr] = {i: fixed}
                conditions = [E.substitute(c, values) for c in conditions]
                value = E.substitute(value, values)
                left.remove(i)
        return E.summation(left, E.where(E.logic("and", *conditions), value, E.ZERO)) if len(left) < len(indices) else x

    return E.transform(e, step)


def _solved(c: Expr, i: Index) -> Expr | None:
    """The value of `i` that the equation `c` states, within the same extent."""
    if isinstance(c, E.Cmp) and c.op == "==":
        for a, b in ((c.left, c.right), (c.right, c.left)):
            if a is i and isinstance(b, Index) and b.extent == i.extent:
                return b
    return None
