"""Statements made ready to plan: parameters become numbers, stable composites are spelled out, and every reduction
inside an expression becomes a statement of its own.

    P[i,j] = softmax(j, S[i,j])  =>  P_max[i] = max(j, S[i,j])
                                     P_sum[i] = sum(j, e(S[i,j] - P_max[i]))
                                     P[i,j]   = e(S[i,j] - P_max[i]) / P_sum[i]

where e(x) is 0 for a masked score (at or below -5e29) and exp(x) otherwise, so that a row masked whole gives 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from fractions import Fraction

from derive import expr as E
from derive.expr import Expr, Get, Index, Mul, Reduce, Softmax, Where
from derive.program import Program, Statement
from derive.reads import steady

PI = "3.14159265358979323846264338327950288419717"
MOST_TERMS = 4  # of a sum that is written out inside a map


def ready(program: Program, fresh: Callable[[str], str], apart: Collection[str] = ()) -> list[Statement]:
    """The statements of `program`, each a map or one reduction at its root wherever that is safe.

    Args:
        program: forward or backward.
        fresh: gives a new tensor name near a wish.
        apart: statements that have a plan already and stay as they are.
    """
    out: list[Statement] = []
    pull = _Puller(fresh, out)
    for s in program.statements:
        if s.name in apart:
            out.append(s)
            continue
        e = expand(numbers(s.expr, dict(program.params)))
        out.append(Statement(s.name, s.indices, pull.root(s, e), s.line))
    return out


def numbers(e: Expr, params: Mapping[str, Fraction]) -> Expr:
    """`e` with every parameter replaced by its value, and √2/√π by one number: kernels compute no constants."""
    memo: dict[Expr, Expr] = {}

    def walk(x: Expr) -> Expr:  # products before their factors: a number is rounded once
        if x not in memo:
            found = _one_number(x)
            memo[x] = E.rebuild(found, tuple(map(walk, found.children))) if found.children else found
        return memo[x]

    return walk(E.transform(e, lambda x: E.num(params[x.name]) if isinstance(x, E.Param) else x))


def _one_number(x: Expr) -> Expr:
    """`x` with the numbers, roots and π among its factors as one number, the nearest double."""
    values = {f: v for f in E.factors(x) if (v := _decimal(f)) is not None}
    if all(isinstance(f, E.Num) for f in values):
        return x
    with localcontext() as exact:
        exact.prec = 40
        value = math.prod(values.values(), start=Decimal(1))
    return E.mul(E.num(Fraction(repr(float(value)))), *(f for f in E.factors(x) if f not in values))


def _decimal(f: Expr) -> Decimal | None:
    """A number, π, or a half power up to the second of one that is positive, to 40 digits."""
    base, exponent = E.split_power(f)
    if not isinstance(base, (E.Num, E.Const)) or not isinstance(exponent, E.Num):
        return None
    with localcontext() as exact:
        exact.prec = 40
        plain = Decimal(base.value.numerator)/base.value.denominator if isinstance(base, E.Num) else Decimal(PI)
        if exponent is E.ONE:
            return plain
        if plain <= 0 or abs(exponent.value) > 2 or exponent.value.denominator > 2:
            return None
        return plain**(Decimal(exponent.value.numerator)/exponent.value.denominator)


def expand(e: Expr) -> Expr:
    """`e` with softmax and logsumexp in terms of maximum, sum and exp, shifted by the maximum."""

    def rule(x: Expr) -> Expr:
        if isinstance(x, Softmax):
            top, total = _shifted(x.indices, x.body)
            score = E.substitute(x.body, dict(zip(x.indices, x.at, strict=True)))
            return E.where(_masked(score), E.ZERO, E.div(E.call("exp", E.sub(score, top)), total))
        if isinstance(x, Reduce) and x.op == "logsumexp":
            top, total = _shifted(x.indices, x.body)
            return E.where(E.compare("<=", total, E.ZERO), E.num(E.NEGATIVE_INFINITY), E.add(top, E.call("log", total)))
        return x

    return E.transform(e, rule)


def _masked(score: Expr) -> Expr:
    return E.compare("<=", score, E.num(E.MASKED))


def _shifted(indices: tuple[Index, ...], body: Expr) -> tuple[Expr, Expr]:
    """max(body) and Σ exp(body - max), a masked entry counting 0."""
    top = E.reduction("max", indices, body)
    return top, E.summation(indices, E.where(_masked(body), E.ZERO, E.call("exp", E.sub(body, top))))


def written_out(e: Reduce, avoid: Collection[Index]) -> Expr | None:
    """A sum over extents that the formula fixes, term by term; None if there are many terms or it is no sum."""
    extents = [i.extent for i in e.indices]
    if e.op != "sum" or not all(x.startswith("=") for x in extents):
        return None
    counts = [int(x[1:]) for x in extents]
    if math.prod(counts) > MOST_TERMS:
        return None
    indices, body = E.open_binder(e, avoid=avoid)
    points = itertools.product(*(range(n) for n in counts))
    return E.add(*(E.substitute(body, {i: E.num(k) for i, k in zip(indices, p, strict=True)}) for p in points))


@dataclass
class _Puller:
    """Moves reductions out of expressions; equal ones (up to the names of free indices) share a statement."""

    fresh: Callable[[str], str]
    out: list[Statement]
    known: dict[Expr, tuple[str, tuple[int, ...]]] = field(default_factory=dict)

    def root(self, s: Statement, e: Expr) -> Expr:
        if isinstance(e, Reduce) and e.free == set(s.indices):
            return self._inside(e, s.name, s.indices)
        return self.pull(e, s.name, s.indices, ())

    def pull(self, e: Expr, stem: str, order: tuple[Index, ...], guards: tuple[Expr, ...]) -> Expr:
        """`e` without reductions, as far as they may be computed whether or not their guard holds."""
        if not any(isinstance(x, Reduce) for x in E.subterms(e)):
            return e
        if isinstance(e, Where):
            cond = self.pull(e.cond, stem, order, guards)
            ours = isinstance(cond, E.Cmp) and cond.right is E.num(E.MASKED)  # guards a value, not an access
            return E.where(
                cond,
                self.pull(e.then, stem, order, guards if ours else (*guards, cond)),
                self.pull(e.other, stem, order, guards if ours else (*guards, E.negate(cond))),
            )
        if isinstance(e, Reduce):
            terms = written_out(e, order)
            if terms is not None:
                return self.pull(terms, stem, order, guards)
            if guards and not steady(e):
                if e.op != "sum":
                    return e
                indices, body = E.open_binder(e, avoid=order)
                body = E.where(E.logic("and", *guards), body, E.ZERO)  # stays, also where it is the same for all terms
                whole = E.close(Reduce, "sum", indices, self.pull(body, stem, (*order, *indices), ()))
                assert isinstance(whole, Reduce)
                return self._named(whole, stem, order)
            e = self._inside(e, stem, order)
            return self._named(e, stem, order) if isinstance(e, Reduce) else self.pull(e, stem, order, guards)
        mean = self._mean(e, stem, order, guards) if isinstance(e, Mul) and order else None
        if mean is not None:
            return mean
        return E.rebuild(e, tuple(self.pull(c, stem, order, guards) for c in e.children))

    def _mean(self, e: Mul, stem: str, order: tuple[Index, ...], guards: tuple[Expr, ...]) -> Expr | None:
        """A product with a mean in it: the mean, which is more than the sum of a row, has a statement of its own."""
        for r in e.args:
            count: tuple[Expr, ...] = ()
            if isinstance(r, Reduce):  # of a square, 1/n/n is one factor: 1/n alone makes no mean of it
                count = E.factors(E.mul(*(E.power(E.Size(i.extent), E.MINUS_ONE) for i in r.indices)))
            if not isinstance(r, Reduce) or r.op != "sum" or not set(count) <= set(e.args) or r.free == set(order):
                continue
            total = self.pull(r, stem, order, guards)
            if isinstance(total, Get):
                name = self.fresh(f"{stem}_mean")
                self.out.append(Statement(name, total.subs, E.mul(total, *count)))  # type: ignore[arg-type]
                rest = [f for f in e.args if f is not r and f not in count]
                return self.pull(E.mul(Get(name, total.subs), *rest), stem, order, guards)
        return None

    def _inside(self, e: Reduce, stem: str, order: tuple[Index, ...]) -> Expr:
        """`e` with the reductions in its body pulled out; what then leaves the sum is pulled in turn."""
        if not any(isinstance(x, Reduce) for x in E.subterms(e.body)):
            return e
        indices, body = E.open_binder(e, avoid=order)
        out = E.reduction(e.op, indices, self.pull(body, stem, (*order, *indices), ()))
        if isinstance(out, Reduce):
            return out
        return self.pull(out, stem, order, ())

    def _named(self, e: Reduce, stem: str, order: tuple[Index, ...]) -> Expr:
        free = tuple(i for i in order if i in e.free)
        shape = E.substitute(e, {i: Index(f"@{n}", i.extent) for n, i in enumerate(appearance(e))})
        place = appearance(e)
        if shape in self.known:
            name, axes = self.known[shape]
            return Get(name, tuple(place[a] for a in axes))
        name = self.fresh(f"{stem}_{e.op}")
        self.known[shape] = (name, tuple(place.index(i) for i in free))
        self.out.append(Statement(name, free, e))
        return Get(name, free)


def appearance(e: Expr) -> tuple[Index, ...]:
    """The free indices of `e` in the order in which its terms show them."""
    return tuple(x for x in E.subterms(e) if isinstance(x, Index) and x in e.free)


def uses(statements: Iterable[Statement]) -> dict[str, list[Statement]]:
    """For each tensor, the statements that read it."""
    found: dict[str, list[Statement]] = {}
    for s in statements:
        for t in E.tensors(s.expr):
            found.setdefault(t, []).append(s)
    return found
