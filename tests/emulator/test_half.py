"""half, bfloat16 and tensor cores: own headers, so every conversion is compared with NumPy's."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import derive.emulator as em

CONVERT = r"""
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#include "derive/small_float.h"
extern "C" __global__ void widen(const half* h, const __nv_bfloat16* b, float* fh, float* fb, float* portable, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    fh[i] = __half2float(h[i]);
    fb[i] = __bfloat162float(b[i]);
    portable[i] = derive_half_to_float_portable(__half_as_ushort(h[i]));
  }
}
extern "C" __global__ void narrow(const float* x, half* h, __nv_bfloat16* b, unsigned short* portable, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    h[i] = __float2half(x[i]);
    b[i] = __float2bfloat16(x[i]);
    portable[i] = derive_half_from_float_portable(x[i]);
  }
}
extern "C" __global__ void arithmetic(const half* a, const half* b, half* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  out[i] = a[i] + b[i]; out[n + i] = a[i] * b[i]; out[2 * n + i] = a[i] / b[i];
  out[3 * n + i] = __hfma(a[i], b[i], a[i]);
  half2 p = __halves2half2(a[i], b[i]);
  p = __hmul2(p, __float2half2_rn(2.0f));
  out[4 * n + i] = __low2half(p); out[5 * n + i] = hsqrt(__habs(a[i]));
  half s = a[i];
  s += __shfl_xor_sync(0xffffffffu, s, 1);
  out[6 * n + i] = s;
}
"""


# Every bit pattern takes part, signalling NaNs too.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")


def same(got: np.ndarray, want: np.ndarray) -> None:
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    bits = f"u{got.itemsize}"
    number = ~np.isnan(want)
    np.testing.assert_array_equal(got.view(bits)[number], want.view(bits)[number])


def test_all_65536_values_widen() -> None:
    every = np.arange(65536, dtype=np.uint16)
    fh, fb, portable = np.empty((3, 65536), np.float32)
    args = (every.view(np.float16), every.view(ml_dtypes.bfloat16), fh, fb, portable, np.int32(65536))
    em.RawModule(code=CONVERT).get_function("widen")((8,), (256,), args)
    same(fh, every.view(np.float16).astype(np.float32))
    same(portable, every.view(np.float16).astype(np.float32))
    same(fb, every.view(ml_dtypes.bfloat16).astype(np.float32))


def test_roundings_agree_with_numpy() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, size=1 << 19, dtype=np.uint64).astype(np.uint32)
    halves = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (halves[:-1] + halves[1:]) / 2  # halfway between neighbours
    x = np.concatenate([bits.view(np.float32), rng.normal(size=1 << 18).astype(np.float32), halves, ties])
    h, b, p = np.empty(x.size, np.float16), np.empty(x.size, ml_dtypes.bfloat16), np.empty(x.size, np.uint16)
    em.RawModule(code=CONVERT).get_function("narrow")((64,), (256,), (x, h, b, p, np.int32(x.size)))
    same(h, x.astype(np.float16))
    same(p.view(np.float16), x.astype(np.float16))
    same(b, x.astype(ml_dtypes.bfloat16))


def test_half_arithmetic() -> None:
    rng = np.random.default_rng(1)
    n = 512
    a, b = rng.normal(size=(2, n)).astype(np.float16)
    out = np.empty((7, n), np.float16)
    em.RawModule(code=CONVERT).get_function("arithmetic")((4,), (128,), (a, b, out, np.int32(n)))
    wide = a.astype(np.float64) * b + a
    for got, want in zip(
        out, [a + b, a * b, a / b, wide.astype(np.float16), a * np.float16(2), np.sqrt(np.abs(a))], strict=False
    ):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(out[6], a + a.reshape(-1, 2)[:, ::-1].reshape(-1))


WMMA = r"""
#include <mma.h>
using namespace nvcuda;
template <typename T, int M, int N, int K, typename LB>
__global__ void product(const T* A, const T* B, float* C, int m, int n, int k) {
  wmma::fragment<wmma::matrix_a, M, N, K, T, wmma::row_major> a;
  wmma::fragment<wmma::matrix_b, M, N, K, T, LB> b;
  wmma::fragment<wmma::accumulator, M, N, K, float> c;
  wmma::fill_fragment(c, 0.0f);
  bool transposed = sizeof(LB*) && __is_same(LB, wmma::col_major);
  for (int i = 0; i < k; i += K) {
    wmma::load_matrix_sync(a, A + blockIdx.y * M * k + i, k);
    wmma::load_matrix_sync(b, transposed ? B + blockIdx.x * N * k + i : B + i * n + blockIdx.x * N, transposed ? k : n);
    wmma::mma_sync(c, a, b, c);
  }
  for (int e = 0; e < c.num_elements; ++e) c.x[e] *= 0.5f;
  wmma::store_matrix_sync(C + blockIdx.y * M * n + blockIdx.x * N, c, n, wmma::mem_row_major);
}
"""


def test_matrices_of_tensor_cores_must_be_aligned() -> None:
    """CUDA C++ Programming Guide, warp matrix functions: 256-bit pointers, leading dimensions of 16 bytes."""
    code = """
#include <mma.h>
using namespace nvcuda::wmma;
extern "C" __global__ void k(const half* A, float* C, int shift, int pitch) {
  __shared__ __align__(32) half tile[20*32];
  for (int i = threadIdx.x; i < 20*32; i += 32) tile[i] = A[i];
  __syncwarp();
  fragment<matrix_a, 16, 16, 16, half, row_major> a;
  fragment<matrix_b, 16, 16, 16, half, col_major> b;
  fragment<accumulator, 16, 16, 16, float> c;
  fill_fragment(c, 0.0f);
  load_matrix_sync(a, tile + shift, pitch);
  load_matrix_sync(b, tile, 16);
  mma_sync(c, a, b, c);
  store_matrix_sync(C, c, 16, mem_row_major);
}
"""
    kernel = em.RawModule(code=code, check=True).get_function("k")
    a = np.random.default_rng(0).normal(size=20 * 32).astype(np.float16)
    c = np.zeros((16, 16), np.float32)
    kernel((1,), (32,), (a, c, np.int32(16), np.int32(24)))
    left = np.array([[a[16 + i * 24 + j] for j in range(16)] for i in range(16)], float)
    np.testing.assert_allclose(c, left @ a[:256].reshape(16, 16).T.astype(float), atol=1e-4)
    for shift, pitch in ((8, 16), (1, 16), (0, 20), (0, 17)):
        with pytest.raises(em.CheckError) as found:
            kernel((1,), (32,), (a, c, np.int32(shift), np.int32(pitch)))
        assert {(r.kind, r.line) for r in found.value.reports} == {("misaligned", 12)}, (shift, pitch)


@pytest.mark.parametrize("shape", [(16, 16, 16), (32, 8, 16), (8, 32, 16)])
@pytest.mark.parametrize("kind", ["half", "__nv_bfloat16"])
@pytest.mark.parametrize("layout", ["row_major", "col_major"])
def test_wmma_gemm(shape: tuple[int, int, int], kind: str, layout: str) -> None:
    tm, tn, tk = shape
    m, n, k = 2 * tm, 3 * tn, 2 * tk
    names = {
        (s, t, l): f"product<{t}, {s[0]}, {s[1]}, {s[2]}, wmma::{l}>"
        for s in [(16, 16, 16), (32, 8, 16), (8, 32, 16)]
        for t in ("half", "__nv_bfloat16")
        for l in ("row_major", "col_major")
    }
    rng = np.random.default_rng(2)
    dtype = np.float16 if kind == "half" else ml_dtypes.bfloat16
    a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    stored = np.ascontiguousarray(b.T) if layout == "col_major" else b
    c = np.empty((m, n), np.float32)
    module = em.RawModule(code=WMMA, name_expressions=list(names.values()))
    args = (a, stored, c, np.int32(m), np.int32(n), np.int32(k))
    module.get_function(names[shape, kind, layout])((n // tn, m // tm), (32,), args)
    np.testing.assert_allclose(c, 0.5 * (a.astype(np.float64) @ b.astype(np.float64)), atol=1e-5)
