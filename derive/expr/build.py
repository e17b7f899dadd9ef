"""Constructors that canonicalise what is always true, binders, and substitution, which goes through both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import cast

from derive.expr.nodes import (
    Add,
    Call,
    Cmp,
    Const,
    Expr,
    Get,
    Index,
    Logic,
    Mul,
    Num,
    Pow,
    Reduce,
    Size,
    Softmax,
    Truth,
    Where,
)

_NOTHING: frozenset[Index] = frozenset()


# ---------------------------------------------------------------------------------------------- constructors

def num(value: int | Fraction) -> Num:
    return Num(Fraction(value))


ZERO, ONE, MINUS_ONE, HALF = num(0), num(1), num(-1), num(Fraction(1, 2))
TRUE, FALSE = Truth(True), Truth(False)


def coefficient(e: Expr) -> tuple[Fraction, Expr]:
    """Split `3·x` into `(3, x)`."""
    if isinstance(e, Num):
        return e.value, ONE
    if isinstance(e, Mul) and isinstance(e.args[0], Num):
        rest = e.args[1:]
        return e.args[0].value, rest[0] if len(rest) == 1 else Mul(rest)
    return Fraction(1), e


def factors(e: Expr) -> tuple[Expr, ...]:
    return e.args if isinstance(e, Mul) else (e,)


def terms(e: Expr) -> tuple[Expr, ...]:
    return e.args if isinstance(e, Add) else (e,)


def conjuncts(c: Expr) -> tuple[Expr, ...]:
    """The conditions that hold where `c` does; of `not (a or b)` they are `not a` and `not b`."""
    if isinstance(c, Logic) and c.op == "not" and isinstance(c.args[0], Logic) and c.args[0].op == "or":
        return tuple(x for a in c.args[0].args for x in conjuncts(negate(a)))
    return tuple(x for a in c.args for x in conjuncts(a)) if isinstance(c, Logic) and c.op == "and" else (c,)


def split_power(e: Expr) -> tuple[Expr, Expr]:
    return (e.base, e.exponent) if isinstance(e, Pow) else (e, ONE)


def add(*args: Expr) -> Expr:
    """A sum: flattened, numbers and like terms collected."""
    found: dict[Expr, Fraction] = {}
    for a in args:
        for t in terms(a):
            c, rest = coefficient(t)
            found[rest] = found.get(rest, Fraction(0)) + c
    out = [mul(num(c), rest) if c != 1 else rest for rest, c in found.items() if c != 0]
    if not out:
        return ZERO
    return out[0] if len(out) == 1 else Add(tuple(sorted(out, key=lambda t: t.key)))


def mul(*args: Expr) -> Expr:
    """A product: flattened, numbers multiplied, equal bases collected."""
    number = Fraction(1)
    found: dict[Expr, Expr] = {}
    for a in args:
        for f in factors(a):
            if isinstance(f, Num):
                number *= f.value
                continue
            base, exponent = split_power(f)
            found[base] = add(found[base], exponent) if base in found else exponent
    if number == 0:
        return ZERO
    out: list[Expr] = []
    for base, exponent in found.items():
        p = power(base, exponent)
        if isinstance(p, Num):
            number *= p.value
        elif isinstance(p, Mul):  # only when a base was itself a product
            out.extend(p.args)
        else:
            out.append(p)
    if not out:
        return num(number)
    out.sort(key=lambda t: t.key)
    if number != 1:
        out.insert(0, num(number))
    return out[0] if len(out) == 1 else Mul(tuple(out))


def power(base: Expr, exponent: Expr) -> Expr:
    """`base ** exponent`; nested and multiplied powers are merged only where that is true of all reals."""
    if exponent is ZERO:
        return ONE
    if exponent is ONE or base is ONE:
        return base
    if isinstance(exponent, Num) and exponent.value.denominator == 1:
        n = int(exponent.value)
        if isinstance(base, Num) and (base.value != 0 or n > 0) and _fits(base.value, n):
            return num(base.value**n)
        if isinstance(base, Mul):
            return mul(*(power(f, exponent) for f in base.args))
        if isinstance(base, Pow):
            return power(base.base, mul(base.exponent, exponent))
    elif isinstance(base, Pow) and _is_positive(base):  # √(1/π) = 1/√π
        return power(base.base, mul(base.exponent, exponent))
    elif isinstance(exponent, Num) and isinstance(base, Mul):  # √(2/π) = √2/√π, for factors that are positive
        positive = [f for f in base.args if _is_positive(f)]
        if (positive and len(positive) < len(base.args)) or len(positive) > 1:
            rest = [f for f in base.args if f not in positive]
            return mul(*(power(f, exponent) for f in positive), *([power(mul(*rest), exponent)] if rest else []))
    return Pow(base, exponent)


def _fits(value: Fraction, n: int) -> bool:
    """Whether value**n is a number to write out; 9**9**9 stays a power."""
    return max(value.numerator.bit_length(), value.denominator.bit_length()) * abs(n) <= 4096


def _is_positive(f: Expr) -> bool:
    base = f.base if isinstance(f, Pow) else f
    return isinstance(base, (Const, Size)) or (isinstance(base, Num) and base.value > 0)


def neg(e: Expr) -> Expr:
    return mul(MINUS_ONE, e)


def sub(a: Expr, b: Expr) -> Expr:
    return add(a, *(neg(t) for t in terms(b)))


def div(a: Expr, b: Expr) -> Expr:
    return mul(a, power(b, MINUS_ONE))


def call(fn: str, *args: Expr) -> Expr:
    if fn == "exp" and args[0] is ZERO:
        return ONE
    if fn == "log" and args[0] is ONE:
        return ZERO
    if fn in ("floordiv", "mod") and isinstance(args[1], Num):
        if args[1] is ONE:
            return args[0] if fn == "floordiv" else ZERO
        if isinstance(args[0], Num):
            a, b = args[0].value, args[1].value
            return num(a // b if fn == "floordiv" else a % b)
    return Call(fn, tuple(args))


def compare(op: str, left: Expr, right: Expr) -> Expr:
    """A comparison; `>` and `>=` are turned round, and one between numbers is decided."""
    if op in (">", ">="):
        return compare({">": "<", ">=": "<="}[op], right, left)
    gap = sub(left, right)
    if isinstance(gap, Num):
        v = gap.value
        return Truth({"<": v < 0, "<=": v <= 0, "==": v == 0, "!=": v != 0}[op])
    if op in ("==", "!=") and right.key < left.key:
        left, right = right, left
    return Cmp(op, left, right)


def logic(op: str, *args: Expr) -> Expr:
    """`and` / `or` of conditions, flattened, without repeats; the order is kept, since the first guards the rest."""
    absorbing, neutral = (FALSE, TRUE) if op == "and" else (TRUE, FALSE)
    flat: dict[Expr, None] = {}
    for a in args:
        for c in a.args if isinstance(a, Logic) and a.op == op else (a,):
            if c is absorbing:
                return absorbing
            if c is not neutral:
                flat[c] = None
    if not flat:
        return neutral
    if any(negate(c) in flat for c in flat):
        return absorbing
    return next(iter(flat)) if len(flat) == 1 else Logic(op, tuple(flat))


def negate(c: Expr) -> Expr:
    """`not c`; an order comparison of values keeps its `not`, since a NaN makes both sides of it false."""
    if isinstance(c, Truth):
        return Truth(not c.value)
    if isinstance(c, Logic) and c.op == "not":
        return c.args[0]
    if isinstance(c, Cmp) and c.op in ("==", "!="):
        return Cmp("!=" if c.op == "==" else "==", c.left, c.right)
    return Logic("not", (c,))


def where(cond: Expr, then: Expr, other: Expr) -> Expr:
    if isinstance(cond, Truth):
        return then if cond.value else other
    if isinstance(cond, Cmp) and cond.op == "!=" and other is not ZERO:
        cond, then, other = negate(cond), other, then
    return then if then is other else Where(cond, then, other)


def indicator(cond: Expr) -> Expr:
    """1 where `cond` holds, else 0: the Kronecker delta when `cond` is an equality."""
    return where(cond, ONE, ZERO)


def reduction(op: str, indices: Iterable[Index], body: Expr) -> Expr:
    """`op` over `indices`; a sum goes through `summation`."""
    indices = tuple(indices)
    if op == "sum":
        return summation(indices, body)
    return close(Reduce, op, indices, body) if indices else body


def summation(indices: Iterable[Index], body: Expr) -> Expr:
    """Σ over `indices`, with what does not depend on them in front and independent sums apart."""
    left = tuple(indices)
    if not left or body is ZERO:
        return body
    if isinstance(body, Reduce) and body.op == "sum":
        inner, opened = open_binder(body, avoid=left)
        return summation((*left, *inner), opened)
    idle = [i for i in left if i not in body.free]
    if idle:
        rest = tuple(i for i in left if i in body.free)
        return mul(*(Size(i.extent) for i in idle), summation(rest, body))
    if isinstance(body, Where) and body.other is ZERO and not body.cond.free & set(left):
        return where(body.cond, summation(left, body.then), ZERO)
    if isinstance(body, Mul):
        groups = _components(body.args, left)
        if len(groups) > 1 or groups[0][0] != left:
            return mul(*(summation(ix, mul(*fs)) for ix, fs in groups))
    return close(Reduce, "sum", left, body)


def _components(parts: tuple[Expr, ...], bound: tuple[Index, ...]) -> list[tuple[tuple[Index, ...], list[Expr]]]:
    """Group factors that are linked by a bound index; factors with none come first, with no index."""
    groups: list[tuple[set[Index], list[Expr]]] = []
    alone: list[Expr] = []
    for f in parts:
        mine = f.free & set(bound)
        if not mine:
            alone.append(f)
            continue
        touching = [g for g in groups if g[0] & mine]
        merged = (set(mine).union(*(g[0] for g in touching)), [x for g in touching for x in g[1]] + [f])
        groups = [g for g in groups if g not in touching] + [merged]
    out = [(tuple(i for i in bound if i in g[0]), g[1]) for g in groups]
    return [((), alone), *out] if alone else out


def softmax(indices: Iterable[Index], body: Expr, at: Iterable[Expr]) -> Expr:
    return close(Softmax, "", tuple(indices), body, tuple(at))


# ------------------------------------------------------------------------------------------------- binders

def close(kind: type, op: str, indices: tuple[Index, ...], body: Expr, at: tuple[Expr, ...] = ()) -> Expr:
    """Bind `indices` in `body` under canonical names, so that alpha-equal binders are one object."""
    height = body._height + 1
    rename: dict[Expr, Expr] = {}
    outside = {i.name for i in body.free - set(indices)}
    for n, i in enumerate(indices):
        tag = f"%{height}" + ("" if n == 0 else chr(96 + n))
        while tag in outside:
            tag += "'"
        rename[i] = Index(tag, i.extent)
    body = substitute(body, rename)
    bound = tuple(cast(Index, rename[i]) for i in indices)
    return Softmax(bound, body, at) if kind is Softmax else Reduce(op, bound, body)


def fresh(index: Index, taken: Iterable[Index], stem: str = "~") -> Index:
    """An index of the same extent whose name is not taken; the choice depends on `taken` only."""
    names = {t.name for t in taken}
    n = 1
    while f"{stem}{index.extent}{n}" in names:
        n += 1
    return Index(f"{stem}{index.extent}{n}", index.extent)


def open_binder(e: Reduce | Softmax, avoid: Iterable[Index] = ()) -> tuple[tuple[Index, ...], Expr]:
    """The bound indices under fresh names, and the body in terms of them."""
    taken = {*avoid, *e.body.free}
    names: list[Index] = []
    for i in e.indices:
        names.append(fresh(i, taken))
        taken.add(names[-1])
    return tuple(names), substitute(e.body, dict(zip(e.indices, names, strict=True)))


# ----------------------------------------------------------------------------------------------- rebuilding

def rebuild(e: Expr, new: tuple[Expr, ...]) -> Expr:
    """`e` with its children replaced, through the canonicalising constructors."""
    match e:
        case Get():
            return Get(e.tensor, new)
        case Add():
            return add(*new)
        case Mul():
            return mul(*new)
        case Pow():
            return power(*new)
        case Call():
            return call(e.fn, *new)
        case Cmp():
            return compare(e.op, *new)
        case Logic():
            return negate(new[0]) if e.op == "not" else logic(e.op, *new)
        case Where():
            return where(*new)
        case Reduce():
            return reduction(e.op, e.indices, new[0])
        case Softmax():
            return softmax(e.indices, new[0], new[1:])
    raise TypeError(f"{type(e).__name__} has no children to replace")


def substitute(e: Expr, values: Mapping[Expr, Expr]) -> Expr:
    """Replace free indices by terms; bound indices are renamed where a term would be captured."""
    memo: dict[Expr, Expr] = {}
    keys = {k for k in values if isinstance(k, Index)}

    def walk(x: Expr) -> Expr:
        if not (x.free & keys):
            return x
        if isinstance(x, Index):
            return values[x]
        if x in memo:
            return memo[x]
        if isinstance(x, (Reduce, Softmax)):
            coming = _NOTHING.union(*(values[k].free for k in x.free & keys))
            body, bound = x.body, x.indices
            if coming & set(bound):
                bound, body = open_binder(x, avoid=coming)
            inner = {k: v for k, v in values.items() if k not in bound}
            body = walk(body) if len(inner) == len(values) else substitute(body, inner)
            if isinstance(x, Reduce):
                out = reduction(x.op, bound, body)
            else:
                out = softmax(bound, body, tuple(walk(a) for a in x.at))
        else:
            out = rebuild(x, tuple(walk(c) for c in x.children))
        memo[x] = out
        return out

    return walk(e)
