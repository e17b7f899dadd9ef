"""cross_entropy: forward and backward through CuPy, float32.

    L = mean(b, s, logsumexp(v, X[b,s,v]) - X[b,s,labels[b,s]])

    dX = dL (softmax(X) − [v = labels]) / (|b| |s|)

Saved for the backward: L_lse.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dX over X.

Made by `derive emit cross_entropy -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("cross_entropy.cu")


def load(cp=None, check_ids=True):
    """The kernels on CuPy, or on any module with its interface.

    Integer tensors are checked to be in range, which waits for the device; `check_ids=False` trusts them.
    """
    if cp is None:
        import cupy as cp
    return Kernels(cp, check_ids)


def blocks(count, threads, most=65535):
    """How many blocks cover `count` elements; the kernels stride over what is left."""
    return min(-(-count // threads), most)


def total_chunks(count):
    """Blocks that share a sum over `count` elements: 16 elements a thread, until there are enough blocks."""
    return max(1, min(-(-count // 4096), 1024))


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

    def __init__(self, cp, check_ids=True):
        self.cp = cp
        self.check_ids = check_ids
        self.modules = {}
        self.dtypes = {
            "T": cp.dtype(cp.float32),
            "compute": cp.dtype(cp.float32),
        }

    def cross_entropy_forward(self, X, labels, *, stream=None):
        """The outputs of cross_entropy.

        Args:
            X: [b, s, v], float32
            labels: [b, s], int32 or int64, in range of axis 2 of X

        Returns:
            L: []
            L_lse: [b, s], saved for the backward
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_s, size_v = self.check("X", X, "T", (None, None, None))
        self.check("labels", labels, "ids", (size_b, size_s))
        self.check_range("labels", labels, size_v, "axis 2 of X")
        with stream or nullcontext():
            chunks = total_chunks(size_b*size_s)
            count = max(size_b*size_s, size_b*size_s*size_v, size_v, chunks)
            launch = partial(self.launch, *self.module(count, (("labels", labels),)))
            L = cp.empty((), dtypes["T"])
            L_lse = cp.empty((size_b, size_s), dtypes["compute"])

            shared = row_shared(size_v, 4, 4)
            launch("forward_L_lse", (row_blocks(size_b*size_s, size_v, 4, 4),), row_threads(size_v, 4, 4),
                   (X, L_lse), (size_b, size_s, size_v, shared), shared)

            L_sum_partial = cp.empty((chunks,), dtypes["compute"])
            launch("forward_L_partial", (chunks,), (256,), (X, labels, L_lse, L_sum_partial),
                   (size_b, size_s, size_v))
            launch("forward_L", (1,), (256,), (L_sum_partial, L), (size_b, size_s, chunks))
        return L, L_lse

    def cross_entropy_backward(self, dL, X, labels, L_lse, *, out=None, accumulate=False, stream=None):
        """The gradients of cross_entropy.

        Args:
            dL: [], float32
            X: [b, s, v], float32
            labels: [b, s], int32 or int64, in range of axis 2 of X
            L_lse: [b, s], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [b, s, v]
        """
        cp, dtypes = self.cp, self.dtypes
        self.check("dL", dL, "T", ())
        size_b, size_s, size_v = self.check("X", X, "T", (None, None, None))
        self.check("labels", labels, "ids", (size_b, size_s))
        self.check("L_lse", L_lse, "compute", (size_b, size_s))
        self.check_range("labels", labels, size_v, "axis 2 of X")
        with stream or nullcontext():
            count = max(size_b*size_s, size_b*size_s*size_v)
            launch = partial(self.launch, *self.module(count, (("labels", labels),)))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_b, size_s, size_v), dtypes["T"])
            else:
                dX, = out
                self.check("dX", dX, "T", (size_b, size_s, size_v))
            launch("backward_dX", (blocks(size_b*size_s*size_v, 1024),), (256,), (X, labels, L_lse, dL, dX),
                   (size_b, size_s, size_v), accumulate=accumulate)
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

    def check_range(self, name, values, size, place, holds=True):
        """Raise unless `values` are from 0 to `size - 1` wherever `holds`."""
        if self.check_ids:
            wrong = ((values < 0) | (values >= size)) & holds
            if bool(wrong.any()):
                raise ValueError(f"{name} addresses {place}: it must be from 0 to {size - 1}, not {int(values[wrong][0])}")


def cross_entropy_forward(*args, **options):
    """`Kernels.cross_entropy_forward` on CuPy."""
    return _default().cross_entropy_forward(*args, **options)


def cross_entropy_backward(*args, **options):
    """`Kernels.cross_entropy_backward` on CuPy."""
    return _default().cross_entropy_backward(*args, **options)


@cache
def _default():
    return load()
