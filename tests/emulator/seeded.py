"""Kernels as people write them, each right as it stands and with one bug put in.

A case is a correct text and the replacements that break it. In the broken text the comment `BUG` marks the line that a
report must name, `OTHER` the line of the earlier access of a race or of the other barrier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Edit = tuple[str, str]
F32, F64, I32, U8, U32 = np.float32, np.float64, np.int32, np.uint8, np.uint32


def ramp(n: int, kind: Any = F32) -> Any:
    return ((np.arange(n) * 7919) % 101).astype(kind)


def zeros(n: int, kind: Any = F32) -> Any:
    return np.zeros(n, kind)


@dataclass(frozen=True)
class Case:
    """One kernel and one bug.

    Attributes:
        kind: of the report that the bug must give.
        code: the correct text.
        edits: what the bug takes out, and what it puts in.
        kernel: its name, or name expression.
        args: made afresh for each launch.
        holds: whether the arguments after a correct launch are right.
        waits: in a loop for a thread of its block, which only check mode lets have its turn.
    """

    name: str
    kind: str
    kernel: str
    code: str
    edits: tuple[Edit, ...]
    args: Callable[[], list[Any]]
    holds: Callable[[list[Any]], bool]
    grid: Any = 1
    block: Any = 64
    shared: int = 0
    uninitialized: tuple[str, ...] = ()
    waits: bool = False

    @property
    def broken(self) -> str:
        code = self.code
        for old, new in self.edits:
            assert code.count(old) == 1, (self.name, old)
            code = code.replace(old, new)
        return code


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


def mark(text: str, word: str = "BUG") -> Edit:
    """The line that ends so, marked."""
    return text, f"{text}  // {word}"


FILL_A = "a[threadIdx.y][threadIdx.x] = r < m && ka < k ? A[r * k + ka] : T(0);"
FILL_B = "b[threadIdx.y][threadIdx.x] = kb < k && c < n ? B[kb * n + c] : T(0);"
MULTIPLY = "sum += a[threadIdx.y][e] * b[e][threadIdx.x];"
EXCHANGED = [mark("const Key a = s[i], b = s[j];"), mark("        s[i] = b;"), mark("        s[j] = a;")]

CASES = [
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
