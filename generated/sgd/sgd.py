"""sgd: forward and backward through CuPy, float32.

    W_new[i] = W[i] - eta*G[i]

    dW = dW_new
    deta = −(Gᵀ dW_new)
    dG = −eta dW_new

Saved for the backward: nothing beyond inputs and outputs.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dW over dW_new, dW over G, deta over eta.

Made by `derive emit sgd -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("sgd.cu")


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

    A temporary is deleted once the last kernel that takes it is launched: CuPy's pool hands its memory only to
    later arrays of the same stream, whose kernels run after that one.
    """

    def __init__(self, cp):
        self.cp = cp
        self.modules = {}
        self.dtypes = {
            "T": cp.dtype(cp.float32),
            "compute": cp.dtype(cp.float32),
        }

    def sgd_forward(self, W, eta, G, *, stream=None):
        """The outputs of sgd.

        Args:
            W: [i], float32
            eta: [], float32
            G: [i], float32

        Returns:
            W_new: [i]
        """
        cp, dtypes = self.cp, self.dtypes
        size_i, = self.check("W", W, "T", (None,))
        self.check("eta", eta, "T", ())
        self.check("G", G, "T", (size_i,))
        with stream or nullcontext():
            launch = partial(self.launch, *self.module(size_i, ()))
            W_new = cp.empty((size_i,), dtypes["T"])
            launch("forward_W_new", (blocks(size_i, 1024),), (256,), (W, eta, G, W_new), (size_i,))
        return W_new

    def sgd_backward(self, dW_new, eta, G, *, out=None, accumulate=False, stream=None):
        """The gradients of sgd.

        Args:
            dW_new: [i], float32
            eta: [], float32
            G: [i], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dW: [i]
            deta: []
            dG: [i]
        """
        cp, dtypes = self.cp, self.dtypes
        size_i, = self.check("dW_new", dW_new, "T", (None,))
        self.check("eta", eta, "T", ())
        self.check("G", G, "T", (size_i,))
        with stream or nullcontext():
            chunks = total_chunks(size_i)
            count = max(size_i, chunks)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dW = dW_new
                deta = cp.empty((), dtypes["T"])
                dG = cp.empty((size_i,), dtypes["T"])
            else:
                dW, deta, dG = out
                self.check("dW", dW, "T", (size_i,))
                self.check("deta", deta, "T", ())
                self.check("dG", dG, "T", (size_i,))

            deta_sum_partial = cp.empty((chunks,), dtypes["compute"])
            launch("backward_deta_dG", (chunks,), (256,), (eta, G, dW_new, dG, deta_sum_partial), (size_i,),
                   accumulate=accumulate)
            launch("backward_deta_dG_sum", (1,), (256,), (deta_sum_partial, deta), (chunks,),
                   accumulate=accumulate)
            del deta_sum_partial

            if out is not None:
                launch("backward_dW", (blocks(size_i, 1024),), (256,), (dW_new, dW), (size_i,),
                       accumulate=accumulate)
        return dW, deta, dG

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


def sgd_forward(*args, **options):
    """`Kernels.sgd_forward` on CuPy."""
    return _default().sgd_forward(*args, **options)


def sgd_backward(*args, **options):
    """`Kernels.sgd_backward` on CuPy."""
    return _default().sgd_backward(*args, **options)


@cache
def _default():
    return load()
