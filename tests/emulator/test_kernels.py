"""Kernels as people write them, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import derive.emulator as em

GEMM = r"""
template <int BM, int BN, int BK, int TM, int TN>
__device__ void tile(const float* __restrict__ A, const float* __restrict__ B, float* __restrict__ C,
                     int M, int N, int K) {
  __shared__ float As[BK][BM + 4];
  __shared__ float Bs[BK][BN + 4];
  const int threads = (BM / TM) * (BN / TN);
  int tx = threadIdx.x % (BN / TN), ty = threadIdx.x / (BN / TN);
  int row0 = blockIdx.y * BM, col0 = blockIdx.x * BN;
  float acc[TM][TN] = {};
  for (int k0 = 0; k0 < K; k0 += BK) {
    for (int e = threadIdx.x; e < BM * BK; e += threads) {
      int r = e / BK, c = e % BK;
      As[c][r] = (row0 + r < M && k0 + c < K) ? A[(long long)(row0 + r) * K + k0 + c] : 0.0f;
    }
    for (int e = threadIdx.x; e < BN * BK; e += threads) {
      int r = e / BN, c = e % BN;
      Bs[r][c] = (k0 + r < K && col0 + c < N) ? B[(long long)(k0 + r) * N + col0 + c] : 0.0f;
    }
    __syncthreads();
    #pragma unroll
    for (int k = 0; k < BK; ++k)
      for (int i = 0; i < TM; ++i)
        for (int j = 0; j < TN; ++j) acc[i][j] += As[k][ty * TM + i] * Bs[k][tx * TN + j];
    __syncthreads();
  }
  for (int i = 0; i < TM; ++i)
    for (int j = 0; j < TN; ++j) {
      int r = row0 + ty * TM + i, c = col0 + tx * TN + j;
      if (r < M && c < N) C[(long long)r * N + c] = acc[i][j];
    }
}
extern "C" __global__ void __launch_bounds__(256) gemm(const float* A, const float* B, float* C, int M, int N, int K) {
  tile<64, 64, 16, 4, 4>(A, B, C, M, N, K);
}
"""


@pytest.mark.parametrize(("m", "n", "k"), [(64, 64, 64), (65, 31, 17), (1, 129, 5)])
def test_tiled_gemm(m: int, n: int, k: int) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
    c = np.full((m, n), np.nan, np.float32)
    args = (a, b, c, np.int32(m), np.int32(n), np.int32(k))
    em.RawKernel(GEMM, "gemm")(((n + 63) // 64, (m + 63) // 64), (256,), args)
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, atol=1e-4)


SOFTMAX = r"""
__device__ float warp_max(float v) {
  for (int o = 16; o > 0; o >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
  return v;
}
__device__ float warp_sum(float v) {
  for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(0xffffffffu, v, o);
  return v;
}
extern "C" __global__ void softmax(const float* x, float* y, int n) {
  __shared__ float part[32];
  const float* row = x + (long long)blockIdx.x * n;
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  float m = -INFINITY;
  for (int i = threadIdx.x; i < n; i += blockDim.x) m = fmaxf(m, row[i]);
  m = warp_max(m);
  if (lane == 0) part[warp] = m;
  __syncthreads();
  m = warp_max(lane < warps ? part[lane] : -INFINITY);
  __syncthreads();
  float s = 0.0f;
  for (int i = threadIdx.x; i < n; i += blockDim.x) s += __expf(row[i] - m);
  s = warp_sum(s);
  if (lane == 0) part[warp] = s;
  __syncthreads();
  s = warp_sum(lane < warps ? part[lane] : 0.0f);
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[(long long)blockIdx.x * n + i] = __expf(row[i] - m) / s;
}
"""


@pytest.mark.parametrize("order", ["sequential", "random"])
@pytest.mark.parametrize("n", [1, 33, 257])
def test_softmax_with_shuffles(n: int, order: str) -> None:
    x = np.random.default_rng(2).normal(size=(5, n)).astype(np.float32) * 10
    y = np.empty_like(x)
    em.RawModule(code=SOFTMAX, order=order, seed=n).get_function("softmax")((5,), (128,), (x, y, np.int32(n)))
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(y, e / e.sum(1, keepdims=True), rtol=1e-5)


TREE = r"""
extern "C" __global__ void tree(const double* x, double* sums, int n) {
  extern __shared__ double s[];
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  s[threadIdx.x] = i < n ? x[i] : 0.0;
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half >>= 1) {
    if (threadIdx.x < half) s[threadIdx.x] += s[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = s[0];
}
"""


def test_tree_reduction() -> None:
    x = np.random.default_rng(3).normal(size=1000)
    sums = np.empty(4)
    em.RawKernel(TREE, "tree")((4,), (256,), (x, sums, np.int32(1000)), shared_mem=2048)
    np.testing.assert_allclose(sums.sum(), x.sum(), rtol=1e-12)


LAYERNORM = r"""
__device__ float block_sum(float v, float* part) {
  for (int o = 16; o > 0; o >>= 1) v += __shfl_down_sync(0xffffffffu, v, o);
  if ((threadIdx.x & 31) == 0) part[threadIdx.x >> 5] = v;
  __syncthreads();
  if (threadIdx.x == 0) {
    float t = 0.0f;
    for (int w = 0; w < blockDim.x / 32; ++w) t += part[w];
    part[0] = t;
  }
  __syncthreads();
  v = part[0];
  __syncthreads();
  return v;
}
extern "C" __global__ void layernorm_backward(const float* x, const float* gamma, const float* dy, float* dx,
                                              float* dgamma, float* dbeta, int d, float eps) {
  __shared__ float part[32];
  x += (long long)blockIdx.x * d; dy += (long long)blockIdx.x * d; dx += (long long)blockIdx.x * d;
  float s = 0.0f, q = 0.0f;
  for (int i = threadIdx.x; i < d; i += blockDim.x) s += x[i];
  float mean = block_sum(s, part) / d;
  for (int i = threadIdx.x; i < d; i += blockDim.x) q += (x[i] - mean) * (x[i] - mean);
  float rstd = rsqrtf(block_sum(q, part) / d + eps);
  float a = 0.0f, b = 0.0f;
  for (int i = threadIdx.x; i < d; i += blockDim.x) {
    float g = dy[i] * gamma[i], h = (x[i] - mean) * rstd;
    a += g; b += g * h;
  }
  a = block_sum(a, part) / d;
  b = block_sum(b, part) / d;
  for (int i = threadIdx.x; i < d; i += blockDim.x) {
    float g = dy[i] * gamma[i], h = (x[i] - mean) * rstd;
    dx[i] = rstd * (g - a - h * b);
    atomicAdd(&dgamma[i], dy[i] * h);
    atomicAdd(&dbeta[i], dy[i]);
  }
}
"""


def test_layernorm_backward_with_atomics() -> None:
    rng = np.random.default_rng(4)
    x, dy = rng.normal(size=(2, 6, 50)).astype(np.float32)
    gamma = rng.normal(size=50).astype(np.float32)
    dx, dgamma, dbeta = np.empty_like(x), np.zeros_like(gamma), np.zeros_like(gamma)
    args = (x, gamma, dy, dx, dgamma, dbeta, np.int32(50), np.float32(1e-5))
    em.RawKernel(LAYERNORM, "layernorm_backward")((6,), (64,), args)
    mean = x.mean(1, keepdims=True, dtype=np.float64)
    rstd = 1 / np.sqrt(((x - mean) ** 2).mean(1, keepdims=True) + 1e-5)
    h, g = (x - mean) * rstd, dy * gamma
    want = rstd * (g - g.mean(1, keepdims=True) - h * (g * h).mean(1, keepdims=True))
    np.testing.assert_allclose(dx, want, atol=1e-5)
    np.testing.assert_allclose(dgamma, (dy * h).sum(0), atol=1e-5)
    np.testing.assert_allclose(dbeta, dy.sum(0), atol=1e-5)


INTEGER = r"""
extern "C" __global__ void scatter(const long long* ids, const float* dy, float* dw, int t, int c) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < t * c; i += gridDim.x * blockDim.x)
    atomicAdd(dw + ids[i / c] * c + i % c, dy[i]);
}
extern "C" __global__ void histogram(const unsigned char* x, unsigned* counts, int n) {
  __shared__ unsigned local[256];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&local[x[i]], 1u);
  __syncthreads();
  for (int i = threadIdx.x; i < 256; i += blockDim.x)
    if (local[i]) atomicAdd(&counts[i], local[i]);
}
extern "C" __global__ void scan(const int* x, int* y) {
  __shared__ int totals[32];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, v = x[threadIdx.x];
  for (int d = 1; d < 32; d <<= 1) {
    int before = __shfl_up_sync(0xffffffffu, v, d);
    if (lane >= d) v += before;
  }
  if (lane == 31) totals[warp] = v;
  __syncthreads();
  if (warp == 0) {
    int t = lane < blockDim.x / 32 ? totals[lane] : 0;
    for (int d = 1; d < 32; d <<= 1) {
      int before = __shfl_up_sync(0xffffffffu, t, d);
      if (lane >= d) t += before;
    }
    totals[lane] = t;
  }
  __syncthreads();
  y[threadIdx.x] = v + (warp > 0 ? totals[warp - 1] : 0);
}
extern "C" __global__ void transpose(const short* x, short* y, int rows, int cols) {
  __shared__ short tile[32][33];
  int c = blockIdx.x * 32 + threadIdx.x, r = blockIdx.y * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8)
    if (r + j < rows && c < cols) tile[threadIdx.y + j][threadIdx.x] = x[(r + j) * cols + c];
  __syncthreads();
  c = blockIdx.y * 32 + threadIdx.x, r = blockIdx.x * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8)
    if (r + j < cols && c < rows) y[(r + j) * rows + c] = tile[threadIdx.x][threadIdx.y + j];
}
"""


def test_scatter_with_repeated_rows() -> None:
    rng = np.random.default_rng(5)
    ids, dy = rng.integers(0, 7, size=40), rng.normal(size=(40, 9)).astype(np.float32)
    dw, want = np.zeros((7, 9), np.float32), np.zeros((7, 9))
    np.add.at(want, ids, dy)
    em.RawModule(code=INTEGER).get_function("scatter")((2,), (64,), (ids, dy, dw, np.int32(40), np.int32(9)))
    np.testing.assert_allclose(dw, want, atol=1e-5)


def test_histogram_of_bytes() -> None:
    x = np.random.default_rng(6).integers(0, 256, size=5000).astype(np.uint8)
    counts = np.zeros(256, np.uint32)
    em.RawModule(code=INTEGER).get_function("histogram")((3,), (100,), (x, counts, np.int32(5000)))
    np.testing.assert_array_equal(counts, np.bincount(x, minlength=256))


def test_scan() -> None:
    x = np.random.default_rng(7).integers(-9, 9, size=256).astype(np.int32)
    y = np.empty_like(x)
    em.RawModule(code=INTEGER).get_function("scan")((1,), (256,), (x, y))
    np.testing.assert_array_equal(y, np.cumsum(x))


def test_transpose_in_two_dimensions() -> None:
    x = np.arange(37 * 70, dtype=np.int16).reshape(37, 70)
    y = np.empty((70, 37), np.int16)
    em.RawModule(code=INTEGER).get_function("transpose")((3, 2), (32, 8), (x, y, np.int32(37), np.int32(70)))
    np.testing.assert_array_equal(y, x.T)


LAST_BLOCK = r"""
__device__ unsigned arrived = 0;
__constant__ float scale[2] = {2.0f, 0.5f};
extern "C" __global__ void total(const float* x, volatile float* partial, float* out, int n) {
  __shared__ float s[128];
  __shared__ bool last;
  float v = 0.0f;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += x[i] * scale[0];
  s[threadIdx.x] = v;
  __syncthreads();
  for (int h = 64; h > 0; h /= 2) {
    if (threadIdx.x < h) s[threadIdx.x] += s[threadIdx.x + h];
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = s[0];
    __threadfence();
    last = atomicInc(&arrived, gridDim.x - 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    float t = 0.0f;
    for (int b = 0; b < gridDim.x; ++b) t += partial[b];
    *out = t * scale[1];
  }
}
"""


def test_last_block_reduces_and_globals_persist() -> None:
    x = np.random.default_rng(8).normal(size=3000).astype(np.float32)
    partial, out = np.empty(7, np.float32), np.zeros(1, np.float32)
    kernel = em.RawKernel(LAST_BLOCK, "total")
    for _ in range(2):  # the counter wraps round to 0 for the second launch
        out[0] = 0
        kernel((7,), (128,), (x, partial, out, np.int32(3000)))
        np.testing.assert_allclose(out[0], x.sum(), rtol=1e-4)


VOTES = r"""
extern "C" __global__ void votes(const int* x, unsigned* ballots, int* flags) {
  int v = x[threadIdx.x], lane = threadIdx.x & 31;
  unsigned b = __ballot_sync(0xffffffffu, v > 0);
  int all = __all_sync(0xffffffffu, v > -100), any = __any_sync(0xffffffffu, v > 100);
  unsigned same = __match_any_sync(0xffffffffu, v);
  int sum = __reduce_add_sync(0xffffffffu, v);
  int count = __syncthreads_count(v > 0), every = __syncthreads_and(v > -100), some = __syncthreads_or(v > 100);
  if (lane == 0) ballots[threadIdx.x / 32] = b;
  flags[threadIdx.x * 7 + 0] = all; flags[threadIdx.x * 7 + 1] = any; flags[threadIdx.x * 7 + 2] = __popc(same);
  flags[threadIdx.x * 7 + 3] = sum; flags[threadIdx.x * 7 + 4] = count; flags[threadIdx.x * 7 + 5] = every;
  flags[threadIdx.x * 7 + 6] = some;
}
extern "C" __global__ void groups(int* out) {
  int lane = threadIdx.x & 31;
  unsigned mask = lane < 16 ? 0xffffu : 0xffff0000u;
  int v = threadIdx.x;
  if (lane < 16) v = __shfl_sync(mask, v, 3, 16); else v = __shfl_sync(mask, v, 5, 16);
  out[threadIdx.x] = v;
  if (lane % 3 == 0) out[threadIdx.x] = -__popc(__activemask());
}
"""


def test_votes_and_reductions() -> None:
    x = np.random.default_rng(9).integers(-50, 50, size=64).astype(np.int32)
    ballots, flags = np.empty(2, np.uint32), np.empty((64, 7), np.int32)
    em.RawModule(code=VOTES).get_function("votes")((1,), (64,), (x, ballots, flags))
    warps = x.reshape(2, 32)
    np.testing.assert_array_equal(ballots, ((warps > 0) @ (1 << np.arange(32, dtype=np.uint64))).astype(np.uint32))
    np.testing.assert_array_equal(flags[:, 3], np.repeat(warps.sum(1), 32))
    same = np.concatenate([[(w == v).sum() for v in w] for w in warps])
    np.testing.assert_array_equal(flags[:, 2], same)
    assert (flags[:, [0, 1, 5, 6]] == [1, 0, 1, 0]).all()
    assert (flags[:, 4] == (x > 0).sum()).all()


def test_parts_of_a_warp() -> None:
    out = np.empty(64, np.int32)
    em.RawModule(code=VOTES).get_function("groups")((1,), (64,), (out,))
    lane = np.arange(64) % 32
    want = np.where(lane < 16, 3, 21) + np.arange(64) // 32 * 32
    np.testing.assert_array_equal(out, np.where(lane % 3 == 0, -11, want))


def test_vectors_and_three_dimensions() -> None:
    code = r"""
    extern "C" __global__ void twice(const float4* x, float4* y, int* where) {
      int i = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
      int t = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
      int n = blockDim.x * blockDim.y * blockDim.z, g = i * n + t;
      float4 v = x[g];
      y[g] = make_float4(2 * v.x, 2 * v.y, 2 * v.z, 2 * v.w);
      where[g] = g;
    }
    """
    x = np.arange(4 * 2 * 3 * 4 * 3 * 4 * 5, dtype=np.float32)
    y, where = np.empty_like(x), np.empty(x.size // 4, np.int32)
    em.RawKernel(code, "twice")((2, 3, 4), (3, 4, 5), (x, y, where))
    np.testing.assert_array_equal(y, 2 * x)
    np.testing.assert_array_equal(where, np.arange(where.size))


def test_conditional_text_and_options() -> None:
    code = """
    #if defined(WIDE)
    typedef double real;
    #else
    typedef float real;
    #endif
    #define KERNEL(name, value) extern "C" __global__ void name(real* x) { x[threadIdx.x] = value; }
    KERNEL(one, 1)
    KERNEL(scaled, SCALE)
    #ifdef NEVER
    extern "C" __global__ void never(int* x) { nonsense; }
    #endif
    """
    for options, kind in (
        (("-DSCALE=3",), np.float32),
        (("-DSCALE=3", "--define-macro=WIDE", "-lineinfo"), np.float64),
    ):
        x = np.zeros(4, kind)
        module = em.RawModule(code=code, options=options)
        module.get_function("scaled")((1,), (4,), (x,))
        assert (x == 3).all()
        with pytest.raises(em.EmulatorError, match="kernels: one, scaled"):
            module.get_function("never")
