"""Kernels in styles that people bring: right in fast mode, and without a report in check mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import derive.emulator as em

F32, I32 = np.float32, np.int32

pytestmark = pytest.mark.parametrize("check", [False, True], ids=["fast", "check"])


def launch(code: str, name: str, grid: Any, block: Any, args: Any, check: bool, **more: Any) -> None:
    shared = more.pop("shared_mem", 0)
    em.RawModule(code=code, check=check, **more).get_function(name)(grid, block, args, shared_mem=shared)


def test_reduction_whose_last_block_resets_the_counter(check: bool) -> None:
    code = r"""
    __device__ unsigned int retired = 0;
    __shared__ bool am_last;
    extern __shared__ float sdata[];
    __device__ float block_sum(float v) {
      sdata[threadIdx.x] = v;
      __syncthreads();
      for (unsigned s = blockDim.x / 2; s > 0; s >>= 1) {
        if (threadIdx.x < s) sdata[threadIdx.x] += sdata[threadIdx.x + s];
        __syncthreads();
      }
      return sdata[0];
    }
    extern "C" __global__ void reduce(const float* in, float* partial, float* out, unsigned n) {
      float v = 0;
      for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += in[i];
      float sum = block_sum(v);
      if (threadIdx.x == 0) {
        partial[blockIdx.x] = sum;
        __threadfence();
        unsigned ticket = atomicInc(&retired, gridDim.x);
        am_last = (ticket == gridDim.x - 1);
      }
      __syncthreads();
      if (am_last) {
        float t = 0;
        for (unsigned i = threadIdx.x; i < gridDim.x; i += blockDim.x) t += partial[i];
        t = block_sum(t);
        if (threadIdx.x == 0) {
          *out = t;
          retired = 0;
        }
      }
    }
    """
    x = np.random.default_rng(0).normal(size=5000).astype(F32)
    partial, out = np.empty(40, F32), np.empty(1, F32)
    args = (x, partial, out, np.uint32(5000))
    launch(code, "reduce", 40, 64, args, check, shared_mem=256, order="random", uninitialized=("partial", "out"))
    np.testing.assert_allclose(out[0], x.sum(dtype=np.float64), rtol=1e-4, atol=1e-3)


def test_lock_by_compare_and_swap(check: bool) -> None:
    code = r"""
    __device__ int mutex = 0;
    extern "C" __global__ void guarded(int* counter, volatile double* total) {
      if (threadIdx.x == 0) {
        while (atomicCAS(&mutex, 0, 1) != 0) { }
        __threadfence();
        *counter = *counter + 1;
        *total = *total + 0.5;
        __threadfence();
        atomicExch(&mutex, 0);
      }
    }
    """
    counter, total = np.zeros(1, I32), np.zeros(1)
    launch(code, "guarded", 20, 32, (counter, total), check)
    assert (counter[0], total[0]) == (20, 10.0)


def test_warp_aggregated_append(check: bool) -> None:
    code = r"""
    extern "C" __global__ void keep(const int* x, int* out, int* count, int n) {
      int i = blockIdx.x * blockDim.x + threadIdx.x;
      if (i < n && x[i] > 0) {
        unsigned active = __activemask();
        int lane = threadIdx.x & 31, leader = __ffs(active) - 1, base = 0;
        if (lane == leader) base = atomicAdd(count, __popc(active));
        base = __shfl_sync(active, base, leader);
        out[base + __popc(active & ((1u << lane) - 1))] = x[i];
      }
    }
    """
    x = np.random.default_rng(1).integers(-9, 9, size=500).astype(I32)
    out, count = np.zeros(500, I32), np.zeros(1, I32)
    launch(code, "keep", 4, 128, (x, out, count, I32(500)), check)
    np.testing.assert_array_equal(out[: count[0]], x[x > 0])


def test_bitonic_sort_in_shared_memory(check: bool) -> None:
    code = r"""
    #define SIZE 128
    extern "C" __global__ void sort(int* keys) {
      static __shared__ int s[SIZE];
      s[threadIdx.x] = keys[threadIdx.x];
      for (int k = 2; k <= SIZE; k <<= 1)
        for (int j = k >> 1; j > 0; j >>= 1) {
          __syncthreads();
          int other = threadIdx.x ^ j;
          if (other > threadIdx.x) {
            bool up = (threadIdx.x & k) == 0;
            if ((s[threadIdx.x] > s[other]) == up) {
              int kept = s[threadIdx.x];
              s[threadIdx.x] = s[other];
              s[other] = kept;
            }
          }
        }
      __syncthreads();
      keys[threadIdx.x] = s[threadIdx.x];
    }
    """
    keys = np.random.default_rng(2).integers(0, 1000, size=128).astype(I32)
    want = np.sort(keys)
    launch(code, "sort", 1, 128, (keys,), check)
    np.testing.assert_array_equal(keys, want)


def test_double_buffered_scan_and_several_arrays_in_dynamic_memory(check: bool) -> None:
    code = r"""
    extern "C" __global__ void scan(const float* in, double* out, int n) {
      extern __shared__ __align__(16) unsigned char raw[];
      float* ping = reinterpret_cast<float*>(raw);
      float* pong = ping + n;
      unsigned short* order = reinterpret_cast<unsigned short*>(pong + n);
      int t = threadIdx.x;
      ping[t] = in[t];
      order[t] = n - 1 - t;
      __syncthreads();
      for (int d = 1; d < n; d *= 2) {
        pong[t] = t >= d ? ping[t] + ping[t - d] : ping[t];
        float* kept = ping; ping = pong; pong = kept;
        __syncthreads();
      }
      out[t] = ping[order[t]];
    }
    """
    x = np.arange(64, dtype=F32)
    out = np.empty(64)
    launch(code, "scan", 1, 64, (x, out, I32(64)), check, shared_mem=64 * 10)
    np.testing.assert_array_equal(out, np.cumsum(x)[::-1])


def test_stencil_with_halo(check: bool) -> None:
    code = r"""
    template <int RADIUS>
    __global__ void stencil(const float* __restrict__ in, float* __restrict__ out, int n) {
      extern __shared__ float tile[];
      int g = blockIdx.x * blockDim.x + threadIdx.x, l = threadIdx.x + RADIUS;
      tile[l] = g < n ? __ldg(&in[g]) : 0.0f;
      if (threadIdx.x < RADIUS) {
        tile[l - RADIUS] = g >= RADIUS ? in[g - RADIUS] : 0.0f;
        tile[l + blockDim.x] = g + blockDim.x < n ? in[g + blockDim.x] : 0.0f;
      }
      __syncthreads();
      if (g >= n) return;
      float v = 0;
      #pragma unroll
      for (int o = -RADIUS; o <= RADIUS; ++o) v += tile[l + o];
      out[g] = v;
    }
    """
    x = np.random.default_rng(3).normal(size=150).astype(F32)
    out = np.empty_like(x)
    args = (x, out, I32(150))
    launch(code, "stencil<3>", 3, 64, args, check, shared_mem=4 * 70, name_expressions=["stencil<3>"])
    np.testing.assert_allclose(out, np.convolve(x, np.ones(7), "same"), atol=1e-5)


def test_warp_reduction_with_syncwarp(check: bool) -> None:
    code = r"""
    __device__ void warp_reduce(volatile float* s, int t) {
      for (int h = 16; h > 0; h >>= 1) {
        float v = s[t] + (t < h ? s[t + h] : 0.0f);
        __syncwarp();
        s[t] = v;
        __syncwarp();
      }
    }
    extern "C" __global__ void sums(const float* x, float* out) {
      __shared__ float s[4][32];
      int warp = threadIdx.y, lane = threadIdx.x;
      s[warp][lane] = x[(blockIdx.x * 4 + warp) * 32 + lane];
      __syncwarp();
      warp_reduce(s[warp], lane);
      if (lane == 0) out[blockIdx.x * 4 + warp] = s[warp][0];
    }
    """
    x = np.random.default_rng(4).normal(size=(8, 32)).astype(F32)
    out = np.empty(8, F32)
    launch(code, "sums", 2, (32, 4), (x, out), check, order="random", seed=3)
    np.testing.assert_allclose(out, x.sum(1), atol=1e-5)


def test_half_of_a_warp_and_width(check: bool) -> None:
    code = r"""
    extern "C" __global__ void rows(const double* x, double* out, int rows) {
      int row = blockIdx.x * 4 + threadIdx.x / 16, lane = threadIdx.x % 16;
      double v = row < rows ? x[row * 16 + lane] : 0.0;
      for (int o = 8; o > 0; o /= 2) v += __shfl_down_sync(0xffffffffu, v, o, 16);
      if (lane == 0 && row < rows) out[row] = v;
    }
    """
    x = np.random.default_rng(5).normal(size=(7, 16))
    out = np.empty(7)
    launch(code, "rows", 2, 64, (x, out, I32(7)), check, uninitialized=("out",))
    np.testing.assert_allclose(out, x.sum(1), rtol=1e-12)


def test_block_that_is_no_multiple_of_a_warp(check: bool) -> None:
    code = r"""
    extern "C" __global__ void k(const int* x, int* out) {
      unsigned b = __ballot_sync(0xffffffffu, x[threadIdx.x] & 1);
      int v = __shfl_up_sync(0xffffffffu, x[threadIdx.x], 1);
      __syncwarp();
      out[threadIdx.x] = __popc(b) * 1000 + v;
      __syncthreads();
      if (threadIdx.x == 0) out[0] = __syncthreads_count ? out[47] : 0;
    }
    """
    x = np.arange(48, dtype=I32)
    out = np.empty(48, I32)
    code = code.replace("__syncthreads_count ? out[47] : 0", "out[47]")
    launch(code, "k", 1, 48, (x, out), check)
    np.testing.assert_array_equal(out[1:32], 16000 + np.arange(31))
    np.testing.assert_array_equal(out[33:], 8000 + np.arange(32, 47))


def test_structs_vectors_and_constants(check: bool) -> None:
    code = r"""
    #include <cuda_runtime.h>
    #include <cmath>
    #include <cstdint>
    struct Params { float scale; int shift; };
    __constant__ float4 weights[2] = {{1, 2, 3, 4}, {5, 6, 7, 8}};
    __device__ __forceinline__ float dot(const float4& a, const float4& b) {
      return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
    }
    extern "C" __global__ void __launch_bounds__(64, 2) apply(const float4* __restrict__ x, float2* y, Params p) {
      __shared__ float4 staged[64];
      int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
      staged[threadIdx.x] = x[i];
      __syncthreads();
      float4 v = staged[(threadIdx.x + p.shift) & 63];
      float2 r;
      r.x = p.scale * dot(v, weights[0]);
      r.y = std::sqrt(std::fabs(dot(v, weights[1])));
      y[i] = r;
    }
    """
    x = np.random.default_rng(6).normal(size=(64, 4)).astype(F32)
    y = np.empty((64, 2), F32)
    params = np.array((0.5, 3), dtype=[("scale", F32), ("shift", I32)])[()]
    launch(code, "apply", 1, 64, (x, y, params), check)
    v = np.roll(x, -3, axis=0)
    np.testing.assert_allclose(y[:, 0], 0.5 * v @ np.arange(1, 5), atol=1e-5)
    np.testing.assert_allclose(y[:, 1], np.sqrt(np.abs(v @ np.arange(5, 9))), atol=1e-5)


def test_flag_set_by_many_threads(check: bool) -> None:
    code = r"""
    extern "C" __global__ void any(const float* x, int* found, int n) {
      __shared__ bool hit;
      if (threadIdx.x == 0) hit = false;
      __syncthreads();
      for (int i = threadIdx.x; i < n; i += blockDim.x)
        if (isnan(x[i])) hit = true;
      __syncthreads();
      if (threadIdx.x == 0) *found = hit;
    }
    """
    x = np.full(100, np.nan, F32)
    found = np.zeros(1, I32)
    launch(code, "any", 1, 64, (x, found, I32(100)), check)
    assert found[0] == 1


def test_in_place_and_aliased(check: bool) -> None:
    code = r"""
    extern "C" __global__ void axpy(const float* x, const float* y, float* out, int n) {
      int i = blockIdx.x * blockDim.x + threadIdx.x;
      if (i < n) out[i] = 2.0f * x[i] + y[i];
    }
    """
    x, y = np.ones((2, 100), F32)
    launch(code, "axpy", 1, 128, (x, y, y, I32(100)), check)
    assert (y == 3).all()


def test_bytes_and_booleans(check: bool) -> None:
    code = r"""
    extern "C" __global__ void mask(const unsigned char* x, bool* out, signed char* low, int n) {
      __shared__ bool keep[64];
      int i = blockIdx.x * 64 + threadIdx.x;
      keep[threadIdx.x] = i < n && x[i] > 100;
      __syncthreads();
      if (i < n) {
        out[i] = keep[threadIdx.x ^ 1];
        low[i] = (signed char)x[i];
      }
    }
    """
    x = np.random.default_rng(7).integers(0, 256, size=128).astype(np.uint8)
    out, low = np.empty(128, np.bool_), np.empty(128, np.int8)
    launch(code, "mask", 2, 64, (x, out, low, I32(128)), check, uninitialized=("out", "low"))
    np.testing.assert_array_equal(out, (x > 100).reshape(-1, 2)[:, ::-1].reshape(-1))
    np.testing.assert_array_equal(low, x.astype(np.int8))


def test_producer_and_consumer_through_atomics(check: bool) -> None:
    code = r"""
    extern "C" __global__ void pass(float* data, int* flags, float* out) {
      int b = blockIdx.x;
      if (threadIdx.x == 0) {
        float before = 0.0f;
        if (b > 0) {
          while (atomicAdd(&flags[b - 1], 0) == 0) { }
          __threadfence();
          before = data[b - 1];
        }
        data[b] = before + 1.0f;
        __threadfence();
        atomicExch(&flags[b], 1);
        out[b] = data[b];
      }
    }
    """
    data, flags, out = np.empty(9, F32), np.zeros(9, I32), np.empty(9, F32)
    launch(code, "pass", 9, 32, (data, flags, out), check, uninitialized=("data", "out"))
    np.testing.assert_array_equal(out, np.arange(1, 10))
