"""What people's own kernels do beside the seeded ones: local structs, launch bounds, spinning, wrapped indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import derive.emulator as em

F32, I32 = np.float32, np.int32

CODE = r"""
#define THREADS 32
extern "C" {
__global__ void best_of(const float* x, int* out, int met)
{
    struct Pair { float value; int index; };
    __shared__ Pair best[2];
    __shared__ struct { float value; int index; } all;
    const int lane = threadIdx.x % warpSize, warp = threadIdx.x / warpSize;
    Pair mine = {x[threadIdx.x], (int)threadIdx.x};
    for (int o = 16; o; o /= 2) {
        const float v = __shfl_xor_sync(~0u, mine.value, o);
        const int i = __shfl_xor_sync(~0u, mine.index, o);
        if (v > mine.value) mine = {v, i};
    }
    if (lane == 0) best[warp] = mine;  // part
    if (met) __syncthreads();
    if (threadIdx.x == 0) {
        const int w = best[1].value > best[0].value;  // choose
        all.index = best[w].index;
        *out = all.index;
    }
}
__global__ void before(const float* x, float* y, int where)
{
    __shared__ float s[64];
    const unsigned i = threadIdx.x;
    s[i] = x[i];
    __syncthreads();
    if (where == 0) y[i] = x[i - 1];  // input
    if (where == 1) y[i - 1] = x[i];  // output
    if (where == 2) y[i] = s[i - 1];  // shared
}
__global__ void __launch_bounds__(64) plain_bound(float* x) { x[threadIdx.x] = 1; }
__launch_bounds__(THREADS * 2, 1) __global__ void macro_bound(float* x)
{
    const int warpSize = 32;
    x[threadIdx.x] = warpSize;
}
}
template <class T, int N = 64>
__global__ void __launch_bounds__(N) template_bound(T* x) { x[threadIdx.x] = 1; }

namespace a { namespace b {
constexpr int most = 64;
template <class T>
__global__ void __launch_bounds__(most) inner_bound(T* x) { x[threadIdx.x] = 1; }
} }

__global__ void hand_over(int* out, int how)
{
    __shared__ int flag, value;
    if (threadIdx.x == 0) flag = 0;
    __syncthreads();
    if (threadIdx.x < 3) {
        while (atomicAdd(&flag, 0) == 0)
            if (how) __nanosleep(20);
        __threadfence_block();
        out[threadIdx.x] = value;
    }
    if (threadIdx.x == 40) {
        value = 7;
        __threadfence_block();
        atomicExch(&flag, 1);
    }
}
__device__ int came, here;
__global__ void whole_grid(int* out, int how)
{
    atomicAdd(&came, 1);
    if (how == 0) while (atomicAdd(&came, 0) < gridDim.x) { }  // atomic
    if (how == 1) while (atomicAdd(&came, 0) < gridDim.x) __nanosleep(8);  // sleep
    if (how == 2) while (*(volatile int*)&here == 0) { }  // volatile
    out[blockIdx.x] = 1;
}
"""


CODE += r"""
__constant__ float weights[4] = {1, 2, 3, 4};
__constant__ float others[4] = {5, 6, 7, 8};
struct Grid { float h[3]; int n; int2 size; };
__global__ void spelled(const float4* x, float* y, Grid grid, float3 by, int over)
{
    __shared__ alignas(16) float s[256];
    alignas(128) __shared__ unsigned char bytes[64];
    extern __shared__ struct { float three; int n; } pool[];
    const clock_t begin = clock();
    if (x == NULL) return;
    reinterpret_cast<float4*>(s)[threadIdx.x] = x[threadIdx.x];
    bytes[threadIdx.x] = threadIdx.x % 4;
    pool[threadIdx.x] = {by.z, grid.size.y};
    __syncthreads();
    const float weight = weights[bytes[63 - threadIdx.x] + over];  // weight
    y[threadIdx.x] = s[255 - threadIdx.x] * pool[63 - threadIdx.x].three + pool[0].n + grid.h[2] + weight;
    if (clock() < begin) y[0] = others[0];
}
"""
CODE += r"""
__global__ void chain(const float* x, volatile float* sum, volatile int* ready, float* out, int release, int acquire)
{
    __shared__ float before;
    if (threadIdx.x == 0) {
        float b = 0;
        if (blockIdx.x > 0) {
            while (ready[blockIdx.x - 1] == 0) { }  // look
            if (acquire) __threadfence();
            b = sum[blockIdx.x - 1];  // take
        }
        sum[blockIdx.x] = b + x[blockIdx.x];  // give
        if (release) __threadfence();
        ready[blockIdx.x] = 1;  // tell
        before = b;
    }
    __syncthreads();
    out[blockIdx.x * blockDim.x + threadIdx.x] = before;
}
"""


def at(mark: str) -> int:
    return next(n for n, line in enumerate(CODE.splitlines(), 1) if line.endswith("// " + mark))


def launch(name: str, grid: Any, block: Any, *args: Any, shared: int = 0) -> tuple[em.Report, ...]:
    module = em.RawModule(code=CODE, check=True, name_expressions=("template_bound<float>", "a::b::inner_bound<float>"))
    try:
        module.get_function(name)(grid, block, args, shared_mem=shared)
    except em.CheckError as error:
        return error.reports
    return ()


def test_structs_declared_in_a_kernel_lie_in_shared_memory() -> None:
    x, out = np.arange(64, dtype=F32) % 37, np.zeros(1, I32)
    assert launch("best_of", 1, 64, x, out, I32(1)) == ()
    assert out[0] == 36
    races = [r for r in launch("best_of", 1, 64, x, out, I32(0)) if r.kind == "race" and r.variable == "best"]
    assert {r.line for r in races} | {r.other_line for r in races} == {at("part"), at("choose")}


@pytest.mark.parametrize(("where", "mark", "name"), [(0, "input", "x"), (1, "output", "y"), (2, "shared", "s")])
def test_an_unsigned_index_below_zero_is_of_its_array(where: int, mark: str, name: str) -> None:
    (found,) = launch("before", 1, 64, np.ones(64, F32), np.zeros(64, F32), I32(where))
    assert (found.kind, found.line, found.variable, found.thread) == ("out-of-bounds", at(mark), name, (0, 0, 0))
    assert "unsigned index" in found.what


@pytest.mark.parametrize("name", ["plain_bound", "macro_bound", "template_bound<float>", "a::b::inner_bound<float>"])
def test_launch_bounds_bind(name: str) -> None:
    x = np.zeros(65, F32)
    assert launch(name, 1, 64, x) == ()
    assert x[:64].all()
    (found,) = launch(name, 1, 65, x)
    assert found.kind == "launch-limit"
    assert f" {name.split('<')[0].split('::')[-1]}(" in CODE.splitlines()[found.line - 1]
    assert "65 threads, __launch_bounds__ allows 64" in found.what


@pytest.mark.parametrize("how", [0, 1])
def test_threads_that_wait_for_one_of_their_block_get_its_value(how: int) -> None:
    out = np.zeros(3, I32)
    assert launch("hand_over", 1, 64, out, I32(how)) == ()
    assert (out == 7).all()


@pytest.mark.parametrize(("how", "mark"), [(0, "atomic"), (1, "sleep"), (2, "volatile")])
def test_waiting_for_a_later_block_ends_with_the_line(how: int, mark: str) -> None:
    with pytest.raises(em.LaunchError, match="a barrier of the whole grid") as caught:
        launch("whole_grid", 100, 1, np.zeros(100, I32), I32(how))
    assert caught.value.lines == (at(mark),)


def test_spellings_and_constants_side_by_side() -> None:
    size, three = np.dtype([("x", I32), ("y", I32)]), np.dtype([("x", F32), ("y", F32), ("z", F32)])
    grid = np.array(((1, 2, 100), 0, (3, 10)), np.dtype([("h", F32, 3), ("n", I32), ("size", size)]))[()]
    x, y = np.arange(256, dtype=F32), np.zeros(64, F32)
    args = (x, y, grid, np.array((0, 0, 2), three)[()])
    assert launch("spelled", 1, 64, *args, I32(0), shared=512) == ()
    np.testing.assert_array_equal(y, 2 * x[::-1][:64] + 110 + 4 - np.arange(64) % 4)
    (found,) = launch("spelled", 1, 64, *args, I32(1), shared=512)
    assert (found.kind, found.line, found.variable) == ("out-of-bounds", at("weight"), "weights")
    with pytest.raises(em.LaunchError, match=r"struct of 24 bytes, .* has 12 bytes"):
        launch("spelled", 1, 64, x, y, np.array((0, 0, 2), three)[()], args[3], I32(0))


@pytest.mark.parametrize(("release", "acquire"), [(1, 1), (0, 1), (1, 0), (0, 0)])
def test_a_volatile_flag_orders_with_a_fence_on_either_side(release: int, acquire: int) -> None:
    x, out = np.arange(1, 7, dtype=F32), np.zeros(6 * 32, F32)
    args = (x, np.zeros(6, F32), np.zeros(6, I32), out, I32(release), I32(acquire))
    found = {(r.kind, r.variable, r.line, r.other_line) for r in launch("chain", 6, 32, *args)}
    np.testing.assert_array_equal(out[::32], np.cumsum(x) - x)
    if release and acquire:
        assert not found
    else:
        assert ("race", "sum", at("take"), at("give")) in found
        assert found <= {("race", "sum", at("take"), at("give")), ("race", "ready", at("look"), at("tell"))}
