"""Derived rules, run as NumPy in the namespace of the contract, against the independent autodiff."""

import ast

import numpy as np
import pytest

from derive.operation import parse
from derive.run import compile
from tests.corpus import CASES, Case, error
from tests.drive import command, count_nodes, rule_json, run_program
from tests.formulas import ENTRIES
from tests.oracle import differentiate

TEXTS = {e.name: e.text for e in ENTRIES}


def params(case: Case) -> dict[str, float]:
    """The values of the formula's `param` lines, which are plain numbers in the corpus."""
    return {n: ast.literal_eval(e) for n, e in case.formula.params.items()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule(case: Case) -> None:
    rule = rule_json(case.text)
    assert rule["formula"].strip()
    assert list(rule["outputs"]) == list(case.formula.outputs)
    assert set(rule["inputs"]) == set(case.formula.inputs)
    assert all(rule["inputs"][n]["dtype"] == "integer" for n in case.formula.integers)
    assert set(case.wrt) <= set(rule["gradients"])
    space = run_program(rule["program"], case.arrays, case.cotangents, case.extents, params(case))
    for name in case.formula.outputs:
        assert error(space[name], case.expected.values[name]) < 1e-9, name
    for name in case.wrt:
        assert error(space["d" + name], case.expected.gradients[name]) < 1e-9, rule["program"]


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("linear", 3),
        ("softmax_last", 4),
        ("cross_entropy", 5),
        ("layernorm", 11),
        ("attention_causal", 10),
        ("conv1d", 8),
        ("conv2d", 9),
        ("upsample", 3),
        ("max_pool", 11),
        ("low_rank_scaled", 13),
        ("covariance", 4),
    ],
)
def test_rule_is_small(name: str, limit: int) -> None:
    program = rule_json(TEXTS[name])["program"]
    assert count_nodes(program["backward"]) <= limit, "\n".join(program["backward"])


def test_a_name_that_is_read_transposed_is_defined() -> None:
    rules = parse(TEXTS["covariance"]).rules
    assert rules[:3] == ("dX = cᵀ dC_sum + cᵀ dC_sumᵀ", "where", "c[b,j,t] = X[b,t,j] - m[b,j]")


@pytest.mark.parametrize("name", ["attention_multihead", "layernorm", "lstm", "cross_entropy_ignore", "embedding_two"])
def test_rule_is_the_same_every_time(name: str) -> None:
    assert rule_json(TEXTS[name]) == rule_json(TEXTS[name])


# Rounding a log-sum-exp of 200 to float32 alone moves P by up to 7.6e-6 of itself.
SINGLE = 1e-5

# A spelling, and a formula of the same mathematics that is stable in float64 when evaluated as it stands.
STABLE = {
    "softplus": ("Y[i] = log(1 + exp(X[i]))", "Y[i] = maximum(X[i], 0) + log1p(exp(-abs(X[i])))"),
    "softplus_log1p": ("Y[i] = log1p(exp(X[i]))", "Y[i] = maximum(X[i], 0) + log1p(exp(-abs(X[i])))"),
    "softplus_negative": ("Y[i] = log(1 + exp(-X[i]))", "Y[i] = maximum(-X[i], 0) + log1p(exp(-abs(X[i])))"),
    "sigmoid": ("Y[i] = sigmoid(X[i])", "Y[i] = sigmoid(X[i])"),
    "sigmoid_negative": ("Y[i] = 1/(1 + exp(-X[i]))", "Y[i] = sigmoid(X[i])"),
    "sigmoid_positive": ("Y[i] = exp(X[i])/(1 + exp(X[i]))", "Y[i] = sigmoid(X[i])"),
    "sigmoid_swapped": ("Y[i] = exp(X[i])/(exp(X[i]) + 1)", "Y[i] = sigmoid(X[i])"),
    "sigmoid_power": ("Y[i] = (1 + exp(-X[i]))**-1", "Y[i] = sigmoid(X[i])"),
    "tanh": ("Y[i] = tanh(X[i])", "Y[i] = tanh(X[i])"),
    "tanh_spelled": ("Y[i] = (exp(X[i]) - exp(-X[i]))/(exp(X[i]) + exp(-X[i]))", "Y[i] = tanh(X[i])"),
    "tanh_squared": ("Y[i] = (exp(2*X[i]) - 1)/(exp(2*X[i]) + 1)", "Y[i] = tanh(X[i])"),
    "silu": ("Y[i] = X[i]/(1 + exp(-X[i]))", "Y[i] = X[i]*sigmoid(X[i])"),
    "silu_positive": ("Y[i] = X[i]*exp(X[i])/(1 + exp(X[i]))", "Y[i] = X[i]*sigmoid(X[i])"),
    "log_sigmoid": ("Y[i] = log(sigmoid(X[i]))", "Y[i] = minimum(X[i], 0) - log1p(exp(-abs(X[i])))"),
    "log_one_less_sigmoid": ("Y[i] = log(1 - sigmoid(X[i]))", "Y[i] = minimum(-X[i], 0) - log1p(exp(-abs(X[i])))"),
    "log_of_a_choice": ("Y[i] = log(where(i % 2 == 0, sigmoid(X[i]), 1 - sigmoid(X[i])))",
                        "Y[i] = where(i % 2 == 0, minimum(X[i], 0), minimum(-X[i], 0)) - log1p(exp(-abs(X[i])))"),
    "log_sigmoid_spelled": ("Y[i] = log(1/(1 + exp(-X[i])))", "Y[i] = minimum(X[i], 0) - log1p(exp(-abs(X[i])))"),
    "mish": ("Y[i] = X[i]*tanh(log(1 + exp(X[i])))",
             "Y[i] = X[i]*tanh(maximum(X[i], 0) + log1p(exp(-abs(X[i]))))"),
    "logsumexp": ("Y[i] = log(sum(j, exp(X[i,j])))", "Y[i] = logsumexp(j, X[i,j])"),
    "logsumexp_named": ("Z[i] = sum(j, exp(X[i,j]))\nY[i] = log(Z[i])", "Y[i] = logsumexp(j, X[i,j])"),
    "softmax": ("Y[i,j] = exp(X[i,j])/sum(l, exp(X[i,l]))", "Y[i,j] = softmax(j, X[i,j])"),
    "softmax_named": ("E[i,j] = exp(X[i,j])\nZ[i] = sum(j, E[i,j])\nY[i,j] = E[i,j]/Z[i]",
                      "Y[i,j] = softmax(j, X[i,j])"),
    "softmax_by_rows_and_columns": (
        "Y[i,j] = exp(X[i,j])/sum(l, exp(X[i,l]))*exp(X[i,j])/sum(m, exp(X[m,j]))",
        "Y[i,j] = softmax(j, X[i,j])*softmax(i, X[i,j])"),
    "softmax_shared": ("Z[j] = sum(m, exp(X[m,j]))\nY[i,j] = exp(2*X[i,j])/(sum(l, exp(X[i,l]))*Z[j])",
                       "Y[i,j] = softmax(j, X[i,j])*softmax(i, X[i,j])"),
    "log_softmax": ("Y[i,j] = log(softmax(j, X[i,j]))", "Z[i] = logsumexp(j, X[i,j])\nY[i,j] = X[i,j] - Z[i]"),
    "log_softmax_named": ("P[i,j] = softmax(j, X[i,j])\nY[i,j] = log(P[i,j])",
                          "Z[i] = logsumexp(j, X[i,j])\nY[i,j] = X[i,j] - Z[i]"),
    "log_softmax_spelled": ("Y[i,j] = log(exp(X[i,j])/sum(l, exp(X[i,l])))",
                            "Z[i] = logsumexp(j, X[i,j])\nY[i,j] = X[i,j] - Z[i]"),
    "log_softmax_difference": ("Y[i,j] = X[i,j] - log(sum(l, exp(X[i,l])))",
                               "Z[i] = logsumexp(j, X[i,j])\nY[i,j] = X[i,j] - Z[i]"),
    "cross_entropy": ("Y = mean(i, log(sum(j, exp(X[i,j]))) - X[i,y[i]])",
                      "Y = mean(i, logsumexp(j, X[i,j]) - X[i,y[i]])"),
    "cross_entropy_nll": ("P[i,j] = softmax(j, X[i,j])\nY = -mean(i, log(P[i,y[i]]))",
                          "Y = mean(i, logsumexp(j, X[i,j]) - X[i,y[i]])"),
    "bce_logits": ("Y = mean(i, log(1 + exp(X[i])) - X[i]*T[i])",
                   "Y = mean(i, maximum(X[i], 0) - X[i]*T[i] + log1p(exp(-abs(X[i]))))"),
    "bce_sigmoid": ("Y = -mean(i, T[i]*log(sigmoid(X[i])) + (1 - T[i])*log(1 - sigmoid(X[i])))",
                    "Y = mean(i, maximum(X[i], 0) - X[i]*T[i] + log1p(exp(-abs(X[i]))))"),
    "bce_named": ("P[i] = 1/(1 + exp(-X[i]))\nY = -mean(i, T[i]*log(P[i]) + (1 - T[i])*log(1 - P[i]))",
                  "Y = mean(i, maximum(X[i], 0) - X[i]*T[i] + log1p(exp(-abs(X[i]))))"),
}  # fmt: skip


def stable_case(name: str):  # type: ignore[no-untyped-def]
    """Formula, inputs up to ±200 that float32 holds exactly, cotangent, and what the stable spelling gives."""
    text, reference = STABLE[name]
    rng = np.random.default_rng(len(name))
    rows = "X[i,j]" in text
    x = np.round(rng.uniform(-200, 200, (5, 7) if rows else 35) * 4) / 4
    x[..., :4] = [200.0, -200.0, 0.25, -0.5]
    arrays = {"X": x}
    if "y[i]" in text:
        arrays["y"] = rng.integers(0, 7, 5)
    if "T[i]" in text:
        arrays["T"] = np.round(rng.uniform(0, 1, 35) * 16) / 16
    shape = {"Y = ": (), "Y[i] ": x.shape[:1], "Y[i,": x.shape}
    last = text.splitlines()[-1]
    cotangent = {"Y": rng.integers(-4, 5, next(s for start, s in shape.items() if last.startswith(start))) / 4 + 0.125}
    return text, arrays, cotangent, differentiate(reference, arrays, cotangent, ["X"])


@pytest.mark.parametrize("name", STABLE)
def test_rule_is_stable_in_float32(name: str) -> None:
    text, arrays, cotangent, expected = stable_case(name)
    single = {n: a.astype(np.float32) if a.dtype.kind == "f" else a for n, a in arrays.items()}
    extents = dict(zip("ij", arrays["X"].shape)) | {"l": arrays["X"].shape[-1]}
    program = rule_json(text)["program"]
    space = run_program(program, single, {"Y": np.float32(cotangent["Y"])}, extents, {})
    assert error(space["Y"], expected.values["Y"]) < SINGLE, program["forward"]
    assert error(space["dX"], expected.gradients["X"]) < SINGLE, program["backward"]


def test_a_letter_over_a_part_of_an_axis() -> None:
    """`A[1*l]` reads the first entries: the rule slices, and kernels, which would read on, are refused."""
    text = "Y[i,j,l] = A[j]\nZ[l] = A[1*l]*B[l,l]\noutput Y, Z"
    rng, sizes = np.random.default_rng(0), {"i": 2, "j": 5, "l": 3}
    arrays = {"A": rng.standard_normal(5), "B": rng.standard_normal((3, 3))}
    cotangents = {"Y": rng.standard_normal((2, 5, 3)), "Z": rng.standard_normal(3)}
    expected = differentiate(text, arrays, cotangents, ["A", "B"], sizes)
    space = run_program(rule_json(text)["program"], arrays, cotangents, sizes, {})
    assert error(space["Z"], expected.values["Z"]) < 1e-12
    for name, true in expected.gradients.items():
        assert error(space["d" + name], true) < 1e-12
    done = command("emit", "-", "-o", "nowhere", text=text)
    assert done.exit_code == 2
    assert "part of an axis of A" in done.output
    assert "value: A[1*l]" in done.output
    assert "`size p = 1` and write sum(p, A[l + p])" in done.output
    advised = text.replace("A[1*l]", "sum(p, A[l + p])")
    found = compile(f"size p = 1\n{advised}", "float64", "emulator").run(arrays, cotangents, sizes)
    for name, true in {**expected.values, **{f"d{x}": g for x, g in expected.gradients.items()}}.items():
        assert error(found[name], true) < 1e-12


def test_a_choice_on_a_size_is_made_in_python() -> None:
    """`~True` is -2, which is true: a condition that is one number is negated by `not`."""
    op = parse("Y[i] = where(not (size(i) > 3), X[i], B[i])")
    for n in (2, 5):
        space = {"np": np, "size_i": n, "X": np.ones(n), "B": np.zeros(n), "dY": np.ones(n)}
        exec("\n".join([*op.forward_numpy, *op.backward_numpy]), space)
        assert list(space["Y"]) == [float(n <= 3)]*n
        assert list(space["dB"]) == [float(n > 3)]*n


def test_a_place_that_the_formula_reads_under_no_guard_needs_no_bound() -> None:
    rule = parse("Y[j] = A[1,j]*where(B[j] > 0, A[1,j] + A[2,j], 1)").json()["program"]
    text = " ".join(rule["forward"] + rule["backward"])
    assert "A[1]" in text
    assert "A[min(2, A.shape[0] - 1)]" in text
    assert "min(1," not in text


def test_zeros_are_reals_where_an_input_that_is_only_compared_is_given_as_integers() -> None:
    text = "Y[k] = tanh(A[k])*B[k]\nZ[j,k] = where(M[j,k] >= 2, B[k], Y[ids[j]])"
    backward = parse(text).json()["program"]["backward"]
    assert "dY = np.zeros((size_k,), dtype=dZ.dtype)" in backward
    assert "dM = np.zeros_like(M)" in backward
    assert "M.dtype" not in " ".join(backward)


def test_no_value_is_called_as_an_index_of_a_gradient() -> None:
    """log1p(C**2) is given a name, and dD an index that the formula does not have: they were both called l."""
    gradient = parse(TEXTS["value_called_as_a_gradients_letter"]).gradients["D"].op
    values = {s.name for s in gradient.program.statements}
    assert not values & {i.name for s in gradient.program.statements for i in s.indices}


Arrays = dict[str, np.ndarray]


def gradients(text: str, arrays: Arrays, cotangents: Arrays, **sizes: int) -> Arrays:
    """What the NumPy program of a formula gives for arrays that the corpus does not draw."""
    return run_program(rule_json(text)["program"], arrays, cotangents, sizes, {})


def test_a_row_of_zeros_is_normalised_with_a_finite_gradient() -> None:
    """Below the bound that `maximum` sets, nothing flows through the root, whose slope is infinite at 0."""
    text = "Y[n,d] = X[n,d]/maximum(sqrt(sum(e, X[n,e]**2)), 1e-3)"
    got = gradients(text, {"X": np.array([[0.0, 0.0], [3.0, 4.0]])}, {"Y": np.ones((2, 2))}, n=2, d=2, e=2)
    assert np.allclose(got["dX"], [[1000, 1000], [0.2 - 0.6*0.28, 0.2 - 0.8*0.28]], rtol=1e-12)


def test_the_branch_that_an_extremum_does_not_take_may_overflow() -> None:
    text = "Y[i] = maximum(X[i], 0) + minimum(0, exp(X[i]) - 1)"
    got = gradients(text, {"X": np.array([-1.0, 0.0, 800.0])}, {"Y": np.ones(3)}, i=3)
    assert np.allclose(got["dX"], [np.exp(-1), 1, 1], rtol=1e-12)


def test_the_constant_term_of_a_polynomial_has_no_slope_at_zero() -> None:
    text, arrays = "Y[n] = sum(k, c[k]*X[n]**k)", {"X": np.array([0.0, 2.0]), "c": np.ones(3)}
    got = gradients(text, arrays, {"Y": np.ones(2)}, n=2, k=3)
    assert list(got["dX"]) == [1, 5]
