"""Sums that the forward formula has already: `Σ_d X = D·M` for a mean M, `Σ_j P_j = 1` for a softmax P.

With them `Σ_d (X − M) = 0`, the identity behind the gradients of the normalisations: the body is opened (named
pointwise values replaced by their definitions), split over its terms, and each part looked up.

    Σ_k (a + b)  ->  Σ_k a + Σ_k b       when that makes the term smaller
    Σ_k u_k      ->  c⁻¹ · T             when a statement says T = c · Σ_k u_k, c a number or what T is divided by
    Σ_jk u_j v_k w_jk  ->  Σ_k v_k T_k   when one says T_k = Σ_j u_j w_jk
    Σ_j P_j      ->  1                   when P = softmax(j, ...) without a mask
    Σ_jk u_j v_k ->  0                   when Σ_j u_j is 0
"""

from __future__ import annotations

from derive import expr as E
from derive.expr import Add, Expr, Get, Index, Reduce, Softmax
from derive.patterns import Names
from derive.program import Program, Statement
from derive.simplify.cost import cost, divides
from derive.simplify.masks import mask_of


class KnownSums:
    """Reductions that have a name in the forward program, and pointwise values that can be opened."""

    def __init__(self, forward: Program):
        self.names = Names()
        self.scale: dict[str, tuple[tuple[Index, ...], Expr]] = {}
        self.pointwise: dict[str, Statement] = {}
        self.ones: dict[str, tuple[int, ...]] = {}
        masked = mask_of(forward)
        for s in forward.statements:
            if self.learn(s):
                continue
            if isinstance(s.expr, Softmax) and s.name not in masked and not _may_mask(s.expr):
                self.ones[s.name] = tuple(s.indices.index(a) for a in s.expr.at if isinstance(a, Index))
            elif s.expr._height == 0:
                self.pointwise[s.name] = s

    def learn(self, s: Statement) -> bool:
        """Know the sum of a statement from here on, if it is one."""
        c, sums = _linear_sum(s.expr)
        found = sums is not None and self.names.define(sums, s.name, s.indices)
        if found:
            self.scale[s.name] = (s.indices, c)
        return found

    def fold(self, e: Expr) -> Expr:
        """Rewrite every sum in `e` by what is known, where that makes it smaller."""
        def step(x: Expr) -> Expr:
            if not (isinstance(x, Reduce) and x.op == "sum"):
                return x
            found = self._lookup(x)
            if found is not x:
                return found
            inner, body = E.open_binder(x)
            found = self._value(inner, self._opened(body))
            return found if found is E.ZERO or cost(found) < cost(x) else x
        return E.transform(e, step)

    def _value(self, inner: tuple[Index, ...], body: Expr) -> Expr:
        total = E.summation(inner, body)
        if not (isinstance(total, Reduce) and total.op == "sum"):
            return E.transform(total, self._lookup)
        known = self._lookup(total)
        if known is not total:
            return known
        ix, opened = E.open_binder(total)
        if isinstance(opened, Add):
            return E.add(*(self._value(ix, t) for t in opened.args))
        parts = E.factors(opened)
        for i in ix if len(parts) > 1 else ():  # Σ_t Σ_j c_tj d_j = Σ_j d_j Σ_t c_tj, which is 0 where c is centred
            own = [f for f in parts if i in f.free]
            if len(own) == 1 and isinstance(own[0], Add) and self._value((i,), own[0]) is E.ZERO:
                return E.ZERO
        return total

    def _lookup(self, x: Expr) -> Expr:
        if not (isinstance(x, Reduce) and x.op == "sum"):
            return x
        hit = self.names.find(x)
        if hit is not None:
            indices, scale = self.scale[hit.tensor]
            return E.div(hit, E.substitute(scale, dict(zip(indices, hit.subs, strict=True))))
        ix, body = E.open_binder(x)
        if isinstance(body, Get) and body.tensor in self.ones:
            places = {body.subs[n] for n in self.ones[body.tensor]}
            if places == set(ix):
                return E.ONE
        if isinstance(body, Add):
            parts = [self._lookup(E.summation(ix, t)) for t in body.args]
            if E.add(*parts) is E.ZERO:
                return E.ZERO
        for i in ix:
            own, others = [f for f in E.factors(body) if i in f.free], [f for f in E.factors(body) if i not in f.free]
            if len(own) > 1 and others:
                within = E.summation((i,), E.mul(*own))
                part = self._lookup(within)
                if part is not within:
                    return E.summation((j for j in ix if j is not i), E.mul(part, *others))
        return x

    def _opened(self, body: Expr) -> Expr:
        """Named pointwise values replaced by their definitions when the body is linear in one of them."""
        def step(x: Expr) -> Expr:
            if isinstance(x, Get) and x.tensor in self.pointwise:
                s = self.pointwise[x.tensor]
                return E.transform(E.substitute(s.expr, dict(zip(s.indices, x.subs, strict=True))), step)
            return x
        parts = [f for t in E.terms(body) for f in E.factors(t)]
        return E.transform(body, step) if all(isinstance(f, (Get, E.Num, E.Pow, Add)) for f in parts) else body


def _linear_sum(e: Expr) -> tuple[Expr, Reduce | None]:
    """(c, Σ) of `c · Σ`, `c` of numbers and of what the sum is divided by, neither of which is 0 as a size may be."""
    sums = [f for f in E.factors(e) if isinstance(f, Reduce) and f.op == "sum"]
    rest = [f for f in E.factors(e) if f not in sums]
    if len(sums) == 1 and isinstance(sums[0], Reduce) and all(
            divides(f) or all(isinstance(x, (E.Num, E.Const, E.Pow)) for x in E.subterms(f)) for f in rest):
        return E.mul(*rest), sums[0]
    return E.ONE, None


def _may_mask(e: Softmax) -> bool:
    return any(isinstance(x, E.Num) and x.value <= E.MASKED for x in E.subterms(e.body))


