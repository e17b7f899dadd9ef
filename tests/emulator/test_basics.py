"""The smallest things: one kernel, shared memory, templates, device globals, printf."""

from __future__ import annotations

import numpy as np
import pytest

import derive.emulator as em

ADD = """
extern "C" __global__ void add(const float* __restrict__ a, const float* b, float* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = a[i] + b[i];
}
"""


@pytest.mark.parametrize("n", [1, 31, 33, 1000])
def test_pointwise(n: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, n)).astype(np.float32)
    out = np.empty_like(a)
    em.RawKernel(ADD, "add")(((n + 255) // 256,), (256,), (a, b, out, np.int32(n)))
    np.testing.assert_array_equal(out, a + b)


def test_arrays_are_made_as_in_cupy() -> None:
    x = em.array([1.0, 2.0], dtype=em.float32)
    assert x.dtype == np.float32
    assert em.asarray(x) is x, "it lies where kernels see it"
    copy = em.array(x)
    copy[0] = 7
    assert x.tolist() == [1, 2]
    places = em.arange(3, 9, 2, dtype=em.int32)
    assert places.tolist() == [3, 5, 7]
    assert em.asarray(places) is places
    turned = em.ascontiguousarray(em.array(np.arange(6.0).reshape(2, 3)).T)
    assert turned.flags.c_contiguous
    assert em.asarray(turned) is turned


def test_template_with_static_shared_memory() -> None:
    code = """
    template <class T> __global__ void mirror(T* x, T s) {
      __shared__ T t[32];
      t[threadIdx.x] = x[threadIdx.x];
      __syncthreads();
      x[threadIdx.x] = s * t[31 - threadIdx.x];
    }
    """
    module = em.RawModule(code=code, name_expressions=["mirror<float>", "mirror<double>"])
    for kind in (np.float32, np.float64):
        x = np.arange(32, dtype=kind)
        module.get_function(f"mirror<{'float' if kind is np.float32 else 'double'}>")((1,), (32,), (x, kind(2)))
        np.testing.assert_array_equal(x, 2 * np.arange(32)[::-1])


@pytest.mark.parametrize(
    "declaration",
    [
        "extern __shared__ float s[];",
        "extern __shared__ __align__(16) float s[];",
        "extern\n __shared__\n float s[];",
        "DYN_SHARED(float, s);",
    ],
)
def test_dynamic_shared_memory(declaration: str) -> None:
    code = f"""
    #ifndef DYN_SHARED
    #define DYN_SHARED(T, n) extern __shared__ T n[]
    #endif
    extern "C" __global__ void mirror(float* x) {{
      {declaration}
      s[threadIdx.x] = x[threadIdx.x];
      __syncthreads();
      x[threadIdx.x] = s[blockDim.x - 1 - threadIdx.x];
    }}
    """
    x = np.arange(64, dtype=np.float32)
    em.RawKernel(code, "mirror")((1,), (64,), (x,), shared_mem=256)
    np.testing.assert_array_equal(x, np.arange(64)[::-1])
