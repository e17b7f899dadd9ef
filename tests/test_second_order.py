"""Derivation is closed: a gradient is a formula again, and its own gradients agree with the independent autodiff."""

import warnings

import numpy as np
import pytest

import derive
from tests.corpus import CASES, Case, error
from tests.drive import run_program
from tests.oracle import differentiate

FIRST = [c for c in CASES if c.number == 0]


@pytest.mark.parametrize("case", FIRST, ids=lambda c: c.entry.name)
def test_gradient_of_the_gradient(case: Case) -> None:
    op = derive.parse(case.text)
    name = next((n for n in op.gradients if n in case.wrt), None)
    if name is None:
        pytest.skip("no real input")
    second = op.gradients[name].op
    program = second.program
    arrays = {t.name: case.arrays[t.name] if t.name in case.arrays else case.cotangents[t.name[1:].rstrip("_")]
              for t in program.inputs}
    wrt = [t.name for t in program.inputs if not t.integer and t.name not in case.entry.ints]
    (out,) = program.outputs
    cotangent = {out: np.random.default_rng(1).standard_normal(case.arrays[name].shape)}
    extents = dict(case.extents)
    for letter, extent in program.letters:  # letters that the gradient adds stand for axes that an array has
        for t in program.inputs:
            if extent in t.axes:
                extents[letter] = arrays[t.name].shape[t.axes.index(extent)]
    given = {x: n for x, n in extents.items() if x in dict(program.letters)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = differentiate(second.text, arrays, cotangent, wrt, given)
        params = {n: float(v) for n, v in program.params}
        got = run_program(second.json()["program"], arrays, cotangent, extents, params)
    assert error(got[out], expected.values[out]) < 1e-9
    for n in wrt:
        assert error(got["d" + n], expected.gradients[n]) < 1e-8, n


def test_third_order_of_a_scalar_function() -> None:
    """d³/dx³ of sin is −cos, through three formulas."""
    op = derive.parse("Y = sin(x)")
    for _ in range(2):
        op = op.gradients["x"].op
    rule = op.gradients["x"]
    arrays = {t.name: np.float64(0.3 if t.name == "x" else 1) for t in op.program.inputs}
    space = run_program(op.json()["program"], arrays, {op.program.outputs[0]: np.float64(1)}, {}, {})
    assert np.isclose(space["dx"], -np.cos(0.3), rtol=1e-12), rule.index


@pytest.mark.parametrize("text", [
    "Y = max(j, 0*j)*A",
    "Y[i] = min(j, k, A[i])*sum(j, k, B[i])",
    "Y = where(A > 0, where(not A > 0, max(j, where(A > 0, A**2, A) + 0.25*j), A), B)",
])
def test_the_text_of_a_gradient_can_be_read(text: str) -> None:
    """An extremum over an index that its body does not name is no greater of two values."""
    op = derive.parse(text)
    for gradient in op.gradients.values():
        again = gradient.op.gradients
        for other in again.values():
            assert derive.parse(other.op.text).program.statements == other.op.program.statements
