"""More kernels as people write them, each right as it stands and with one bug put in: see seeded.py."""

from __future__ import annotations

import numpy as np

from tests.emulator.seeded import F32, F64, I32, U8, U32, Case, Edit, ramp, zeros

TREE = """
template <typename T, int THREADS>
__global__ void norm(const T* __restrict__ x, T* __restrict__ out, int n)
{
    __shared__ T s[THREADS];
    T own = 0;
    for (int i = threadIdx.x; i < n; i += THREADS) own += x[blockIdx.x * n + i] * x[blockIdx.x * n + i];
    s[threadIdx.x] = own;
    __syncthreads();  // filled
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) s[threadIdx.x] += s[threadIdx.x + half];  // fold
        __syncthreads();  // folded
    }
    const T length = sqrt(s[0]);  // total
    for (int i = threadIdx.x; i < n; i += THREADS) out[blockIdx.x * n + i] = x[blockIdx.x * n + i] / length;
}
"""


def tree(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(3 * 77, F64).reshape(3, 77) + 1
    return Case(name, kind, "norm<double, 128>", TREE, edits, lambda: [x.copy(), zeros(3 * 77, F64), I32(77)],
                lambda g: np.allclose(g[1].reshape(3, 77), x / np.linalg.norm(x, axis=1, keepdims=True)),
                3, 128, uninitialized=("out",))  # fmt: skip


UNROLLED = """
extern "C" __global__ void total(const float* x, float* y, int n)
{
    __shared__ volatile float s[256];
    const int t = threadIdx.x, i = blockIdx.x * 512 + t;
    s[t] = (i < n ? x[i] : 0) + (i + 256 < n ? x[i + 256] : 0);
    __syncthreads();
    if (t < 128) s[t] += s[t + 128];
    __syncthreads();
    if (t < 64) s[t] += s[t + 64];
    __syncthreads();
    if (t < 32) {
        float v = s[t] + s[t + 32];
        __syncwarp();
        for (int d = 16; d > 0; d /= 2) {
            s[t] = v;
            __syncwarp();  // written
            v += s[t ^ d];  // read
            __syncwarp();  // all have read
        }
        if (t == 0) atomicAdd(y, v);
    }
}
"""


def unrolled(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(1500)
    return Case(name, kind, "total", UNROLLED, edits, lambda: [x.copy(), zeros(1), I32(1500)],
                lambda g: np.isclose(g[1][0], x.sum(dtype=F64), 1e-5), 3, 256)  # fmt: skip


BALLOT = """
extern "C" __global__ void split(const int* v, int* place, unsigned* kept, int n)
{
    __shared__ int before[4];
    const int i = threadIdx.x, lane = i & 31, warp = i >> 5;
    const bool odd = i < n && (v[i] & 1);
    const unsigned ballot = __ballot_sync(0xffffffff, odd);
    if (lane == 0) before[warp] = __popc(ballot);
    __syncthreads();
    int rank = __popc(ballot & ((1u << lane) - 1));
    for (int w = 0; w < warp; ++w) rank += before[w];  // offsets
    if (i < n) place[i] = odd ? rank : -1;
    if (__any_sync(0xffffffff, odd) && lane == 0) atomicOr(kept, 1u << warp);
}
"""


def ballot(name: str, kind: str, *edits: Edit) -> Case:
    v = ramp(119, I32)
    odd = v % 2 == 1
    return Case(name, kind, "split", BALLOT, edits, lambda: [v.copy(), zeros(119, I32), zeros(1, U32), I32(119)],
                lambda g: (g[1] == np.where(odd, np.cumsum(odd) - 1, -1)).all() and g[2][0] == 15,
                1, 128, uninitialized=("place",))  # fmt: skip


PADDED = """
template <class T>
__global__ void transpose(const T* in, T* out, int rows, int columns)
{
    __shared__ T tile[16][17];
    int r = blockIdx.y * 16 + threadIdx.y, c = blockIdx.x * 16 + threadIdx.x;
    if (r < rows && c < columns) tile[threadIdx.y][threadIdx.x] = in[r * columns + c];
    __syncthreads();
    r = blockIdx.y * 16 + threadIdx.x, c = blockIdx.x * 16 + threadIdx.y;
    if (r < rows && c < columns) out[c * rows + r] = tile[threadIdx.x][threadIdx.y];
}
"""


def padded(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(21 * 37, np.int16)
    return Case(name, kind, "transpose<short>", PADDED, edits,
                lambda: [x.copy(), zeros(21 * 37, np.int16), I32(21), I32(37)],
                lambda g: (g[1].reshape(37, 21) == x.reshape(21, 37).T).all(), (3, 2), (16, 16),
                uninitialized=("out",))  # fmt: skip


TYPES = """
extern "C" __global__ void parts(const double* x, double* sum, int* most, int n)
{
    extern __shared__ unsigned char raw[];
    double* sums = (double*)raw;
    int* counts = (int*)(raw + 32 * sizeof(double));
    unsigned char* keys = raw + 32 * sizeof(double) + 32 * sizeof(int);
    const int t = threadIdx.x;
    if (t < 32) sums[t] = 0, counts[t] = 0;
    keys[t] = t < n ? (int)x[t] % 32 : 255;
    __syncthreads();  // cleared
    if (keys[t] < 32) atomicAdd(&sums[keys[t]], x[t]), atomicAdd(&counts[keys[t]], 1);  // count
    __syncthreads();  // counted
    if (t < 32) sum[t] = sums[t], most[t] = counts[t];
}
"""


def types(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(100, F64)
    key = x.astype(int) % 32
    return Case(name, kind, "parts", TYPES, edits, lambda: [x.copy(), zeros(32, F64), zeros(32, I32), I32(100)],
                lambda g: np.allclose(g[1], np.bincount(key, x, 32)) and (g[2] == np.bincount(key, minlength=32)).all(),
                1, 128, 32 * 12 + 128, ("sum", "most"))  # fmt: skip


LAST = """
__device__ unsigned int arrived = 0;
extern "C" __global__ void peak(const float* x, float* part, float* out, int n)
{
    __shared__ float s[64];
    __shared__ bool last;
    float best = -1e30f;
    for (int i = blockIdx.x * 64 + threadIdx.x; i < n; i += gridDim.x * 64) best = fmaxf(best, x[i]);
    for (int d = 16; d; d >>= 1) best = fmaxf(best, __shfl_down_sync(~0u, best, d));
    if (threadIdx.x % 32 == 0) s[threadIdx.x / 32] = best;
    __syncthreads();
    if (threadIdx.x == 0) {
        part[blockIdx.x] = fmaxf(s[0], s[1]);  // part
        __threadfence();  // fence
        last = atomicInc(&arrived, gridDim.x - 1) == gridDim.x - 1;
    }
    __syncthreads();  // known
    if (last && threadIdx.x == 0) {
        float all = part[0];  // gather
        for (int b = 1; b < gridDim.x; ++b) all = fmaxf(all, ((volatile float*)part)[b]);  // rest
        out[0] = all;
    }
}
"""


def last(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(900)
    return Case(name, kind, "peak", LAST, edits, lambda: [x.copy(), zeros(6), zeros(1), I32(900)],
                lambda g: g[2][0] == x.max(), 6, 64, uninitialized=("part", "out"))  # fmt: skip


HALO = """
#define R 3
extern "C" __global__ void smooth(const float* in, float* out, int n)
{
    __shared__ float s[64 + 2 * R];
    const int g = blockIdx.x * 64 + threadIdx.x, l = threadIdx.x + R;
    s[l] = g < n ? in[g] : 0;
    if (threadIdx.x < R) {
        s[l - R] = g >= R ? in[g - R] : 0;  // left
        s[l + 64] = g + 64 < n ? in[g + 64] : 0;  // right
    }
    __syncthreads();
    float sum = 0;
    for (int d = -R; d <= R; ++d) sum += s[l + d];  // sum
    if (g < n) out[g] = sum;
}
"""


def halo(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(150)
    return Case(name, kind, "smooth", HALO, edits, lambda: [x.copy(), zeros(150), I32(150)],
                lambda g: np.allclose(g[1], np.convolve(x, np.ones(7), "same")),
                3, 64, uninitialized=("out",))  # fmt: skip


FLAGS = """
extern "C" __global__ void any_nan(const float* x, int* found, unsigned char* rows, int columns)
{
    __shared__ bool bad;
    __shared__ unsigned char seen[96];
    if (threadIdx.x == 0) bad = false;
    seen[threadIdx.x] = 0;
    __syncthreads();  // cleared
    for (int c = threadIdx.x; c < columns; c += blockDim.x)
        if (x[blockIdx.x * columns + c] > 90) bad = true, seen[threadIdx.x] = 1;
    __syncthreads();  // set
    if (bad && threadIdx.x == 0) atomicAdd(found, 1);  // tell
    const int t = threadIdx.x;
    if (t < 32) rows[blockIdx.x * 32 + t] = seen[t] | seen[t + 32] | seen[t + 64];
}
"""


def flags(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(3 * 200).reshape(3, 200)
    return Case(name, kind, "any_nan", FLAGS, edits, lambda: [x.copy(), zeros(1, I32), zeros(96, U8), I32(200)],
                lambda g: g[1][0] == (x > 90).any(1).sum(), 3, 96, uninitialized=("rows",))  # fmt: skip


VECTOR = """
extern "C" __global__ void scale4(const float4* in, float4* out, int n4, float by)
{
    __shared__ float s[4 * 64 + 4];
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const float4 v = i < n4 ? in[i] : make_float4(0, 0, 0, 0);
    *(float4*)&s[4 * threadIdx.x] = v;
    __syncwarp();
    if (threadIdx.x == 0) *(float4*)(s + 256) = make_float4(by, by, by, by);  // constants
    __syncthreads();  // ready
    const float4 f = *(const float4*)(s + 256);  // factor
    if (i < n4) out[i] = make_float4(s[4 * threadIdx.x] * f.x, v.y * f.y, v.z * f.z, v.w * f.w);  // store
}
"""


def vector(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(400)
    return Case(name, kind, "scale4", VECTOR, edits, lambda: [x.copy(), zeros(400), I32(100), F32(2)],
                lambda g: (g[1] == 2 * x).all(), 2, 64, uninitialized=("out",))  # fmt: skip


SCAN = """
extern "C" __global__ void prefix(const int* in, int* out, int n)
{
    __shared__ int s[2][64];
    int now = 0;
    const int t = threadIdx.x;
    s[0][t] = t < n ? in[t] : 0;
    for (int d = 1; d < 64; d *= 2) {
        __syncthreads();  // step
        s[1 - now][t] = s[now][t] + (t >= d ? s[now][t - d] : 0);  // add
        now = 1 - now;
    }
    if (t < n) out[t] = s[now][t];
}
"""


def scan(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(61, I32)
    return Case(name, kind, "prefix", SCAN, edits, lambda: [x.copy(), zeros(61, I32), I32(61)],
                lambda g: (g[1] == np.cumsum(x)).all(), 1, 64, uninitialized=("out",))  # fmt: skip


MORE = [
    tree("not filled when folded", "race", ("    __syncthreads();  // filled\n", ""), ("// fold\n", "// fold BUG\n"),
         ("s[threadIdx.x] = own;", "s[threadIdx.x] = own;  // OTHER")),
    tree("folds without meeting", "race", ("        __syncthreads();  // folded\n", ""), ("// fold\n", "// fold BUG\n"),
         ("// total", "// total OTHER")),
    tree("barrier in the branch", "barrier-divergence",
         ("if (threadIdx.x < half) s", "if (threadIdx.x < half) { s"),
         ("        __syncthreads();  // folded", "        __syncthreads(); }  // BUG")),
    tree("folds past the end", "out-of-bounds", ("half = THREADS / 2", "half = THREADS"),
          ("// fold\n", "// fold BUG\n")),
    unrolled("no syncwarp after writing", "race", ("            __syncwarp();  // written\n", ""),
          ("// read", "// read BUG"),
             ("s[t] = v;", "s[t] = v;  // OTHER")),
    unrolled("no syncwarp after reading", "race", ("            __syncwarp();  // all have read\n", ""),
             ("// read", "// read OTHER"), ("s[t] = v;", "s[t] = v;  // BUG")),
    unrolled("half a warp meets", "warp-divergence", ("            __syncwarp();  // written",
          "            if (t < 16) __syncwarp();  // BUG")),
    ballot("lanes missing", "warp-divergence", ("const unsigned ballot = __ballot_sync(0xffffffff, odd);",
           "unsigned ballot = 0;\n    if (i < n) ballot = __ballot_sync(0xffffffff, odd);  // BUG")),
    ballot("counts not met", "race", ("    __syncthreads();\n", ""), ("// offsets", "// offsets BUG"),
           ("before[warp] = __popc(ballot);", "before[warp] = __popc(ballot);  // OTHER")),
    ballot("one warp too many", "uninitialized", ("before[4]", "before[8]"),
          ("w < warp; ++w) rank += before[w];  // offsets",
           "w <= warp + 1; ++w) rank += before[w];  // BUG")),
    padded("one further than the end", "out-of-bounds", ("out[c * rows + r] = tile[threadIdx.x][threadIdx.y];",
           "out[c * rows + r + 1] = tile[threadIdx.x][threadIdx.y];  // BUG")),
    padded("no barrier", "race", ("    __syncthreads();\n", ""),
          ("tile[threadIdx.y][threadIdx.x] = in[r * columns + c];",
           "tile[threadIdx.y][threadIdx.x] = in[r * columns + c];  // OTHER"),
           ("= tile[threadIdx.x][threadIdx.y];", "= tile[threadIdx.x][threadIdx.y];  // BUG")),
    types("doubles after bytes", "misaligned", ("double* sums = (double*)raw;", "double* sums = (double*)(raw + 388);"),
          ("int* counts = (int*)(raw + 32 * sizeof(double));", "int* counts = (int*)raw;"),
          ("keys = raw + 32 * sizeof(double) + 32 * sizeof(int)", "keys = raw + 128"),
          ("sums[t] = 0, counts[t] = 0;", "sums[t] = 0, counts[t] = 0;  // BUG"), ("// count\n", "// count BUG\n"),
          ("most[t] = counts[t];", "most[t] = counts[t];  // BUG")),
    types("counts without atomics", "race", ("atomicAdd(&counts[keys[t]], 1);  // count",
          "counts[keys[t]] += 1;  // BUG")),
    types("cleared too late", "race", ("    __syncthreads();  // cleared\n", ""), ("// count\n", "// count BUG\n"),
          ("sums[t] = 0, counts[t] = 0;", "sums[t] = 0, counts[t] = 0;  // OTHER")),
    last("no fence", "race", ("        __threadfence();  // fence\n", ""), ("// part\n", "// part OTHER\n"),
         ("// gather", "// gather BUG"), ("// rest", "// rest BUG")),
    last("parts of all threads", "race", ("part[blockIdx.x] = fmaxf(s[0], s[1]);  // part",
          "part[0] = fmaxf(s[0], s[1]) + blockIdx.x;  // BUG")),
    last("all decide before they know", "race", ("    __syncthreads();  // known\n", ""),
          ("== gridDim.x - 1;", "== gridDim.x - 1;  // OTHER"),
         ("if (last && threadIdx.x == 0) {", "if (last && threadIdx.x == 0) {  // BUG")),
    halo("the right halo is left out",
          "uninitialized", ("        s[l + 64] = g + 64 < n ? in[g + 64] : 0;  // right\n", ""),
          ("// sum", "// sum BUG")),
    halo("reads before the start", "out-of-bounds", ("g >= R ? in[g - R] : 0;  // left", "in[g - R];  // BUG")),
    halo("array without halo", "out-of-bounds", ("s[64 + 2 * R]", "s[64 + R]"), ("// right", "// right BUG"),
          ("// sum", "// sum BUG")),
    flags("cleared while set", "race", ("    __syncthreads();  // cleared\n", ""),
          ("if (threadIdx.x == 0) bad = false;", "if (threadIdx.x == 0) bad = false;  // OTHER"),
          ("bad = true, seen[threadIdx.x] = 1;", "bad = true, seen[threadIdx.x] = 1;  // BUG")),
    flags("bytes not met", "race", ("    __syncthreads();  // set\n", ""),
          ("bad = true, seen[threadIdx.x] = 1;", "bad = true, seen[threadIdx.x] = 1;  // OTHER"),
          ("// tell", "// tell BUG"), ("| seen[t + 64];", "| seen[t + 64];  // BUG"),
          ("seen[threadIdx.x] = 0;", "seen[threadIdx.x] = 0;  // OTHER")),
    vector("a constant place off by one", "misaligned", ("s[4 * 64 + 4]", "s[4 * 64 + 8]"),
          ("*(float4*)(s + 256) =", "*(float4*)(s + 257) ="),
           ("// constants", "// constants BUG"),
          ("*(const float4*)(s + 256);  // factor", "*(const float4*)(s + 257);  // BUG")),
    vector("a constant place read off by two", "misaligned", ("const float4 f = *(const float4*)(s + 256);  // factor",
           "const float4 f = *(const float4*)(s + 254);  // BUG")),
    vector("tail not guarded", "out-of-bounds", ("if (i < n4) out[i]", "out[i]"), ("// store", "// store BUG")),
    scan("one buffer only", "race", ("s[1 - now][t] = s[now][t]", "s[now][t] = s[now][t]"),
          ("        now = 1 - now;\n", ""), ("// add", "// add BUG")),
    scan("reads its own future", "out-of-bounds", ("t >= d ? s[now][t - d] : 0);  // add",
          "s[now][t - 64 * d]);  // BUG")),
]  # fmt: skip
