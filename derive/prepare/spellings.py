"""Spellings of the same function brought to the one that is finite and exact in floating point.

    exp(u)·exp(v)                           ->  exp(u + v)
    1 / (c·exp(u) + c·exp(v))               ->  exp(−u)·sigmoid(u − v) / c        with 1 read as exp(0)
    exp(u)·sigmoid(−u)                      ->  sigmoid(u)
    1 − sigmoid(u)                          ->  sigmoid(−u)
    (exp(u) − exp(v)) / (exp(u) + exp(v))   ->  tanh((u − v)/2)
    2·sigmoid(u) − 1                        ->  tanh(u/2)
    log(exp(u) + exp(v))                    ->  u + softplus(v − u)
    log(sigmoid(u))                         ->  −softplus(−u)
    relu(u) + softplus(−|u|)                ->  softplus(u)
    exp(u_j) / Σ_l exp(u_l)                 ->  softmax(l, u_l) at j
    exp(u_j + v) / Σ_l exp(u_l)             ->  softmax(l, u_l) at j · exp(v)
    exp(u_j)·w / Σ_l exp(u_l)·w_l           ->  softmax·w / Σ softmax·w
    1 / Σ_l exp(u_l − u_j)                  ->  softmax(l, u_l) at j
    expm1(u) + 1                            ->  exp(u)
    (a^m)^n                                 ->  a^(m·n)                            a a sum or product of exponentials
    log Σ_l exp(u_l)                        ->  logsumexp(l, u_l)
    log(where(c, u, v))                     ->  where(c, log(u), log(v))           if one of the two is respelled
    log(softmax(l, u_l) at j)               ->  u_j − logsumexp(l, u_l)
    tanh(−u)                                ->  −tanh(u)                           also erf and sin
    softmax(l, u_l + c)                     ->  softmax(l, u_l)                    c free of l; so with max-shifts
    logsumexp(l, u_l + c)                   ->  c + logsumexp(l, u_l)

Each holds for all reals (exponentials are positive), and each removes an exponential or a logarithm, so it ends.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

from derive import expr as E
from derive.expr import Add, Call, Expr, Index, Mul, Num, Pow, Reduce, Size, Softmax, Where

MASK = E.num(E.NEGATIVE_INFINITY)


def respell(e: Expr) -> Expr:
    """`e` with every rule above applied until none fires."""
    for _ in range(12):
        new = E.transform(E.transform(e, _quotient), _step)
        if new is e:
            break
        e = new
    return e


def _quotient(x: Expr) -> Expr:
    """tanh as a quotient, found before its denominator is respelled by itself."""
    return (_tanh_quotient(x) or x) if isinstance(x, Mul) else x


def _step(x: Expr) -> Expr:
    match x:
        case Mul():
            return _product(x)
        case Pow():
            return _power(x)
        case Add():
            return _sum(x)
        case Call(fn="log"):
            return _log(x.args[0])
        case Call(fn="log1p"):
            inside = E.add(E.ONE, x.args[0])
            found = _log(inside)
            return x if found is E.call("log", inside) else found
        case Call(fn="exp"):
            return _exp(x)
        case Call(fn="tanh" | "erf" | "sin") if E.coefficient(x.args[0])[0] < 0:
            return E.neg(E.call(x.fn, E.neg(x.args[0])))
        case Reduce(op="logsumexp"):
            return _shifted(x)
        case Softmax():
            return _shifted(x)
    return x


# ----------------------------------------------------------------------------------------------- exponentials

def exponent_of(e: Expr) -> Expr | None:
    """u of a term that is exp(u); a guarded exponential where(c, exp(u), 0) is exp(where(c, u, −1e30))."""
    if e is E.ONE:
        return E.ZERO
    if isinstance(e, Call) and e.fn == "exp":
        return e.args[0]
    if isinstance(e, Where) and e.other is E.ZERO:
        u = exponent_of(e.then)
        return None if u is None else E.where(e.cond, u, MASK)
    if isinstance(e, Pow) and isinstance(e.base, Call) and e.base.fn == "exp":
        return E.mul(e.exponent, e.base.args[0])
    if isinstance(e, Mul):
        parts = [exponent_of(f) for f in e.args]
        if all(p is not None for p in parts) and sum(isinstance(p, Where) for p in parts) == 0:
            return E.add(*(p for p in parts if p is not None))
    return None


def _two_exponentials(e: Expr) -> tuple[Fraction, Fraction, Expr, Expr] | None:
    """(a, b, u, v) of `a·exp(u) + b·exp(v)` with a > 0; a bare number is a multiple of exp(0), expm1(u) exp(u) − 1."""
    if isinstance(e, Call) and e.fn == "expm1":
        return Fraction(1), Fraction(-1), e.args[0], E.ZERO
    e = _without_expm1(e)
    if not (isinstance(e, Add) and len(e.args) == 2):
        return None
    found = []
    for t in e.args:
        c, rest = E.coefficient(t)
        u = exponent_of(rest)
        if u is None or isinstance(u, Where):
            return None
        found.append((c, u))
    (a, u), (b, v) = found
    if (u is E.ZERO and v is E.ZERO) or (a < 0 and b < 0):
        return None
    return (a, b, u, v) if a > 0 else (b, a, v, u)


def _without_expm1(e: Expr) -> Expr:
    """c·expm1(u) + n as c·exp(u) + (n − c), which loses nothing for n >= c > 0."""
    n = next((t.value for t in E.terms(e) if isinstance(t, Num)), Fraction(0))
    for t in E.terms(e):
        c, s = E.coefficient(t)
        if isinstance(s, Call) and s.fn == "expm1" and n >= c > 0:
            return E.add(e, E.neg(t), E.num(-c), E.mul(E.num(c), E.call("exp", s.args[0])))
    return e


def _exp(x: Call) -> Expr:
    u = x.args[0]
    if isinstance(u, Call) and u.fn == "log":
        return u.args[0]
    for t in E.terms(u):  # exp(v_j − logsumexp(l, v_l)) = softmax
        c, rest = E.coefficient(t)
        if c == -1 and isinstance(rest, Reduce) and rest.op == "logsumexp":
            top = E.add(u, rest)
            at = _place(rest, top)
            if at is not None and not rest.free.intersection(at):  # one entry of its own row is as stable as it stands
                return E.softmax(*_open(rest), at)
    return x


def _power(x: Pow) -> Expr:
    if isinstance(x.base, Call) and x.base.fn == "exp":
        return E.call("exp", E.mul(x.exponent, x.base.args[0]))
    if isinstance(x.base, Pow) and isinstance(x.base.exponent, Num) and _positive(x.base.base):
        return E.power(x.base.base, E.mul(x.exponent, x.base.exponent))
    if not (isinstance(x.exponent, Num) and x.exponent.value < 0 and x.exponent.value.denominator == 1):
        return x
    if isinstance(x.base, Reduce) and x.exponent is E.MINUS_ONE:
        return _softmax_reciprocal(x, x.base)
    pair = _two_exponentials(x.base)
    if pair is None or pair[0] != pair[1]:
        return x
    n = x.exponent
    a, _, u, v = pair
    sigmoid = E.call("sigmoid", E.sub(u, v))
    return E.mul(E.power(E.num(a), n), E.call("exp", E.mul(n, u)), E.power(sigmoid, E.neg(n)))


def _product(x: Mul) -> Expr:
    found = _softmax_quotient(x)
    if found is not None:
        return found
    exponents = [f for f in x.args if isinstance(f, Call) and f.fn == "exp"]
    if len(exponents) > 1:
        rest = [f for f in x.args if f not in exponents]
        return _step(E.mul(*rest, E.call("exp", E.add(*(f.args[0] for f in exponents)))))
    if len(exponents) == 1:
        u = exponents[0].args[0]
        partner = E.call("sigmoid", E.neg(u))
        for f in x.args:
            base, n = E.split_power(f)
            if base is partner and isinstance(n, Num) and n.value >= 1:
                return E.mul(x, E.power(exponents[0], E.MINUS_ONE), E.power(partner, E.MINUS_ONE), E.call("sigmoid", u))
    return x


def _tanh_quotient(x: Mul) -> Expr | None:
    tops = [(f, p) for f in x.args if (p := _two_exponentials(f)) is not None and p[0] == -p[1]]
    for f in x.args:
        if not (isinstance(f, Pow) and f.exponent is E.MINUS_ONE):
            continue
        below = _two_exponentials(f.base)
        if below is None or below[0] != below[1]:
            continue
        for top, (a, _, u, v) in tops:
            if {u, v} == {below[2], below[3]}:
                rest = [g for g in x.args if g is not top and g is not f]
                return E.mul(E.num(a / below[0]), *rest, E.call("tanh", E.mul(E.HALF, E.sub(u, v))))
    return None


# -------------------------------------------------------------------------------------------------- sums

def _sum(x: Add) -> Expr:
    if len(x.args) == 2:
        for one, other in (x.args, x.args[::-1]):
            c, s = E.coefficient(other)
            if isinstance(one, Num) and isinstance(s, Call) and s.fn == "sigmoid":
                u = s.args[0]
                if c == -one.value:  # c − c·sigmoid(u)
                    return E.mul(one, E.call("sigmoid", E.neg(u)))
                if c == -2 * one.value:  # 2c·sigmoid(u) − c
                    return E.mul(E.neg(one), E.call("tanh", E.mul(E.HALF, u)))
    opened = _without_expm1(x)
    if opened is not x:
        return opened
    for t in x.args:  # relu(u) + softplus(−|u|)
        c, s = E.coefficient(t)
        if isinstance(s, Call) and s.fn == "softplus":
            b, inside = E.coefficient(s.args[0])
            if b < 0 and isinstance(inside, Call) and inside.fn == "abs":
                u = E.mul(E.num(-b), inside.args[0])
                for v in (u, E.neg(u)):
                    for r in (E.call("relu", v), E.call("maximum", *sorted((v, E.ZERO), key=lambda a: a.key))):
                        if E.mul(E.num(c), r) in x.args:
                            return E.add(x, E.neg(t), E.mul(E.num(-c), r), E.mul(E.num(c), E.call("softplus", v)))
    return x


def _log(e: Expr) -> Expr:
    """log(e), taken apart where `e` is made of exponentials."""
    u = exponent_of(e)
    if u is not None and not isinstance(u, Where):
        return u
    if isinstance(e, Call) and e.fn == "sigmoid":
        return E.neg(E.call("softplus", E.neg(e.args[0])))
    pair = _two_exponentials(e)
    if pair is not None and pair[0] == pair[1]:
        a, _, u, v = pair
        if v is E.ZERO:
            u, v = v, u
        return E.add(_log(E.num(a)), u, E.call("softplus", E.sub(v, u)))
    if isinstance(e, Softmax):
        over, body = _open(e)
        at = E.substitute(body, dict(zip(over, e.at, strict=True)))
        return E.sub(at, E.reduction("logsumexp", over, body))
    if isinstance(e, Reduce) and e.op == "sum":
        return _log_sum(e)
    if isinstance(e, Pow) and isinstance(e.exponent, Num) and _positive(e.base):
        return E.mul(e.exponent, _log(e.base))
    if isinstance(e, Where) and not any(isinstance(x, Num) for x in (e.then, e.other)):
        sides = [(x, _log(x)) for x in (e.then, e.other)]
        if any(found is not E.call("log", x) for x, found in sides):
            return E.where(e.cond, *(found for _, found in sides))
    if isinstance(e, Mul) and all(_positive(f) for f in e.args):
        return E.add(*(_log(f) for f in e.args))
    return E.call("log", e)


def _positive(e: Expr) -> bool:
    """Whether `e` is an exponential in disguise, so that the logarithm of a product may be taken apart."""
    if isinstance(e, Num):
        return e.value > 0
    if isinstance(e, Pow):
        return _positive(e.base)
    if isinstance(e, Call):
        return e.fn in ("exp", "sigmoid")
    if isinstance(e, (Add, Mul)):
        return all(_positive(a) for a in e.args)
    if isinstance(e, Reduce):
        return e.op == "sum" and exponent_of(e.body) is not None
    return isinstance(e, (Size, Softmax))


def _log_sum(e: Reduce) -> Expr:
    over, body = _open(e)
    u = exponent_of(body)
    if u is not None:
        return E.reduction("logsumexp", over, u)
    exps, rest = _split(body)
    if exps is None or not rest:
        return E.call("log", e)
    lse = E.reduction("logsumexp", over, exps)
    weights = E.summation(over, E.mul(E.softmax(over, exps, over), *rest))
    return E.add(lse, E.call("log", weights))


def _split(body: Expr) -> tuple[Expr | None, list[Expr]]:
    """(exponent, other factors) of a product with one exponential."""
    exps = [f for f in E.factors(body) if exponent_of(f) is not None and f is not E.ONE]
    if len(exps) != 1:
        return None, []
    return exponent_of(exps[0]), [f for f in E.factors(body) if f is not exps[0]]


# ------------------------------------------------------------------------------------------- softmax, shifts

def _open(e: Reduce | Softmax) -> tuple[tuple[Index, ...], Expr]:
    return E.open_binder(e, avoid=e.free)


def _softmax_quotient(x: Mul) -> Expr | None:
    for f in x.args:
        if not (isinstance(f, Pow) and f.exponent is E.MINUS_ONE and isinstance(f.base, Reduce) and f.base.op == "sum"):
            continue
        over, body = _open(f.base)
        u, weights = _split(body)
        if u is None or not _any_get(u):
            continue
        binder = E.reduction("logsumexp", over, u)
        if not isinstance(binder, Reduce) or binder.op != "logsumexp":
            continue
        below = E.ONE if not weights else E.power(
            E.summation(over, E.mul(E.softmax(over, u, over), *weights)), E.MINUS_ONE)
        rest = [g for g in x.args if g is not f]
        for g in rest:
            new = _numerator(g, binder)
            if new is not None:
                return E.mul(*(r for r in rest if r is not g), new, below)
    return None


def _softmax_reciprocal(x: Pow, below: Reduce) -> Expr:
    """1 / Σ_l exp(u_l − u_j)."""
    over, body = _open(below)
    u = exponent_of(body) if below.op == "sum" else None
    if u is None:
        return x
    kept, shift = _without_constant(u, over)
    binder = E.reduction("logsumexp", over, kept)
    at = _place(binder, E.neg(shift)) if shift is not E.ZERO and isinstance(binder, Reduce) else None
    return x if at is None or binder.free.intersection(at) else E.softmax(over, kept, at)


def _numerator(g: Expr, binder: Reduce) -> Expr | None:
    """`g / Σ exp(u)` for a factor `g` that is exp(u_j), or a sum over j of exp(u_j)·w."""
    top = exponent_of(g)
    if top is not None and g is not E.ONE:
        at = _place(binder, top)
        return _shared_numerator(top, binder) if at is None else E.softmax(*_open(binder), at)
    if isinstance(g, Reduce) and g.op == "sum":
        inner, body = E.open_binder(g, avoid=binder.free)
        u, rest = _split(body)
        at = None if u is None else _place(binder, u)
        if at is not None and rest:
            return E.summation(inner, E.mul(E.softmax(*_open(binder), at), *rest))
    return None


def _shared_numerator(top: Expr, binder: Reduce) -> Expr | None:
    """exp(u_j + v) / Σ_l exp(u_l) = softmax · exp(v), where u_j is a part of the exponent, as of exp(2u) / Σ / Σ'."""
    if isinstance(top, Where):
        return None
    over, body = _open(binder)
    for at in permutations(sorted(top.free, key=lambda i: i.key), len(over)):
        if all(a.extent == o.extent for a, o in zip(at, over, strict=True)):
            part = E.substitute(body, dict(zip(over, at, strict=True)))
            rest = E.sub(top, part)
            if _weight(rest) + _weight(part) == _weight(top):
                return E.mul(E.softmax(over, body, at), E.call("exp", rest))
    return None


def _weight(e: Expr) -> Fraction:
    """How much there is of a sum: the absolute values of its coefficients."""
    return sum((abs(E.coefficient(t)[0]) for t in E.terms(e)), Fraction(0))


def _place(binder: Reduce, top: Expr) -> tuple[Expr, ...] | None:
    """The indices `at` for which the body of `binder` is `top`."""
    over, body = _open(binder)
    candidates = sorted(top.free, key=lambda i: i.key)
    for at in permutations(candidates, len(over)):
        fits = all(a.extent == o.extent for a, o in zip(at, over, strict=True))
        if fits and E.substitute(body, dict(zip(over, at, strict=True))) is top:
            return at
    if not body.free.issuperset(over):
        return None  # the same at every place: a subscript of it need not be one of them
    subs = {s for x in E.subterms(top) if isinstance(x, E.Get) for s in x.subs if not isinstance(s, Index)}
    for s in sorted(subs, key=lambda s: s.key):
        if len(over) == 1 and E.substitute(body, {over[0]: s}) is top:
            return (s,)
    return None


def _any_get(e: Expr) -> bool:
    return any(isinstance(x, E.Get) for x in E.subterms(e))


def _shifted(x: Reduce | Softmax) -> Expr:
    """softmax(u + c) = softmax(u) and logsumexp(u + c) = c + logsumexp(u) for c free of the index.

    Not of a masked logsumexp: in a row that is masked whole it is minus infinity, and no c has a gradient.
    """
    over, body = _open(x)
    if isinstance(x, Reduce) and isinstance(body, Where):
        return x
    kept, shift = _without_constant(body, over)
    if shift is E.ZERO or not kept.free & set(over):
        return x
    if isinstance(x, Softmax):
        return E.softmax(over, kept, x.at)
    return E.add(shift, E.reduction("logsumexp", over, kept))


def _without_constant(body: Expr, over: tuple[Index, ...]) -> tuple[Expr, Expr]:
    """(varying part, part free of `over`); a mask `where(c, u, −1e30)` is looked into."""
    if isinstance(body, Where) and isinstance(body.other, Num) and body.other.value <= E.MASKED:
        kept, shift = _without_constant(body.then, over)
        return E.where(body.cond, kept, body.other), shift
    constant = [t for t in E.terms(body) if not t.free & set(over) and not isinstance(t, Num)]
    shift = E.add(*constant)
    return E.sub(body, shift), shift
