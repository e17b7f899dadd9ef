"""Scalar calculus by SymPy: the one place where terms become SymPy expressions and come back.

Accesses and reductions are opaque real symbols, conditions are opaque symbols too (their derivative is zero almost
everywhere), and functions with a kink are classes of our own, so that each convention is written once:
relu'(0) = 0, sign(0) = 0, and `maximum` shares the gradient of a tie equally.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import sympy
from sympy.core.parameters import distribute

from derive import expr as E
from derive.errors import DerivationError
from derive.expr import Add, Call, Const, Expr, Get, Index, Mul, Num, Param, Pow, Reduce, Size, Softmax, Where
from derive.reads import keepers

#: SymPy's own functions.  They are differentiated at a plain symbol and kept unevaluated elsewhere: SymPy's rules
#: for signs inside an argument do not end on sums that it must not distribute over.
_KNOWN = {"exp": sympy.exp, "log": sympy.log, "tanh": sympy.tanh, "erf": sympy.erf, "sin": sympy.sin, "cos": sympy.cos}
_MADE = {"abs": sympy.Abs, "sign": sympy.sign}  # what SymPy writes for a root of a square

Derivative = Callable[..., Any]


def _function(name: str, derivative: Derivative) -> Any:
    """A SymPy function that evaluates nothing; `derivative(n, self, *args)` is its partial by argument n, from 1."""
    return type(name, (sympy.Function,), {"fdiff": lambda self, n=1: derivative(n, self, *self.args)})


def _known(name: str) -> Any:
    """The unevaluated twin of one of SymPy's functions, with the derivative that SymPy finds."""
    u = sympy.Symbol("u", real=True)
    slope = sympy.diff(_KNOWN[name](u), u)

    def derivative(_: int, __: Any, x: Any) -> Any:
        return _twins(slope, u, x)

    return _function(name, derivative)


def _twins(e: Any, u: Any, x: Any) -> Any:
    """`e` at u = x, with every function of SymPy's replaced by its twin."""
    if e == u:
        return x
    if not e.args:
        return e
    args = [_twins(a, u, x) for a in e.args]
    name = next((n for n, f in _KNOWN.items() if isinstance(e, f)), None)
    return _FUNCTIONS[name](*args) if name else e.func(*args)


_STEP = _function("step", lambda n, self, a, b: sympy.S.Zero)  # 1 where a > b, 1/2 where a = b, 0 where a < b
_POSITIVE = _function("positive", lambda n, self, x: sympy.S.Zero)  # 1 where x > 0, else 0
_SIGN = _function("sign", lambda n, self, x: sympy.S.Zero)
# where(c, a, b) with c opaque: the derivative chooses the branch's, known by p and q that stand for c and for not c
# together with what they need: a product of slopes has no order in which one could guard the other
_HOLDS = _function("holds", lambda n, self, c: sympy.S.Zero)
_WHERE = _function("where", lambda n, self, c, a, b, p, q: _HOLDS(p if n == 2 else q))

_LOG = _function("log", lambda n, self, x: 1/x)  # log x, but 0 at x = 0
# x**y with y > 0 a variable: by y it changes as x**y·log x, which is 0 at x = 0
_POWER: Any = _function("power", lambda n, self, x, y: y*x**(y - 1) if n == 1 else self*_LOG(x))
# x**k with k made of indices, which may be 0 at one of them: its slope k·x**(k − 1) is 0 there, at x = 0 too
_PLACED: Any = _function("placed", lambda n, self, x, k: _PLACED_SLOPE(x, k))
_PLACED_SLOPE: Any = _function("placed_slope", lambda n, self, x, k: sympy.S.NaN)  # differentiated as a term again

_FUNCTIONS: dict[str, Any] = {
    **{name: _known(name) for name in _KNOWN},
    "sigmoid": _function("sigmoid", lambda n, self, x: self*(1 - self)),
    "softplus": _function("softplus", lambda n, self, x: _FUNCTIONS["sigmoid"](x)),
    "relu": _function("relu", lambda n, self, x: _POSITIVE(x)),
    "abs": _function("abs", lambda n, self, x: _SIGN(x)),
    "log1p": _function("log1p", lambda n, self, x: 1/(1 + x)),
    "expm1": _function("expm1", lambda n, self, x: _FUNCTIONS["exp"](x)),
    "maximum": _function("maximum", lambda n, self, a, b: _STEP(a, b) if n == 1 else _STEP(b, a)),
    "minimum": _function("minimum", lambda n, self, a, b: _STEP(b, a) if n == 1 else _STEP(a, b)),
    "sign": _SIGN,
}
_BACK = {f: name for name, f in _FUNCTIONS.items()}


class Translation:
    """A two-way dictionary between the atoms of a term and SymPy symbols."""

    def __init__(self) -> None:
        self.symbols: dict[Expr, Any] = {}
        self.atoms: dict[Any, Expr] = {}

    def symbol(self, e: Expr) -> Any:
        if e not in self.symbols:
            positive = isinstance(e, Size)
            s = sympy.Symbol(f"a{len(self.symbols):04d}", real=True, **({"positive": True} if positive else {}))
            self.symbols[e], self.atoms[s] = s, e
        return self.symbols[e]

    def there(self, e: Expr, around: tuple[Expr, ...] = ()) -> Any:
        """The SymPy expression of a scalar term, under the conditions `around` it."""
        match e:
            case Num():
                return sympy.Rational(e.value.numerator, e.value.denominator)
            case Const(name="pi"):
                return sympy.pi
            case Add():
                return sympy.Add(*(self.there(a, around) for a in e.args))
            case Mul():
                return sympy.Mul(*(self.there(a, around) for a in e.args))
            case Pow():
                power = sympy.Pow if _is_positive(e.base) else _POWER if _varies(e.exponent) else (
                    _PLACED if e.exponent.free else sympy.Pow)
                return power(self.there(e.base, around), self._exponent(e.exponent, around))
            case Call() if e.fn in _FUNCTIONS:
                return _FUNCTIONS[e.fn](*(self.there(a, around) for a in e.args))
            case Where():
                sides = [(*around, *E.conjuncts(c)) for c in (e.cond, E.negate(e.cond))]
                then, other = (self.there(x, side) for x, side in zip((e.then, e.other), sides, strict=True))
                kept = keepers(around, e.cond)
                holds, fails = (E.logic("and", *kept, c) for c in (e.cond, E.negate(e.cond)))
                return _WHERE(self.symbol(e.cond), then, other, self.symbol(holds), self.symbol(fails))
            case Get() | Reduce() | Softmax() | Index() | Size() | Param() | Call():
                return self.symbol(e)
        raise DerivationError(f"no scalar calculus for {type(e).__name__}", value=repr(e))

    def _exponent(self, e: Expr, around: tuple[Expr, ...]) -> Any:
        """One symbol for what does not vary: SymPy looks for a sum's sign without end where it may not multiply out."""
        return self.there(e, around) if _varies(e) or not isinstance(e, Add | Mul) else self.symbol(e)

    def back(self, s: Any) -> Expr:
        """The term of a SymPy expression made from `there` by differentiation."""
        if s in self.atoms:
            return self.atoms[s]
        if s.is_Rational:
            return E.num(Fraction(int(s.p), int(s.q)))
        if s is sympy.pi:
            return Const("pi")
        if s is sympy.E:
            return E.call("exp", E.ONE)
        if s.is_Add:
            return E.add(*(self.back(a) for a in s.args))
        if s.is_Mul:
            return E.mul(*(self.back(a) for a in s.args))
        if s.is_Pow:
            return E.power(self.back(s.base), self.back(s.exp))
        return self._function(s)

    def _function(self, s: Any) -> Expr:
        if s.func == _WHERE:
            return E.where(self.atoms[s.args[0]], self.back(s.args[1]), self.back(s.args[2]))
        if s.func == _HOLDS:
            return E.indicator(self.atoms[s.args[0]])
        args = [self.back(a) for a in s.args]
        if s.func == _POSITIVE:
            return E.indicator(E.compare("<", E.ZERO, args[0]))
        if s.func in (_POWER, _PLACED):
            return E.power(*args)
        if s.func == _PLACED_SLOPE:
            base, k = args
            return E.where(_vanishes(k), E.ZERO, E.mul(k, E.power(base, E.sub(k, E.ONE))))
        if s.func == _LOG:
            return E.where(E.compare("==", args[0], E.ZERO), E.ZERO, E.call("log", args[0]))
        if s.func == _STEP:
            a, b = args  # zero outside of one condition, a guard that covers its whole term: 1/b where b is 0 above it
            return E.where(E.compare("<=", b, a), E.where(E.compare("==", a, b), E.HALF, E.ONE), E.ZERO)
        known = next((n for n, f in (_KNOWN | _MADE).items() if isinstance(s, f)), None) or _BACK.get(s.func)
        if known is not None:
            return E.call(known, *args)
        raise DerivationError("SymPy's derivative left the notation", value=str(s), hint="please report the formula")


def _varies(e: Expr) -> bool:
    return any(isinstance(x, (Get, Reduce, Softmax)) for x in E.subterms(e))


def _vanishes(e: Expr) -> Expr:
    """`t = s` for t − s, where it is 0."""
    down = [t for t in E.terms(e) if E.coefficient(t)[0] < 0]
    return E.compare("==", E.add(*(t for t in E.terms(e) if t not in down)), E.neg(E.add(*down)))


def _is_positive(e: Expr) -> bool:
    return isinstance(e, (Const, Size, Num)) or (isinstance(e, Call) and e.fn in ("exp", "sigmoid"))


def differentiate(e: Expr, atoms: list[Expr]) -> list[Expr]:
    """∂e/∂a for every atom `a`, exactly; the atoms are independent real variables.

    Args:
        e: a scalar term; sums and accesses in it are opaque.
        atoms: accesses or reductions that occur in `e`.

    Raises:
        DerivationError: naming the sub-expression that has no derivative here.
    """
    if len(atoms) == 1 and e is atoms[0]:
        return [E.ONE]
    with distribute(False):
        t = Translation()
        f = t.there(e)
        return [t.back(_slope(f, t.symbol(a))) for a in atoms]


def _slope(f: Any, x: Any) -> Any:
    """∂f/∂x; SymPy differentiates only the terms and factors that hold x, of which there may be few among many."""
    if f.is_Mul:
        rest, f = f.as_independent(x, as_Add=False)
        return rest*sympy.diff(f, x)
    return sympy.diff(f.as_independent(x, as_Add=True)[1] if f.is_Add else f, x)


def softmax_slopes(p: Expr) -> tuple[Expr, Expr]:
    """(d, r) of the softmax's Jacobian ∂P_j/∂u_l = d(P_l)·δ_jl + d(P_l)·r(P_j), each at the value `p`.

    SymPy differentiates P_j = e_j/Z by e_j and by Z; ∂e_l/∂u_l = e_l and ∂Z/∂u_l = e_l close the chain.
    """
    t = Translation()
    value = t.symbol(p)
    return tuple(t.back(f.xreplace({_P: value})) for f in _softmax_slopes())  # type: ignore[return-value]


_P = sympy.Symbol("P", real=True)


@cache
def _softmax_slopes() -> tuple[Any, Any]:
    ej, el, z = sympy.symbols("e_j e_l Z", positive=True)
    diagonal = sympy.diff(ej/z, ej)*ej  # j = l
    rest = sympy.diff(ej/z, z)*el  # every j
    return diagonal.subs(ej, _P*z), (rest/(el/z)).subs(ej, _P*z)
