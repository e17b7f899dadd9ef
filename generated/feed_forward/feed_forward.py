"""feed_forward: forward and backward through CuPy, float32.

    U[n,h] = sum(i, X[n,i]*W1[i,h]) + b1[h]
    G[n,h] = 0.5*U[n,h]*(1 + tanh(sqrt(2/pi)*(U[n,h] + 0.044715*U[n,h]**3)))
    Y[n,o] = sum(h, G[n,h]*W2[h,o]) + b2[o]

    dX = dU W1ᵀ
    dW1 = Xᵀ dU
    db1 = dUᵀ 1
    dW2 = Gᵀ dY
    db2 = dYᵀ 1

Saved for the backward: U.  Computed again: G.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dW1 over W1, dW2 over W2.
A sum of 1024 products or more with few tiles of results is split into chunks, added up in order.

Made by `derive emit feed_forward -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("feed_forward.cu")


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

    def feed_forward_forward(self, X, W1, b1, W2, b2, *, stream=None):
        """The outputs of feed_forward.

        Args:
            X: [n, i], float32
            W1: [i, h], float32
            b1: [h], float32
            W2: [h, o], float32
            b2: [o], float32

        Returns:
            Y: [n, o]
            U: [n, h], saved for the backward
        """
        cp, dtypes = self.cp, self.dtypes
        size_n, size_i = self.check("X", X, "T", (None, None))
        _, size_h = self.check("W1", W1, "T", (size_i, None))
        self.check("b1", b1, "T", (size_h,))
        _, size_o = self.check("W2", W2, "T", (size_h, None))
        self.check("b2", b2, "T", (size_o,))
        with stream or nullcontext():
            module, index = self.module(max(1, product_chunks(1, size_n, size_h, size_i)*size_n*size_h, product_chunks(1, size_n, size_o, size_h)*size_n*size_o, size_h, size_h*size_o, size_i*size_h, size_n*size_h, size_n*size_i, size_n*size_o, size_o), ())
            Y = cp.empty((size_n, size_o), dtypes["T"])
            U = cp.empty((size_n, size_h), dtypes["compute"])
            G = cp.empty((size_n, size_h), dtypes["compute"])
            U_sum_partial = cp.empty((product_chunks(1, size_n, size_h, size_i), size_n, size_h), dtypes["compute"])
            Y_sum_partial = cp.empty((product_chunks(1, size_n, size_o, size_h), size_n, size_o), dtypes["compute"])
            self.launch(module, "forward_U_G", (blocks(size_n, 64, 2**31)*blocks(size_h, 64, 2**31)*(1), max(product_chunks(1, size_n, size_h, size_i), 1), 1), (256, 1, 1),
                        (X, W1, b1, U, G, U_sum_partial, index(size_n), index(size_h), index(size_i),))
            self.launch(module, "forward_U_G_chunks", (blocks(size_n*size_h, 256)*min(product_chunks(1, size_n, size_h, size_i), 1), 1, 1), (256, 1, 1),
                        (U_sum_partial, b1, U, G, index(size_n), index(size_h), index(product_chunks(1, size_n, size_h, size_i)),))
            self.launch(module, "forward_Y", (blocks(size_n, 64, 2**31)*blocks(size_o, 64, 2**31)*(1), max(product_chunks(1, size_n, size_o, size_h), 1), 1), (256, 1, 1),
                        (W2, b2, G, Y, Y_sum_partial, index(size_n), index(size_h), index(size_o),))
            self.launch(module, "forward_Y_chunks", (blocks(size_n*size_o, 256)*min(product_chunks(1, size_n, size_o, size_h), 1), 1, 1), (256, 1, 1),
                        (Y_sum_partial, b2, Y, index(size_n), index(size_o), index(product_chunks(1, size_n, size_o, size_h)),))
        return Y, U

    def feed_forward_backward(self, dY, X, W1, W2, U, *, out=None, accumulate=False, stream=None):
        """The gradients of feed_forward.

        Args:
            dY: [n, o], float32
            X: [n, i], float32
            W1: [i, h], float32
            W2: [h, o], float32
            U: [n, h], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [n, i]
            dW1: [i, h]
            db1: [h]
            dW2: [h, o]
            db2: [o]
        """
        cp, dtypes = self.cp, self.dtypes
        size_n, size_o = self.check("dY", dY, "T", (None, None))
        _, size_i = self.check("X", X, "T", (size_n, None))
        _, size_h = self.check("W1", W1, "T", (size_i, None))
        self.check("W2", W2, "T", (size_h, size_o))
        self.check("U", U, "compute", (size_n, size_h))
        with stream or nullcontext():
            module, index = self.module(max(1, column_chunks(size_n)*size_h, column_chunks(size_n)*size_o, product_chunks(1, size_h, size_o, size_n)*size_h*size_o, product_chunks(1, size_i, size_h, size_n)*size_i*size_h, product_chunks(1, size_n, size_h, size_o)*size_n*size_h, product_chunks(1, size_n, size_i, size_h)*size_n*size_i, size_h, size_h*size_o, size_i*size_h, size_n*size_h, size_n*size_i, size_n*size_o, size_o), ())
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_n, size_i), dtypes["T"])
                dW1 = cp.empty((size_i, size_h), dtypes["T"])
                db1 = cp.empty((size_h,), dtypes["T"])
                dW2 = cp.empty((size_h, size_o), dtypes["T"])
                db2 = cp.empty((size_o,), dtypes["T"])
            else:
                dX, dW1, db1, dW2, db2 = out
                self.check("dX", dX, "T", (size_n, size_i))
                self.check("dW1", dW1, "T", (size_i, size_h))
                self.check("db1", db1, "T", (size_h,))
                self.check("dW2", dW2, "T", (size_h, size_o))
                self.check("db2", db2, "T", (size_o,))
            dG = cp.empty((size_n, size_h), dtypes["compute"])
            dU = cp.empty((size_n, size_h), dtypes["compute"])
            dG_partial = cp.empty((product_chunks(1, size_n, size_h, size_o), size_n, size_h), dtypes["compute"])
            db1_partial = cp.empty((column_chunks(size_n), size_h), dtypes["compute"])
            dX_partial = cp.empty((product_chunks(1, size_n, size_i, size_h), size_n, size_i), dtypes["compute"])
            dW1_partial = cp.empty((product_chunks(1, size_i, size_h, size_n), size_i, size_h), dtypes["compute"])
            dW2_sum_partial = cp.empty((product_chunks(1, size_h, size_o, size_n), size_h, size_o), dtypes["compute"])
            db2_partial = cp.empty((column_chunks(size_n), size_o), dtypes["compute"])
            self.launch(module, "backward_dG", (blocks(size_n, 64, 2**31)*blocks(size_h, 64, 2**31)*(1), max(product_chunks(1, size_n, size_h, size_o), 1), 1), (256, 1, 1),
                        (W2, dY, dG, dG_partial, index(size_n), index(size_h), index(size_o),))
            self.launch(module, "backward_dG_chunks", (blocks(size_n*size_h, 256)*min(product_chunks(1, size_n, size_h, size_o), 1), 1, 1), (256, 1, 1),
                        (dG_partial, dG, index(size_n), index(size_h), index(product_chunks(1, size_n, size_h, size_o)),))
            self.launch(module, "backward_dU_db1", (blocks(size_h, 32, 2**31), column_chunks(size_n), 1), (32, 8, 1),
                        (U, dG, db1, dU, db1_partial, index(size_n), index(size_h), index(column_chunks(size_n)), cp.int32(accumulate),))
            self.launch(module, "backward_dU_db1_sum", (blocks(size_h, 32, 2**31)*(column_chunks(size_n) > 1), 1, 1), (32, 8, 1),
                        (db1_partial, db1, index(size_h), index(column_chunks(size_n)), cp.int32(accumulate),))
            self.launch(module, "backward_dX", (blocks(size_n, 64, 2**31)*blocks(size_i, 64, 2**31)*(1), max(product_chunks(1, size_n, size_i, size_h), 1), 1), (256, 1, 1),
                        (W1, dU, dX, dX_partial, index(size_n), index(size_h), index(size_i), cp.int32(accumulate),))
            self.launch(module, "backward_dX_chunks", (blocks(size_n*size_i, 256)*min(product_chunks(1, size_n, size_i, size_h), 1), 1, 1), (256, 1, 1),
                        (dX_partial, dX, index(size_n), index(size_i), index(product_chunks(1, size_n, size_i, size_h)), cp.int32(accumulate),))
            self.launch(module, "backward_dW1", (blocks(size_i, 64, 2**31)*blocks(size_h, 64, 2**31)*(1), max(product_chunks(1, size_i, size_h, size_n), 1), 1), (256, 1, 1),
                        (X, dU, dW1, dW1_partial, index(size_n), index(size_h), index(size_i), cp.int32(accumulate),))
            self.launch(module, "backward_dW1_chunks", (blocks(size_i*size_h, 256)*min(product_chunks(1, size_i, size_h, size_n), 1), 1, 1), (256, 1, 1),
                        (dW1_partial, dW1, index(size_h), index(size_i), index(product_chunks(1, size_i, size_h, size_n)), cp.int32(accumulate),))
            self.launch(module, "backward_dW2", (blocks(size_h, 64, 2**31)*blocks(size_o, 64, 2**31)*(1), max(product_chunks(1, size_h, size_o, size_n), 1), 1), (256, 1, 1),
                        (U, dY, dW2, dW2_sum_partial, index(size_n), index(size_h), index(size_o), cp.int32(accumulate),))
            self.launch(module, "backward_dW2_chunks", (blocks(size_h*size_o, 256)*min(product_chunks(1, size_h, size_o, size_n), 1), 1, 1), (256, 1, 1),
                        (dW2_sum_partial, dW2, index(size_h), index(size_o), index(product_chunks(1, size_h, size_o, size_n)), cp.int32(accumulate),))
            self.launch(module, "backward_db2", (blocks(size_o, 32, 2**31), column_chunks(size_n), 1), (32, 8, 1),
                        (dY, db2, db2_partial, index(size_n), index(size_o), index(column_chunks(size_n)), cp.int32(accumulate),))
            self.launch(module, "backward_db2_sum", (blocks(size_o, 32, 2**31)*(column_chunks(size_n) > 1), 1, 1), (32, 8, 1),
                        (db2_partial, db2, index(size_o), index(column_chunks(size_n)), cp.int32(accumulate),))
        return dX, dW1, db1, dW2, db2

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


def feed_forward_forward(*args, **options):
    """`Kernels.feed_forward_forward` on CuPy."""
    return _default().feed_forward_forward(*args, **options)


def feed_forward_backward(*args, **options):
    """`Kernels.feed_forward_backward` on CuPy."""
    return _default().feed_forward_backward(*args, **options)


@cache
def _default():
    return load()
