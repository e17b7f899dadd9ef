"""Which kernels a formula becomes: the menu's entries in order, and what the backward keeps."""

import pytest

from derive.cost.counts import evaluate
from derive.pipeline import derive_text
from derive.plan import Plan, make_plan

LAYERNORM = """
M[b,s]   = mean(d, X[b,s,d])
V[b,s]   = mean(d, (X[b,s,d] - M[b,s])**2)
Y[b,s,d] = (X[b,s,d] - M[b,s]) / sqrt(V[b,s] + 1e-5) * gamma[d] + beta[d]
"""
GELU = "Y[i] = 0.5*X[i]*(1 + tanh(0.7978845608*(X[i] + 0.044715*X[i]**3)))"
KINDS = {
    GELU: (["pointwise"], ["pointwise"]),
    "P[i,j] = softmax(j, S[i,j])": (["row"], ["row"]),
    LAYERNORM: (["row"], None),
    "Y[i,j] = relu(sum(k, X[i,k]*W[k,j]) + b[j])": (["contraction"] * 2, None),
    "Y[j] = sum(i, X[i,j]**2)": (["column", "column"], ["pointwise"]),
    "Y[t,c] = E[ids[t],c]": (["pointwise"], ["scatter"] * 3),
    "Y[b,o,t] = sum(c, r, X[b,c,t+r]*W[o,c,r])": (["contraction"] * 2, None),
    "Y[b,c,t] = max(r, X[b,c,2*t+r])": (["nest"], None),
    # Windows are summed by a thread each; what makes few results of many terms, by many threads.
    "Y[b,c,t] = sum(r, where(t-r >= 0, X[b,c,t-r]*W[c,r], 0))": (["nest"], ["nest", "row"]),
    "Y[b,t,c] = sum(r, where(t-r >= 0, X[b,t-r,c]*W[c,r], 0))": (["nest"], ["nest", "column", "column"]),
    "Y[b,t] = sum(o, u, where(0 <= u - 2*t < 3, W[b,o,u-2*t]*X[o,u], 0))": (["nest"], None),
    "M[b,g] = mean(k, t, X[b,2*g+k,t])": (["row"], None),
    "Y[b,c] = sum(t, X[b,t,c]*where(t >= 1, X[b,t-1,c], 0))": (["column"] * 2, None),
    "Y[g] = sum(t, k, X[t,2*g+k]*A[t])": (["column"] * 2, None),
    "Y[g] = sum(t, k, X[t,16*g+k]*A[t])": (["row"], None),
}


def plan(text: str) -> Plan:
    d = derive_text(text)
    return make_plan(d.forward, d.backward)


@pytest.mark.parametrize("text", KINDS, ids=lambda t: t.strip().splitlines()[-1][:40])
def test_kernels_of(text: str) -> None:
    made = plan(text)
    assert made.backward is not None
    forward, backward = KINDS[text]
    assert [k.plan for k in made.forward.kernels] == forward
    if backward is not None:
        assert [k.plan for k in made.backward.kernels] == backward


def test_gelu_and_relu_save_nothing() -> None:
    assert plan(GELU).contract.saved == ()
    assert plan("Y[i] = relu(X[i])").contract.saved == ()


def test_layernorm_saves_row_statistics_only() -> None:
    saved = [b for b in plan(LAYERNORM).forward.results if b.role == "saved"]
    assert saved
    assert all(b.axes == ("size_b", "size_s") for b in saved)


def test_cross_entropy_saves_the_log_sum_exp() -> None:
    made = plan("L = mean(b, logsumexp(v, X[b,v]) - X[b,labels[b]])")
    assert [b.axes for b in made.forward.results if b.role == "saved"] == [("size_b",)]


def test_an_empty_menu_makes_everything_a_nest() -> None:
    d = derive_text(LAYERNORM)
    made = make_plan(d.forward, d.backward, menu=())
    assert made.backward is not None
    assert {k.plan for k in (*made.forward.kernels, *made.backward.kernels)} <= {"nest", "pointwise"}


def test_a_gradient_equal_to_the_cotangent_is_an_alias() -> None:
    made = plan("Y[i,j] = X[i,j] + b[j]")
    assert made.backward is not None
    assert made.backward.aliases == (("dX", "dY"),)


def test_flops_of_a_matrix_product() -> None:
    contract = plan("Y[i,j] = sum(k, X[i,k]*W[k,j])").contract
    sizes = {"size_i": 4, "size_j": 5, "size_k": 6}
    assert evaluate(contract.flops_forward, sizes) == 2 * 4 * 5 * 6
    assert evaluate(contract.flops_backward, sizes) == 4 * 4 * 5 * 6
    assert evaluate(contract.bytes_forward, sizes) == 4 * (4 * 6 + 6 * 5 + 4 * 5)


def test_flops_of_attention_and_of_a_scatter() -> None:
    attention = "S[t,s] = sum(d, Q[t,d]*K[s,d])\nP[t,s] = softmax(s, S[t,s])\nO[t,d] = sum(s, P[t,s]*V[s,d])"
    fused = plan(attention).contract
    sizes = {"size_t": 128, "size_s": 96, "size_d": 64, "size_c": 8, "size_v": 50}
    products, pairs = 4 * 128 * 96 * 64, 128 * 96
    assert products < evaluate(fused.flops_forward, sizes) < products + 16 * pairs
    assert 2.5 * products < evaluate(fused.flops_backward, sizes) < 4 * products  # the scores are computed again
    gather = plan("Y[t,c] = E[ids[t],c]").contract
    assert evaluate(gather.flops_forward, sizes) == 0
    assert evaluate(gather.flops_backward, sizes) == 128 * 8
