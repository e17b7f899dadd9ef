"""conv2d: forward and backward through CuPy, float32.

    Y[b,o,y,x] = sum(c, p, q, X[b,c,y+p,x+q]*W[o,c,p,q]) + k[o]

    dX[b,c,i,j] = sum(o, p, q, where(i - p >= 0 and i - p < size(y) and j - q >= 0 and j - q < size(x), W[o,c,p,q]*dY[b,o,i - p,j - q], 0))
    dW[o,c,p,q] = sum(b, y, x, X[b,c,p + y,q + x]*dY[b,o,y,x])
    dk = einsum(boyx->o; dY)

Saved for the backward: nothing beyond inputs and outputs.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dW over W.
A sum of 1024 products or more with few tiles of results is split in chunks, added in order.

Made by `derive emit conv2d -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("conv2d.cu")


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

    def conv2d_forward(self, X, W, k, *, size_y=None, size_x=None, stream=None):
        """The outputs of conv2d.

        Args:
            X: [b, c, X_2, X_3], float32
            W: [o, c, p, q], float32
            k: [o], float32
            size_y: size of y (default max(size_X_2 - 1 - (size_p - 1) + 1, 0))
            size_x: size of x (default max(size_X_3 - 1 - (size_q - 1) + 1, 0))

        Returns:
            Y: [b, o, y, x]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_c, size_X_2, size_X_3 = self.check("X", X, "T", (None, None, None, None))
        size_o, _, size_p, size_q = self.check("W", W, "T", (None, size_c, None, None))
        self.check("k", k, "T", (size_o,))
        size_y = max(size_X_2 - 1 - (size_p - 1) + 1, 0) if size_y is None else size_y
        size_x = max(size_X_3 - 1 - (size_q - 1) + 1, 0) if size_x is None else size_x
        with stream or nullcontext():
            chunks = product_chunks(1, size_o, size_b*size_y*size_x, size_c*size_p*size_q)
            count = max(chunks*size_o*size_b*size_y*size_x, size_b*size_c*size_X_2*size_X_3,
                        size_o*size_b*size_y*size_x, size_o, size_o*size_c*size_p*size_q)
            launch = partial(self.launch, *self.module(count, ()))
            Y = cp.empty((size_b, size_o, size_y, size_x), dtypes["T"])
            Y_sum_partial = cp.empty((chunks, size_o, size_b*size_y*size_x), dtypes["compute"])
            launch("forward_Y", (tiles(1, size_o, size_b*size_y*size_x), max(chunks, 1)), (256,),
                   (X, W, k, Y, Y_sum_partial),
                   (size_b, size_o, size_y, size_x, size_c, size_p, size_q, size_X_2, size_X_3))
            if chunks:  # the sum was split: add up its parts
                launch("forward_Y_chunks", (blocks(size_o*size_b*size_y*size_x, 256),), (256,),
                       (Y_sum_partial, k, Y), (size_b, size_o, size_y, size_x, chunks))
        return Y

    def conv2d_backward(self, dY, X, W, *, out=None, accumulate=False, stream=None):
        """The gradients of conv2d.

        Args:
            dY: [b, o, y, x], float32
            X: [b, c, X_2, X_3], float32
            W: [o, c, p, q], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [b, c, X_2, X_3]
            dW: [o, c, p, q]
            dk: [o]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_o, size_y, size_x = self.check("dY", dY, "T", (None, None, None, None))
        _, size_c, size_X_2, size_X_3 = self.check("X", X, "T", (size_b, None, None, None))
        _, _, size_p, size_q = self.check("W", W, "T", (size_o, size_c, None, None))
        with stream or nullcontext():
            dX_chunks = product_chunks(1, size_c, size_b*size_X_2*size_X_3, size_o*size_p*size_q)
            dW_chunks = product_chunks(1, size_o, size_c*size_p*size_q, size_b*size_y*size_x)
            count = max(dX_chunks*size_c*size_b*size_X_2*size_X_3, dW_chunks*size_o*size_c*size_p*size_q,
                        size_c*size_b*size_X_2*size_X_3, size_b*size_o*size_y*size_x, size_b*size_y*size_x,
                        size_o, size_o*size_c*size_p*size_q)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_b, size_c, size_X_2, size_X_3), dtypes["T"])
                dW = cp.empty((size_o, size_c, size_p, size_q), dtypes["T"])
                dk = cp.empty((size_o,), dtypes["T"])
            else:
                dX, dW, dk = out
                self.check("dX", dX, "T", (size_b, size_c, size_X_2, size_X_3))
                self.check("dW", dW, "T", (size_o, size_c, size_p, size_q))
                self.check("dk", dk, "T", (size_o,))

            dX_partial = cp.empty((dX_chunks, size_c, size_b*size_X_2*size_X_3), dtypes["compute"])
            launch("backward_dX", (tiles(1, size_c, size_b*size_X_2*size_X_3), max(dX_chunks, 1)), (256,),
                   (W, dY, dX, dX_partial),
                   (size_b, size_o, size_y, size_x, size_c, size_p, size_q, size_X_2, size_X_3),
                   accumulate=accumulate)
            if dX_chunks:  # the sum was split: add up its parts
                launch("backward_dX_chunks", (blocks(size_c*size_b*size_X_2*size_X_3, 256),), (256,),
                       (dX_partial, dX), (size_b, size_c, size_X_2, size_X_3, dX_chunks),
                       accumulate=accumulate)
            del dX_partial

            dW_partial = cp.empty((dW_chunks, size_o, size_c*size_p*size_q), dtypes["compute"])
            launch("backward_dW", (tiles(1, size_o, size_c*size_p*size_q), max(dW_chunks, 1)), (256,),
                   (X, dY, dW, dW_partial),
                   (size_b, size_o, size_y, size_x, size_c, size_p, size_q, size_X_2, size_X_3),
                   accumulate=accumulate)
            if dW_chunks:  # the sum was split: add up its parts
                launch("backward_dW_chunks", (blocks(size_o*size_c*size_p*size_q, 256),), (256,),
                       (dW_partial, dW), (size_o, size_c, size_p, size_q, dW_chunks), accumulate=accumulate)
            del dW_partial

            launch("backward_dk", (row_blocks(size_o, size_b*size_y*size_x),),
                   row_threads(size_b*size_y*size_x), (dY, dk), (size_b, size_o, size_y, size_x),
                   accumulate=accumulate)
        return dX, dW, dk

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


def conv2d_forward(*args, **options):
    """`Kernels.conv2d_forward` on CuPy."""
    return _default().conv2d_forward(*args, **options)


def conv2d_backward(*args, **options):
    """`Kernels.conv2d_backward` on CuPy."""
    return _default().conv2d_backward(*args, **options)


@cache
def _default():
    return load()
