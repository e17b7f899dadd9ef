"""bilinear: forward and backward through CuPy, float32.

    Y[n,o] = sum(i, j, X[n,i]*W[o,i,j]*Z[n,j]) + b[o]

    dX = einsum(oij,nj,no->ni; W, Z, dY)
    dW = einsum(ni,nj,no->oij; X, Z, dY)
    dZ = einsum(oij,ni,no->nj; W, X, dY)
    db = dYᵀ 1

Saved for the backward: nothing beyond inputs and outputs.
Sums are kept in float32; the same bits at every run.

Made by `derive emit bilinear`; do not edit.
"""

from contextlib import nullcontext
from pathlib import Path

SOURCE = Path(__file__).with_name("bilinear.cu")


def load(cp=None):
    """The kernels on CuPy, or on any module with its interface."""
    if cp is None:
        import cupy as cp
    return Kernels(cp)


def blocks(count, threads, most=65535):
    """How many blocks cover `count` elements; the kernels stride over what is left."""
    return min(-(-count // threads), most)


def column_chunks(rows):
    """Chunks of rows that are reduced apart: 256 rows each, so that a thread adds up no more than a few dozen."""
    return max(1, min(-(-rows // 256), 1024))


def row_threads(count):
    """Threads along a row of `count` elements, and rows a block."""
    if count > 1024:
        return (256, 1) if count <= 16384 else (1024, 1)
    along = 32
    while along > 1 and along >= 2*count:
        along //= 2
    return along, 128 // along


def row_blocks(rows, count):
    """Blocks that hold `rows` rows of `count` elements."""
    return -(-rows // row_threads(count)[1])


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

    def bilinear_forward(self, X, W, Z, b, *, stream=None):
        """The outputs of bilinear.

        Args:
            X: [n, i], float32
            W: [o, i, j], float32
            Z: [n, j], float32
            b: [o], float32
        
        Returns:
            Y: [n, o]
        """
        cp, dtypes = self.cp, self.dtypes
        size_n, size_i = self.check("X", X, "T", (None, None))
        size_o, _, size_j = self.check("W", W, "T", (None, size_i, None))
        self.check("Z", Z, "T", (size_n, size_j))
        self.check("b", b, "T", (size_o,))
        with stream or nullcontext():
            Y = cp.empty((size_n, size_o), dtypes["T"])
            module, index = self.module(max(size_i*size_j, size_n*size_i, size_n*size_j, size_n*size_o, size_o, size_o*size_i*size_j), ())
            self.launch(module, "forward_Y", (row_blocks(size_n*size_o, size_i*size_j), 1, 1), (*row_threads(size_i*size_j), 1),
                        (X, W, Z, b, Y, index(size_n), index(size_o), index(size_i), index(size_j),))
        return Y

    def bilinear_backward(self, dY, X, W, Z, *, out=None, accumulate=False, stream=None):
        """The gradients of bilinear.

        Args:
            dY: [n, o], float32
            X: [n, i], float32
            W: [o, i, j], float32
            Z: [n, j], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds
        
        Returns:
            dX: [n, i]
            dW: [o, i, j]
            dZ: [n, j]
            db: [o]
        """
        cp, dtypes = self.cp, self.dtypes
        size_n, size_o = self.check("dY", dY, "T", (None, None))
        _, size_i = self.check("X", X, "T", (size_n, None))
        _, _, size_j = self.check("W", W, "T", (size_o, size_i, None))
        self.check("Z", Z, "T", (size_n, size_j))
        with stream or nullcontext():
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_n, size_i), dtypes["T"])
                dW = cp.empty((size_o, size_i, size_j), dtypes["T"])
                dZ = cp.empty((size_n, size_j), dtypes["T"])
                db = cp.empty((size_o,), dtypes["T"])
            else:
                dX, dW, dZ, db = out
                self.check("dX", dX, "T", (size_n, size_i))
                self.check("dW", dW, "T", (size_o, size_i, size_j))
                self.check("dZ", dZ, "T", (size_n, size_j))
                self.check("db", db, "T", (size_o,))
            dW_partial = cp.empty((column_chunks(size_n), size_o*size_j*size_i), dtypes["compute"])
            dZ_partial = cp.empty((column_chunks(size_o*size_i), size_n*size_j), dtypes["compute"])
            db_partial = cp.empty((column_chunks(size_n), size_o), dtypes["compute"])
            module, index = self.module(max(0, column_chunks(size_n)*size_o, column_chunks(size_n)*size_o*size_j*size_i, column_chunks(size_o*size_i)*size_n*size_j, size_n*size_i, size_n*size_j, size_n*size_o, size_o, size_o*size_i*size_j, size_o*size_j, size_o*size_j*size_i), ())
            self.launch(module, "backward_dX", (row_blocks(size_n*size_i, size_o*size_j), 1, 1), (*row_threads(size_o*size_j), 1),
                        (W, Z, dY, dX, index(size_n), index(size_o), index(size_i), index(size_j), cp.int32(accumulate),))
            self.launch(module, "backward_dW_partial", (blocks(size_o*size_j*size_i, 32), column_chunks(size_n), 1), (32, 8, 1),
                        (X, Z, dY, dW_partial, index(size_n), index(size_o), index(size_i), index(size_j), index(column_chunks(size_n)),))
            self.launch(module, "backward_dW", (blocks(size_o*size_j*size_i, 256), 1, 1), (256, 1, 1),
                        (dW_partial, dW, index(size_o), index(size_i), index(size_j), index(column_chunks(size_n)), cp.int32(accumulate),))
            self.launch(module, "backward_dZ_partial", (blocks(size_n*size_j, 32), column_chunks(size_o*size_i), 1), (32, 8, 1),
                        (X, W, dY, dZ_partial, index(size_n), index(size_o), index(size_i), index(size_j), index(column_chunks(size_o*size_i)),))
            self.launch(module, "backward_dZ", (blocks(size_n*size_j, 256), 1, 1), (256, 1, 1),
                        (dZ_partial, dZ, index(size_n), index(size_j), index(column_chunks(size_o*size_i)), cp.int32(accumulate),))
            self.launch(module, "backward_db_partial", (blocks(size_o, 32), column_chunks(size_n), 1), (32, 8, 1),
                        (dY, db_partial, index(size_n), index(size_o), index(column_chunks(size_n)),))
            self.launch(module, "backward_db", (blocks(size_o, 256), 1, 1), (256, 1, 1),
                        (db_partial, db, index(size_o), index(column_chunks(size_n)), cp.int32(accumulate),))
        return dX, dW, dZ, db

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


def bilinear_forward(*args, **options):
    """`Kernels.bilinear_forward` on CuPy."""
    return _default().bilinear_forward(*args, **options)


def bilinear_backward(*args, **options):
    """`Kernels.bilinear_backward` on CuPy."""
    return _default().bilinear_backward(*args, **options)


def _default(cache=[]):
    if not cache:
        cache.append(load())
    return cache[0]
