"""rmsnorm: forward and backward through CuPy, float32.

    param eps = 1e-6
    R[b,s] = rsqrt(mean(d, X[b,s,d]**2) + eps)
    Y[b,s,d] = X[b,s,d]*R[b,s]*gamma[d]

    dX = g diag(gamma) − diag(R³ ∘ (X ∘ dY) gamma) X / |d|
    dgamma = (X ∘ g)ᵀ 1

Saved for the backward: R_1.  Computed again: R.
Sums are kept in float32; the same bits at every run.

Made by `derive emit rmsnorm`; do not edit.
"""

from contextlib import nullcontext
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


def column_chunks(rows):
    """Chunks of rows that are reduced apart: 256 rows each, so that a thread adds up no more than a few dozen."""
    return max(1, min(-(-rows // 256), 1024))


def row_threads(count):
    """Threads along a row of `count` elements, and rows a block."""
    if count > 1024:
        return (256, 1) if count <= 16384 else (1024, 1)
    along = 32
    while along > 1 and along >= 2*count:
        along //= 2
    return along, 128 // along


def row_blocks(rows, count):
    """Blocks that hold `rows` rows of `count` elements."""
    return -(-rows // row_threads(count)[1])


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
            "index": cp.dtype(cp.int32),
        }

    def rmsnorm_forward(self, X, gamma, *, stream=None):
        """The outputs of rmsnorm.

        Args:
            X: [b, s, d], float32
            gamma: [d], float32
        
        Returns:
            Y: [b, s, d]
            R_1: [b, s], saved for the backward
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_s, size_d = self.check("X", X, "T", (None, None, None))
        self.check("gamma", gamma, "T", (size_d,))
        with stream or nullcontext():
            Y = cp.empty((size_b, size_s, size_d), dtypes["T"])
            R_1 = cp.empty((size_b, size_s), dtypes["compute"])
            module, index = self.module(max(size_b*size_s, size_b*size_s*size_d, size_d), ())
            self.launch(module, "forward_R_1_Y", (row_blocks(size_b*size_s, size_d), 1, 1), (*row_threads(size_d), 1),
                        (X, gamma, Y, R_1, index(size_b), index(size_s), index(size_d),))
        return Y, R_1

    def rmsnorm_backward(self, dY, X, gamma, R_1, *, out=None, accumulate=False, stream=None):
        """The gradients of rmsnorm.

        Args:
            dY: [b, s, d], float32
            X: [b, s, d], float32
            gamma: [d], float32
            R_1: [b, s], float32
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
        self.check("R_1", R_1, "compute", (size_b, size_s))
        with stream or nullcontext():
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_b, size_s, size_d), dtypes["T"])
                dgamma = cp.empty((size_d,), dtypes["T"])
            else:
                dX, dgamma = out
                self.check("dX", dX, "T", (size_b, size_s, size_d))
                self.check("dgamma", dgamma, "T", (size_d,))
            dgamma_partial = cp.empty((column_chunks(size_b*size_s), size_d), dtypes["compute"])
            module, index = self.module(max(0, column_chunks(size_b*size_s)*size_d, size_b*size_s, size_b*size_s*size_d, size_d), ())
            self.launch(module, "backward_dX", (row_blocks(size_b*size_s, size_d), 1, 1), (*row_threads(size_d), 1),
                        (X, gamma, R_1, dY, dX, index(size_b), index(size_s), index(size_d), cp.int32(accumulate),))
            self.launch(module, "backward_dgamma_partial", (blocks(size_d, 32), column_chunks(size_b*size_s), 1), (32, 8, 1),
                        (X, R_1, dY, dgamma_partial, index(size_b), index(size_s), index(size_d), index(column_chunks(size_b*size_s)),))
            self.launch(module, "backward_dgamma", (blocks(size_d, 256), 1, 1), (256, 1, 1),
                        (dgamma_partial, dgamma, index(size_d), index(column_chunks(size_b*size_s)), cp.int32(accumulate),))
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

    def launch(self, module, name, grid, block, args, shared=0):
        """Launch a kernel, unless there is nothing to do."""
        if 0 not in grid:
            kernel = module.get_function(name)
            if shared > 48 * 1024:
                kernel.max_dynamic_shared_size_bytes = shared
            kernel(grid, block, args, shared_mem=shared)

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


def _default(cache=[]):
    if not cache:
        cache.append(load())
    return cache[0]
