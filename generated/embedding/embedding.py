"""embedding: forward and backward through CuPy, float32.

    input E[v,d]
    Y[b,s,d] = E[ids[b,s],d]

    dE[v,d] = sum(b, s, where(v == ids[b,s], dY[b,s,d], 0))

Saved for the backward: nothing beyond inputs and outputs.
Sums are kept in float32; the same bits at every run.

Made by `derive emit embedding -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("embedding.cu")


def load(cp=None, check_ids=True):
    """The kernels on CuPy, or on any module with its interface.

    Integer tensors are checked to be in range, which waits for the device; `check_ids=False` trusts them.
    """
    if cp is None:
        import cupy as cp
    return Kernels(cp, check_ids)


def blocks(count, threads, most=65535):
    """How many blocks cover `count` elements; the kernels stride over what is left."""
    return min(-(-count // threads), most)


class Kernels:
    """The compiled kernels; a module is compiled at its first use.

    Arrays must be C-contiguous and on the current device.  Work runs on the current stream, or on `stream`.
    """

    def __init__(self, cp, check_ids=True):
        self.cp = cp
        self.check_ids = check_ids
        self.modules = {}
        self.dtypes = {
            "T": cp.dtype(cp.float32),
            "compute": cp.dtype(cp.float32),
            "short": cp.dtype(cp.uint16),
        }

    def embedding_forward(self, E, ids, *, stream=None):
        """The outputs of embedding.

        Args:
            E: [v, d], float32
            ids: [b, s], int32 or int64, in range of axis 0 of E

        Returns:
            Y: [b, s, d]
        """
        cp, dtypes = self.cp, self.dtypes
        size_v, size_d = self.check("E", E, "T", (None, None))
        size_b, size_s = self.check("ids", ids, "ids", (None, None))
        self.check_range("ids", ids, size_v, "axis 0 of E")
        with stream or nullcontext():
            count = max(size_b*size_s, size_b*size_s*size_d, size_v*size_d)
            launch = partial(self.launch, *self.module(count, (("ids", ids),)))
            Y = cp.empty((size_b, size_s, size_d), dtypes["T"])
            launch("forward_Y", (blocks(size_b*size_s*size_d, 1024),), (256,), (E, ids, Y),
                   (size_d, size_b, size_s))
        return Y

    def embedding_backward(self, dY, ids, *, size_v, out=None, accumulate=False, stream=None):
        """The gradients of embedding.

        Args:
            dY: [b, s, d], float32
            ids: [b, s], int32 or int64, in range of axis 0 of E
            size_v: size of v
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dE: [v, d]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_s, size_d = self.check("dY", dY, "T", (None, None, None))
        self.check("ids", ids, "ids", (size_b, size_s))
        self.check_range("ids", ids, size_v, "axis 0 of E")
        with stream or nullcontext():
            count = max(((size_b*size_s + 4095) // 4096)*((size_v + 7) // 8 + 1),
                        (size_b*size_s // 64)*size_d, size_b*size_s, size_b*size_s*size_d, size_v*size_d)
            launch = partial(self.launch, *self.module(count, (("ids", ids),)))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dE = cp.empty((size_v, size_d), dtypes["T"])
            else:
                dE, = out
                self.check("dE", dE, "T", (size_v, size_d))

            dE_order = cp.empty((size_b*size_s,), dtypes["short"])
            dE_starts = cp.empty((((size_b*size_s + 4095) // 4096), ((size_v + 7) // 8 + 1)), dtypes["short"])
            launch("backward_dE_order", ((size_b*size_s + 4095) // 4096,), (1024,),
                   (ids, dE_order, dE_starts), (size_v, size_b, size_s))

            dE_parts = cp.empty((size_b*size_s // 64, size_d), dtypes["compute"])
            launch("backward_dE_parts", (blocks(size_b*size_s // 64*size_d, 256),), (256,),
                   (dE_order, dY, dE_parts), (size_d, size_b, size_s))
            launch("backward_dE", (blocks(((size_v + 7) // 8)*((size_d + 31) // 32), 1, 8192),), (256,),
                   (dE_order, dE_starts, dE_parts, dY, dE), (size_v, size_d, size_b, size_s),
                   accumulate=accumulate)
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

    def check_range(self, name, values, size, place, holds=True):
        """Raise unless `values` are from 0 to `size - 1` wherever `holds`."""
        if self.check_ids:
            wrong = ((values < 0) | (values >= size)) & holds
            if bool(wrong.any()):
                raise ValueError(f"{name} addresses {place}: it must be from 0 to {size - 1}, not {int(values[wrong][0])}")


def embedding_forward(*args, **options):
    """`Kernels.embedding_forward` on CuPy."""
    return _default().embedding_forward(*args, **options)


def embedding_backward(*args, **options):
    """`Kernels.embedding_backward` on CuPy."""
    return _default().embedding_backward(*args, **options)


@cache
def _default():
    return load()
