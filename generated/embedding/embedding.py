"""embedding: forward and backward through CuPy, float32.

    input E[v,d]
    Y[b,s,d] = E[ids[b,s],d]

    dE[v,d] = sum(b, s, where(v == ids[b,s], dY[b,s,d], 0))

Saved for the backward: nothing beyond inputs and outputs.
Sums are kept in float32; the same bits at every run.

Made by `derive emit embedding`; do not edit.
"""

from contextlib import nullcontext
from pathlib import Path

SOURCE = Path(__file__).with_name("embedding.cu")


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
            "index": cp.dtype(cp.int32),
        }

    def embedding_forward(self, E, ids, *, stream=None):
        """The outputs of embedding.

        Args:
            E: [v, d], float32
            ids: [b, s], int32 or int64
        
        Returns:
            Y: [b, s, d]
        """
        cp, dtypes = self.cp, self.dtypes
        size_v, size_d = self.check("E", E, "T", (None, None))
        size_b, size_s = self.check("ids", ids, "ids", (None, None))
        with stream or nullcontext():
            Y = cp.empty((size_b, size_s, size_d), dtypes["T"])
            module, index = self.module(max(size_b*size_s, size_b*size_s*size_d, size_v*size_d), (("ids", ids),))
            self.launch(module, "forward_Y", (blocks(size_b*size_s*size_d, 256), 1, 1), (256, 1, 1),
                        (E, ids, Y, index(size_d), index(size_b), index(size_s),))
        return Y

    def embedding_backward(self, dY, ids, *, size_v, out=None, accumulate=False, stream=None):
        """The gradients of embedding.

        Args:
            dY: [b, s, d], float32
            ids: [b, s], int32 or int64
            size_v: size of v
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds
        
        Returns:
            dE: [v, d]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_s, size_d = self.check("dY", dY, "T", (None, None, None))
        self.check("ids", ids, "ids", (size_b, size_s))
        with stream or nullcontext():
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dE = cp.empty((size_v, size_d), dtypes["T"])
            else:
                dE, = out
                self.check("dE", dE, "T", (size_v, size_d))
            dE_first = cp.full((size_v,), -1, dtypes["index"])
            dE_next = cp.full((size_b*size_s,), -1, dtypes["index"])
            module, index = self.module(max(size_b*size_s, size_b*size_s*size_d, size_v, size_v*size_d), (("ids", ids),))
            self.launch(module, "backward_dE_chains", (blocks(size_b*size_s, 256), 1, 1), (256, 1, 1),
                        (ids, dE_first, dE_next, index(size_v), index(size_b), index(size_s),))
            self.launch(module, "backward_dE", (blocks(size_v*size_d, 256), 1, 1), (256, 1, 1),
                        (dE_first, dE_next, dY, dE, index(size_v), index(size_d), cp.int32(accumulate),))
        return dE

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


def embedding_forward(*args, **options):
    """`Kernels.embedding_forward` on CuPy."""
    return _default().embedding_forward(*args, **options)


def embedding_backward(*args, **options):
    """`Kernels.embedding_backward` on CuPy."""
    return _default().embedding_backward(*args, **options)


def _default(cache=[]):
    if not cache:
        cache.append(load())
    return cache[0]
