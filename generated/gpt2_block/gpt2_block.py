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

    dX = dR + diag(rstd) (g − g 1 1ᵀ / |c| − diag((g ∘ xhat) 1) xhat / |c|)
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
    where
    rstd[b,t] = rsqrt(eps + V1[b,t])
    xhat[b,t,c] = rstd[b,t]*(X[b,t,c] - M1[b,t])
    rstd1[b,t] = rsqrt(eps + V2[b,t])
    rhat[b,t,c] = rstd1[b,t]*(R[b,t,c] - M2[b,t])
    t1[b,t,f] = tanh(sqrt(2)*(F[b,t,f] + 0.044715*F[b,t,f]**3)/sqrt(pi))
    dG[b,t,f] = sum(c, dY[b,t,c]*fcprojw[c,f])
    dF[b,t,f] = 0.5*dG[b,t,f]*(t1[b,t,f] + F[b,t,f]*sqrt(2)*(1 - t1[b,t,f]**2)*(0.134145*F[b,t,f]**2 + 1)/sqrt(pi) + 1)
    dN2[b,t,c] = sum(f, dF[b,t,f]*fcw[f,c])
    g1[b,t,c] = dN2[b,t,c]*ln2w[c]
    dR[b,t,c] = dY[b,t,c] + rstd1[b,t]*(g1[b,t,c] - mean(l, g1[b,t,l]) - rhat[b,t,c]*mean(l, g1[b,t,l]*rhat[b,t,l]))
    dO[b,h,t,d] = sum(c, attprojw[c,h,d]*dR[b,t,c])
    dP[b,h,t,s] = sum(d, U[b,h,s,d]*dO[b,h,t,d])
    dS_sum[b,h,t,s] = P[b,h,t,s]*(dP[b,h,t,s] - sum(d, O[b,h,t,d]*dO[b,h,t,d]))/sqrt(size(d))
    dU[b,h,t,d] = sum(s, P[b,h,s,t]*dO[b,h,s,d])
    dK[b,h,t,d] = sum(s, Q[b,h,s,d]*dS_sum[b,h,s,t])
    dQ[b,h,t,d] = sum(s, K[b,h,s,d]*dS_sum[b,h,t,s])
    dN1[b,t,c] = sum(h, d, dK[b,h,t,d]*wk[h,d,c]) + sum(h, d, dQ[b,h,t,d]*wq[h,d,c]) + sum(h, d, dU[b,h,t,d]*wv[h,d,c])
    g[b,t,c] = dN1[b,t,c]*ln1w[c]

Saved for the backward: M1, V1, Q, K, U, P_lse, O, R, M2, V2, F.  Computed again: rstd, xhat, N1, rstd1, rhat, N2, t1, G, P, S, S_sum, dS_sum.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dX over dY, dln1w over ln2w, dln1w over ln2b, dln1b over ln2w, dln1b over ln2b, dwq over wq, dwq over wk, dwq over wv, dattprojw over attprojw, dattprojb over ln2w, dattprojb over ln2b, dln2w over ln2w, dln2w over ln2b, dln2b over ln2w, dln2b over ln2b, dfcw over fcw, dfcprojw over fcprojw, dfcprojb over ln2w, dfcprojb over ln2b.
A sum of 1024 products or more with few tiles of results is split in chunks, added in order.

Made by `derive emit gpt2_block -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("gpt2_block.cu")


def load(cp=None):
    """The kernels on CuPy, or on any module with its interface."""
    if cp is None:
        import cupy as cp
    return Kernels(cp)


SHORT = 1024  # a sum of fewer terms is never split


def blocks(count, threads, most=65535):
    """How many blocks cover `count` elements; the kernels stride over what is left."""
    return min(-(-count // threads), most)


def column_chunks(rows):
    """Chunks of rows that are reduced apart: 256 rows each, a few dozen a thread, or 1024 chunks of more."""
    return max(1, min(-(-rows // 256), 1024))


def tiles(batches, rows, columns, side=64):
    """Blocks of `side` by `side` results each."""
    return batches * -(-rows // side) * -(-columns // side)


def product_chunks(batches, rows, columns, length):
    """Chunks of 256 terms or more that a sum of `length` terms is split into where its tiles are too few for a GPU,
    until there are some 2048 blocks; 0: it is not."""
    count = tiles(batches, rows, columns)
    return 0 if length < SHORT or not 0 < count < 1024 else min(length // 256, -(-2048 // count))


def row_threads(count, kept=0, lanes=1, each=16, most=128):
    """Threads along a row of `count` elements, which each take `lanes` at a time, and rows a block: a warp or less
    along a row, more of them while one has more than `each` elements; `most` threads a block if rows are short, fewer
    where `kept` bytes an element would not fit in shared memory."""
    along = 1
    while along < 512 and along * lanes < count and (along < 32 or each * along < count):
        along *= 2
    rows = max(most // along, 1)
    while rows > 1 and -(-count // (along * lanes)) * along * lanes * rows * kept > 96 * 1024:
        rows //= 2
    return along, rows


def row_blocks(rows, count, *cut):
    """Blocks that hold `rows` rows of `count` elements, cut as `row_threads` does it."""
    return -(-rows // row_threads(count, *cut)[1])


def row_chunks(rows, count, share):
    """Blocks that go over `rows` rows and keep sums over them: `share` rows each or more, since the partial
    results of every block pass through memory too; fewer would leave parts of a large GPU idle."""
    return max(1, min(-(-rows // share), row_blocks(rows, count), 1024))


def row_shared(count, kept, lanes=1, *cut):
    """Bytes of shared memory in which a block keeps `kept` bytes an element; 0 if not even one row fits."""
    along, rows = row_threads(count, kept, lanes, *cut)
    size = -(-count // (along * lanes)) * along * lanes * rows * kept
    return size if size <= 96 * 1024 else 0


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

    def gpt2_block_forward(self, X, ln1w, ln1b, wq, bq, wk, bk, wv, bv, attprojw, attprojb, ln2w, ln2b, fcw,
                           fcb, fcprojw, fcprojb, *, stream=None):
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
            Q_sum_chunks = product_chunks(1, size_b*size_t, size_h*size_d, size_c)
            R_sum_chunks = product_chunks(1, size_b*size_t, size_c, size_h*size_d)
            F_sum_chunks = product_chunks(1, size_b*size_t, size_f, size_c)
            Y_sum_chunks = product_chunks(1, size_b*size_t, size_c, size_f)
            count = max(Y_sum_chunks*size_b*size_t*size_c, R_sum_chunks*size_b*size_t*size_c,
                        F_sum_chunks*size_b*size_t*size_f, Q_sum_chunks*size_b*size_t*size_h*size_d,
                        size_b*size_h*size_t, size_b*size_t*size_h*size_d, size_b*size_t,
                        size_b*size_t*size_c, size_b*size_t*size_f, size_c, size_f*size_c,
                        size_h*size_d*size_c, size_f, size_h*size_d)
            launch = partial(self.launch, *self.module(count, ()))
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
            shared = row_shared(size_c, 4, 4)
            launch("forward_M1_V1_N1", (row_blocks(size_b*size_t, size_c, 4, 4),), row_threads(size_c, 4, 4),
                   (X, ln1w, ln1b, M1, V1, N1), (size_b, size_t, size_c, shared), shared)

            Q_sum_partial = cp.empty((Q_sum_chunks, size_b*size_t, size_h*size_d), dtypes["compute"])
            launch("forward_Q", (tiles(1, size_b*size_t, size_h*size_d), max(Q_sum_chunks, 1)), (256,),
                   (wq, bq, N1, Q, Q_sum_partial), (size_b, size_t, size_c, size_h, size_d))
            if Q_sum_chunks:  # the sum was split: add up its parts
                launch("forward_Q_chunks", (blocks(size_b*size_t*size_h*size_d, 256),), (256,),
                       (Q_sum_partial, bq, Q), (size_b, size_t, size_h, size_d, Q_sum_chunks))
            del Q_sum_partial

            K_sum_partial = cp.empty((Q_sum_chunks, size_b*size_t, size_h*size_d), dtypes["compute"])
            launch("forward_K", (tiles(1, size_b*size_t, size_h*size_d), max(Q_sum_chunks, 1)), (256,),
                   (wk, bk, N1, K, K_sum_partial), (size_b, size_t, size_c, size_h, size_d))
            if Q_sum_chunks:  # the sum was split: add up its parts
                launch("forward_K_chunks", (blocks(size_b*size_t*size_h*size_d, 256),), (256,),
                       (K_sum_partial, bk, K), (size_b, size_t, size_h, size_d, Q_sum_chunks))
            del K_sum_partial

            U_sum_partial = cp.empty((Q_sum_chunks, size_b*size_t, size_h*size_d), dtypes["compute"])
            launch("forward_U", (tiles(1, size_b*size_t, size_h*size_d), max(Q_sum_chunks, 1)), (256,),
                   (wv, bv, N1, U, U_sum_partial), (size_b, size_t, size_c, size_h, size_d))
            del N1
            if Q_sum_chunks:  # the sum was split: add up its parts
                launch("forward_U_chunks", (blocks(size_b*size_t*size_h*size_d, 256),), (256,),
                       (U_sum_partial, bv, U), (size_b, size_t, size_h, size_d, Q_sum_chunks))
            del U_sum_partial

            launch("forward_P_lse_O", (tiles(size_b*size_h, size_t, max(size_d, 1)),), (256,),
                   (Q, K, U, P_lse, O), (size_t, size_d, blocks(max(size_d, 1), 64, 2**31)))

            R_sum_partial = cp.empty((R_sum_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("forward_R", (tiles(1, size_b*size_t, size_c), max(R_sum_chunks, 1)), (256,),
                   (X, attprojw, attprojb, O, R, R_sum_partial), (size_b, size_t, size_c, size_h, size_d))
            if R_sum_chunks:  # the sum was split: add up its parts
                launch("forward_R_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (R_sum_partial, X, attprojb, R), (size_b, size_t, size_c, R_sum_chunks))
            del R_sum_partial

            N2 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            shared = row_shared(size_c, 4, 4)
            launch("forward_M2_V2_N2", (row_blocks(size_b*size_t, size_c, 4, 4),), row_threads(size_c, 4, 4),
                   (ln2w, ln2b, R, M2, V2, N2), (size_b, size_t, size_c, shared), shared)
            G = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            F_sum_partial = cp.empty((F_sum_chunks, size_b*size_t, size_f), dtypes["compute"])
            launch("forward_F_G", (tiles(1, size_b*size_t, size_f), max(F_sum_chunks, 1)), (256,),
                   (fcw, fcb, N2, F, G, F_sum_partial), (size_b, size_t, size_c, size_f))
            del N2
            if F_sum_chunks:  # the sum was split: add up its parts
                launch("forward_F_G_chunks", (blocks(size_b*size_t*size_f, 256),), (256,),
                       (F_sum_partial, fcb, F, G), (size_b, size_t, size_f, F_sum_chunks))
            del F_sum_partial

            Y_sum_partial = cp.empty((Y_sum_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("forward_Y", (tiles(1, size_b*size_t, size_c), max(Y_sum_chunks, 1)), (256,),
                   (fcprojw, fcprojb, R, G, Y, Y_sum_partial), (size_b, size_t, size_c, size_f))
            del G
            if Y_sum_chunks:  # the sum was split: add up its parts
                launch("forward_Y_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (Y_sum_partial, fcprojb, R, Y), (size_b, size_t, size_c, Y_sum_chunks))
        return Y, M1, V1, Q, K, U, P_lse, O, R, M2, V2, F

    def gpt2_block_backward(self, dY, X, ln1w, ln1b, wq, wk, wv, attprojw, ln2w, ln2b, fcw, fcprojw, M1, V1,
                            Q, K, U, P_lse, O, R, M2, V2, F, *, out=None, accumulate=False, stream=None):
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
            dG_chunks = product_chunks(1, size_b*size_t, size_f, size_c)
            dN2_chunks = product_chunks(1, size_b*size_t, size_c, size_f)
            dfcw_chunks = product_chunks(1, size_f, size_c, size_b*size_t)
            dfcb_chunks = column_chunks(size_b*size_t)
            dfcprojw_sum_chunks = product_chunks(1, size_c, size_f, size_b*size_t)
            dattprojb_chunks = row_chunks(size_b*size_t, size_c, 50)
            dO_chunks = product_chunks(1, size_b*size_t, size_h*size_d, size_c)
            dattprojw_chunks = product_chunks(1, size_c, size_h*size_d, size_b*size_t)
            dwk_chunks = product_chunks(1, size_h*size_d, size_c, size_b*size_t)
            dN1_sum_chunks = product_chunks(1, size_b*size_t, size_c, size_h*size_d)
            dln1w_chunks = row_chunks(size_b*size_t, size_c, 25)
            count = max(dfcb_chunks*size_f, dfcb_chunks*size_h*size_d, dN2_chunks*size_b*size_t*size_c,
                        dN1_sum_chunks*size_b*size_t*size_c, dG_chunks*size_b*size_t*size_f,
                        dO_chunks*size_b*size_t*size_h*size_d, dfcprojw_sum_chunks*size_c*size_f,
                        dattprojw_chunks*size_c*size_h*size_d, dfcw_chunks*size_f*size_c,
                        dwk_chunks*size_h*size_d*size_c, dln1w_chunks*size_c, dattprojb_chunks*size_c,
                        size_b*size_h*size_t, size_b*size_t*size_h*size_d, size_b*size_t,
                        size_b*size_t*size_c, size_b*size_t*size_f, size_c, size_f*size_c,
                        size_h*size_d*size_c, size_d, size_f, size_h*size_d)
            launch = partial(self.launch, *self.module(count, ()))
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
                (dX, dln1w, dln1b, dwq, dbq, dwk, dbk, dwv, dbv, dattprojw, dattprojb, dln2w, dln2b, dfcw, dfcb,
                 dfcprojw, dfcprojb) = out
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

            dF = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            dG_partial = cp.empty((dG_chunks, size_b*size_t, size_f), dtypes["compute"])
            launch("backward_dF", (tiles(1, size_b*size_t, size_f), max(dG_chunks, 1)), (256,),
                   (fcprojw, F, dY, dF, dG_partial), (size_b, size_t, size_c, size_f))
            if dG_chunks:  # the sum was split: add up its parts
                launch("backward_dF_chunks", (blocks(size_b*size_t*size_f, 256),), (256,),
                       (dG_partial, F, dF), (size_b, size_t, size_f, dG_chunks))
            del dG_partial

            dN2 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dN2_partial = cp.empty((dN2_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("backward_dN2", (tiles(1, size_b*size_t, size_c), max(dN2_chunks, 1)), (256,),
                   (fcw, dF, dN2, dN2_partial), (size_b, size_t, size_c, size_f))
            if dN2_chunks:  # the sum was split: add up its parts
                launch("backward_dN2_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (dN2_partial, dN2), (size_b, size_t, size_c, dN2_chunks))
            del dN2_partial

            dfcw_partial = cp.empty((dfcw_chunks, size_f, size_c), dtypes["compute"])
            launch("backward_dfcw", (tiles(1, size_f, size_c), max(dfcw_chunks, 1)), (256,),
                   (ln2w, ln2b, R, M2, V2, dF, dfcw, dfcw_partial), (size_b, size_t, size_c, size_f),
                   accumulate=accumulate)
            if dfcw_chunks:  # the sum was split: add up its parts
                launch("backward_dfcw_chunks", (blocks(size_f*size_c, 256),), (256,), (dfcw_partial, dfcw),
                       (size_c, size_f, dfcw_chunks), accumulate=accumulate)
            del dfcw_partial

            dfcb_partial = cp.empty((dfcb_chunks, size_f), dtypes["compute"])
            launch("backward_dfcb", (blocks(size_f, 32, 2**31), dfcb_chunks), (8, 32),
                   (dF, dfcb, dfcb_partial), (size_b, size_t, size_f, dfcb_chunks), accumulate=accumulate)
            del dF
            if dfcb_chunks > 1:  # the sum was split: add up its parts
                launch("backward_dfcb_sum", (blocks(size_f, 32, 2**31),), (32, 8), (dfcb_partial, dfcb),
                       (size_f, dfcb_chunks), accumulate=accumulate)
            del dfcb_partial

            dfcprojw_sum_partial = cp.empty((dfcprojw_sum_chunks, size_c, size_f), dtypes["compute"])
            launch("backward_dfcprojw", (tiles(1, size_c, size_f), max(dfcprojw_sum_chunks, 1)), (256,),
                   (F, dY, dfcprojw, dfcprojw_sum_partial), (size_b, size_t, size_c, size_f),
                   accumulate=accumulate)
            if dfcprojw_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dfcprojw_chunks", (blocks(size_c*size_f, 256),), (256,),
                       (dfcprojw_sum_partial, dfcprojw), (size_c, size_f, dfcprojw_sum_chunks),
                       accumulate=accumulate)
            del dfcprojw_sum_partial

            dR = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dattprojb_partial = cp.empty((dattprojb_chunks, size_c), dtypes["compute"])
            dln2w_partial = cp.empty((dattprojb_chunks, size_c), dtypes["compute"])
            dln2b_partial = cp.empty((dattprojb_chunks, size_c), dtypes["compute"])
            dfcprojb_partial = cp.empty((dattprojb_chunks, size_c), dtypes["compute"])
            shared = row_shared(size_c, 28, 4, 8, 512)
            launch("backward_dR_dattprojb_dln2w", (dattprojb_chunks,), row_threads(size_c, 28, 4, 8, 512),
                   (ln2w, R, M2, V2, dY, dN2, dR, dattprojb_partial, dln2w_partial, dln2b_partial,
                    dfcprojb_partial), (size_b, size_t, size_c, shared), shared)
            del dN2
            launch("backward_dR_dattprojb_dln2w_sum", (blocks(size_c, 32, 2**31),), (32, 8),
                   (dattprojb_partial, dln2w_partial, dln2b_partial, dfcprojb_partial, dattprojb, dln2w,
                    dln2b, dfcprojb), (size_c, dattprojb_chunks), accumulate=accumulate)
            del dattprojb_partial, dln2w_partial, dln2b_partial, dfcprojb_partial

            dO = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            dO_partial = cp.empty((dO_chunks, size_b*size_t, size_h*size_d), dtypes["compute"])
            launch("backward_dO", (tiles(1, size_b*size_t, size_h*size_d), max(dO_chunks, 1)), (256,),
                   (attprojw, dR, dO, dO_partial), (size_b, size_t, size_c, size_h, size_d))
            if dO_chunks:  # the sum was split: add up its parts
                launch("backward_dO_chunks", (blocks(size_b*size_t*size_h*size_d, 256),), (256,),
                       (dO_partial, dO), (size_b, size_t, size_h, size_d, dO_chunks))
            del dO_partial

            P_row = cp.empty((size_b, size_h, size_t), dtypes["compute"])
            launch("backward_P_row", (row_blocks(size_b*size_h*size_t, size_d, 0, 4),),
                   row_threads(size_d, 0, 4), (O, dO, P_row), (size_b, size_t, size_h, size_d))

            dattprojw_partial = cp.empty((dattprojw_chunks, size_c, size_h*size_d), dtypes["compute"])
            launch("backward_dattprojw", (tiles(1, size_c, size_h*size_d), max(dattprojw_chunks, 1)), (256,),
                   (O, dR, dattprojw, dattprojw_partial), (size_b, size_t, size_c, size_h, size_d),
                   accumulate=accumulate)
            if dattprojw_chunks:  # the sum was split: add up its parts
                launch("backward_dattprojw_chunks", (blocks(size_c*size_h*size_d, 256),), (256,),
                       (dattprojw_partial, dattprojw), (size_c, size_h, size_d, dattprojw_chunks),
                       accumulate=accumulate)
            del dattprojw_partial

            dU = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            dK = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            launch("backward_dU_dK", (tiles(size_b*size_h, size_t, max(size_d, 1)),), (256,),
                   (Q, K, U, P_lse, dO, P_row, dU, dK), (size_t, size_d, blocks(max(size_d, 1), 64, 2**31)))

            dwk_partial = cp.empty((dwk_chunks, size_h*size_d, size_c), dtypes["compute"])
            launch("backward_dwk", (tiles(1, size_h*size_d, size_c), max(dwk_chunks, 1)), (256,),
                   (X, ln1w, ln1b, M1, V1, dK, dwk, dwk_partial), (size_b, size_t, size_c, size_h, size_d),
                   accumulate=accumulate)
            if dwk_chunks:  # the sum was split: add up its parts
                launch("backward_dwk_chunks", (blocks(size_h*size_d*size_c, 256),), (256,),
                       (dwk_partial, dwk), (size_c, size_h, size_d, dwk_chunks), accumulate=accumulate)
            del dwk_partial

            dbk_partial = cp.empty((dfcb_chunks, size_h*size_d), dtypes["compute"])
            launch("backward_dbk", (blocks(size_h*size_d, 32, 2**31), dfcb_chunks), (32, 8),
                   (dK, dbk, dbk_partial), (size_b, size_t, size_h, size_d, dfcb_chunks),
                   accumulate=accumulate)
            if dfcb_chunks > 1:  # the sum was split: add up its parts
                launch("backward_dbk_sum", (blocks(size_h*size_d, 32, 2**31),), (32, 8), (dbk_partial, dbk),
                       (size_h, size_d, dfcb_chunks), accumulate=accumulate)
            del dbk_partial

            dwv_partial = cp.empty((dwk_chunks, size_h*size_d, size_c), dtypes["compute"])
            launch("backward_dwv", (tiles(1, size_h*size_d, size_c), max(dwk_chunks, 1)), (256,),
                   (X, ln1w, ln1b, M1, V1, dU, dwv, dwv_partial), (size_b, size_t, size_c, size_h, size_d),
                   accumulate=accumulate)
            if dwk_chunks:  # the sum was split: add up its parts
                launch("backward_dwv_chunks", (blocks(size_h*size_d*size_c, 256),), (256,),
                       (dwv_partial, dwv), (size_c, size_h, size_d, dwk_chunks), accumulate=accumulate)
            del dwv_partial

            dbv_partial = cp.empty((dfcb_chunks, size_h*size_d), dtypes["compute"])
            launch("backward_dbv", (blocks(size_h*size_d, 32, 2**31), dfcb_chunks), (32, 8),
                   (dU, dbv, dbv_partial), (size_b, size_t, size_h, size_d, dfcb_chunks),
                   accumulate=accumulate)
            if dfcb_chunks > 1:  # the sum was split: add up its parts
                launch("backward_dbv_sum", (blocks(size_h*size_d, 32, 2**31),), (32, 8), (dbv_partial, dbv),
                       (size_h, size_d, dfcb_chunks), accumulate=accumulate)
            del dbv_partial

            dQ = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            launch("backward_dQ", (tiles(size_b*size_h, size_t, max(size_d, 1)),), (256,),
                   (Q, K, U, P_lse, dO, P_row, dQ), (size_t, size_d, blocks(max(size_d, 1), 64, 2**31)))
            del dO, P_row

            dN1_sum = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dN1_sum_partial = cp.empty((dN1_sum_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("backward_dN1_sum", (tiles(1, size_b*size_t, size_c), max(dN1_sum_chunks, 1)), (256,),
                   (wk, dK, dN1_sum, dN1_sum_partial), (size_b, size_t, size_c, size_h, size_d))
            del dK
            if dN1_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dN1_sum_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (dN1_sum_partial, dN1_sum), (size_b, size_t, size_c, dN1_sum_chunks))
            del dN1_sum_partial

            dN1_sum2 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dN1_sum2_partial = cp.empty((dN1_sum_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("backward_dN1_sum2", (tiles(1, size_b*size_t, size_c), max(dN1_sum_chunks, 1)), (256,),
                   (wq, dQ, dN1_sum2, dN1_sum2_partial), (size_b, size_t, size_c, size_h, size_d))
            if dN1_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dN1_sum2_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (dN1_sum2_partial, dN1_sum2), (size_b, size_t, size_c, dN1_sum_chunks))
            del dN1_sum2_partial

            dN1 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dN1_sum3_partial = cp.empty((dN1_sum_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("backward_dN1", (tiles(1, size_b*size_t, size_c), max(dN1_sum_chunks, 1)), (256,),
                   (wv, dU, dN1_sum, dN1_sum2, dN1, dN1_sum3_partial),
                   (size_b, size_t, size_c, size_h, size_d))
            del dU
            if dN1_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dN1_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (dN1_sum3_partial, dN1_sum, dN1_sum2, dN1), (size_b, size_t, size_c, dN1_sum_chunks))
            del dN1_sum, dN1_sum2, dN1_sum3_partial

            dln1w_partial = cp.empty((dln1w_chunks, size_c), dtypes["compute"])
            dln1b_partial = cp.empty((dln1w_chunks, size_c), dtypes["compute"])
            shared = row_shared(size_c, 16, 4, 8, 512)
            launch("backward_dX_dln1w_dln1b", (dln1w_chunks,), row_threads(size_c, 16, 4, 8, 512),
                   (X, ln1w, M1, V1, dR, dN1, dX, dln1w_partial, dln1b_partial),
                   (size_b, size_t, size_c, shared), shared, accumulate=accumulate)
            del dR, dN1
            launch("backward_dX_dln1w_dln1b_sum", (blocks(size_c, 32, 2**31),), (32, 8),
                   (dln1w_partial, dln1b_partial, dln1w, dln1b), (size_c, dln1w_chunks),
                   accumulate=accumulate)
            del dln1w_partial, dln1b_partial

            dwq_partial = cp.empty((dwk_chunks, size_h*size_d, size_c), dtypes["compute"])
            launch("backward_dwq", (tiles(1, size_h*size_d, size_c), max(dwk_chunks, 1)), (256,),
                   (X, ln1w, ln1b, M1, V1, dQ, dwq, dwq_partial), (size_b, size_t, size_c, size_h, size_d),
                   accumulate=accumulate)
            if dwk_chunks:  # the sum was split: add up its parts
                launch("backward_dwq_chunks", (blocks(size_h*size_d*size_c, 256),), (256,),
                       (dwq_partial, dwq), (size_c, size_h, size_d, dwk_chunks), accumulate=accumulate)
            del dwq_partial

            dbq_partial = cp.empty((dfcb_chunks, size_h*size_d), dtypes["compute"])
            launch("backward_dbq", (blocks(size_h*size_d, 32, 2**31), dfcb_chunks), (32, 8),
                   (dQ, dbq, dbq_partial), (size_b, size_t, size_h, size_d, dfcb_chunks),
                   accumulate=accumulate)
            del dQ
            if dfcb_chunks > 1:  # the sum was split: add up its parts
                launch("backward_dbq_sum", (blocks(size_h*size_d, 32, 2**31),), (32, 8), (dbq_partial, dbq),
                       (size_h, size_d, dfcb_chunks), accumulate=accumulate)
        return (dX, dln1w, dln1b, dwq, dbq, dwk, dbk, dwv, dbv, dattprojw, dattprojb, dln2w, dln2b, dfcw,
                dfcb, dfcprojw, dfcprojb)

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


def gpt2_block_forward(*args, **options):
    """`Kernels.gpt2_block_forward` on CuPy."""
    return _default().gpt2_block_forward(*args, **options)


def gpt2_block_backward(*args, **options):
    """`Kernels.gpt2_block_backward` on CuPy."""
    return _default().gpt2_block_backward(*args, **options)


@cache
def _default():
    return load()
