"""Check mode: seeded bugs are found with their lines, and correct kernels give no report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import derive.emulator as em
from tests.emulator import test_half as halves
from tests.emulator import test_kernels as kernels
from tests.emulator.bugs import BUGS, Seeded, source_of

F32, I32 = np.float32, np.int32


def marked(code: str, mark: str) -> list[int]:
    return [i for i, line in enumerate(code.splitlines(), 1) if mark in line.split("//")[-1] and "//" in line]


def reports_of(module: em.RawModule, name: str, grid: Any, block: Any, args: Any, shared: int = 0) -> tuple[Any, ...]:
    try:
        module.get_function(name)(grid, block, args, shared_mem=shared)
    except em.CheckError as error:
        return error.reports
    return ()


@pytest.mark.parametrize("order", ["sequential", "random"])
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_seeded_bug(bug: Seeded, order: str) -> None:
    code = source_of(bug)
    module = em.RawModule(code=code, check=True, order=order, uninitialized=bug.uninitialized)
    reports = reports_of(
        module, "k", bug.grid, bug.block, tuple(np.copy(a) if a is not None else None for a in bug.args), bug.shared
    )
    lines = marked(code, "BUG") + (marked(code, "OTHER") if bug.kind in ("race", "barrier-divergence") else [])
    hits = [r for r in reports if r.kind == bug.kind and r.line in lines and bug.what in r.what]
    assert hits, reports
    also = {"uninitialized"} if bug.kind == "race" else set()  # read before the other thread wrote
    assert {r.kind for r in reports} <= {bug.kind} | also, reports
    assert all(r.line in lines for r in reports), reports
    if marked(code, "OTHER"):
        assert any({r.line, r.other_line} == {*marked(code, "BUG"), *marked(code, "OTHER")} for r in hits), reports


@pytest.mark.parametrize(
    ("grid", "block", "shared", "what"),
    [(1, 2048, 0, "2048 threads|block dimension"), (0, 32, 0, "grid dimension x"), (1, 32, 60000, "60000 bytes")],
)
def test_launch_limits(grid: int, block: int, shared: int, what: str) -> None:
    code = '\n\nextern "C" __global__ void k(float* y) { y[threadIdx.x] = 0; }'
    with pytest.raises(em.CheckError, match=what) as caught:
        em.RawModule(code=code, check=True).get_function("k")(grid, block, (np.zeros(4, F32),), shared_mem=shared)
    assert {(r.kind, r.line) for r in caught.value.reports} == {("launch-limit", 3)}


def test_a_launch_collects_all_its_findings() -> None:
    code = """
    extern "C" __global__ void k(const float* x, float* y) {
      __shared__ float s[32];
      y[threadIdx.x] = x[threadIdx.x + 1];
      y[threadIdx.x] += s[31 - threadIdx.x];
      s[threadIdx.x] = y[threadIdx.x];
      if (threadIdx.x > 3) __syncthreads();
    }
    """
    x, y = np.ones((2, 32), F32)
    with pytest.raises(em.CheckError, match="out-of-bounds: kernel 'k', line 4: 'x'") as caught:
        em.RawModule(code=code, check=True).get_function("k")(1, 32, (x, y))
    assert {(r.kind, r.line) for r in caught.value.reports} >= {
        ("out-of-bounds", 4),
        ("uninitialized", 5),
        ("race", 5),
        ("barrier-divergence", 7),
    } or {(r.kind, r.line) for r in caught.value.reports} >= {("out-of-bounds", 4), ("race", 6)}
    first = next(r for r in caught.value.reports if r.kind == "out-of-bounds")
    assert (first.block, first.thread, first.variable, first.count) == ((0, 0, 0), (31, 0, 0), "x", 1)


def test_findings_name_arguments_of_templates_and_device_functions() -> None:
    code = """
    template <class T>
    __device__ T load(const T* from, int i) {
      return from[i];
    }
    template <class T, int N>
    __global__ void k(const T* input, T* output) {
      __shared__ T tile[N];
      tile[threadIdx.x] = load(input, threadIdx.x);
      __syncthreads();
      output[threadIdx.x] = load(tile, threadIdx.x + 1);
    }
    """
    x = np.ones(32, np.float64)
    module = em.RawModule(code=code, check=True, name_expressions=["k<double, 32>"])
    reports = reports_of(module, "k<double, 32>", 1, 32, (x[:31].copy(), x))
    assert {(r.kind, r.line, r.variable) for r in reports} == {
        ("out-of-bounds", 4, "input"),
        ("out-of-bounds", 4, "tile"),
    }


def test_what_one_kernel_leaves_the_next_may_read() -> None:
    code = """
    extern "C" __global__ void first(const float* x, float* t) { t[threadIdx.x] = 2 * x[threadIdx.x]; }
    extern "C" __global__ void second(const float* t, float* y) { y[threadIdx.x] = t[threadIdx.x]; }
    """
    module = em.RawModule(code=code, check=True, uninitialized=("t", "y"))
    x, t, y = np.ones(8, F32), em.empty(8, F32), np.empty(8, F32)
    with pytest.raises(em.CheckError, match="uninitialized: kernel 'second', line 3: 't'"):
        module.get_function("second")(1, 8, (t, y))
    module.get_function("first")(1, 8, (x, t))
    module.get_function("second")(1, 8, (t[:], y))
    assert (y == 2).all()
    with pytest.raises(em.LaunchError, match="uninitialized names no parameter: z9"):
        em.RawModule(code=code, check=True, uninitialized=("z9",)).get_function("first")(1, 8, (x, t))


def test_correct_kernels_give_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of test_kernels and of the half tests again, in check mode."""
    raw_module, raw_kernel = em.RawModule, em.RawKernel
    monkeypatch.setattr(em, "RawModule", lambda **more: raw_module(**more, check=True))
    monkeypatch.setattr(em, "RawKernel", lambda code, name, **more: raw_kernel(code, name, check=True, **more))
    for order in ("sequential", "random"):
        kernels.test_softmax_with_shuffles(257, order)
    kernels.test_tiled_gemm(65, 31, 17)
    kernels.test_tree_reduction()
    kernels.test_layernorm_backward_with_atomics()
    kernels.test_scatter_with_repeated_rows()
    kernels.test_histogram_of_bytes()
    kernels.test_scan()
    kernels.test_transpose_in_two_dimensions()
    kernels.test_last_block_reduces_and_globals_persist()
    kernels.test_votes_and_reductions()
    kernels.test_parts_of_a_warp()
    kernels.test_vectors_and_three_dimensions()
    kernels.test_conditional_text_and_options()
    halves.test_half_arithmetic()
    for shape in [(16, 16, 16), (32, 8, 16), (8, 32, 16)]:
        halves.test_wmma_gemm(shape, "half", "col_major")


def test_a_view_keeps_its_alignment() -> None:
    code = 'extern "C" __global__ void k(const float4* x, float4* y) { y[threadIdx.x] = x[threadIdx.x]; }'
    held = em.zeros(4 * 8 + 4, np.float32)
    kernel = em.RawModule(code=code, check=True).get_function("k")
    kernel((1,), (8,), (held[4:], em.empty(32, np.float32)))
    with pytest.raises(em.CheckError) as found:
        kernel((1,), (8,), (held[1:33], em.empty(32, np.float32)))
    assert {r.kind for r in found.value.reports} == {"misaligned"}


def test_a_read_of_one_branch_stays_in_its_branch() -> None:
    """The compiler would read the place before the loop, whatever the branch: it must not."""
    code = """
    extern "C" __global__ void k(const float* __restrict__ x, float* __restrict__ y, int add) {
      for (int i = blockIdx.x*blockDim.x + threadIdx.x; i < 1; i += gridDim.x*blockDim.x)
        y[0] = add ? y[0] + 2.0f*x[0] : 2.0f*x[0];
    }
    """
    x, y = np.ones(1, F32), np.zeros(1, F32)
    kernel = em.RawModule(code=code, check=True, uninitialized=("y",)).get_function("k")
    kernel((1,), (32,), (x, y, I32(0)))
    assert y[0] == 2
    with pytest.raises(em.CheckError) as found:
        kernel((1,), (32,), (x, np.zeros(1, F32), I32(1)))
    assert {r.kind for r in found.value.reports} == {"uninitialized"}


def test_launches_after_a_crash_that_findings_explain() -> None:
    """The runner ends with such findings; what is asked next must not reach the one that is ending."""
    code = """
    extern "C" __global__ void far(float* y) { *(volatile float*)(y + (1ll << 44)) = 1.0f; }
    extern "C" __global__ void near(float* y) { y[threadIdx.x] = 1.0f; }
    """
    y = np.zeros(32, F32)
    for _ in range(5):
        with pytest.raises(em.CheckError) as found:
            em.RawKernel(code, "far", check=True)((1,), (1,), (y,))
        assert found.value.reports[0].kind == "out-of-bounds"
        em.RawModule(code=code).get_function("near")((1,), (32,), (y,))
    assert (y == 1).all()


ASTRAY = """
__device__ __noinline__ float twice(float x) { return 2 * x; }
extern "C" __global__ void astray(float* y)
{
    float (*function)(float) = twice;
    y[0] = function(1);
    *(float*)(void*)function = y[0];  // BUG
}
"""


def test_a_write_over_code_is_found_with_its_line() -> None:
    with pytest.raises(em.CheckError) as found:
        em.RawKernel(ASTRAY, "astray", check=True)(1, 1, (np.zeros(1, F32),))
    line = 1 + ASTRAY[: ASTRAY.index("// BUG")].count("\n")
    assert [(r.kind, r.line) for r in found.value.reports] == [("out-of-bounds", line)]


STRUCTS = """
struct Pair { float a, b; };
struct Item { float4 v; int k; };
extern "C" __global__ void k(float* y)
{
    __shared__ float s[64];
    __shared__ double d[4];
    __shared__ Item t[3];
    for (int i = 0; i < 64; ++i) s[i] = i;
    d[0] = 1;
    const Pair p = *(Pair*)(s + 1);
    *(Pair*)(s + 3) = p;
    t[1].v = make_float4(1, 2, 3, 4);
    t[1].k = 3;
    t[2] = t[1];
    const int4 w = ((int4*)s)[2];
    y[0] = p.a + d[0] + t[2].v.w + ((double*)(s + 4))[1] + w.x + ((float2*)(s + 2))->x;
    // HERE
}
"""


@pytest.mark.parametrize("line", [
    "", "float4 v = *reinterpret_cast<float4*>(s + 1); y[1] = v.x;",
    "*(float4*)&s[1] = make_float4(1, 2, 3, 4);", "y[1] = ((const double*)(s + 1))[3];",
    "((float4*)y)[1] = *(const float4*)(s + 2);", "*(float2*)(s + 5) = ((float2*)y)[1];",
])  # fmt: skip
def test_static_shared_memory_at_a_constant_place(line: str) -> None:
    """The compiler knows that such an access is misaligned, and takes it apart; what needs less alignment is right."""
    code = STRUCTS.replace("// HERE", line)
    kernel, y = em.RawKernel(code, "k", check=True), np.zeros(64, F32)
    if not line:
        kernel(1, 1, (y,))
        return
    with pytest.raises(em.CheckError) as caught:
        kernel(1, 1, (y,))
    found = {(r.kind, r.line, r.variable) for r in caught.value.reports}
    assert found == {("misaligned", 1 + code[: code.index(line)].count("\n"), "s")}
