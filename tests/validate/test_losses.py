"""Formulas that lose all digits on some data, in whatever order they are computed: judged where they have some."""

import math

import pytest

import derive
import derive.emulator
from derive.validate.comparison import Comparison
from derive.validate.data import Drawer
from derive.validate.drive import Emitted, Poisoned
from derive.validate.formula import read
from derive.validate.kernels import kernels
from derive.validate.losses import Losses
from derive.validate.program import rounded
from derive.validate.records import PASS
from derive.validate.rule import rule

FORMULAS = {
    "distances": "D[i,j] = where(i != j, sqrt(sum(d, (X[i,d] - X[j,d])**2)), 0)",  # no squares of subnormal numbers
    "likelihood": """
a[n] = sigmoid((x[n] + 1/255 - mu[n])*exp(-s[n]))
b[n] = sigmoid((x[n] - 1/255 - mu[n])*exp(-s[n]))
L = -mean(n, log(maximum(a[n] - b[n], 1e-12)))""",  # exp(-s) overflows where a - b is 0
    "preference": "L = -mean(n, log(sigmoid(beta/l[n]*p[n] - beta/m[n]*q[n] - gamma)))",  # curved for a small l
    "contrast": """
S[i,j] = sum(d, Z[i,d]*Z[j,d])/tau
c[i] = sum(j, where(y[i] == y[j] and i != j, 1, 0))
l[i] = logsumexp(k, where(i != k, S[i,k], -1e30))
L = mean(i, sum(j, where(y[i] == y[j] and i != j, l[i] - S[i,j], 0))/maximum(c[i], 1))
""",  # no number where tau is 0
    "relative": """
S[t,s] = sum(d, Q[t,d]*K[s,d]) + sum(d, Q[t,d]*R[s - t + size(t) - 1,d])
O[t,v] = sum(s, softmax(s, S[t,s])*V[s,v])""",  # all but no gradient at logits of ±200
    "one of each group": "A[g,i] = (R[g,i] - mean(k, R[g,k]))/(sqrt(mean(l, (R[g,l] - mean(k, R[g,k]))**2)) + 1e-4)",
}


@pytest.mark.parametrize("name", FORMULAS)
def test_right_rules_and_kernels_pass(name: str) -> None:
    op = derive.parse(FORMULAS[name])
    drawer = Drawer(read(op.text), {}, {})
    for found in (rule(op, drawer), kernels(op, drawer, "float32", derive.emulator)):
        assert found.status == PASS, found.detail


@pytest.mark.parametrize("text", ["P[i,j] = exp(S[i,j])/sum(k, exp(S[i,k]))", FORMULAS["distances"]])
@pytest.mark.parametrize("scale", ["1", "logits", "heavy"])
def test_what_the_formula_keeps_is_asked_of_kernels(text: str, scale: str) -> None:
    """Of a softmax that is spelled out, too: its stable form overflows nowhere."""
    op = derive.parse(text)
    drawer = Drawer(read(op.text), {}, {})
    losses, sample = Losses(op, drawer), rounded(drawer.sample(drawer.small(), scale), "float32")
    for name in (*sample.cotangents, *(f"d{n}" for n in op.gradients)):
        assert not losses.excuse(name, sample, math.inf)
        assert not losses.excuse(name, sample, 1e-2)


def test_a_kernel_that_is_wrong_only_where_digits_are_few_is_found() -> None:
    """The root of 1 + x², where x is so small that only x itself tells: its slope times 2."""
    op = derive.parse("Y[i] = sqrt(1 + X[i]**2)")
    compare = Comparison(op, Drawer(read(op.text), {}, {}), "float32", derive.emulator)
    case = next(c for c in compare.cases() if c.sample.scale == "scale 1e-3")
    got = Emitted("op", op.derivation.forward, compare.plan, Poisoned(derive.emulator)).run(case.sample)
    assert compare.judge(case, got) is None
    assert compare.judge(case, got | {"dX": 2*got["dX"]})
