"""cross_entropy_smoothing: forward and backward through CuPy, float32.

    param alpha = 0.1
    L = mean(b, s, logsumexp(v, X[b,s,v]) - (1 - alpha)*X[b,s,labels[b,s]] - alpha*mean(v, X[b,s,v]))

    dX = dL (exp(X − L_1 1ᵀ) + (−(1 − alpha)) [v = labels] − alpha / |v|) / (|b| |s|)

Saved for the backward: L_1.
Sums are kept in float32; the same bits at every run.

Made by `derive emit cross_entropy_smoothing`; do not edit.
"""

from contextlib import nullcontext
from pathlib import Path

SOURCE = Path(__file__).with_name("cross_entropy_smoothing.cu")


def load(cp=None):
    """The kernels on CuPy, or on any module with its interface."""
    if cp is None:
        import cupy as cp
    return Kernels(cp)


def blocks(count, threads, most=65535):
    """How many blocks cover `count` elements; the kernels stride over what is left."""
    return min(-(-count // threads), most)


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

    def cross_entropy_smoothing_forward(self, X, labels, *, stream=None):
        """The outputs of cross_entropy_smoothing.

        Args:
            X: [b, s, v], float32
            labels: [b, s], int32 or int64
        
        Returns:
            L: []
            L_1: [b, s], saved for the backward
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_s, size_v = self.check("X", X, "T", (None, None, None))
        self.check("labels", labels, "ids", (size_b, size_s))
        with stream or nullcontext():
            L = cp.empty((), dtypes["T"])
            L_1 = cp.empty((size_b, size_s), dtypes["compute"])
            L_sum = cp.empty((size_b, size_s), dtypes["compute"])
            module, index = self.module(max(1, size_b*size_s, size_b*size_s*size_v, size_v), (("labels", labels),))
            self.launch(module, "forward_L_1_L_sum", (row_blocks(size_b*size_s, size_v), 1, 1), (*row_threads(size_v), 1),
                        (X, L_1, L_sum, index(size_b), index(size_s), index(size_v),))
            self.launch(module, "forward_L", (row_blocks(1, size_b*size_s), 1, 1), (*row_threads(size_b*size_s), 1),
                        (X, labels, L_1, L_sum, L, index(size_b), index(size_s), index(size_v),))
        return L, L_1

    def cross_entropy_smoothing_backward(self, dL, X, labels, L_1, *, out=None, accumulate=False, stream=None):
        """The gradients of cross_entropy_smoothing.

        Args:
            dL: [], float32
            X: [b, s, v], float32
            labels: [b, s], int32 or int64
            L_1: [b, s], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds
        
        Returns:
            dX: [b, s, v]
        """
        cp, dtypes = self.cp, self.dtypes
        self.check("dL", dL, "T", ())
        size_b, size_s, size_v = self.check("X", X, "T", (None, None, None))
        self.check("labels", labels, "ids", (size_b, size_s))
        self.check("L_1", L_1, "compute", (size_b, size_s))
        with stream or nullcontext():
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_b, size_s, size_v), dtypes["T"])
            else:
                dX, = out
                self.check("dX", dX, "T", (size_b, size_s, size_v))
            module, index = self.module(max(1, size_b*size_s, size_b*size_s*size_v), (("labels", labels),))
            self.launch(module, "backward_dX", (blocks(size_b*size_s*size_v, 256), 1, 1), (256, 1, 1),
                        (X, labels, L_1, dL, dX, index(size_b), index(size_s), index(size_v), cp.int32(accumulate),))
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


def cross_entropy_smoothing_forward(*args, **options):
    """`Kernels.cross_entropy_smoothing_forward` on CuPy."""
    return _default().cross_entropy_smoothing_forward(*args, **options)


def cross_entropy_smoothing_backward(*args, **options):
    """`Kernels.cross_entropy_smoothing_backward` on CuPy."""
    return _default().cross_entropy_smoothing_backward(*args, **options)


def _default(cache=[]):
    if not cache:
        cache.append(load())
    return cache[0]
