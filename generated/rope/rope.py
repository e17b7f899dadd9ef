"""rope: forward and backward through CuPy, float32.

    size p = 2
    input X[b,s,h,p,i]
    Y[b,s,h,p,i] = X[b,s,h,p,i]*C[s,i] + where(p == 0, -X[b,s,h,1,i], X[b,s,h,0,i])*S[s,i]

    dX[b,s,h,p,i] = where(p == 0, S[s,i]*dY[b,s,h,1,i], -S[s,i]*dY[b,s,h,0,i]) + C[s,i]*dY[b,s,h,p,i]
    dC = einsum(bshai,bshai->si; X, dY)
    dS[s,i] = sum(b, h, p, dY[b,s,h,p,i]*where(p == 0, -X[b,s,h,1,i], X[b,s,h,0,i]))

Saved for the backward: nothing beyond inputs and outputs.
Sums are kept in float32; the same bits at every run.

Made by `derive emit rope -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("rope.cu")


def load(cp=None):
    """The kernels on CuPy, or on any module with its interface."""
    if cp is None:
        import cupy as cp
    return Kernels(cp)


def blocks(count, threads, most=65535):
    """How many blocks cover `count` elements; the kernels stride over what is left."""
    return min(-(-count // threads), most)


def column_chunks(rows):
    """Chunks of rows that are reduced apart: 256 rows each, a few dozen a thread, or 1024 chunks of more."""
    return max(1, min(-(-rows // 256), 1024))


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

    def rope_forward(self, X, C, S, *, stream=None):
        """The outputs of rope.

        Args:
            X: [b, s, h, 2, i], float32
            C: [s, i], float32
            S: [s, i], float32

        Returns:
            Y: [b, s, h, 2, i]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_s, size_h, _, size_i = self.check("X", X, "T", (None, None, None, 2, None))
        self.check("C", C, "T", (size_s, size_i))
        self.check("S", S, "T", (size_s, size_i))
        with stream or nullcontext():
            count = max(size_b*size_s*size_h*2*size_i, size_s*size_i)
            launch = partial(self.launch, *self.module(count, ()))
            Y = cp.empty((size_b, size_s, size_h, 2, size_i), dtypes["T"])
            launch("forward_Y", (blocks(size_b*size_s*size_h*2*size_i, 1024),), (256,), (X, C, S, Y),
                   (size_b, size_s, size_h, size_i))
        return Y

    def rope_backward(self, dY, X, C, S, *, out=None, accumulate=False, stream=None):
        """The gradients of rope.

        Args:
            dY: [b, s, h, 2, i], float32
            X: [b, s, h, 2, i], float32
            C: [s, i], float32
            S: [s, i], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [b, s, h, 2, i]
            dC: [s, i]
            dS: [s, i]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_s, size_h, _, size_i = self.check("dY", dY, "T", (None, None, None, 2, None))
        self.check("X", X, "T", (size_b, size_s, size_h, 2, size_i))
        self.check("C", C, "T", (size_s, size_i))
        self.check("S", S, "T", (size_s, size_i))
        with stream or nullcontext():
            chunks = column_chunks(size_b*size_h*2)
            count = max(chunks*size_s*size_i, size_b*size_s*size_h*2*size_i, size_s*size_i)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_b, size_s, size_h, 2, size_i), dtypes["T"])
                dC = cp.empty((size_s, size_i), dtypes["T"])
                dS = cp.empty((size_s, size_i), dtypes["T"])
            else:
                dX, dC, dS = out
                self.check("dX", dX, "T", (size_b, size_s, size_h, 2, size_i))
                self.check("dC", dC, "T", (size_s, size_i))
                self.check("dS", dS, "T", (size_s, size_i))
            dC_partial = cp.empty((chunks, size_s*size_i), dtypes["compute"])
            dS_partial = cp.empty((chunks, size_s*size_i), dtypes["compute"])
            launch("backward_dX_dC_dS", (blocks(size_s*size_i, 32, 2**31), chunks), (32, 8),
                   (X, C, S, dY, dX, dC, dS, dC_partial, dS_partial),
                   (size_b, size_s, size_h, size_i, chunks), accumulate=accumulate)
            if chunks > 1:  # the sum was split: add up its parts
                launch("backward_dX_dC_dS_sum", (blocks(size_s*size_i, 32, 2**31),), (32, 8),
                       (dC_partial, dS_partial, dC, dS), (size_s, size_i, chunks), accumulate=accumulate)
        return dX, dC, dS

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


def rope_forward(*args, **options):
    """`Kernels.rope_forward` on CuPy."""
    return _default().rope_forward(*args, **options)


def rope_backward(*args, **options):
    """`Kernels.rope_backward` on CuPy."""
    return _default().rope_backward(*args, **options)


@cache
def _default():
    return load()
