"""Cases from `tests/formulas.py`: arrays and cotangents drawn from a seed, expected values by `tests/oracle.py`."""

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from derive.validate.formula import Formula, read, shapes
from tests.formulas import ENTRIES, Entry
from tests.oracle import Result, differentiate

Array = Any


def draw(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Random reals of a distribution that suits a formula's domain."""
    x = rng.standard_normal(shape)
    match kind:
        case "normal":
            return x
        case "positive":
            return np.exp(0.5 * x)
        case "nonzero":
            return np.where(x < 0, x - 0.3, x + 0.3)
        case "unit":
            return rng.uniform(0.05, 0.95, shape)
        case "ties":  # -1, 0 and 1: every extremum is shared, every comparison meets equality
            return rng.integers(-1, 2, shape).astype(float)
        case "mask":
            return np.where(rng.uniform(size=shape) < 0.3, -1e30, 0.0)
    raise ValueError(kind)


@dataclass(frozen=True)
class Case:
    """One formula at one set of sizes."""

    entry: Entry
    number: int

    def __str__(self) -> str:
        return f"{self.entry.name}.{self.number}"

    @property
    def text(self) -> str:
        return self.entry.text

    @cached_property
    def formula(self) -> Formula:
        return read(self.text)

    @property
    def extents(self) -> dict[str, int]:
        """The extent of every letter: what a tool that runs the rule calls `size_<letter>`."""
        return self.entry.sizes[self.number]

    @property
    def given(self) -> dict[str, int]:
        """The extents that no array fixes: what a user gives as `--size`."""
        return {x: self.extents[x] for x in self.entry.give.split()}

    def rng(self, what: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{self} {what}".encode()))

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """Every input: float64, or int64 for an integer one."""
        known = {x: n for x, n in self.extents.items() if x in self.formula.letters}
        made = {}
        for name, shape in shapes(self.formula, known).items():
            if name in self.entry.axes:
                shape = tuple(self.extents[x] for x in self.entry.axes[name].split())
            if name in self.entry.ints:
                low, top = self.entry.ints[name]
                made[name] = self.rng(name).integers(low, self.extents[top], shape)
            else:
                made[name] = draw(self.entry.kinds.get(name, "normal"), shape, self.rng(name))
        return made

    @property
    def wrt(self) -> list[str]:
        """The inputs whose gradients are compared."""
        return [n for n in self.formula.inputs if n not in self.entry.ints and n not in self.entry.fixed.split()]

    @cached_property
    def cotangents(self) -> dict[str, Array]:
        shape = {s.name: tuple(self.extents[x] for x in s.letters) for s in self.formula.statements}
        return {n: self.rng("d" + n).standard_normal(shape[n]) for n in self.formula.outputs}

    @cached_property
    def expected(self) -> Result:
        """Values and gradients, exact to rounding."""
        return differentiate(self.text, self.arrays, self.cotangents, self.wrt, self.given)


CASES = [Case(e, n) for e in ENTRIES for n in range(len(e.sizes))]


def error(got: Array, expected: Array, floor: float = 1e-3) -> float:
    """Largest deviation over the largest entry expected; infinite for a wrong shape, a NaN or an infinity."""
    got, expected = np.asarray(got, dtype=float), np.asarray(expected, dtype=float)
    if got.shape != expected.shape or not np.isfinite(got).all():
        return float("inf")
    worst = np.max(np.abs(got - expected), initial=0.0)
    return float(worst / max(np.max(np.abs(expected), initial=0.0), floor))
