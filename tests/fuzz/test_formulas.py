"""Random formulas through all stages: a few by default, `--fuzz MINUTES` for as long as wanted.

A failure prints the formula, already shrunk: it belongs into tests/formulas.py.
"""

import time
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, seed, settings

from tests.fuzz.formulas import Sample, samples
from tests.fuzz.judge import Judged

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


def test_for_as_long_as_asked(request: pytest.FixtureRequest) -> None:
    minutes = request.config.getoption("--fuzz")
    if not minutes:
        pytest.skip("takes as long as --fuzz MINUTES says")
    end, start = time.monotonic() + 60*minutes, int(time.time())
    done = 0

    def one(sample: Sample) -> None:
        nonlocal done
        if time.monotonic() < end:
            found = judged(sample)
            found.check_rule()
            found.check_differences()
            found.check_kernels()
            found.check_single()
            if zlib.crc32(sample.text.encode()) % 4 == 0:
                found.check_rewrites()
            done += 1

    while time.monotonic() < end:
        start += 1
        seed(start)(settings(QUICK, derandomize=False, max_examples=50)(given(samples())(one)))()
    print(f"{done} formulas, seeds up to {start}")
