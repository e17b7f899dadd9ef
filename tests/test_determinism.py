"""The same bytes under any hash seed and in any order of operations and options; the same bits in any order of blocks.

A sample of the catalogue by default, all of it with `--corpus all`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import derive
from derive import catalog, emulator
from derive.commands.source import find
from derive.operation import Operation
from derive.plan import Plan, make_plan
from derive.validate.data import Drawer, Sample
from derive.validate.drive import Emitted, Poisoned
from derive.validate.formula import read

SAMPLE = "linear cross_entropy_ignore embedding attention_multihead conv2d batchnorm adamw".split()
FORMULAS = (
    "S[i,j] = sum(k, Q[i,k]*K[j,k])\nP[i,j] = softmax(j, S[i,j])\nO[i,e] = sum(j, P[i,j]*V[j,e])",
    "Y[i] = tanh(A[i])*B[i] + max(j, C[i,j]*B[j]) + D[ids[i]]\n"
    "Z[i] = Y[i]*where(i > 2 and A[i] > 0, A[i], E[i])\noutput Z, Y",
)  # fmt: skip
CHECKED = "linear softmax layernorm cross_entropy_ignore embedding attention_grouped batchnorm max_pool".split()

# Every form of output of each operation, in an order of operations and formats that the first argument turns round.
SCRIPT = """
import sys
from derive.commands.source import find
from derive.commands.write import folder_of
step = int(sys.argv[1])
jobs = [(a, d) for a in sys.argv[2:] for d in ("float32", "float16")]
told = {}
for argument, dtype in jobs[::step]:
    source = find(argument)
    kinds = [lambda: folder_of(source, dtype)[1], lambda: source.op.json()]
    told[argument, dtype] = {n: k() for n, k in list(enumerate(kinds))[::step]}
for key in sorted(told):
    print(key, sorted(told[key].items()))
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "name" in metafunc.fixturenames:
        every = metafunc.config.getoption("--corpus") == "all"
        known = catalog.names()
        metafunc.parametrize("name", known if every else [n for n in CHECKED if n in known])


def told(arguments: list[str], seed: str, step: str) -> str:
    """What one process says of the operations."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, step, *arguments], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONHASHSEED": seed})
    return done.stdout


def test_bytes(request: pytest.FixtureRequest) -> None:
    every = request.config.getoption("--corpus") == "all"
    arguments = [*(n for n in catalog.names() if every or n in SAMPLE), *FORMULAS]
    first = told(arguments, "0", "1")
    assert len(first.splitlines()) == 2*len(arguments)
    other = told(arguments, "12345", "-1")
    for a, b in zip(first.splitlines(), other.splitlines(), strict=True):
        assert a == b


def test_bytes_of_the_command(tmp_path: Path) -> None:
    options = [["--dtype", "float64"], ["-o", str(tmp_path / "a")], ["relu", "gelu"]]
    orders = [options, options[::-1], [options[1], options[2][::-1], options[0]]]
    for n, order in enumerate(orders):
        line = [x if x != str(tmp_path / "a") else str(tmp_path / str(n)) for part in order for x in part]
        subprocess.run([sys.executable, "-m", "derive.cli", "emit", *line], check=True, capture_output=True,
                       env={**os.environ, "PYTHONHASHSEED": str(n)})
    files = sorted(p.relative_to(tmp_path / "0") for p in (tmp_path / "0").rglob("*") if p.is_file())
    assert {f.parts[0] for f in files} == {"relu", "gelu"}
    for f in files:
        assert len({(tmp_path / str(n) / f).read_bytes() for n in range(len(orders))}) == 1, f


# ---------------------------------------------------------------------------------------------------- bits

def planned(op: Operation, scatter: str = "deterministic") -> Plan:
    d = op.derivation
    return make_plan(d.forward, d.backward if d.backward.outputs else None, "float32", scatter=scatter)


def runs(op: Operation, plan: Plan, sample: Sample) -> Iterator[dict[str, bytes]]:
    """The bits of every result: twice in order, then in three random orders of blocks and threads."""
    orders = [{"order": "sequential"}, {"order": "sequential"}, *({"order": "random", "seed": n} for n in (1, 2, 3))]
    for options in orders:
        emitted = Emitted(op.name, op.derivation.forward, plan, Poisoned(emulator, **options))
        yield {n: a.tobytes() for n, a in emitted.run(sample).items()}


def test_bits(name: str) -> None:
    source = find(name)
    plan = planned(source.op)
    assert plan.contract.deterministic
    drawer = Drawer(read(source.op.text), source.data, {})
    for sizes in (drawer.small(), drawer.sweep()[-1]):
        first, *others = runs(source.op, plan, drawer.sample(sizes))
        for other in others:
            for what, bits in first.items():
                assert other[what] == bits, what


def test_atomics_give_other_bits_and_say_so() -> None:
    """The test above can fail."""
    op = derive.parse("Y[t,c] = E[ids[t],c]")
    plan = planned(op, "atomic")
    assert not plan.contract.deterministic
    rng = np.random.default_rng(0)
    arrays = {"E": rng.standard_normal((2, 3)), "ids": rng.integers(0, 2, 300)}
    sample = Sample(arrays, {"Y": rng.standard_normal((300, 3))}, {"t": 300, "c": 3}, "")
    first, *others = runs(op, plan, sample)
    assert all(o["Y"] == first["Y"] for o in others)
    assert any(o["dE"] != first["dE"] for o in others)
