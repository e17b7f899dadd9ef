"""One small kernel for each way in which a kernel can be wrong, its bug marked; `test_check` looks for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

F32, I32 = np.float32, np.int32


@dataclass(frozen=True)
class Seeded:
    """A kernel `k` whose bug stands in the line marked `// BUG`; a race's other line is marked `// OTHER`."""

    name: str
    kind: str
    body: str
    what: str = ""
    args: tuple[Any, ...] = field(default_factory=lambda: (np.ones(256, F32), np.ones(256, F32)))
    signature: str = "const float* x, float* y"
    grid: Any = 1
    block: Any = 64
    shared: int = 0
    uninitialized: tuple[str, ...] = ()
    before: str = ""


BUGS = [
    Seeded(
        "one past the end",
        "out-of-bounds",
        """
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= 100)
    y[i] = 1.0f;  // BUG
""",
        "'y'",
        (np.ones(256, F32), np.zeros(100, F32)),
        block=128,
    ),
    Seeded(
        "reads before the start",
        "out-of-bounds",
        """
  int i = threadIdx.x;
  float v = x[i - 1];  // BUG
  y[i] = v;
""",
        "'x': reads 4 bytes at byte -4",
    ),
    Seeded(
        "vector crosses the end",
        "out-of-bounds",
        """
  float4 v = reinterpret_cast<const float4*>(x)[threadIdx.x];  // BUG
  y[threadIdx.x] = v.x + v.w;
""",
        "'x'",
        (np.ones(254, F32), np.ones(64, F32)),
    ),
    Seeded(
        "far away",
        "out-of-bounds",
        """
  long long far = 1ll << 33;
  if (threadIdx.x == 7) y[far] = 1.0f;  // BUG
""",
    ),
    Seeded(
        "null pointer",
        "out-of-bounds",
        """
  y[threadIdx.x] = 1.0f;  // BUG
""",
        "belongs to no argument",
        (np.ones(1, F32), None),
    ),
    Seeded(
        "static shared array overrun",
        "out-of-bounds",
        """
  __shared__ float a[64];
  __shared__ float b[64];
  b[threadIdx.x] = 1.0f;
  a[threadIdx.x + 1] = 2.0f;  // BUG
  __syncthreads();
  y[threadIdx.x] = b[threadIdx.x];
""",
        "'a'",
    ),
    Seeded(
        "dynamic shared memory overrun",
        "out-of-bounds",
        """
  extern __shared__ float s[];
  s[threadIdx.x] = 1.0f;  // BUG
  y[threadIdx.x] = s[threadIdx.x];  // BUG
""",
        "dynamic shared memory",
        shared=63 * 4,
    ),
    Seeded(
        "atomic out of bounds",
        "out-of-bounds",
        """
  atomicAdd(&y[threadIdx.x * 5], 1.0f);  // BUG
""",
        "'y'",
    ),
    Seeded(
        "device global overrun",
        "out-of-bounds",
        """
  table[threadIdx.x] = 1;  // BUG
""",
        "'table'",
        before="__device__ int table[63];",
    ),
    Seeded(
        "shared memory never written",
        "uninitialized",
        """
  __shared__ float s[64];
  if (threadIdx.x < 63) s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];  // BUG
""",
        "'s'",
    ),
    Seeded(
        "adds into an output that holds nothing",
        "uninitialized",
        """
  y[threadIdx.x] += x[threadIdx.x];  // BUG
""",
        "'y'",
        uninitialized=("y",),
    ),
    Seeded(
        "atomic adds into an output that holds nothing",
        "uninitialized",
        """
  atomicAdd(&y[0], x[threadIdx.x]);  // BUG
""",
        "'y'",
        uninitialized=("y",),
    ),
    Seeded(
        "scratch of another block's life",
        "uninitialized",
        """
  __shared__ int s[1];
  if (blockIdx.x == 0) s[0] = 1;
  if (threadIdx.x == 0) y[blockIdx.x] = s[0];  // BUG
""",
        "'s'",
        grid=2,
        block=1,
    ),
    Seeded(
        "missing barrier",
        "race",
        """
  __shared__ float s[64];
  s[threadIdx.x] = x[threadIdx.x];  // OTHER
  y[threadIdx.x] = s[63 - threadIdx.x];  // BUG
""",
        "'s'",
    ),
    Seeded(
        "missing second barrier",
        "race",
        """
  __shared__ float s[64];
  float v = 0.0f;
  for (int k = 0; k < 2; ++k) {
    s[threadIdx.x] = x[k * 64 + threadIdx.x];  // BUG
    __syncthreads();
    v += s[63 - threadIdx.x];  // OTHER
  }
  y[threadIdx.x] = v;
""",
        "'s'",
    ),
    Seeded(
        "read by several, then written",
        "race",
        """
  __shared__ float s[64];
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  float v = s[0];  // OTHER
  if (threadIdx.x == 0) s[0] = v + 1.0f;  // BUG
  y[threadIdx.x] = v;
""",
        "'s'",
    ),
    Seeded(
        "two blocks write one address",
        "race",
        """
  y[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];  // BUG OTHER
""",
        "'y'",
        grid=2,
    ),
    Seeded(
        "block reads what another wrote",
        "race",
        """
  y[blockIdx.x * 64 + threadIdx.x] = x[threadIdx.x];  // OTHER
  __threadfence();
  __syncthreads();
  if (blockIdx.x == 1) y[128 + threadIdx.x] = y[threadIdx.x];  // BUG
""",
        "'y'",
        grid=2,
    ),
    Seeded(
        "warp-synchronous reduction",
        "race",
        """
  __shared__ float s[32];
  int t = threadIdx.x;
  s[t] = x[t];
  __syncwarp();
  if (t < 16) s[t] += s[t + 16];  // OTHER
  if (t < 8) s[t] += s[t + 8];  // BUG
  __syncwarp();
  if (t == 0) y[0] = s[0];
""",
        "'s'",
        block=32,
    ),
    Seeded(
        "shuffles do not order memory",
        "race",
        """
  __shared__ float s[32];
  int t = threadIdx.x;
  s[t] = x[t];  // OTHER
  float v = __shfl_xor_sync(0xffffffffu, x[t], 1);
  y[t] = v + s[31 - t];  // BUG
""",
        "'s'",
        block=32,
    ),
    Seeded(
        "plain and atomic",
        "race",
        """
  __shared__ int count;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  atomicAdd(&count, 1);  // OTHER
  if (threadIdx.x == 40) y[0] = count;  // BUG
""",
        "'count'",
    ),
    Seeded(
        "last block without a fence",
        "race",
        """
  __shared__ bool last;
  if (threadIdx.x == 0) {
    y[blockIdx.x] = x[blockIdx.x];  // OTHER
    last = atomicAdd(&arrived, 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    float t = 0.0f;
    for (int b = 0; b < gridDim.x; ++b)
      t += y[b];  // BUG
    y[100] = t;
    arrived = 0;
  }
""",
        "'y'",
        grid=3,
        before="__device__ unsigned arrived;",
    ),
    Seeded(
        "race between bytes of one word is none, of one byte is",
        "race",
        """
  __shared__ unsigned char s[64];
  s[threadIdx.x] = 1;  // OTHER
  s[threadIdx.x / 2] = threadIdx.x;  // BUG
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];
""",
        "'s'",
    ),
    Seeded(
        "barrier in a branch",
        "barrier-divergence",
        """
  if (threadIdx.x < 32)
    __syncthreads();  // BUG
  y[threadIdx.x] = 1.0f;
""",
    ),
    Seeded(
        "early return",
        "barrier-divergence",
        """
  if (threadIdx.x >= 50) return;
  y[threadIdx.x] = 1.0f;
  __syncthreads();  // BUG
""",
    ),
    Seeded(
        "barriers in two places",
        "barrier-divergence",
        """
  if (threadIdx.x < 32)
    __syncthreads();  // OTHER
  else
    __syncthreads();  // BUG
""",
    ),
    Seeded(
        "shuffle with lanes missing",
        "warp-divergence",
        """
  float v = x[threadIdx.x];
  if (threadIdx.x % 32 < 16)
    v += __shfl_down_sync(0xffffffffu, v, 8);  // BUG
  y[threadIdx.x] = v;
""",
    ),
    Seeded(
        "shuffle reads outside its mask",
        "warp-divergence",
        """
  float v = x[threadIdx.x];
  if (threadIdx.x < 16)
    v += __shfl_down_sync(0x0000ffffu, v, 8);  // BUG
  y[threadIdx.x] = v;
""",
    ),
    Seeded(
        "syncwarp with lanes missing",
        "warp-divergence",
        """
  if (threadIdx.x != 5)
    __syncwarp();  // BUG
  y[threadIdx.x] = 1.0f;
""",
    ),
    Seeded(
        "ballot outside its mask",
        "warp-divergence",
        """
  unsigned b = __ballot_sync(0x0000ffffu, x[threadIdx.x] > 0);  // BUG
  y[threadIdx.x] = b;
""",
    ),
    Seeded(
        "misaligned vector",
        "misaligned",
        """
  float2 v = *reinterpret_cast<const float2*>(x + 2 * threadIdx.x + 1);  // BUG
  y[threadIdx.x] = v.x + v.y;
""",
        "'x'",
    ),
    Seeded(
        "misaligned in shared memory",
        "misaligned",
        """
  __shared__ __align__(16) float s[260];
  s[threadIdx.x] = s[threadIdx.x + 64] = s[threadIdx.x + 128] = s[threadIdx.x + 192] = 0.0f;
  __syncthreads();
  if (threadIdx.x < 60) *reinterpret_cast<float4*>(s + 4 * threadIdx.x + 2) = make_float4(1, 2, 3, 4);  // BUG
""",
        "'s'",
    ),
    Seeded(
        "writes to an input",
        "write-to-input",
        """
  const_cast<float*>(x)[threadIdx.x] = 0.0f;  // BUG
""",
        "'x'",
    ),
]


def source_of(bug: Seeded) -> str:
    return f'{bug.before}\nextern "C" __global__ void k({bug.signature}) {{{bug.body}}}\n'
