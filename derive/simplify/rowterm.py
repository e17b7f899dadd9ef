"""The row term of attention: `Σ_s P[t,s]·dP[t,s] = Σ_v dO[t,v]·O[t,v]`.

The backward of a softmax subtracts `Σ_s P·dP` in each row.  With `dP[t,s] = Σ_v V[s,v]·dO[t,v]` and
`O[t,v] = Σ_s P[t,s]·V[s,v]` the two sums change places and the inner one is the output:

    Σ_s P[t,s]·Σ_v V[s,v]·dO[t,v]  =  Σ_v dO[t,v]·Σ_s P[t,s]·V[s,v]  =  Σ_v dO[t,v]·O[t,v]

which needs neither P nor dP, and takes as many operations.  Nothing here asks what P is: any sum that changes places
with a sum inside it into one that has a name is rewritten.  Each step leaves one sum over a sum less, so it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from derive import expr as E
from derive.expr import Expr, Index, Reduce
from derive.guards import draw_guards
from derive.patterns import Names
from derive.program import Program, Statement
from derive.simplify.inline import multiplies


@dataclass(frozen=True)
class Swap:
    """`c·Σ_v g·Σ_s w·f`, with the inner sum written out and by its name."""

    exchanged: Expr
    named: Expr


def swapped(e: Expr, names: Names) -> Swap | None:
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
            term = E.mul(*within, whole)
            known = names.find(term)
            if known is not None:
                return Swap(*(E.mul(*left, E.summation(inner, E.mul(*staying, x))) for x in (term, known)))
    return None


def name_sum(names: Names, e: Expr, name: str, indices: tuple[Index, ...]) -> None:
    """Let `name[indices]` stand for a sum, and for the same with its guards drawn outwards."""
    if any(isinstance(f, Reduce) and f.op == "sum" for f in E.factors(e)):
        names.define(e, name, indices)
        names.define(draw_guards(e), name, indices)


def _guarded(e: Expr) -> tuple[Expr, Expr]:
    """`(c, x)` of `where(c, x, 0)`; the condition of anything else is true."""
    return (e.cond, e.then) if isinstance(e, E.Where) and e.other is E.ZERO else (E.TRUE, e)


class RowTerms:
    """Finds row terms in the backward of one formula.

    Args:
        forward: the formula, whose sums may stand in the result.
    """

    def __init__(self, forward: Program):
        self.names = Names()
        self.maps = {s.name: s for s in forward.statements if s.expr._height == 0}
        for s in forward.statements:
            name_sum(self.names, s.expr, s.name, s.indices)
            if isinstance(s.expr, Reduce) and multiplies(s.expr):
                name_sum(self.names, _written_out(s.expr, self.maps), s.name, s.indices)

    def rewritten(self, e: Expr, adjoints: Iterable[Statement] = ()) -> Swap | None:
        """`e` with every row term in it rewritten, in two steps; None if it has none.

        Args:
            e: a term of the backward program.
            adjoints: statements before it, as `dP[t,s] = Σ_v V[s,v]·dO[t,v]`, that `e` reads by name.
        """
        known = {s.name: s for s in adjoints}
        found: dict[Expr, Swap] = {}
        for x in E.subterms(e):
            if isinstance(x, Reduce) and x.op == "sum" and not multiplies(x) and known.keys() & E.tensors(x).keys():
                swap = self._swapped(x, known)
                if swap is not None and not multiplies(swap.named):
                    found[x] = swap
        if not found:
            return None
        return Swap(
            E.transform(e, lambda x: found[x].exchanged if x in found else x),
            E.transform(e, lambda x: found[x].named if x in found else x),
        )

    def _swapped(self, x: Reduce, known: Mapping[str, Statement]) -> Swap | None:
        bound, body = E.open_binder(x)
        parts = [_written_out(f, known) if f.free & set(bound) else f for f in E.factors(body)]
        if not any(isinstance(y, Reduce) for p in parts for y in E.subterms(p)):
            return None
        total = E.summation(bound, E.mul(*parts))
        return swapped(total, self.names) or swapped(_written_out(total, self.maps), self.names)


def _written_out(e: Expr, made: Mapping[str, Statement]) -> Expr:
    """`e` with each tensor that `made` defines by its definition, down to the first that sums."""

    def step(x: Expr) -> Expr:
        if not isinstance(x, E.Get) or x.tensor not in made:
            return x
        s = made[x.tensor]
        e = E.substitute(s.expr, dict(zip(s.indices, x.subs, strict=True)))
        return e if s.expr._height else _written_out(e, made)

    return E.transform(e, step)
