"""No mutant that changes what a kernel or a rule computes gets past the validator.

By default a few mutants of some operations; `--mutants 20` for so many of each of the catalogue, `--mutants all` for
all of them (hours). `python -m tests.mutation` lists what became of each.
"""

import random
from collections.abc import Iterator

import pytest

from derive import catalog
from derive.commands import source
from tests.mutation import cuda
from tests.mutation.gate import KILLED, RULE, SAME, SURVIVED, Gate, RuleGate, workshop
from tests.mutation.tokens import only

SAMPLE = "softmax layernorm linear cross_entropy_ignore embedding gelu".split()
FEW = 6


@pytest.fixture(scope="module", autouse=True)
def _workshop() -> Iterator[None]:
    with workshop():
        yield


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Which operations, and how many mutants of each; None for all."""
    if "count" in metafunc.fixturenames:
        given = metafunc.config.getoption("--mutants")
        count = FEW if given == "sample" else None if given == "all" else int(given)
        names = SAMPLE if given == "sample" else catalog.names()
        metafunc.parametrize(("name", "count"), [(n, count) for n in names], ids=names)


def test_kernels(name: str, count: int | None) -> None:
    found = source.find(name)
    gate = Gate(found.op, found.data or {}, "float32")
    mutants = gate.mutants()
    fates = [gate.fate(m) for m in cuda.sample(mutants, count or len(mutants), seed=0)]
    assert not [str(f) for f in fates if f.how == SURVIVED]
    assert sum(f.how in KILLED for f in fates) >= len(fates)/2


def test_rules(name: str, count: int | None) -> None:
    found = source.find(name)
    gate = RuleGate(found.op, found.data or {})
    faults = gate.mutants()
    random.Random(0).shuffle(faults)
    fates = [(gate.fate(which, fault), str(fault)) for which, fault in faults[:count]]
    assert not [said for how, said in fates if how == SURVIVED]
    assert sum(how == RULE for how, _ in fates) >= len(fates)/2


def test_mutants_are_made_of_every_kind() -> None:
    found = source.find("linear")
    gate = Gate(found.op, {}, "float32")
    kinds = {m.kind for m in gate.mutants()}
    assert kinds >= set(cuda.MUTATORS) - {"missing call", "wrong constant", "plain atomic"}
    assert len({m.code for m in gate.mutants()}) == len(gate.mutants())


def test_a_known_launch_leaves_what_it_left_before() -> None:
    """What is right passes every level, with launches run and with launches known: nothing is killed for nothing."""
    gate = Gate(source.find("linear").op, {}, "float32")
    right = cuda.Mutant("none", "", 0, "", "", gate.texts[gate.file])
    assert [gate.fate(right).how for _ in range(2)] == [SAME, SAME]
    assert gate.apart.lasting.left
    assert not gate.apart.passing.left
    (first,) = [m for m in gate.mutants() if m.kind == "stale" and "db_partial" in m.was]
    assert gate.fate(first).how in KILLED, "another kernel reads what it left, known or not"


def test_a_kernel_alone_has_what_it_calls_and_no_more() -> None:
    code = """struct Pair { float a, b; };
__device__ float twice(float x) { return x + x; }
__device__ float four(float x) { return twice(twice(x)); }
extern "C" __global__ void one(float* x) { x[0] = four(x[0]); }
extern "C" __global__ void two(float* x) { Pair p; x[0] = p.a; }
"""
    assert [n for n in ("twice(float", "four(float", "one(", "two(", "Pair") if n in only(code, "one")] == [
        "twice(float", "four(float", "one("]
    assert only(code, "two").count("\n") == code.count("\n")
