"""matmul_tt: forward and backward through CuPy, float32.

    Y[m,n] = sum(k, A[k,m]*B[n,k])

    dA = Bᵀ dYᵀ
    dB = dYᵀ Aᵀ

Saved for the backward: nothing beyond inputs and outputs.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dB over B.
A sum of 1024 products or more with few tiles of results is split into chunks, added up in order.

Made by `derive emit matmul_tt -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("matmul_tt.cu")


def load(cp=None):
    """The kernels on CuPy, or on any module with its interface."""
    if cp is None:
        import cupy as cp
    return Kernels(cp)


def blocks(count, threads, most=65535):
    """How many blocks cover `count` elements; the kernels stride over what is left."""
    return min(-(-count // threads), most)


def product_chunks(batches, rows, columns, length):
    """Chunks that a sum of `length` terms is split into where its tiles of results are too few for a GPU; 0: none."""
    tiles = batches * -(-rows // 64) * -(-columns // 64)
    return 0 if length < 1024 or not 0 < tiles < 128 else min(length // 512, -(-256 // tiles))


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

    def matmul_tt_forward(self, A, B, *, stream=None):
        """The outputs of matmul_tt.

        Args:
            A: [k, m], float32
            B: [n, k], float32

        Returns:
            Y: [m, n]
        """
        cp, dtypes = self.cp, self.dtypes
        size_k, size_m = self.check("A", A, "T", (None, None))
        size_n, _ = self.check("B", B, "T", (None, size_k))
        with stream or nullcontext():
            module, index = self.module(max(1, product_chunks(1, size_m, size_n, size_k)*size_m*size_n, size_k*size_m, size_m*size_n, size_n*size_k), ())
            Y = cp.empty((size_m, size_n), dtypes["T"])
            Y_partial = cp.empty((product_chunks(1, size_m, size_n, size_k), size_m, size_n), dtypes["compute"])
            self.launch(module, "forward_Y", (blocks(size_m, 64, 2**31)*blocks(size_n, 64, 2**31)*(1), max(product_chunks(1, size_m, size_n, size_k), 1), 1), (256, 1, 1),
                        (A, B, Y, Y_partial, index(size_m), index(size_n), index(size_k),))
            self.launch(module, "forward_Y_chunks", (blocks(size_m*size_n, 256)*min(product_chunks(1, size_m, size_n, size_k), 1), 1, 1), (256, 1, 1),
                        (Y_partial, Y, index(size_m), index(size_n), index(product_chunks(1, size_m, size_n, size_k)),))
        return Y

    def matmul_tt_backward(self, dY, A, B, *, out=None, accumulate=False, stream=None):
        """The gradients of matmul_tt.

        Args:
            dY: [m, n], float32
            A: [k, m], float32
            B: [n, k], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dA: [k, m]
            dB: [n, k]
        """
        cp, dtypes = self.cp, self.dtypes
        size_m, size_n = self.check("dY", dY, "T", (None, None))
        size_k, _ = self.check("A", A, "T", (None, size_m))
        self.check("B", B, "T", (size_n, size_k))
        with stream or nullcontext():
            module, index = self.module(max(1, product_chunks(1, size_k, size_m, size_n)*size_k*size_m, product_chunks(1, size_n, size_k, size_m)*size_n*size_k, size_k*size_m, size_m*size_n, size_n*size_k), ())
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dA = cp.empty((size_k, size_m), dtypes["T"])
                dB = cp.empty((size_n, size_k), dtypes["T"])
            else:
                dA, dB = out
                self.check("dA", dA, "T", (size_k, size_m))
                self.check("dB", dB, "T", (size_n, size_k))
            dA_partial = cp.empty((product_chunks(1, size_k, size_m, size_n), size_k, size_m), dtypes["compute"])
            dB_partial = cp.empty((product_chunks(1, size_n, size_k, size_m), size_n, size_k), dtypes["compute"])
            self.launch(module, "backward_dA", (blocks(size_k, 64, 2**31)*blocks(size_m, 64, 2**31)*(1), max(product_chunks(1, size_k, size_m, size_n), 1), 1), (256, 1, 1),
                        (B, dY, dA, dA_partial, index(size_m), index(size_n), index(size_k), cp.int32(accumulate),))
            self.launch(module, "backward_dA_chunks", (blocks(size_k*size_m, 256)*min(product_chunks(1, size_k, size_m, size_n), 1), 1, 1), (256, 1, 1),
                        (dA_partial, dA, index(size_m), index(size_k), index(product_chunks(1, size_k, size_m, size_n)), cp.int32(accumulate),))
            self.launch(module, "backward_dB", (blocks(size_n, 64, 2**31)*blocks(size_k, 64, 2**31)*(1), max(product_chunks(1, size_n, size_k, size_m), 1), 1), (256, 1, 1),
                        (A, dY, dB, dB_partial, index(size_m), index(size_n), index(size_k), cp.int32(accumulate),))
            self.launch(module, "backward_dB_chunks", (blocks(size_n*size_k, 256)*min(product_chunks(1, size_n, size_k, size_m), 1), 1, 1), (256, 1, 1),
                        (dB_partial, dB, index(size_n), index(size_k), index(product_chunks(1, size_n, size_k, size_m)), cp.int32(accumulate),))
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


def matmul_tt_forward(*args, **options):
    """`Kernels.matmul_tt_forward` on CuPy."""
    return _default().matmul_tt_forward(*args, **options)


def matmul_tt_backward(*args, **options):
    """`Kernels.matmul_tt_backward` on CuPy."""
    return _default().matmul_tt_backward(*args, **options)


@cache
def _default():
    return load()
