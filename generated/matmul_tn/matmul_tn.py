"""matmul_tn: forward and backward through CuPy, float32.

    Y[m,n] = sum(k, A[k,m]*B[k,n])

    dA = B dYᵀ
    dB = A dY

Saved for the backward: nothing beyond inputs and outputs.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dB over B.
A sum of 1024 products or more with few tiles of results is split in chunks, added in order.

Made by `derive emit matmul_tn -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("matmul_tn.cu")


def load(cp=None):
    """The kernels on CuPy, or on any module with its interface."""
    if cp is None:
        import cupy as cp
    return Kernels(cp)


SHORT = 1024  # a sum of fewer terms is never split


def blocks(count, threads, most=65535):
    """How many blocks cover `count` elements; the kernels stride over what is left."""
    return min(-(-count // threads), most)


def tiles(batches, rows, columns, side=64):
    """Blocks of `side` by `side` results each."""
    return batches * -(-rows // side) * -(-columns // side)


def product_chunks(batches, rows, columns, length):
    """Chunks of 256 terms or more that a sum of `length` terms is split into where its tiles are too few for a GPU,
    until there are some 2048 blocks; 0: it is not."""
    count = tiles(batches, rows, columns)
    return 0 if length < SHORT or not 0 < count < 1024 else min(length // 256, -(-2048 // count))


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

    def matmul_tn_forward(self, A, B, *, stream=None):
        """The outputs of matmul_tn.

        Args:
            A: [k, m], float32
            B: [k, n], float32

        Returns:
            Y: [m, n]
        """
        cp, dtypes = self.cp, self.dtypes
        size_k, size_m = self.check("A", A, "T", (None, None))
        _, size_n = self.check("B", B, "T", (size_k, None))
        with stream or nullcontext():
            chunks = product_chunks(1, size_m, size_n, size_k)
            count = max(chunks*size_m*size_n, size_k*size_m, size_k*size_n, size_m*size_n)
            launch = partial(self.launch, *self.module(count, ()))
            Y = cp.empty((size_m, size_n), dtypes["T"])
            Y_partial = cp.empty((chunks, size_m, size_n), dtypes["compute"])
            launch("forward_Y", (tiles(1, size_m, size_n), max(chunks, 1)), (256,), (A, B, Y, Y_partial),
                   (size_m, size_n, size_k))
            if chunks:  # the sum was split: add up its parts
                launch("forward_Y_chunks", (blocks(size_m*size_n, 256),), (256,), (Y_partial, Y),
                       (size_m, size_n, chunks))
        return Y

    def matmul_tn_backward(self, dY, A, B, *, out=None, accumulate=False, stream=None):
        """The gradients of matmul_tn.

        Args:
            dY: [m, n], float32
            A: [k, m], float32
            B: [k, n], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dA: [k, m]
            dB: [k, n]
        """
        cp, dtypes = self.cp, self.dtypes
        size_m, size_n = self.check("dY", dY, "T", (None, None))
        size_k, _ = self.check("A", A, "T", (None, size_m))
        self.check("B", B, "T", (size_k, size_n))
        with stream or nullcontext():
            dA_chunks = product_chunks(1, size_k, size_m, size_n)
            dB_chunks = product_chunks(1, size_k, size_n, size_m)
            count = max(dA_chunks*size_k*size_m, dB_chunks*size_k*size_n, size_k*size_m, size_k*size_n,
                        size_m*size_n)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dA = cp.empty((size_k, size_m), dtypes["T"])
                dB = cp.empty((size_k, size_n), dtypes["T"])
            else:
                dA, dB = out
                self.check("dA", dA, "T", (size_k, size_m))
                self.check("dB", dB, "T", (size_k, size_n))

            dA_partial = cp.empty((dA_chunks, size_k, size_m), dtypes["compute"])
            launch("backward_dA", (tiles(1, size_k, size_m), max(dA_chunks, 1)), (256,),
                   (B, dY, dA, dA_partial), (size_m, size_n, size_k), accumulate=accumulate)
            if dA_chunks:  # the sum was split: add up its parts
                launch("backward_dA_chunks", (blocks(size_k*size_m, 256),), (256,), (dA_partial, dA),
                       (size_m, size_k, dA_chunks), accumulate=accumulate)
            del dA_partial

            dB_partial = cp.empty((dB_chunks, size_k, size_n), dtypes["compute"])
            launch("backward_dB", (tiles(1, size_k, size_n), max(dB_chunks, 1)), (256,),
                   (A, dY, dB, dB_partial), (size_m, size_n, size_k), accumulate=accumulate)
            if dB_chunks:  # the sum was split: add up its parts
                launch("backward_dB_chunks", (blocks(size_k*size_n, 256),), (256,), (dB_partial, dB),
                       (size_n, size_k, dB_chunks), accumulate=accumulate)
        return dA, dB

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


def matmul_tn_forward(*args, **options):
    """`Kernels.matmul_tn_forward` on CuPy."""
    return _default().matmul_tn_forward(*args, **options)


def matmul_tn_backward(*args, **options):
    """`Kernels.matmul_tn_backward` on CuPy."""
    return _default().matmul_tn_backward(*args, **options)


@cache
def _default():
    return load()
