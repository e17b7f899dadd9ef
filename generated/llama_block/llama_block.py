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
    dS[t,i] = sum(b, g, p, dKr[b,g,t,p,i]*where(p == 0, -K[b,g,t,1,i], K[b,g,t,0,i])) + sum(b, h, p, dQr[b,h,t,p,i]*where(p == 0, -Q[b,h,t,1,i], Q[b,h,t,0,i]))
    dwo = einsum(bhtd,btc->chd; O, dR)
    dln2w = (dN2 ∘ rhat)ᵀ 1
    dw1 = dFᵀ N2
    dw3 = dUᵀ N2
    dw2 = dYᵀ (U ∘ g1)
    where
    N1_in[b,t] = eps + mean(c, X[b,t,c]**2)
    rstd[b,t] = rsqrt(N1_in[b,t])
    xhat[b,t,c] = X[b,t,c]*rstd[b,t]
    N2_in[b,t] = eps + mean(c, R[b,t,c]**2)
    rstd1[b,t] = rsqrt(N2_in[b,t])
    rhat[b,t,c] = R[b,t,c]*rstd1[b,t]
    s1[b,t,f] = sigmoid(F[b,t,f])
    g1[b,t,f] = F[b,t,f]*s1[b,t,f]
    r[b,t,f] = sum(c, dY[b,t,c]*w2[c,f])
    dU[b,t,f] = g1[b,t,f]*r[b,t,f]
    dF[b,t,f] = U[b,t,f]*r[b,t,f]*(s1[b,t,f] + g1[b,t,f]*(1 - s1[b,t,f]))
    dN2[b,t,c] = sum(f, dF[b,t,f]*w1[f,c]) + sum(f, dU[b,t,f]*w3[f,c])
    g3[b,t,c] = dN2[b,t,c]*ln2w[c]
    dR[b,t,c] = dY[b,t,c] + rstd1[b,t]*(g3[b,t,c] - rhat[b,t,c]*mean(c1, g3[b,t,c1]*rhat[b,t,c1]))
    dO[b,h,t,d] = sum(c, dR[b,t,c]*wo[c,h,d])
    dP[b,h,t,s] = sum(d, V[b,h//4,s,d]*dO[b,h,t,d])
    dA_sum[b,h,t,s] = 0.5*P[b,h,t,s]*sqrt(2)*(dP[b,h,t,s] - sum(d, O[b,h,t,d]*dO[b,h,t,d]))/sqrt(size(i))
    dKr[b,g,t,p,i] = sum(s, l, where(l + 4*g < size(h), Qr[b,l + 4*g,s,p,i]*dA_sum[b,l + 4*g,s,t], 0))
    dQr[b,h,t,p,i] = sum(s, Kr[b,h//4,s,p,i]*dA_sum[b,h,t,s])
    dV[b,g,t,d] = sum(s, l, where(l + 4*g < size(h), P[b,l + 4*g,s,t]*dO[b,l + 4*g,s,d], 0))
    dK[b,g,t,p,i] = where(p == 0, S[t,i]*dKr[b,g,t,1,i], -S[t,i]*dKr[b,g,t,0,i]) + C[t,i]*dKr[b,g,t,p,i]
    dQ[b,h,t,p,i] = where(p == 0, S[t,i]*dQr[b,h,t,1,i], -S[t,i]*dQr[b,h,t,0,i]) + C[t,i]*dQr[b,h,t,p,i]
    dN1[b,t,c] = sum(g, d, dV[b,g,t,d]*wv[g,d,c]) + sum(g, p, i, dK[b,g,t,p,i]*wk[g,p,i,c]) + sum(h, p, i, dQ[b,h,t,p,i]*wq[h,p,i,c])
    g2[b,t,c] = dN1[b,t,c]*ln1w[c]

Saved for the backward: N1_in, Q, K, V, Qr, Kr, P_lse, O, R, N2_in, F, U.  Computed again: rstd, xhat, N1, rstd1, rhat, N2, s1, P, A, A_sum, dA_sum.
Sums are kept in float32; the same bits at every run.
In place, one at a time and without accumulate: dX over dY, dX over X, dln1w over ln1w, dln1w over ln2w, dwo over wo, dln2w over ln2w, dw1 over w1, dw3 over w1, dw3 over w3, dw2 over w2.
A sum of 1024 products or more with few tiles of results is split in chunks, added in order.

Made by `derive emit llama_block -o DIR`; do not edit.
"""

from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

SOURCE = Path(__file__).with_name("llama_block.cu")


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
            Q_chunks = product_chunks(1, size_b*size_t, size_h*2*size_i, size_c)
            K_chunks = product_chunks(1, size_b*size_t, size_g*2*size_i, size_c)
            V_chunks = product_chunks(1, size_b*size_t, size_g*size_d, size_c)
            R_sum_chunks = product_chunks(1, size_b*size_t, size_c, size_h*size_d)
            F_chunks = product_chunks(1, size_b*size_t, size_f, size_c)
            Y_sum_chunks = product_chunks(1, size_b*size_t, size_c, size_f)
            count = max(Y_sum_chunks*size_b*size_t*size_c, R_sum_chunks*size_b*size_t*size_c,
                        F_chunks*size_b*size_t*size_f, K_chunks*size_b*size_t*size_g*2*size_i,
                        V_chunks*size_b*size_t*size_g*size_d, Q_chunks*size_b*size_t*size_h*2*size_i,
                        size_b*size_t*size_g*2*size_i, size_b*size_t*size_g*size_d, size_b*size_h*size_t,
                        size_b*size_t*size_h*2*size_i, size_b*size_h*size_t*size_d, size_b*size_t,
                        size_b*size_t*size_c, size_b*size_t*size_f, size_c, size_f*size_c,
                        size_c*size_h*size_d, size_g*2*size_i*size_c, size_g*size_d*size_c,
                        size_h*2*size_i*size_c, size_t*size_i)
            launch = partial(self.launch, *self.module(count, ()))
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
            shared = row_shared(size_c, 4, 4)
            launch("forward_N1_in_N1", (row_blocks(size_b*size_t, size_c, 4, 4),), row_threads(size_c, 4, 4),
                   (X, ln1w, N1_in, N1), (size_b, size_t, size_c, shared), shared)

            Q_partial = cp.empty((Q_chunks, size_b*size_t, size_h*2*size_i), dtypes["compute"])
            launch("forward_Q", (tiles(1, size_b*size_t, size_h*2*size_i), max(Q_chunks, 1)), (256,),
                   (wq, N1, Q, Q_partial), (size_b, size_t, size_c, size_h, size_i))
            if Q_chunks:  # the sum was split: add up its parts
                launch("forward_Q_chunks", (blocks(size_b*size_t*size_h*2*size_i, 256),), (256,),
                       (Q_partial, Q), (size_b, size_t, size_h, size_i, Q_chunks))
            del Q_partial

            K_partial = cp.empty((K_chunks, size_b*size_t, size_g*2*size_i), dtypes["compute"])
            launch("forward_K", (tiles(1, size_b*size_t, size_g*2*size_i), max(K_chunks, 1)), (256,),
                   (wk, N1, K, K_partial), (size_b, size_t, size_c, size_i, size_g))
            if K_chunks:  # the sum was split: add up its parts
                launch("forward_K_chunks", (blocks(size_b*size_t*size_g*2*size_i, 256),), (256,),
                       (K_partial, K), (size_b, size_t, size_i, size_g, K_chunks))
            del K_partial

            V_partial = cp.empty((V_chunks, size_b*size_t, size_g*size_d), dtypes["compute"])
            launch("forward_V", (tiles(1, size_b*size_t, size_g*size_d), max(V_chunks, 1)), (256,),
                   (wv, N1, V, V_partial), (size_b, size_t, size_c, size_g, size_d))
            del N1
            if V_chunks:  # the sum was split: add up its parts
                launch("forward_V_chunks", (blocks(size_b*size_t*size_g*size_d, 256),), (256,),
                       (V_partial, V), (size_b, size_t, size_g, size_d, V_chunks))
            del V_partial

            launch("forward_Qr", (blocks(size_b*size_h*size_t*2*size_i, 1024),), (256,), (C, S, Q, Qr),
                   (size_b, size_t, size_h, size_i))

            launch("forward_Kr", (blocks(size_b*size_g*size_t*2*size_i, 1024),), (256,), (C, S, K, Kr),
                   (size_b, size_t, size_i, size_g))

            launch("forward_P_lse_O", (tiles(size_b*size_h, size_t, max(size_d, 1)),), (256,),
                   (V, Qr, Kr, P_lse, O),
                   (size_t, size_h, size_i, size_g, size_d, blocks(max(size_d, 1), 64, 2**31)))

            R_sum_partial = cp.empty((R_sum_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("forward_R", (tiles(1, size_b*size_t, size_c), max(R_sum_chunks, 1)), (256,),
                   (X, wo, O, R, R_sum_partial), (size_b, size_t, size_c, size_h, size_d))
            if R_sum_chunks:  # the sum was split: add up its parts
                launch("forward_R_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (R_sum_partial, X, R), (size_b, size_t, size_c, R_sum_chunks))
            del R_sum_partial

            N2 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            shared = row_shared(size_c, 4, 4)
            launch("forward_N2_in_N2", (row_blocks(size_b*size_t, size_c, 4, 4),), row_threads(size_c, 4, 4),
                   (ln2w, R, N2_in, N2), (size_b, size_t, size_c, shared), shared)

            s1 = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            F_partial = cp.empty((F_chunks, size_b*size_t, size_f), dtypes["compute"])
            launch("forward_F_s1", (tiles(1, size_b*size_t, size_f), max(F_chunks, 1)), (256,),
                   (w1, N2, F, s1, F_partial), (size_b, size_t, size_c, size_f))
            if F_chunks:  # the sum was split: add up its parts
                launch("forward_F_s1_chunks", (blocks(size_b*size_t*size_f, 256),), (256,),
                       (F_partial, F, s1), (size_b, size_t, size_f, F_chunks))
            del F_partial

            U_partial = cp.empty((F_chunks, size_b*size_t, size_f), dtypes["compute"])
            launch("forward_U", (tiles(1, size_b*size_t, size_f), max(F_chunks, 1)), (256,),
                   (w3, N2, U, U_partial), (size_b, size_t, size_c, size_f))
            del N2
            if F_chunks:  # the sum was split: add up its parts
                launch("forward_U_chunks", (blocks(size_b*size_t*size_f, 256),), (256,), (U_partial, U),
                       (size_b, size_t, size_f, F_chunks))
            del U_partial

            Y_sum_partial = cp.empty((Y_sum_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("forward_Y", (tiles(1, size_b*size_t, size_c), max(Y_sum_chunks, 1)), (256,),
                   (w2, R, F, U, s1, Y, Y_sum_partial), (size_b, size_t, size_c, size_f))
            del s1
            if Y_sum_chunks:  # the sum was split: add up its parts
                launch("forward_Y_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (Y_sum_partial, R, Y), (size_b, size_t, size_c, Y_sum_chunks))
        return Y, N1_in, Q, K, V, Qr, Kr, P_lse, O, R, N2_in, F, U

    def llama_block_backward(self, dY, X, ln1w, wq, wk, wv, C, S, wo, ln2w, w1, w3, w2, N1_in, Q, K, V, Qr,
                             Kr, P_lse, O, R, N2_in, F, U, *, out=None, accumulate=False, stream=None):
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
            r_chunks = product_chunks(1, size_b*size_t, size_f, size_c)
            dw2_chunks = product_chunks(1, size_c, size_f, size_b*size_t)
            dN2_sum_chunks = product_chunks(1, size_b*size_t, size_c, size_f)
            dw1_sum_chunks = product_chunks(1, size_f, size_c, size_b*size_t)
            dln2w_chunks = row_chunks(size_b*size_t, size_c, 13)
            dO_chunks = product_chunks(1, size_b*size_t, size_h*size_d, size_c)
            dwo_chunks = product_chunks(1, size_c, size_h*size_d, size_b*size_t)
            dwv_sum_chunks = product_chunks(1, size_g*size_d, size_c, size_b*size_t)
            dN1_sum_chunks = product_chunks(1, size_b*size_t, size_c, size_g*size_d)
            dC_sum_chunks = column_chunks(size_b*size_g*2)
            dwk_sum_chunks = product_chunks(1, size_g*2*size_i, size_c, size_b*size_t)
            dN1_sum2_chunks = product_chunks(1, size_b*size_t, size_c, size_g*2*size_i)
            dC_sum2_chunks = column_chunks(size_b*size_h*2)
            dwq_sum_chunks = product_chunks(1, size_h*2*size_i, size_c, size_b*size_t)
            dN1_sum3_chunks = product_chunks(1, size_b*size_t, size_c, size_h*2*size_i)
            count = max(dC_sum_chunks*size_t*size_i, dC_sum2_chunks*size_t*size_i,
                        dN2_sum_chunks*size_b*size_t*size_c, dN1_sum2_chunks*size_b*size_t*size_c,
                        dN1_sum_chunks*size_b*size_t*size_c, dN1_sum3_chunks*size_b*size_t*size_c,
                        r_chunks*size_b*size_t*size_f, dO_chunks*size_b*size_t*size_h*size_d,
                        dw2_chunks*size_c*size_f, dwo_chunks*size_c*size_h*size_d,
                        dw1_sum_chunks*size_f*size_c, dwk_sum_chunks*size_g*2*size_i*size_c,
                        dwv_sum_chunks*size_g*size_d*size_c, dwq_sum_chunks*size_h*2*size_i*size_c,
                        dln2w_chunks*size_c, size_b*size_g*size_t*2*size_i, size_b*size_g*size_t*size_d,
                        size_b*size_h*size_t, size_b*size_h*size_t*2*size_i, size_b*size_t*size_h*size_d,
                        size_b*size_t, size_b*size_t*size_c, size_b*size_t*size_f, size_c, size_f*size_c,
                        size_c*size_h*size_d, size_d, size_g*2*size_i*size_c, size_g*size_d*size_c,
                        size_h*2*size_i*size_c, size_t*size_i)
            launch = partial(self.launch, *self.module(count, ()))
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
            launch("backward_g1", (blocks(size_b*size_t*size_f, 1024),), (256,), (F, g1),
                   (size_b, size_t, size_f))

            dU = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            dF = cp.empty((size_b, size_t, size_f), dtypes["compute"])
            r_partial = cp.empty((r_chunks, size_b*size_t, size_f), dtypes["compute"])
            launch("backward_dU_dF", (tiles(1, size_b*size_t, size_f), max(r_chunks, 1)), (256,),
                   (w2, F, U, dY, g1, dU, dF, r_partial), (size_b, size_t, size_c, size_f))
            if r_chunks:  # the sum was split: add up its parts
                launch("backward_dU_dF_chunks", (blocks(size_b*size_t*size_f, 256),), (256,),
                       (r_partial, F, U, g1, dU, dF), (size_b, size_t, size_f, r_chunks))
            del r_partial

            dw2_partial = cp.empty((dw2_chunks, size_c, size_f), dtypes["compute"])
            launch("backward_dw2", (tiles(1, size_c, size_f), max(dw2_chunks, 1)), (256,),
                   (U, dY, g1, dw2, dw2_partial), (size_b, size_t, size_c, size_f), accumulate=accumulate)
            del g1
            if dw2_chunks:  # the sum was split: add up its parts
                launch("backward_dw2_chunks", (blocks(size_c*size_f, 256),), (256,), (dw2_partial, dw2),
                       (size_c, size_f, dw2_chunks), accumulate=accumulate)
            del dw2_partial

            dN2_sum = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dN2_sum_partial = cp.empty((dN2_sum_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("backward_dN2_sum", (tiles(1, size_b*size_t, size_c), max(dN2_sum_chunks, 1)), (256,),
                   (w1, dF, dN2_sum, dN2_sum_partial), (size_b, size_t, size_c, size_f))
            if dN2_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dN2_sum_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (dN2_sum_partial, dN2_sum), (size_b, size_t, size_c, dN2_sum_chunks))
            del dN2_sum_partial

            dw1_sum_partial = cp.empty((dw1_sum_chunks, size_f, size_c), dtypes["compute"])
            launch("backward_dw1", (tiles(1, size_f, size_c), max(dw1_sum_chunks, 1)), (256,),
                   (ln2w, R, N2_in, dF, dw1, dw1_sum_partial), (size_b, size_t, size_c, size_f),
                   accumulate=accumulate)
            del dF
            if dw1_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dw1_chunks", (blocks(size_f*size_c, 256),), (256,),
                       (dw1_sum_partial, ln2w, dw1), (size_c, size_f, dw1_sum_chunks), accumulate=accumulate)
            del dw1_sum_partial

            dN2 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dN2_sum2_partial = cp.empty((dN2_sum_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("backward_dN2", (tiles(1, size_b*size_t, size_c), max(dN2_sum_chunks, 1)), (256,),
                   (w3, dU, dN2_sum, dN2, dN2_sum2_partial), (size_b, size_t, size_c, size_f))
            if dN2_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dN2_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (dN2_sum2_partial, dN2_sum, dN2), (size_b, size_t, size_c, dN2_sum_chunks))
            del dN2_sum, dN2_sum2_partial

            dw3_sum_partial = cp.empty((dw1_sum_chunks, size_f, size_c), dtypes["compute"])
            launch("backward_dw3", (tiles(1, size_f, size_c), max(dw1_sum_chunks, 1)), (256,),
                   (ln2w, R, N2_in, dU, dw3, dw3_sum_partial), (size_b, size_t, size_c, size_f),
                   accumulate=accumulate)
            del dU
            if dw1_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dw3_chunks", (blocks(size_f*size_c, 256),), (256,),
                       (dw3_sum_partial, ln2w, dw3), (size_c, size_f, dw1_sum_chunks), accumulate=accumulate)
            del dw3_sum_partial

            dR = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dln2w_partial = cp.empty((dln2w_chunks, size_c), dtypes["compute"])
            shared = row_shared(size_c, 12, 4, 8, 512)
            launch("backward_dR_dln2w", (dln2w_chunks,), row_threads(size_c, 12, 4, 8, 512),
                   (ln2w, R, N2_in, dY, dN2, dR, dln2w_partial), (size_b, size_t, size_c, shared), shared)
            del dN2
            launch("backward_dR_dln2w_sum", (blocks(size_c, 32, 2**31),), (32, 8), (dln2w_partial, dln2w),
                   (size_c, dln2w_chunks), accumulate=accumulate)
            del dln2w_partial

            dO = cp.empty((size_b, size_h, size_t, size_d), dtypes["compute"])
            dO_partial = cp.empty((dO_chunks, size_b*size_t, size_h*size_d), dtypes["compute"])
            launch("backward_dO", (tiles(1, size_b*size_t, size_h*size_d), max(dO_chunks, 1)), (256,),
                   (wo, dR, dO, dO_partial), (size_b, size_t, size_c, size_h, size_d))
            if dO_chunks:  # the sum was split: add up its parts
                launch("backward_dO_chunks", (blocks(size_b*size_t*size_h*size_d, 256),), (256,),
                       (dO_partial, dO), (size_b, size_t, size_h, size_d, dO_chunks))
            del dO_partial

            P_row = cp.empty((size_b, size_h, size_t), dtypes["compute"])
            launch("backward_P_row", (row_blocks(size_b*size_h*size_t, size_d, 0, 4),),
                   row_threads(size_d, 0, 4), (O, dO, P_row), (size_b, size_t, size_h, size_d))

            dwo_partial = cp.empty((dwo_chunks, size_c, size_h*size_d), dtypes["compute"])
            launch("backward_dwo", (tiles(1, size_c, size_h*size_d), max(dwo_chunks, 1)), (256,),
                   (O, dR, dwo, dwo_partial), (size_b, size_t, size_c, size_h, size_d), accumulate=accumulate)
            if dwo_chunks:  # the sum was split: add up its parts
                launch("backward_dwo_chunks", (blocks(size_c*size_h*size_d, 256),), (256,),
                       (dwo_partial, dwo), (size_c, size_h, size_d, dwo_chunks), accumulate=accumulate)
            del dwo_partial

            dKr = cp.empty((size_b, size_g, size_t, 2, size_i), dtypes["compute"])
            dV = cp.empty((size_b, size_g, size_t, size_d), dtypes["compute"])
            launch("backward_dKr_dV", (tiles(size_b*size_g, size_t, max(2*size_i, size_d, 1)),), (256,),
                   (V, Qr, Kr, P_lse, dO, P_row, dKr, dV),
                   (size_t, size_h, size_i, size_g, size_d, blocks(max(2*size_i, size_d, 1), 64, 2**31)))

            dwv_sum_partial = cp.empty((dwv_sum_chunks, size_g*size_d, size_c), dtypes["compute"])
            launch("backward_dwv", (tiles(1, size_g*size_d, size_c), max(dwv_sum_chunks, 1)), (256,),
                   (X, ln1w, N1_in, dV, dwv, dwv_sum_partial), (size_b, size_t, size_c, size_g, size_d),
                   accumulate=accumulate)
            if dwv_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dwv_chunks", (blocks(size_g*size_d*size_c, 256),), (256,),
                       (dwv_sum_partial, ln1w, dwv), (size_c, size_g, size_d, dwv_sum_chunks),
                       accumulate=accumulate)
            del dwv_sum_partial

            dQr = cp.empty((size_b, size_h, size_t, 2, size_i), dtypes["compute"])
            launch("backward_dQr", (tiles(size_b*size_h, size_t, max(2*size_i, 1)),), (256,),
                   (V, Qr, Kr, P_lse, dO, P_row, dQr),
                   (size_t, size_h, size_i, size_g, size_d, blocks(max(2*size_i, 1), 64, 2**31)))
            del dO, P_row

            dN1_sum = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dN1_sum_partial = cp.empty((dN1_sum_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("backward_dN1_sum", (tiles(1, size_b*size_t, size_c), max(dN1_sum_chunks, 1)), (256,),
                   (wv, dV, dN1_sum, dN1_sum_partial), (size_b, size_t, size_c, size_g, size_d))
            del dV
            if dN1_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dN1_sum_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (dN1_sum_partial, dN1_sum), (size_b, size_t, size_c, dN1_sum_chunks))
            del dN1_sum_partial

            dK = cp.empty((size_b, size_g, size_t, 2, size_i), dtypes["compute"])
            dC_sum = cp.empty((size_t, size_i), dtypes["compute"])
            dS_sum = cp.empty((size_t, size_i), dtypes["compute"])
            dC_sum_partial = cp.empty((dC_sum_chunks, size_t*size_i), dtypes["compute"])
            dS_sum_partial = cp.empty((dC_sum_chunks, size_t*size_i), dtypes["compute"])
            launch("backward_dK_dC_sum_dS_sum", (blocks(size_t*size_i, 32, 2**31), dC_sum_chunks), (32, 8),
                   (C, S, K, dKr, dK, dC_sum, dS_sum, dC_sum_partial, dS_sum_partial),
                   (size_b, size_t, size_i, size_g, dC_sum_chunks))
            del dKr
            if dC_sum_chunks > 1:  # the sum was split: add up its parts
                launch("backward_dK_dC_sum_dS_sum_sum", (blocks(size_t*size_i, 32, 2**31),), (32, 8),
                       (dC_sum_partial, dS_sum_partial, dC_sum, dS_sum), (size_t, size_i, dC_sum_chunks))
            del dC_sum_partial, dS_sum_partial

            dwk_sum_partial = cp.empty((dwk_sum_chunks, size_g*2*size_i, size_c), dtypes["compute"])
            launch("backward_dwk", (tiles(1, size_g*2*size_i, size_c), max(dwk_sum_chunks, 1)), (256,),
                   (X, ln1w, N1_in, dK, dwk, dwk_sum_partial), (size_b, size_t, size_c, size_i, size_g),
                   accumulate=accumulate)
            if dwk_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dwk_chunks", (blocks(size_g*2*size_i*size_c, 256),), (256,),
                       (dwk_sum_partial, ln1w, dwk), (size_c, size_i, size_g, dwk_sum_chunks),
                       accumulate=accumulate)
            del dwk_sum_partial

            dN1_sum2 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dN1_sum2_partial = cp.empty((dN1_sum2_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("backward_dN1_sum2", (tiles(1, size_b*size_t, size_c), max(dN1_sum2_chunks, 1)), (256,),
                   (wk, dK, dN1_sum2, dN1_sum2_partial), (size_b, size_t, size_c, size_i, size_g))
            del dK
            if dN1_sum2_chunks:  # the sum was split: add up its parts
                launch("backward_dN1_sum2_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (dN1_sum2_partial, dN1_sum2), (size_b, size_t, size_c, dN1_sum2_chunks))
            del dN1_sum2_partial

            dQ = cp.empty((size_b, size_h, size_t, 2, size_i), dtypes["compute"])
            dC_sum2_partial = cp.empty((dC_sum2_chunks, size_t*size_i), dtypes["compute"])
            dS_sum2_partial = cp.empty((dC_sum2_chunks, size_t*size_i), dtypes["compute"])
            launch("backward_dQ_dC_dS", (blocks(size_t*size_i, 32, 2**31), dC_sum2_chunks), (32, 8),
                   (C, S, Q, dQr, dC_sum, dS_sum, dC, dS, dQ, dC_sum2_partial, dS_sum2_partial),
                   (size_b, size_t, size_h, size_i, dC_sum2_chunks), accumulate=accumulate)
            del dQr
            if dC_sum2_chunks > 1:  # the sum was split: add up its parts
                launch("backward_dQ_dC_dS_sum", (blocks(size_t*size_i, 32, 2**31),), (32, 8),
                       (dC_sum2_partial, dS_sum2_partial, dC_sum, dS_sum, dC, dS),
                       (size_t, size_i, dC_sum2_chunks), accumulate=accumulate)
            del dC_sum, dS_sum, dC_sum2_partial, dS_sum2_partial

            dwq_sum_partial = cp.empty((dwq_sum_chunks, size_h*2*size_i, size_c), dtypes["compute"])
            launch("backward_dwq", (tiles(1, size_h*2*size_i, size_c), max(dwq_sum_chunks, 1)), (256,),
                   (X, ln1w, N1_in, dQ, dwq, dwq_sum_partial), (size_b, size_t, size_c, size_h, size_i),
                   accumulate=accumulate)
            if dwq_sum_chunks:  # the sum was split: add up its parts
                launch("backward_dwq_chunks", (blocks(size_h*2*size_i*size_c, 256),), (256,),
                       (dwq_sum_partial, ln1w, dwq), (size_c, size_h, size_i, dwq_sum_chunks),
                       accumulate=accumulate)
            del dwq_sum_partial

            dN1 = cp.empty((size_b, size_t, size_c), dtypes["compute"])
            dN1_sum3_partial = cp.empty((dN1_sum3_chunks, size_b*size_t, size_c), dtypes["compute"])
            launch("backward_dN1", (tiles(1, size_b*size_t, size_c), max(dN1_sum3_chunks, 1)), (256,),
                   (wq, dN1_sum, dN1_sum2, dQ, dN1, dN1_sum3_partial),
                   (size_b, size_t, size_c, size_h, size_i))
            del dQ
            if dN1_sum3_chunks:  # the sum was split: add up its parts
                launch("backward_dN1_chunks", (blocks(size_b*size_t*size_c, 256),), (256,),
                       (dN1_sum3_partial, dN1_sum, dN1_sum2, dN1), (size_b, size_t, size_c, dN1_sum3_chunks))
            del dN1_sum, dN1_sum2, dN1_sum3_partial

            dln1w_partial = cp.empty((dln2w_chunks, size_c), dtypes["compute"])
            shared = row_shared(size_c, 12, 4, 8, 512)
            launch("backward_dX_dln1w", (dln2w_chunks,), row_threads(size_c, 12, 4, 8, 512),
                   (X, ln1w, N1_in, dR, dN1, dX, dln1w_partial), (size_b, size_t, size_c, shared), shared,
                   accumulate=accumulate)
            del dR, dN1
            launch("backward_dX_dln1w_sum", (blocks(size_c, 32, 2**31),), (32, 8), (dln1w_partial, dln1w),
                   (size_c, dln2w_chunks), accumulate=accumulate)
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


def llama_block_forward(*args, **options):
    """`Kernels.llama_block_forward` on CuPy."""
    return _default().llama_block_forward(*args, **options)


def llama_block_backward(*args, **options):
    """`Kernels.llama_block_backward` on CuPy."""
    return _default().llama_block_backward(*args, **options)


@cache
def _default():
    return load()
