"""Invariants are found by trying the formula, and kernels that break one are refused."""

import numpy as np
import pytest

from derive.validate.data import Drawer
from derive.validate.formula import read
from derive.validate.invariants import Invariants

SOFTMAX = "P[i,j] = softmax(j, S[i,j])"
CLIPPED = """
C[t] = old[t] + minimum(maximum(V[t] - old[t], -0.2), 0.2)
L = 0.5*mean(t, maximum((V[t] - R[t])**2, (C[t] - R[t])**2))"""
IGNORED = "L[b] = where(t[b] >= 0, logsumexp(v, X[b,v]) - X[b,t[b]], 0)"


@pytest.mark.parametrize(("text", "sums"), [
    (SOFTMAX, {("S", (1,)), ("S", (0, 1))}),
    ("Y[i,j] = X[i,j] - mean(k, X[i,k])", {("X", (1,)), ("X", (0, 1))}),
    ("Y[i,j] = X[i,j] - mean(a, b, X[a,b])", {("X", (0, 1))}),
    ("Y[i] = A[i] - B[i]", set()),
    ("Y[i,j] = X[i,j]**2", set()),
    (CLIPPED, set()),
    ("Y[t,c] = sum(s, where(s < t, exp(-(t - 1 - s)*w[c])*v[s], 0))", set()),  # of which two places say nothing
])  # fmt: skip
def test_sums_that_vanish(text: str, sums: set[tuple[str, tuple[int, ...]]]) -> None:
    assert set(Invariants(Drawer(read(text), {}, {})).sums) == sums


def test_what_is_not_read() -> None:
    drawer = Drawer(read(IGNORED), {}, {})
    sample = drawer.sample({"b": 20, "v": 5}, "1")
    unread = Invariants(drawer).unread(sample, "X")
    assert (unread == (sample.arrays["t"] < 0)[:, None]).all()
    assert unread.any()
    assert not unread.all()
    guarded = Drawer(read("Y[i] = where(X[i] > 0, X[i], 0)"), {}, {})
    assert not Invariants(guarded).unread(guarded.sample({"i": 9}), "X").any(), "the condition reads it"


def test_gradients_that_break_them() -> None:
    drawer = Drawer(read(SOFTMAX), {}, {})
    made = Invariants(drawer)
    sample = drawer.sample({"i": 3, "j": 4}, "1")
    p = np.exp(sample.arrays["S"])
    p /= p.sum(1, keepdims=True)
    d = sample.cotangents["P"]
    right = p * (d - (p * d).sum(1, keepdims=True))
    granted = {"dS": 1e-6}
    assert made.unbalanced({"dS": right}, granted) is None
    assert made.adjoint(sample, {"dS": right}, granted) is None
    assert "sum to 0" in str(made.unbalanced({"dS": p * d}, granted))
    assert "differences" in str(made.adjoint(sample, {"dS": 1.001 * right}, granted))

    drawer = Drawer(read(IGNORED), {}, {})
    sample = drawer.sample({"b": 20, "v": 5}, "1")
    wrong = np.full((20, 5), 1e-30)
    assert "must be 0" in str(Invariants(drawer).not_zero(sample, {"dX": wrong}))
    assert Invariants(drawer).not_zero(sample, {"dX": 0 * wrong}) is None
