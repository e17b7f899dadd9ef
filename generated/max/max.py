"""max: forward and backward through CuPy, float32.

    Y[i] = max(j, X[i,j])

    dX = where(X = Y, (dY ∘ ([X = Y] 1)⁻¹) 1ᵀ, 0)

Saved for the backward: nothing beyond inputs and outputs.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dX over X.

Made by `derive emit max -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("max.cu")


def load(cp=None):
    """The kernels on CuPy, or on any module with its interface."""
    if cp is None:
        import cupy as cp
    return Kernels(cp)


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


def row_shared(count, kept, lanes=1, *cut):
    """Bytes of shared memory in which a block keeps `kept` bytes an element; 0 if not even one row fits."""
    along, rows = row_threads(count, kept, lanes, *cut)
    size = -(-count // (along * lanes)) * along * lanes * rows * kept
    return size if size <= 96 * 1024 else 0


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

    def max_forward(self, X, *, stream=None):
        """The outputs of max.

        Args:
            X: [i, j], float32

        Returns:
            Y: [i]
        """
        cp, dtypes = self.cp, self.dtypes
        size_i, size_j = self.check("X", X, "T", (None, None))
        with stream or nullcontext():
            count = max(size_i, size_i*size_j, size_j)
            launch = partial(self.launch, *self.module(count, ()))
            Y = cp.empty((size_i,), dtypes["T"])
            launch("forward_Y", (row_blocks(size_i, size_j, 0, 4),), row_threads(size_j, 0, 4), (X, Y),
                   (size_i, size_j))
        return Y

    def max_backward(self, dY, X, Y, *, out=None, accumulate=False, stream=None):
        """The gradients of max.

        Args:
            dY: [i], float32
            X: [i, j], float32
            Y: [i], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [i, j]
        """
        cp, dtypes = self.cp, self.dtypes
        size_i, = self.check("dY", dY, "T", (None,))
        _, size_j = self.check("X", X, "T", (size_i, None))
        self.check("Y", Y, "T", (size_i,))
        with stream or nullcontext():
            count = max(size_i, size_i*size_j, size_j)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_i, size_j), dtypes["T"])
            else:
                dX, = out
                self.check("dX", dX, "T", (size_i, size_j))
            shared = row_shared(size_j, 4, 4)
            launch("backward_dX", (row_blocks(size_i, size_j, 4, 4),), row_threads(size_j, 4, 4),
                   (X, Y, dY, dX), (size_i, size_j, shared), shared, accumulate=accumulate)
        return dX

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


def max_forward(*args, **options):
    """`Kernels.max_forward` on CuPy."""
    return _default().max_forward(*args, **options)


def max_backward(*args, **options):
    """`Kernels.max_backward` on CuPy."""
    return _default().max_backward(*args, **options)


@cache
def _default():
    return load()
