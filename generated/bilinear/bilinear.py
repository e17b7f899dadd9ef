"""bilinear: forward and backward through CuPy, float32.

    Y[n,o] = sum(i, j, X[n,i]*W[o,i,j]*Z[n,j]) + b[o]

    dX = einsum(oij,nj,no->ni; W, Z, dY)
    dW = einsum(ni,nj,no->oij; X, Z, dY)
    dZ = einsum(oij,ni,no->nj; W, X, dY)
    db = dYᵀ 1

Saved for the backward: nothing beyond inputs and outputs.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dZ over Z.
A sum of 1024 products or more with few tiles of results is split in chunks, added in order.

Made by `derive emit bilinear -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("bilinear.cu")


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

    def bilinear_forward(self, X, W, Z, b, *, stream=None):
        """The outputs of bilinear.

        Args:
            X: [n, i], float32
            W: [o, i, j], float32
            Z: [n, j], float32
            b: [o], float32

        Returns:
            Y: [n, o]
        """
        cp, dtypes = self.cp, self.dtypes
        size_n, size_i = self.check("X", X, "T", (None, None))
        size_o, _, size_j = self.check("W", W, "T", (None, size_i, None))
        self.check("Z", Z, "T", (size_n, size_j))
        self.check("b", b, "T", (size_o,))
        with stream or nullcontext():
            chunks = product_chunks(1, size_n, size_o, size_i*size_j)
            count = max(chunks*size_n*size_o, size_n*size_i, size_n*size_j, size_n*size_o, size_o,
                        size_o*size_i*size_j)
            launch = partial(self.launch, *self.module(count, ()))
            Y = cp.empty((size_n, size_o), dtypes["T"])
            Y_sum_partial = cp.empty((chunks, size_n, size_o), dtypes["compute"])
            launch("forward_Y", (tiles(1, size_n, size_o), max(chunks, 1)), (256,),
                   (X, W, Z, b, Y, Y_sum_partial), (size_n, size_o, size_i, size_j))
            if chunks:  # the sum was split: add up its parts
                launch("forward_Y_chunks", (blocks(size_n*size_o, 256),), (256,), (Y_sum_partial, b, Y),
                       (size_n, size_o, chunks))
        return Y

    def bilinear_backward(self, dY, X, W, Z, *, out=None, accumulate=False, stream=None):
        """The gradients of bilinear.

        Args:
            dY: [n, o], float32
            X: [n, i], float32
            W: [o, i, j], float32
            Z: [n, j], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [n, i]
            dW: [o, i, j]
            dZ: [n, j]
            db: [o]
        """
        cp, dtypes = self.cp, self.dtypes
        size_n, size_o = self.check("dY", dY, "T", (None, None))
        _, size_i = self.check("X", X, "T", (size_n, None))
        _, _, size_j = self.check("W", W, "T", (size_o, size_i, None))
        self.check("Z", Z, "T", (size_n, size_j))
        with stream or nullcontext():
            dX_chunks = product_chunks(1, size_n, size_i, size_o*size_j)
            dW_chunks = product_chunks(1, size_i, size_o*size_j, size_n)
            dZ_chunks = product_chunks(1, size_n, size_j, size_o*size_i)
            db_chunks = column_chunks(size_n)
            count = max(db_chunks*size_o, dW_chunks*size_i*size_o*size_j, dX_chunks*size_n*size_i,
                        dZ_chunks*size_n*size_j, size_o*size_i*size_j, size_n*size_i, size_n*size_j,
                        size_n*size_o, size_o)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_n, size_i), dtypes["T"])
                dW = cp.empty((size_o, size_i, size_j), dtypes["T"])
                dZ = cp.empty((size_n, size_j), dtypes["T"])
                db = cp.empty((size_o,), dtypes["T"])
            else:
                dX, dW, dZ, db = out
                self.check("dX", dX, "T", (size_n, size_i))
                self.check("dW", dW, "T", (size_o, size_i, size_j))
                self.check("dZ", dZ, "T", (size_n, size_j))
                self.check("db", db, "T", (size_o,))

            dX_partial = cp.empty((dX_chunks, size_n, size_i), dtypes["compute"])
            launch("backward_dX", (tiles(1, size_n, size_i), max(dX_chunks, 1)), (256,),
                   (W, Z, dY, dX, dX_partial), (size_n, size_o, size_i, size_j), accumulate=accumulate)
            if dX_chunks:  # the sum was split: add up its parts
                launch("backward_dX_chunks", (blocks(size_n*size_i, 256),), (256,), (dX_partial, dX),
                       (size_n, size_i, dX_chunks), accumulate=accumulate)
            del dX_partial

            dW_partial = cp.empty((dW_chunks, size_i, size_o*size_j), dtypes["compute"])
            launch("backward_dW", (tiles(1, size_i, size_o*size_j), max(dW_chunks, 1)), (256,),
                   (X, Z, dY, dW, dW_partial), (size_n, size_o, size_i, size_j), accumulate=accumulate)
            if dW_chunks:  # the sum was split: add up its parts
                launch("backward_dW_chunks", (blocks(size_i*size_o*size_j, 256),), (256,), (dW_partial, dW),
                       (size_o, size_i, size_j, dW_chunks), accumulate=accumulate)
            del dW_partial

            dZ_partial = cp.empty((dZ_chunks, size_n, size_j), dtypes["compute"])
            launch("backward_dZ", (tiles(1, size_n, size_j), max(dZ_chunks, 1)), (256,),
                   (X, W, dY, dZ, dZ_partial), (size_n, size_o, size_i, size_j), accumulate=accumulate)
            if dZ_chunks:  # the sum was split: add up its parts
                launch("backward_dZ_chunks", (blocks(size_n*size_j, 256),), (256,), (dZ_partial, dZ),
                       (size_n, size_j, dZ_chunks), accumulate=accumulate)
            del dZ_partial

            db_partial = cp.empty((db_chunks, size_o), dtypes["compute"])
            launch("backward_db", (blocks(size_o, 32, 2**31), db_chunks), (8, 32), (dY, db, db_partial),
                   (size_n, size_o, db_chunks), accumulate=accumulate)
            if db_chunks > 1:  # the sum was split: add up its parts
                launch("backward_db_sum", (blocks(size_o, 32, 2**31),), (32, 8), (db_partial, db),
                       (size_o, db_chunks), accumulate=accumulate)
        return dX, dW, dZ, db

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


def bilinear_forward(*args, **options):
    """`Kernels.bilinear_forward` on CuPy."""
    return _default().bilinear_forward(*args, **options)


def bilinear_backward(*args, **options):
    """`Kernels.bilinear_backward` on CuPy."""
    return _default().bilinear_backward(*args, **options)


@cache
def _default():
    return load()
