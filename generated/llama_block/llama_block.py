"""llama_block: forward and backward through CuPy, float32.

    param eps = 1e-5
    param group = 4
    size p = 2
    N1[b,t,c] = X[b,t,c]*rsqrt(mean(c1, X[b,t,c1]**2) + eps)*ln1w[c]
    Q[b,h,t,p,i] = sum(c, N1[b,t,c]*wq[h,p,i,c])
    K[b,g,t,p,i] = sum(c, N1[b,t,c]*wk[g,p,i,c])
    V[b,g,t,d] = sum(c, N1[b,t,c]*wv[g,d,c])
    Qr[b,h,t,p,i] = Q[b,h,t,p,i]*C[t,i] + where(p == 0, -Q[b,h,t,1,i], Q[b,h,t,0,i])*S[t,i]
    Kr[b,g,t,p,i] = K[b,g,t,p,i]*C[t,i] + where(p == 0, -K[b,g,t,1,i], K[b,g,t,0,i])*S[t,i]
    A[b,h,t,s] = sum(p, i, Qr[b,h,t,p,i]*Kr[b,h//group,s,p,i])/sqrt(2*size(i))
    P[b,h,t,s] = softmax(s, where(s <= t, A[b,h,t,s], -1e30))
    O[b,h,t,d] = sum(s, P[b,h,t,s]*V[b,h//group,s,d])
    R[b,t,c] = X[b,t,c] + sum(h, d, O[b,h,t,d]*wo[c,h,d])
    N2[b,t,c] = R[b,t,c]*rsqrt(mean(c1, R[b,t,c1]**2) + eps)*ln2w[c]
    F[b,t,f] = sum(c, N2[b,t,c]*w1[f,c])
    U[b,t,f] = sum(c, N2[b,t,c]*w3[f,c])
    Y[b,t,c] = R[b,t,c] + sum(f, F[b,t,f]*sigmoid(F[b,t,f])*U[b,t,f]*w2[c,f])

    dX = dR + diag(rstd) (g2 − diag((g2 ∘ xhat) 1) xhat / |c|)
    dln1w = (dN1 ∘ xhat)ᵀ 1
    dwq = einsum(btc,bhtpi->hpic; N1, dQ)
    dwk = einsum(btc,bgtpi->gpic; N1, dK)
    dwv = einsum(btc,bgtd->gdc; N1, dV)
    dC[t,i] = sum(b, g, p, K[b,g,t,p,i]*dKr[b,g,t,p,i]) + sum(b, h, p, Q[b,h,t,p,i]*dQr[b,h,t,p,i])
    dS[t,i] = sum(b, g, p, dKr[b,g,t,p,i]*where(0 == p, -K[b,g,t,1,i], K[b,g,t,0,i])) + sum(b, h, p, dQr[b,h,t,p,i]*where(0 == p, -Q[b,h,t,1,i], Q[b,h,t,0,i]))
    dwo = einsum(bhtd,btc->chd; O, dR)
    dln2w = (dN2 ∘ rhat)ᵀ 1
    dw1 = dFᵀ N2
    dw3 = dUᵀ N2
    dw2 = dYᵀ (U ∘ g1)

Saved for the backward: N1_in, Q, K, V, Qr, Kr, P_lse, O, R, N2_in, F, U.  Computed again: rstd, xhat, N1, Qr, Kr, rstd1, rhat, N2, s1, P, A, A_sum, dA_sum.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dX over dY, dX over X, dln1w over ln1w, dln1w over ln2w, dwo over wo, dw1 over w1, dw1 over w3, dw3 over w1, dw3 over w3, dw2 over w2.
A sum of 1024 products or more with few tiles of results is split into chunks, added up in order.

Made by `derive emit llama_block -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("llama_block.cu")


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

    def llama_block_forward(self, X, ln1w, wq, wk, wv, C, S, wo, ln2w, w1, w3, w2, *, stream=None):
        """The outputs of llama_block.

        Args:
            X: [b, t, c], float32
            ln1w: [c], float32
            wq: [h, 2, i, c], float32
            wk: [g, 2, i, c], float32
            wv: [g, d, c], float32
            C: [t, i], float32
            S: [t, i], float32
            wo: [c, h, d], float32
            ln2w: [c], float32
            w1: [f, c], float32
            w3: [f, c], float32
            w2: [c, f], float32

        Returns:
            Y: [b, t, c]
            N1_in: [b, t], saved for the backward
            Q: [b, h, t, 2, i], saved for the backward
            K: [b, g, t, 2, i], saved for the backward
            V: [b, g, t, d], saved for the backward
            Qr: [b, h, t, 2, i], saved for the backward
            Kr: [b, g, t, 2, i], saved for the backward
            P_lse: [b, h, t], saved for the backward
            O: [b, h, t, d], saved for the backward
            R: [b, t, c], saved for the backward
            N2_in: [b, t], saved for the backward
            F: [b, t, f], saved for the backward
            U: [b, t, f], saved for the backward
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_t, size_c = self.check("X", X, "T", (None, None, None))
        self.check("ln1w", ln1w, "T", (size_c,))
        size_h, _, size_i, _ = self.check("wq", wq, "T", (None, 2, None, size_c))
        size_g, _, _, _ = self.check("wk", wk, "T", (None, 2, size_i, size_c))
        _, size_d, _ = self.check("wv", wv, "T", (size_g, None, size_c))
        self.check("C", C, "T", (size_t, size_i))
        self.check("S", S, "T", (size_t, size_i))
        self.check("wo", wo, "T", (size_c, size_h, size_d))
        self.check("ln2w", ln2w, "T", (size_c,))
        size_f, _ = self.check("w1", w1, "T", (None, size_c))
        self.check("w3", w3, "T", (size_f, size_c))
        self.check("w2", w2, "T", (size_c, size_f))
        with stream or nullcontext():
            module, index = self.module(max(1, product_chunks(1, size_b*size_t, size_c, size_f)*size_b*size_t*size_c, product_chunks(1, size_b*size_t, size_c, size_h*size_d)*size_b*size_t*size_c, product_chunks(1, size_b*size_t, size_f, size_c)*size_b*size_t*size_f, product_chunks(1, size_b*size_t, size_g*2*size_i, size_c)*size_b*size_t*size_g*2*size_i, product_chunks(1, size_b*size_t, size_g*size_d, size_c)*size_b*size_t*size_g*size_d, product_chunks(1, size_b*size_t, size_h*2*size_i, size_c)*size_b*size_t*size_h*2*size_i, size_b*size_g*size_t*2*size_i, size_b*size_g*size_t*size_d, size_b*size_h*size_t, size_b*size_h*size_t*2*size_i, size_b*size_h*size_t*size_d, size_b*size_t, size_b*size_t*size_c, size_b*size_t*size_f, size_b*size_t*size_g*2*size_i, size_b*size_t*size_g*size_d, size_b*size_t*size_h*2*size_i, size_c, size_c*size_f, size_c*size_h*size_d, size_f*size_c, size_g*2*size_i*size_c, size_g*size_d*size_c, size_h*2*size_i*size_c, size_t*size_i), ())
            Y = cp.empty((size_b, size_t, size_c), dtypes["T"])
            N1_in = cp.empty((size_b, size_t), dtypes["compute"])
            Q = cp.empty((size_b, size_h, size_t, 2, size_i), dtypes["compute"])
            K = cp.empty((size_b, size_g, size_t, 2, size_i), dtypes["compute"])
            V = cp.empty((size_b, size_g, size_t, size_d), dtypes["compute"])
            Qr = cp.empty((size_b, size_h, size_t, 2, size_i), dtypes["compute"])
            Kr = cp.empty((size_b, size_g, size_t, 2, size_i), dtypes["compute"])
            P_lse = cp.empty((size_b, size_h, size_t), dtypes["compute"])
            O = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            R = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            N2_in = cp.empty((size_b, size_t), dtypes["compute"])
            F = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            U = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            N1 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            N2 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            s1 = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            Q_partial = cp.empty((product_chunks(1, size_b*size_t, size_h*2*size_i, size_c), size_b*size_t, size_h*2*size_i), dtypes["compute"])
            K_partial = cp.empty((product_chunks(1, size_b*size_t, size_g*2*size_i, size_c), size_b*size_t, size_g*2*size_i), dtypes["compute"])
            V_partial = cp.empty((product_chunks(1, size_b*size_t, size_g*size_d, size_c), size_b*size_t, size_g*size_d), dtypes["compute"])
            R_sum_partial = cp.empty((product_chunks(1, size_b*size_t, size_c, size_h*size_d), size_b*size_t, size_c), dtypes["compute"])
            F_partial = cp.empty((product_chunks(1, size_b*size_t, size_f, size_c), size_b*size_t, size_f), dtypes["compute"])
            U_partial = cp.empty((product_chunks(1, size_b*size_t, size_f, size_c), size_b*size_t, size_f), dtypes["compute"])
            Y_sum_partial = cp.empty((product_chunks(1, size_b*size_t, size_c, size_f), size_b*size_t, size_c), dtypes["compute"])
            self.launch(module, "forward_N1_in_N1", (row_blocks(size_b*size_t, size_c, 4), 1, 1), (*row_threads(size_c, 4), 1),
                        (X, ln1w, N1_in, N1, index(size_b), index(size_t), index(size_c), index(row_shared(size_c, 4)),), row_shared(size_c, 4))
            self.launch(module, "forward_Q", (blocks(size_b*size_t, 64, 2**31)*blocks(size_h*2*size_i, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_h*2*size_i, size_c), 1), 1), (256, 1, 1),
                        (wq, N1, Q, Q_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_i),))
            self.launch(module, "forward_Q_chunks", (blocks(size_b*size_t*size_h*2*size_i, 256)*min(product_chunks(1, size_b*size_t, size_h*2*size_i, size_c), 1), 1, 1), (256, 1, 1),
                        (Q_partial, Q, index(size_b), index(size_t), index(size_h), index(size_i), index(product_chunks(1, size_b*size_t, size_h*2*size_i, size_c)),))
            self.launch(module, "forward_K", (blocks(size_b*size_t, 64, 2**31)*blocks(size_g*2*size_i, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_g*2*size_i, size_c), 1), 1), (256, 1, 1),
                        (wk, N1, K, K_partial, index(size_b), index(size_t), index(size_c), index(size_i), index(size_g),))
            self.launch(module, "forward_K_chunks", (blocks(size_b*size_t*size_g*2*size_i, 256)*min(product_chunks(1, size_b*size_t, size_g*2*size_i, size_c), 1), 1, 1), (256, 1, 1),
                        (K_partial, K, index(size_b), index(size_t), index(size_i), index(size_g), index(product_chunks(1, size_b*size_t, size_g*2*size_i, size_c)),))
            self.launch(module, "forward_V", (blocks(size_b*size_t, 64, 2**31)*blocks(size_g*size_d, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_g*size_d, size_c), 1), 1), (256, 1, 1),
                        (wv, N1, V, V_partial, index(size_b), index(size_t), index(size_c), index(size_g), index(size_d),))
            self.launch(module, "forward_V_chunks", (blocks(size_b*size_t*size_g*size_d, 256)*min(product_chunks(1, size_b*size_t, size_g*size_d, size_c), 1), 1, 1), (256, 1, 1),
                        (V_partial, V, index(size_b), index(size_t), index(size_g), index(size_d), index(product_chunks(1, size_b*size_t, size_g*size_d, size_c)),))
            self.launch(module, "forward_Qr", (blocks(size_b*size_h*size_t*2*size_i, 1024), 1, 1), (256, 1, 1),
                        (C, S, Q, Qr, index(size_b), index(size_t), index(size_h), index(size_i),))
            self.launch(module, "forward_Kr", (blocks(size_b*size_g*size_t*2*size_i, 1024), 1, 1), (256, 1, 1),
                        (C, S, K, Kr, index(size_b), index(size_t), index(size_i), index(size_g),))
            self.launch(module, "forward_P_lse_O", (blocks(size_t, 64, 2**31)*blocks(max(size_d, 1), 64, 2**31)*(size_b*size_h), 1, 1), (256, 1, 1),
                        (V, Qr, Kr, P_lse, O, index(size_b), index(size_t), index(size_h), index(size_i), index(size_g), index(size_d), index(blocks(max(size_d, 1), 64, 2**31)),))
            self.launch(module, "forward_R", (blocks(size_b*size_t, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_c, size_h*size_d), 1), 1), (256, 1, 1),
                        (X, wo, O, R, R_sum_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d),))
            self.launch(module, "forward_R_chunks", (blocks(size_b*size_t*size_c, 256)*min(product_chunks(1, size_b*size_t, size_c, size_h*size_d), 1), 1, 1), (256, 1, 1),
                        (R_sum_partial, X, R, index(size_b), index(size_t), index(size_c), index(product_chunks(1, size_b*size_t, size_c, size_h*size_d)),))
            self.launch(module, "forward_N2_in_N2", (row_blocks(size_b*size_t, size_c, 4), 1, 1), (*row_threads(size_c, 4), 1),
                        (ln2w, R, N2_in, N2, index(size_b), index(size_t), index(size_c), index(row_shared(size_c, 4)),), row_shared(size_c, 4))
            self.launch(module, "forward_F_s1", (blocks(size_b*size_t, 64, 2**31)*blocks(size_f, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_f, size_c), 1), 1), (256, 1, 1),
                        (w1, N2, F, s1, F_partial, index(size_b), index(size_t), index(size_c), index(size_f),))
            self.launch(module, "forward_F_s1_chunks", (blocks(size_b*size_t*size_f, 256)*min(product_chunks(1, size_b*size_t, size_f, size_c), 1), 1, 1), (256, 1, 1),
                        (F_partial, F, s1, index(size_b), index(size_t), index(size_f), index(product_chunks(1, size_b*size_t, size_f, size_c)),))
            self.launch(module, "forward_U", (blocks(size_b*size_t, 64, 2**31)*blocks(size_f, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_f, size_c), 1), 1), (256, 1, 1),
                        (w3, N2, U, U_partial, index(size_b), index(size_t), index(size_c), index(size_f),))
            self.launch(module, "forward_U_chunks", (blocks(size_b*size_t*size_f, 256)*min(product_chunks(1, size_b*size_t, size_f, size_c), 1), 1, 1), (256, 1, 1),
                        (U_partial, U, index(size_b), index(size_t), index(size_f), index(product_chunks(1, size_b*size_t, size_f, size_c)),))
            self.launch(module, "forward_Y", (blocks(size_b*size_t, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_c, size_f), 1), 1), (256, 1, 1),
                        (w2, R, F, U, s1, Y, Y_sum_partial, index(size_b), index(size_t), index(size_c), index(size_f),))
            self.launch(module, "forward_Y_chunks", (blocks(size_b*size_t*size_c, 256)*min(product_chunks(1, size_b*size_t, size_c, size_f), 1), 1, 1), (256, 1, 1),
                        (Y_sum_partial, R, Y, index(size_b), index(size_t), index(size_c), index(product_chunks(1, size_b*size_t, size_c, size_f)),))
        return Y, N1_in, Q, K, V, Qr, Kr, P_lse, O, R, N2_in, F, U

    def llama_block_backward(self, dY, X, ln1w, wq, wk, wv, C, S, wo, ln2w, w1, w3, w2, N1_in, Q, K, V, Qr, Kr, P_lse, O, R, N2_in, F, U, *, out=None, accumulate=False, stream=None):
        """The gradients of llama_block.

        Args:
            dY: [b, t, c], float32
            X: [b, t, c], float32
            ln1w: [c], float32
            wq: [h, 2, i, c], float32
            wk: [g, 2, i, c], float32
            wv: [g, d, c], float32
            C: [t, i], float32
            S: [t, i], float32
            wo: [c, h, d], float32
            ln2w: [c], float32
            w1: [f, c], float32
            w3: [f, c], float32
            w2: [c, f], float32
            N1_in: [b, t], float32
            Q: [b, h, t, 2, i], float32
            K: [b, g, t, 2, i], float32
            V: [b, g, t, d], float32
            Qr: [b, h, t, 2, i], float32
            Kr: [b, g, t, 2, i], float32
            P_lse: [b, h, t], float32
            O: [b, h, t, d], float32
            R: [b, t, c], float32
            N2_in: [b, t], float32
            F: [b, t, f], float32
            U: [b, t, f], float32
            out: gradient arrays to write into, in the order they are returned
            accumulate: add to what `out` holds

        Returns:
            dX: [b, t, c]
            dln1w: [c]
            dwq: [h, 2, i, c]
            dwk: [g, 2, i, c]
            dwv: [g, d, c]
            dC: [t, i]
            dS: [t, i]
            dwo: [c, h, d]
            dln2w: [c]
            dw1: [f, c]
            dw3: [f, c]
            dw2: [c, f]
        """
        cp, dtypes = self.cp, self.dtypes
        size_b, size_t, size_c = self.check("dY", dY, "T", (None, None, None))
        self.check("X", X, "T", (size_b, size_t, size_c))
        self.check("ln1w", ln1w, "T", (size_c,))
        size_h, _, size_i, _ = self.check("wq", wq, "T", (None, 2, None, size_c))
        size_g, _, _, _ = self.check("wk", wk, "T", (None, 2, size_i, size_c))
        _, size_d, _ = self.check("wv", wv, "T", (size_g, None, size_c))
        self.check("C", C, "T", (size_t, size_i))
        self.check("S", S, "T", (size_t, size_i))
        self.check("wo", wo, "T", (size_c, size_h, size_d))
        self.check("ln2w", ln2w, "T", (size_c,))
        size_f, _ = self.check("w1", w1, "T", (None, size_c))
        self.check("w3", w3, "T", (size_f, size_c))
        self.check("w2", w2, "T", (size_c, size_f))
        self.check("N1_in", N1_in, "compute", (size_b, size_t))
        self.check("Q", Q, "compute", (size_b, size_h, size_t, 2, size_i))
        self.check("K", K, "compute", (size_b, size_g, size_t, 2, size_i))
        self.check("V", V, "compute", (size_b, size_g, size_t, size_d))
        self.check("Qr", Qr, "compute", (size_b, size_h, size_t, 2, size_i))
        self.check("Kr", Kr, "compute", (size_b, size_g, size_t, 2, size_i))
        self.check("P_lse", P_lse, "compute", (size_b, size_h, size_t))
        self.check("O", O, "compute", (size_b, size_h, size_t, size_d))
        self.check("R", R, "compute", (size_b, size_t, size_c))
        self.check("N2_in", N2_in, "compute", (size_b, size_t))
        self.check("F", F, "compute", (size_b, size_t, size_f))
        self.check("U", U, "compute", (size_b, size_t, size_f))
        with stream or nullcontext():
            module, index = self.module(max(1, column_chunks(size_b*size_g*2)*size_t*size_i, column_chunks(size_b*size_h*2)*size_t*size_i, product_chunks(1, size_b*size_t, size_c, size_f)*size_b*size_t*size_c, product_chunks(1, size_b*size_t, size_c, size_g*2*size_i)*size_b*size_t*size_c, product_chunks(1, size_b*size_t, size_c, size_g*size_d)*size_b*size_t*size_c, product_chunks(1, size_b*size_t, size_c, size_h*2*size_i)*size_b*size_t*size_c, product_chunks(1, size_b*size_t, size_f, size_c)*size_b*size_t*size_f, product_chunks(1, size_b*size_t, size_h*size_d, size_c)*size_b*size_t*size_h*size_d, product_chunks(1, size_c, size_f, size_b*size_t)*size_c*size_f, product_chunks(1, size_c, size_h*size_d, size_b*size_t)*size_c*size_h*size_d, product_chunks(1, size_f, size_c, size_b*size_t)*size_f*size_c, product_chunks(1, size_g*2*size_i, size_c, size_b*size_t)*size_g*2*size_i*size_c, product_chunks(1, size_g*size_d, size_c, size_b*size_t)*size_g*size_d*size_c, product_chunks(1, size_h*2*size_i, size_c, size_b*size_t)*size_h*2*size_i*size_c, row_chunks(size_b*size_t, size_c, 13)*size_c, size_b*size_g*size_t*2*size_i, size_b*size_g*size_t*size_d, size_b*size_h*size_t, size_b*size_h*size_t*2*size_i, size_b*size_h*size_t*size_d, size_b*size_t, size_b*size_t*size_c, size_b*size_t*size_f, size_b*size_t*size_h*size_d, size_c, size_c*size_f, size_c*size_h*size_d, size_d, size_f*size_c, size_g*2*size_i*size_c, size_g*size_d*size_c, size_h*2*size_i*size_c, size_t*size_i), ())
            if out is None:
                if accumulate:
                    raise ValueError("accumulate=True needs out=: the arrays to add to")
                dX = cp.empty((size_b, size_t, size_c), dtypes["T"])
                dln1w = cp.empty((size_c,), dtypes["T"])
                dwq = cp.empty((size_h, 2, size_i, size_c), dtypes["T"])
                dwk = cp.empty((size_g, 2, size_i, size_c), dtypes["T"])
                dwv = cp.empty((size_g, size_d, size_c), dtypes["T"])
                dC = cp.empty((size_t, size_i), dtypes["T"])
                dS = cp.empty((size_t, size_i), dtypes["T"])
                dwo = cp.empty((size_c, size_h, size_d), dtypes["T"])
                dln2w = cp.empty((size_c,), dtypes["T"])
                dw1 = cp.empty((size_f, size_c), dtypes["T"])
                dw3 = cp.empty((size_f, size_c), dtypes["T"])
                dw2 = cp.empty((size_c, size_f), dtypes["T"])
            else:
                dX, dln1w, dwq, dwk, dwv, dC, dS, dwo, dln2w, dw1, dw3, dw2 = out
                self.check("dX", dX, "T", (size_b, size_t, size_c))
                self.check("dln1w", dln1w, "T", (size_c,))
                self.check("dwq", dwq, "T", (size_h, 2, size_i, size_c))
                self.check("dwk", dwk, "T", (size_g, 2, size_i, size_c))
                self.check("dwv", dwv, "T", (size_g, size_d, size_c))
                self.check("dC", dC, "T", (size_t, size_i))
                self.check("dS", dS, "T", (size_t, size_i))
                self.check("dwo", dwo, "T", (size_c, size_h, size_d))
                self.check("dln2w", dln2w, "T", (size_c,))
                self.check("dw1", dw1, "T", (size_f, size_c))
                self.check("dw3", dw3, "T", (size_f, size_c))
                self.check("dw2", dw2, "T", (size_c, size_f))
            g1 = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            dU = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            dF = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            dN2_sum = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dN2 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dR = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dO = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            P_row = cp.empty((size_b, size_h, size_t), dtypes["compute"])
            dKr = cp.empty((size_b, size_g, size_t, 2, size_i), dtypes["compute"])
            dV = cp.empty((size_b, size_g, size_t, size_d), dtypes["compute"])
            dQr = cp.empty((size_b, size_h, size_t, 2, size_i), dtypes["compute"])
            dN1_sum = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dK = cp.empty((size_b, size_g, size_t, 2, size_i), dtypes["compute"])
            dC_sum = cp.empty((size_t, size_i), dtypes["compute"])
            dS_sum = cp.empty((size_t, size_i), dtypes["compute"])
            dN1_sum2 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dQ = cp.empty((size_b, size_h, size_t, 2, size_i), dtypes["compute"])
            dN1 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            r_partial = cp.empty((product_chunks(1, size_b*size_t, size_f, size_c), size_b*size_t, size_f), dtypes["compute"])
            dN2_sum_partial = cp.empty((product_chunks(1, size_b*size_t, size_c, size_f), size_b*size_t, size_c), dtypes["compute"])
            dN2_sum2_partial = cp.empty((product_chunks(1, size_b*size_t, size_c, size_f), size_b*size_t, size_c), dtypes["compute"])
            dln2w_partial = cp.empty((row_chunks(size_b*size_t, size_c, 13), size_c), dtypes["compute"])
            dO_partial = cp.empty((product_chunks(1, size_b*size_t, size_h*size_d, size_c), size_b*size_t, size_h*size_d), dtypes["compute"])
            dwo_partial = cp.empty((product_chunks(1, size_c, size_h*size_d, size_b*size_t), size_c, size_h*size_d), dtypes["compute"])
            dw1_sum_partial = cp.empty((product_chunks(1, size_f, size_c, size_b*size_t), size_f, size_c), dtypes["compute"])
            dw3_sum_partial = cp.empty((product_chunks(1, size_f, size_c, size_b*size_t), size_f, size_c), dtypes["compute"])
            dw2_partial = cp.empty((product_chunks(1, size_c, size_f, size_b*size_t), size_c, size_f), dtypes["compute"])
            dwv_sum_partial = cp.empty((product_chunks(1, size_g*size_d, size_c, size_b*size_t), size_g*size_d, size_c), dtypes["compute"])
            dN1_sum_partial = cp.empty((product_chunks(1, size_b*size_t, size_c, size_g*size_d), size_b*size_t, size_c), dtypes["compute"])
            dC_sum_partial = cp.empty((column_chunks(size_b*size_g*2), size_t*size_i), dtypes["compute"])
            dS_sum_partial = cp.empty((column_chunks(size_b*size_g*2), size_t*size_i), dtypes["compute"])
            dwk_sum_partial = cp.empty((product_chunks(1, size_g*2*size_i, size_c, size_b*size_t), size_g*2*size_i, size_c), dtypes["compute"])
            dN1_sum2_partial = cp.empty((product_chunks(1, size_b*size_t, size_c, size_g*2*size_i), size_b*size_t, size_c), dtypes["compute"])
            dC_sum2_partial = cp.empty((column_chunks(size_b*size_h*2), size_t*size_i), dtypes["compute"])
            dS_sum2_partial = cp.empty((column_chunks(size_b*size_h*2), size_t*size_i), dtypes["compute"])
            dwq_sum_partial = cp.empty((product_chunks(1, size_h*2*size_i, size_c, size_b*size_t), size_h*2*size_i, size_c), dtypes["compute"])
            dN1_sum3_partial = cp.empty((product_chunks(1, size_b*size_t, size_c, size_h*2*size_i), size_b*size_t, size_c), dtypes["compute"])
            dln1w_partial = cp.empty((row_chunks(size_b*size_t, size_c, 13), size_c), dtypes["compute"])
            self.launch(module, "backward_g1", (blocks(size_b*size_t*size_f, 1024), 1, 1), (256, 1, 1),
                        (F, g1, index(size_b), index(size_t), index(size_f),))
            self.launch(module, "backward_dU_dF", (blocks(size_b*size_t, 64, 2**31)*blocks(size_f, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_f, size_c), 1), 1), (256, 1, 1),
                        (w2, F, U, dY, g1, dU, dF, r_partial, index(size_b), index(size_t), index(size_c), index(size_f),))
            self.launch(module, "backward_dU_dF_chunks", (blocks(size_b*size_t*size_f, 256)*min(product_chunks(1, size_b*size_t, size_f, size_c), 1), 1, 1), (256, 1, 1),
                        (r_partial, F, U, g1, dU, dF, index(size_b), index(size_t), index(size_f), index(product_chunks(1, size_b*size_t, size_f, size_c)),))
            self.launch(module, "backward_dN2_sum", (blocks(size_b*size_t, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_c, size_f), 1), 1), (256, 1, 1),
                        (w1, dF, dN2_sum, dN2_sum_partial, index(size_b), index(size_t), index(size_c), index(size_f),))
            self.launch(module, "backward_dN2_sum_chunks", (blocks(size_b*size_t*size_c, 256)*min(product_chunks(1, size_b*size_t, size_c, size_f), 1), 1, 1), (256, 1, 1),
                        (dN2_sum_partial, dN2_sum, index(size_b), index(size_t), index(size_c), index(product_chunks(1, size_b*size_t, size_c, size_f)),))
            self.launch(module, "backward_dN2", (blocks(size_b*size_t, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_c, size_f), 1), 1), (256, 1, 1),
                        (w3, dU, dN2_sum, dN2, dN2_sum2_partial, index(size_b), index(size_t), index(size_c), index(size_f),))
            self.launch(module, "backward_dN2_chunks", (blocks(size_b*size_t*size_c, 256)*min(product_chunks(1, size_b*size_t, size_c, size_f), 1), 1, 1), (256, 1, 1),
                        (dN2_sum2_partial, dN2_sum, dN2, index(size_b), index(size_t), index(size_c), index(product_chunks(1, size_b*size_t, size_c, size_f)),))
            self.launch(module, "backward_dR_dln2w", (row_chunks(size_b*size_t, size_c, 13), 1, 1), (*row_threads(size_c, 12), 1),
                        (ln2w, R, N2_in, dY, dN2, dR, dln2w_partial, index(size_b), index(size_t), index(size_c), index(row_shared(size_c, 12)),), row_shared(size_c, 12))
            self.launch(module, "backward_dR_dln2w_sum", (blocks(size_c, 32, 2**31), 1, 1), (32, 8, 1),
                        (dln2w_partial, dln2w, index(size_c), index(row_chunks(size_b*size_t, size_c, 13)), cp.int32(accumulate),))
            self.launch(module, "backward_dO", (blocks(size_b*size_t, 64, 2**31)*blocks(size_h*size_d, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_h*size_d, size_c), 1), 1), (256, 1, 1),
                        (wo, dR, dO, dO_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d),))
            self.launch(module, "backward_dO_chunks", (blocks(size_b*size_t*size_h*size_d, 256)*min(product_chunks(1, size_b*size_t, size_h*size_d, size_c), 1), 1, 1), (256, 1, 1),
                        (dO_partial, dO, index(size_b), index(size_t), index(size_h), index(size_d), index(product_chunks(1, size_b*size_t, size_h*size_d, size_c)),))
            self.launch(module, "backward_P_row", (row_blocks(size_b*size_h*size_t, size_d), 1, 1), (*row_threads(size_d), 1),
                        (O, dO, P_row, index(size_b), index(size_t), index(size_h), index(size_d),))
            self.launch(module, "backward_dwo", (blocks(size_c, 64, 2**31)*blocks(size_h*size_d, 64, 2**31)*(1), max(product_chunks(1, size_c, size_h*size_d, size_b*size_t), 1), 1), (256, 1, 1),
                        (O, dR, dwo, dwo_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_d), cp.int32(accumulate),))
            self.launch(module, "backward_dwo_chunks", (blocks(size_c*size_h*size_d, 256)*min(product_chunks(1, size_c, size_h*size_d, size_b*size_t), 1), 1, 1), (256, 1, 1),
                        (dwo_partial, dwo, index(size_c), index(size_h), index(size_d), index(product_chunks(1, size_c, size_h*size_d, size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dw1", (blocks(size_f, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_f, size_c, size_b*size_t), 1), 1), (256, 1, 1),
                        (ln2w, R, N2_in, dF, dw1, dw1_sum_partial, index(size_b), index(size_t), index(size_c), index(size_f), cp.int32(accumulate),))
            self.launch(module, "backward_dw1_chunks", (blocks(size_f*size_c, 256)*min(product_chunks(1, size_f, size_c, size_b*size_t), 1), 1, 1), (256, 1, 1),
                        (dw1_sum_partial, ln2w, dw1, index(size_c), index(size_f), index(product_chunks(1, size_f, size_c, size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dw3", (blocks(size_f, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_f, size_c, size_b*size_t), 1), 1), (256, 1, 1),
                        (ln2w, R, N2_in, dU, dw3, dw3_sum_partial, index(size_b), index(size_t), index(size_c), index(size_f), cp.int32(accumulate),))
            self.launch(module, "backward_dw3_chunks", (blocks(size_f*size_c, 256)*min(product_chunks(1, size_f, size_c, size_b*size_t), 1), 1, 1), (256, 1, 1),
                        (dw3_sum_partial, ln2w, dw3, index(size_c), index(size_f), index(product_chunks(1, size_f, size_c, size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dw2", (blocks(size_c, 64, 2**31)*blocks(size_f, 64, 2**31)*(1), max(product_chunks(1, size_c, size_f, size_b*size_t), 1), 1), (256, 1, 1),
                        (U, dY, g1, dw2, dw2_partial, index(size_b), index(size_t), index(size_c), index(size_f), cp.int32(accumulate),))
            self.launch(module, "backward_dw2_chunks", (blocks(size_c*size_f, 256)*min(product_chunks(1, size_c, size_f, size_b*size_t), 1), 1, 1), (256, 1, 1),
                        (dw2_partial, dw2, index(size_c), index(size_f), index(product_chunks(1, size_c, size_f, size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dKr_dV", (blocks(size_t, 64, 2**31)*blocks(max(2*size_i, size_d, 1), 64, 2**31)*(size_b*size_g), 1, 1), (256, 1, 1),
                        (C, S, Q, V, Qr, Kr, P_lse, dO, P_row, dKr, dV, index(size_b), index(size_t), index(size_h), index(size_i), index(size_g), index(size_d), index(blocks(max(2*size_i, size_d, 1), 64, 2**31)),))
            self.launch(module, "backward_dwv", (blocks(size_g*size_d, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_g*size_d, size_c, size_b*size_t), 1), 1), (256, 1, 1),
                        (X, ln1w, N1_in, dV, dwv, dwv_sum_partial, index(size_b), index(size_t), index(size_c), index(size_g), index(size_d), cp.int32(accumulate),))
            self.launch(module, "backward_dwv_chunks", (blocks(size_g*size_d*size_c, 256)*min(product_chunks(1, size_g*size_d, size_c, size_b*size_t), 1), 1, 1), (256, 1, 1),
                        (dwv_sum_partial, ln1w, dwv, index(size_c), index(size_g), index(size_d), index(product_chunks(1, size_g*size_d, size_c, size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dQr", (blocks(size_t, 64, 2**31)*blocks(max(2*size_i, 1), 64, 2**31)*(size_b*size_h), 1, 1), (256, 1, 1),
                        (C, S, K, V, Qr, Kr, P_lse, dO, P_row, dQr, index(size_b), index(size_t), index(size_h), index(size_i), index(size_g), index(size_d), index(blocks(max(2*size_i, 1), 64, 2**31)),))
            self.launch(module, "backward_dN1_sum", (blocks(size_b*size_t, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_c, size_g*size_d), 1), 1), (256, 1, 1),
                        (wv, dV, dN1_sum, dN1_sum_partial, index(size_b), index(size_t), index(size_c), index(size_g), index(size_d),))
            self.launch(module, "backward_dN1_sum_chunks", (blocks(size_b*size_t*size_c, 256)*min(product_chunks(1, size_b*size_t, size_c, size_g*size_d), 1), 1, 1), (256, 1, 1),
                        (dN1_sum_partial, dN1_sum, index(size_b), index(size_t), index(size_c), index(product_chunks(1, size_b*size_t, size_c, size_g*size_d)),))
            self.launch(module, "backward_dK_dC_sum_dS_sum", (blocks(size_t*size_i, 32, 2**31), column_chunks(size_b*size_g*2), 1), (32, 8, 1),
                        (C, S, K, dKr, dK, dC_sum, dS_sum, dC_sum_partial, dS_sum_partial, index(size_b), index(size_t), index(size_i), index(size_g), index(column_chunks(size_b*size_g*2)),))
            self.launch(module, "backward_dK_dC_sum_dS_sum_sum", (blocks(size_t*size_i, 32, 2**31)*(column_chunks(size_b*size_g*2) > 1), 1, 1), (32, 8, 1),
                        (dC_sum_partial, dS_sum_partial, dC_sum, dS_sum, index(size_t), index(size_i), index(column_chunks(size_b*size_g*2)),))
            self.launch(module, "backward_dwk", (blocks(size_g*2*size_i, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_g*2*size_i, size_c, size_b*size_t), 1), 1), (256, 1, 1),
                        (X, ln1w, N1_in, dK, dwk, dwk_sum_partial, index(size_b), index(size_t), index(size_c), index(size_i), index(size_g), cp.int32(accumulate),))
            self.launch(module, "backward_dwk_chunks", (blocks(size_g*2*size_i*size_c, 256)*min(product_chunks(1, size_g*2*size_i, size_c, size_b*size_t), 1), 1, 1), (256, 1, 1),
                        (dwk_sum_partial, ln1w, dwk, index(size_c), index(size_i), index(size_g), index(product_chunks(1, size_g*2*size_i, size_c, size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dN1_sum2", (blocks(size_b*size_t, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_c, size_g*2*size_i), 1), 1), (256, 1, 1),
                        (wk, dK, dN1_sum2, dN1_sum2_partial, index(size_b), index(size_t), index(size_c), index(size_i), index(size_g),))
            self.launch(module, "backward_dN1_sum2_chunks", (blocks(size_b*size_t*size_c, 256)*min(product_chunks(1, size_b*size_t, size_c, size_g*2*size_i), 1), 1, 1), (256, 1, 1),
                        (dN1_sum2_partial, dN1_sum2, index(size_b), index(size_t), index(size_c), index(product_chunks(1, size_b*size_t, size_c, size_g*2*size_i)),))
            self.launch(module, "backward_dQ_dC_dS", (blocks(size_t*size_i, 32, 2**31), column_chunks(size_b*size_h*2), 1), (32, 8, 1),
                        (C, S, Q, dQr, dC_sum, dS_sum, dC, dS, dQ, dC_sum2_partial, dS_sum2_partial, index(size_b), index(size_t), index(size_h), index(size_i), index(column_chunks(size_b*size_h*2)), cp.int32(accumulate),))
            self.launch(module, "backward_dQ_dC_dS_sum", (blocks(size_t*size_i, 32, 2**31)*(column_chunks(size_b*size_h*2) > 1), 1, 1), (32, 8, 1),
                        (dC_sum2_partial, dS_sum2_partial, dC_sum, dS_sum, dC, dS, index(size_t), index(size_i), index(column_chunks(size_b*size_h*2)), cp.int32(accumulate),))
            self.launch(module, "backward_dwq", (blocks(size_h*2*size_i, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_h*2*size_i, size_c, size_b*size_t), 1), 1), (256, 1, 1),
                        (X, ln1w, N1_in, dQ, dwq, dwq_sum_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_i), cp.int32(accumulate),))
            self.launch(module, "backward_dwq_chunks", (blocks(size_h*2*size_i*size_c, 256)*min(product_chunks(1, size_h*2*size_i, size_c, size_b*size_t), 1), 1, 1), (256, 1, 1),
                        (dwq_sum_partial, ln1w, dwq, index(size_c), index(size_h), index(size_i), index(product_chunks(1, size_h*2*size_i, size_c, size_b*size_t)), cp.int32(accumulate),))
            self.launch(module, "backward_dN1", (blocks(size_b*size_t, 64, 2**31)*blocks(size_c, 64, 2**31)*(1), max(product_chunks(1, size_b*size_t, size_c, size_h*2*size_i), 1), 1), (256, 1, 1),
                        (wq, dN1_sum, dN1_sum2, dQ, dN1, dN1_sum3_partial, index(size_b), index(size_t), index(size_c), index(size_h), index(size_i),))
            self.launch(module, "backward_dN1_chunks", (blocks(size_b*size_t*size_c, 256)*min(product_chunks(1, size_b*size_t, size_c, size_h*2*size_i), 1), 1, 1), (256, 1, 1),
                        (dN1_sum3_partial, dN1_sum, dN1_sum2, dN1, index(size_b), index(size_t), index(size_c), index(product_chunks(1, size_b*size_t, size_c, size_h*2*size_i)),))
            self.launch(module, "backward_dX_dln1w", (row_chunks(size_b*size_t, size_c, 13), 1, 1), (*row_threads(size_c, 12), 1),
                        (X, ln1w, N1_in, dR, dN1, dX, dln1w_partial, index(size_b), index(size_t), index(size_c), index(row_shared(size_c, 12)), cp.int32(accumulate),), row_shared(size_c, 12))
            self.launch(module, "backward_dX_dln1w_sum", (blocks(size_c, 32, 2**31), 1, 1), (32, 8, 1),
                        (dln1w_partial, dln1w, index(size_c), index(row_chunks(size_b*size_t, size_c, 13)), cp.int32(accumulate),))
        return dX, dln1w, dwq, dwk, dwv, dC, dS, dwo, dln2w, dw1, dw3, dw2

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


def llama_block_forward(*args, **options):
    """`Kernels.llama_block_forward` on CuPy."""
    return _default().llama_block_forward(*args, **options)


def llama_block_backward(*args, **options):
    """`Kernels.llama_block_backward` on CuPy."""
    return _default().llama_block_backward(*args, **options)


@cache
def _default():
    return load()
