"""What single precision leaves of a formula, whatever kernels compute it.

Of some data nothing is left there: the squares of subnormal numbers are 0, and what overflows leaves infinity times 0.
The formula is walked with its slopes, as `tangents` does it, and every value and slope is rounded to float32 on the
way: where that is far from the same walk in float64, no kernel can be asked for more.  What is walked is the formula in
its stable form, so that a kernel which lost that form (`exp` without its greatest argument taken off) finds no excuse.
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
from derive.validate.tangents import Tangents

DIRECTIONS = 2  # in one of them errors may cancel
EXCUSED = 8  # times as far as the formula itself
LEAST = 2.0**-64  # the square of what is less has no inverse in float32


class Single(Tangents):
    """One evaluation with slopes in which every operation's result is rounded to float32.

    Attributes:
        overflows: whether a value on the way is too large for it.
    """

    overflows = False

    def value(self, node: ast.expr, scope: Scope) -> Array:
        x = super().value(node, scope)
        single = _single(x)
        self.overflows |= bool(np.any(np.isinf(single) & np.isfinite(x)))
        return single

    def slope(self, node: ast.expr, scope: Scope) -> Array:
        return _single(super().slope(node, scope))

    def operation(self, op: ast.operator, left: ast.expr, right: ast.expr, scope: Scope) -> Array:
        if isinstance(op, ast.Div) and isinstance(right, (ast.Name, ast.Subscript)):  # its slope has a square below
            below = np.abs(number(self.value(right, scope)).astype(float))
            self.overflows |= bool(np.any((below > 0) & (below < LEAST)))
        return super().operation(op, left, right, scope)


def _single(x: Array) -> Array:
    return x.astype(np.float32).astype(np.float64) if x.dtype.kind == "f" else x


class Losses:
    """How far single precision takes the outputs and gradients of one operation from what they are."""

    def __init__(self, op: Operation, drawer: Drawer):
        self.drawer, self.f = drawer, read(program_text(op.derivation.forward))

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
        """How far float32 takes an output, or the slope along a direction, from what it is."""
        output = name in sample.cotangents
        along = {} if output else {name[1:]: direction(np.shape(sample.arrays[name[1:]]), seed)}
        sizes = {x: n for x, n in self.drawer.free(sample).items() if x in self.f.letters}
        exact, single = Tangents(self.f, sample.arrays, along, sizes), Single(self.f, sample.arrays, along, sizes)
        slopes = exact.run(), single.run()
        if single.overflows:  # then a gradient is the product of infinity and of 0, or may be
            return math.inf
        if output:
            true, left = exact.tensors[name], single.tensors[name]
        else:
            true, left = (np.sum([np.sum(d * s[o]) for o, d in sample.cotangents.items()]) for s in slopes)
        off = float(np.max(np.abs(left - true), initial=0.0))
        return off if math.isfinite(off) else math.inf
