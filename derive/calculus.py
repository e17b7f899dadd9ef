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


class _sigmoid(sympy.Function):
    def fdiff(self, argindex: int = 1) -> Any:
        return self * (1 - self)


class _softplus(sympy.Function):
    def fdiff(self, argindex: int = 1) -> Any:
        return _sigmoid(self.args[0])


class _step(sympy.Function):
    """1 where a > b, 1/2 where a = b, 0 where a < b."""

    def fdiff(self, argindex: int = 1) -> Any:
        return sympy.S.Zero


class _positive(sympy.Function):
    """1 where x > 0, else 0."""

    def fdiff(self, argindex: int = 1) -> Any:
        return sympy.S.Zero


class _relu(sympy.Function):
    def fdiff(self, argindex: int = 1) -> Any:
        return _positive(self.args[0])


class _sign(sympy.Function):
    def fdiff(self, argindex: int = 1) -> Any:
        return sympy.S.Zero


class _abs(sympy.Function):
    def fdiff(self, argindex: int = 1) -> Any:
        return _sign(self.args[0])


class _log1p(sympy.Function):
    def fdiff(self, argindex: int = 1) -> Any:
        return 1 / (1 + self.args[0])


class _expm1(sympy.Function):
    def fdiff(self, argindex: int = 1) -> Any:
        return sympy.exp(self.args[0])


class _maximum(sympy.Function):
    def fdiff(self, argindex: int = 1) -> Any:
        a, b = self.args
        return _step(a, b) if argindex == 1 else _step(b, a)


class _minimum(sympy.Function):
    def fdiff(self, argindex: int = 1) -> Any:
        a, b = self.args
        return _step(b, a) if argindex == 1 else _step(a, b)


class _where(sympy.Function):
    """where(c, a, b) with c opaque: the derivative chooses the branch's."""

    def fdiff(self, argindex: int = 1) -> Any:
        c = self.args[0]
        if argindex == 2:
            return _where(c, sympy.S.One, sympy.S.Zero)
        return _where(c, sympy.S.Zero, sympy.S.One)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": sympy.exp, "log": sympy.log, "tanh": sympy.tanh, "erf": sympy.erf, "sin": sympy.sin, "cos": sympy.cos,
    "sigmoid": _sigmoid, "softplus": _softplus, "relu": _relu, "sign": _sign, "abs": _abs, "log1p": _log1p,
    "expm1": _expm1, "maximum": _maximum, "minimum": _minimum,
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

    def there(self, e: Expr) -> Any:
        """The SymPy expression of a scalar term."""
        match e:
            case Num():
                return sympy.Rational(e.value.numerator, e.value.denominator)
            case Const(name="pi"):
                return sympy.pi
            case Add():
                return sympy.Add(*(self.there(a) for a in e.args))
            case Mul():
                return sympy.Mul(*(self.there(a) for a in e.args))
            case Pow():
                return sympy.Pow(self.there(e.base), self.there(e.exponent))
            case Call() if e.fn in _FUNCTIONS:
                return _FUNCTIONS[e.fn](*(self.there(a) for a in e.args))
            case Where():
                return _where(self.symbol(e.cond), self.there(e.then), self.there(e.other))
            case Get() | Reduce() | Softmax() | Index() | Size() | Param() | Call():
                return self.symbol(e)
        raise DerivationError(f"no scalar calculus for {type(e).__name__}", value=repr(e))

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
        if isinstance(s, sympy.exp):
            return E.call("exp", self.back(s.args[0]))
        if s.is_Pow:
            return E.power(self.back(s.base), self.back(s.exp))
        return self._function(s)

    def _function(self, s: Any) -> Expr:
        args = [self.back(a) for a in s.args] if not isinstance(s, _where) else []
        if isinstance(s, _where):
            return E.where(self.atoms[s.args[0]], self.back(s.args[1]), self.back(s.args[2]))
        if isinstance(s, _positive):
            return E.indicator(E.compare("<", E.ZERO, args[0]))
        if isinstance(s, _step):
            a, b = args
            tie = E.where(E.compare("==", a, b), E.HALF, E.ZERO)
            return E.where(E.compare("<", b, a), E.ONE, tie)
        if isinstance(s, sympy.Abs):
            return E.call("abs", args[0])
        if isinstance(s, sympy.sign):
            return E.call("sign", args[0])
        if s.func in _BACK:
            return E.call(_BACK[s.func], *args)
        raise DerivationError("SymPy's derivative left the notation", value=str(s),
                              hint="please report the formula")


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
        return [t.back(sympy.diff(f, t.symbol(a))) for a in atoms]


@cache
def softmax_jacobian() -> tuple[Any, Any]:
    """(diagonal, off-diagonal) factors of ∂P_j/∂u_l from P = e_j/Z with Z = Σ e: (P_j, −P_j P_l).

    SymPy differentiates e_j/Z by e_j and by Z, and ∂e_l/∂u_l = e_l, ∂Z/∂u_l = e_l close the chain.
    """
    ej, el, z = sympy.symbols("e_j e_l Z", positive=True)
    p = ej / z
    return sympy.diff(p, ej) * ej, sympy.diff(p, z) * el
