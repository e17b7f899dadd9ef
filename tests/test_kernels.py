"""Emitted kernels, run on the emulator through the command line, against the independent autodiff."""

import pytest

from tests.corpus import CASES, Case, error
from tests.drive import run_op
from tests.formulas import CORE
from tests.test_rules import STABLE, stable_case

BOUND = {"float64": (1e-9, 1e-3), "float32": (1e-5, 0.1)}  # of the largest entry, and the least that counts as large


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        every = metafunc.config.getoption("--corpus") == "all"
        chosen = [c for c in CASES if every or c.entry.name in CORE]
        metafunc.parametrize("case", chosen, ids=str)


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
