"""What holds of a gradient because of the formula, found by trying the formula and then required of the kernels.

    f(X + c) = f(X) for every c that is constant along some axes   the sum of dX over these axes is 0
    f does not read X[i] where it counts                           dX[i] is 0, exactly
    differences of f along v                                       Σ ⟨dX, v⟩ = ⟨dY, J v⟩

Neither names nor the derived rule are used: only the interpreter's values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from derive.validate.data import Drawer, Sample
from derive.validate.differences import direction, directional
from derive.validate.interpret import evaluate

Array = np.ndarray[Any, Any]
FEW = 400  # elements of an input that are tried one by one
WIDER = 1 << 10  # elements of the last data that a shift must leave as they are
CURVED = 1e-5  # what central differences may be off, of the terms they are sums of


class Invariants:
    """The invariants of one formula."""

    def __init__(self, drawer: Drawer):
        self.drawer = drawer

    def _values(self, sample: Sample, arrays: Mapping[str, Array]) -> dict[str, Array]:
        every = evaluate(self.drawer.f, {**sample.arrays, **arrays}, self.drawer.free(sample))
        return {o: every[o] for o in self.drawer.f.outputs}

    @cached_property
    def sums(self) -> list[tuple[str, tuple[int, ...]]]:
        """Inputs and axes along which a shift changes nothing, in every draw: a clip may hide one of them, and at one
        place of an axis much cancels that does not at several."""
        sample = self.drawer.sample(self.drawer.small(), "1", 7)
        ranks = {n: sample.arrays[n].ndim for n in self.drawer.reals}
        found = [(n, axes) for n, rank in ranks.items() if rank
                 for axes in dict.fromkeys([*((k,) for k in range(rank)), tuple(range(rank))])]
        found = self._unmoved(sample, 0.2, 1, found)
        for seed, sizes, low, high in ((8, self.drawer.small(), -3, -1), (9, self.drawer.medium(WIDER), 0.02, 0.2)):
            if found:
                found = self._unmoved(self.drawer.sample(sizes, "1", seed), low, high, found)
        return found

    def _unmoved(self, sample: Sample, low: float, high: float, asked: list[tuple[str, tuple[int, ...]]]
                 ) -> list[tuple[str, tuple[int, ...]]]:
        before = self._values(sample, {})
        rng = np.random.default_rng(5)
        found = []
        for name, axes in asked:
            x = sample.arrays[name]
            shape = [1 if n in axes else length for n, length in enumerate(x.shape)]
            moved = self._values(sample, {name: x + rng.uniform(low, high, shape)})
            if all(np.allclose(moved[o], v, 0, 1e-9 * (1 + np.max(np.abs(v), initial=0))) for o, v in before.items()):
                found.append((name, axes))
        return found

    def unread(self, sample: Sample, name: str) -> Array:
        """Where an input may hold anything, even no number, and no output changes."""
        x = sample.arrays[name]
        before = self._values(sample, {})
        found = np.zeros(x.shape, bool)
        for i in np.ndindex(x.shape):
            for value in (np.nan, 997.0, -997.0):
                changed = np.array(x, float)
                changed[i] = value
                after = self._values(sample, {name: changed})
                if any(a.tobytes() != before[o].tobytes() for o, a in after.items()):
                    break
            else:
                found[i] = True
        return found

    def unbalanced(self, got: Mapping[str, Array], granted: Mapping[str, float]) -> str | None:
        """The first gradient whose sum is not 0 though it must be.

        Args:
            got: gradients by `d<input>`, among other arrays.
            granted: the error that an entry of each may have.
        """
        for name, axes in self.sums:
            if "d" + name in got:
                d = got["d" + name].astype(np.float64)
                off = float(np.max(np.abs(d.sum(axis=axes)), initial=0.0))
                most = 2 * math.sqrt(max(1, math.prod(d.shape[n] for n in axes))) * granted["d" + name]
                if math.isfinite(most) and not off <= most:  # else the gradient is no number in float64
                    return f"d{name} must sum to 0 over axes {axes}, gives {off:.1e}, granted {most:.1e}"
        return None

    def not_zero(self, sample: Sample, got: Mapping[str, Array]) -> str | None:
        """The first entry of a gradient that is not exactly 0 though the formula does not read that input there."""
        for name in self.drawer.reals:
            if "d" + name in got and sample.arrays[name].size <= FEW:
                wrong = self.unread(sample, name) & (got["d" + name] != 0)
                if wrong.any():
                    at = [int(i) for i in np.argwhere(wrong)[0]]
                    return f"d{name}{at} must be 0: the formula does not read {name} there"
        return None

    def adjoint(self, sample: Sample, got: Mapping[str, Array], granted: Mapping[str, float]) -> str | None:
        """How far the gradients are from differences of the formula along a random direction."""
        wrt = [n for n in self.drawer.reals if "d" + n in got]
        along = {n: direction(sample.arrays[n].shape, k) for k, n in enumerate(wrt)}
        slope = directional(self.drawer.f, sample.arrays, sample.cotangents, along, self.drawer.free(sample))
        parts = [got["d" + n].astype(np.float64) * v for n, v in along.items()]
        found, size = sum(float(p.sum()) for p in parts), sum(float(np.abs(p).sum()) for p in parts)
        most = CURVED * size + sum(2 * math.sqrt(v.size) * granted["d" + n] for n, v in along.items())
        if math.isfinite(slope) and math.isfinite(most) and not abs(found - slope) <= most:
            return f"<dX, v> is {found:.9g}, differences of the formula give {slope:.9g}, granted {most:.1e}"
        return None
