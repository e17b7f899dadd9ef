"""Constant sub-expressions: each must be a real number that float64 can hold and that can be worked out exactly.

    log(-1)     has no real value           9**9**9    is beyond float64
    2/(1 - 1)   has no real value           (1 + 1e-9)**10**9    its exact digits are too many
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

from derive import expr as E
from derive.expr import Expr

BITS = 1 << 20  # of an exact power; SymPy works every power of numbers out
LARGEST = 1 << 20  # exponent: (2*x)**n holds the number 2**n

FUNCTIONS: dict[str, Callable[..., float]] = {
    "exp": math.exp, "log": math.log, "log1p": math.log1p, "expm1": math.expm1, "tanh": math.tanh, "erf": math.erf,
    "sin": math.sin, "cos": math.cos, "abs": abs, "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "relu": lambda x: max(x, 0.0), "maximum": max, "minimum": min,
}  # fmt: skip


class NoNumberError(Exception):
    """A constant that is no number to compute with; the message completes 'this constant ...'."""


def check_constant(e: Expr, params: Mapping[str, Fraction]) -> None:
    """Look at a term whose parts have been looked at.

    Raises:
        NoNumberError: saying what is wrong with it, or with the number in front of it.
    """
    _check_power(e)
    value(e, params)
    for t in E.terms(e):
        factor = E.coefficient(t)[0]
        if factor and (number(factor) == 0.0 or math.isinf(number(factor))):
            raise NoNumberError("is beyond float64")


def _check_power(e: Expr) -> None:
    for p in E.factors(e):
        if not (isinstance(p, E.Pow) and isinstance(p.exponent, E.Num)):
            continue
        n = abs(p.exponent.value)
        if n > LARGEST or n.denominator > LARGEST:
            raise NoNumberError("has an exponent that is too large")
        if isinstance(p.base, E.Num):
            bits = p.base.value.numerator.bit_length() + p.base.value.denominator.bit_length()
            if bits * n > BITS:
                raise NoNumberError("has too many digits")


def value(e: Expr, params: Mapping[str, Fraction]) -> float | None:
    """The value of a constant term; None if it is none."""
    found = _value(e, params)
    if found is not None and not math.isfinite(found):
        raise NoNumberError("is beyond float64")
    return found


def _value(e: Expr, params: Mapping[str, Fraction]) -> float | None:
    match e:
        case E.Num():
            return number(e.value)
        case E.Const():
            return math.pi
        case E.Param():
            return number(params[e.name])
        case E.Add() | E.Mul() | E.Pow() | E.Call():
            parts: list[float] = []
            for c in e.children:
                part = value(c, params)
                if part is None:
                    return None
                parts.append(part)
            return _worked_out(e, parts)
    return None


def _worked_out(e: Expr, parts: list[float]) -> float | None:
    try:
        match e:
            case E.Add():
                return math.fsum(parts)
            case E.Mul():
                return math.prod(parts)
            case E.Pow():
                return math.pow(*parts)
            case E.Call() if e.fn in FUNCTIONS:
                return float(FUNCTIONS[e.fn](*parts))
    except OverflowError:
        raise NoNumberError("is beyond float64") from None
    except (ValueError, ZeroDivisionError):
        raise NoNumberError("has no real value") from None
    return None


def number(x: Fraction) -> float:
    try:
        return float(x)
    except OverflowError:
        return math.inf if x > 0 else -math.inf
