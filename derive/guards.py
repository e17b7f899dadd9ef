"""Conditions drawn outwards: `a · where(c, b, 0) = where(c, a·b, 0)`.

A guard must cover every factor of its term, not only the one it was written on: `where(x > 0, log(x), 0)` has the
derivative `where(x > 0, dY/x, 0)`, while `where(x > 0, 1, 0) · dY / x` is NaN at x = 0.

    a · where(c, b, 0)                     ->  where(c, a·b, 0)
    where(c, a, 0) + where(c, b, 0)        ->  where(c, a + b, 0)
    where(c, a, 0) + where(not c, b, 0)    ->  where(c, a, b)
    where(c, where(e, a, 0), 0)            ->  where(c and e, a, 0)
    Σ where(c, a, 0) + Σ where(c, b, 0)    ->  Σ where(c, a + b, 0)
    s = t and not s < t                    ->  s = t
    p ≠ 0, an index of two places          ->  p = 1
    where(c, f(where(c, a, b)), 0)         ->  where(c, f(a), 0)

Each step leaves fewer `where` nodes or `≠`, or moves a `where` outwards, so it ends.
"""

from __future__ import annotations

from derive import expr as E
from derive.expr import Add, Cmp, Expr, Index, Logic, Mul, Num, Pow, Reduce, Where
from derive.reads import needs


def draw_guards(e: Expr) -> Expr:
    """Apply the rules above everywhere in `e`."""
    return E.transform(e, _step)


def within(outer: Expr, inner: Expr) -> Expr:
    """`outer · inner`, the guards of `outer` before those of `inner`, which may need them."""
    outer, inner = draw_guards(outer), draw_guards(inner)
    for half, rest in ((_half(outer), inner), (_half(inner), outer)):
        if half is not None:
            return _nested(Where(half[0], within(half[1], rest), E.ZERO))
    return E.mul(outer, inner)


def branches(e: Expr) -> list[Expr]:
    """The terms of `e`, if each is zero but where a condition of its own holds; else `e` alone."""
    e = draw_guards(e)
    for f in E.factors(e):
        if isinstance(f, Add) and all(_half(t) for t in f.args):
            return [draw_guards(E.mul(*(t if g is f else g for g in E.factors(e)))) for t in f.args]
    return [e]


def _step(x: Expr) -> Expr:
    if isinstance(x, Mul):
        return _product(x)
    if isinstance(x, Add):
        return _sum(x)
    if isinstance(x, Pow) and isinstance(x.base, Where) and isinstance(x.exponent, Num) and x.exponent.value > 0:
        w = x.base
        return E.where(w.cond, E.power(w.then, x.exponent), E.power(w.other, x.exponent))
    if isinstance(x, Where):
        return _decided(_nested(x))
    if isinstance(x, Cmp) and x.op == "!=":
        return _other_place(x)
    if isinstance(x, Logic) and x.op == "and":
        return _implied(x)
    return x


def _product(x: Mul) -> Expr:
    guards, rest = [], []
    for f in x.args:
        half = _half(f)
        if half is None:
            rest.append(f)
        else:
            guards.append(half[0])
            rest.append(half[1])
    if not guards:
        return x
    guards.sort(key=needs)  # what keeps a read in range comes before it
    return E.where(E.logic("and", *guards), _step(E.mul(*rest)), E.ZERO)


def _half(f: Expr) -> tuple[Expr, Expr] | None:
    """(condition, value) of a factor that is zero where the condition fails."""
    if isinstance(f, Where):
        if f.other is E.ZERO:
            return f.cond, f.then
        if f.then is E.ZERO:
            return E.negate(f.cond), f.other
    return None


def _nested(x: Where) -> Expr:
    if x.then is E.ZERO:
        return _nested(Where(E.negate(x.cond), x.other, E.ZERO)) if x.other is not E.ZERO else E.ZERO
    if x.other is E.ZERO:
        inner = _half(x.then)
        if inner is not None:
            return E.where(E.logic("and", x.cond, inner[0]), inner[1], E.ZERO)
    return x


def _decided(x: Expr) -> Expr:
    """What the guard leaves of choices that it makes: equal conditions are of the same places."""
    if isinstance(x, Where) and x.other is E.ZERO:
        holds = set(E.conjuncts(x.cond))

        def step(w: Expr) -> Expr:
            if isinstance(w, Where):
                return w.then if w.cond in holds else w.other if E.negate(w.cond) in holds else w
            return w

        then = E.transform(x.then, step)
        return x if then is x.then else E.where(x.cond, then, E.ZERO)
    return x


def _sum(x: Add) -> Expr:
    joined = _joined(x)
    if joined is not x:
        return _step(joined)
    by_guard: dict[Expr, list[Expr]] = {}
    rest: list[Expr] = []
    for t in x.args:
        half = _half(t)
        if half is None:
            rest.append(t)
        else:
            by_guard.setdefault(half[0], []).append(half[1])
    if len(by_guard) < 2 and all(len(v) == 1 for v in by_guard.values()):
        return x
    sums = {c: E.add(*v) for c, v in by_guard.items()}
    out: list[Expr] = []
    for c in sorted(sums, key=lambda c: c.key):
        if c not in sums:
            continue
        opposite = _step(E.negate(c))
        a = sums.pop(c)
        out.append(E.where(c, a, sums.pop(opposite)) if opposite in sums else E.where(c, a, E.ZERO))
    return E.add(*rest, *out)


def _joined(x: Add) -> Expr:
    """Sums over the same indices under the same condition as one; equal bound indices have equal names."""
    alike: dict[tuple[tuple[Index, ...], Expr], list[Reduce]] = {}
    for t in x.args:
        if isinstance(t, Reduce) and t.op == "sum" and isinstance(t.body, Where) and t.body.other is E.ZERO:
            alike.setdefault((t.indices, t.body.cond), []).append(t)
    for (indices, cond), sums in alike.items():
        if len(sums) > 1:
            both = E.add(*(t.body.then for t in sums if isinstance(t.body, Where)))
            x_rest = [t for t in x.args if t not in sums]
            return E.add(*x_rest, E.summation(indices, E.where(cond, both, E.ZERO)))
    return x


def _implied(x: Logic) -> Expr:
    """A conjunction without what its equations of places make true; false if they make a part of it false. The equation
    comes where the first of these stood, which what follows may need."""
    kept = list(x.args)
    for c in x.args:
        if isinstance(c, Cmp) and c.op == "==" and isinstance(c.left, Index) and isinstance(c.right, Index):
            there: dict[Expr, Expr] = {c.left: c.right}
            told = {o: E.decide(E.substitute(o, there)) for o in kept if o is not c}
            if E.FALSE in told.values():
                return E.FALSE
            first = next((o for o in kept if o is c or told[o] is E.TRUE), c)
            kept = [c if o is first else o for o in kept if o is first or (o is not c and told[o] is not E.TRUE)]
    return E.logic("and", *kept)


def _other_place(c: Cmp) -> Expr:
    """`p ≠ a` as `p = 1 − a` where p has two places."""
    number, letter = sorted((c.left, c.right), key=lambda x: isinstance(x, Index))
    if isinstance(letter, Index) and letter.extent == "=2" and number in (E.ZERO, E.ONE):
        return E.compare("==", letter, E.sub(E.ONE, number))
    return c
