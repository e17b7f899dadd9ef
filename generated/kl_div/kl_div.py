"""kl_div: forward and backward through CuPy, float32.

    Z[n] = logsumexp(v, X[n,v])
    L = mean(n, sum(v, P[n,v]*(log(P[n,v]) - X[n,v] + Z[n])))

    dX = g (diag(P 1) softmax(X) − P)
    dP = g (Z 1ᵀ + log(P) + 1 − X)

Saved for the backward: Z.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dX over X, dX over P.

Made by `derive emit kl_div -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("kl_div.cu")


def load(cp=None):
    """The kernels on CuPy, or on any module with its interface."""
    if cp is None:
        import cupy as cp
    return Kernels(cp)


def blocks(count, threads, most=65535):
    """How many blocks cover `count` elements; the kernels stride over what is left."""
    return min(-(-count // threads), most)


def total_chunks(count):
    """Blocks that share a sum over `count` elements: 16 elements a thread, until there are enough blocks."""
    return max(1, min(-(-count // 4096), 1024))


def row_threads(count, kept=0):
    """Threads along a row of `count` elements, and rows a block: a warp or less while a thread has at most 8 elements,
    then a block; fewer rows a block where `kept` bytes an element would not fit in shared memory."""
    along = 1
    while along < 512 and (along < count if along < 32 else 8 * along < count):
        along *= 2
    rows = 128 // along if along <= 32 else 1
    while rows > 1 and -(-count // along) * along * rows * kept > 96 * 1024:
        rows //= 2
    return along, rows


def row_blocks(rows, count, kept=0):
    """Blocks that hold `rows` rows of `count` elements."""
    return -(-rows // row_threads(count, kept)[1])


def row_shared(count, kept):
    """Bytes of shared memory in which a block keeps `kept` bytes an element; 0 if not even one row fits."""
    along, rows = row_threads(count, kept)
    size = -(-count // along) * along * rows * kept
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

    def kl_div_forward(self, X, P, *, stream=None):
        """The outputs of kl_div.

        Args:
            X: [n, v], float32
            P: [n, v], float32

        Returns:
            L: []
            Z: [n], saved for the backward
        """
        cp, dtypes = self.cp, self.dtypes
        size_n, size_v = self.check("X", X, "T", (None, None))
        self.check("P", P, "T", (size_n, size_v))
        with stream or nullcontext():
            module, index = self.module(max(1, size_n, size_n*size_v, size_v, total_chunks(size_n)), ())
            L = cp.empty((), dtypes["T"])
            Z = cp.empty((size_n,), dtypes["compute"])
            L_sum_sum = cp.empty((size_n,), dtypes["compute"])
            L_sum_partial = cp.empty((total_chunks(size_n),), dtypes["compute"])
            self.launch(module, "forward_Z_L_sum_sum", (row_blocks(size_n, size_v, 4), 1, 1), (*row_threads(size_v, 4), 1),
                        (X, P, Z, L_sum_sum, index(size_n), index(size_v), index(row_shared(size_v, 4)),), row_shared(size_v, 4))
            self.launch(module, "forward_L_partial", (total_chunks(size_n), 1, 1), (256, 1, 1),
                        (L_sum_sum, L_sum_partial, index(size_n),))
            self.launch(module, "forward_L", (1, 1, 1), (256, 1, 1),
                        (L_sum_partial, L, index(size_n), index(total_chunks(size_n)),))
        return L, Z

    def kl_div_backward(self, dL, X, P, Z, *, out=None, accumulate=False, stream=None):
        """The gradients of kl_div.

        Args:
            dL: [], float32
            X: [n, v], float32
            P: [n, v], float32
            Z: [n], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [n, v]
            dP: [n, v]
        """
        cp, dtypes = self.cp, self.dtypes
        self.check("dL", dL, "T", ())
        size_n, size_v = self.check("X", X, "T", (None, None))
        self.check("P", P, "T", (size_n, size_v))
        self.check("Z", Z, "compute", (size_n,))
        with stream or nullcontext():
            module, index = self.module(max(1, size_n, size_n*size_v, size_v), ())
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_n, size_v), dtypes["T"])
                dP = cp.empty((size_n, size_v), dtypes["T"])
            else:
                dX, dP = out
                self.check("dX", dX, "T", (size_n, size_v))
                self.check("dP", dP, "T", (size_n, size_v))
            self.launch(module, "backward_dX_dP", (row_blocks(size_n, size_v, 8), 1, 1), (*row_threads(size_v, 8), 1),
                        (X, P, Z, dL, dX, dP, index(size_n), index(size_v), index(row_shared(size_v, 8)), cp.int32(accumulate),), row_shared(size_v, 8))
        return dX, dP

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
            if shared > 40 * 1024:  # with what is static, perhaps more than the 48 KiB that need no asking
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


def kl_div_forward(*args, **options):
    """`Kernels.kl_div_forward` on CuPy."""
    return _default().kl_div_forward(*args, **options)


def kl_div_backward(*args, **options):
    """`Kernels.kl_div_backward` on CuPy."""
    return _default().kl_div_backward(*args, **options)


@cache
def _default():
    return load()
