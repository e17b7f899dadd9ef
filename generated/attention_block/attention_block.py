"""attention_block: forward and backward through CuPy, float32.

    Q[b,h,t,d] = sum(c, X[b,t,c]*wq[h,d,c])
    K[b,h,t,d] = sum(c, X[b,t,c]*wk[h,d,c])
    V[b,h,t,d] = sum(c, X[b,t,c]*wv[h,d,c])
    S[b,h,t,s] = sum(d, Q[b,h,t,d]*K[b,h,s,d])/sqrt(size(d))
    P[b,h,t,s] = softmax(s, where(s <= t, S[b,h,t,s], -1e30))
    O[b,h,t,d] = sum(s, P[b,h,t,s]*V[b,h,s,d])
    Y[b,t,c] = sum(h, d, O[b,h,t,d]*wo[c,h,d])

    dX[b,t,c] = sum(h, d, dK[b,h,t,d]*wk[h,d,c]) + sum(h, d, dQ[b,h,t,d]*wq[h,d,c]) + sum(h, d, dV[b,h,t,d]*wv[h,d,c])
    dwq = einsum(btc,bhtd->hdc; X, dQ)
    dwk = einsum(btc,bhtd->hdc; X, dK)
    dwv = einsum(btc,bhtd->hdc; X, dV)
    dwo = einsum(bhtd,btc->chd; O, dY)
    where
    dO[b,h,t,d] = sum(c, dY[b,t,c]*wo[c,h,d])
    dP[b,h,t,s] = sum(d, V[b,h,s,d]*dO[b,h,t,d])
    dS_sum[b,h,t,s] = P[b,h,t,s]*(dP[b,h,t,s] - sum(d, O[b,h,t,d]*dO[b,h,t,d]))/sqrt(size(d))
    dV[b,h,t,d] = sum(s, P[b,h,s,t]*dO[b,h,s,d])
    dK[b,h,t,d] = sum(s, Q[b,h,s,d]*dS_sum[b,h,s,t])
    dQ[b,h,t,d] = sum(s, K[b,h,s,d]*dS_sum[b,h,t,s])

Saved for the backward: Q, K, V, P_lse, O.  Computed again: P, S, S_sum, dS_sum.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dX over dY, dwq over wq, dwq over wk, dwq over wv, dwo over wo.
A sum of 1024 products or more with few tiles of results is split in chunks, added in order.

Made by `derive emit attention_block -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("attention_block.cu")


def load(cp=None):
    """The kernels on CuPy, or on any module with its interface."""
    if cp is None:
        import cupy as cp
    return Kernels(cp)


SHORT = 1024  # a sum of fewer terms is never split


def blocks(count, threads, most=65535):
    """How many blocks cover `count` elements; the kernels stride over what is left."""
    return min(-(-count // threads), most)


def tiles(batches, rows, columns, side=64):
    """Blocks of `side` by `side` results each."""
    return batches * -(-rows // side) * -(-columns // side)


def product_chunks(batches, rows, columns, length):
    """Chunks of 256 terms or more that a sum of `length` terms is split into where its tiles are too few for a GPU,
    until there are some 2048 blocks; 0: it is not."""
    count = tiles(batches, rows, columns)
    return 0 if length < SHORT or not 0 < count < 1024 else min(length // 256, -(-2048 // count))


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

    A temporary is deleted once the last kernel that takes it is launched: CuPy's pool hands its memory only to
    later arrays of the same stream, whose kernels run after that one.
    """

    def __init__(self, cp):
        self.cp = cp
        self.modules = {}
        self.dtypes = {
            "T": cp.dtype(cp.float32),
            "compute": cp.dtype(cp.float32),
        }

    def attention_block_forward(self, X, wq, wk, wv, wo, *, stream=None):
        """The outputs of attention_block.

        Args:
            X: [b, t, c], float32
            wq: [h, d, c], float32
            wk: [h, d, c], float32
            wv: [h, d, c], float32
            wo: [c, h, d], float32

        Returns:
            Y: [b, t, c]
            Q: [b, h, t, d], saved for the backward
            K: [b, h, t, d], saved for the backward
            V: [b, h, t, d], saved for the backward
            P_lse: [b, h, t], saved for the backward
            O: [b, h, t, d], saved for the backward
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_t, size_c = self.check("X", X, "T", (None, None, None))
        size_h, size_d, _ = self.check("wq", wq, "T", (None, None, size_c))
        self.check("wk", wk, "T", (size_h, size_d, size_c))
        self.check("wv", wv, "T", (size_h, size_d, size_c))
        self.check("wo", wo, "T", (size_c, size_h, size_d))
        with stream or nullcontext():
            Q_chunks = product_chunks(1, size_b*size_t, size_h*size_d, size_c)
            Y_chunks = product_chunks(1, size_b*size_t, size_c, size_h*size_d)
            count = max(Y_chunks*size_b*size_t*size_c, Q_chunks*size_b*size_t*size_h*size_d,
                        size_b*size_h*size_t, size_b*size_t*size_h*size_d, size_b*size_t*size_c,
                        size_h*size_d*size_c)
            launch = partial(self.launch, *self.module(count, ()))
            Y = cp.empty((size_b, size_t, size_c), dtypes["T"])
            Q = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            K = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            V = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            P_lse = cp.empty((size_b, size_h, size_t), dtypes["compute"])
            O = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])

            Q_partial = cp.empty((Q_chunks, size_b*size_t, size_h*size_d), dtypes["compute"])
            launch("forward_Q", (tiles(1, size_b*size_t, size_h*size_d), max(Q_chunks, 1)), (256,),
                   (X, wq, Q, Q_partial), (size_b, size_h, size_t, size_d, size_c))
            if Q_chunks:  # the sum was split: add up its parts
                launch("forward_Q_chunks", (blocks(size_b*size_t*size_h*size_d, 256),), (256,),
                       (Q_partial, Q), (size_b, size_h, size_t, size_d, Q_chunks))
            del Q_partial

            K_partial = cp.empty((Q_chunks, size_b*size_t, size_h*size_d), dtypes["compute"])
            launch("forward_K", (tiles(1, size_b*size_t, size_h*size_d), max(Q_chunks, 1)), (256,),
                   (X, wk, K, K_partial), (size_b, size_h, size_t, size_d, size_c))
            if Q_chunks:  # the sum was split: add up its parts
                launch("forward_K_chunks", (blocks(size_b*size_t*size_h*size_d, 256),), (256,),
                       (K_partial, K), (size_b, size_h, size_t, size_d, Q_chunks))
            del K_partial

            V_partial = cp.empty((Q_chunks, size_b*size_t, size_h*size_d), dtypes["compute"])
            launch("forward_V", (tiles(1, size_b*size_t, size_h*size_d), max(Q_chunks, 1)), (256,),
                   (X, wv, V, V_partial), (size_b, size_h, size_t, size_d, size_c))
            if Q_chunks:  # the sum was split: add up its parts
                launch("forward_V_chunks", (blocks(size_b*size_t*size_h*size_d, 256),), (256,),
                       (V_partial, V), (size_b, size_h, size_t, size_d, Q_chunks))
            del V_partial

            launch("forward_P_lse_O", (tiles(size_b*size_h, size_t, max(size_d, 1)),), (256,),
                   (Q, K, V, P_lse, O), (size_t, size_d, blocks(max(size_d, 1), 64, 2**31)))

            Y_partial = cp.empty((Y_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("forward_Y", (tiles(1, size_b*size_t, size_c), max(Y_chunks, 1)), (256,),
                   (wo, O, Y, Y_partial), (size_b, size_h, size_t, size_d, size_c))
            if Y_chunks:  # the sum was split: add up its parts
                launch("forward_Y_chunks", (blocks(size_b*size_t*size_c, 256),), (256,), (Y_partial, Y),
                       (size_b, size_t, size_c, Y_chunks))
        return Y, Q, K, V, P_lse, O

    def attention_block_backward(self, dY, X, wq, wk, wv, wo, Q, K, V, P_lse, O, *, out=None,
                                 accumulate=False, stream=None):
        """The gradients of attention_block.

        Args:
            dY: [b, t, c], float32
            X: [b, t, c], float32
            wq: [h, d, c], float32
            wk: [h, d, c], float32
            wv: [h, d, c], float32
            wo: [c, h, d], float32
            Q: [b, h, t, d], float32
            K: [b, h, t, d], float32
            V: [b, h, t, d], float32
            P_lse: [b, h, t], float32
            O: [b, h, t, d], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [b, t, c]
            dwq: [h, d, c]
            dwk: [h, d, c]
            dwv: [h, d, c]
            dwo: [c, h, d]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_t, size_c = self.check("dY", dY, "T", (None, None, None))
        self.check("X", X, "T", (size_b, size_t, size_c))
        size_h, size_d, _ = self.check("wq", wq, "T", (None, None, size_c))
        self.check("wk", wk, "T", (size_h, size_d, size_c))
        self.check("wv", wv, "T", (size_h, size_d, size_c))
        self.check("wo", wo, "T", (size_c, size_h, size_d))
        self.check("Q", Q, "compute", (size_b, size_h, size_t, size_d))
        self.check("K", K, "compute", (size_b, size_h, size_t, size_d))
        self.check("V", V, "compute", (size_b, size_h, size_t, size_d))
        self.check("P_lse", P_lse, "compute", (size_b, size_h, size_t))
        self.check("O", O, "compute", (size_b, size_h, size_t, size_d))
        with stream or nullcontext():
            dO_chunks = product_chunks(1, size_b*size_t, size_h*size_d, size_c)
            dwo_chunks = product_chunks(1, size_c, size_h*size_d, size_b*size_t)
            dwk_chunks = product_chunks(1, size_h*size_d, size_c, size_b*size_t)
            dX_sum_chunks = product_chunks(1, size_b*size_t, size_c, size_h*size_d)
            count = max(dX_sum_chunks*size_b*size_t*size_c, dO_chunks*size_b*size_t*size_h*size_d,
                        dwo_chunks*size_c*size_h*size_d, dwk_chunks*size_h*size_d*size_c,
                        size_b*size_h*size_t, size_b*size_t*size_h*size_d, size_b*size_t*size_c,
                        size_h*size_d*size_c, size_d)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_b, size_t, size_c), dtypes["T"])
                dwq = cp.empty((size_h, size_d, size_c), dtypes["T"])
                dwk = cp.empty((size_h, size_d, size_c), dtypes["T"])
                dwv = cp.empty((size_h, size_d, size_c), dtypes["T"])
                dwo = cp.empty((size_c, size_h, size_d), dtypes["T"])
            else:
                dX, dwq, dwk, dwv, dwo = out
                self.check("dX", dX, "T", (size_b, size_t, size_c))
                self.check("dwq", dwq, "T", (size_h, size_d, size_c))
                self.check("dwk", dwk, "T", (size_h, size_d, size_c))
                self.check("dwv", dwv, "T", (size_h, size_d, size_c))
                self.check("dwo", dwo, "T", (size_c, size_h, size_d))

            dO = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            dO_partial = cp.empty((dO_chunks, size_b*size_t, size_h*size_d), dtypes["compute"])
            launch("backward_dO", (tiles(1, size_b*size_t, size_h*size_d), max(dO_chunks, 1)), (256,),
                   (wo, dY, dO, dO_partial), (size_b, size_h, size_t, size_d, size_c))
            if dO_chunks:  # the sum was split: add up its parts
                launch("backward_dO_chunks", (blocks(size_b*size_t*size_h*size_d, 256),), (256,),
                       (dO_partial, dO), (size_b, size_h, size_t, size_d, dO_chunks))
            del dO_partial

            P_row = cp.empty((size_b, size_h, size_t), dtypes["compute"])
            launch("backward_P_row", (row_blocks(size_b*size_h*size_t, size_d, 0, 4),),
                   row_threads(size_d, 0, 4), (O, dO, P_row), (size_b, size_h, size_t, size_d))

            dwo_partial = cp.empty((dwo_chunks, size_c, size_h*size_d), dtypes["compute"])
            launch("backward_dwo", (tiles(1, size_c, size_h*size_d), max(dwo_chunks, 1)), (256,),
                   (O, dY, dwo, dwo_partial), (size_b, size_h, size_t, size_d, size_c), accumulate=accumulate)
            if dwo_chunks:  # the sum was split: add up its parts
                launch("backward_dwo_chunks", (blocks(size_c*size_h*size_d, 256),), (256,),
                       (dwo_partial, dwo), (size_h, size_d, size_c, dwo_chunks), accumulate=accumulate)
            del dwo_partial

            dV = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            dK = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            launch("backward_dV_dK", (tiles(size_b*size_h, size_t, max(size_d, 1)),), (256,),
                   (Q, K, V, P_lse, dO, P_row, dV, dK), (size_t, size_d, blocks(max(size_d, 1), 64, 2**31)))

            dwk_partial = cp.empty((dwk_chunks, size_h*size_d, size_c), dtypes["compute"])
            launch("backward_dwk", (tiles(1, size_h*size_d, size_c), max(dwk_chunks, 1)), (256,),
                   (X, dK, dwk, dwk_partial), (size_b, size_h, size_t, size_d, size_c), accumulate=accumulate)
            if dwk_chunks:  # the sum was split: add up its parts
                launch("backward_dwk_chunks", (blocks(size_h*size_d*size_c, 256),), (256,),
                       (dwk_partial, dwk), (size_h, size_d, size_c, dwk_chunks), accumulate=accumulate)
            del dwk_partial

            dwv_partial = cp.empty((dwk_chunks, size_h*size_d, size_c), dtypes["compute"])
            launch("backward_dwv", (tiles(1, size_h*size_d, size_c), max(dwk_chunks, 1)), (256,),
                   (X, dV, dwv, dwv_partial), (size_b, size_h, size_t, size_d, size_c), accumulate=accumulate)
            if dwk_chunks:  # the sum was split: add up its parts
                launch("backward_dwv_chunks", (blocks(size_h*size_d*size_c, 256),), (256,),
                       (dwv_partial, dwv), (size_h, size_d, size_c, dwk_chunks), accumulate=accumulate)
            del dwv_partial

            dQ = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            launch("backward_dQ", (tiles(size_b*size_h, size_t, max(size_d, 1)),), (256,),
                   (Q, K, V, P_lse, dO, P_row, dQ), (size_t, size_d, blocks(max(size_d, 1), 64, 2**31)))
            del dO, P_row

            dX_sum = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dX_sum_partial = cp.empty((dX_sum_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("backward_dX_sum", (tiles(1, size_b*size_t, size_c), max(dX_sum_chunks, 1)), (256,),
                   (wk, dK, dX_sum, dX_sum_partial), (size_b, size_h, size_t, size_d, size_c))
            del dK
            if dX_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dX_sum_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (dX_sum_partial, dX_sum), (size_b, size_t, size_c, dX_sum_chunks))
            del dX_sum_partial

            dX_sum2 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dX_sum2_partial = cp.empty((dX_sum_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("backward_dX_sum2", (tiles(1, size_b*size_t, size_c), max(dX_sum_chunks, 1)), (256,),
                   (wq, dQ, dX_sum2, dX_sum2_partial), (size_b, size_h, size_t, size_d, size_c))
            if dX_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dX_sum2_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (dX_sum2_partial, dX_sum2), (size_b, size_t, size_c, dX_sum_chunks))
            del dX_sum2_partial

            dX_sum3_partial = cp.empty((dX_sum_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("backward_dX", (tiles(1, size_b*size_t, size_c), max(dX_sum_chunks, 1)), (256,),
                   (wv, dV, dX_sum, dX_sum2, dX, dX_sum3_partial), (size_b, size_h, size_t, size_d, size_c),
                   accumulate=accumulate)
            del dV
            if dX_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dX_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (dX_sum3_partial, dX_sum, dX_sum2, dX), (size_b, size_t, size_c, dX_sum_chunks),
                       accumulate=accumulate)
            del dX_sum, dX_sum2, dX_sum3_partial

            dwq_partial = cp.empty((dwk_chunks, size_h*size_d, size_c), dtypes["compute"])
            launch("backward_dwq", (tiles(1, size_h*size_d, size_c), max(dwk_chunks, 1)), (256,),
                   (X, dQ, dwq, dwq_partial), (size_b, size_h, size_t, size_d, size_c), accumulate=accumulate)
            del dQ
            if dwk_chunks:  # the sum was split: add up its parts
                launch("backward_dwq_chunks", (blocks(size_h*size_d*size_c, 256),), (256,),
                       (dwq_partial, dwq), (size_h, size_d, size_c, dwk_chunks), accumulate=accumulate)
        return dX, dwq, dwk, dwv, dwo

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


def attention_block_forward(*args, **options):
    """`Kernels.attention_block_forward` on CuPy."""
    return _default().attention_block_forward(*args, **options)


def attention_block_backward(*args, **options):
    """`Kernels.attention_block_backward` on CuPy."""
    return _default().attention_block_backward(*args, **options)


@cache
def _default():
    return load()
