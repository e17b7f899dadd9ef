"""The three judges agree: interpreter, central differences and autodiff, on every formula of the corpus."""

import numpy as np
import pytest

from derive.errors import DeriveError, NotationError, ShapeError
from derive.validate.differences import direction, directional, gradient
from derive.validate.formula import extents
from derive.validate.interpret import evaluate
from derive.validate.program import moved
from tests.corpus import CASES, Case, error
from tests.formulas import ENTRIES
from tests.oracle import differentiate


def test_corpus_is_broad() -> None:
    assert len(ENTRIES) >= 110
    assert len({e.text for e in ENTRIES}) == len(ENTRIES)
    assert all(len(e.sizes) >= 2 for e in ENTRIES if "[" in e.text)  # what has no index has one size


@pytest.mark.parametrize("case", CASES, ids=str)
def test_judges_agree(case: Case) -> None:
    solved = extents(case.formula, {n: a.shape for n, a in case.arrays.items()}, case.given)
    assert solved == {x: n for x, n in case.extents.items() if x in case.formula.letters}
    values = evaluate(case.text, case.arrays, case.given)
    for name, value in case.expected.values.items():
        assert np.isfinite(value).all()
        assert error(values[name], value) < 1e-12, name
    if any(k == "ties" for n, k in case.entry.kinds.items() if n in case.wrt):
        return  # no derivative there: the tests below say what the convention gives
    steps = {n: direction(case.arrays[n].shape, 7) for n in case.wrt}
    slope = directional(case.formula, case.arrays, case.cotangents, steps, case.given)
    exact = sum(float(np.sum(case.expected.gradients[n] * steps[n])) for n in case.wrt)
    size = sum(float(np.sum(np.abs(case.expected.gradients[n]))) for n in case.wrt)
    assert abs(slope - exact) < 1e-6 * max(1.0, size)
    for n in case.wrt:
        full = gradient(case.formula, case.arrays, case.cotangents, n, case.given)
        assert error(full, case.expected.gradients[n], 1.0) < 1e-6, n


@pytest.mark.parametrize(
    ("formula", "x", "expected"),
    [
        ("Y[i] = relu(X[i])", [-1, 0, 2], [0, 0, 1]),
        ("Y[i] = abs(X[i])", [-1, 0, 2], [-1, 0, 1]),
        ("Y[i] = maximum(X[i], 0)", [-1, 0, 2], [0, 0.5, 1]),
        ("Y[i] = minimum(0, X[i])", [-1, 0, 2], [1, 0.5, 0]),
        ("Y[i] = where(X[i] > 0, X[i], 0)", [-1, 0, 2], [0, 0, 1]),
    ],
)
def test_conventions_at_kinks(formula: str, x: list[float], expected: list[float]) -> None:
    got = differentiate(formula, {"X": np.array(x, float)}, {"Y": np.ones(3)}, ["X"]).gradients["X"]
    assert got.tolist() == expected


def test_an_extremum_shares_its_gradient_among_ties() -> None:
    x = np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
    got = differentiate("Y[i] = max(j, X[i,j])", {"X": x}, {"Y": np.array([2.0, 4.0])}, ["X"]).gradients["X"]
    assert got.tolist() == [[0, 1, 1, 0], [1, 1, 1, 1]]


def test_masked_entries_and_rows_are_zero() -> None:
    s = np.array([[0.0, 1.0, 2.0], [-1e30, -1e30, -1e30]])
    keep = np.array([[1, 0, 1], [1, 1, 1]])
    text = "Y[t,s] = softmax(s, where(keep[t,s] > 0, S[t,s], -1e30))"
    result = differentiate(text, {"S": s, "keep": keep}, {"Y": np.array([[1.0, 2, 3], [4, 5, 6]])}, ["S"])
    for y in (result.values["Y"], evaluate(text, {"S": s, "keep": keep})["Y"]):
        assert y[0, 1] == 0
        assert not y[1].any()
        assert y[0].sum() == pytest.approx(1)
    assert result.gradients["S"][0, 1] == 0
    assert not result.gradients["S"][1].any()


def test_zero_length() -> None:
    out = evaluate("Y[i] = sum(k, A[i,k])\nZ[k] = sum(i, A[i,k])", {"A": np.zeros((0, 3))})
    assert out["Y"].shape == (0,)
    assert out["Z"].tolist() == [0, 0, 0]


def test_large_statements_are_evaluated_in_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((17, 5)), rng.standard_normal((5, 3))
    text = "Y[i,j] = sum(k, A[i,k]*B[k,j]) + i\nP[i,j] = softmax(i, Y[i,j])"
    whole = evaluate(text, {"A": a, "B": b})
    monkeypatch.setattr("derive.validate.interpret.BUDGET", 40)
    slabs = evaluate(text, {"A": a, "B": b})
    assert error(whole["Y"], a @ b + np.arange(17)[:, None]) < 1e-14
    assert error(slabs["Y"], whole["Y"]) < 1e-15
    assert error(slabs["P"], whole["P"]) < 1e-14


def test_rounding_of_a_log_sum_exp_is_in_its_weights() -> None:
    """Who keeps the value alone makes exp(x - value) of it: at 1e8 float64 has 8 digits left for that."""
    x = np.array([1e8, 1e8 + 1, 1e8 - 2, -1e30])
    said = [differentiate("Y = logsumexp(i, X[i])", {"X": x}, {"Y": np.ones(())}, ["X"], {}, how).gradients["X"]
            for how in (None, lambda v: moved(v, 1e-13, 1, masks=True))]
    assert 1e-7 < error(said[1], said[0]) < 1e-3
    assert said[0][3] == said[1][3] == 0


X = np.arange(5.0)


@pytest.mark.parametrize(
    ("formula", "arrays", "kind", "words"),
    [
        ("Y[i] = X[i+2] - X[i]", {"X": X}, ShapeError, "out of range"),
        ("Y[i] = X[i] + Z[i]", {"X": X}, ShapeError, "Z is missing"),
        ("Y[i] = X[i] + Z[i]", {"X": X, "Z": X[:3]}, ShapeError, "two extents"),
        ("Y[i] = X[i,i]", {"X": X}, ShapeError, "axes"),
        ("Y[i] = E[X[i]]", {"X": X, "E": X}, ShapeError, "integers"),
        ("Y[i] = E[x[i]]", {"x": np.array([0, 5]), "E": X}, ShapeError, "out of range"),
        ("Y[i] = sum(k, X[i]) + k", {"X": X}, DeriveError, "k"),
        ("Y[t,r] = X[t+r]", {"X": X}, ShapeError, "size"),
        ("Y[i] = foo(X[i])", {"X": X}, NotationError, "foo"),
        ("Y[i] = (X[i]", {"X": X}, NotationError, "bracket"),
        ("Y[i] = lambda: 0", {"X": X}, DeriveError, "notation"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused(formula: str, arrays: dict, kind: type[DeriveError], words: str) -> None:  # type: ignore[type-arg]
    sizes = {"i": 5} if "lambda" in formula else {}
    with pytest.raises(kind) as caught:
        evaluate(formula, arrays, sizes)
    assert words in str(caught.value)
