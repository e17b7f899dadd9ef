"""batchnorm: forward and backward through CuPy, float32.

    param eps = 1e-5
    M[c] = mean(b, t, X[b,c,t])
    V[c] = mean(b, t, (X[b,c,t] - M[c])**2)
    Y[b,c,t] = (X[b,c,t] - M[c])/sqrt(V[c] + eps)*gamma[c] + beta[c]

    dX = diag(gamma ∘ rstd) (dY − dbeta 1ᵀ / (|b| |t|) − diag(dgamma) xhat / (|b| |t|))
    dgamma = einsum(bct,bct->c; dY, xhat)
    dbeta = einsum(bct->c; dY)
    where
    rstd[c] = rsqrt(eps + V[c])
    xhat[b,c,t] = rstd[c]*(X[b,c,t] - M[c])

Saved for the backward: M, V.  Computed again: rstd, xhat.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dX over dY, dX over X.

Made by `derive emit batchnorm -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("batchnorm.cu")


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

    def batchnorm_forward(self, X, gamma, beta, *, stream=None):
        """The outputs of batchnorm.

        Args:
            X: [b, c, t], float32
            gamma: [c], float32
            beta: [c], float32

        Returns:
            Y: [b, c, t]
            M: [c], saved for the backward
            V: [c], saved for the backward
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_c, size_t = self.check("X", X, "T", (None, None, None))
        self.check("gamma", gamma, "T", (size_c,))
        self.check("beta", beta, "T", (size_c,))
        with stream or nullcontext():
            count = max(size_b*size_c*size_t, size_b*size_t, size_c)
            launch = partial(self.launch, *self.module(count, ()))
            Y = cp.empty((size_b, size_c, size_t), dtypes["T"])
            M = cp.empty((size_c,), dtypes["compute"])
            V = cp.empty((size_c,), dtypes["compute"])
            shared = row_shared(size_b*size_t, 4)
            launch("forward_M_V_Y", (row_blocks(size_c, size_b*size_t, 4),), row_threads(size_b*size_t, 4),
                   (X, gamma, beta, Y, M, V), (size_c, size_b, size_t, shared), shared)
        return Y, M, V

    def batchnorm_backward(self, dY, X, gamma, M, V, *, out=None, accumulate=False, stream=None):
        """The gradients of batchnorm.

        Args:
            dY: [b, c, t], float32
            X: [b, c, t], float32
            gamma: [c], float32
            M: [c], float32
            V: [c], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [b, c, t]
            dgamma: [c]
            dbeta: [c]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_c, size_t = self.check("dY", dY, "T", (None, None, None))
        self.check("X", X, "T", (size_b, size_c, size_t))
        self.check("gamma", gamma, "T", (size_c,))
        self.check("M", M, "compute", (size_c,))
        self.check("V", V, "compute", (size_c,))
        with stream or nullcontext():
            count = max(size_b*size_c*size_t, size_b*size_t, size_c)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_b, size_c, size_t), dtypes["T"])
                dgamma = cp.empty((size_c,), dtypes["T"])
                dbeta = cp.empty((size_c,), dtypes["T"])
            else:
                dX, dgamma, dbeta = out
                self.check("dX", dX, "T", (size_b, size_c, size_t))
                self.check("dgamma", dgamma, "T", (size_c,))
                self.check("dbeta", dbeta, "T", (size_c,))
            if accumulate:
                given_dgamma = dgamma
                dgamma = cp.empty((size_c,), dtypes["T"])
            if accumulate:
                given_dbeta = dbeta
                dbeta = cp.empty((size_c,), dtypes["T"])
            shared = row_shared(size_b*size_t, 8)
            launch("backward_dgamma_dbeta_dX", (row_blocks(size_c, size_b*size_t, 8),),
                   row_threads(size_b*size_t, 8), (X, gamma, M, V, dY, dX, dgamma, dbeta),
                   (size_c, size_b, size_t, shared), shared, accumulate=accumulate)
            if accumulate:
                launch("add_into", (blocks(size_c, 256),), (256,), (dgamma, given_dgamma), (size_c,))
                dgamma = given_dgamma
            if accumulate:
                launch("add_into", (blocks(size_c, 256),), (256,), (dbeta, given_dbeta), (size_c,))
                dbeta = given_dbeta
        return dX, dgamma, dbeta

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


def batchnorm_forward(*args, **options):
    """`Kernels.batchnorm_forward` on CuPy."""
    return _default().batchnorm_forward(*args, **options)


def batchnorm_backward(*args, **options):
    """`Kernels.batchnorm_backward` on CuPy."""
    return _default().batchnorm_backward(*args, **options)


@cache
def _default():
    return load()
