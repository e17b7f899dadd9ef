"""Kernels whose threads wait for each other or count together, right and with one bug each; as in `seeded`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.emulator.seeded import I32, U32, Case, Edit, ramp, zeros

N = 640
X = ramp(N)

# A scan in one pass: each tile publishes its sum, then its prefix, and looks back over those before it.
LOOKBACK = """
#define TILE 128
enum : int { EMPTY = 0, AGGREGATE = 1, PREFIX = 2 };
extern "C" __global__ void lookback(const int* in, int* out, volatile int* status, volatile int* agg,
                                    volatile int* incl, int n, unsigned* ticket)
{
    __shared__ int s[TILE];
    __shared__ int s_tile, s_before;
    if (threadIdx.x == 0) s_tile = atomicAdd(ticket, 1u);
    __syncthreads();
    const int tile = s_tile, i = tile * TILE + threadIdx.x;
    int v = i < n ? in[i] : 0;
    s[threadIdx.x] = v;
    __syncthreads();
    for (int d = 1; d < TILE; d *= 2) {
        int add = threadIdx.x >= d ? s[threadIdx.x - d] : 0;
        __syncthreads();
        s[threadIdx.x] += add;
        __syncthreads(); // added
    }
    if (threadIdx.x == 0) {
        const int total = s[TILE - 1];
        int before = 0;
        if (tile > 0) {
            agg[tile] = total; // agg
            __threadfence(); // fence1
            status[tile] = AGGREGATE;
            for (int t = tile - 1; t >= 0; --t) {
                int st;
                while ((st = status[t]) == EMPTY) { }
                __threadfence(); // fence2
                if (st == PREFIX) { before += incl[t]; break; } // look
                before += agg[t];
            }
        }
        incl[tile] = before + total; // incl
        __threadfence(); // fence3
        status[tile] = PREFIX;
        s_before = before; // before
    }
    __syncthreads(); // known
    if (i < n) out[i] = s[threadIdx.x] + s_before; // use
}
"""


def lookback(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(1000, I32)
    return Case(name, kind, "lookback", LOOKBACK, edits,
                lambda: [x.copy(), zeros(1000, I32), *(zeros(8, I32) for _ in range(3)), I32(1000), zeros(1, U32)],
                lambda g: bool((g[1] == np.cumsum(x)).all()), 8, 128, uninitialized=("out", "agg", "incl"))  # fmt: skip


# Each block waits for the one before it, and so knows what all before that one did.
CHAIN = """
extern "C" __global__ void chain(const float* x, float* y, float* seen, int n, volatile int* flags,
                                 volatile float* carry, int* ticket)
{
    __shared__ int tile; if (threadIdx.x == 0) tile = atomicAdd(ticket, 1);
    __syncthreads();
    __shared__ float before;
    __shared__ float w[2];
    const int i = tile * blockDim.x + threadIdx.x;
    float v = i < n ? x[i] : 0.f;
    for (int d = 1; d < 32; d <<= 1) {
        float o = __shfl_up_sync(0xffffffff, v, d);
        if ((threadIdx.x & 31) >= d) v += o;
    }
    if ((threadIdx.x & 31) == 31) w[threadIdx.x >> 5] = v; // w
    __syncthreads(); // warps
    if (threadIdx.x >= 32) v += w[0]; // addw
    if (threadIdx.x == 0) {
        if (tile == 0) before = 0;
        else {
            while (flags[tile - 1] != 1) __nanosleep(20); // spin
            __threadfence(); // fence
            before = carry[tile - 1]; // carry
        }
    }
    __syncthreads(); // got
    v += before; // use
    if (i < n) y[i] = v;
    if (tile > 0 && threadIdx.x == 3) seen[tile] = y[(tile - 1) * blockDim.x]; // look1
    if (tile > 1 && threadIdx.x == 5) seen[16 + tile] = y[(tile - 2) * blockDim.x]; // look2
    __syncthreads(); // all
    if (threadIdx.x == blockDim.x - 1) {
        carry[tile] = v; // put
        __threadfence(); // release
        flags[tile] = 1; // flag
    }
}
"""


def chain(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(500)
    return Case(name, kind, "chain", CHAIN, edits,
                lambda: [x.copy(), zeros(500), zeros(32), I32(500), zeros(16, I32), zeros(16), zeros(1, I32)],
                lambda g: np.allclose(g[1], np.cumsum(x)), 8, 64, uninitialized=("y",))  # fmt: skip


# One warp fills a ring of buffers, another drains it.
RING = """
constexpr int DEPTH = 4, CHUNK = 32;
struct Ring { float data[DEPTH][CHUNK]; volatile int head, tail; };
extern "C" __global__ void ring(const float* in, float* out, int chunks)
{
    __shared__ Ring r;
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    if (threadIdx.x == 0) { r.head = 0; r.tail = 0; } // init
    __syncthreads(); // inited
    if (warp == 0) {
        for (int c = 0; c < chunks; ++c) {
            if (lane == 0) { while (c - r.tail >= DEPTH) ; __threadfence_block(); } // wait for room
            __syncwarp(); // room
            r.data[c % DEPTH][lane] = in[c * CHUNK + lane]; // fill
            __threadfence_block(); // each
            __syncwarp(); // filled
            if (lane == 0) { __threadfence_block(); r.head = c + 1; } // head
        }
    } else {
        for (int c = 0; c < chunks; ++c) {
            if (lane == 0) { while (r.head <= c) ; __threadfence_block(); } // wait for data
            __syncwarp(); // data
            out[c * CHUNK + lane] = 2.f * r.data[c % DEPTH][lane]; // drain
            __threadfence_block(); // each2
            __syncwarp(); // drained
            if (lane == 0) { __threadfence_block(); r.tail = c + 1; } // tail
        }
    }
}
"""


def ring(name: str, kind: str, *edits: Edit) -> Case:
    return Case(name, kind, "ring", RING, edits, lambda: [X.copy(), zeros(N), I32(N // 32)],
                lambda g: bool((g[1] == 2 * X).all()), 1, 64, uninitialized=("out",), waits=True)  # fmt: skip


# Every thread fences what it wrote, then the block meets, then one thread takes the ticket.
FENCED = """
extern "C" __global__ void fenced(const float* x, float* part, float* out, unsigned* sem)
{
    __shared__ bool last;
    part[blockIdx.x * blockDim.x + threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x] * 2; // part
    __threadfence(); // fence
    __syncthreads(); // met
    if (threadIdx.x == 0) last = atomicAdd(sem, 1u) == gridDim.x - 1;
    __syncthreads();
    if (last) {
        __threadfence();
        float s = 0;
        for (int b = 0; b < gridDim.x; ++b) s += part[b * blockDim.x + threadIdx.x]; // fold
        out[threadIdx.x] = s;
    }
}
"""


def fenced(name: str, kind: str, *edits: Edit) -> Case:
    return Case(name, kind, "fenced", FENCED, edits, lambda: [X.copy(), zeros(N), zeros(64), zeros(1, U32)],
                lambda g: bool((g[2] == 2 * X.reshape(10, 64).sum(0)).all()), 10, 64,
                uninitialized=("part", "out"))  # fmt: skip


# Warps work each for itself; the last one adds up.
WARPWISE = """
extern "C" __global__ void warpwise(const float* x, float* part, float* out, unsigned* sem)
{
    const unsigned lane = threadIdx.x & 31, w = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    const unsigned n = gridDim.x * blockDim.x / 32;
    part[w * 32 + lane] = x[w * 32 + lane]; // part
    __syncwarp(); // met
    unsigned t = 0;
    if (lane == 0) { __threadfence(); t = atomicAdd(sem, 1u); __threadfence(); } // ticket
    t = __shfl_sync(0xffffffff, t, 0);
    __syncwarp(); // told
    if (t == n - 1) {
        float s = 0;
        for (int i = 0; i < n; ++i) s += part[i * 32 + lane]; // fold
        out[lane] = s;
    }
}
"""


def warpwise(name: str, kind: str, *edits: Edit) -> Case:
    return Case(name, kind, "warpwise", WARPWISE, edits, lambda: [X.copy(), zeros(N), zeros(32), zeros(1, U32)],
                lambda g: bool((g[2] == X.reshape(20, 32).sum(0)).all()), 10, 64,
                uninitialized=("part", "out"))  # fmt: skip


# A counter that one thread clears and all change; the counters of the grid are the caller's to clear.
COUNTERS = """
extern "C" __global__ void counters(const int* x, unsigned* total, unsigned* spare, int n)
{
    __shared__ unsigned count;
    if (threadIdx.x == 0) count = 0;  // clear
    __syncthreads();  // cleared
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i == 0) spare[0] = 0;  // whole
    if (i < n && x[i] % 2) atomicAdd(&count, 1u);  // count
    __syncthreads();  // counted
    if (threadIdx.x == 0) atomicAdd(total, count);  // add
}
"""


def counters(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(500, I32)
    return Case(name, kind, "counters", COUNTERS, edits,
                lambda: [x.copy(), zeros(1, U32), zeros(1, U32), I32(500)],
                lambda g: int(g[1][0]) == int((x % 2).sum()), 4, 128)  # fmt: skip


# Kernels made by a macro of several lines, a table of functions, and constants.
APPLY = """
#include <math_constants.h>
typedef float (*unary)(float);
__device__ float sq(float x) { return x * x; }
__device__ float neg(float x) { return -x; }
__device__ unary table[2] = {sq, neg};
static __constant__ int kinds[8] = {0, 1, 0, 1, 2, 2, 0, 1};
__device__ float scratch[512];
#define MAKE(T) \\
    extern "C" __global__ void apply_##T(const T* x, T* y, int n) \\
    { \\
        const int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return; \\
        y[i] = one(x[i], i); \\
    }
__device__ __noinline__ float one(float v, int i)
{
    switch (kinds[i & 7]) { // kinds
        case 0: case 1: v = table[kinds[i % 8]](v); break;
        default: v = CUDART_PI_F;
    }
    scratch[i] = v; // scratch
    return scratch[i]; // back
}
MAKE(float)
"""


def apply(name: str, kind: str, *edits: Edit) -> Case:
    def right(g: list[Any]) -> bool:
        kinds = np.arange(500) % 8
        square, negated = np.isin(kinds, (0, 2, 6)), np.isin(kinds, (1, 3, 7))
        return np.allclose(g[1], np.where(square, X[:500] ** 2, np.where(negated, -X[:500], np.pi)))

    return Case(name, kind, "apply_float", APPLY, edits, lambda: [X[:500].copy(), zeros(500), I32(500)], right, 4, 128,
                uninitialized=("y",))  # fmt: skip


SYNC = [
    lookback("no fence before the flag", "race", ("            __threadfence(); // fence1\n", ""),
             ("        __threadfence(); // fence3\n", ""), ("// look", "// BUG"), ("// incl", "// OTHER"),
             ("while ((st = status[t]) == EMPTY) { }", "while ((st = status[t]) == EMPTY) { }  // BUG"),
             ("status[tile] = PREFIX;", "status[tile] = PREFIX;  // OTHER")),
    lookback("the flag before the value", "race",
             ("        incl[tile] = before + total; // incl\n        __threadfence(); // fence3\n", ""),
             ("        status[tile] = PREFIX;",
              "        __threadfence();\n        status[tile] = PREFIX;\n"
              "        incl[tile] = before + total;  // OTHER"),
             ("// look", "// BUG")),
    lookback("used before it is known", "race", ("    __syncthreads(); // known\n", ""), ("// use", "// BUG"),
             ("// before", "// OTHER")),
    chain("not released", "race", ("        __threadfence(); // release\n", ""), ("// carry", "// BUG"),
          ("// spin", "// BUG"), ("// look1", "// BUG"), ("// look2", "// BUG")),
    chain("the others not met before", "race", ("    __syncthreads(); // all\n", ""), ("// look1", "// BUG"),
          ("// look2", "// BUG")),
    chain("no fence after the wait", "race", ("            __threadfence(); // fence\n", ""), ("// carry", "// BUG"),
          ("// spin", "// BUG"), ("// look1", "// BUG"), ("// look2", "// BUG")),
    ring("lanes do not wait for the one that does", "race", ("            __syncwarp(); // data\n", ""),
         ("// fill\n", "// BUG OTHER\n"), ("// drain\n", "// BUG OTHER\n"), ("// tail", "// BUG"),
         ("// head", "// BUG")),
    ring("does not wait for room", "race",
         ("while (c - r.tail >= DEPTH) ; __threadfence_block(); } // wait for room", "}"),
         ("// fill\n", "// BUG OTHER\n"), ("// drain\n", "// BUG OTHER\n"), ("// tail", "// BUG OTHER"),
         ("// wait for data", "// BUG OTHER"), ("// head", "// BUG OTHER")),
    fenced("not met", "race", ("    __syncthreads(); // met\n", ""), ("// fold", "// BUG"),
           ("// part\n", "// OTHER\n")),
    fenced("only one fences", "race", ("    __threadfence(); // fence", "    if (threadIdx.x == 0) __threadfence();"),
           ("// fold", "// BUG"), ("// part\n", "// OTHER\n")),
    fenced("none fences", "race", ("    __threadfence(); // fence\n", ""), ("// fold", "// BUG"),
           ("// part\n", "// OTHER\n")),
    warpwise("lanes have not met", "race", ("    __syncwarp(); // met\n", ""), ("// fold", "// BUG"),
             ("// part\n", "// OTHER\n")),
    counters("cleared while counted", "race", ("    __syncthreads();  // cleared\n", ""), ("// clear\n", "// OTHER\n"),
             ("// count\n", "// BUG\n")),
    counters("cleared for one warp only", "race", ("__syncthreads();  // cleared", "__syncwarp();"),
             ("// clear\n", "// OTHER\n"), ("// count\n", "// BUG\n")),
    counters("read while counted", "race", ("    __syncthreads();  // counted\n", ""), ("// count\n", "// BUG\n"),
             ("// add", "// OTHER")),
    counters("the sum cleared by the first block", "race", ("spare[0] = 0;  // whole", "total[0] = 0;  // OTHER"),
             ("// add", "// BUG")),
    counters("the sum cleared, and the block met", "race",
             ("spare[0] = 0;  // whole", "total[0] = 0;  // OTHER\n    __syncthreads();"), ("// add", "// BUG")),
    apply("beyond the constants", "out-of-bounds", ("kinds[i & 7]) { // kinds", "kinds[i & 15]) {  // BUG"),
          ("table[kinds[i % 8]](v)", "table[kinds[i % 8] % 2](v)")),
    apply("an array of the device too short", "out-of-bounds", ("scratch[512]", "scratch[499]"),
          ("// scratch", "// BUG"), ("// back", "// BUG")),
    apply("one place for two blocks", "race", ("scratch[i] = v; // scratch", "scratch[i % 128] = v;  // BUG"),
          ("return scratch[i];", "return scratch[i % 128];")),
]  # fmt: skip
