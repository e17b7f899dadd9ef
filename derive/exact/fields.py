"""The two kinds of number: residues modulo a prime, and reals of 50 digits.

Residues decide every identity of rational functions, but know no order and no roots.  A function such as exp is a
random value for each distinct argument, made to obey `exp(-x) = 1/exp(x)` and the like: what is equal then is equal
for the real function too; what differs may still be equal, and reals of 50 digits decide.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from hashlib import blake2b
from random import Random
from typing import Any

import mpmath
import numpy as np

from derive.expr import MASKED

Array = np.ndarray[Any, Any]
PRIME = 2**61 - 1
DECIMALS = 50
_GUARD = 14  # digits computed beyond those that are compared
SPARE = 10 ** (_GUARD - 2)  # two of them are for sums of many terms
_FAR = 10**6
_GROWING = {"exp", "expm1", "tanh", "sin", "cos", "sigmoid", "softplus"}


class Unmodelled(Exception):  # noqa: N818
    """The field has no such operation; the other one has."""


class Undefined(Exception):  # noqa: N818
    """A value that is asked for does not exist: a division by zero, a root of a negative number, a wild access."""


class _Undefined:
    """The value of what does not exist; every operation on it gives itself, and `where` may drop it."""

    def _self(self, *_: Any) -> _Undefined:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _self
    __mod__ = __rmod__ = __neg__ = __pow__ = __rpow__ = __abs__ = _self

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED = _Undefined()


class Field:
    """Numbers that terms are evaluated in.

    Attributes:
        name: how a report calls it.
        ordered: whether values can be compared.
    """

    name = ""
    ordered = False

    def number(self, value: Fraction) -> Any:
        raise NotImplementedError

    def draw(self, rng: Random, positive: bool) -> Any:
        raise NotImplementedError

    def tidy(self, a: Array) -> Array:
        """The normal form of sums and products."""
        return a

    def inverse(self, a: Array) -> Array:
        return each(self._inverse, a)

    def call(self, fn: str, a: Array, seed: int) -> Array:
        """A function of one argument, entry by entry."""
        raise NotImplementedError

    def power(self, base: Array, exponent: Fraction | Array) -> Array:
        raise NotImplementedError

    def equal(self, a: Any, b: Any, scale: Any) -> bool:
        """Whether two values are the same; `scale` is the largest magnitude beside them."""
        raise NotImplementedError

    def pi(self, seed: int) -> Any:
        raise NotImplementedError

    def show(self, value: Any) -> str:
        return str(value)

    def _inverse(self, x: Any) -> Any:
        raise NotImplementedError


def each(f: Callable[..., Any], *arrays: Array) -> Array:
    """`f` entry by entry; undefined where an argument is."""
    def step(*xs: Any) -> Any:
        return UNDEFINED if any(x is UNDEFINED for x in xs) else f(*xs)

    return np.asarray(np.frompyfunc(step, len(arrays), 1)(*arrays), dtype=object)


class Modular(Field):
    """Residues modulo 2^61 − 1."""

    name = "modulo the prime 2^61 - 1"

    def number(self, value: Fraction) -> int:
        if value <= MASKED:
            raise Unmodelled("minus infinity")
        return value.numerator * pow(value.denominator, -1, PRIME) % PRIME

    def draw(self, rng: Random, positive: bool) -> int:
        return rng.randrange(1, PRIME)

    def tidy(self, a: Array) -> Array:
        return np.asarray(a % PRIME, dtype=object)

    def _inverse(self, x: int) -> Any:
        return pow(x, -1, PRIME) if x % PRIME else UNDEFINED

    def power(self, base: Array, exponent: Fraction | Array) -> Array:
        if not isinstance(exponent, Fraction) or exponent.denominator != 1:
            raise Unmodelled("a root")
        n = int(exponent)
        return each(lambda x: UNDEFINED if n < 0 and x == 0 else pow(x, n, PRIME), base)

    def call(self, fn: str, a: Array, seed: int) -> Array:
        known = _RESIDUES.get(fn)
        if known is None:
            raise Unmodelled(fn)
        return each(lambda x: known(x, seed), a)

    def equal(self, a: Any, b: Any, scale: Any) -> bool:
        return bool(a == b)

    def pi(self, seed: int) -> int:
        return _opaque("pi", 0, seed)


def _opaque(fn: str, x: int, seed: int) -> int:
    digest = blake2b(f"{seed}:{fn}:{x}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "big") % (PRIME - 2) + 2


def _even(x: int) -> tuple[int, int]:
    """(sign, representative) of the pair x, −x."""
    x %= PRIME
    return (1, x) if x <= PRIME // 2 else (-1, PRIME - x)


def _exp(x: int, seed: int) -> int:
    sign, x = _even(x)
    return pow(_opaque("exp", x, seed), sign, PRIME) if x else 1


def _over(a: int, b: int) -> Any:
    return a * pow(b, -1, PRIME) % PRIME if b % PRIME else UNDEFINED


def _odd(fn: str) -> Callable[[int, int], int]:
    def f(x: int, seed: int) -> int:
        sign, x = _even(x)
        return sign * _opaque(fn, x, seed) % PRIME if x else 0
    return f


def _log(x: int, seed: int) -> Any:
    x %= PRIME
    return UNDEFINED if x == 0 else 0 if x == 1 else _opaque("log", x, seed)


_half_angle = _odd("angle")  # sin and cos through t = tan(x/2), so that sin² + cos² = 1

_RESIDUES: dict[str, Callable[[int, int], Any]] = {
    "exp": _exp,
    "expm1": lambda x, s: (_exp(x, s) - 1) % PRIME,
    "log": _log,
    "log1p": lambda x, s: _log(1 + x, s),
    "softplus": lambda x, s: _log(1 + _exp(x, s), s),
    "sigmoid": lambda x, s: _over(1, 1 + _exp(-x, s)),
    "tanh": lambda x, s: _over(_exp(2 * x, s) - 1, _exp(2 * x, s) + 1),
    "erf": _odd("erf"),
    "sin": lambda x, s: _over(2 * _half_angle(x, s), 1 + _half_angle(x, s) ** 2),
    "cos": lambda x, s: _over(1 - _half_angle(x, s) ** 2, 1 + _half_angle(x, s) ** 2),
}


class Digits(Field):
    """Real numbers, computed with more than 50 digits."""

    name = f"to {DECIMALS} digits"
    ordered = True

    def __init__(self) -> None:
        self.context = mpmath.MPContext()
        self.context.dps = DECIMALS + _GUARD
        self.close = self.context.mpf(10) ** (-DECIMALS)

    def number(self, value: Fraction) -> Any:
        return self.context.mpf(value.numerator) / value.denominator

    def draw(self, rng: Random, positive: bool) -> Any:
        n = rng.randrange(50_000, 950_000) if positive else rng.choice((-1, 1)) * rng.randrange(50_000, 1_900_000)
        return self.context.mpf(n) / 1_000_003

    def _inverse(self, x: Any) -> Any:
        return 1 / x if x != 0 else UNDEFINED

    def power(self, base: Array, exponent: Fraction | Array) -> Array:
        whole = isinstance(exponent, Fraction) and exponent.denominator == 1
        q = np.asarray(int(exponent) if whole else self.number(exponent), dtype=object) if isinstance(
            exponent, Fraction) else exponent

        def step(x: Any, y: Any) -> Any:
            if x == 0:
                return UNDEFINED if y < 0 else self.context.mpf(0 if y else 1)
            try:
                return UNDEFINED if not whole and x < 0 else x**y
            except OverflowError:
                return UNDEFINED

        return each(step, base, q)

    def call(self, fn: str, a: Array, seed: int) -> Array:
        f = self._functions()[fn]

        def step(x: Any) -> Any:
            if abs(x) > _FAR and fn in _GROWING:  # a tower of exponentials has too many digits
                return UNDEFINED
            return f(x)

        return each(step, a)

    @cache  # noqa: B019  one instance lives as long as the module
    def _functions(self) -> dict[str, Callable[[Any], Any]]:
        c = self.context
        one = c.mpf(1)
        return {
            "exp": c.exp, "expm1": c.expm1, "tanh": c.tanh, "erf": c.erf, "sin": c.sin, "cos": c.cos, "abs": abs,
            "log": lambda x: c.log(x) if x > 0 else UNDEFINED,
            "log1p": lambda x: c.log(1 + x) if x > -1 else UNDEFINED,
            "softplus": lambda x: (x if x > 0 else 0 * x) + c.log(1 + c.exp(-abs(x))),
            "sigmoid": lambda x: one / (1 + c.exp(-x)),
            "relu": lambda x: x if x > self.close else 0 * one,
            "sign": lambda x: one if x > self.close else -one if x < -self.close else 0 * one,
        }

    def equal(self, a: Any, b: Any, scale: Any) -> bool:
        return bool(abs(a - b) <= self.close * (1 + scale))

    def pi(self, seed: int) -> Any:
        return +self.context.pi

    def show(self, value: Any) -> str:
        return str(self.context.nstr(value, 6))


class Tied(Digits):
    """The same with inputs among -1, 0, 1 and 2, so that values tie and kinks are met."""

    name = "where values tie or meet a kink"

    def draw(self, rng: Random, positive: bool) -> Any:
        return self.context.mpf(rng.choice((1, 2) if positive else (-1, 0, 1, 2)))


MODULAR = Modular()
DIGITS = Digits()
TIED = Tied()
