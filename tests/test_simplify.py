"""What simplification must reach, and what it must never do."""

import pytest

import derive
from derive import expr as E
from derive.expr import Get, Index
from derive.guards import draw_guards
from derive.simplify.factor import factor

i, j = Index("i", "i"), Index("j", "j")
X, Y, Z = (Get(n, (i,)) for n in "XYZ")


def rules(text: str) -> dict[str, str]:
    return {n: g.matrix for n, g in derive.parse(text).gradients.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Y[m,n] = sum(k, A[m,k]*B[k,n])", {"A": "dA = dY Bᵀ", "B": "dB = Aᵀ dY"}),
        ("Y[m,n] = sum(k, A[m,k]*B[n,k])", {"A": "dA = dY B", "B": "dB = dYᵀ A"}),
        ("Y[m,n] = sum(k, A[k,m]*B[k,n])", {"A": "dA = B dYᵀ", "B": "dB = A dY"}),
        ("Y[m,n] = sum(k, A[k,m]*B[n,k])", {"A": "dA = Bᵀ dYᵀ", "B": "dB = dYᵀ Aᵀ"}),
        ("Y[b,s,o] = sum(i, X[b,s,i]*W[o,i]) + c[o]", {"X": "dX = dY W", "W": "dW = dYᵀ X", "c": "dc = dYᵀ 1"}),
        ("Y[b,h,t,s] = sum(d, Q[b,h,t,d]*K[b,h,s,d])", {"Q": "dQ = dY K", "K": "dK = dYᵀ Q"}),
        ("P[i,j] = softmax(j, S[i,j])", {"S": "dS = P ∘ (dP − (P ∘ dP) 1 1ᵀ)"}),
        ("Y[i] = relu(X[i])", {"X": "dX = dY ∘ [0 < X]"}),
        ("Y[i] = tanh(X[i])", {"X": "dX = dY ∘ (1 − Y²)"}),
        ("y = sum(i, a[i]*b[i])", {"a": "da = dy b", "b": "db = dy a"}),
        ("Y[i] = X[i]**2 + X[i]", {"X": "dX = dY ∘ (2 X + 1)"}),
        ("L = mean(b, s, logsumexp(v, X[b,s,v]) - X[b,s,labels[b,s]])",
         {"X": "dX = dL (softmax(X) − [v = labels]) / (|b| |s|)"}),
    ],
)
def test_matrix_rules(text: str, expected: dict[str, str]) -> None:
    assert rules(text) == expected


def test_a_mean_subtracted_from_itself_leaves_no_trace() -> None:
    """Σ_d (X − M) = 0: the variance's path through the mean vanishes."""
    text = "M[b] = mean(d, X[b,d])\nV[b] = mean(d, (X[b,d] - M[b])**2)"
    assert "dM" not in "\n".join(derive.parse(text).backward_numpy)


def test_a_mask_is_dropped_only_where_p_is_zero() -> None:
    masked = "P[t,s] = softmax(s, where(s <= t, S[t,s], -1e30))"
    assert "where" not in derive.parse(masked).gradients["S"].index
    finite = "P[t,s] = softmax(s, where(s <= t, S[t,s], -1))"
    assert "where" in derive.parse(finite).gradients["S"].index


def test_a_guard_covers_its_whole_term() -> None:
    c = E.compare("<", E.ZERO, X)
    assert draw_guards(E.mul(Y, E.where(c, Z, E.ZERO))) is E.where(c, E.mul(Y, Z), E.ZERO)
    two = E.add(E.where(c, Y, E.ZERO), E.where(E.negate(c), Z, E.ZERO))
    assert draw_guards(two) is E.where(c, Y, Z)


def test_factoring_keeps_what_it_cannot_make_smaller() -> None:
    assert factor(E.add(E.mul(X, Y), E.mul(X, Z))) is E.mul(X, E.add(Y, Z))
    assert factor(E.add(X, Y)) is E.add(X, Y)


def test_no_outer_product_is_stored() -> None:
    """A common factor of two contractions is not named when naming it would take a tensor of all their axes."""
    op = derive.parse("Y[m,n] = sum(k, A[m,k]*B[k,n])\nZ[m,n] = sum(k, A[m,k]*B[k,n]*C[k])\noutput Y, Z")
    assert all(len(s.indices) <= 2 for s in op.derivation.backward.statements)


@pytest.mark.parametrize("x", ["d", "e", "S", "N", "I", "E", "Q", "beta", "gamma", "zeta", "float32", "int", "this"])
def test_names_are_opaque(x: str) -> None:
    assert derive.parse(f"Y[a] = {x}[a]**2").gradients[x].index in (f"d{x}[a] = 2*{x}[a]*dY[a]",
                                                                   f"d{x}[a] = 2*dY[a]*{x}[a]")
