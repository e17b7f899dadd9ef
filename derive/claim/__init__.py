"""Claims about gradients: proved, refuted with a reason, or undecided.

    found = claim.check(derive.parse("Y[m,n] = sum(k, A[m,k]*B[k,n])"), "dB = dY.T @ A")
    found.verdict, found.reason, found.rule      # 'refuted', 'shapes do not fit: ...', 'dB = Aᵀ dY'

A claim is written in matrix syntax (NumPy's), in index notation (`dB[k,n] = sum(m, A[m,k]*dY[m,n])`), or says what
an element's partial derivative is (`d(P[i])/d(S[j]) = ...`).  It may use every tensor of the formula and the
derivative of the loss by any of them, `dX` or `X_G`.
"""

from derive.claim.check import Verdict, check, check_all

__all__ = ["Verdict", "check", "check_all"]
