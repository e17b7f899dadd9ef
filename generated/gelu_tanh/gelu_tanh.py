"""gelu_tanh: forward and backward through CuPy, float32.

    Y[i,j] = 0.5*X[i,j]*(1 + tanh(sqrt(2/pi)*(X[i,j] + 0.044715*X[i,j]**3)))

    dX = 0.5 (dY ∘ (t + √2 (X ∘ (1 − t²) ∘ (0.134145 X² + 1)) / √π + 1))
    where
    t[i,j] = tanh(sqrt(2)*(X[i,j] + 0.044715*X[i,j]**3)/sqrt(pi))

Saved for the backward: nothing beyond inputs and outputs.  Computed again: t.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dX over dY, dX over X.

Made by `derive emit gelu_tanh -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("gelu_tanh.cu")


def load(cp=None):
    """The kernels on CuPy, or on any module with its interface."""
    if cp is None:
        import cupy as cp
    return Kernels(cp)


def blocks(count, threads, most=65535):
    """How many blocks cover `count` elements; the kernels stride over what is left."""
    return min(-(-count // threads), most)


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

    def gelu_tanh_forward(self, X, *, stream=None):
        """The outputs of gelu_tanh.

        Args:
            X: [i, j], float32

        Returns:
            Y: [i, j]
        """
        cp, dtypes = self.cp, self.dtypes
        size_i, size_j = self.check("X", X, "T", (None, None))
        with stream or nullcontext():
            launch = partial(self.launch, *self.module(size_i*size_j, ()))
            Y = cp.empty((size_i, size_j), dtypes["T"])
            launch("forward_Y", (blocks(size_i*size_j, 1024),), (256,), (X, Y), (size_i, size_j))
        return Y

    def gelu_tanh_backward(self, dY, X, *, out=None, accumulate=False, stream=None):
        """The gradients of gelu_tanh.

        Args:
            dY: [i, j], float32
            X: [i, j], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [i, j]
        """
        cp, dtypes = self.cp, self.dtypes
        size_i, size_j = self.check("dY", dY, "T", (None, None))
        self.check("X", X, "T", (size_i, size_j))
        with stream or nullcontext():
            launch = partial(self.launch, *self.module(size_i*size_j, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_i, size_j), dtypes["T"])
            else:
                dX, = out
                self.check("dX", dX, "T", (size_i, size_j))
            launch("backward_dX", (blocks(size_i*size_j, 1024),), (256,), (X, dY, dX), (size_i, size_j),
                   accumulate=accumulate)
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


def gelu_tanh_forward(*args, **options):
    """`Kernels.gelu_tanh_forward` on CuPy."""
    return _default().gelu_tanh_forward(*args, **options)


def gelu_tanh_backward(*args, **options):
    """`Kernels.gelu_tanh_backward` on CuPy."""
    return _default().gelu_tanh_backward(*args, **options)


@cache
def _default():
    return load()
