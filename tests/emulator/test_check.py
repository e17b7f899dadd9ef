"""Check mode: seeded bugs are found with their lines, and correct kernels give no report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import derive.emulator as em
from tests.emulator import test_half as halves
from tests.emulator import test_kernels as kernels

F32, I32 = np.float32, np.int32


@dataclass(frozen=True)
class Seeded:
    """A kernel `k` whose bug stands in the line marked `// BUG`; a race's other line is marked `// OTHER`."""

    name: str
    kind: str
    body: str
    what: str = ""
    args: tuple[Any, ...] = field(default_factory=lambda: (np.ones(256, F32), np.ones(256, F32)))
    signature: str = "const float* x, float* y"
    grid: Any = 1
    block: Any = 64
    shared: int = 0
    uninitialized: tuple[str, ...] = ()
    before: str = ""


BUGS = [
    Seeded(
        "one past the end",
        "out-of-bounds",
        """
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= 100)
    y[i] = 1.0f;  // BUG
""",
        "'y'",
        (np.ones(256, F32), np.zeros(100, F32)),
        block=128,
    ),
    Seeded(
        "reads before the start",
        "out-of-bounds",
        """
  int i = threadIdx.x;
  float v = x[i - 1];  // BUG
  y[i] = v;
""",
        "'x': reads 4 bytes at byte -4",
    ),
    Seeded(
        "vector crosses the end",
        "out-of-bounds",
        """
  float4 v = reinterpret_cast<const float4*>(x)[threadIdx.x];  // BUG
  y[threadIdx.x] = v.x + v.w;
""",
        "'x'",
        (np.ones(254, F32), np.ones(64, F32)),
    ),
    Seeded(
        "far away",
        "out-of-bounds",
        """
  long long far = 1ll << 33;
  if (threadIdx.x == 7) y[far] = 1.0f;  // BUG
""",
    ),
    Seeded(
        "null pointer",
        "out-of-bounds",
        """
  y[threadIdx.x] = 1.0f;  // BUG
""",
        "belongs to no argument",
        (np.ones(1, F32), None),
    ),
    Seeded(
        "static shared array overrun",
        "out-of-bounds",
        """
  __shared__ float a[64];
  __shared__ float b[64];
  b[threadIdx.x] = 1.0f;
  a[threadIdx.x + 1] = 2.0f;  // BUG
  __syncthreads();
  y[threadIdx.x] = b[threadIdx.x];
""",
        "'a'",
    ),
    Seeded(
        "dynamic shared memory overrun",
        "out-of-bounds",
        """
  extern __shared__ float s[];
  s[threadIdx.x] = 1.0f;  // BUG
  y[threadIdx.x] = s[threadIdx.x];  // BUG
""",
        "dynamic shared memory",
        shared=63 * 4,
    ),
    Seeded(
        "atomic out of bounds",
        "out-of-bounds",
        """
  atomicAdd(&y[threadIdx.x * 5], 1.0f);  // BUG
""",
        "'y'",
    ),
    Seeded(
        "device global overrun",
        "out-of-bounds",
        """
  table[threadIdx.x] = 1;  // BUG
""",
        "'table'",
        before="__device__ int table[63];",
    ),
    Seeded(
        "shared memory never written",
        "uninitialized",
        """
  __shared__ float s[64];
  if (threadIdx.x < 63) s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];  // BUG
""",
        "'s'",
    ),
    Seeded(
        "adds into an output that holds nothing",
        "uninitialized",
        """
  y[threadIdx.x] += x[threadIdx.x];  // BUG
""",
        "'y'",
        uninitialized=("y",),
    ),
    Seeded(
        "atomic adds into an output that holds nothing",
        "uninitialized",
        """
  atomicAdd(&y[0], x[threadIdx.x]);  // BUG
""",
        "'y'",
        uninitialized=("y",),
    ),
    Seeded(
        "scratch of another block's life",
        "uninitialized",
        """
  __shared__ int s[1];
  if (blockIdx.x == 0) s[0] = 1;
  if (threadIdx.x == 0) y[blockIdx.x] = s[0];  // BUG
""",
        "'s'",
        grid=2,
        block=1,
    ),
    Seeded(
        "missing barrier",
        "race",
        """
  __shared__ float s[64];
  s[threadIdx.x] = x[threadIdx.x];  // OTHER
  y[threadIdx.x] = s[63 - threadIdx.x];  // BUG
""",
        "'s'",
    ),
    Seeded(
        "missing second barrier",
        "race",
        """
  __shared__ float s[64];
  float v = 0.0f;
  for (int k = 0; k < 2; ++k) {
    s[threadIdx.x] = x[k * 64 + threadIdx.x];  // BUG
    __syncthreads();
    v += s[63 - threadIdx.x];  // OTHER
  }
  y[threadIdx.x] = v;
""",
        "'s'",
    ),
    Seeded(
        "read by several, then written",
        "race",
        """
  __shared__ float s[64];
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  float v = s[0];  // OTHER
  if (threadIdx.x == 0) s[0] = v + 1.0f;  // BUG
  y[threadIdx.x] = v;
""",
        "'s'",
    ),
    Seeded(
        "two blocks write one address",
        "race",
        """
  y[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];  // BUG OTHER
""",
        "'y'",
        grid=2,
    ),
    Seeded(
        "block reads what another wrote",
        "race",
        """
  y[blockIdx.x * 64 + threadIdx.x] = x[threadIdx.x];  // OTHER
  __threadfence();
  __syncthreads();
  if (blockIdx.x == 1) y[128 + threadIdx.x] = y[threadIdx.x];  // BUG
""",
        "'y'",
        grid=2,
    ),
    Seeded(
        "warp-synchronous reduction",
        "race",
        """
  __shared__ float s[32];
  int t = threadIdx.x;
  s[t] = x[t];
  __syncwarp();
  if (t < 16) s[t] += s[t + 16];  // OTHER
  if (t < 8) s[t] += s[t + 8];  // BUG
  __syncwarp();
  if (t == 0) y[0] = s[0];
""",
        "'s'",
        block=32,
    ),
    Seeded(
        "shuffles do not order memory",
        "race",
        """
  __shared__ float s[32];
  int t = threadIdx.x;
  s[t] = x[t];  // OTHER
  float v = __shfl_xor_sync(0xffffffffu, x[t], 1);
  y[t] = v + s[31 - t];  // BUG
""",
        "'s'",
        block=32,
    ),
    Seeded(
        "plain and atomic",
        "race",
        """
  __shared__ int count;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  atomicAdd(&count, 1);  // OTHER
  if (threadIdx.x == 40) y[0] = count;  // BUG
""",
        "'count'",
    ),
    Seeded(
        "last block without a fence",
        "race",
        """
  __shared__ bool last;
  if (threadIdx.x == 0) {
    y[blockIdx.x] = x[blockIdx.x];  // OTHER
    last = atomicAdd(&arrived, 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    float t = 0.0f;
    for (int b = 0; b < gridDim.x; ++b)
      t += y[b];  // BUG
    y[100] = t;
    arrived = 0;
  }
""",
        "'y'",
        grid=3,
        before="__device__ unsigned arrived;",
    ),
    Seeded(
        "race between bytes of one word is none, of one byte is",
        "race",
        """
  __shared__ unsigned char s[64];
  s[threadIdx.x] = 1;  // OTHER
  s[threadIdx.x / 2] = threadIdx.x;  // BUG
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];
""",
        "'s'",
    ),
    Seeded(
        "barrier in a branch",
        "barrier-divergence",
        """
  if (threadIdx.x < 32)
    __syncthreads();  // BUG
  y[threadIdx.x] = 1.0f;
""",
    ),
    Seeded(
        "early return",
        "barrier-divergence",
        """
  if (threadIdx.x >= 50) return;
  y[threadIdx.x] = 1.0f;
  __syncthreads();  // BUG
""",
    ),
    Seeded(
        "barriers in two places",
        "barrier-divergence",
        """
  if (threadIdx.x < 32)
    __syncthreads();  // OTHER
  else
    __syncthreads();  // BUG
""",
    ),
    Seeded(
        "shuffle with lanes missing",
        "warp-divergence",
        """
  float v = x[threadIdx.x];
  if (threadIdx.x % 32 < 16)
    v += __shfl_down_sync(0xffffffffu, v, 8);  // BUG
  y[threadIdx.x] = v;
""",
    ),
    Seeded(
        "shuffle reads outside its mask",
        "warp-divergence",
        """
  float v = x[threadIdx.x];
  if (threadIdx.x < 16)
    v += __shfl_down_sync(0x0000ffffu, v, 8);  // BUG
  y[threadIdx.x] = v;
""",
    ),
    Seeded(
        "syncwarp with lanes missing",
        "warp-divergence",
        """
  if (threadIdx.x != 5)
    __syncwarp();  // BUG
  y[threadIdx.x] = 1.0f;
""",
    ),
    Seeded(
        "ballot outside its mask",
        "warp-divergence",
        """
  unsigned b = __ballot_sync(0x0000ffffu, x[threadIdx.x] > 0);  // BUG
  y[threadIdx.x] = b;
""",
    ),
    Seeded(
        "misaligned vector",
        "misaligned",
        """
  float2 v = *reinterpret_cast<const float2*>(x + 2 * threadIdx.x + 1);  // BUG
  y[threadIdx.x] = v.x + v.y;
""",
        "'x'",
    ),
    Seeded(
        "misaligned in shared memory",
        "misaligned",
        """
  __shared__ __align__(16) float s[260];
  s[threadIdx.x] = s[threadIdx.x + 64] = s[threadIdx.x + 128] = s[threadIdx.x + 192] = 0.0f;
  __syncthreads();
  if (threadIdx.x < 60) *reinterpret_cast<float4*>(s + 4 * threadIdx.x + 2) = make_float4(1, 2, 3, 4);  // BUG
""",
        "'s'",
    ),
    Seeded(
        "writes to an input",
        "write-to-input",
        """
  const_cast<float*>(x)[threadIdx.x] = 0.0f;  // BUG
""",
        "'x'",
    ),
]


def source_of(bug: Seeded) -> str:
    return f'{bug.before}\nextern "C" __global__ void k({bug.signature}) {{{bug.body}}}\n'


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
