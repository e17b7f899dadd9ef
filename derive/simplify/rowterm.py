"""The row term of attention: `Σ_s P[t,s]·dP[t,s] = Σ_v dO[t,v]·O[t,v]`.

The backward of a softmax subtracts `Σ_s P·dP` in each row.  With `dP[t,s] = Σ_v V[s,v]·dO[t,v]` and
`O[t,v] = Σ_s P[t,s]·V[s,v]` the two sums change places and the inner one is the output:

    Σ_s P[t,s]·Σ_v V[s,v]·dO[t,v]  =  Σ_v dO[t,v]·Σ_s P[t,s]·V[s,v]  =  Σ_v dO[t,v]·O[t,v]

which needs neither P nor dP.  Nothing here asks what P is: any sum that changes places with a sum inside it into one
that has a name is rewritten.
"""

from __future__ import annotations

from collections.abc import Iterable

from derive import expr as E
from derive.expr import Expr, Index, Reduce
from derive.guards import draw_guards
from derive.patterns import Names
from derive.program import Program, Statement


def swapped(e: Expr, names: Names) -> Expr | None:
    """`c·Σ_v g·T` for `e = c·Σ_s w·Σ_v f·g` when `names` calls `Σ_s w·f` T; None when it does not.

    Args:
        e: a sum whose body has a sum among its factors, times what is free of both.
        names: sums that have a name, defined by `name_sum`.
    """
    sums = [f for f in E.factors(e) if isinstance(f, Reduce) and f.op == "sum"]
    if len(sums) != 1:
        return None
    scale = [f for f in E.factors(e) if f is not sums[0]]
    outer, body = E.open_binder(sums[0])
    bound = set(outer)
    guard, body = _guarded(draw_guards(body))
    parts = E.factors(body)
    for inside in parts:
        if not isinstance(inside, Reduce) or inside.op != "sum":
            continue
        inner, product = E.open_binder(inside, avoid=(*outer, *body.free, *guard.free))
        moving = [f for f in E.factors(product) if f.free & bound]
        staying = [f for f in E.factors(product) if not f.free & bound]
        held = E.mul(*(f for f in parts if f is not inside), *moving)
        whole = E.summation(outer, E.where(guard, held, E.ZERO))
        for within, left in ((scale, []), ([], scale)):
            known = names.find(E.mul(*within, whole))
            if known is not None:
                return E.mul(*left, E.summation(inner, E.mul(*staying, known)))
    return None


def name_sum(names: Names, e: Expr, name: str, indices: tuple[Index, ...]) -> None:
    """Let `name[indices]` stand for a sum, and for the same with its guards drawn outwards."""
    if any(isinstance(f, Reduce) and f.op == "sum" for f in E.factors(e)):
        names.define(e, name, indices)
        names.define(draw_guards(e), name, indices)


def _guarded(e: Expr) -> tuple[Expr, Expr]:
    """`(c, x)` of `where(c, x, 0)`; the condition of anything else is true."""
    return (e.cond, e.then) if isinstance(e, E.Where) and e.other is E.ZERO else (E.TRUE, e)


def row_term(e: Expr, forward: Program, adjoints: Iterable[Statement] = ()) -> Expr:
    """`e` with every row term in it rewritten.

    Args:
        e: a term of a backward program.
        forward: the formula, whose sums may stand in the result.
        adjoints: backward statements before `e`, as `dP[t,s] = Σ_v V[s,v]·dO[t,v]`, that `e` reads by name.
    """
    names = Names()
    for s in forward.statements:
        name_sum(names, s.expr, s.name, s.indices)
    known = {s.name: s for s in adjoints if isinstance(s.expr, Reduce)}

    def written_out(x: Expr) -> Expr:
        if isinstance(x, E.Get) and x.tensor in known:
            s = known[x.tensor]
            return E.substitute(s.expr, dict(zip(s.indices, x.subs, strict=True)))
        return x

    def step(x: Expr) -> Expr:
        if not isinstance(x, Reduce) or x.op != "sum":
            return x
        bound, body = E.open_binder(x)
        if not isinstance(body, E.Mul):
            return x
        opened = E.mul(*(written_out(f) if _crossed(f, bound) else f for f in body.args))
        found = swapped(E.summation(bound, opened), names)
        return x if found is None else found

    return E.transform(e, step)


def _crossed(f: Expr, bound: tuple[Index, ...]) -> bool:
    return bool(f.free & set(bound))
