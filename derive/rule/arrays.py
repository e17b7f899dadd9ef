"""Terms as NumPy array expressions: which axes an array has, and how two of them are brought to broadcast."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

from derive.expr import Index, Num

NOT, COMPARE, JOIN, ADD, MUL, UNARY, POW, ATOM = range(8)


@dataclass(frozen=True)
class Array:
    """NumPy code whose value has one axis for each index in `axes`, in that order.

    `kept` is the same value with its reduced axes left in place with length 1, if the code is a reduction:
    the code and, for each axis, its index or None.
    """

    code: str
    axes: tuple[Index, ...]
    level: int = ATOM
    kept: tuple[str, tuple[Index | None, ...]] | None = None
    boolean: bool = False

    @property
    def real(self) -> Array:
        """The same as floats, if it is an array of truth values: NumPy neither subtracts nor negates those."""
        if not self.boolean:
            return self
        if not self.axes:  # perhaps Python's own True, which has no astype
            return Array(f"float({self.code})", ())
        return Array(f"{self.at(ATOM)}.astype(float)", self.axes)

    def at(self, level: int) -> str:
        """The code, in brackets unless it binds at least as tightly as `level`."""
        return self.code if self.level >= level else f"({self.code})"


def number(value: Fraction) -> str:
    """A literal that reads back as the nearest double: `3`, `0.5`, `1e-05`; `(1/3)` where no decimal is exact."""
    if value.denominator == 1 and abs(value) < 10**15:
        return str(value.numerator)
    short = repr(float(value))
    if Fraction(short) == value or value.denominator == 1:
        return short
    digits = value.denominator
    while digits % 2 == 0:
        digits //= 2
    while digits % 5 == 0:
        digits //= 5
    return short if digits == 1 else f"({value.numerator}/{value.denominator})"


def literal(e: Num) -> Array:
    return Array(number(e.value), (), ATOM if e.value >= 0 else UNARY)


def union(order: Iterable[Index], *arrays: Array) -> tuple[Index, ...]:
    """The indices of several arrays, in the given order."""
    have = {i for a in arrays for i in a.axes}
    return tuple(i for i in order if i in have)


def aligned(a: Array, want: tuple[Index, ...]) -> Array:
    """`a` moved and widened until it broadcasts against an array with the axes `want`."""
    if not a.axes or a.axes == want[len(want) - len(a.axes):]:
        return a
    if a.boolean:
        return replace(aligned(replace(a, boolean=False), want), boolean=True)
    if a.kept is not None:
        code, places = a.kept
        if len(places) == len(want) and all((p is None and w not in a.axes) or p is w
                                            for p, w in zip(places, want, strict=True)):
            return Array(code, want)
    target = tuple(i for i in want if i in a.axes)
    code = a.at(ATOM)
    if target != a.axes:
        code = transposed(code, a.axes, target)
    if target == want[len(want) - len(target):]:
        return Array(code, target)
    first = want.index(target[0])
    slots = [":" if i in target else "None" for i in want[first:]]
    if len(slots) > 2 and all(s == ":" for s in slots[:-1]):
        slots = ["...", "None"]
    return Array(f"{code}[{', '.join(slots)}]", want[first:])


def transposed(code: str, have: tuple[Index, ...], want: tuple[Index, ...]) -> str:
    if have == want:
        return code
    if len(have) == 2:
        return f"{code}.T"
    order = [have.index(i) for i in want]
    swapped = [n for n, o in enumerate(order) if n != o]
    if len(swapped) == 2:
        return f"{code}.swapaxes({swapped[0]}, {swapped[1]})"
    return f"{code}.transpose({', '.join(map(str, order))})"
