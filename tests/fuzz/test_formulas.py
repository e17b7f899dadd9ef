"""Random formulas through all stages: a few by default, `--fuzz MINUTES` for as long as wanted.

A failure prints the formula, already shrunk: it belongs into tests/formulas.py.
"""

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from derive.validate.drive import Emitted
from tests.fuzz.formulas import Choices, Sample, sample, samples, shrunk
from tests.fuzz.judge import Judged

KERNELS = 5  # of so many formulas of a long run, the kernels of one are run
QUICK = settings(derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))


def judged(sample: Sample) -> Judged:
    found = Judged(sample)
    assume(found.sound)
    return found


@settings(QUICK, max_examples=80)
@given(samples())
def test_rules(sample: Sample) -> None:
    found = judged(sample)
    found.check_rule()
    found.check_differences()


@settings(QUICK, max_examples=15)
@given(samples(statements=2, depth=3))
def test_rewrites(sample: Sample) -> None:
    judged(sample).check_rewrites()


@settings(QUICK, max_examples=14)
@given(samples())
def test_kernels(sample: Sample) -> None:
    found = judged(sample)
    found.check_kernels()
    found.check_single()


EMPTY = """
Y[i,j] = where(i - 1 >= 0 and i - 1 < size(k), A[i - 1,j]**2, 0.5) + sum(k, A[k,j]*B[i])
Y[i,j] = where(ids[i] < size(k), A[ids[i],j], 0.5) + sum(k, A[k,j]*B[i])
Y[i,j] = sum(k, where(i - k >= 0, A[k,j]*B[i - k], 0.5))
""".split("\n")[1:-1]


@pytest.mark.parametrize("text", EMPTY)
def test_a_guard_keeps_reads_out_of_an_empty_axis(text: str) -> None:
    arrays = {"A": np.zeros((0, 2)), "B": np.array([1.5, -0.5, 2])}
    arrays |= {"ids": np.array([0, 2, 1])} if "ids" in text else {}
    found = Judged(Sample(text, {"i": 3, "j": 2, "k": 0}, arrays, {"Y": np.arange(6.0).reshape(3, 2)}, ["A", "B"]))
    assert found.sound
    found.check_rule()
    found.check_kernels()
    found.check_single()


GUARDED = """
Y[i] = where(i < 3, tanh(C[2 - i])*sin(C[2 - i]), 0.5)
Y[i] = where(ids[i] >= 0, exp(tanh(C[ids[i]]))*C[0], 0.5)
Y[i] = where(i < 3, sum(k, tanh(C[2 - i])*sin(C[2 - i]*k)), 0.5)
""".split("\n")[1:-1]


@pytest.mark.parametrize("text", GUARDED)
def test_what_a_guard_keeps_in_range_has_no_name_outside_it(text: str) -> None:
    arrays = {"C": np.array([0.5, -1, 2])} | ({"ids": np.array([0, -7, 2, 1, -1])} if "ids" in text else {})
    found = Judged(Sample(text, {"i": 5} | ({"k": 2} if "k" in text else {}), arrays, {"Y": np.arange(5.0)}, ["C"]))
    found.check_rule()
    found.check_kernels()


JOINTLY = """
Y[i,j] = where(i > 0 and j > 0, logsumexp(k, A[i-1,k]), 0)*B[i,j]
Y[i,j] = where(i + j < 3, tanh(sum(k, A[2-i,k]))*B[i,j], 0)
Y[i,j] = where(i < 3 and B[i,j] < logsumexp(k, A[2-i,k]), B[i,j]**2, 0)
""".split("\n")[1:-1]


@pytest.mark.parametrize("text", JOINTLY)
def test_a_condition_of_several_letters_keeps_a_named_reduction_in_range(text: str) -> None:
    """The name has the letters of the condition, or only that part of it which says something of its places."""
    rng = np.random.default_rng(0)
    arrays = {"A": rng.standard_normal((3, 2)), "B": rng.standard_normal((4, 3))}
    found = Judged(Sample(text, {"i": 4, "j": 3, "k": 2}, arrays, {"Y": rng.standard_normal((4, 3))}, ["A", "B"]))
    found.check_rule()
    found.check_kernels()


TOO_SHORT = """
Y[l,i] = where(l == 3, D[i], A[l,i])
Y[l,i] = where(size(l) > 3, A[3,i]*D[i], A[1,i])*A[l,i]
Y[l,i] = A[l,i] + sum(k, where(k == 4 and l > 0, D[k]*B[k,i], 0))
""".split("\n")[1:-1]


@pytest.mark.parametrize("text", TOO_SHORT)
def test_an_axis_may_be_too_short_for_a_place_that_a_guard_names(text: str) -> None:
    arrays = {"A": np.array([[0.5, -1, 2], [1.5, 0.1, -2]]), "B": np.ones((3, 3)), "D": np.array([0.5, -1, 2])}
    arrays = {n: a for n, a in arrays.items() if f"{n}[" in text}
    sizes = {"l": 2, "i": 3} | ({"k": 3} if "k" in text else {})
    found = Judged(Sample(text, sizes, arrays, {"Y": np.arange(6.0).reshape(2, 3)}, list(arrays)))
    found.check_rule()
    found.check_kernels()


READ_TWICE = """
Y[i] = where(i < 4 and C[i] > 0, D[ids[3 - i]], 0) + where(i < 4 and C[i] < 0.5, exp(D[ids[3 - i]]), 0.5)
Y[i] = where(i < 2, D[ids[3 - i]], 0) + where(i >= 4, C[i], tanh(D[ids[3 - i]]))
Y[i] = where(i < 4 and C[i] > 0, sum(k, D[ids[3 - i]]*k), 0) + where(i < 4, sum(k, D[ids[3 - i]]*k)**2, 0)
""".split("\n")[1:-1]


@pytest.mark.parametrize("text", READ_TWICE)
def test_what_several_guarded_terms_read_is_in_range_outside_of_them(text: str) -> None:
    """The delta of such an access stands before their sum."""
    arrays = {"C": np.array([0.5, -1, 2, 0.1, -0.2, 1]), "D": np.array([0.5, -1, 2]), "ids": np.array([0, 2, 1, 1])}
    sizes, given = {"i": 6} | ({"k": 3} if "k" in text else {}), {n: a for n, a in arrays.items() if f"{n}[" in text}
    found = Judged(Sample(text, sizes, given, {"Y": np.arange(6.0)}, ["D"]))
    found.check_rule()
    found.check_differences()
    found.check_kernels()


LEAVING = """
Y = log(1 + minimum(maximum(A, 0), logsumexp(m, where(m != m, B[m], -1e30)))**2)
Y = sin(logsumexp(m, where(m != m, B[m], -1e30)))*A
""".split("\n")[1:-1]


def of_numbers(text: str) -> Judged:
    arrays = {"A": np.array(0.5), "B": np.array([1.5, -0.5, 2])}
    return Judged(Sample(text, {"m": 3}, {n: a for n, a in arrays.items() if n in text}, {"Y": np.array(1.0)},
                         [n for n in arrays if n in text]))


def test_the_judge_refuses_what_leaves_the_range_of_a_type() -> None:
    found = of_numbers(LEAVING[0])
    assert found.sound
    found.check_kernels()
    found.check_single()
    assert found.refused


def test_the_judge_refuses_what_its_last_digits_decide() -> None:
    assert not of_numbers(LEAVING[1]).sound


def test_the_judge_refuses_the_logarithm_of_a_row_masked_whole() -> None:
    """log P is minus infinity there, x - logsumexp(x) is 0; where only P is asked for it is 0."""
    weights = "softmax(m, where(m != m, B[m], -1e30))"
    assert not of_numbers(f"Y = sum(m, exp(-log({weights})**2)*B[m]) + A").sound
    found = of_numbers(f"Y = sum(m, exp(-{weights}**2)*B[m]) + A")
    assert found.sound
    found.check_rule()
    found.check_single()


STAYING = """
Y = sum(m, softmax(m, 150*B[m])*B[m]) + A
Y = logsumexp(m, 180*B[m])*A
Y = log(1 + exp(200*B[0]))*A
Y = exp(logsumexp(m, where(m != m, B[m], -1e30)))*A + A
Y = log(sigmoid(-180*B[0]))*A
""".split("\n")[1:-1]


@pytest.mark.parametrize("text", STAYING)
def test_the_judge_refuses_nothing_that_has_a_stable_form(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = of_numbers(text)
    assert found.sound
    found.check_single()
    assert not found.refused
    right = Emitted.run
    monkeypatch.setattr(Emitted, "run", lambda self, *given: {n: a*1.01 for n, a in right(self, *given).items()})
    with pytest.raises(AssertionError, match="is off by"):
        found.check_single()


def test_for_as_long_as_asked(request: pytest.FixtureRequest) -> None:
    minutes = request.config.getoption("--fuzz")
    if not minutes:
        pytest.skip("takes as long as --fuzz MINUTES says")
    end, seed = time.monotonic() + 60*minutes, int(time.time()*1000)
    first, counts = seed, Counter[str]()
    while time.monotonic() < end:
        seed += 1
        choices = Choices(seed)
        one = sample(choices)
        why = wrong(one, counts)
        if why:
            least = shrunk(choices.made, lambda s: bool(wrong(s, Counter())))
            pytest.fail(f"seed {seed}\n{one}\n{why}\n\nshrunk to\n{least}\n{wrong(least, Counter())}")
    print(", ".join(f"{n} {what}" for what, n in counts.items()), f"seeds {first + 1} to {seed}")


def wrong(sample: Sample, counts: Counter[str]) -> str:
    """Empty if a formula survives everything, else what it does not."""
    try:
        counts["drawn"] += 1
        found = Judged(sample)
        if not found.sound:
            return ""
        counts["judged"] += 1
        found.check_rule()
        found.check_differences()
        if sample.number % 4 == 0:
            found.check_rewrites()
        if sample.number % 3 == 0:
            found.check_second()
        if sample.number % KERNELS == 0:  # they take a compiler's time
            counts["by kernels too"] += 1
            found.check_kernels()
            found.check_single()
            found.check_more()
            counts["kernels"] += found.kernels
            counts["refused in part"] += bool(found.refused)
    except Exception as e:  # whatever it is, it is a finding
        return f"{type(e).__name__}: {e}"
    return ""
