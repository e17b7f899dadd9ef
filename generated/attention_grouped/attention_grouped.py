"""attention_grouped: forward and backward through CuPy, float32.

    param group = 4
    input K[b,g,s,d]
    input V[b,g,s,v]
    S[b,h,t,s] = sum(d, Q[b,h,t,d]*K[b,h//group,s,d])/sqrt(size(d))
    P[b,h,t,s] = softmax(s, where(s <= t, S[b,h,t,s], -1e30))
    O[b,h,t,v] = sum(s, P[b,h,t,s]*V[b,h//group,s,v])

    dK[b,g,s,d] = sum(t, l, where(l + 4*g < size(h), Q[b,l + 4*g,t,d]*dS_sum[b,l + 4*g,t,s], 0))
    dV[b,g,s,v] = sum(t, l, where(l + 4*g < size(h), P[b,l + 4*g,t,s]*dO[b,l + 4*g,t,v], 0))
    dQ[b,h,t,d] = sum(s, K[b,h//4,s,d]*dS_sum[b,h,t,s])
    where
    dP[b,h,t,s] = sum(v, V[b,h//4,s,v]*dO[b,h,t,v])
    dS_sum[b,h,t,s] = P[b,h,t,s]*(dP[b,h,t,s] - sum(v, O[b,h,t,v]*dO[b,h,t,v]))/sqrt(size(d))

Saved for the backward: P_lse.  Computed again: P, S, S_sum, dS_sum.
Sums are kept in float32; the same bits at every run.

Made by `derive emit attention_grouped -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("attention_grouped.cu")


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

    def attention_grouped_forward(self, K, V, Q, *, stream=None):
        """The outputs of attention_grouped.

        Args:
            K: [b, g, s, d], float32
            V: [b, g, s, v], float32
            Q: [b, h, t, d], float32

        Returns:
            O: [b, h, t, v]
            P_lse: [b, h, t], saved for the backward
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_g, size_s, size_d = self.check("K", K, "T", (None, None, None, None))
        _, _, _, size_v = self.check("V", V, "T", (size_b, size_g, size_s, None))
        _, size_h, size_t, _ = self.check("Q", Q, "T", (size_b, None, None, size_d))
        with stream or nullcontext():
            count = max(size_b*size_g*size_s*size_d, size_b*size_g*size_s*size_v, size_b*size_h*size_t,
                        size_b*size_h*size_t*size_d, size_b*size_h*size_t*size_v)
            launch = partial(self.launch, *self.module(count, ()))
            O = cp.empty((size_b, size_h, size_t, size_v), dtypes["T"])
            P_lse = cp.empty((size_b, size_h, size_t), dtypes["compute"])
            launch("forward_P_lse_O", (tiles(size_b*size_h, size_t, max(size_v, 1)),), (256,),
                   (K, V, Q, O, P_lse),
                   (size_g, size_s, size_d, size_v, size_h, size_t, blocks(max(size_v, 1), 64, 2**31)))
        return O, P_lse

    def attention_grouped_backward(self, dO, K, V, Q, O, P_lse, *, out=None, accumulate=False, stream=None):
        """The gradients of attention_grouped.

        Args:
            dO: [b, h, t, v], float32
            K: [b, g, s, d], float32
            V: [b, g, s, v], float32
            Q: [b, h, t, d], float32
            O: [b, h, t, v], float32
            P_lse: [b, h, t], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dK: [b, g, s, d]
            dV: [b, g, s, v]
            dQ: [b, h, t, d]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_h, size_t, size_v = self.check("dO", dO, "T", (None, None, None, None))
        _, size_g, size_s, size_d = self.check("K", K, "T", (size_b, None, None, None))
        self.check("V", V, "T", (size_b, size_g, size_s, size_v))
        self.check("Q", Q, "T", (size_b, size_h, size_t, size_d))
        self.check("O", O, "T", (size_b, size_h, size_t, size_v))
        self.check("P_lse", P_lse, "compute", (size_b, size_h, size_t))
        with stream or nullcontext():
            count = max(size_b*size_g*size_s*size_d, size_b*size_g*size_s*size_v, size_b*size_h*size_t,
                        size_b*size_h*size_t*size_d, size_b*size_h*size_t*size_v, size_v)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dK = cp.empty((size_b, size_g, size_s, size_d), dtypes["T"])
                dV = cp.empty((size_b, size_g, size_s, size_v), dtypes["T"])
                dQ = cp.empty((size_b, size_h, size_t, size_d), dtypes["T"])
            else:
                dK, dV, dQ = out
                self.check("dK", dK, "T", (size_b, size_g, size_s, size_d))
                self.check("dV", dV, "T", (size_b, size_g, size_s, size_v))
                self.check("dQ", dQ, "T", (size_b, size_h, size_t, size_d))

            P_row = cp.empty((size_b, size_h, size_t), dtypes["compute"])
            launch("backward_P_row", (row_blocks(size_b*size_h*size_t, size_v, 0, 4),),
                   row_threads(size_v, 0, 4), (O, dO, P_row), (size_b, size_v, size_h, size_t))

            launch("backward_dK_dV", (tiles(size_b*size_g, size_s, max(size_d, size_v, 1)),), (256,),
                   (K, V, Q, P_lse, dO, P_row, dK, dV),
                   (size_g, size_s, size_d, size_v, size_h, size_t,
                    blocks(max(size_d, size_v, 1), 64, 2**31)), accumulate=accumulate)

            launch("backward_dQ", (tiles(size_b*size_h, size_t, max(size_d, 1)),), (256,),
                   (K, V, Q, P_lse, dO, P_row, dQ),
                   (size_g, size_s, size_d, size_v, size_h, size_t, blocks(max(size_d, 1), 64, 2**31)),
                   accumulate=accumulate)
        return dK, dV, dQ

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


def attention_grouped_forward(*args, **options):
    """`Kernels.attention_grouped_forward` on CuPy."""
    return _default().attention_grouped_forward(*args, **options)


def attention_grouped_backward(*args, **options):
    """`Kernels.attention_grouped_backward` on CuPy."""
    return _default().attention_grouped_backward(*args, **options)


@cache
def _default():
    return load()
