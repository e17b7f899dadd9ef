"""adamw: forward and backward through CuPy, float32.

    param beta1 = 0.9
    param beta2 = 0.999
    param eps = 1e-8
    param decay = 0.01
    M_new[i] = beta1*M[i] + (1 - beta1)*G[i]
    V_new[i] = beta2*V[i] + (1 - beta2)*G[i]**2
    W_new[i] = W[i] - eta*(M_new[i]/c1/(sqrt(V_new[i]/c2) + eps) + decay*W[i])
    output W_new, M_new, V_new

    dM = beta1 dM_new_total
    dG = (1 − beta1) dM_new_total + 2 (1 − beta2) (G ∘ dV_new_total)
    dV = beta2 dV_new_total
    dW = (1 − decay eta) dW_new
    deta = −(dW_newᵀ (decay W + g ∘ mhat))
    dc1 = g5 (gᵀ g2)
    dc2 = −0.5 eta sum(g7) / c2
    where
    root[i] = sqrt(V_new[i]/c2)
    g4[i] = eps + root[i]
    g[i] = 1/g4[i]
    g5 = eta/c1
    dM_new_total[i] = dM_new[i] - dW_new[i]*g[i]*g5
    mhat[i] = M_new[i]/c1
    g1[i] = 1/g4[i]**2
    g2[i] = dW_new[i]*mhat[i]
    g7[i] = g1[i]*g2[i]*root[i]
    dV_new_total[i] = dV_new[i] + 0.5*eta*g7[i]/V_new[i]

Saved for the backward: nothing beyond inputs and outputs.  Computed again: mhat, root.
Sums are kept in float32; the same bits at every run.

Made by `derive emit adamw -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("adamw.cu")


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
    """

    def __init__(self, cp):
        self.cp = cp
        self.modules = {}
        self.dtypes = {
            "T": cp.dtype(cp.float32),
            "compute": cp.dtype(cp.float32),
        }

    def adamw_forward(self, M, G, V, W, eta, c1, c2, *, stream=None):
        """The outputs of adamw.

        Args:
            M: [i], float32
            G: [i], float32
            V: [i], float32
            W: [i], float32
            eta: [], float32
            c1: [], float32
            c2: [], float32

        Returns:
            W_new: [i]
            M_new: [i]
            V_new: [i]
        """
        cp, dtypes = self.cp, self.dtypes
        size_i, = self.check("M", M, "T", (None,))
        self.check("G", G, "T", (size_i,))
        self.check("V", V, "T", (size_i,))
        self.check("W", W, "T", (size_i,))
        self.check("eta", eta, "T", ())
        self.check("c1", c1, "T", ())
        self.check("c2", c2, "T", ())
        with stream or nullcontext():
            launch = partial(self.launch, *self.module(size_i, ()))
            W_new = cp.empty((size_i,), dtypes["T"])
            M_new = cp.empty((size_i,), dtypes["T"])
            V_new = cp.empty((size_i,), dtypes["T"])
            launch("forward_M_new_V_new_W_new", (blocks(size_i, 1024),), (256,),
                   (M, G, V, W, eta, c1, c2, W_new, M_new, V_new), (size_i,))
        return W_new, M_new, V_new

    def adamw_backward(self, dW_new, dM_new, dV_new, G, W, eta, c1, c2, M_new, V_new, *, out=None,
                       accumulate=False, stream=None):
        """The gradients of adamw.

        Args:
            dW_new: [i], float32
            dM_new: [i], float32
            dV_new: [i], float32
            G: [i], float32
            W: [i], float32
            eta: [], float32
            c1: [], float32
            c2: [], float32
            M_new: [i], float32
            V_new: [i], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dM: [i]
            dG: [i]
            dV: [i]
            dW: [i]
            deta: []
            dc1: []
            dc2: []
        """
        cp, dtypes = self.cp, self.dtypes
        size_i, = self.check("dW_new", dW_new, "T", (None,))
        self.check("dM_new", dM_new, "T", (size_i,))
        self.check("dV_new", dV_new, "T", (size_i,))
        self.check("G", G, "T", (size_i,))
        self.check("W", W, "T", (size_i,))
        self.check("eta", eta, "T", ())
        self.check("c1", c1, "T", ())
        self.check("c2", c2, "T", ())
        self.check("M_new", M_new, "T", (size_i,))
        self.check("V_new", V_new, "T", (size_i,))
        with stream or nullcontext():
            chunks = total_chunks(size_i)
            count = max(size_i, chunks)
            launch = partial(self.launch, *self.module(count, ()))
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dM = cp.empty((size_i,), dtypes["T"])
                dG = cp.empty((size_i,), dtypes["T"])
                dV = cp.empty((size_i,), dtypes["T"])
                dW = cp.empty((size_i,), dtypes["T"])
                deta = cp.empty((), dtypes["T"])
                dc1 = cp.empty((), dtypes["T"])
                dc2 = cp.empty((), dtypes["T"])
            else:
                dM, dG, dV, dW, deta, dc1, dc2 = out
                self.check("dM", dM, "T", (size_i,))
                self.check("dG", dG, "T", (size_i,))
                self.check("dV", dV, "T", (size_i,))
                self.check("dW", dW, "T", (size_i,))
                self.check("deta", deta, "T", ())
                self.check("dc1", dc1, "T", ())
                self.check("dc2", dc2, "T", ())
            deta_sum_partial = cp.empty((chunks,), dtypes["compute"])
            dc1_sum_partial = cp.empty((chunks,), dtypes["compute"])
            dc2_sum_partial = cp.empty((chunks,), dtypes["compute"])
            launch("backward_deta_dM_dG", (chunks,), (256,),
                   (G, W, eta, c1, c2, M_new, V_new, dW_new, dM_new, dV_new, dM, dG, dV, dW,
                    deta_sum_partial, dc1_sum_partial, dc2_sum_partial), (size_i,), accumulate=accumulate)
            launch("backward_deta_dM_dG_sum", (1,), (256,),
                   (deta_sum_partial, dc1_sum_partial, dc2_sum_partial, eta, c1, c2, deta, dc1, dc2),
                   (chunks,), accumulate=accumulate)
        return dM, dG, dV, dW, deta, dc1, dc2

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


def adamw_forward(*args, **options):
    """`Kernels.adamw_forward` on CuPy."""
    return _default().adamw_forward(*args, **options)


def adamw_backward(*args, **options):
    """`Kernels.adamw_backward` on CuPy."""
    return _default().adamw_backward(*args, **options)


@cache
def _default():
    return load()
