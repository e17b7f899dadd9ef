"""What check mode costs: its records are few bytes for each byte of a buffer, and bytes keep each its own."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import derive.emulator as em
from derive import catalog
from derive.commands.source import find
from derive.emulator import worker
from derive.validate.comparison import plan_of
from derive.validate.data import Drawer
from derive.validate.drive import Emitted
from derive.validate.formula import read
from derive.validate.kernels import checking

MOST = 12  # times the buffers
WORST, MEDIAN = 100, 50  # times the fast mode

STEP = """
extern "C" __global__ void step(%s* x, int n)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] = x[i] + 1;
}
"""


def peak() -> int:
    """Bytes that the runner has held at most."""
    status = Path(f"/proc/{worker.current()._process.pid}/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(("name", "kind"), [("float", np.float32), ("short", np.int16), ("unsigned char", np.uint8)])
def test_memory(name: str, kind: Any) -> None:
    x = np.zeros((8 << 20) // np.dtype(kind).itemsize, kind)
    kernel = em.RawKernel(STEP % name, "step", check=True)
    worker.current().stop()  # a new one, which has held nothing yet
    kernel(1, 1, (x, np.int32(1)))
    before = peak()
    kernel(-(-x.size // 256), 256, (x, np.int32(x.size)))
    assert (peak() - before) / x.nbytes < MOST


LOCKS = """
extern "C" __global__ void add(int* lock, float* row, const int* id, int n)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    while (atomicCAS(&lock[id[i]], 0, 1) != 0) {}
    __threadfence();
    row[id[i]] += 1;
    __threadfence();
    atomicExch(&lock[id[i]], 0);
}
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_of_many_locks() -> None:
    """What blocks make known to each other grows with what they do, not with the blocks times the locks."""
    n = 20_000
    ids = (np.arange(n, dtype=np.int32) * 7919) % n // 2
    kernel, row = em.RawKernel(LOCKS, "add", check=True), np.zeros(n, np.float32)
    worker.current().stop()
    kernel(1, 64, (np.zeros(n, np.int32), np.zeros(n, np.float32), ids, np.int32(64)))
    before = peak()
    kernel(-(-n // 64), 64, (np.zeros(n, np.int32), row, ids, np.int32(n)))
    assert (row == np.bincount(ids, minlength=n)).all()
    assert peak() - before < 16 << 20


BYTES = """
extern "C" __global__ void bytes(unsigned char* x, int n)
{
    __shared__ unsigned char s[256];
    const int t = threadIdx.x;
    s[t] = t;
    x[t] = t % 4 == 1 ? 7 : x[t];
    __syncthreads();
    if (t % 4 == 2) s[t] = s[t + 1 - 2];
    if (t % 4 == 3) x[t] = s[t];
    __syncthreads();
    if (t % 4 == 0) s[t] = s[t + 2] + x[t + 1] + x[t + 3];
    __syncthreads();
    for (int turn = 0; turn < n; ++turn) {
        if (t % 4 == turn % 4) s[t] += s[t ^ 1];
        __syncthreads();
    }
    x[t] = s[t];
}
"""


def test_each_byte_of_a_word_is_a_place_of_its_own() -> None:
    """The bytes of a word are touched by several threads at several times and lines, and put together again."""
    x = np.zeros(256, np.uint8)
    em.RawKernel(BYTES, "bytes", check=True, order="random", seed=3)(1, 256, (x, np.int32(9)))
    unmet = BYTES.replace("        __syncthreads();\n    }", "    }")
    early = BYTES.replace("s[t + 1 - 2];", "s[t - 1] + (t == 130 ? s[t + 1] : 0);")
    early = early.replace("x[t] = s[t];", "s[t] = 1;", 1)
    for code, places in ((unmet, ("s[t ^ 1]",)), (early, ("s[t + 1] : 0", "s[t] = 1"))):
        lines = {n for n, line in enumerate(code.splitlines(), 1) if any(p in line for p in places)}
        with pytest.raises(em.CheckError) as caught:
            em.RawKernel(code, "bytes", check=True)(1, 256, (x, np.int32(9)))
        races = [r for r in caught.value.reports if r.kind == "race"]
        assert races, caught.value
        assert {n for r in races for n in (r.line, r.other_line)} <= lines, caught.value


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each launch takes in the runner, one after another."""
    found: list[float] = []
    ask = worker.Worker.ask

    def timed(self: worker.Worker, request: bytes, limit: float | None) -> worker.Answer:
        start = time.perf_counter()
        try:
            return ask(self, request, limit)
        finally:
            found.append(time.perf_counter() - start)

    monkeypatch.setattr(worker.Worker, "ask", timed)
    return found


def ratio(name: str, terms: int, spent: list[float]) -> float:
    """How many times longer check mode runs the forward and backward of an operation."""
    source = find(name)
    drawer, plan = Drawer(read(source.op.text), source.data, {}), plan_of(source.op, "float32")
    sample, forward = drawer.sample(drawer.medium(terms)), source.op.derivation.forward
    took = []
    for cp in (em, checking(plan, em)[0]):
        kernels, runs = Emitted(name, forward, plan, cp), []
        for _ in range(6):
            spent.clear()
            kernels.run(sample)
            runs.append(sum(spent))
        took.append(min(runs[1:]))
    return took[1] / took[0]


@pytest.mark.parametrize("name", ["gelu", "softmax", "layernorm", "matmul", "residual"])
def test_time(name: str, spent: list[float]) -> None:
    tries = (ratio(name, 1 << 14, spent) for _ in range(3))  # the machine may do something else during one of them
    assert any(found < WORST for found in tries)


@pytest.mark.slow
def test_time_over_the_catalogue(spent: list[float]) -> None:
    found = {}
    for name in catalog.names():
        found[name] = ratio(name, 1 << 16, spent)
        print(f"{name} {found[name]:.1f}", flush=True)
    worst = max(found, key=lambda n: found[n])
    print(f"median {statistics.median(found.values()):.1f}, worst {found[worst]:.1f} ({worst})")
    assert statistics.median(found.values()) <= MEDIAN
    assert found[worst] <= WORST
