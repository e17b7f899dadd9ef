"""What simplification must reach, and what it must never do."""

import pytest

import derive
from derive import catalog
from derive import expr as E
from derive.expr import Get, Index
from derive.guards import draw_guards
from derive.simplify.factor import factor
from derive.simplify.sift import sift

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
        ("Y[i] = relu(X[i])", {"X": "dX = dY ∘ [X > 0]"}),
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


def test_sums_under_one_condition_are_one_sum() -> None:
    at = E.compare("==", i, Get("ids", (j,)))

    def scattered(tensor: str) -> E.Expr:
        return E.summation((j,), E.where(at, Get(tensor, (j,)), E.ZERO))

    both = E.summation((j,), E.where(at, E.add(Get("A", (j,)), Get("B", (j,))), E.ZERO))
    assert draw_guards(E.add(X, scattered("A"), scattered("B"))) is E.add(X, both)
    text = "g[n,e] = Z[n,e]**2; w[n,k] = g[n,idx[n,k]]/sum(l, g[n,idx[n,l]]); Y[n] = sum(k, w[n,k]*H[n,k])"
    assert sum("np.add.at" in line for line in derive.parse(text).backward_numpy) == 1


def test_an_equation_of_places_decides_the_conditions_beside_it() -> None:
    k = Index("k", "i")
    same, before = E.compare("==", i, k), E.compare("<", i, k)
    assert draw_guards(E.where(E.logic("and", same, E.negate(before)), X, E.ZERO)) is E.where(same, X, E.ZERO)
    assert draw_guards(E.where(E.logic("and", same, before), X, E.ZERO)) is E.ZERO


def test_a_condition_picks_one_term_of_a_sum() -> None:
    k = Index("k", "i")

    def total(letter: Index, place: E.Expr) -> E.Expr:
        return E.summation((letter,), E.where(E.compare("==", letter, place), Get("X", (letter,)), E.ZERO))

    assert sift(total(k, i)) is X
    assert sift(total(Index("q", "=3"), E.num(2))) is Get("X", (E.num(2),))
    for perhaps_none in (total(j, i), total(j, E.ZERO), total(j, Get("ids", (i,))), total(Index("q", "=3"), E.num(3))):
        assert sift(perhaps_none) is perhaps_none


def test_an_index_with_two_places_is_one_or_the_other() -> None:
    p, q = Index("p", "=2"), Index("q", "=3")
    assert draw_guards(E.compare("!=", p, E.ZERO)) is E.compare("==", p, E.ONE)
    assert draw_guards(E.compare("!=", q, E.ZERO)) is E.compare("!=", q, E.ZERO)
    text = "size p = 2\ninput X[p,i]\nY[p,i] = where(p == 0, -X[1,i], X[0,i])*S[i]"
    assert derive.parse(text).gradients["X"].index == "dX[p,i] = where(p == 0, S[i]*dY[1,i], -S[i]*dY[0,i])"


@pytest.mark.parametrize("scale", ["rsqrt(mean(e, X[n,e]**2) + 1e-6)", "r[n]"])
def test_a_scale_may_have_a_name(scale: str) -> None:
    """The rule of a normalisation is the same whether its inverse scale is a statement or stands in place."""
    named = "r[n] = rsqrt(mean(d, X[n,d]**2) + 1e-6)\n" if scale == "r[n]" else ""
    op = derive.parse(f"{named}Y[n,d] = X[n,d]*{scale}*w[d]")
    r = "r" if named else "rstd"
    assert op.gradients["X"].matrix == f"dX = diag({r}) (g − diag((g ∘ xhat) 1) xhat / |d|)"
    assert op.gradients["w"].matrix == "dw = (dY ∘ xhat)ᵀ 1"


def test_a_hat_stands_on_a_plain_name() -> None:
    assert "mhat = M_new/c1" in derive.parse(catalog.load("adamw").text).forward_numpy


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


def test_a_sum_that_another_gradient_has_is_read_there() -> None:
    """The gradient of the weight of the second map in differential attention is Σ B·dA, with the dA of the first."""
    op = derive.parse("""
A[t,s] = softmax(s, X[t,s])
B[t,s] = softmax(s, Z[t,s])
O[t,e] = sum(s, (A[t,s] - lam*B[t,s])*V[s,e])""")
    assert op.gradients["lam"].matrix == "dlam = −sum(B ∘ dA)"


def test_what_a_sum_was_divided_by_gives_it_back() -> None:
    """dz = −Σ dO·E V / z² is −Σ dO·O / z where O = E V / z; a factor may be 0 and gives nothing back."""
    divided = derive.parse("O[t,e] = sum(s, E[t,s]*V[s,e])/z[t]")
    assert divided.gradients["z"].index == "dz[t] = -g[t]*sum(e, O[t,e]*dO[t,e])"
    times = derive.parse("O[t,e] = sum(s, E[t,s]*V[s,e])*z[t]")
    assert "O[" not in times.gradients["z"].index.split("=")[1].replace("dO[", "")


@pytest.mark.parametrize(("text", "by", "index"), [
    ("Y[i] = A[i]/B[i]", "B", "dB[i] = -Y[i]*dA[i]"),
    ("Y[i] = A[i]/(B[i]**2 + 1)", "B", "dB[i] = -2*B[i]*Y[i]*dA[i]"),
    ("P[t,s] = E[t,s]/z[t]", "z", "dz[t] = -g[t]*sum(s, P[t,s]*dP[t,s])"),
])  # fmt: skip
def test_the_slope_of_a_quotient_reads_the_quotient(text: str, by: str, index: str) -> None:
    """A/B² is Y/B: shorter, and B² is 0 in float32 long before B is."""
    assert derive.parse(text).gradients[by].index == index


@pytest.mark.parametrize("text", [
    "Y[i] = A[i] - sum(l, A[i] - C + 0.25*l) - B", "param p = 0.0\nY[i] = p*C*A[i] + B*A[i]",
])  # fmt: skip
def test_a_sum_is_no_multiple_divided_by_what_may_be_0(text: str) -> None:
    """dC is size(l)·Σ dY, of which dB = Σ dY is no part where l has no places; and a parameter may be 0."""
    backward = "; ".join(derive.parse(text).json()["program"]["backward"])
    assert "/size_l" not in backward
    assert "/p" not in backward


def test_a_guard_makes_the_choices_that_ask_the_same() -> None:
    """The gradient of a masked log-sum-exp reads the scores: its guard tells that the mask holds."""
    text = "L = sum(i, logsumexp(j, where(i != j, S[i,j], -1e30)))"
    rule = derive.parse(text).gradients["S"].index
    assert "exp(S[i,j] - L_lse[i])" in rule
    assert "1e+30" not in rule
    inner = E.where(E.compare("<", i, j), X, Y)
    before, after = (E.where(E.compare("<", i, j), E.mul(Z, x), E.ZERO) for x in (inner, X))
    assert draw_guards(before) is after


def test_what_cancels_beside_a_factor_is_opened() -> None:
    """Matérn's kernel: e − e·(R + 1) loses every digit of a small R."""
    assert derive.parse("K[i] = (1 + R[i])*exp(-R[i])").gradients["R"].index == "dR[i] = -R[i]*dK[i]*exp(-R[i])"
