"""Emitted kernels, run on the emulator through the command line, against the independent autodiff."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from derive.run import storage
from tests.corpus import CASES, Case, error
from tests.drive import run_op
from tests.formulas import CORE
from tests.oracle import differentiate
from tests.test_rules import STABLE, stable_case

BOUND = {"float64": (1e-9, 1e-3), "float32": (1e-5, 0.1)}  # of the largest entry, and the least that counts as large


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        every = metafunc.config.getoption("--corpus") == "all"
        chosen = [c for c in CASES if every or c.entry.name in CORE]
        metafunc.parametrize("case", chosen, ids=str)
    if "small" in metafunc.fixturenames:
        every = metafunc.config.getoption("--corpus") == "all"
        first = [c for c in CASES if c.entry.name in CORE and c.number == 0][::4]
        chosen = CASES if every else [*first, *(c for c in CASES if c.entry.name == "trigonometric")]
        metafunc.parametrize("small", chosen, ids=str)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_kernels(case: Case, dtype: str) -> None:
    bound, floor = BOUND[dtype]
    found = run_op(case.text, case.arrays, case.cotangents, dtype, case.given)
    for name in case.formula.outputs:
        assert found[name].dtype == dtype
        assert error(found[name], case.expected.values[name], floor) < bound, name
    for name in case.wrt:
        assert found["d" + name].dtype == dtype
        assert error(found["d" + name], case.expected.gradients[name], floor) < bound, "d" + name


@pytest.mark.parametrize("name", STABLE)
def test_kernels_are_stable_in_float32(name: str) -> None:
    text, arrays, cotangent, expected = stable_case(name)
    found = run_op(text, arrays, cotangent, "float32")
    assert error(found["Y"], expected.values["Y"], 0.1) < 1e-5
    assert error(found["dX"], expected.gradients["X"], 0.1) < 1e-5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_log_sum_exp_is_kept_for_the_backward_as_it_was_before_rounding(dtype: str) -> None:
    """exp(X - Y) is 1/100; a Y that was rounded to 16 bits would make 1 of it."""
    x = np.full((3, 100), 40960.0)
    found = run_op("Y[i] = logsumexp(j, X[i,j])", {"X": x}, {"Y": np.ones(3)}, dtype)
    assert np.all(found["Y"].astype(float) == 40960)
    assert error(found["dX"], np.full(x.shape, 0.01)) < 1e-2


SMALL = {"float16": 1e-2, "bfloat16": 8e-2}  # of the largest entry


@pytest.mark.parametrize("dtype", SMALL)
def test_kernels_of_16_bits(small: Case, dtype: str) -> None:
    """Against the exact gradient at the inputs as 16 bits hold them: rounding those is not the kernels' doing.

    (sin(X**2)**2 at X = 2.4 moves by a tenth of its largest derivative when X is rounded to bfloat16.)
    """
    def held(arrays: Mapping[str, Any]) -> dict[str, Any]:
        with np.errstate(over="ignore"):  # the -1e30 of a mask that is data is -inf in float16
            return {n: a.astype(storage(dtype)).astype(float) if a.dtype.kind == "f" else a for n, a in arrays.items()}

    arrays, cotangents = held(small.arrays), held(small.cotangents)
    expected = differentiate(small.text, arrays, cotangents, small.wrt, small.given)
    found = run_op(small.text, arrays, cotangents, dtype, small.given)
    for name in small.formula.outputs:
        assert error(found[name], expected.values[name], 0.1) < SMALL[dtype], name
    for name in small.wrt:
        assert error(found["d" + name], expected.gradients[name], 0.1) < SMALL[dtype], "d" + name
