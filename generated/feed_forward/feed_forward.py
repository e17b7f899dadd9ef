"""feed_forward: forward and backward through CuPy, float32.

    U[n,h] = sum(i, X[n,i]*W1[i,h]) + b1[h]
    G[n,h] = 0.5*U[n,h]*(1 + tanh(sqrt(2/pi)*(U[n,h] + 0.044715*U[n,h]**3)))
    Y[n,o] = sum(h, G[n,h]*W2[h,o]) + b2[o]

    dX = dU W1ᵀ
    dW1 = Xᵀ dU
    db1 = dUᵀ 1
    dW2 = Gᵀ dY
    db2 = dYᵀ 1
    where
    t[n,h] = tanh(sqrt(2)*(U[n,h] + 0.044715*U[n,h]**3)/sqrt(pi))
    dG[n,h] = sum(o, W2[h,o]*dY[n,o])
    dU[n,h] = 0.5*dG[n,h]*(t[n,h] + U[n,h]*sqrt(2)*(1 - t[n,h]**2)*(0.134145*U[n,h]**2 + 1)/sqrt(pi) + 1)

Saved for the backward: U.  Computed again: t, G.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dW1 over W1, dW2 over W2.
A sum of 1024 products or more with few tiles of results is split in chunks, added in order.

Made by `derive emit feed_forward -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("feed_forward.cu")


def load(cp=None):
    """The kernels on CuPy, or on any module with its interface."""
    if cp is None:
        import cupy as cp
    return Kernels(cp)


SHORT = 1024  # a sum of fewer terms is never split


def blocks(count, threads, most=65535):
    """How many blocks cover `count` elements; the kernels stride over what is left."""
    return min(-(-count // threads), most)


def column_chunks(rows):
    """Chunks of rows that are reduced apart: 256 rows each, a few dozen a thread, or 1024 chunks of more."""
    return max(1, min(-(-rows // 256), 1024))


def tiles(batches, rows, columns, side=64):
    """Blocks of `side` by `side` results each."""
    return batches * -(-rows // side) * -(-columns // side)


def product_chunks(batches, rows, columns, length):
    """Chunks of 256 terms or more that a sum of `length` terms is split into where its tiles are too few for a GPU,
    until there are some 2048 blocks; 0: it is not."""
    count = tiles(batches, rows, columns)
    return 0 if length < SHORT or not 0 < count < 1024 else min(length // 256, -(-2048 // count))


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

    def feed_forward_forward(self, X, W1, b1, W2, b2, *, stream=None):
        """The outputs of feed_forward.

        Args:
            X: [n, i], float32
            W1: [i, h], float32
            b1: [h], float32
            W2: [h, o], float32
            b2: [o], float32

        Returns:
            Y: [n, o]
            U: [n, h], saved for the backward
        """
        cp, dtypes = self.cp, self.dtypes
        size_n, size_i = self.check("X", X, "T", (None, None))
        _, size_h = self.check("W1", W1, "T", (size_i, None))
        self.check("b1", b1, "T", (size_h,))
        _, size_o = self.check("W2", W2, "T", (size_h, None))
        self.check("b2", b2, "T", (size_o,))
        with stream or nullcontext():
            U_sum_chunks = product_chunks(1, size_n, size_h, size_i)
            Y_sum_chunks = product_chunks(1, size_n, size_o, size_h)
            count = max(U_sum_chunks*size_n*size_h, Y_sum_chunks*size_n*size_o, size_h, size_h*size_o,
                        size_i*size_h, size_n*size_h, size_n*size_i, size_n*size_o, size_o)
            launch = partial(self.launch, *self.module(count, ()))
            Y = cp.empty((size_n, size_o), dtypes["T"])
            U = cp.empty((size_n, size_h), dtypes["compute"])

            G = cp.empty((size_n, size_h), dtypes["compute"])
            U_sum_partial = cp.empty((U_sum_chunks, size_n, size_h), dtypes["compute"])
            launch("forward_U_G", (tiles(1, size_n, size_h), max(U_sum_chunks, 1)), (256,),
                   (X, W1, b1, U, G, U_sum_partial), (size_n, size_h, size_i))
            if U_sum_chunks:  # the sum was split: add up its parts
                launch("forward_U_G_chunks", (blocks(size_n*size_h, 256),), (256,),
                       (U_sum_partial, b1, U, G), (size_n, size_h, U_sum_chunks))
            del U_sum_partial

            Y_sum_partial = cp.empty((Y_sum_chunks, size_n, size_o), dtypes["compute"])
            launch("forward_Y", (tiles(1, size_n, size_o), max(Y_sum_chunks, 1)), (256,),
                   (W2, b2, G, Y, Y_sum_partial), (size_n, size_h, size_o))
            del G
            if Y_sum_chunks:  # the sum was split: add up its parts
                launch("forward_Y_chunks", (blocks(size_n*size_o, 256),), (256,), (Y_sum_partial, b2, Y),
                       (size_n, size_o, Y_sum_chunks))
        return Y, U

    def feed_forward_backward(self, dY, X, W1, W2, U, *, out=None, accumulate=False, stream=None):
        """The gradients of feed_forward.

        Args:
            dY: [n, o], float32
            X: [n, i], float32
            W1: [i, h], float32
            W2: [h, o], float32
            U: [n, h], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [n, i]
            dW1: [i, h]
            db1: [h]
            dW2: [h, o]
            db2: [o]
        """
        cp, dtypes = self.cp, self.dtypes
        size_n, size_o = self.check("dY", dY, "T", (None, None))
        _, size_i = self.check("X", X, "T", (size_n, None))
        _, size_h = self.check("W1", W1, "T", (size_i, None))
        self.check("W2", W2, "T", (size_h, size_o))
        self.check("U", U, "compute", (size_n, size_h))
        with stream or nullcontext():
            dG_chunks = product_chunks(1, size_n, size_h, size_o)
            dX_chunks = product_chunks(1, size_n, size_i, size_h)
            dW1_chunks = product_chunks(1, size_i, size_h, size_n)
            db1_chunks = column_chunks(size_n)
            dW2_sum_chunks = product_chunks(1, size_h, size_o, size_n)
            count = max(db1_chunks*size_h, db1_chunks*size_o, dW2_sum_chunks*size_h*size_o,
                        dW1_chunks*size_i*size_h, dG_chunks*size_n*size_h, dX_chunks*size_n*size_i, size_h,
                        size_h*size_o, size_i*size_h, size_n*size_h, size_n*size_i, size_n*size_o, size_o)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_n, size_i), dtypes["T"])
                dW1 = cp.empty((size_i, size_h), dtypes["T"])
                db1 = cp.empty((size_h,), dtypes["T"])
                dW2 = cp.empty((size_h, size_o), dtypes["T"])
                db2 = cp.empty((size_o,), dtypes["T"])
            else:
                dX, dW1, db1, dW2, db2 = out
                self.check("dX", dX, "T", (size_n, size_i))
                self.check("dW1", dW1, "T", (size_i, size_h))
                self.check("db1", db1, "T", (size_h,))
                self.check("dW2", dW2, "T", (size_h, size_o))
                self.check("db2", db2, "T", (size_o,))

            dU = cp.empty((size_n, size_h), dtypes["compute"])
            dG_partial = cp.empty((dG_chunks, size_n, size_h), dtypes["compute"])
            launch("backward_dU", (tiles(1, size_n, size_h), max(dG_chunks, 1)), (256,),
                   (W2, U, dY, dU, dG_partial), (size_n, size_h, size_o))
            if dG_chunks:  # the sum was split: add up its parts
                launch("backward_dU_chunks", (blocks(size_n*size_h, 256),), (256,), (dG_partial, U, dU),
                       (size_n, size_h, dG_chunks))
            del dG_partial

            dX_partial = cp.empty((dX_chunks, size_n, size_i), dtypes["compute"])
            launch("backward_dX", (tiles(1, size_n, size_i), max(dX_chunks, 1)), (256,),
                   (W1, dU, dX, dX_partial), (size_n, size_h, size_i), accumulate=accumulate)
            if dX_chunks:  # the sum was split: add up its parts
                launch("backward_dX_chunks", (blocks(size_n*size_i, 256),), (256,), (dX_partial, dX),
                       (size_n, size_i, dX_chunks), accumulate=accumulate)
            del dX_partial

            dW1_partial = cp.empty((dW1_chunks, size_i, size_h), dtypes["compute"])
            launch("backward_dW1", (tiles(1, size_i, size_h), max(dW1_chunks, 1)), (256,),
                   (X, dU, dW1, dW1_partial), (size_n, size_h, size_i), accumulate=accumulate)
            if dW1_chunks:  # the sum was split: add up its parts
                launch("backward_dW1_chunks", (blocks(size_i*size_h, 256),), (256,), (dW1_partial, dW1),
                       (size_h, size_i, dW1_chunks), accumulate=accumulate)
            del dW1_partial

            db1_partial = cp.empty((db1_chunks, size_h), dtypes["compute"])
            launch("backward_db1", (blocks(size_h, 32, 2**31), db1_chunks), (8, 32), (dU, db1, db1_partial),
                   (size_n, size_h, db1_chunks), accumulate=accumulate)
            del dU
            if db1_chunks > 1:  # the sum was split: add up its parts
                launch("backward_db1_sum", (blocks(size_h, 32, 2**31),), (32, 8), (db1_partial, db1),
                       (size_h, db1_chunks), accumulate=accumulate)
            del db1_partial

            dW2_sum_partial = cp.empty((dW2_sum_chunks, size_h, size_o), dtypes["compute"])
            launch("backward_dW2", (tiles(1, size_h, size_o), max(dW2_sum_chunks, 1)), (256,),
                   (U, dY, dW2, dW2_sum_partial), (size_n, size_h, size_o), accumulate=accumulate)
            if dW2_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dW2_chunks", (blocks(size_h*size_o, 256),), (256,), (dW2_sum_partial, dW2),
                       (size_h, size_o, dW2_sum_chunks), accumulate=accumulate)
            del dW2_sum_partial

            db2_partial = cp.empty((db1_chunks, size_o), dtypes["compute"])
            launch("backward_db2", (blocks(size_o, 32, 2**31), db1_chunks), (8, 32), (dY, db2, db2_partial),
                   (size_n, size_o, db1_chunks), accumulate=accumulate)
            if db1_chunks > 1:  # the sum was split: add up its parts
                launch("backward_db2_sum", (blocks(size_o, 32, 2**31),), (32, 8), (db2_partial, db2),
                       (size_o, db1_chunks), accumulate=accumulate)
        return dX, dW1, db1, dW2, db2

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


def feed_forward_forward(*args, **options):
    """`Kernels.feed_forward_forward` on CuPy."""
    return _default().feed_forward_forward(*args, **options)


def feed_forward_backward(*args, **options):
    """`Kernels.feed_forward_backward` on CuPy."""
    return _default().feed_forward_backward(*args, **options)


@cache
def _default():
    return load()
