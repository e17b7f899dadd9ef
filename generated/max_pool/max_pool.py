"""max_pool: forward and backward through CuPy, float32.

    size p = 2
    size q = 2
    Y[b,c,y,x] = max(p, q, X[b,c,2*y+p,2*x+q])

    dX[b,c,i,j] = sum(p, q, where((i - p)%2 == 0 and i - p >= 0 and (i - p)//2 < size(y) and (j - q)%2 == 0 and j - q >= 0 and (j - q)//2 < size(x) and X[b,c,p + 2*((i - p)//2),q + 2*((j - q)//2)] == Y[b,c,(i - p)//2,(j - q)//2], dY[b,c,(i - p)//2,(j - q)//2]/Y_ties[b,c,(i - p)//2,(j - q)//2], 0))
    where
    Y_ties[b,c,y,x] = sum(p, q, where(X[b,c,p + 2*y,q + 2*x] == Y[b,c,y,x], 1, 0))

Saved for the backward: nothing beyond inputs and outputs.
Sums are kept in float32; the same bits at every run.

Made by `derive emit max_pool -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("max_pool.cu")


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

    def max_pool_forward(self, X, *, size_y, size_x, stream=None):
        """The outputs of max_pool.

        Args:
            X: [b, c, X_2, X_3], float32
            size_y: size of y
            size_x: size of x

        Returns:
            Y: [b, c, y, x]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_c, size_X_2, size_X_3 = self.check("X", X, "T", (None, None, None, None))
        with stream or nullcontext():
            count = max(size_b*size_c*size_X_2*size_X_3, size_b*size_c*size_y*size_x)
            launch = partial(self.launch, *self.module(count, ()))
            Y = cp.empty((size_b, size_c, size_y, size_x), dtypes["T"])
            launch("forward_Y", (blocks(size_b*size_c*size_y*size_x, 256),), (256,), (X, Y),
                   (size_b, size_c, size_y, size_x, size_X_2, size_X_3))
        return Y

    def max_pool_backward(self, dY, X, Y, *, out=None, accumulate=False, stream=None):
        """The gradients of max_pool.

        Args:
            dY: [b, c, y, x], float32
            X: [b, c, X_2, X_3], float32
            Y: [b, c, y, x], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [b, c, X_2, X_3]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_c, size_y, size_x = self.check("dY", dY, "T", (None, None, None, None))
        _, _, size_X_2, size_X_3 = self.check("X", X, "T", (size_b, size_c, None, None))
        self.check("Y", Y, "T", (size_b, size_c, size_y, size_x))
        with stream or nullcontext():
            count = max(size_b*size_c*size_X_2*size_X_3, size_b*size_c*size_y*size_x)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_b, size_c, size_X_2, size_X_3), dtypes["T"])
            else:
                dX, = out
                self.check("dX", dX, "T", (size_b, size_c, size_X_2, size_X_3))
            Y_ties = cp.empty((size_b, size_c, size_y, size_x), dtypes["compute"])
            launch("backward_Y_ties", (blocks(size_b*size_c*size_y*size_x, 256),), (256,), (X, Y, Y_ties),
                   (size_b, size_c, size_y, size_x, size_X_2, size_X_3))
            launch("backward_dX", (blocks(size_b*size_c*size_X_2*size_X_3, 256),), (256,),
                   (X, Y, dY, Y_ties, dX), (size_b, size_c, size_y, size_x, size_X_2, size_X_3),
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


def max_pool_forward(*args, **options):
    """`Kernels.max_pool_forward` on CuPy."""
    return _default().max_pool_forward(*args, **options)


def max_pool_backward(*args, **options):
    """`Kernels.max_pool_backward` on CuPy."""
    return _default().max_pool_backward(*args, **options)


@cache
def _default():
    return load()
