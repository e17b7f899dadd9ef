"""Spellings of one function become one term."""

import numpy as np
import pytest

import derive
from derive.rule.text import program_text
from derive.simplify.check import check_steps
from derive.validate.data import Sample
from derive.validate.program import Runnable

FAMILIES = {
    "sigmoid": ["sigmoid(X[i])", "1/(1 + exp(-X[i]))", "exp(X[i])/(1 + exp(X[i]))", "exp(X[i])/(exp(X[i]) + 1)",
                "1 - 1/(1 + exp(X[i]))", "1 - sigmoid(-X[i])", "(1 + exp(-X[i]))**-1", "3/(3 + 3*exp(-X[i]))",
                "1/(2 + expm1(-X[i]))", "rsqrt((1 + exp(-X[i]))**2)"],
    "tanh": ["tanh(X[i])", "(exp(X[i]) - exp(-X[i]))/(exp(X[i]) + exp(-X[i]))", "(exp(2*X[i]) - 1)/(exp(2*X[i]) + 1)",
             "(1 - exp(-2*X[i]))/(1 + exp(-2*X[i]))", "2*sigmoid(2*X[i]) - 1", "1 - 2/(1 + exp(2*X[i]))",
             "expm1(2*X[i])/(expm1(2*X[i]) + 2)", "-expm1(-2*X[i])/(1 + exp(-2*X[i]))"],
    "softplus": ["log(1 + exp(X[i]))", "log1p(exp(X[i]))", "-log(sigmoid(-X[i]))", "-log(1 - sigmoid(X[i]))",
                 "maximum(X[i], 0) + log1p(exp(-abs(X[i])))", "relu(X[i]) + log(1 + exp(-abs(X[i])))",
                 "log(exp(X[i]) + 1)", "0.5*log((1 + exp(X[i]))**2)"],
    "silu": ["X[i]*sigmoid(X[i])", "X[i]/(1 + exp(-X[i]))", "X[i]*exp(X[i])/(1 + exp(X[i]))"],
}
ROWS = {
    "softmax": ["Y[i,j] = softmax(j, X[i,j])", "Y[i,j] = exp(X[i,j])/sum(k, exp(X[i,k]))",
                "E[i,j] = exp(X[i,j])\nZ[i] = sum(j, E[i,j])\nY[i,j] = E[i,j]/Z[i]",
                "M[i] = max(j, X[i,j])\nE[i,j] = exp(X[i,j] - M[i])\nY[i,j] = E[i,j]/sum(k, E[i,k])",
                "Z[i] = logsumexp(j, X[i,j])\nY[i,j] = exp(X[i,j] - Z[i])", "Y[i,j] = 1/sum(k, exp(X[i,k] - X[i,j]))"],
    "logsumexp": ["Y[i] = logsumexp(j, X[i,j])", "Y[i] = log(sum(j, exp(X[i,j])))",
                  "M[i] = max(j, X[i,j])\nY[i] = M[i] + log(sum(j, exp(X[i,j] - M[i])))"],
}


def prepared(text: str) -> str:
    """The prepared formula."""
    lines = program_text(derive.parse(text).derivation.forward).splitlines()
    return "\n".join(line for line in lines if not line.startswith("input"))


@pytest.mark.parametrize(("family", "spelling"), [(f, s) for f, all_ in FAMILIES.items() for s in all_])
def test_scalar_spellings(family: str, spelling: str) -> None:
    assert prepared(f"Y[i] = {spelling}") == prepared(f"Y[i] = {FAMILIES[family][0]}")


@pytest.mark.parametrize(("family", "text"), [(f, t) for f, all_ in ROWS.items() for t in all_])
def test_row_spellings(family: str, text: str) -> None:
    assert prepared(text) == prepared(ROWS[family][0])


def test_an_exponential_that_is_asked_for_is_kept() -> None:
    text = "E[i,j] = exp(X[i,j])\nP[i,j] = E[i,j]/sum(k, E[i,k])\noutput E, P"
    assert {s.name for s in derive.parse(text).derivation.forward.statements} == {"E", "P"}


def test_a_guarded_exponential_masks_its_softmax() -> None:
    text = "E[t,s] = where(s <= t, exp(S[t,s]), 0)\nP[t,s] = E[t,s]/sum(r, E[t,r])"
    assert "softmax" in prepared(text)


def test_nothing_leaves_a_masked_logsumexp() -> None:
    op = derive.parse("Y[i] = logsumexp(n, where(n > i, c + 0.25*n, -1e30)) - c*X[i]")
    assert all(step.right for step in check_steps(op.derivation))
    sample = Sample({"c": np.array(0.5), "X": np.zeros(3)}, {"Y": np.ones(3)}, {"i": 3, "n": 2}, "")
    assert Runnable.of(op).run(sample)["dc"] == 1  # of the first row; the others are masked whole
