"""Every catalogue operation at awkward sizes and at length zero, forward and backward, against the float64 rule.

By default each operation has one dtype, in turn, and three sizes; `--sweep all` takes every dtype and every size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from derive import catalog, emulator
from derive.commands.source import find
from derive.errors import ShapeError
from derive.validate.data import Drawer, Sample
from derive.validate.drive import Emitted, Poisoned
from derive.validate.formula import read
from derive.validate.kernels import Comparison, plan_of
from tests.sweep import cases

DTYPES = ("float32", "float64", "float16", "bfloat16")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "dtype" in metafunc.fixturenames:
        names = catalog.names()
        every = [(n, t) for n in names for t in DTYPES]
        turns = [(n, DTYPES[k % len(DTYPES)]) for k, n in enumerate(names)]
        metafunc.parametrize(("name", "dtype"), every if metafunc.config.getoption("--sweep") == "all" else turns)


def test_sweep(name: str, dtype: str, request: pytest.FixtureRequest) -> None:
    source = find(name)
    drawer = Drawer(read(source.op.text), source.data, {})
    compare = Comparison(source.op, drawer, dtype, emulator)
    emitted = Emitted(name, source.op.derivation.forward, plan_of(source.op, dtype), Poisoned(emulator))
    everything = request.config.getoption("--sweep") == "all"
    wrong, run = [], 0
    for n, sizes in enumerate(cases.whole(drawer) if everything else cases.sample(drawer, len(name))):
        try:
            drawn = drawer.sample(drawer._full(sizes), "1", n)
        except ShapeError:
            continue  # no arrays of these sizes keep every access in range
        run += 1
        said = judged(compare, drawn, emitted.run(drawn))
        if said:
            wrong.append(said)
    assert not wrong, f"{len(wrong)} of {run} sizes:\n" + "\n".join(wrong)
    assert run


def judged(compare: Comparison, drawn: Sample, got: Mapping[str, Any]) -> str | None:
    """What is wrong.

    At length zero a mean is 0/0, and the rule as NumPy may not run: then shapes are judged, outputs where they are
    numbers, and gradients where there is no output: they are 0.
    """
    values = compare.drawer.interpret(drawn)
    if all(np.isfinite(v).all() for v in values.values()):
        try:
            return compare.judge(compare.case(drawn), got)
        except (IndexError, ZeroDivisionError):
            if 0 not in drawn.extents.values():
                raise
    elif 0 not in drawn.extents.values():
        return f"the formula is no number at {drawn.where}"
    nothing = not any(got[o].size for o in drawn.cotangents) and all(np.isfinite(v).all() for v in values.values())
    shapes = drawn.cotangents | {f"d{n}": a for n, a in drawn.arrays.items()}
    for name, found in got.items():
        want = values[name] if name in values else np.zeros(shapes[name].shape)
        if found.shape != shapes[name].shape:
            return f"{name} has shape {found.shape}, not {shapes[name].shape}, at {drawn.where}"
        if (name in values or nothing) and not np.allclose(found.astype(float), want, 0.1, 1e-3, equal_nan=True):
            return f"{name} is wrong at {drawn.where}"
    return None
