"""Every catalogue operation at awkward sizes and at length zero, forward and backward, against the float64 rule.

By default each operation has one dtype, in turn, and three sizes; `--sweep all` takes every dtype and every size, and
`--sweep check` every dtype and all sizes that few threads do, in the check mode of the emulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from derive import catalog, emulator
from derive.commands.source import find
from derive.dtypes import DTYPES
from derive.errors import ShapeError
from derive.validate.comparison import Comparison, plan_of
from derive.validate.data import Drawer, Sample
from derive.validate.drive import Emitted, Poisoned
from derive.validate.formula import read
from derive.validate.kernels import checking
from derive.validate.launches import CHECKED, Launches
from derive.validate.program import rounded
from tests.sweep import cases

MASKED = -1e30  # stands for minus infinity
CLOSE = {"float64": 1e-9, "float32": 1e-4, "float16": 5e-2, "bfloat16": 0.2}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "dtype" in metafunc.fixturenames:
        names = catalog.names()
        every = [(n, t) for n in names for t in DTYPES]
        turns = [(n, DTYPES[k % len(DTYPES)]) for k, n in enumerate(names)]
        metafunc.parametrize(("name", "dtype"), every if metafunc.config.getoption("--sweep") != "some" else turns)


def test_sweep(name: str, dtype: str, request: pytest.FixtureRequest) -> None:
    source = find(name)
    drawer = Drawer(read(source.op.text), source.data, {})
    compare = Comparison(source.op, drawer, dtype, emulator)
    plan, which = plan_of(source.op, dtype), request.config.getoption("--sweep")
    module = checking(plan, emulator)[0] if which == "check" else Poisoned(emulator)
    emitted = Emitted(name, source.op.derivation.forward, plan, module)
    launches = Launches(source.op, plan, drawer, emulator) if which == "check" else None
    wrong, run = [], 0
    for n, sizes in enumerate(cases.sample(drawer, len(name)) if which == "some" else cases.whole(drawer)):
        try:
            drawn = drawer.sample(drawer.full(sizes), "1", n)
        except ShapeError:
            continue  # no arrays of these sizes keep every access in range
        if launches and launches.threads(drawn.extents) > CHECKED:
            continue
        run += 1
        said = judged(compare, drawn, emitted.run(drawn))
        if said:
            wrong.append(said)
    assert not wrong, f"{len(wrong)} of {run} sizes:\n" + "\n".join(wrong)
    assert run


def judged(compare: Comparison, drawn: Sample, got: Mapping[str, Any]) -> str | None:
    """What is wrong. At length zero a mean is 0/0 and a maximum infinite: there results are compared as they are."""
    if 0 not in drawn.extents.values():
        return compare.judge(compare.case(drawn), got)
    held = rounded(drawn, compare.dtype)
    rule, formula = compare.program.run(held), compare.drawer.interpret(held)
    for name, found in got.items():
        for wanted in (rule[name], formula.get(name, rule[name])):
            if found.shape != wanted.shape:
                return f"{name} has shape {found.shape}, not {wanted.shape}, at {drawn.where}"
            pair = (np.where(x == -np.inf, MASKED, x) for x in (found.astype(float), wanted))
            if not np.allclose(*pair, CLOSE[compare.dtype], CLOSE[compare.dtype], equal_nan=True):
                return f"{name} is {found.flat[:3]} ..., should be {wanted.flat[:3]} ..., at {drawn.where}"
    return None
