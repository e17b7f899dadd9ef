"""bce_logits: forward and backward through CuPy, float32.

    L = mean(n, o, log(1 + exp(X[n,o])) - X[n,o]*T[n,o])

    dX = g1 (σ(X) − T)
    dT = −g1 X
    where
    g1 = dL/size(n)/size(o)

Saved for the backward: nothing beyond inputs and outputs.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dX over X, dX over T, dT over X, dT over T.

Made by `derive emit bce_logits -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("bce_logits.cu")


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

    def bce_logits_forward(self, X, T, *, stream=None):
        """The outputs of bce_logits.

        Args:
            X: [n, o], float32
            T: [n, o], float32

        Returns:
            L: []
        """
        cp, dtypes = self.cp, self.dtypes
        size_n, size_o = self.check("X", X, "T", (None, None))
        self.check("T", T, "T", (size_n, size_o))
        with stream or nullcontext():
            chunks = total_chunks(size_n*size_o)
            count = max(size_n*size_o, chunks)
            launch = partial(self.launch, *self.module(count, ()))
            L = cp.empty((), dtypes["T"])
            L_sum_partial = cp.empty((chunks,), dtypes["compute"])
            launch("forward_L_partial", (chunks,), (256,), (X, T, L_sum_partial), (size_n, size_o))
            launch("forward_L", (1,), (256,), (L_sum_partial, L), (size_n, size_o, chunks))
        return L

    def bce_logits_backward(self, dL, X, T, *, out=None, accumulate=False, stream=None):
        """The gradients of bce_logits.

        Args:
            dL: [], float32
            X: [n, o], float32
            T: [n, o], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [n, o]
            dT: [n, o]
        """
        cp, dtypes = self.cp, self.dtypes
        self.check("dL", dL, "T", ())
        size_n, size_o = self.check("X", X, "T", (None, None))
        self.check("T", T, "T", (size_n, size_o))
        with stream or nullcontext():
            launch = partial(self.launch, *self.module(size_n*size_o, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_n, size_o), dtypes["T"])
                dT = cp.empty((size_n, size_o), dtypes["T"])
            else:
                dX, dT = out
                self.check("dX", dX, "T", (size_n, size_o))
                self.check("dT", dT, "T", (size_n, size_o))
            launch("backward_dX_dT", (blocks(size_n*size_o, 1024),), (256,), (X, T, dL, dX, dT),
                   (size_n, size_o), accumulate=accumulate)
        return dX, dT

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


def bce_logits_forward(*args, **options):
    """`Kernels.bce_logits_forward` on CuPy."""
    return _default().bce_logits_forward(*args, **options)


def bce_logits_backward(*args, **options):
    """`Kernels.bce_logits_backward` on CuPy."""
    return _default().bce_logits_backward(*args, **options)


@cache
def _default():
    return load()
