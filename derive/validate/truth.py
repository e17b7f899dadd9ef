"""What a formula says of the samples that rules are judged on, evaluated once however many rules are.

Values come from the interpreter, gradients from central differences of these: every element of every input at small
sizes, one random direction of each at larger ones.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from derive.validate.data import Drawer, Sample, Sizes
from derive.validate.differences import STEP, direction, directional, gradient, steps
from derive.validate.formula import Formula, called
from derive.validate.interpret import Interpreter, typed
from derive.validate.numbers import HARDLY, NAMED

Array = np.ndarray[Any, Any]

RELATIVE = 1e-6  # of the largest entry: what central differences of step 1e-5 leave
EVERY = 600  # inputs of more elements together are moved along one direction instead


@dataclass(frozen=True)
class Slopes:
    """Differences of the formula with respect to one input.

    Attributes:
        along: the direction; None if every element was moved in turn.
        value: one number, or one for each element.
        noise: what rounding of the sum that is differentiated makes of each.
    """

    along: Array | None
    value: Array
    noise: Array


class Truth:
    """The samples of one drawer, and what the formula gives on them."""

    def __init__(self, drawer: Drawer):
        self.drawer = drawer
        self._samples: dict[Any, Sample] = {}
        self._values: dict[int, dict[str, Array]] = {}
        self._slopes: dict[tuple[int, str], Slopes] = {}
        self._others: dict[tuple[tuple[str, float], ...], Truth] = {}

    def sample(self, sizes: Sizes, scale: str, number: int) -> Sample:
        key = (tuple(sorted(sizes.items())), scale, number)
        if key not in self._samples:
            self._samples[key] = self.drawer.sample(sizes, scale, number)
        return self._samples[key]

    def values(self, sample: Sample) -> dict[str, Array]:
        """The value of every statement."""
        if id(sample) not in self._values:
            self._values[id(sample)] = self.drawer.interpret(sample)
        return self._values[id(sample)]

    def with_params(self, params: Mapping[str, float]) -> Truth:
        """The same samples where constants of the formula have other values."""
        key = tuple(sorted(params.items()))
        if key not in self._others:
            drawer = copy.copy(self.drawer)
            held = {n: ast.Constant(v) for n, v in params.items()}
            drawer.f = replace(drawer.f, params={**drawer.f.params, **held})
            self._others[key] = Truth(drawer)
        return self._others[key]

    @staticmethod
    def every(sample: Sample, names: Collection[str]) -> bool:
        """Whether these inputs are few enough together to move every element in turn."""
        return sum(sample.arrays[n].size for n in names) <= EVERY

    def slopes(self, sample: Sample, names: Collection[str]) -> dict[str, Slopes]:
        """Differences with respect to each of these inputs."""
        every = self.every(sample, names)
        return {n: self._slope(sample, n, None if every else direction(sample.arrays[n].shape, k))
                for k, n in enumerate(names)}

    def _slope(self, sample: Sample, name: str, along: Array | None) -> Slopes:
        if (id(sample), name) not in self._slopes:
            self._slopes[id(sample), name] = self._differences(sample, name, along, STEP)
        return self._slopes[id(sample), name]

    def bent(self, sample: Sample, name: str, slopes: Slopes) -> Array:
        """How far off the differences may be because the formula is no line between the two points of each: steps of a
        quarter would then give something else."""
        finer = self._differences(sample, name, slopes.along, STEP/4)
        return np.asarray(2*np.abs(finer.value - slopes.value) + finer.noise)

    def _differences(self, sample: Sample, name: str, along: Array | None, step: float) -> Slopes:
        f, free, near = self.drawer.f, self.drawer.free(sample), sample.scale == HARDLY
        values = self.values(sample)
        weight = sum(float(np.sum(np.abs(d * values[o]))) for o, d in sample.cotangents.items())
        noise = 4*np.finfo(float).eps*weight/np.asarray(step)
        if along is not None:
            return Slopes(along, np.asarray(
                directional(f, sample.arrays, sample.cotangents, {name: along}, free, step)), noise)
        held = self._taken(sample) if sample.scale == NAMED["sparse"] else None
        value = gradient(f, sample.arrays, sample.cotangents, name, free, step, near, held)
        return Slopes(None, value, noise*step/steps(sample.arrays[name], step, near) if near else noise)

    def _taken(self, sample: Sample) -> list[Array]:
        """What each comparison gives on a sample."""
        run = Interpreter(self.drawer.f, {n: typed(a) for n, a in sample.arrays.items()}, self.drawer.free(sample))
        run.run()
        return run.found


def chooses(f: Formula) -> bool:
    """Whether branches taken by value are all that keeps a formula from being smooth."""
    nodes = [n for s in f.statements for n in ast.walk(s.tree)]
    values = [n for c in nodes if isinstance(c, ast.Compare) for n in ast.walk(c)]
    kinks = {"relu", "abs", "maximum", "minimum", "max", "min"}
    return any(isinstance(n, ast.Subscript) and ast.unparse(n.value) not in f.integers for n in values) and not any(
        isinstance(n, ast.Call) and called(n) in kinks for n in nodes)


def compared(f: Formula) -> int:
    """The largest whole number that a comparison of a formula holds: axes have to be longer to tell what it does."""
    nodes = [n for s in f.statements for c in ast.walk(s.tree) if isinstance(c, ast.Compare) for n in ast.walk(c)]
    return max((n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, int)), default=0)
