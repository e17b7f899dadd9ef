"""Kernels that carve up memory, work warp by warp or in packs, and bugs of them; see `seeded`."""

from __future__ import annotations

import numpy as np

from tests.emulator.seeded import F32, I32, U8, Case, Edit, mark, ramp, zeros

CARVED = """
#include <stdint.h>
extern "C" __global__ void segments(const float* v, const uint8_t* key, float* sums, int* counts, int n)
{
    extern __shared__ char pool[];
    float* sum = (float*)pool;
    int* count = (int*)(sum + 32);
    uint8_t* mine = (uint8_t*)(count + 32);
    const unsigned t = threadIdx.x, lane = t % warpSize;
    if (t < 32) sum[t] = 0.0f, count[t] = 0;
    mine[t] = t < n ? key[t] & 31 : 255;
    __syncthreads();
    const unsigned here = __ballot_sync(~0u, t < n);
    if (t < n) {
        const unsigned peers = __match_any_sync(here, (int)mine[t]);
        if (lane == __ffs(peers) - 1) atomicAdd(&count[mine[t]], __popc(peers));
        atomicAdd(&sum[mine[t]], v[t]);
    }
    __syncthreads();
    if (t < 32) sums[t] = sum[t], counts[t] = count[t];
}
"""


def carved(name: str, kind: str, *edits: Edit) -> Case:
    v, key = ramp(90), ramp(90, U8)
    return Case(name, kind, "segments", CARVED, edits,
                lambda: [v.copy(), key.copy(), zeros(32), zeros(32, I32), I32(90)],
                lambda g: bool((g[3] == np.bincount(key & 31, minlength=32)).all()
                               and np.allclose(g[2], np.bincount(key & 31, v, 32))),
                1, 96, 352, ("sums", "counts"))  # fmt: skip


WARP_SCAN = """
#define FULL 0xffffffffu
__device__ __noinline__ int inclusive(int v)
{
    const int lane = threadIdx.x & 31;
    for (int d = 1; d < 32; d <<= 1) {
        const int u = __shfl_up_sync(FULL, v, d);
        if (lane >= d) v += u;
    }
    return v;
}

extern "C" __global__ void compact(const int* in, int* out, int* kept, int n)
{
    __shared__ int base[8];
    const int i = blockIdx.x * blockDim.x + threadIdx.x, w = threadIdx.x / 32;
    const bool keep = i < n && in[i] % 3 == 0;
    const int place = inclusive(keep);
    if (threadIdx.x % 32 == 31) base[w] = place;
    __syncthreads();
    if (w == 0) {
        const int t = threadIdx.x;
        int v = t < 8 ? base[t] : 0;
        v = inclusive(v);
        if (t < 8) base[t] = v;
        if (t == 7) kept[0] = v;
    }
    __syncthreads();  // sums
    if (keep) out[(w ? base[w - 1] : 0) + place - 1] = in[i];
}
"""


def warp_scan(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(250, I32)
    kept = x[x % 3 == 0]
    return Case(name, kind, "compact", WARP_SCAN, edits, lambda: [x.copy(), zeros(250, I32), zeros(1, I32), I32(250)],
                lambda g: g[2][0] == len(kept) and bool((g[1][: len(kept)] == kept).all()), 1, 256, 0, ("out",))  # fmt: skip


TRANSPOSE = """
extern "C" __global__ void turn(const float4* in, float* out, int rows, int columns4)
{
    __shared__ float tile[32][33];
    const int c4 = blockIdx.x * 8 + threadIdx.x, r = blockIdx.y * 32 + threadIdx.y, columns = 4 * columns4;
    if (c4 < columns4 && r < rows) {
        const float4 v = in[r * columns4 + c4];
        float* to = &tile[threadIdx.y][4 * threadIdx.x];
        to[0] = v.x; to[1] = v.y;
        to[2] = v.z; to[3] = v.w;
    }
    __syncthreads();
    for (int k = threadIdx.x; k < 32; k += 8) {
        const int c = blockIdx.x * 32 + threadIdx.y, q = blockIdx.y * 32 + k;
        if (c < columns && q < rows)
            out[c * rows + q] = tile[k][threadIdx.y];
    }
}
"""


def transpose(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(37 * 44).reshape(37, 44)
    return Case(name, kind, "turn", TRANSPOSE, edits, lambda: [x.copy(), zeros(37 * 44), I32(37), I32(11)],
                lambda g: bool((g[1].reshape(44, 37) == x.T).all()), (2, 2), (8, 32), 0, ("out",))  # fmt: skip


BUFFERED = """
extern "C" __global__ void moving(const float* __restrict__ x, float* __restrict__ y, int steps)
{
    __shared__ float stage[2][64];
    const int t = threadIdx.x;
    float acc = 0;
    stage[0][t] = x[t];
    for (int k = 0; k < steps; ++k) {
        __syncthreads();  // turn
        if (k + 1 < steps) stage[(k + 1) & 1][t] = x[(k + 1) * 64 + t];
        acc += stage[k & 1][(t + 1) % 64];
    }
    y[t] = acc;
}
"""


def buffered(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(640)
    want = np.roll(x.reshape(10, 64), -1, 1).sum(0)
    return Case(name, kind, "moving", BUFFERED, edits, lambda: [x.copy(), zeros(64), I32(10)],
                lambda g: np.allclose(g[1], want), 1, 64, 0, ("y",))  # fmt: skip


WARPS = """
extern "C" __global__ void warpwise(const float* x, float* y, int n)
{
    __shared__ volatile float s[4][32];
    const int w = threadIdx.x >> 5, lane = threadIdx.x & 31;
    const int i = blockIdx.x * 128 + threadIdx.x;
    s[w][lane] = i < n ? x[i] : 0;  // put
    __syncwarp();  // first
    for (int o = 16; o > 0; o /= 2) {
        float v = s[w][lane];
        if (lane < o) v += s[w][lane + o];
        __syncwarp();  // between
        s[w][lane] = v;
        __syncwarp();  // after
    }
    if (lane == 0 && i < n) y[i / 32] = s[w][0];
}
"""


def warps(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(500)
    want = np.pad(x, (0, 12)).reshape(16, 32).sum(1)
    return Case(name, kind, "warpwise", WARPS, edits, lambda: [x.copy(), zeros(16), I32(500)],
                lambda g: np.allclose(g[1], want), 4, 128, 0, ("y",))  # fmt: skip


BYTES = """
typedef unsigned char byte;
extern "C" __global__ void blur(byte* image, const byte* copy, int n)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i + 1 < n) {
        const int next = copy[i + 1];
        image[i] = (image[i] + next) / 2;
    }
}
"""


def blurred(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(100_000, U8)
    want = ((x[:-1].astype(int) + x[1:]) // 2).astype(U8)
    return Case(name, kind, "blur", BYTES, edits, lambda: [x.copy(), x.copy(), I32(100_000)],
                lambda g: bool((g[0][:-1] == want).all()), 391, 256)  # fmt: skip


HALVES = """
#include <cuda_fp16.h>
extern "C" __global__ void scaled(const __half* x, __half* y, float by, int n)
{
    const int i = 2 * (blockIdx.x * blockDim.x + threadIdx.x);
    if (i + 1 < n) {
        const __half2 v = *reinterpret_cast<const __half2*>(x + i);
        float2 f = __half22float2(v);
        f.x *= by; f.y *= by;
        *reinterpret_cast<__half2*>(y + i) = __floats2half2_rn(f.x, f.y);
    } else if (i < n) {
        y[i] = __float2half(by * __half2float(x[i]));
    }
}
"""


def halves(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(99, np.float16)
    return Case(name, kind, "scaled", HALVES, edits, lambda: [x.copy(), zeros(99, np.float16), F32(0.5), I32(99)],
                lambda g: bool((g[1] == x / 2).all()), 1, 64, 0, ("y",))  # fmt: skip


VOLUME = """
extern "C" __global__ void mix(const float* a, int* order, float* y, int nx, int ny, int nz)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y_ = blockIdx.y * blockDim.y + threadIdx.y;
    const int z = blockIdx.z * blockDim.z + threadIdx.z;
    if (x >= nx || y_ >= ny || z >= nz) return;
    const int i = (z * ny + y_) * nx + x;
    assert(i < nx * ny * nz);
    int2 pair = reinterpret_cast<const int2*>(order)[i];
    if (pair.x < 0) printf("negative at %d\\n", i);
    y[i] = a[pair.x] + a[pair.y];
}
"""


def volume(name: str, kind: str, *edits: Edit) -> Case:
    a, order = ramp(60), ramp(120, I32) % 60
    want = a[order[::2]] + a[order[1::2]]
    return Case(name, kind, "mix", VOLUME, edits,
                lambda: [a.copy(), order.copy(), zeros(60), I32(5), I32(4), I32(3)],
                lambda g: bool((g[2] == want).all()), (2, 2, 2), (4, 2, 2), 0, ("y",))  # fmt: skip


LANES = [
    carved("carved one word too far", "out-of-bounds", ("(count + 32)", "(count + 33)"),
           mark("mine[t] = t < n ? key[t] & 31 : 255;")),
    carved("carved one word too short", "race", ("(uint8_t*)(count + 32)", "(uint8_t*)(count + 31)"),
           mark("sum[t] = 0.0f, count[t] = 0;", "BUG OTHER"), mark("atomicAdd(&count[mine[t]], __popc(peers));"),
           mark("__match_any_sync(here, (int)mine[t]);", "OTHER"), mark("atomicAdd(&sum[mine[t]], v[t]);"), mark("mine[t] = t < n ? key[t] & 31 : 255;", "BUG OTHER")),
    carved("match by a mask of all", "warp-divergence", ("__match_any_sync(here, (int)mine[t]);",
           "__match_any_sync(~0u, (int)mine[t]);  // BUG")),
    warp_scan("scan in a branch", "warp-divergence", ("const int place = inclusive(keep);",
              "int place = 0;\n    if (i < n) place = inclusive(keep);"), mark("const int u = __shfl_up_sync(FULL, v, d);")),
    warp_scan("sums read too early", "race", ("    __syncthreads();  // sums\n", ""), mark("if (t < 8) base[t] = v;", "OTHER"),
              mark("place - 1] = in[i];", "BUG OTHER")),
    warp_scan("lane outside the mask", "warp-divergence", ("__shfl_up_sync(FULL, v, d);",
              "__shfl_sync(0xffffu << (lane & 16), v, (lane - d) & 31);  // BUG")),
    transpose("tile one row short", "out-of-bounds", ("tile[32][33]", "tile[31][33]"), mark("to[0] = v.x; to[1] = v.y;"),
              mark("to[2] = v.z; to[3] = v.w;"), mark("= tile[k][threadIdx.y];")),
    transpose("vectors off by one", "misaligned", ("in[r * columns4 + c4];",
              "*(const float4*)((const float*)in + 4 * (r * columns4 + c4) - (c4 > 0));  // BUG")),
    transpose("no barrier", "race", ("    __syncthreads();\n    for", "    for"), mark("to[0] = v.x; to[1] = v.y;", "OTHER"),
              mark("to[2] = v.z; to[3] = v.w;", "OTHER"), mark("= tile[k][threadIdx.y];")),
    buffered("one buffer for two", "race", ("stage[(k + 1) & 1][t] = x[(k + 1) * 64 + t];",
             "stage[k & 1][t] = x[(k + 1) * 64 + t];  // OTHER BUG"), mark("acc += stage[k & 1][(t + 1) % 64];", "BUG OTHER")),
    buffered("first stage not loaded", "uninitialized", ("    stage[0][t] = x[t];\n", ""),
             mark("acc += stage[k & 1][(t + 1) % 64];")),
    buffered("one step too many", "out-of-bounds", ("if (k + 1 < steps) stage[(k + 1) & 1][t] = x[(k + 1) * 64 + t];",
             "stage[(k + 1) & 1][t] = x[(k + 1) * 64 + t];  // BUG")),
    warps("no barrier between read and write", "race", ("        __syncwarp();  // between\n", ""),
          mark("if (lane < o) v += s[w][lane + o];", "OTHER BUG"), mark("        s[w][lane] = v;", "BUG OTHER")),
    warps("no barrier after the first write", "race", ("    __syncwarp();  // first\n", ""),
          ("x[i] : 0;  // put", "x[i] : 0;  // OTHER BUG"), mark("if (lane < o) v += s[w][lane + o];", "BUG OTHER")),
    warps("barrier in a branch", "warp-divergence", ("if (lane < o) v += s[w][lane + o];\n        __syncwarp();  // between",
          "if (lane < o) {\n            v += s[w][lane + o];\n            __syncwarp();  // BUG\n        }")),
    blurred("blurred in place", "race", ("const int next = copy[i + 1];", "const int next = image[i + 1];  // OTHER"),
            mark("image[i] = (image[i] + next) / 2;")),
    halves("pairs off by one", "misaligned", ("*reinterpret_cast<const __half2*>(x + i);",
           "*reinterpret_cast<const __half2*>(x + i + 1);  // BUG")),
    halves("pair across the end", "out-of-bounds", ("    if (i + 1 < n) {", "    if (i < n) {"),
           mark("reinterpret_cast<const __half2*>(x + i);"), mark("= __floats2half2_rn(f.x, f.y);")),
    volume("depth unguarded", "out-of-bounds", (" || z >= nz", ""), ("    assert(i < nx * ny * nz);\n", ""),
           mark("reinterpret_cast<const int2*>(order)[i];"), mark("y[i] = a[pair.x] + a[pair.y];")),
    volume("pairs off by one", "misaligned", ("reinterpret_cast<const int2*>(order)[i];",
           "reinterpret_cast<const int2*>(order + 1)[max(i - 1, 0)];  // BUG")),
    volume("zeroes what it reads", "write-to-input", ("y[i] = a[pair.x] + a[pair.y];",
           "y[i] = a[pair.x] + a[pair.y], const_cast<float*>(a)[pair.x] = 0;  // BUG")),
]  # fmt: skip
