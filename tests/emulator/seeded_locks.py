"""Kernels that compare and swap, lock, and hand over between warps, right and with one bug each; as in `seeded`."""

from __future__ import annotations

import numpy as np

from tests.emulator.seeded import F32, I32, Case, Edit, mark, ramp, zeros

# Floats have no atomic maximum: a loop compares and swaps, and begins with what it reads without one.
SWAPS = """
#define FLOOR -1e30f
__device__ float atomicMaxf(float* address, float value)
{
    int* bits = (int*)address;
    int old = *bits, assumed; // guess
    while (value > __int_as_float(old)) {
        assumed = old;
        old = atomicCAS(bits, assumed, __float_as_int(value)); // swap
    }
    return __int_as_float(old);
}
__device__ void atomicAddDouble(double* address, double value)
{
    unsigned long long* bits = (unsigned long long*)address;
    unsigned long long old = *bits, assumed; // first
    do {
        assumed = old;
        old = atomicCAS(bits, assumed, __double_as_longlong(value + __longlong_as_double(assumed))); // sum
    } while (assumed != old);
}
extern "C" __global__ void swaps(const float* x, float* top, double* total, int n)
{
    __shared__ float most;
    if (threadIdx.x == 0) most = FLOOR; // set
    __syncthreads(); // ready
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) atomicMaxf(&most, x[i]);
    __syncthreads(); // done
    if (threadIdx.x == 0) atomicMaxf(top, most); // use
    if (threadIdx.x % 32 == 0) atomicAddDouble(total, 1.0);
}
"""


def swaps(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(700)
    return Case(name, kind, "swaps", SWAPS, edits,
                lambda: [x.copy(), np.full(1, -1, F32), np.zeros(1), I32(700)],
                lambda g: g[1][0] == x.max() and g[2][0] == 6, 3, 64)  # fmt: skip


# Blocks add to two sums under a lock, which a volatile store gives back.
SUMS = """
extern "C" __global__ void sums(const int* x, int* sum, int* mutex, int n)
{
    __shared__ int part;
    if (threadIdx.x == 0) part = 0;
    __syncthreads();
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) atomicAdd(&part, x[i]);
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        while (atomicExch(mutex, 1) == 1) ;
        __threadfence();
        if (threadIdx.x == 0) sum[0] += part; // first
        sum[1] += 1; // second
        __threadfence(); // release
        *(volatile int*)mutex = 0; // unlock
    }
}
"""


def sums(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(160, I32)
    return Case(name, kind, "sums", SUMS, edits, lambda: [x.copy(), zeros(2, I32), zeros(1, I32), I32(160)],
                lambda g: bool((g[1] == (x.sum(), 6)).all()), 3, 64)  # fmt: skip


# The lanes of a warp take a lock in turn, and most of them only look.
TURNS = """
struct Lock {
    int* mutex;
    __device__ void lock() { while (atomicCAS(mutex, 0, 1) != 0) { } __threadfence(); }
    __device__ void unlock() { __threadfence(); atomicExch(mutex, 0); }
};
struct Best { int value, where; };
extern "C" __global__ void turns(const int* x, Best* best, int* mutex, int n)
{
    Lock held{mutex};
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    for (int turn = 0; turn < 32; ++turn) {
        if (threadIdx.x % 32 == turn && i < n) {
            held.lock(); // take
            if (x[i] > best->value) { // look
                best->value = x[i]; // put
                best->where = i; // place
            }
            held.unlock();
        }
        __syncwarp();
    }
}
"""


def turns(name: str, kind: str, *edits: Edit) -> Case:
    x = np.random.default_rng(4).permutation(160).astype(I32)
    return Case(name, kind, "turns", TURNS, edits, lambda: [x.copy(), np.array([-1, -1], I32), zeros(1, I32), I32(160)],
                lambda g: bool((g[1] == (x.max(), x.argmax())).all()), 3, 64)  # fmt: skip


# Two buffers go to and fro between two warps; every lane fences, the warp meets, one lane sets the flag.
STAGES = """
extern "C" __global__ void stages(const float* in, float* out, int chunks)
{
    __shared__ float buffer[2][32];
    __shared__ volatile unsigned full[2], empty[2];
    const int lane = threadIdx.x % 32;
    if (threadIdx.x < 2) { full[threadIdx.x] = 0; empty[threadIdx.x] = 0; }
    __syncthreads();
    for (int c = 0; c < chunks; ++c) {
        const unsigned s = c % 2, phase = c / 2;
        if (threadIdx.x < 32) {
            while (empty[s] != phase) { } // wait
            __threadfence_block();
            __syncwarp();
            buffer[s][lane] = in[c * 32 + lane]; // fill
            __threadfence_block(); // release
            __syncwarp(); // filled
            if (lane == 0) full[s] = phase + 1; // tell
        } else {
            while (full[s] != phase + 1) { } // await
            __threadfence_block(); // acquire
            out[c * 32 + lane] = buffer[s][31 - lane]; // take
            __threadfence_block();
            __syncwarp(); // taken
            if (lane == 0) empty[s] = phase + 1; // free
        }
    }
}
"""


def stages(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(256)
    return Case(name, kind, "stages", STAGES, edits, lambda: [x.copy(), zeros(256), I32(8)],
                lambda g: bool((g[1].reshape(8, 32)[:, ::-1].ravel() == x).all()), 1, 64, uninitialized=("out",),
                waits=True)  # fmt: skip


# Whoever changes a sum last must not take it for the whole sum.
WHOLE = """
extern "C" __global__ void whole(const float* x, float* total, float* mean, float* tops, unsigned* ticket, int n)
{
    __shared__ int top;
    if (threadIdx.x == 0) top = -1;
    __syncthreads();
    float v = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) {
        v += x[i];
        atomicMax(&top, (int)x[i]); // raise
    }
    __syncthreads(); // raised
    if (threadIdx.x == blockDim.x - 1) tops[blockIdx.x] = top; // top
    for (int o = 16; o > 0; o /= 2) v += __shfl_xor_sync(~0u, v, o);
    if (threadIdx.x % 32 == 0) {
        atomicAdd(total, v); // add
        __threadfence();
        if (atomicAdd(ticket, 1u) == blockDim.x / 32 * gridDim.x - 1) // ticket
            *mean = *total / n; // mean
    }
}
"""


def whole(name: str, kind: str, *edits: Edit) -> Case:
    x = ramp(700)
    return Case(name, kind, "whole", WHOLE, edits,
                lambda: [x.copy(), zeros(1), zeros(1), zeros(4), zeros(1, np.uint32), I32(700)],
                lambda g: np.allclose(g[2], x.mean()) and bool(g[3].max() == x.max()), 4, 64,
                uninitialized=("mean", "tops"))  # fmt: skip


LOCKS = [
    whole("taken by the thread that comes last here", "race", ("    __syncthreads(); // raised\n", ""),
          mark("// raise"), ("// top\n", "// OTHER\n")),
    whole("taken by the block that comes last here", "race",
          ("if (atomicAdd(ticket, 1u) == blockDim.x / 32 * gridDim.x - 1) // ticket",
           "if (threadIdx.x == 0 && blockIdx.x == gridDim.x - 1)"), ("// add", "// OTHER"), mark("// mean")),
    swaps("changed before it is set", "race", ("    __syncthreads(); // ready\n", ""), mark("// guess"),
          mark("// swap"), mark("// set", "OTHER")),
    swaps("read while it changes", "race", ("    __syncthreads(); // done\n", ""), mark("// use"),
          mark("// guess", "OTHER"), mark("// swap", "OTHER")),
    swaps("stored, not swapped", "race",
          ("old = atomicCAS(bits, assumed, __float_as_int(value)); // swap",
           "old = *bits = __float_as_int(value);  // BUG OTHER"), mark("// guess", "OTHER")),
    swaps("two doubles half over each other", "misaligned",
          ("atomicAddDouble(total, 1.0)", "atomicAddDouble((double*)((float*)total + 1), 1.0)"), mark("// first"),
          mark("// sum")),
    sums("not released", "race", ("        __threadfence(); // release\n", ""), ("// first", "// BUG OTHER"),
         ("// second", "// BUG OTHER"), ("// unlock", "// BUG OTHER"),
         ("atomicExch(mutex, 1) == 1) ;", "atomicExch(mutex, 1) == 1) ;  // BUG OTHER")),
    sums("added after it is given back", "race", ("        sum[1] += 1; // second\n", ""),
         ("*(volatile int*)mutex = 0; // unlock", "*(volatile int*)mutex = 0;\n        sum[1] += 1;  // BUG OTHER")),
    turns("without the lock", "race", ("            held.lock(); // take\n", ""),
          ("            held.unlock();\n", ""), ("// look", "// BUG OTHER"), ("// put", "// BUG OTHER"),
          ("// place", "// BUG OTHER")),
    stages("not released", "race", ("            __threadfence_block(); // release\n", ""), ("// take\n", "// BUG\n"),
           ("// fill\n", "// OTHER\n"), ("// await\n", "// BUG OTHER\n"), ("// tell", "// BUG OTHER"),
           ("// wait\n", "// BUG OTHER\n"), ("// free", "// BUG OTHER")),
    stages("no fence after the wait", "race", ("            __threadfence_block(); // acquire\n", ""),
           ("// take\n", "// BUG OTHER\n"), ("// fill\n", "// BUG OTHER\n"), ("// await\n", "// BUG OTHER\n"),
           ("// tell", "// BUG OTHER"), ("// wait\n", "// BUG OTHER\n"), ("// free", "// BUG OTHER")),
    stages("filled before it is taken", "race", ("while (empty[s] != phase) { } // wait", ""),
           ("// take\n", "// BUG OTHER\n"), ("// fill\n", "// BUG OTHER\n"), ("// free", "// BUG OTHER"),
           ("// await\n", "// BUG OTHER\n"), ("// tell", "// BUG OTHER")),
]  # fmt: skip
