"""Kernels whose blocks work together on tiles, trees and counts, and bugs of them; see `seeded`."""

from __future__ import annotations

import numpy as np

from tests.emulator.seeded import F32, F64, I32, U32, Case, Edit, mark, ramp, zeros

TILED = """
template <typename T, int N>
__global__ void __launch_bounds__(N* N) product(const T* __restrict__ A, const T* __restrict__ B, T* C, int m, int k, int n)
{
    __shared__ T a[N][N + 1], b[N][N + 1];
    const int r = blockIdx.y * N + threadIdx.y, c = blockIdx.x * N + threadIdx.x;
    T sum = T(0);
    for (int t = 0; t < (k + N - 1) / N; ++t) {
        const int ka = t * N + threadIdx.x, kb = t * N + threadIdx.y;
        a[threadIdx.y][threadIdx.x] = r < m && ka < k ? A[r * k + ka] : T(0);
        b[threadIdx.y][threadIdx.x] = kb < k && c < n ? B[kb * n + c] : T(0);
        __syncthreads();
        #pragma unroll
        for (int e = 0; e < N; ++e)
            sum += a[threadIdx.y][e] * b[e][threadIdx.x];
        __syncthreads();
    }
    if (r < m && c < n)
        C[r * n + c] = sum;
}
"""
A, B = ramp(19 * 21, F64).reshape(19, 21), ramp(21 * 9, F64).reshape(21, 9)


def tiled(name: str, kind: str, *edits: Edit) -> Case:
    return Case(name, kind, "product<double, 8>", TILED, edits,
                lambda: [A.copy(), B.copy(), zeros(19 * 9, F64), I32(19), I32(21), I32(9)],
                lambda g: np.allclose(g[2].reshape(19, 9), A @ B), (2, 3), (8, 8), uninitialized=("C",))  # fmt: skip


BLELLOCH = """
extern "C" __global__ void scan(const int* in, int* out, int n)
{
    extern __shared__ int s[];
    const int t = threadIdx.x;
    s[2 * t] = 2 * t < n ? in[2 * t] : 0;
    s[2 * t + 1] = 2 * t + 1 < n ? in[2 * t + 1] : 0;
    int apart = 1;
    for (int d = blockDim.x; d > 0; d >>= 1) {
        __syncthreads();
        if (t < d) {
            const int i = apart * (2 * t + 1) - 1, j = apart * (2 * t + 2) - 1;
            s[j] += s[i];  // up
        }
        apart *= 2;
    }
    if (t == 0) s[2 * blockDim.x - 1] = 0;
    for (int d = 1; d <= blockDim.x; d *= 2) {
        apart >>= 1;
        __syncthreads();
        if (t < d) {
            const int i = apart * (2 * t + 1) - 1, j = apart * (2 * t + 2) - 1;
            const int held = s[i];  // down
            s[i] = s[j];
            s[j] += held;
        }
    }
    __syncthreads();
    if (2 * t < n) out[2 * t] = s[2 * t];
    if (2 * t + 1 < n) out[2 * t + 1] = s[2 * t + 1];
}
"""


def blelloch(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(123, I32)
    return Case(name, kind, "scan", BLELLOCH, edits, lambda: [x.copy(), zeros(123, I32), I32(123)],
                lambda g: bool((g[1] == np.cumsum(x) - x).all()), 1, 64, 512, ("out",))  # fmt: skip


HISTOGRAM = """
__constant__ int edges[17] = {0, 6, 12, 18, 24, 30, 36, 42, 48, 54, 60, 66, 72, 78, 84, 90, 102};

__device__ __forceinline__ int bin_of(int v)
{
    int b = 0;
    while (v >= edges[b + 1]) ++b;
    return b;
}

extern "C" __global__ void histogram(const int* __restrict__ v, unsigned* __restrict__ total, int n)
{
    __shared__ unsigned count[16];
    if (threadIdx.x < 16) count[threadIdx.x] = 0;  // clear
    __syncthreads();  // cleared
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&count[bin_of(__ldg(v + i))], 1u);  // add
    __syncthreads();
    if (threadIdx.x < 16) atomicAdd(total + threadIdx.x, count[threadIdx.x]);
}
"""


def histogram(name: str, kind: str, *edits: Edit) -> Case:
    v = ramp(1000, I32)
    edges = [*range(0, 96, 6), 102]
    return Case(name, kind, "histogram", HISTOGRAM, edits, lambda: [v.copy(), zeros(16, U32), I32(1000)],
                lambda g: bool((g[1] == np.histogram(v, edges)[0]).all()), 3, 96)  # fmt: skip


LAST_BLOCK = """
__device__ unsigned int done = 0;

__device__ float fold(float v, float* part)
{
    for (int o = 16; o; o >>= 1) v += __shfl_down_sync(0xffffffffu, v, o);
    if ((threadIdx.x & 31) == 0) part[threadIdx.x >> 5] = v;
    __syncthreads();
    v = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0.0f;
    if (threadIdx.x < 32)
        for (int o = 16; o; o >>= 1) v += __shfl_down_sync(0xffffffffu, v, o);
    return v;
}

extern "C" __global__ void mean(const float* x, float* part, float* out, int n)
{
    __shared__ float warps[32];
    __shared__ bool last;
    float v = 0.0f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) v += x[i];
    v = fold(v, warps);
    if (threadIdx.x == 0) {
        part[blockIdx.x] = v;
        __threadfence();
        last = atomicInc(&done, gridDim.x - 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    v = 0.0f;
    for (int i = threadIdx.x; i < gridDim.x; i += blockDim.x)
        v += part[i];
    __syncthreads();
    v = fold(v, warps);
    if (threadIdx.x == 0) out[0] = v / n;
}
"""


def last_block(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(3000)
    return Case(name, kind, "mean", LAST_BLOCK, edits, lambda: [x.copy(), zeros(5), zeros(1), I32(3000)],
                lambda g: np.isclose(g[2][0], x.mean()), 5, 96, 0, ("part", "out"))  # fmt: skip


STENCIL = """
struct Box { int nx, ny; float weight; };

extern "C" __global__ void heat(const float* in, float* out, Box box)
{
    __shared__ float s[10][18];
    const int gx = blockIdx.x * 16 + threadIdx.x, gy = blockIdx.y * 8 + threadIdx.y;
    auto at = [&](int y, int x) {
        const int cy = min(max(y, 0), box.ny - 1), cx = min(max(x, 0), box.nx - 1);
        return in[cy * box.nx + cx];
    };
    s[threadIdx.y + 1][threadIdx.x + 1] = at(gy, gx);
    if (threadIdx.x == 0) s[threadIdx.y + 1][0] = at(gy, gx - 1);
    if (threadIdx.x == 15) s[threadIdx.y + 1][17] = at(gy, gx + 1);
    if (threadIdx.y == 0) s[0][threadIdx.x + 1] = at(gy - 1, gx);
    if (threadIdx.y == 7) s[9][threadIdx.x + 1] = at(gy + 1, gx);
    __syncthreads();
    if (gx >= box.nx || gy >= box.ny) return;
    const float (*c)[18] = reinterpret_cast<const float (*)[18]>(&s[threadIdx.y][threadIdx.x]);
    out[gy * box.nx + gx] = c[1][1] + box.weight *
        (c[0][1] + c[2][1] + c[1][0] + c[1][2] - 4 * c[1][1]);
}
"""
BOX = np.dtype([("nx", I32), ("ny", I32), ("weight", F32)])


def stencil(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(30 * 13).reshape(13, 30)
    p = np.pad(x, 1, mode="edge")
    want = x + 0.25 * (p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4 * x)
    return Case(name, kind, "heat", STENCIL, edits,
                lambda: [x.copy(), zeros(390), np.array((30, 13, 0.25), BOX)[()]],
                lambda g: np.allclose(g[1].reshape(13, 30), want), (2, 2), (16, 8), 0, ("out",))  # fmt: skip


BITONIC = """
template <class Key>
__device__ inline void exchange(Key* s, int i, int j, bool up)
{
    const Key a = s[i], b = s[j];
    if ((a > b) == up) {
        s[i] = b;
        s[j] = a;
    }
}

template <class Key>
__global__ void sort(Key* keys, int n, Key top)
{
    extern __shared__ __align__(16) unsigned char raw[];
    Key* s = reinterpret_cast<Key*>(raw);
    const int t = threadIdx.x;
    s[t] = t < n ? keys[t] : top;
    for (int k = 2; k <= blockDim.x; k <<= 1)
        for (int j = k >> 1; j > 0; j >>= 1) {
            __syncthreads();  // step
            const int other = t ^ j;
            if (other > t) exchange(s, t, other, (t & k) == 0);
        }
    __syncthreads();
    if (t < n) keys[t] = s[t];
}
"""


def bitonic(name: str, kind: str, *edits: Edit) -> Case:
    k = ramp(120, F64)
    return Case(name, kind, "sort<double>", BITONIC, edits, lambda: [k.copy(), I32(120), F64(1e9)],
                lambda g: bool((g[0] == np.sort(k)).all()), 1, 128, 1032)  # fmt: skip


FILL_A = "a[threadIdx.y][threadIdx.x] = r < m && ka < k ? A[r * k + ka] : T(0);"
FILL_B = "b[threadIdx.y][threadIdx.x] = kb < k && c < n ? B[kb * n + c] : T(0);"
MULTIPLY = "sum += a[threadIdx.y][e] * b[e][threadIdx.x];"
EXCHANGED = [mark("const Key a = s[i], b = s[j];"), mark("        s[i] = b;"), mark("        s[j] = a;")]

BLOCKS = [
    tiled("tile not filled in the tail", "uninitialized", mark(MULTIPLY),
          (FILL_A, "if (r < m && ka < k) a[threadIdx.y][threadIdx.x] = A[r * k + ka];")),
    tiled("one row past a tile", "out-of-bounds", (MULTIPLY, MULTIPLY.replace("b[e]", "b[e + 1]") + "  // BUG")),
    tiled("columns unguarded", "out-of-bounds", (FILL_B, FILL_B.replace(" && c < n", "") + "  // BUG")),
    tiled("no barrier after use", "race", mark(MULTIPLY, "OTHER"), mark(FILL_A), mark(FILL_B),
          ("        __syncthreads();\n    }", "    }")),
    tiled("no barrier before use", "race", mark(MULTIPLY), mark(FILL_A, "OTHER"), mark(FILL_B, "OTHER"),
          ("        __syncthreads();\n        #pragma", "        #pragma")),
    blelloch("no barrier on the way down", "race", ("apart >>= 1;\n        __syncthreads();", "apart >>= 1;"),
             ("const int held = s[i];  // down", "const int held = s[i];  // BUG OTHER"),
             mark("s[i] = s[j];", "BUG OTHER"), mark("s[j] += held;", "BUG OTHER"),
             mark("if (t == 0) s[2 * blockDim.x - 1] = 0;", "OTHER"), ("s[j] += s[i];  // up", "s[j] += s[i];  // OTHER")),
    blelloch("tail not filled", "uninitialized", mark("s[j] += s[i];  // up"),
             ("s[2 * t + 1] = 2 * t + 1 < n ? in[2 * t + 1] : 0;", "if (2 * t + 1 < n) s[2 * t + 1] = in[2 * t + 1];")),
    histogram("a bin not cleared", "uninitialized", ("count[bin_of(__ldg(v + i))], 1u);  // add",
              "count[bin_of(__ldg(v + i))], 1u);  // BUG"), ("x < 16) count[threadIdx.x] = 0", "x < 15) count[threadIdx.x] = 0")),
    histogram("bins cleared too late", "race", ("    __syncthreads();  // cleared\n", ""),
              ("1u);  // add", "1u);  // BUG"), ("= 0;  // clear", "= 0;  // OTHER")),
    histogram("blocks add without atomics", "race", ("atomicAdd(total + threadIdx.x, count[threadIdx.x]);",
              "total[threadIdx.x] += count[threadIdx.x];  // BUG OTHER")),
    histogram("the data are counted away", "write-to-input", ("1u);  // add", "1u), ((int*)v)[i] = 0;  // BUG")),
    histogram("a value beyond the last edge", "out-of-bounds", ("90, 102}", "90, 100}"),
              ("while (v >= edges[b + 1]) ++b;", "while (b < 20 && v >= edges[b + 1]) ++b;  // BUG"),
              ("unsigned count[16]", "unsigned count[32]")),
    last_block("no fence before the counter", "race", mark("part[blockIdx.x] = v;", "OTHER"), mark("v += part[i];"),
               ("        __threadfence();\n        last", "        last")),
    last_block("barrier for some warps", "barrier-divergence",
               ("    __syncthreads();\n    v = threadIdx.x < blockDim",
                "    if (threadIdx.x < 64) __syncthreads();  // BUG\n    v = threadIdx.x < blockDim")),
    last_block("shuffle among three lanes", "warp-divergence", ("if (threadIdx.x < 32)\n", "if (threadIdx.x < blockDim.x / 32)\n"),
               ("v += __shfl_down_sync(0xffffffffu, v, o);\n    return", "v += __shfl_down_sync(0xffffffffu, v, o);  // BUG\n    return")),
    last_block("adds to what holds nothing", "uninitialized", ("out[0] = v / n;", "out[0] += v / n;  // BUG")),
    stencil("a side of the halo missing", "uninitialized", ("if (threadIdx.y == 7) s[9][threadIdx.x + 1] = at(gy + 1, gx);", ""),
            mark("c[1][2] - 4 * c[1][1]);")),
    stencil("return before the barrier", "barrier-divergence", ("    __syncthreads();\n    if (gx >= box.nx || gy >= box.ny) return;",
            "    if (gx >= box.nx || gy >= box.ny) return;\n    __syncthreads();  // BUG")),
    stencil("two barriers for one", "barrier-divergence", ("    __syncthreads();\n    if (gx",
            "    if (threadIdx.y < 4)\n        __syncthreads();  // OTHER\n    else\n        __syncthreads();  // BUG\n    if (gx")),
    stencil("right side not clamped", "out-of-bounds", ("min(max(x, 0), box.nx - 1)", "max(x, 0)"),
            mark("return in[cy * box.nx + cx];")),
    bitonic("no barrier in a step", "race", *[(a, b + " OTHER") for a, b in EXCHANGED],
            ("            __syncthreads();  // step\n", ""), mark("s[t] = t < n ? keys[t] : top;", "OTHER")),
    bitonic("keys at an odd place", "misaligned", *EXCHANGED, mark("s[t] = t < n ? keys[t] : top;"), mark("keys[t] = s[t];"),
            ("reinterpret_cast<Key*>(raw)", "reinterpret_cast<Key*>(raw + 4)")),
    bitonic("tail without keys", "uninitialized", EXCHANGED[0],
            ("s[t] = t < n ? keys[t] : top;", "if (t < n) s[t] = keys[t];")),
]  # fmt: skip
