"""rmsnorm: forward and backward through CuPy, float32.

    param eps = 1e-6
    R[b,s] = rsqrt(mean(d, X[b,s,d]**2) + eps)
    Y[b,s,d] = X[b,s,d]*R[b,s]*gamma[d]

    dX = diag(R) (g − diag((g ∘ xhat) 1) xhat / |d|)
    dgamma = (dY ∘ xhat)ᵀ 1
    where
    xhat[b,s,d] = R[b,s]*X[b,s,d]
    g[b,s,d] = dY[b,s,d]*gamma[d]

Saved for the backward: R_in.  Computed again: R, xhat.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dX over dY, dX over X, dgamma over gamma.

Made by `derive emit rmsnorm -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("rmsnorm.cu")


def load(cp=None):
    """The kernels on CuPy, or on any module with its interface."""
    if cp is None:
        import cupy as cp
    return Kernels(cp)


def blocks(count, threads, most=65535):
    """How many blocks cover `count` elements; the kernels stride over what is left."""
    return min(-(-count // threads), most)


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


def row_chunks(rows, count, share):
    """Blocks that go over `rows` rows and keep sums over them: `share` rows each or more, since the partial
    results of every block pass through memory too; fewer would leave parts of a large GPU idle."""
    return max(1, min(-(-rows // share), row_blocks(rows, count), 1024))


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

    def rmsnorm_forward(self, X, gamma, *, stream=None):
        """The outputs of rmsnorm.

        Args:
            X: [b, s, d], float32
            gamma: [d], float32

        Returns:
            Y: [b, s, d]
            R_in: [b, s], saved for the backward
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_s, size_d = self.check("X", X, "T", (None, None, None))
        self.check("gamma", gamma, "T", (size_d,))
        with stream or nullcontext():
            count = max(size_b*size_s, size_b*size_s*size_d, size_d)
            launch = partial(self.launch, *self.module(count, ()))
            Y = cp.empty((size_b, size_s, size_d), dtypes["T"])
            R_in = cp.empty((size_b, size_s), dtypes["compute"])
            shared = row_shared(size_d, 4, 4)
            launch("forward_R_in_Y", (row_blocks(size_b*size_s, size_d, 4, 4),), row_threads(size_d, 4, 4),
                   (X, gamma, Y, R_in), (size_b, size_s, size_d, shared), shared)
        return Y, R_in

    def rmsnorm_backward(self, dY, X, gamma, R_in, *, out=None, accumulate=False, stream=None):
        """The gradients of rmsnorm.

        Args:
            dY: [b, s, d], float32
            X: [b, s, d], float32
            gamma: [d], float32
            R_in: [b, s], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [b, s, d]
            dgamma: [d]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_s, size_d = self.check("dY", dY, "T", (None, None, None))
        self.check("X", X, "T", (size_b, size_s, size_d))
        self.check("gamma", gamma, "T", (size_d,))
        self.check("R_in", R_in, "compute", (size_b, size_s))
        with stream or nullcontext():
            chunks = row_chunks(size_b*size_s, size_d, 17)
            count = max(chunks*size_d, size_b*size_s, size_b*size_s*size_d, size_d)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_b, size_s, size_d), dtypes["T"])
                dgamma = cp.empty((size_d,), dtypes["T"])
            else:
                dX, dgamma = out
                self.check("dX", dX, "T", (size_b, size_s, size_d))
                self.check("dgamma", dgamma, "T", (size_d,))
            dgamma_partial = cp.empty((chunks, size_d), dtypes["compute"])
            shared = row_shared(size_d, 12, 4, 8, 512)
            launch("backward_dX_dgamma", (chunks,), row_threads(size_d, 12, 4, 8, 512),
                   (X, gamma, R_in, dY, dX, dgamma_partial), (size_b, size_s, size_d, shared), shared,
                   accumulate=accumulate)
            launch("backward_dX_dgamma_sum", (blocks(size_d, 32, 2**31),), (32, 8), (dgamma_partial, dgamma),
                   (size_d, chunks), accumulate=accumulate)
        return dX, dgamma

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


def rmsnorm_forward(*args, **options):
    """`Kernels.rmsnorm_forward` on CuPy."""
    return _default().rmsnorm_forward(*args, **options)


def rmsnorm_backward(*args, **options):
    """`Kernels.rmsnorm_backward` on CuPy."""
    return _default().rmsnorm_backward(*args, **options)


@cache
def _default():
    return load()
