"""conv1d: forward and backward through CuPy, float32.

    Y[b,o,t] = sum(c, r, X[b,c,t+r]*W[o,c,r]) + k[o]

    dX[b,c,i] = sum(o, r, where(i - r >= 0 and i - r < size(t), W[o,c,r]*dY[b,o,i - r], 0))
    dW[o,c,r] = sum(b, t, X[b,c,r + t]*dY[b,o,t])
    dk = einsum(bot->o; dY)

Saved for the backward: nothing beyond inputs and outputs.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dW over W.
A sum of 1024 products or more with few tiles of results is split in chunks, added in order.

Made by `derive emit conv1d -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("conv1d.cu")


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

    def conv1d_forward(self, X, W, k, *, size_t=None, stream=None):
        """The outputs of conv1d.

        Args:
            X: [b, c, X_2], float32
            W: [o, c, r], float32
            k: [o], float32
            size_t: size of t (default max(size_X_2 - 1 - (size_r - 1) + 1, 0))

        Returns:
            Y: [b, o, t]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_c, size_X_2 = self.check("X", X, "T", (None, None, None))
        size_o, _, size_r = self.check("W", W, "T", (None, size_c, None))
        self.check("k", k, "T", (size_o,))
        size_t = max(size_X_2 - 1 - (size_r - 1) + 1, 0) if size_t is None else size_t
        with stream or nullcontext():
            chunks = product_chunks(1, size_o, size_b*size_t, size_c*size_r)
            count = max(chunks*size_o*size_b*size_t, size_b*size_c*size_X_2, size_o*size_b*size_t, size_o,
                        size_o*size_c*size_r)
            launch = partial(self.launch, *self.module(count, ()))
            Y = cp.empty((size_b, size_o, size_t), dtypes["T"])
            Y_sum_partial = cp.empty((chunks, size_o, size_b*size_t), dtypes["compute"])
            launch("forward_Y", (tiles(1, size_o, size_b*size_t), max(chunks, 1)), (256,),
                   (X, W, k, Y, Y_sum_partial), (size_b, size_o, size_t, size_c, size_r, size_X_2))
            if chunks:  # the sum was split: add up its parts
                launch("forward_Y_chunks", (blocks(size_o*size_b*size_t, 256),), (256,),
                       (Y_sum_partial, k, Y), (size_b, size_o, size_t, chunks))
        return Y

    def conv1d_backward(self, dY, X, W, *, out=None, accumulate=False, stream=None):
        """The gradients of conv1d.

        Args:
            dY: [b, o, t], float32
            X: [b, c, X_2], float32
            W: [o, c, r], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [b, c, X_2]
            dW: [o, c, r]
            dk: [o]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_o, size_t = self.check("dY", dY, "T", (None, None, None))
        _, size_c, size_X_2 = self.check("X", X, "T", (size_b, None, None))
        _, _, size_r = self.check("W", W, "T", (size_o, size_c, None))
        with stream or nullcontext():
            dX_chunks = product_chunks(1, size_c, size_b*size_X_2, size_o*size_r)
            dW_chunks = product_chunks(1, size_o, size_c*size_r, size_b*size_t)
            count = max(dX_chunks*size_c*size_b*size_X_2, dW_chunks*size_o*size_c*size_r,
                        size_c*size_b*size_X_2, size_b*size_o*size_t, size_b*size_t, size_o,
                        size_o*size_c*size_r)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_b, size_c, size_X_2), dtypes["T"])
                dW = cp.empty((size_o, size_c, size_r), dtypes["T"])
                dk = cp.empty((size_o,), dtypes["T"])
            else:
                dX, dW, dk = out
                self.check("dX", dX, "T", (size_b, size_c, size_X_2))
                self.check("dW", dW, "T", (size_o, size_c, size_r))
                self.check("dk", dk, "T", (size_o,))

            dX_partial = cp.empty((dX_chunks, size_c, size_b*size_X_2), dtypes["compute"])
            launch("backward_dX", (tiles(1, size_c, size_b*size_X_2), max(dX_chunks, 1)), (256,),
                   (W, dY, dX, dX_partial), (size_b, size_o, size_t, size_c, size_r, size_X_2),
                   accumulate=accumulate)
            if dX_chunks:  # the sum was split: add up its parts
                launch("backward_dX_chunks", (blocks(size_c*size_b*size_X_2, 256),), (256,),
                       (dX_partial, dX), (size_b, size_c, size_X_2, dX_chunks), accumulate=accumulate)
            del dX_partial

            dW_partial = cp.empty((dW_chunks, size_o, size_c*size_r), dtypes["compute"])
            launch("backward_dW", (tiles(1, size_o, size_c*size_r), max(dW_chunks, 1)), (256,),
                   (X, dY, dW, dW_partial), (size_b, size_o, size_t, size_c, size_r, size_X_2),
                   accumulate=accumulate)
            if dW_chunks:  # the sum was split: add up its parts
                launch("backward_dW_chunks", (blocks(size_o*size_c*size_r, 256),), (256,), (dW_partial, dW),
                       (size_o, size_c, size_r, dW_chunks), accumulate=accumulate)
            del dW_partial

            launch("backward_dk", (row_blocks(size_o, size_b*size_t),), row_threads(size_b*size_t), (dY, dk),
                   (size_b, size_o, size_t), accumulate=accumulate)
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


def conv1d_forward(*args, **options):
    """`Kernels.conv1d_forward` on CuPy."""
    return _default().conv1d_forward(*args, **options)


def conv1d_backward(*args, **options):
    """`Kernels.conv1d_backward` on CuPy."""
    return _default().conv1d_backward(*args, **options)


@cache
def _default():
    return load()
