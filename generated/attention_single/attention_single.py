"""attention_single: forward and backward through CuPy, float32.

    S[t,s] = sum(d, Q[t,d]*K[s,d])/sqrt(size(d))
    P[t,s] = softmax(s, S[t,s])
    O[t,v] = sum(s, P[t,s]*V[s,v])

    dQ = dS_sum K
    dK = dS_sumᵀ Q
    dV = Pᵀ dO
    where
    dP[t,s] = sum(v, V[s,v]*dO[t,v])
    dS_sum[t,s] = P[t,s]*(dP[t,s] - sum(v, O[t,v]*dO[t,v]))/sqrt(size(d))

Saved for the backward: P_lse.  Computed again: P, S, S_sum, dS_sum.
Sums are kept in float32; the same bits at every run.

Made by `derive emit attention_single -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("attention_single.cu")


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

    def attention_single_forward(self, Q, K, V, *, stream=None):
        """The outputs of attention_single.

        Args:
            Q: [t, d], float32
            K: [s, d], float32
            V: [s, v], float32

        Returns:
            O: [t, v]
            P_lse: [t], saved for the backward
        """
        cp, dtypes = self.cp, self.dtypes
        size_t, size_d = self.check("Q", Q, "T", (None, None))
        size_s, _ = self.check("K", K, "T", (None, size_d))
        _, size_v = self.check("V", V, "T", (size_s, None))
        with stream or nullcontext():
            count = max(size_s*size_d, size_s*size_v, size_t, size_t*size_d, size_t*size_v)
            launch = partial(self.launch, *self.module(count, ()))
            O = cp.empty((size_t, size_v), dtypes["T"])
            P_lse = cp.empty((size_t,), dtypes["compute"])
            launch("forward_P_lse_O", (tiles(1, size_t, max(size_v, 1)),), (256,), (Q, K, V, O, P_lse),
                   (size_t, size_s, size_d, size_v, blocks(max(size_v, 1), 64, 2**31)))
        return O, P_lse

    def attention_single_backward(self, dO, Q, K, V, O, P_lse, *, out=None, accumulate=False, stream=None):
        """The gradients of attention_single.

        Args:
            dO: [t, v], float32
            Q: [t, d], float32
            K: [s, d], float32
            V: [s, v], float32
            O: [t, v], float32
            P_lse: [t], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dQ: [t, d]
            dK: [s, d]
            dV: [s, v]
        """
        cp, dtypes = self.cp, self.dtypes
        size_t, size_v = self.check("dO", dO, "T", (None, None))
        _, size_d = self.check("Q", Q, "T", (size_t, None))
        size_s, _ = self.check("K", K, "T", (None, size_d))
        self.check("V", V, "T", (size_s, size_v))
        self.check("O", O, "T", (size_t, size_v))
        self.check("P_lse", P_lse, "compute", (size_t,))
        with stream or nullcontext():
            count = max(size_s*size_d, size_s*size_v, size_t, size_t*size_d, size_t*size_v, size_v)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dQ = cp.empty((size_t, size_d), dtypes["T"])
                dK = cp.empty((size_s, size_d), dtypes["T"])
                dV = cp.empty((size_s, size_v), dtypes["T"])
            else:
                dQ, dK, dV = out
                self.check("dQ", dQ, "T", (size_t, size_d))
                self.check("dK", dK, "T", (size_s, size_d))
                self.check("dV", dV, "T", (size_s, size_v))

            P_row = cp.empty((size_t,), dtypes["compute"])
            launch("backward_P_row", (row_blocks(size_t, size_v, 0, 4),), row_threads(size_v, 0, 4),
                   (O, dO, P_row), (size_t, size_v))

            launch("backward_dQ", (tiles(1, size_t, max(size_d, 1)),), (256,),
                   (Q, K, V, P_lse, dO, P_row, dQ),
                   (size_t, size_s, size_d, size_v, blocks(max(size_d, 1), 64, 2**31)), accumulate=accumulate)

            launch("backward_dK_dV", (tiles(1, size_s, max(size_d, size_v, 1)),), (256,),
                   (Q, K, V, P_lse, dO, P_row, dK, dV),
                   (size_t, size_s, size_d, size_v, blocks(max(size_d, size_v, 1), 64, 2**31)),
                   accumulate=accumulate)
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


def attention_single_forward(*args, **options):
    """`Kernels.attention_single_forward` on CuPy."""
    return _default().attention_single_forward(*args, **options)


def attention_single_backward(*args, **options):
    """`Kernels.attention_single_backward` on CuPy."""
    return _default().attention_single_backward(*args, **options)


@cache
def _default():
    return load()
