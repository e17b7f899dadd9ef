"""attention_soft_cap: forward and backward through CuPy, float32.

    param cap = 50
    S[b,h,t,s] = sum(d, Q[b,h,t,d]*K[b,h,s,d])/sqrt(size(d))
    C[b,h,t,s] = cap*tanh(S[b,h,t,s]/cap)
    P[b,h,t,s] = softmax(s, where(s <= t, C[b,h,t,s], -1e30))
    O[b,h,t,d] = sum(s, P[b,h,t,s]*V[b,h,s,d])

    dQ = dS_sum K
    dK = dS_sumᵀ Q
    dV = Pᵀ dO
    where
    t1[b,h,t,s] = tanh(S[b,h,t,s]/cap)
    dP[b,h,t,s] = sum(d, V[b,h,s,d]*dO[b,h,t,d])
    dS_sum[b,h,t,s] = P[b,h,t,s]*(1 - t1[b,h,t,s]**2)*(dP[b,h,t,s] - sum(d, O[b,h,t,d]*dO[b,h,t,d]))/sqrt(size(d))

Saved for the backward: P_lse.  Computed again: S, t1, P, C, S_sum, dS_sum.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dQ over O.

Made by `derive emit attention_soft_cap -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("attention_soft_cap.cu")


def load(cp=None):
    """The kernels on CuPy, or on any module with its interface."""
    if cp is None:
        import cupy as cp
    return Kernels(cp)


def blocks(count, threads, most=65535):
    """How many blocks cover `count` elements; the kernels stride over what is left."""
    return min(-(-count // threads), most)


def tiles(batches, rows, columns, side=64):
    """Blocks of `side` by `side` results each."""
    return batches * -(-rows // side) * -(-columns // side)


def row_threads(count, kept=0, lanes=1, each=16, most=128):
    """Threads along a row of `count` elements, which each take `lanes` at a time, and rows a block: a warp or less
    along a row, more of them while one has more than `each` elements; `most` threads a block if rows are short, fewer
    where `kept` bytes an element would not fit in shared memory."""
    along = 1
    while along < 512 and along * lanes < count and (along < 32 or each * along < count):
        along *= 2
    rows = max(most // along, 1)
    while rows > 1 and -(-count // (along * lanes)) * along * lanes * rows * kept > 96 * 1024:
        rows //= 2
    return along, rows


def row_blocks(rows, count, *cut):
    """Blocks that hold `rows` rows of `count` elements, cut as `row_threads` does it."""
    return -(-rows // row_threads(count, *cut)[1])


class Kernels:
    """The compiled kernels; a module is compiled at its first use.

    Arrays must be C-contiguous and on the current device.  Work runs on the current stream, or on `stream`.
    """

    def __init__(self, cp):
        self.cp = cp
        self.modules = {}
        self.dtypes = {
            "T": cp.dtype(cp.float32),
            "compute": cp.dtype(cp.float32),
        }

    def attention_soft_cap_forward(self, Q, K, V, *, stream=None):
        """The outputs of attention_soft_cap.

        Args:
            Q: [b, h, t, d], float32
            K: [b, h, s, d], float32
            V: [b, h, s, d], float32

        Returns:
            O: [b, h, t, d]
            P_lse: [b, h, t], saved for the backward
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_h, size_t, size_d = self.check("Q", Q, "T", (None, None, None, None))
        _, _, size_s, _ = self.check("K", K, "T", (size_b, size_h, None, size_d))
        self.check("V", V, "T", (size_b, size_h, size_s, size_d))
        with stream or nullcontext():
            count = max(size_b*size_h*size_s*size_d, size_b*size_h*size_t, size_b*size_h*size_t*size_d)
            launch = partial(self.launch, *self.module(count, ()))
            O = cp.empty((size_b, size_h, size_t, size_d), dtypes["T"])
            P_lse = cp.empty((size_b, size_h, size_t), dtypes["compute"])
            launch("forward_P_lse_O", (tiles(size_b*size_h, size_t, max(size_d, 1)),), (256,),
                   (Q, K, V, O, P_lse), (size_t, size_s, size_d, blocks(max(size_d, 1), 64, 2**31)))
        return O, P_lse

    def attention_soft_cap_backward(self, dO, Q, K, V, O, P_lse, *, out=None, accumulate=False, stream=None):
        """The gradients of attention_soft_cap.

        Args:
            dO: [b, h, t, d], float32
            Q: [b, h, t, d], float32
            K: [b, h, s, d], float32
            V: [b, h, s, d], float32
            O: [b, h, t, d], float32
            P_lse: [b, h, t], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dQ: [b, h, t, d]
            dK: [b, h, s, d]
            dV: [b, h, s, d]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_h, size_t, size_d = self.check("dO", dO, "T", (None, None, None, None))
        self.check("Q", Q, "T", (size_b, size_h, size_t, size_d))
        _, _, size_s, _ = self.check("K", K, "T", (size_b, size_h, None, size_d))
        self.check("V", V, "T", (size_b, size_h, size_s, size_d))
        self.check("O", O, "T", (size_b, size_h, size_t, size_d))
        self.check("P_lse", P_lse, "compute", (size_b, size_h, size_t))
        with stream or nullcontext():
            count = max(size_b*size_h*size_s*size_d, size_b*size_h*size_t, size_b*size_h*size_t*size_d,
                        size_d)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dQ = cp.empty((size_b, size_h, size_t, size_d), dtypes["T"])
                dK = cp.empty((size_b, size_h, size_s, size_d), dtypes["T"])
                dV = cp.empty((size_b, size_h, size_s, size_d), dtypes["T"])
            else:
                dQ, dK, dV = out
                self.check("dQ", dQ, "T", (size_b, size_h, size_t, size_d))
                self.check("dK", dK, "T", (size_b, size_h, size_s, size_d))
                self.check("dV", dV, "T", (size_b, size_h, size_s, size_d))

            P_row = cp.empty((size_b, size_h, size_t), dtypes["compute"])
            launch("backward_P_row", (row_blocks(size_b*size_h*size_t, size_d, 0, 4),),
                   row_threads(size_d, 0, 4), (O, dO, P_row), (size_b, size_h, size_t, size_d))

            launch("backward_dQ", (tiles(size_b*size_h, size_t, max(size_d, 1)),), (256,),
                   (Q, K, V, P_lse, dO, P_row, dQ),
                   (size_t, size_s, size_d, blocks(max(size_d, 1), 64, 2**31)), accumulate=accumulate)

            launch("backward_dK_dV", (tiles(size_b*size_h, size_s, max(size_d, 1)),), (256,),
                   (Q, K, V, P_lse, dO, P_row, dK, dV),
                   (size_t, size_s, size_d, blocks(max(size_d, 1), 64, 2**31)), accumulate=accumulate)
        return dQ, dK, dV

    def module(self, count, ids):
        """The module for tensors of up to `count` elements, and its integer type for sizes."""
        wide = count >= 2**30
        defines = [("INDEX", "long long")] if wide else []
        defines += [(f"{name}_t", "long long") for name, array in ids if array.dtype == self.cp.int64]
        key = tuple(defines)
        if key not in self.modules:
            code = "".join(f"#define {name} {value}\n" for name, value in defines) + SOURCE.read_text()
            self.modules[key] = self.cp.RawModule(code=code, options=("--std=c++17",))
        return self.modules[key], self.cp.int64 if wide else self.cp.int32

    def launch(self, module, index, name, grid, block, arrays, sizes, shared=0, accumulate=None):
        """Launch a kernel, unless there is nothing to do; it takes arrays, sizes, and perhaps a flag."""
        if 0 not in grid:
            kernel = module.get_function(name)
            if shared > 40 * 1024:  # with what is static, perhaps more than the 48 KiB that need no asking
                kernel.max_dynamic_shared_size_bytes = shared
            flags = () if accumulate is None else (self.cp.int32(accumulate),)
            kernel(grid, block, (*arrays, *map(index, sizes), *flags), shared_mem=shared)

    def check(self, name, array, dtype, shape):
        """Raise unless `array` is one that the kernels can read; None in `shape` stands for any length."""
        cp = self.cp
        if not isinstance(array, cp.ndarray):
            raise TypeError(f"{name} must be an array of {cp.__name__}, not {type(array).__name__}")
        kinds = (cp.int32, cp.int64) if dtype == "ids" else (self.dtypes[dtype],)
        if array.dtype not in kinds:
            raise TypeError(f"{name} must be {' or '.join(str(cp.dtype(k)) for k in kinds)}, not {array.dtype}")
        if len(array.shape) != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape)):
            expected = ", ".join("any" if n is None else str(n) for n in shape)
            raise ValueError(f"{name} must have shape ({expected}), not {array.shape}")
        if not array.flags.c_contiguous:
            raise ValueError(f"{name} must be C-contiguous: pass cupy.ascontiguousarray({name})")
        device = getattr(array, "device", None)
        if hasattr(device, "id") and device.id != cp.cuda.Device().id:
            raise ValueError(f"{name} is on device {device.id}, not on the current device {cp.cuda.Device().id}")
        return array.shape


def attention_soft_cap_forward(*args, **options):
    """`Kernels.attention_soft_cap_forward` on CuPy."""
    return _default().attention_soft_cap_forward(*args, **options)


def attention_soft_cap_backward(*args, **options):
    """`Kernels.attention_soft_cap_backward` on CuPy."""
    return _default().attention_soft_cap_backward(*args, **options)


@cache
def _default():
    return load()
