"""Count mode: bytes, sectors and bank conflicts of hand-made kernels equal what theory says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import derive.emulator as em
from derive.emulator.count import Counters
from tests.emulator.test_kernels import GEMM

F32, I32 = np.float32, np.int32


def counted(code: str, name: str, grid: Any, block: Any, args: tuple[Any, ...], **more: Any) -> Counters:
    kernel = em.RawKernel(code, name, count=True)
    kernel(grid, block, args, **more)
    assert len(kernel.counters) == 1
    return kernel.counters[0]


# One warp; lane t goes to element at[t] of shared memory.
SHARED = r"""
extern "C" __global__ void words(const int* at, float* y, bool write) {
  __shared__ float s[2100];
  int place = at[threadIdx.x];
  if (write) s[place] = 1.0f; else y[threadIdx.x] = s[place];
}
extern "C" __global__ void chars(const int* at) { __shared__ char s[64]; s[at[threadIdx.x]] = 1; }
extern "C" __global__ void shorts(const int* at) { __shared__ short s[2100]; s[at[threadIdx.x]] = 1; }
extern "C" __global__ void doubles(const int* at) { __shared__ double s[600]; s[at[threadIdx.x]] = 1; }
extern "C" __global__ void fours(const int* at) {
  __shared__ float4 s[300];
  s[at[threadIdx.x]] = make_float4(1, 2, 3, 4);
}
"""
LANES = np.arange(32, dtype=I32)


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    ("at", "extra"),
    [
        (LANES, 0),
        (2 * LANES, 1),
        (3 * LANES, 0),
        (4 * LANES, 3),
        (8 * LANES, 7),
        (16 * LANES, 15),
        (32 * LANES, 31),
        (33 * LANES, 0),
        (31 - LANES, 0),
        (LANES // 2, 0),  # pairs want one word
        (0 * LANES, 0),
        (LANES % 16 * 32 + LANES // 16, 15),
    ],
)
def test_bank_conflicts_of_words(at: Any, extra: int, write: bool) -> None:
    assert counted(SHARED, "words", 1, 32, (at, np.zeros(32, F32), np.bool_(write))).bank_conflicts == extra


@pytest.mark.parametrize(
    ("name", "at", "extra"),
    [
        ("chars", LANES, 0),  # four lanes a word
        ("shorts", 64 * LANES, 31),
        ("doubles", LANES, 0),  # two halves of 128 bytes each
        ("doubles", 2 * LANES, 2),  # in each half two lanes a bank
        ("doubles", 16 * LANES, 30),
        ("fours", LANES, 0),  # four quarters of 128 bytes each
        ("fours", 2 * LANES, 4),
        ("fours", 8 * LANES, 28),
    ],
)
def test_bank_conflicts_of_other_widths(name: str, at: Any, extra: int) -> None:
    assert counted(SHARED, name, 1, 32, (at,)).bank_conflicts == extra


# As in textbooks: rows of A are stored as columns, so that 32 lanes meet in one bank.
TRANSPOSING = r"""
extern "C" __global__ void gemm(const float* A, const float* B, float* C, int n) {
  __shared__ float As[32][64], Bs[32][64];
  int tx = threadIdx.x % 16, ty = threadIdx.x / 16, row = blockIdx.y * 64, col = blockIdx.x * 64;
  float acc[4][4] = {};
  for (int k0 = 0; k0 < n; k0 += 32) {
    for (int e = threadIdx.x; e < 2048; e += 256) As[e % 32][e / 32] = A[(row + e / 32) * n + k0 + e % 32];
    for (int e = threadIdx.x; e < 2048; e += 256) Bs[e / 64][e % 64] = B[(k0 + e / 64) * n + col + e % 64];
    __syncthreads();
    for (int k = 0; k < 32; ++k)
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) acc[i][j] += As[k][ty + 16 * i] * Bs[k][tx + 16 * j];
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) C[(row + ty + 16 * i) * n + col + tx + 16 * j] = acc[i][j];
}
"""

SMALL_TILES = r"""
extern "C" __global__ void gemm(const float* A, const float* B, float* C, int n) {
  __shared__ float As[16][17], Bs[16][16];
  int tx = threadIdx.x, ty = threadIdx.y, row = blockIdx.y * 16 + ty, col = blockIdx.x * 16 + tx;
  float acc = 0;
  for (int k0 = 0; k0 < n; k0 += 16) {
    As[ty][tx] = A[row * n + k0 + tx];
    Bs[ty][tx] = B[(k0 + ty) * n + col];
    __syncthreads();
    for (int k = 0; k < 16; ++k) acc += As[ty][k] * Bs[k][tx];
    __syncthreads();
  }
  C[row * n + col] = acc;
}
"""


def square(n: int) -> tuple[Any, ...]:
    return np.ones((n, n), F32), np.ones((n, n), F32), np.zeros((n, n), F32), I32(n)


@pytest.mark.parametrize(("n", "conflicts"), [(64, 3968), (128, 31744)])
def test_conflicts_of_a_product_that_transposes_into_shared_memory(n: int, conflicts: int) -> None:
    args = square(n)
    c = counted(TRANSPOSING, "gemm", (n // 64, n // 64), 256, args)
    assert np.all(args[2] == n)
    assert c.bank_conflicts == conflicts
    assert {s.line for s in c.sites if s.conflicts} == {7}
    assert c.load_bytes == 32 * c.load_sectors == 2 * 4 * n * n * n // 64
    assert c.store_bytes == 32 * c.store_sectors == 4 * n * n
    assert c.barriers == (n // 64) ** 2 * (n // 32) * 2


def test_conflicts_of_small_padded_tiles() -> None:
    assert counted(SMALL_TILES, "gemm", (4, 4), (16, 16), square(64)).bank_conflicts == 512


def test_tiled_product_of_256() -> None:
    """2.097 MB are loaded, 0.262 MB stored; every sector of the three matrices is touched once at least."""
    a, b, c, n = square(256)
    found = counted(GEMM, "gemm", (4, 4), 256, (a, b, c, n, n, n))
    assert (found.load_bytes, found.store_bytes) == (2_097_152, 262_144)
    assert 32 * found.load_sectors == 2_097_152
    assert found.device_bytes == 3 * 262_144


GELU = r"""
extern "C" __global__ void gelu(const float* x, const float* dy, float* dx, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) {
    float v = x[i], phi = 0.3989422804f * expf(-0.5f * v * v);
    dx[i] = dy[i] * (0.5f * (1 + erff(v * 0.70710678f)) + v * phi);
  }
}
"""


@pytest.mark.parametrize("n", [65536, 1000])
def test_gelu_backward(n: int) -> None:
    x = np.ones(n, F32)
    c = counted(GELU, "gelu", -(-n // 256), 256, (x, x.copy(), np.empty_like(x), I32(n)))
    assert (c.load_bytes, c.store_bytes) == (8 * n, 4 * n)
    assert (32 * c.load_sectors, 32 * c.store_sectors, c.device_bytes) == (8 * n, 4 * n, 12 * n)
    assert (c.efficiency, c.bank_conflicts, c.barriers) == (1.0, 0, 0)
    assert {a.name: (a.loaded, a.stored) for a in c.areas} == {"x": (4 * n, 0), "dy": (4 * n, 0), "dx": (0, 4 * n)}


@pytest.mark.parametrize(
    ("stride", "sectors", "efficiency"), [(1, 4, 1.0), (2, 8, 0.5), (8, 32, 0.125), (9, 32, 0.125)]
)
def test_strided_loads(stride: int, sectors: int, efficiency: float) -> None:
    code = 'extern "C" __global__ void k(const float* x, float* y, int s) { y[threadIdx.x] = x[threadIdx.x * s]; }'
    c = counted(code, "k", 1, 32, (np.ones(512, F32), np.zeros(32, F32), I32(stride)))
    loads = next(s for s in c.sites if not s.write)
    assert (loads.line, loads.requests, loads.sectors, loads.efficiency) == (1, 1, sectors, efficiency)


def test_what_all_lanes_want_is_one_sector() -> None:
    code = 'extern "C" __global__ void k(const float* x, float* y) { y[threadIdx.x] = x[3]; }'
    c = counted(code, "k", 2, 64, (np.ones(8, F32), np.zeros(64, F32)))
    assert (c.load_bytes, c.load_sectors) == (4 * 128, 4)
    assert c.device_bytes == 32 + 256


def test_vectors_and_half_precision() -> None:
    code = """
#include <cuda_fp16.h>
extern "C" __global__ void k(const float4* x, __half* h) {
  float4 v = x[threadIdx.x];
  h[threadIdx.x] = __float2half(v.x + v.w);
}"""
    c = counted(code, "k", 1, 64, (np.ones(256, F32), np.zeros(64, np.float16)))
    assert (c.load_bytes, c.store_bytes) == (1024, 128)
    assert (c.load_sectors, c.store_sectors) == (32, 4)


def test_atomics_read_and_write() -> None:
    code = """
__device__ int seen;
extern "C" __global__ void k(int* y) { atomicAdd(&y[threadIdx.x % 8], 1); if (threadIdx.x == 0) seen = 1; }"""
    c = counted(code, "k", 1, 32, (np.zeros(8, I32),))
    assert {a.name: (a.sectors_read, a.sectors_written) for a in c.areas} == {"y": (1, 1), "seen": (0, 1)}


def test_lanes_are_matched_again_after_each_barrier() -> None:
    """Odd lanes skip the first turn of the loop; what they do in the second is one request with the others'."""
    code = """
extern "C" __global__ void k(const float* x, float* y) {
  float sum = 0;
  for (int turn = 0; turn < 2; ++turn) {
    if (turn == 1 || threadIdx.x % 2 == 0) sum += x[turn * 32 + threadIdx.x];
    __syncthreads();
  }
  y[threadIdx.x] = sum;
}"""
    c = counted(code, "k", 1, 32, (np.ones(64, F32), np.zeros(32, F32)))
    loads = next(s for s in c.sites if not s.write)
    assert (loads.requests, loads.bytes, loads.sectors) == (2, 192, 8)


def test_each_launch_has_its_counters_and_results_are_right() -> None:
    kernel = em.RawKernel('extern "C" __global__ void k(float* x) { x[threadIdx.x] *= 2; }', "k", count=True)
    x = np.ones(32, F32)
    kernel(1, 32, (x,))
    kernel(1, 16, (x,))
    assert x.tolist() == [4.0] * 16 + [2.0] * 16
    assert [c.requested_bytes for c in kernel.counters] == [256, 128]
    assert [c.block for c in kernel.counters] == [(32, 1, 1), (16, 1, 1)]


def test_a_failed_launch_leaves_no_counters() -> None:
    code = 'extern "C" __global__ void k(float* x) { if (threadIdx.x < 16) __syncthreads(); x[0] = 1; }'
    kernel = em.RawKernel(code + '\nextern "C" __global__ void stop(float* x) { __trap(); }', "stop", count=True)
    with pytest.raises(em.EmulatorError):
        kernel(1, 32, (np.ones(32, F32),))
    assert kernel.counters == []


def test_check_and_count_exclude_each_other() -> None:
    with pytest.raises(em.EmulatorError, match="not both"):
        em.RawModule(code="", check=True, count=True)
