"""Slopes by convention: exact where a formula is smooth, agreed upon where it is not, and rules that differ fail."""

import numpy as np
import pytest

import derive
from derive.validate.data import Drawer
from derive.validate.differences import directional
from derive.validate.formula import read
from derive.validate.records import FAIL, PASS
from derive.validate.rule import rule
from derive.validate.tangents import has_kinks, tangents

SMOOTH = [
    "Y[i] = exp(X[i])*log(2 + X[i]**2) - tanh(X[i])/sqrt(1 + Z[i]**2)",
    "Y[i] = rsqrt(1 + X[i]*X[i])*erf(X[i]) + sigmoid(Z[i])*sin(X[i]) - cos(Z[i])*expm1(X[i]) + log1p(X[i]**2)",
    "Y[i] = (1 + X[i]**2)**Z[i] + pi*abs(X[i]) + relu(Z[i]) + maximum(X[i], Z[i]) - minimum(2*X[i], Z[i])",
    "P[i,j] = softmax(j, S[i,j]*X[j]); L[i] = logsumexp(j, P[i,j] + X[j]); output P, L",
    "Y[i] = max(j, A[i,j]*X[j]) - min(j, A[i,j]) + mean(j, A[i,j]**2) + where(i + 1 < size(i), X[i+1], -X[i])",
    "Y[t] = sum(c, E[ids[t],c]*where(E[ids[t],c] > 0, 2, w))",
]


@pytest.mark.parametrize("text", SMOOTH)
def test_smooth_formulas_have_the_slope_of_differences(text: str) -> None:
    drawer = Drawer(read(text), {}, {})
    sample = drawer.sample(drawer.small())
    for n in drawer.reals:
        along = np.random.default_rng(3).standard_normal(sample.arrays[n].shape)
        slope, size, decided = tangents(drawer.f, sample.arrays, {n: along}, sample.cotangents, drawer.free(sample))
        expected = directional(drawer.f, sample.arrays, sample.cotangents, {n: along}, drawer.free(sample))
        assert decided
        assert size > 0
        assert abs(slope - expected) < 1e-7*size


@pytest.mark.parametrize(("text", "arrays", "slope"), [
    ("Y = relu(x)", {"x": 0.0}, 0),
    ("Y = abs(x)", {"x": 0.0}, 0),
    ("Y = maximum(x, 0)", {"x": 0.0}, 0.5),
    ("Y = minimum(x, 0)", {"x": 0.0}, 0.5),
    ("Y = where(x > 0, 2*x, 3*x)", {"x": 0.0}, 3),
    ("Y = max(i, X[i])", {"X": [1.0, 1.0, 0.0, 1.0]}, 7/3),
    ("Y = min(i, X[i])", {"X": [1.0, 1.0, 0.0, 1.0]}, 4),
])  # fmt: skip
def test_conventions(text: str, arrays: dict[str, float | list[float]], slope: float) -> None:
    given = {n: np.asarray(a) for n, a in arrays.items()}
    along = {n: np.array([1.0, 2.0, 4.0, 4.0])[: a.size].reshape(a.shape) for n, a in given.items()}
    found, _, decided = tangents(read(text), given, along, {"Y": np.ones(())}, {})
    assert decided
    assert found == pytest.approx(slope, abs=1e-12)


def test_what_rounding_decides_is_not_judged() -> None:
    f = read("Y[i] = relu(X[i] - mean(k, X[k]))")
    along = {"X": np.ones(3)}
    assert tangents(f, {"X": np.array([0.0, 1.0, 2.0])}, along, {"Y": np.ones(3)}, {})[2], "the mean is exact"
    assert tangents(f, {"X": np.array([0.0, 1.0, 3.0])}, along, {"Y": np.ones(3)}, {})[2], "no value is near it"
    third = np.array([0.1, 0.1, 0.1 + 1e-16])
    assert not tangents(f, {"X": third}, along, {"Y": np.ones(3)}, {})[2]
    assert not tangents(read("Y = max(i, X[i])"), {"X": third}, along, {"Y": np.ones(())}, {})[2]


@pytest.mark.parametrize(("text", "kinks"), [
    ("Y[i] = relu(X[i])", True),
    ("Y[i] = where(X[i] > 1, X[i], 0)", True),
    ("Y[i] = where(i > 1, X[i], 0)", False),
    ("L[b] = where(t[b] >= 0, X[b,t[b]], 0)", False),
    ("P[i,j] = softmax(j, S[i,j])", False),
])  # fmt: skip
def test_where_kinks_may_be(text: str, kinks: bool) -> None:
    assert has_kinks(read(text)) is kinks


@pytest.mark.parametrize(("text", "right", "wrong"), [
    ("Y[i,j] = relu(X[i,j])", "X > 0", "X >= 0"),
    ("Y[i,j] = X[i,j]*abs(X[i,j] - 1)", "np.sign(g)", "np.where(g < 0, -1, 1)"),
    ("Y[i] = max(j, X[i,j])", "/np.sum(X == Y[:, None], axis=-1, dtype=Y.dtype)", ""),
    ("Y[i] = maximum(X[i], Z[i])", "0.5", "1"),
])  # fmt: skip
def test_a_rule_of_another_convention_fails(text: str, right: str, wrong: str) -> None:
    op = derive.parse(text)
    drawer = Drawer(read(text), {}, {})
    assert rule(op, drawer).status == PASS
    lines = [line.replace(right, wrong) for line in op.backward_numpy]
    assert lines != op.backward_numpy, lines
    op.__dict__["backward_numpy"] = lines
    found = rule(op, drawer)
    assert found.status == FAIL
    assert "by convention" in found.detail
