"""What the rounding of a type leaves of a formula, whatever kernels compute it.

Of some data nothing is left: in float32 the squares of subnormal numbers are 0, what overflows leaves infinity times 0,
and of terms that cancel only their rounding stays.  The formula is walked with its slopes, as `tangents` does it, and
every value and slope is rounded on the way: where that is far from the same walk in float64, no kernel can be asked for
more.  What is walked is the formula in its stable form, so that a kernel which lost that form (`exp` without its
greatest argument taken off) finds no excuse.
"""

from __future__ import annotations

import ast
import math

import numpy as np

from derive.operation import Operation
from derive.rule.text import program_text
from derive.validate.data import Drawer, Sample
from derive.validate.differences import direction
from derive.validate.formula import read
from derive.validate.interpret import BUDGET, Array, Scope, number
from derive.validate.program import ROUNDOFF, moved
from derive.validate.tangents import Tangents

DIRECTIONS = 2  # in one of them errors may cancel
EXCUSED = 8  # times as far as the formula itself


class Rounded(Tangents):
    """One evaluation with slopes in which every operation's result is rounded to float32.

    Attributes:
        overflows: whether a value on the way is too large for it.
    """

    overflows = False
    least = 2.0**-64  # the square of what is less has no inverse

    def round(self, x: Array) -> Array:
        return x.astype(np.float32).astype(np.float64) if x.dtype.kind == "f" else x

    def value(self, node: ast.expr, scope: Scope) -> Array:
        x = super().value(node, scope)
        rounded = self.round(x)
        self.overflows |= bool(np.any(np.isinf(rounded) & np.isfinite(x)))
        return rounded

    def slope(self, node: ast.expr, scope: Scope) -> Array:
        return self.round(super().slope(node, scope))

    def operation(self, op: ast.operator, left: ast.expr, right: ast.expr, scope: Scope) -> Array:
        if isinstance(op, ast.Div) and isinstance(right, (ast.Name, ast.Subscript)):  # its slope has a square below
            below = np.abs(number(self.value(right, scope)).astype(float))
            self.overflows |= bool(np.any((below > 0) & (below < self.least)))
        return super().operation(op, left, right, scope)


class Moved(Rounded):
    """The same with every result moved by a roundoff of float64, for lack of a finer type to compare that with."""

    least = 2.0**-512

    def round(self, x: Array) -> Array:
        return np.asarray(moved(x, ROUNDOFF["float64"], 1))


class Losses:
    """How far rounding takes the outputs and gradients of one operation from what they are.

    Args:
        dtype: of the kernels; those of 16 bits compute in float32.
    """

    def __init__(self, op: Operation, drawer: Drawer, dtype: str = "float32"):
        self.drawer, self.f = drawer, read(program_text(op.derivation.forward))
        self.rounded = Moved if dtype == "float64" else Rounded

    def excuse(self, name: str, sample: Sample, off: float) -> bool:
        """Whether an array that is so far off, infinitely if it lacks a number, is no worse than the formula.

        Args:
            name: an output, or `d<input>`.
        """
        if self.drawer.volume(sample.extents) > BUDGET // 16:  # too large to be walked
            return False
        with np.errstate(all="ignore"):
            lost = max(self._lost(name, sample, seed) for seed in range(DIRECTIONS))
        return off <= EXCUSED * lost if math.isfinite(off) else not math.isfinite(lost)

    def _lost(self, name: str, sample: Sample, seed: int) -> float:
        """How far rounding takes an output, or the slope along a direction, from what it is."""
        output = name in sample.cotangents
        along = {} if output else {name[1:]: direction(np.shape(sample.arrays[name[1:]]), seed)}
        sizes = {x: n for x, n in self.drawer.free(sample).items() if x in self.f.letters}
        exact = Tangents(self.f, sample.arrays, along, sizes)
        rounded = self.rounded(self.f, sample.arrays, along, sizes)
        slopes = exact.run(), rounded.run()
        if rounded.overflows:  # then a gradient is the product of infinity and of 0, or may be
            return math.inf
        if output:
            true, left = exact.tensors[name], rounded.tensors[name]
        else:
            true, left = (np.sum([np.sum(d * s[o]) for o, d in sample.cotangents.items()]) for s in slopes)
        off = float(np.max(np.abs(left - true), initial=0.0))
        return off if math.isfinite(off) else math.inf
