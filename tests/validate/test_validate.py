"""The validator catches what is wrong: rules and kernels with a seeded fault fail, right ones pass."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import derive
from derive import emulator
from derive.emit import sources
from derive.operation import Operation
from derive.validate.comparison import Comparison, plan_of
from derive.validate.data import Drawer
from derive.validate.formula import extents, read, shapes
from derive.validate.interpret import evaluate
from derive.validate.kernels import checked, kernels
from derive.validate.launches import filling
from derive.validate.numbers import draw
from derive.validate.program import Runnable
from derive.validate.records import FAIL, NOT_RUN, PASS, Report, Result
from derive.validate.report import summary, table, validate
from derive.validate.rule import rule

SOFTMAX = "P[i,j] = softmax(j, S[i,j])"
LINEAR = "Y[n,o] = sum(i, X[n,i]*W[i,o]) + b[o]"


def drawer(op: Operation) -> Drawer:
    return Drawer(read(op.text), {}, {})


def with_backward(text: str, *lines: str) -> Operation:
    """An operation whose rule is these lines of NumPy."""
    op = derive.parse(text)
    op.__dict__["backward_numpy"] = list(lines)
    return op


@pytest.mark.parametrize("lines", [
    ["dS = np.zeros_like(S)"],
    ["dS = P*dP"],
    ["dS = P*(dP + np.sum(P*dP, axis=-1, keepdims=True))"],
    ["dS = P*(dP - np.sum(P*dP, axis=0, keepdims=True))"],
    ["dS = P*(dP - np.sum(P*dP, axis=-1, keepdims=True))*1.0001"],
    ["dS = np.where(S > 1e9, 0, np.nan)"],
])  # fmt: skip
def test_a_wrong_rule_fails(lines: list[str]) -> None:
    op = with_backward(SOFTMAX, *lines)
    assert rule(op, drawer(op)).status == FAIL


def test_a_right_rule_passes() -> None:
    op = with_backward(SOFTMAX, "dS = P*(dP - np.sum(P*dP, axis=-1, keepdims=True))")
    assert rule(op, drawer(op)).status == PASS


def test_a_rule_may_lose_what_float32_has_no_number_for() -> None:
    """e^-200 is 1.4e-87; what is not so small must not be lost."""
    op = derive.parse("L = mean(n, sigmoid(-abs(X[n])))")
    assert rule(op, drawer(op)).status == PASS
    lossy = with_backward(SOFTMAX, "dS = P*(dP - np.sum(P*dP, axis=-1, keepdims=True))*np.exp(S)/np.exp(S)")
    assert "not stable" in rule(lossy, drawer(lossy)).detail


def judged(text: str, mutant: dict[str, str], dtype: str = "float32") -> Result:
    op = derive.parse(text)
    return kernels(op, drawer(op), dtype, emulator, texts=mutant)


def texts(formula: str, dtype: str = "float32") -> dict[str, str]:
    op = derive.parse(formula)
    return sources("op", plan_of(op, dtype))


MUTANTS = [
    (LINEAR, "Y[n,o] = sum(i, X[n,i]*W[i,o])*1.0001 + b[o]"),  # a factor
    (LINEAR, "Y[n,o] = sum(i, X[n,i]*W[i,o]) - b[o]"),  # a sign
    (SOFTMAX, "P[i,j] = softmax(j, S[i,j])*(1 - 1e-4)"),
    ("Y[i] = tanh(X[i])*Z[i]", "Y[i] = X[i]*Z[i]"),  # a function
    ("Y[i,j] = X[i,j]*Z[i,j]", "Y[i,j] = X[i,j]*Z[i,0] + 0*Z[i,j]"),  # an index
    ("Y[i] = sum(j, X[i,j])", "Y[i] = sum(j, where(j != 7, X[i,j], 0))"),  # part of the data
    ("Y[i] = X[i]**2", "Y[i] = X[i]*0"),  # zeros
    ("Y[t] = sum(s, where(s <= t, X[s]*Z[t], 0))", "Y[t] = sum(s, where(s < t, X[s]*Z[t], 0))"),  # off by one
    ("Y[i] = log(sum(j, exp(X[i,j])))", "Y[i] = log(sum(j, exp(minimum(X[i,j], 80))))"),  # large numbers only
]


@pytest.mark.parametrize(("text", "mutant"), MUTANTS)
def test_a_wrong_kernel_fails(text: str, mutant: str) -> None:
    found = judged(text, texts(mutant))
    assert found.status == FAIL
    assert judged(text, texts(text)).status == PASS


def test_zeros_fail_in_every_type() -> None:
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        found = judged("Y[i] = 3*X[i]", texts("Y[i] = 0*X[i]", dtype), dtype)
        assert found.status == FAIL, dtype


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("text", ["Y[i] = Z[i] + X[i] - X[i]", "P[i,j] = softmax(j, Z[i,j] + X[i])"])
def test_a_gradient_that_is_0_is_known_as_such(text: str, dtype: str) -> None:
    """Exactly, or since what is summed cancels; what is only too small for its type to hold is not taken for 0."""
    found = judged(text, texts(text, dtype), dtype)
    assert found.status == PASS
    assert "; dX is 0 but for rounding wherever tried" in found.detail
    if dtype == "float16":
        small = judged("Y[i] = X[i]*0.000001", texts("Y[i] = X[i]*0.000001", dtype), dtype)
        assert small.status == FAIL
        assert "says anything about Y, dX" in small.detail


def test_what_the_formula_itself_cannot_compute_is_left_out() -> None:
    """The length of a row of subnormal numbers is 0 in float32; a kernel that divides by 0 elsewhere still fails."""
    text = "N[i] = sqrt(sum(k, W[i,k]**2))\nY[i,j] = W[i,j]/N[i]\noutput Y"
    found = judged(text, texts(text))
    assert found.status == PASS
    assert "; 1 sample left out on which the formula itself has no value in float32" in found.detail
    eps = text.replace("W[i,k]**2)", "W[i,k]**2) + 1e-6")
    assert "left out" not in judged(eps, texts(eps)).detail
    assert judged(eps, texts(text)).status == FAIL


def test_a_kernel_that_leaves_some_results_unwritten_fails() -> None:
    mutant = texts("Y[i] = 3*X[i]")
    assert re.search(r"< count;", mutant["op.cu"])
    mutant["op.cu"] = re.sub(r"< count;", "< count - (count > 100);", mutant["op.cu"])
    found = judged("Y[i] = 3*X[i]", mutant)
    assert found.status == FAIL
    assert "nan" in found.detail


def test_a_missing_barrier_fails() -> None:
    mutant = texts(LINEAR)
    assert "__syncthreads();" in mutant["op.cu"]
    mutant["op.cu"] = mutant["op.cu"].replace("__syncthreads();", "")
    assert judged(LINEAR, mutant).status == FAIL


RESIDUAL = "Y[i,j] = X[i,j] + Z[i,j]"
WAYS = [
    ("L = mean(n, (Y[n] - T[n])**2)", "l_sum += L_sum_partial", "l_sum = L_sum_partial", "with 2 blocks"),
    ("Y[i] = 3*X[i]", "(array + first)%16 == 0", "first%16 == 0", "misaligned"),
    (LINEAR, "high += low", "high = low", "with 2 blocks"),
    ("Y[i] = max(j, X[i,j])", "x > y || x != x ?", "x > y ?", "loses a NaN"),
    ("Y[t,c] = E[ids[t],c]", "chunks = (size_t + 4095)/4096", "chunks = (size_t + 4095)/4095", "t=4096"),
    (RESIDUAL, "dZ_pack.lane[lane] + dz : dz", "dZ_pack.lane[lane] + dz : 2*dz", "with given arrays"),
    ("Y[i,j] = X[i,j]*Z[i,j]", "if (first + lane < count) into", "if (first + lane < count && lane < 2) into", "nan"),
]


@pytest.mark.parametrize(("text", "right", "wrong", "said"), WAYS)
def test_every_way_to_launch_is_tried(text: str, right: str, wrong: str, said: str) -> None:
    """Sums of many parts, arrays that start anywhere, `out=` where a gradient would be an alias, packs not whole,
    blocks just full; and NaN."""
    op, mutant = derive.parse(text), texts(text)
    assert right in mutant["op.cu"]
    mutant["op.cu"] = mutant["op.cu"].replace(right, wrong)
    level = checked if said == "misaligned" else kernels
    found = level(op, drawer(op), "float32", emulator, texts=mutant)
    assert found.status == FAIL
    assert said in found.detail


def test_text_that_does_not_compile_fails() -> None:
    mutant = texts(SOFTMAX)
    mutant["op.cu"] = mutant["op.cu"].replace("const float*", "const flaot*")
    assert judged(SOFTMAX, mutant).status == FAIL


# ------------------------------------------------------------------------------------------------- reports


def test_not_run_never_counts_as_passed() -> None:
    nothing = Report("op", "float32", (Result("rule", NOT_RUN, "why"),))
    assert not nothing.passed
    some = Report("op", "float32", (Result("rule", PASS, ""), Result("gpu", NOT_RUN, "why")))
    assert some.passed
    assert not replace(some, results=(*some.results, Result("kernel", FAIL, ""))).passed
    assert "not run" in table(some)
    assert summary([some, nothing]).startswith("1 of 2 passed")


def test_all_levels_of_a_formula_nobody_has_seen() -> None:
    report = validate(derive.parse("G[n] = sum(i, j, X[n,i]*A[i,j]*tanh(X[n,j]))/(1 + sum(i, X[n,i]**2))"))
    states = {r.level: r.status for r in report.results}
    assert states["rewrite"] == states["rule"] == states["kernel"] == PASS, table(report)


# ---------------------------------------------------------------------------------------------------- data


def test_a_stated_size() -> None:
    f = read("size p = 2\nY[t,p] = where(p == 0, X[t,0], X[t,1])*size(p)")
    assert shapes(f, {"t": 3}) == {"X": (3, 2)}
    assert extents(f, {"X": (3, 2)}, {}) == {"t": 3, "p": 2}
    values = evaluate(f, {"X": np.arange(6.0).reshape(3, 2)})
    assert values["Y"].tolist() == [[0, 2], [4, 6], [8, 10]]


@pytest.mark.parametrize(("text", "kinds"), [
    ("Y[i] = X[i]**2", {}),
    ("Y[i] = log(X[i])*Z[i]", {"X": "positive"}),
    ("Y[i] = log(X[i])*sqrt(Z[i])", {"X": "positive", "Z": "positive"}),
    ("Y[i] = log(-log(U[i]))", {"U": "unit"}),
    ("L = sum(n, log(1 - exp(r[n])) + log(w[n]))", {"r": "negative", "w": "positive"}),
])  # fmt: skip
def test_numbers_suit_the_formula(text: str, kinds: dict[str, str]) -> None:
    assert Drawer(read(text), {}, {}).kinds == kinds


def test_noise_reaches_a_tensor_that_is_called_np() -> None:
    op = derive.parse("Y[i] = np[i]*np[i]")
    sample = Drawer(read(op.text), {}, {}).sample({"i": 5})
    off = Runnable.of(op).perturbed(sample, "float32", 1)["Y"] - Runnable.of(op).run(sample)["Y"]
    assert 0 < np.max(np.abs(off)) < 1e-5


def test_labels_are_in_range_and_below_0_where_a_guard_allows_it() -> None:
    plain = Drawer(read("Y[t] = E[ids[t]]"), {}, {}).sample({"t": 50})
    assert plain.arrays["ids"].min() >= 0
    guarded = Drawer(read("Y[t] = where(ids[t] >= 0, E[ids[t]], 0)"), {}, {}).sample({"t": 50})
    assert guarded.arrays["ids"].min() < 0


def test_all_scores_may_be_far_below_0() -> None:
    """A maximum that starts at 0 is seen nowhere else: of random scores some are positive."""
    held = Drawer(read("P[t,s] = softmax(s, sum(d, Q[t,d]*K[s,d]))"), {}, {}).sample({"t": 9, "s": 7, "d": 4}, "below")
    assert np.max(held.arrays["Q"] @ held.arrays["K"].T) < -5
    assert np.max(np.sum(held.arrays["Q"] @ held.arrays["K"].T < -104, axis=1)) == 7, "a row without weight in float32"


@pytest.mark.parametrize("given", [{}, {"c": 6}])
def test_an_axis_is_as_long_as_stated_sizes_ask(given: dict[str, int]) -> None:
    """6 channels: no group of 3 reads beyond them, and no channel belongs to a third group."""
    f = read("size g = 2; size k = 3; M[b,g] = sum(k, X[b,3*g+k]); Y[b,c] = X[b,c]*M[b,c//3]")
    drawer = Drawer(f, {}, given)
    for sizes in (*drawer.sweep(), drawer.full(filling(drawer.medium()))):
        assert drawer.sample(sizes).extents["c"] == 6


def test_a_temperature_is_doubled_until_logits_are_of_a_size() -> None:
    drawer = Drawer(read("P[i,j] = softmax(j, C[i,j]/tau)"), {}, {})
    sample = drawer.sample(drawer.small(), "heavy", drawer.reals.index("tau"))
    assert 1e-3 < abs(sample.arrays["tau"]) < 1e3


def test_sizes_are_awkward() -> None:
    sizes = list(Drawer(read(LINEAR), {}, {}).sweep())
    assert any(set(s.values()) == {1} for s in sizes)
    assert any(max(s.values()) > 128 for s in sizes)
    assert all(len(set(s.values())) > 1 for s in sizes[2:])
    assert any(s["n"]*s["o"] % 8 == 7 for s in sizes), "a pack of each type once has all elements but one"
    masked = list(Drawer(read("Y[t] = sum(s, where(s <= t, X[s]*Z[t], 0))"), {}, {}).sweep())
    assert any(s["s"] > 128 and s["t"] > 128 for s in masked), "what a mask leaves out depends on both"


GATHER = "Y[b,s,d] = E[ids[b,s],d]"


@pytest.mark.parametrize(("old", "new"), [
    ("dE_starts + begin/4096*(tiles + 1)", "dE_starts"),
    ("chunk < chunks; ++chunk", "chunk < (chunks + 1)/2; ++chunk"),
])
def test_a_gather_has_more_places_than_are_sorted_at_once(old: str, new: str) -> None:
    op = derive.parse(GATHER)
    texts = sources(op.name, plan_of(op, "float32"))
    assert texts["op.cu"].count(old) == 1
    broken = {**texts, "op.cu": texts["op.cu"].replace(old, new)}
    assert kernels(op, drawer(op), "float32", emulator, texts=broken).status == FAIL


@pytest.mark.parametrize("barrier", [
    "            __syncthreads();\n",
    "        __syncthreads();  // before `many` is told anew\n",
])
def test_a_block_that_goes_on_waits_for_its_threads(barrier: str) -> None:
    """The last barriers of loops over slabs of the result: only a block with several of them needs these."""
    op = derive.parse(f"input E[v,d]\n{GATHER}")
    texts = sources(op.name, plan_of(op, "float32"))
    head, found, tail = texts["op.cu"].rpartition(barrier)
    assert found
    assert checked(op, drawer(op), "float32", emulator, {**texts, "op.cu": head + tail}).status == FAIL
    assert checked(op, drawer(op), "float32", emulator, texts).status == PASS


class Flushing:
    """The emulator in CuPy's place: arrays reach kernels as `-ftz=true` reads them, subnormal numbers as 0."""

    def __getattr__(self, name: str) -> Any:
        if name == "EmulatorError":
            raise AttributeError(name)
        return getattr(emulator, name)

    def asarray(self, value: Any) -> Any:
        value = np.array(value)
        if value.dtype.kind == "f":
            value[np.abs(value) < np.finfo(np.float32).smallest_normal] = 0
        return emulator.asarray(value)


@pytest.mark.parametrize("text", ["Y[i] = relu(X[i])", "Y[i] = maximum(X[i], Z[i])"])
def test_subnormal_numbers_are_0_through_cupy(text: str) -> None:
    op, drawer = derive.parse(text), Drawer(read(text), {}, {})
    assert kernels(op, drawer, "float32", Flushing(), "gpu").status == "pass"
    kept = Comparison(op, drawer, "float32", emulator)
    assert kernels(op, drawer, "float32", Flushing(), "gpu", compare=kept).status == "fail"


def test_positive_inputs_stand_beside_one_far_below() -> None:
    """`above` keeps the others of a root or a power from 0; that is no number to scale by."""
    assert (draw(np.random.default_rng(0), (3, 5), "above", "positive") > 0).all()
