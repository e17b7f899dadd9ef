"""Where a value is NaN, so is the maximum or minimum: kernels compare by hand, and NaN compares as nothing."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

import numpy as np

from derive.validate.data import Drawer, Sample
from derive.validate.drive import Emitted
from derive.validate.formula import Formula, called

EXTREMA = {"max", "min", "maximum", "minimum"}
NORMALISED = {"softmax", "logsumexp"}  # a kernel may leave out what has no weight, where 0*NaN would be NaN


def takes_extrema(f: Formula) -> bool:
    """Whether a formula takes a maximum or minimum and every NaN of its value can be told."""
    names = {called(n) for s in f.statements for n in ast.walk(s.tree) if isinstance(n, ast.Call)}
    return bool(names & EXTREMA) and not names & NORMALISED


def lost(drawer: Drawer, emitted: Emitted) -> str | None:
    """None if the outputs of kernels are NaN where those of the formula are, for each input that holds some."""
    for number, name in enumerate(drawer.reals if takes_extrema(drawer.f) else ()):
        for sizes in (drawer.small(), drawer.medium(1 << 14)):
            sample = _with_nan(drawer.sample(sizes, "1", number), name)
            expected, got = drawer.interpret(sample), emitted.run(sample)
            for o in emitted.program.outputs:
                if not np.array_equal(np.isnan(expected[o]), np.isnan(got[o].astype(float))):
                    return f"{o} loses a NaN of {name}, or has one too many, at {sample.where}"
    return None


def _with_nan(sample: Sample, name: str) -> Sample:
    """One entry of eight is NaN, the first among them."""
    x: np.ndarray[Any, Any] = np.array(sample.arrays[name], float)
    x[np.random.default_rng(0).integers(8, size=x.shape) == 0] = np.nan
    x.flat[:1] = np.nan
    return replace(sample, arrays={**sample.arrays, name: x})
