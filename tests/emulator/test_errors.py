"""What goes wrong is an error of the launch, says where, and leaves the next launch alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import derive.emulator as em
from tests.drive import command

CODE = r"""
extern "C" __global__ void set(float* x, int n, float v, const double* unused) {
  if (threadIdx.x < n) x[threadIdx.x] = v;
}
extern "C" __global__ void null_pointer(float* x) { *(volatile float*)(threadIdx.x == 3 ? nullptr : x) = 1.0f; }
__device__ __noinline__ int down(int n) {
  volatile int a[64];
  a[n % 64] = n;
  return n == -1 ? 0 : down(n + 1) + a[n % 64];
}
extern "C" __global__ void recursion(int* x) { x[0] = down(1); }
extern "C" __global__ void stop(int* x) { if (x[0] == 0) __trap(); }
extern "C" __global__ void claim(int* x) { assert(x[0] == 1); }
extern "C" __global__ void forever(volatile int* x) { while (x[0] == 0) { } }
extern "C" __global__ void say(int n) { if (threadIdx.x == 0) printf("n is %d, %s %.2f\n", n, "pi", 3.14159); }
extern "C" __global__ void early(float* x) {
  if (threadIdx.x > 5) return;
  __syncthreads();
  x[threadIdx.x] = 1.0f;
}
extern "C" __global__ void two_places(float* x) {
  if (threadIdx.x > 5)
    __syncthreads();
  else
    __syncthreads();
}
extern "C" __global__ void lanes(float* x) {
  if (threadIdx.x < 16)
    x[0] = __shfl_down_sync(0xffffffffu, x[0], 1);
}
extern "C" __global__ void not_in_mask(float* x) {
  __syncwarp(0xffu);
}
"""


def line_of(text: str) -> int:
    return next(i for i, line in enumerate(CODE.splitlines(), 1) if text in line)


def kernel(name: str) -> em.RawKernel:
    return em.RawKernel(CODE, name)


def works() -> None:
    x = np.zeros(4, np.float32)
    kernel("set")((1,), (32,), (x, np.int32(4), np.float32(2), np.zeros(1)))
    assert (x == 2).all()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((1,), "takes 4 arguments, got 1"),
        (
            (np.zeros(4), np.int32(4), np.float32(1), np.zeros(1)),
            "'x': expected pointer to float32, got an array of float64",
        ),
        ((np.zeros(4, np.int32), np.int32(4), np.float32(1), np.zeros(1)), "got an array of int32"),
        ((np.zeros((4, 4), np.float32).T[1:], np.int32(4), np.float32(1), np.zeros(1)), "not C-contiguous"),
        (
            (np.zeros(4, np.float32), np.int32(4), 1.0, np.zeros(1)),
            r"'v': expected float32, got 1.0.*np.float32\(value\)",
        ),
        ((np.zeros(4, np.float32), np.int16(4), np.float32(1), np.zeros(1)), "'n': expected int32"),
        ((np.zeros(4, np.float32), 2**40, np.float32(1), np.zeros(1)), "does not fit int32"),
        ((np.zeros(4, np.float32), np.zeros(1), np.float32(1), np.zeros(1)), "'n': expected a value of type int32"),
        ((7, np.int32(4), np.float32(1), np.zeros(1)), "'x': expected an array"),
        ((np.zeros(4, np.float32), "4", np.float32(1), np.zeros(1)), "cannot pass a str"),
        ((np.broadcast_to(np.float32(0), (1,)), np.int32(4), np.float32(1), np.zeros(1)), "read-only"),
    ],
)
def test_wrong_arguments(args: tuple[object, ...], message: str) -> None:
    with pytest.raises(em.LaunchError, match=message):
        kernel("set")((1,), (4,), args)


def test_scalars_pass_as_in_cupy() -> None:
    x = np.zeros(4, np.float32)
    kernel("set")((1,), (4,), (x, 4, np.float32(5), None))  # an int goes as a long long, of which an int is read
    assert (x == 5).all()


@pytest.mark.parametrize(
    ("grid", "block", "shared", "message"),
    [
        ((1,), (1025,), 0, "1025 threads|block dimension x is 1025"),
        ((1,), (32, 32, 2), 0, "2048 threads"),
        ((1,), (1, 1, 65), 0, "block dimension z is 65, allowed are 1 to 64"),
        ((0,), (32,), 0, "grid dimension x is 0"),
        ((1, 65536), (32,), 0, "grid dimension y is 65536"),
        ((1,), (32,), 50000, "max_dynamic_shared_size_bytes = 50000"),
    ],
)
def test_limits_of_a_launch(grid: object, block: object, shared: int, message: str) -> None:
    with pytest.raises(em.LaunchError, match=message):
        kernel("set")(grid, block, (np.zeros(4, np.float32), 4, np.float32(1), None), shared_mem=shared)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("null_pointer", r"kernel 'null_pointer' crashed: Segmentation fault in block \(0,0,0\), thread \(3,0,0\)"),
        ("recursion", "kernel 'recursion' crashed: Segmentation fault .*stack is full"),
    ],
)
def test_a_crash_is_an_error_and_the_next_launch_works(name: str, message: str) -> None:
    array = np.zeros(4, np.float32 if name == "null_pointer" else np.int32)
    with pytest.raises(em.CrashError, match=message):
        kernel(name)((1,), (8,), (array,))
    works()


def test_arrays_survive_a_crash() -> None:
    x = em.full(1000, 3.0, np.float32)
    with pytest.raises(em.CrashError):
        kernel("null_pointer")((1,), (8,), (x,))
    assert (x[10:] == 3).all()


@pytest.mark.parametrize(
    ("name", "word"), [("stop", "__trap"), ("claim", r"assertion failed in line \d+: x\[0\] == 1")]
)
def test_trap_and_assert(name: str, word: str) -> None:
    with pytest.raises(em.LaunchError, match=f"kernel '{name}', block .*{word}") as caught:
        kernel(name)((1,), (8,), (np.zeros(1, np.int32),))
    assert caught.value.lines == (line_of(f"void {name}"),)
    works()


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("early", ["  __syncthreads();\n  x[threadIdx.x] = 1"]),
        ("two_places", ["    __syncthreads();\n  else", "    __syncthreads();\n}"]),
        ("lanes", ["x[0] = __shfl_down_sync"]),
        ("not_in_mask", ["__syncwarp(0xffu)"]),
    ],
)
@pytest.mark.parametrize("order", ["sequential", "random"])
def test_threads_that_wait_for_ever(name: str, marks: list[str], order: str) -> None:
    lines = {CODE[: CODE.index(mark)].count("\n") + 1 for mark in marks}
    with pytest.raises(em.LaunchError, match=f"kernel '{name}', block \\(0,0,0\\)") as caught:
        em.RawModule(code=CODE, order=order).get_function(name)((1,), (32,), (np.zeros(32, np.float32),))
    assert set(caught.value.lines) == lines
    works()


def test_endless_loop_meets_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERIVE_EMULATOR_TIMEOUT", "0.2")
    with pytest.raises(em.LaunchError, match=r"ran for more than 0.2 s"):
        kernel("forever")((1,), (1,), (np.zeros(1, np.int32),))
    monkeypatch.delenv("DERIVE_EMULATOR_TIMEOUT")
    works()


LOST = """
extern "C" __global__ void lost(const float* x, float* y, unsigned n, int far)
{
    float sum = x[16];  // BUG
    for (unsigned i = 0; i < n; ++i) sum += x[far ? 16 + i % 16 : i % 16];  // FAR
    y[0] = sum;
}
"""


@pytest.mark.parametrize("far", [0, 1])
def test_findings_outlive_a_loop_without_end(far: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not far:  # accesses out of bounds end the launch by themselves
        monkeypatch.setenv("DERIVE_EMULATOR_TIMEOUT", "1")
    lost = em.RawModule(code=LOST, check=True).get_function("lost")
    with pytest.raises(em.CheckError) as caught:
        lost(1, 1, (np.zeros(16, np.float32), np.zeros(1, np.float32), np.uint32(4_000_000_000), np.int32(far)))
    lines = {n for n, text in enumerate(LOST.splitlines(), 1) if "BUG" in text or (far and "FAR" in text)}
    assert {(r.kind, r.line) for r in caught.value.reports} == {("out-of-bounds", line) for line in lines}
    monkeypatch.delenv("DERIVE_EMULATOR_TIMEOUT", raising=False)
    works()


def test_printf_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    kernel("say")((2,), (4,), (np.int32(7),))
    assert capsys.readouterr().out == "n is 7, pi 3.14\n" * 2


def test_compile_errors_have_the_lines_of_the_source() -> None:
    code = 'extern "C" __global__ void k(float* x) {\n  extern __shared__ float s[];\n  x[0] = undeclared;\n}\n'
    with pytest.raises(em.CompileError, match=r"kernel.cu:3:"):
        em.RawModule(code=code).get_function("k")


def test_unknown_kernel_names_the_known_ones() -> None:
    with pytest.raises(em.EmulatorError, match=r"no kernel 'nope' in this source .*set, null_pointer"):
        kernel("nope").compile()


def test_no_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(em.NoCompilerError, match="apt install g"):
        em.RawModule(code="// never seen before").get_function("k")


def test_import_is_light() -> None:
    program = (
        "import sys, derive.emulator; print([m for m in ('cupy', 'sympy', 'ml_dtypes', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('asm volatile("mov.u32 %0, %%laneid;" : "=r"(x[0]));', "Inline PTX"),
        ("namespace cg = cooperative_groups; cg::this_grid().sync();", "Cooperative groups"),
        ("k<<<1, 32>>>(x);", "Dynamic parallelism"),
        ("x[0] = tex1Dfetch<int>(0, x[1]);", "Textures and surfaces"),
        ("__pipeline_memcpy_async(x, x + 4, 16);", "Asynchronous copies"),
        ("x[0] = __shfl_down(x[0], 1);", "Warp operations without _sync"),
        ("}\n#include <curand_kernel.h>\nvoid f() {", "Device-side libraries"),
    ],
)
def test_what_no_cpu_can_run_is_named_with_its_line(text: str, named: str, tmp_path: Path) -> None:
    code = f'extern "C" __global__ void k(int* x) {{ // asm <<<1>>>\n{text}\n}}'
    line = 3 if "include" in text else 2
    with pytest.raises(em.CompileError, match=rf"kernel\.cu:{line}: {named}.* cannot run in the emulator: ") as caught:
        em.RawModule(code=code).get_function("k")
    assert "the list of kernels" not in str(caught.value)
    (tmp_path / "mine.cu").write_text(code)
    done = command("sanitize", tmp_path / "mine.cu", "--kernel", "k", "--grid", "1", "--block", "1")
    assert done.exit_code == 2
    assert f"kernel.cu:{line}: {named}" in done.output
