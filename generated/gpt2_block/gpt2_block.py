"""gpt2_block: forward and backward through CuPy, float32.

    param eps = 1e-5
    M1[b,t] = mean(c, X[b,t,c])
    V1[b,t] = mean(c, (X[b,t,c] - M1[b,t])**2)
    N1[b,t,c] = (X[b,t,c] - M1[b,t])/sqrt(V1[b,t] + eps)*ln1w[c] + ln1b[c]
    Q[b,h,t,d] = sum(c, N1[b,t,c]*wq[h,d,c]) + bq[h,d]
    K[b,h,t,d] = sum(c, N1[b,t,c]*wk[h,d,c]) + bk[h,d]
    U[b,h,t,d] = sum(c, N1[b,t,c]*wv[h,d,c]) + bv[h,d]
    S[b,h,t,s] = sum(d, Q[b,h,t,d]*K[b,h,s,d])/sqrt(size(d))
    P[b,h,t,s] = softmax(s, where(s <= t, S[b,h,t,s], -1e30))
    O[b,h,t,d] = sum(s, P[b,h,t,s]*U[b,h,s,d])
    R[b,t,c] = X[b,t,c] + sum(h, d, O[b,h,t,d]*attprojw[c,h,d]) + attprojb[c]
    M2[b,t] = mean(c, R[b,t,c])
    V2[b,t] = mean(c, (R[b,t,c] - M2[b,t])**2)
    N2[b,t,c] = (R[b,t,c] - M2[b,t])/sqrt(V2[b,t] + eps)*ln2w[c] + ln2b[c]
    F[b,t,f] = sum(c, N2[b,t,c]*fcw[f,c]) + fcb[f]
    G[b,t,f] = 0.5*F[b,t,f]*(1 + tanh(sqrt(2/pi)*(F[b,t,f] + 0.044715*F[b,t,f]**3)))
    Y[b,t,c] = R[b,t,c] + sum(f, G[b,t,f]*fcprojw[c,f]) + fcprojb[c]

    dX = dR + diag(rstd) (g1 − g1 1 1ᵀ / |c| − diag((g1 ∘ xhat) 1) xhat / |c|)
    dln1w = (dN1 ∘ xhat)ᵀ 1
    dln1b = dN1ᵀ 1
    dwq = einsum(btc,bhtd->hdc; N1, dQ)
    dbq = einsum(bhtd->hd; dQ)
    dwk = einsum(btc,bhtd->hdc; N1, dK)
    dbk = einsum(bhtd->hd; dK)
    dwv = einsum(btc,bhtd->hdc; N1, dU)
    dbv = einsum(bhtd->hd; dU)
    dattprojw = einsum(bhtd,btc->chd; O, dR)
    dattprojb = dRᵀ 1
    dln2w = (dN2 ∘ rhat)ᵀ 1
    dln2b = dN2ᵀ 1
    dfcw = dFᵀ N2
    dfcb = dFᵀ 1
    dfcprojw = dYᵀ G
    dfcprojb = dYᵀ 1

Saved for the backward: M1, V1, Q, K, U, P_lse, O, R, M2, V2, F.  Computed again: rstd, xhat, N1, rstd1, rhat, N2, G, P, S, S_sum, dS_sum.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dX over dY, dln1w over ln2w, dln1w over ln2b, dln1b over ln2w, dln1b over ln2b, dwq over wq, dwq over wk, dwq over wv, dattprojw over attprojw, dattprojb over ln2w, dattprojb over ln2b, dln2w over ln2w, dln2w over ln2b, dln2b over ln2w, dln2b over ln2b, dfcw over fcw, dfcprojw over fcprojw, dfcprojb over ln2w, dfcprojb over ln2b.
A sum of 1024 products or more with few tiles of results is split into chunks, added up in order.

Made by `derive emit gpt2_block -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("gpt2_block.cu")


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


def row_threads(count, kept=0):
    """Threads along a row of `count` elements, and rows a block: a warp or less while a thread has at most 8 elements,
    then a block; fewer rows a block where `kept` bytes an element would not fit in shared memory."""
    along = 1
    while along < 512 and (along < count if along < 32 else 8 * along < count):
        along *= 2
    rows = 128 // along if along <= 32 else 1
    while rows > 1 and -(-count // along) * along * rows * kept > 96 * 1024:
        rows //= 2
    return along, rows


def row_blocks(rows, count, kept=0):
    """Blocks that hold `rows` rows of `count` elements."""
    return -(-rows // row_threads(count, kept)[1])


def row_chunks(rows, count, share):
    """Blocks that go over `rows` rows and keep sums over them: `share` rows each or more, since the partial results
    of every block pass through memory too; fewer would leave parts of a large GPU idle."""
    return max(1, min(-(-rows // share), row_blocks(rows, count), 1024))


def row_shared(count, kept):
    """Bytes of shared memory in which a block keeps `kept` bytes an element; 0 if not even one row fits."""
    along, rows = row_threads(count, kept)
    size = -(-count // along) * along * rows * kept
    return size if size <= 96 * 1024 else 0


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

    def gpt2_block_forward(self, X, ln1w, ln1b, wq, bq, wk, bk, wv, bv, attprojw, attprojb, ln2w, ln2b, fcw, fcb, fcprojw, fcprojb, *, stream=None):
        """The outputs of gpt2_block.

        Args:
            X: [b, t, c], float32
            ln1w: [c], float32
            ln1b: [c], float32
            wq: [h, d, c], float32
            bq: [h, d], float32
            wk: [h, d, c], float32
            bk: [h, d], float32
            wv: [h, d, c], float32
            bv: [h, d], float32
            attprojw: [c, h, d], float32
            attprojb: [c], float32
            ln2w: [c], float32
            ln2b: [c], float32
            fcw: [f, c], float32
            fcb: [f], float32
            fcprojw: [c, f], float32
            fcprojb: [c], float32

        Returns:
            Y: [b, t, c]
            M1: [b, t], saved for the backward
            V1: [b, t], saved for the backward
            Q: [b, h, t, d], saved for the backward
            K: [b, h, t, d], saved for the backward
            U: [b, h, t, d], saved for the backward
            P_lse: [b, h, t], saved for the backward
            O: [b, h, t, d], saved for the backward
            R: [b, t, c], saved for the backward
            M2: [b, t], saved for the backward
            V2: [b, t], saved for the backward
            F: [b, t, f], saved for the backward
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_t, size_c = self.check("X", X, "T", (None, None, None))
        self.check("ln1w", ln1w, "T", (size_c,))
        self.check("ln1b", ln1b, "T", (size_c,))
        size_h, size_d, _ = self.check("wq", wq, "T", (None, None, size_c))
        self.check("bq", bq, "T", (size_h, size_d))
        self.check("wk", wk, "T", (size_h, size_d, size_c))
        self.check("bk", bk, "T", (size_h, size_d))
        self.check("wv", wv, "T", (size_h, size_d, size_c))
        self.check("bv", bv, "T", (size_h, size_d))
        self.check("attprojw", attprojw, "T", (size_c, size_h, size_d))
        self.check("attprojb", attprojb, "T", (size_c,))
        self.check("ln2w", ln2w, "T", (size_c,))
        self.check("ln2b", ln2b, "T", (size_c,))
        size_f, _ = self.check("fcw", fcw, "T", (None, size_c))
        self.check("fcb", fcb, "T", (size_f,))
        self.check("fcprojw", fcprojw, "T", (size_c, size_f))
        self.check("fcprojb", fcprojb, "T", (size_c,))
        with stream or nullcontext():
            module, index = self.module(max(1, product_chunks(1, size_b*size_t, size_c, size_f)*size_b*size_t*size_c, product_chunks(1, size_b*size_t, size_c, size_h*size_d)*size_b*size_t*size_c, product_chunks(1, size_b*size_t, size_f, size_c)*size_b*size_t*size_f, product_chunks(1, size_b*size_t, size_h*size_d, size_c)*size_b*size_t*size_h*size_d, size_b*size_h*size_t, size_b*size_h*size_t*size_d, size_b*size_t, size_b*size_t*size_c, size_b*size_t*size_f, size_b*size_t*size_h*size_d, size_c, size_c*size_f, size_c*size_h*size_d, size_f, size_f*size_c, size_h*size_d, size_h*size_d*size_c), ())
            Y = cp.empty((size_b, size_t, size_c), dtypes["T"])
            M1 = cp.empty((size_b, size_t), dtypes["compute"])
            V1 = cp.empty((size_b, size_t), dtypes["compute"])
            Q = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            K = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            U = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            P_lse = cp.empty((size_b, size_h, size_t), dtypes["compute"])
            O = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            R = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            M2 = cp.empty((size_b, size_t), dtypes["compute"])
            V2 = cp.empty((size_b, size_t), dtypes["compute"])
            F = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            N1 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            N2 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            G = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            Q_sum_partial = cp.empty((product_chunks(1, size_b*size_t, size_h*size_d, size_c), size_b*size_t, size_h*size_d), dtypes["compute"])
            K_sum_partial = cp.empty((product_chunks(1, size_b*size_t, size_h*size_d, size_c), size_b*size_t, size_h*size_d), dtypes["compute"])
            U_sum_partial = cp.empty((product_chunks(1, size_b*size_t, size_h*size_d, size_c), size_b*size_t, size_h*size_d), dtypes["compute"])
            R_sum_partial = cp.empty((product_chunks(1, size_b*size_t, size_c, size_h*size_d), size_b*size_t, size_c), dtypes["compute"])
            F_sum_partial = cp.empty((product_chunks(1, size_b*size_t, size_f, size_c), size_b*size_t, size_f), dtypes["compute"])
            Y_sum_partial = cp.empty((product_chunks(1, size_b*size_t, size_c, size_f), size_b*size_t, size_c), dtypes["compute"])
            self.launch(module, "forward_M1_V1_N1", (row_blocks(size_b*size_t, size_c, 4), 1, 1), (*row_threads(size_c, 4), 1),
                        (X, ln1w, ln1b, M1, V1, N1, index(size_b), index(size_t), index(size_c), index(row_shared(size_c, 4)),), row_shared(size_c, 4))
            self.launch(module, "forward_Q", (blocks(size_b*size_t, 64, 2**31)*blocks(size_h*size_d, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_h*size_d, size_c), 1), 1), (256, 1, 1),
                        (wq, bq, N1, Q, Q_sum_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d),))
            self.launch(module, "forward_Q_chunks", (blocks(size_b*size_t*size_h*size_d, 256)*min(product_chunks(1, size_b*size_t, size_h*size_d, size_c), 1), 1, 1), (256, 1, 1),
                        (Q_sum_partial, bq, Q, index(size_b), index(size_t), index(size_h), index(size_d), index(product_chunks(1, size_b*size_t, size_h*size_d, size_c)),))
            self.launch(module, "forward_K", (blocks(size_b*size_t, 64, 2**31)*blocks(size_h*size_d, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_h*size_d, size_c), 1), 1), (256, 1, 1),
                        (wk, bk, N1, K, K_sum_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d),))
            self.launch(module, "forward_K_chunks", (blocks(size_b*size_t*size_h*size_d, 256)*min(product_chunks(1, size_b*size_t, size_h*size_d, size_c), 1), 1, 1), (256, 1, 1),
                        (K_sum_partial, bk, K, index(size_b), index(size_t), index(size_h), index(size_d), index(product_chunks(1, size_b*size_t, size_h*size_d, size_c)),))
            self.launch(module, "forward_U", (blocks(size_b*size_t, 64, 2**31)*blocks(size_h*size_d, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_h*size_d, size_c), 1), 1), (256, 1, 1),
                        (wv, bv, N1, U, U_sum_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d),))
            self.launch(module, "forward_U_chunks", (blocks(size_b*size_t*size_h*size_d, 256)*min(product_chunks(1, size_b*size_t, size_h*size_d, size_c), 1), 1, 1), (256, 1, 1),
                        (U_sum_partial, bv, U, index(size_b), index(size_t), index(size_h), index(size_d), index(product_chunks(1, size_b*size_t, size_h*size_d, size_c)),))
            self.launch(module, "forward_P_lse_O", (blocks(size_t, 64, 2**31)*blocks(max(size_d, 1), 64, 2**31)*(size_b*size_h), 1, 1), (256, 1, 1),
                        (Q, K, U, P_lse, O, index(size_b), index(size_t), index(size_h), index(size_d), index(blocks(max(size_d, 1), 64, 2**31)),))
            self.launch(module, "forward_R", (blocks(size_b*size_t, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_c, size_h*size_d), 1), 1), (256, 1, 1),
                        (X, attprojw, attprojb, O, R, R_sum_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d),))
            self.launch(module, "forward_R_chunks", (blocks(size_b*size_t*size_c, 256)*min(product_chunks(1, size_b*size_t, size_c, size_h*size_d), 1), 1, 1), (256, 1, 1),
                        (R_sum_partial, X, attprojb, R, index(size_b), index(size_t), index(size_c), index(product_chunks(1, size_b*size_t, size_c, size_h*size_d)),))
            self.launch(module, "forward_M2_V2_N2", (row_blocks(size_b*size_t, size_c, 4), 1, 1), (*row_threads(size_c, 4), 1),
                        (ln2w, ln2b, R, M2, V2, N2, index(size_b), index(size_t), index(size_c), index(row_shared(size_c, 4)),), row_shared(size_c, 4))
            self.launch(module, "forward_F_G", (blocks(size_b*size_t, 64, 2**31)*blocks(size_f, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_f, size_c), 1), 1), (256, 1, 1),
                        (fcw, fcb, N2, F, G, F_sum_partial, index(size_b), index(size_t), index(size_c), index(size_f),))
            self.launch(module, "forward_F_G_chunks", (blocks(size_b*size_t*size_f, 256)*min(product_chunks(1, size_b*size_t, size_f, size_c), 1), 1, 1), (256, 1, 1),
                        (F_sum_partial, fcb, F, G, index(size_b), index(size_t), index(size_f), index(product_chunks(1, size_b*size_t, size_f, size_c)),))
            self.launch(module, "forward_Y", (blocks(size_b*size_t, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_c, size_f), 1), 1), (256, 1, 1),
                        (fcprojw, fcprojb, R, G, Y, Y_sum_partial, index(size_b), index(size_t), index(size_c), index(size_f),))
            self.launch(module, "forward_Y_chunks", (blocks(size_b*size_t*size_c, 256)*min(product_chunks(1, size_b*size_t, size_c, size_f), 1), 1, 1), (256, 1, 1),
                        (Y_sum_partial, fcprojb, R, Y, index(size_b), index(size_t), index(size_c), index(product_chunks(1, size_b*size_t, size_c, size_f)),))
        return Y, M1, V1, Q, K, U, P_lse, O, R, M2, V2, F

    def gpt2_block_backward(self, dY, X, ln1w, ln1b, wq, wk, wv, attprojw, ln2w, ln2b, fcw, fcprojw, M1, V1, Q, K, U, P_lse, O, R, M2, V2, F, *, out=None, accumulate=False, stream=None):
        """The gradients of gpt2_block.

        Args:
            dY: [b, t, c], float32
            X: [b, t, c], float32
            ln1w: [c], float32
            ln1b: [c], float32
            wq: [h, d, c], float32
            wk: [h, d, c], float32
            wv: [h, d, c], float32
            attprojw: [c, h, d], float32
            ln2w: [c], float32
            ln2b: [c], float32
            fcw: [f, c], float32
            fcprojw: [c, f], float32
            M1: [b, t], float32
            V1: [b, t], float32
            Q: [b, h, t, d], float32
            K: [b, h, t, d], float32
            U: [b, h, t, d], float32
            P_lse: [b, h, t], float32
            O: [b, h, t, d], float32
            R: [b, t, c], float32
            M2: [b, t], float32
            V2: [b, t], float32
            F: [b, t, f], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [b, t, c]
            dln1w: [c]
            dln1b: [c]
            dwq: [h, d, c]
            dbq: [h, d]
            dwk: [h, d, c]
            dbk: [h, d]
            dwv: [h, d, c]
            dbv: [h, d]
            dattprojw: [c, h, d]
            dattprojb: [c]
            dln2w: [c]
            dln2b: [c]
            dfcw: [f, c]
            dfcb: [f]
            dfcprojw: [c, f]
            dfcprojb: [c]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_t, size_c = self.check("dY", dY, "T", (None, None, None))
        self.check("X", X, "T", (size_b, size_t, size_c))
        self.check("ln1w", ln1w, "T", (size_c,))
        self.check("ln1b", ln1b, "T", (size_c,))
        size_h, size_d, _ = self.check("wq", wq, "T", (None, None, size_c))
        self.check("wk", wk, "T", (size_h, size_d, size_c))
        self.check("wv", wv, "T", (size_h, size_d, size_c))
        self.check("attprojw", attprojw, "T", (size_c, size_h, size_d))
        self.check("ln2w", ln2w, "T", (size_c,))
        self.check("ln2b", ln2b, "T", (size_c,))
        size_f, _ = self.check("fcw", fcw, "T", (None, size_c))
        self.check("fcprojw", fcprojw, "T", (size_c, size_f))
        self.check("M1", M1, "compute", (size_b, size_t))
        self.check("V1", V1, "compute", (size_b, size_t))
        self.check("Q", Q, "compute", (size_b, size_h, size_t, size_d))
        self.check("K", K, "compute", (size_b, size_h, size_t, size_d))
        self.check("U", U, "compute", (size_b, size_h, size_t, size_d))
        self.check("P_lse", P_lse, "compute", (size_b, size_h, size_t))
        self.check("O", O, "compute", (size_b, size_h, size_t, size_d))
        self.check("R", R, "compute", (size_b, size_t, size_c))
        self.check("M2", M2, "compute", (size_b, size_t))
        self.check("V2", V2, "compute", (size_b, size_t))
        self.check("F", F, "compute", (size_b, size_t, size_f))
        with stream or nullcontext():
            module, index = self.module(max(1, column_chunks(size_b*size_t)*size_f, column_chunks(size_b*size_t)*size_h*size_d, product_chunks(1, size_b*size_t, size_c, size_f)*size_b*size_t*size_c, product_chunks(1, size_b*size_t, size_c, size_h*size_d)*size_b*size_t*size_c, product_chunks(1, size_b*size_t, size_f, size_c)*size_b*size_t*size_f, product_chunks(1, size_b*size_t, size_h*size_d, size_c)*size_b*size_t*size_h*size_d, product_chunks(1, size_c, size_f, size_b*size_t)*size_c*size_f, product_chunks(1, size_c, size_h*size_d, size_b*size_t)*size_c*size_h*size_d, product_chunks(1, size_f, size_c, size_b*size_t)*size_f*size_c, product_chunks(1, size_h*size_d, size_c, size_b*size_t)*size_h*size_d*size_c, row_chunks(size_b*size_t, size_c, 25)*size_c, row_chunks(size_b*size_t, size_c, 50)*size_c, size_b*size_h*size_t, size_b*size_h*size_t*size_d, size_b*size_t, size_b*size_t*size_c, size_b*size_t*size_f, size_b*size_t*size_h*size_d, size_c, size_c*size_f, size_c*size_h*size_d, size_d, size_f, size_f*size_c, size_h*size_d, size_h*size_d*size_c), ())
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_b, size_t, size_c), dtypes["T"])
                dln1w = cp.empty((size_c,), dtypes["T"])
                dln1b = cp.empty((size_c,), dtypes["T"])
                dwq = cp.empty((size_h, size_d, size_c), dtypes["T"])
                dbq = cp.empty((size_h, size_d), dtypes["T"])
                dwk = cp.empty((size_h, size_d, size_c), dtypes["T"])
                dbk = cp.empty((size_h, size_d), dtypes["T"])
                dwv = cp.empty((size_h, size_d, size_c), dtypes["T"])
                dbv = cp.empty((size_h, size_d), dtypes["T"])
                dattprojw = cp.empty((size_c, size_h, size_d), dtypes["T"])
                dattprojb = cp.empty((size_c,), dtypes["T"])
                dln2w = cp.empty((size_c,), dtypes["T"])
                dln2b = cp.empty((size_c,), dtypes["T"])
                dfcw = cp.empty((size_f, size_c), dtypes["T"])
                dfcb = cp.empty((size_f,), dtypes["T"])
                dfcprojw = cp.empty((size_c, size_f), dtypes["T"])
                dfcprojb = cp.empty((size_c,), dtypes["T"])
            else:
                dX, dln1w, dln1b, dwq, dbq, dwk, dbk, dwv, dbv, dattprojw, dattprojb, dln2w, dln2b, dfcw, dfcb, dfcprojw, dfcprojb = out
                self.check("dX", dX, "T", (size_b, size_t, size_c))
                self.check("dln1w", dln1w, "T", (size_c,))
                self.check("dln1b", dln1b, "T", (size_c,))
                self.check("dwq", dwq, "T", (size_h, size_d, size_c))
                self.check("dbq", dbq, "T", (size_h, size_d))
                self.check("dwk", dwk, "T", (size_h, size_d, size_c))
                self.check("dbk", dbk, "T", (size_h, size_d))
                self.check("dwv", dwv, "T", (size_h, size_d, size_c))
                self.check("dbv", dbv, "T", (size_h, size_d))
                self.check("dattprojw", dattprojw, "T", (size_c, size_h, size_d))
                self.check("dattprojb", dattprojb, "T", (size_c,))
                self.check("dln2w", dln2w, "T", (size_c,))
                self.check("dln2b", dln2b, "T", (size_c,))
                self.check("dfcw", dfcw, "T", (size_f, size_c))
                self.check("dfcb", dfcb, "T", (size_f,))
                self.check("dfcprojw", dfcprojw, "T", (size_c, size_f))
                self.check("dfcprojb", dfcprojb, "T", (size_c,))
            dG = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            dF = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            dN2 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dR = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dO = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            P_row = cp.empty((size_b, size_h, size_t), dtypes["compute"])
            dU = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            dK = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            dQ = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            dN1_sum = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dN1_sum2 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dN1 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dG_partial = cp.empty((product_chunks(1, size_b*size_t, size_f, size_c), size_b*size_t, size_f), dtypes["compute"])
            dfcb_partial = cp.empty((column_chunks(size_b*size_t), size_f), dtypes["compute"])
            dN2_partial = cp.empty((product_chunks(1, size_b*size_t, size_c, size_f), size_b*size_t, size_c), dtypes["compute"])
            dfcw_partial = cp.empty((product_chunks(1, size_f, size_c, size_b*size_t), size_f, size_c), dtypes["compute"])
            dfcprojw_sum_partial = cp.empty((product_chunks(1, size_c, size_f, size_b*size_t), size_c, size_f), dtypes["compute"])
            dattprojb_partial = cp.empty((row_chunks(size_b*size_t, size_c, 50), size_c), dtypes["compute"])
            dln2w_partial = cp.empty((row_chunks(size_b*size_t, size_c, 50), size_c), dtypes["compute"])
            dln2b_partial = cp.empty((row_chunks(size_b*size_t, size_c, 50), size_c), dtypes["compute"])
            dfcprojb_partial = cp.empty((row_chunks(size_b*size_t, size_c, 50), size_c), dtypes["compute"])
            dO_partial = cp.empty((product_chunks(1, size_b*size_t, size_h*size_d, size_c), size_b*size_t, size_h*size_d), dtypes["compute"])
            dattprojw_partial = cp.empty((product_chunks(1, size_c, size_h*size_d, size_b*size_t), size_c, size_h*size_d), dtypes["compute"])
            dwk_partial = cp.empty((product_chunks(1, size_h*size_d, size_c, size_b*size_t), size_h*size_d, size_c), dtypes["compute"])
            dbk_partial = cp.empty((column_chunks(size_b*size_t), size_h*size_d), dtypes["compute"])
            dwv_partial = cp.empty((product_chunks(1, size_h*size_d, size_c, size_b*size_t), size_h*size_d, size_c), dtypes["compute"])
            dbv_partial = cp.empty((column_chunks(size_b*size_t), size_h*size_d), dtypes["compute"])
            dN1_sum_partial = cp.empty((product_chunks(1, size_b*size_t, size_c, size_h*size_d), size_b*size_t, size_c), dtypes["compute"])
            dN1_sum2_partial = cp.empty((product_chunks(1, size_b*size_t, size_c, size_h*size_d), size_b*size_t, size_c), dtypes["compute"])
            dN1_sum3_partial = cp.empty((product_chunks(1, size_b*size_t, size_c, size_h*size_d), size_b*size_t, size_c), dtypes["compute"])
            dln1w_partial = cp.empty((row_chunks(size_b*size_t, size_c, 25), size_c), dtypes["compute"])
            dln1b_partial = cp.empty((row_chunks(size_b*size_t, size_c, 25), size_c), dtypes["compute"])
            dwq_partial = cp.empty((product_chunks(1, size_h*size_d, size_c, size_b*size_t), size_h*size_d, size_c), dtypes["compute"])
            dbq_partial = cp.empty((column_chunks(size_b*size_t), size_h*size_d), dtypes["compute"])
            self.launch(module, "backward_dG", (blocks(size_b*size_t, 64, 2**31)*blocks(size_f, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_f, size_c), 1), 1), (256, 1, 1),
                        (fcprojw, dY, dG, dG_partial, index(size_b), index(size_t), index(size_c), index(size_f),))
            self.launch(module, "backward_dG_chunks", (blocks(size_b*size_t*size_f, 256)*min(product_chunks(1, size_b*size_t, size_f, size_c), 1), 1, 1), (256, 1, 1),
                        (dG_partial, dG, index(size_b), index(size_t), index(size_f), index(product_chunks(1, size_b*size_t, size_f, size_c)),))
            self.launch(module, "backward_dF_dfcb", (blocks(size_f, 32, 2**31), column_chunks(size_b*size_t), 1), (32, 8, 1),
                        (F, dG, dfcb, dF, dfcb_partial, index(size_b), index(size_t), index(size_f), index(column_chunks(size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dF_dfcb_sum", (blocks(size_f, 32, 2**31)*(column_chunks(size_b*size_t) > 1), 1, 1), (32, 8, 1),
                        (dfcb_partial, dfcb, index(size_f), index(column_chunks(size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dN2", (blocks(size_b*size_t, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_c, size_f), 1), 1), (256, 1, 1),
                        (fcw, dF, dN2, dN2_partial, index(size_b), index(size_t), index(size_c), index(size_f),))
            self.launch(module, "backward_dN2_chunks", (blocks(size_b*size_t*size_c, 256)*min(product_chunks(1, size_b*size_t, size_c, size_f), 1), 1, 1), (256, 1, 1),
                        (dN2_partial, dN2, index(size_b), index(size_t), index(size_c), index(product_chunks(1, size_b*size_t, size_c, size_f)),))
            self.launch(module, "backward_dfcw", (blocks(size_f, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_f, size_c, size_b*size_t), 1), 1), (256, 1, 1),
                        (ln2w, ln2b, R, M2, V2, dF, dfcw, dfcw_partial, index(size_b), index(size_t), index(size_c), index(size_f), cp.int32(accumulate),))
            self.launch(module, "backward_dfcw_chunks", (blocks(size_f*size_c, 256)*min(product_chunks(1, size_f, size_c, size_b*size_t), 1), 1, 1), (256, 1, 1),
                        (dfcw_partial, dfcw, index(size_c), index(size_f), index(product_chunks(1, size_f, size_c, size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dfcprojw", (blocks(size_c, 64, 2**31)*blocks(size_f, 64, 2**31)*(1), max(product_chunks(1, size_c, size_f, size_b*size_t), 1), 1), (256, 1, 1),
                        (F, dY, dfcprojw, dfcprojw_sum_partial, index(size_b), index(size_t), index(size_c), index(size_f), cp.int32(accumulate),))
            self.launch(module, "backward_dfcprojw_chunks", (blocks(size_c*size_f, 256)*min(product_chunks(1, size_c, size_f, size_b*size_t), 1), 1, 1), (256, 1, 1),
                        (dfcprojw_sum_partial, dfcprojw, index(size_c), index(size_f), index(product_chunks(1, size_c, size_f, size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dR_dattprojb_dln2w", (row_chunks(size_b*size_t, size_c, 50), 1, 1), (*row_threads(size_c, 28), 1),
                        (ln2w, R, M2, V2, dY, dN2, dR, dattprojb_partial, dln2w_partial, dln2b_partial, dfcprojb_partial, index(size_b), index(size_t), index(size_c), index(row_shared(size_c, 28)),), row_shared(size_c, 28))
            self.launch(module, "backward_dR_dattprojb_dln2w_sum", (blocks(size_c, 32, 2**31), 1, 1), (32, 8, 1),
                        (dattprojb_partial, dln2w_partial, dln2b_partial, dfcprojb_partial, dattprojb, dln2w, dln2b, dfcprojb, index(size_c), index(row_chunks(size_b*size_t, size_c, 50)), cp.int32(accumulate),))
            self.launch(module, "backward_dO", (blocks(size_b*size_t, 64, 2**31)*blocks(size_h*size_d, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_h*size_d, size_c), 1), 1), (256, 1, 1),
                        (attprojw, dR, dO, dO_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d),))
            self.launch(module, "backward_dO_chunks", (blocks(size_b*size_t*size_h*size_d, 256)*min(product_chunks(1, size_b*size_t, size_h*size_d, size_c), 1), 1, 1), (256, 1, 1),
                        (dO_partial, dO, index(size_b), index(size_t), index(size_h), index(size_d), index(product_chunks(1, size_b*size_t, size_h*size_d, size_c)),))
            self.launch(module, "backward_P_row", (row_blocks(size_b*size_h*size_t, size_d), 1, 1), (*row_threads(size_d), 1),
                        (O, dO, P_row, index(size_b), index(size_t), index(size_h), index(size_d),))
            self.launch(module, "backward_dattprojw", (blocks(size_c, 64, 2**31)*blocks(size_h*size_d, 64, 2**31)*(1), max(product_chunks(1, size_c, size_h*size_d, size_b*size_t), 1), 1), (256, 1, 1),
                        (O, dR, dattprojw, dattprojw_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d), cp.int32(accumulate),))
            self.launch(module, "backward_dattprojw_chunks", (blocks(size_c*size_h*size_d, 256)*min(product_chunks(1, size_c, size_h*size_d, size_b*size_t), 1), 1, 1), (256, 1, 1),
                        (dattprojw_partial, dattprojw, index(size_c), index(size_h), index(size_d), index(product_chunks(1, size_c, size_h*size_d, size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dU_dK", (blocks(size_t, 64, 2**31)*blocks(max(size_d, 1), 64, 2**31)*(size_b*size_h), 1, 1), (256, 1, 1),
                        (Q, K, U, P_lse, dO, P_row, dU, dK, index(size_b), index(size_t), index(size_h), index(size_d), index(blocks(max(size_d, 1), 64, 2**31)),))
            self.launch(module, "backward_dwk", (blocks(size_h*size_d, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_h*size_d, size_c, size_b*size_t), 1), 1), (256, 1, 1),
                        (X, ln1w, ln1b, M1, V1, dK, dwk, dwk_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d), cp.int32(accumulate),))
            self.launch(module, "backward_dwk_chunks", (blocks(size_h*size_d*size_c, 256)*min(product_chunks(1, size_h*size_d, size_c, size_b*size_t), 1), 1, 1), (256, 1, 1),
                        (dwk_partial, dwk, index(size_c), index(size_h), index(size_d), index(product_chunks(1, size_h*size_d, size_c, size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dbk", (blocks(size_h*size_d, 32, 2**31), column_chunks(size_b*size_t), 1), (32, 8, 1),
                        (dK, dbk, dbk_partial, index(size_b), index(size_t), index(size_h), index(size_d), index(column_chunks(size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dbk_sum", (blocks(size_h*size_d, 32, 2**31)*(column_chunks(size_b*size_t) > 1), 1, 1), (32, 8, 1),
                        (dbk_partial, dbk, index(size_h), index(size_d), index(column_chunks(size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dwv", (blocks(size_h*size_d, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_h*size_d, size_c, size_b*size_t), 1), 1), (256, 1, 1),
                        (X, ln1w, ln1b, M1, V1, dU, dwv, dwv_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d), cp.int32(accumulate),))
            self.launch(module, "backward_dwv_chunks", (blocks(size_h*size_d*size_c, 256)*min(product_chunks(1, size_h*size_d, size_c, size_b*size_t), 1), 1, 1), (256, 1, 1),
                        (dwv_partial, dwv, index(size_c), index(size_h), index(size_d), index(product_chunks(1, size_h*size_d, size_c, size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dbv", (blocks(size_h*size_d, 32, 2**31), column_chunks(size_b*size_t), 1), (32, 8, 1),
                        (dU, dbv, dbv_partial, index(size_b), index(size_t), index(size_h), index(size_d), index(column_chunks(size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dbv_sum", (blocks(size_h*size_d, 32, 2**31)*(column_chunks(size_b*size_t) > 1), 1, 1), (32, 8, 1),
                        (dbv_partial, dbv, index(size_h), index(size_d), index(column_chunks(size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dQ", (blocks(size_t, 64, 2**31)*blocks(max(size_d, 1), 64, 2**31)*(size_b*size_h), 1, 1), (256, 1, 1),
                        (Q, K, U, P_lse, dO, P_row, dQ, index(size_b), index(size_t), index(size_h), index(size_d), index(blocks(max(size_d, 1), 64, 2**31)),))
            self.launch(module, "backward_dN1_sum", (blocks(size_b*size_t, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_c, size_h*size_d), 1), 1), (256, 1, 1),
                        (wk, dK, dN1_sum, dN1_sum_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d),))
            self.launch(module, "backward_dN1_sum_chunks", (blocks(size_b*size_t*size_c, 256)*min(product_chunks(1, size_b*size_t, size_c, size_h*size_d), 1), 1, 1), (256, 1, 1),
                        (dN1_sum_partial, dN1_sum, index(size_b), index(size_t), index(size_c), index(product_chunks(1, size_b*size_t, size_c, size_h*size_d)),))
            self.launch(module, "backward_dN1_sum2", (blocks(size_b*size_t, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_c, size_h*size_d), 1), 1), (256, 1, 1),
                        (wq, dQ, dN1_sum2, dN1_sum2_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d),))
            self.launch(module, "backward_dN1_sum2_chunks", (blocks(size_b*size_t*size_c, 256)*min(product_chunks(1, size_b*size_t, size_c, size_h*size_d), 1), 1, 1), (256, 1, 1),
                        (dN1_sum2_partial, dN1_sum2, index(size_b), index(size_t), index(size_c), index(product_chunks(1, size_b*size_t, size_c, size_h*size_d)),))
            self.launch(module, "backward_dN1", (blocks(size_b*size_t, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_c, size_h*size_d), 1), 1), (256, 1, 1),
                        (wv, dU, dN1_sum, dN1_sum2, dN1, dN1_sum3_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d),))
            self.launch(module, "backward_dN1_chunks", (blocks(size_b*size_t*size_c, 256)*min(product_chunks(1, size_b*size_t, size_c, size_h*size_d), 1), 1, 1), (256, 1, 1),
                        (dN1_sum3_partial, dN1_sum, dN1_sum2, dN1, index(size_b), index(size_t), index(size_c), index(product_chunks(1, size_b*size_t, size_c, size_h*size_d)),))
            self.launch(module, "backward_dX_dln1w_dln1b", (row_chunks(size_b*size_t, size_c, 25), 1, 1), (*row_threads(size_c, 16), 1),
                        (X, ln1w, M1, V1, dR, dN1, dX, dln1w_partial, dln1b_partial, index(size_b), index(size_t), index(size_c), index(row_shared(size_c, 16)), cp.int32(accumulate),), row_shared(size_c, 16))
            self.launch(module, "backward_dX_dln1w_dln1b_sum", (blocks(size_c, 32, 2**31), 1, 1), (32, 8, 1),
                        (dln1w_partial, dln1b_partial, dln1w, dln1b, index(size_c), index(row_chunks(size_b*size_t, size_c, 25)), cp.int32(accumulate),))
            self.launch(module, "backward_dwq", (blocks(size_h*size_d, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_h*size_d, size_c, size_b*size_t), 1), 1), (256, 1, 1),
                        (X, ln1w, ln1b, M1, V1, dQ, dwq, dwq_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d), cp.int32(accumulate),))
            self.launch(module, "backward_dwq_chunks", (blocks(size_h*size_d*size_c, 256)*min(product_chunks(1, size_h*size_d, size_c, size_b*size_t), 1), 1, 1), (256, 1, 1),
                        (dwq_partial, dwq, index(size_c), index(size_h), index(size_d), index(product_chunks(1, size_h*size_d, size_c, size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dbq", (blocks(size_h*size_d, 32, 2**31), column_chunks(size_b*size_t), 1), (32, 8, 1),
                        (dQ, dbq, dbq_partial, index(size_b), index(size_t), index(size_h), index(size_d), index(column_chunks(size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dbq_sum", (blocks(size_h*size_d, 32, 2**31)*(column_chunks(size_b*size_t) > 1), 1, 1), (32, 8, 1),
                        (dbq_partial, dbq, index(size_h), index(size_d), index(column_chunks(size_b*size_t)), cp.int32(accumulate),))
        return dX, dln1w, dln1b, dwq, dbq, dwk, dbk, dwv, dbv, dattprojw, dattprojb, dln2w, dln2b, dfcw, dfcb, dfcprojw, dfcprojb

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


def gpt2_block_forward(*args, **options):
    """`Kernels.gpt2_block_forward` on CuPy."""
    return _default().gpt2_block_forward(*args, **options)


def gpt2_block_backward(*args, **options):
    """`Kernels.gpt2_block_backward` on CuPy."""
    return _default().gpt2_block_backward(*args, **options)


@cache
def _default():
    return load()
