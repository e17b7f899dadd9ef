"""Where arrays lie, what is compiled again, and in what order threads run."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import derive.emulator as em
from derive.emulator import arena, cache, compiler

ADD_ONE = 'extern "C" __global__ void add_one(float* x, const float* y) { x[threadIdx.x] = y[threadIdx.x] + 1; }'


def test_stand_in_for_cupy() -> None:
    x, y = em.zeros((2, 3), em.float32), em.asarray([[1, 2, 3], [4, 5, 6]], em.float32)
    assert arena.current().offset_of(x.ctypes.data) is not None
    assert em.asarray(x) is x
    em.RawKernel(ADD_ONE, "add_one")((1,), (6,), (x, y))
    np.testing.assert_array_equal(em.asnumpy(x), y + 1)
    assert em.empty((0, 3)).shape == (0, 3)
    assert em.empty(()).shape == ()
    assert em.zeros_like(x).dtype == np.float32
    assert em.ones(3, em.bfloat16).dtype.name == "bfloat16"
    assert em.ascontiguousarray(y.T).flags.c_contiguous
    with em.cuda.Device(0), em.cuda.Stream():
        em.cuda.get_current_stream().synchronize()


def test_overlapping_arrays_stay_overlapping() -> None:
    base = np.arange(8, dtype=np.float32)
    em.RawKernel(ADD_ONE, "add_one")((1,), (4,), (base[2:6], base[2:6]))
    np.testing.assert_array_equal(base, [0, 1, 3, 4, 5, 6, 6, 7])
    code = 'extern "C" __global__ void shift(float* to, const float* from) { to[threadIdx.x] = from[threadIdx.x]; }'
    base = np.arange(8, dtype=np.float32)
    em.RawKernel(code, "shift")((1,), (7,), (base[:7], base[1:]))
    np.testing.assert_array_equal(base, [1, 2, 3, 4, 5, 6, 7, 7])


def test_const_arrays_are_not_written_back() -> None:
    y = np.broadcast_to(np.float32(1), (4,)).copy()
    y.flags.writeable = False
    x = np.zeros(4, np.float32)
    em.RawKernel(ADD_ONE, "add_one")((1,), (4,), (x, y))
    assert (x == 2).all()


def test_memory_comes_back_when_arrays_go() -> None:
    home = arena.current()
    gc.collect()
    first = em.empty(1 << 20, np.uint8)
    place = first.ctypes.data
    view = first[10:]
    del first
    gc.collect()
    other = em.empty(1 << 20, np.uint8)
    assert other.ctypes.data != place  # the view holds it
    del view
    gc.collect()
    again = em.empty(1 << 20, np.uint8)
    assert again.ctypes.data == place
    assert again.ctypes.data % 256 == 0
    del again, other
    for _ in range(40):  # 40 times 64 MiB: what is freed goes back to the system
        em.zeros(1 << 26, np.uint8)
    with pytest.raises(em.EmulatorError, match="no room"):
        home.allocate(home.size)


def test_same_text_compiles_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    em.RawKernel(ADD_ONE, "add_one").compile()
    calls: list[str] = []
    original = compiler.Compiler.run
    monkeypatch.setattr(
        compiler.Compiler, "run", lambda self, a, what: (calls.append(what), original(self, a, what))[1]
    )
    em.RawKernel(ADD_ONE, "add_one").compile()
    assert calls == []
    em.RawKernel(ADD_ONE, "add_one", options=("-DX=1",)).compile()
    em.RawModule(code=ADD_ONE + "\n// " + os.urandom(8).hex()).get_function("add_one")
    assert len(calls) in (1, 2)


def test_unwritable_cache_uses_a_temporary_one(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    program = (
        "import numpy as np, derive.emulator as em\n"
        "from derive.emulator import cache\n"
        f"k = em.RawKernel({ADD_ONE!r}, 'add_one')\n"
        "x = np.zeros(2, np.float32)\n"
        "k((1,), (2,), (x, x))\n"
        "print(x[1], cache.directory())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "DERIVE_CACHE_DIR": str(blocked)},
        capture_output=True,
        text=True,
        check=True,
    )
    value, place = done.stdout.split()
    assert value == "1.0"
    assert not Path(place).exists(), "the temporary cache is removed at exit"


def test_processes_that_build_at_once(tmp_path: Path) -> None:
    program = (
        "import numpy as np, derive.emulator as em\n"
        f"k = em.RawKernel({ADD_ONE!r}, 'add_one'); x = np.zeros(2, np.float32); k((1,), (2,), (x, x)); print(x[1])\n"
    )
    env = {**os.environ, "DERIVE_CACHE_DIR": str(tmp_path)}
    started = [
        subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [p.communicate()[0].strip() for p in started] == ["1.0", "1.0"]
    assert not [p for p in (tmp_path / "emulator").iterdir() if p.suffix not in (".so", "")]


def test_key_depends_on_where_parts_end() -> None:
    assert cache.key("ab", "c") != cache.key("a", "bc")


def _in_child(queue: multiprocessing.Queue[float]) -> None:
    x = np.zeros(4, np.float32)
    em.RawKernel(ADD_ONE, "add_one")((1,), (4,), (x, x))
    queue.put(float(x[0]))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_its_own_runner() -> None:
    x = em.zeros(4, np.float32)
    em.RawKernel(ADD_ONE, "add_one")((1,), (4,), (x, x))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=20) == 1.0
    child.join()
    em.RawKernel(ADD_ONE, "add_one")((1,), (4,), (x, x))
    assert (x == 2).all()


def test_launches_from_threads() -> None:
    results = np.zeros((4, 32), np.float32)

    def work(i: int) -> None:
        for _ in range(20):
            em.RawKernel(ADD_ONE, "add_one")((1,), (32,), (results[i], results[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (results == 20).all()


REVERSE = """
extern "C" __global__ void reverse(float* x) {{
  __shared__ float s[64];
  s[threadIdx.x] = x[threadIdx.x];
  {barrier}
  x[threadIdx.x] = s[63 - threadIdx.x];
}}
"""


def run_reverse(barrier: str, order: str, seed: int = 0) -> np.ndarray:
    x = np.arange(64, dtype=np.float32)
    em.RawModule(code=REVERSE.format(barrier=barrier), order=order, seed=seed).get_function("reverse")(
        (1,), (64,), (x,)
    )
    return x


def test_shared_memory_is_poisoned_for_every_block() -> None:
    code = """
    extern "C" __global__ void look(float* x, float* y) {
      extern __shared__ float d[];
      __shared__ float s[4];
      x[blockIdx.x] = s[threadIdx.x]; y[blockIdx.x] = d[threadIdx.x];
      s[threadIdx.x] = d[threadIdx.x] = 1.0f;
    }
    """
    x, y = np.zeros((2, 3), np.float32)
    em.RawKernel(code, "look")((3,), (1,), (x, y), shared_mem=16)
    assert np.isnan(x).all()
    assert np.isnan(y).all()


def test_random_order_shows_a_missing_barrier() -> None:
    right = np.arange(64)[::-1]
    for seed in range(5):
        np.testing.assert_array_equal(run_reverse("__syncthreads();", "random", seed), right)
    first, second = run_reverse("", "random", 1), run_reverse("", "random", 2)
    assert not np.array_equal(first, second, equal_nan=True)
    np.testing.assert_array_equal(first, run_reverse("", "random", 1))  # the seed repeats an order


def test_random_order_covers_every_block_once() -> None:
    code = """
    extern "C" __global__ void visit(int* seen, int* at, int* clock) {
      int b = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
      seen[b] += 1;
      at[b] = clock[0]++;
    }
    """
    orders = set()
    for seed in range(3):
        seen, at, clock = np.zeros(42, np.int32), np.zeros(42, np.int32), np.zeros(1, np.int32)
        em.RawModule(code=code, order="random", seed=seed).get_function("visit")((7, 3, 2), (1,), (seen, at, clock))
        assert (seen == 1).all()
        orders.add(tuple(at))
    assert len(orders) == 3


def test_fibers_of_the_other_architecture_assemble(tmp_path: Path) -> None:
    import shutil

    cross = shutil.which("aarch64-linux-gnu-g++")
    if cross is None:
        pytest.skip("no aarch64 cross compiler here: the aarch64 switch is not even assembled")
    for name in ("fiber.cpp", "stacks.cpp"):
        subprocess.run([cross, "-std=c++20", "-c", compiler.RUNTIME / name, "-o", tmp_path / "x.o"], check=True)


def test_ucontext_fallback(tmp_path: Path) -> None:
    """The runner with `ucontext` instead of the hand-written switch still runs barriers and shuffles."""
    program = (
        "import numpy as np, derive.emulator as em\n"
        "from derive.emulator import compiler\n"
        "compiler.RUNNER_FLAGS += ('-DDERIVE_UCONTEXT',)\n"
        f"m = em.RawModule(code={REVERSE.format(barrier='__syncthreads();')!r}, order='random')\n"
        "x = np.arange(64, dtype=np.float32)\n"
        "m.get_function('reverse')((50,), (64,), (x,))\n"
        "print(int(x[0]), int(x[63]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "63"]
