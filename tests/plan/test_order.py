"""Sums of products of several tensors become contractions of two, in the cheapest order, and stay right."""

import numpy as np
import pytest

from derive.cost.counts import evaluate
from derive.pipeline import derive_text
from derive.plan import Plan, make_plan
from derive.run import compile

PRODUCTS = {
    "Y[i,l] = sum(j, k, A[i,j]*B[j,k]*C[k,l])": "ij,jk,kl->il",
    "Y[a,b] = sum(i, j, k, A[a,i]*B[i,j]*C[j,k]*D[k,b])": "ai,ij,jk,kb->ab",
    "Y[b,o] = sum(i, j, A[b,i]*B[o,i,j]*C[b,j])": "bi,oij,bj->bo",
    "Y[n,i,l] = sum(j, k, A[n,i,j]*B[n,j,k]*C[k,l])": "nij,njk,kl->nil",
    "Y[i,j,k] = sum(r, A[i,r]*B[j,r]*C[k,r])": "ir,jr,kr->ijk",
    "Y[i,k] = sum(j, l, A[i,j,l]*B[j,k])": "ijl,jk->ik",
    "Y[n] = sum(i, j, A[n,i]*B[i,j]*C[n,j])": "ni,ij,nj->n",
}


def plan(text: str) -> Plan:
    d = derive_text(text)
    return make_plan(d.forward, d.backward)


@pytest.mark.parametrize("text", PRODUCTS)
def test_they_agree_with_einsum(text: str) -> None:
    spec = PRODUCTS[text]
    terms, result = spec.split("->")
    sizes = dict(zip(sorted(set(spec) - set(",->")), (17, 5, 33, 3, 18, 7), strict=False))
    rng = np.random.default_rng(0)
    arrays = {n: rng.standard_normal([sizes[x] for x in t]) for n, t in zip("ABCD", terms.split(","), strict=False)}
    dy = rng.standard_normal([sizes[x] for x in result])
    got = compile(text, "float64", "emulator").run(arrays, {"Y": dy})
    np.testing.assert_allclose(got["Y"], np.einsum(spec, *arrays.values()), rtol=0, atol=1e-11)
    for n, t in zip(arrays, terms.split(","), strict=True):
        rest = [(x, a) for (m, a), x in zip(arrays.items(), terms.split(","), strict=True) if m != n]
        others = ",".join(x for x, _ in rest)
        alone = "".join(x for x in t if x not in others + result)  # summed over this tensor alone: the same for all
        want = np.einsum(f"{result},{others}->{''.join(x for x in t if x not in alone)}", dy, *(a for _, a in rest))
        want = np.broadcast_to(want[..., None], arrays[n].shape) if alone else want
        np.testing.assert_allclose(got["d" + n], want, rtol=0, atol=1e-11)


@pytest.mark.parametrize("text", PRODUCTS)
def test_none_of_them_is_a_nest(text: str) -> None:
    made = plan(text)
    assert made.backward is not None
    kinds = {k.plan for p in made.passes for k in p.kernels}
    assert "contraction" in kinds
    assert "nest" not in kinds


def test_a_chain_costs_two_products_and_shares_its_steps() -> None:
    made = plan("Y[i,l] = sum(j, k, A[i,j]*B[j,k]*C[k,l])")
    n = 8192
    sizes = {f"size_{x}": n for x in "ijkl"}
    assert evaluate(made.contract.flops_forward, sizes) == 2 * 2 * n**3
    assert evaluate(made.contract.flops_backward, sizes) == 5 * 2 * n**3  # one step serves two gradients
    assert [b.axes for b in made.forward.temporaries if "partial" not in b.name] == [("size_i", "size_k")]
    assert evaluate(made.contract.bytes_forward, sizes) == 4 * 6 * n**2


def test_small_stated_extents_decide_the_order() -> None:
    """A[i,j] B[j,k] first costs 512^2·2, B[j,k] C[k,l] 2·512^2 and then 512^3: the first of them is taken."""
    made = plan("size k = 2\nY[i,l] = sum(j, k, A[i,j]*B[j,k]*C[k,l])")
    first = made.forward.kernels[0]
    assert [b.axes for b in first.writes if "partial" not in b.name] == [("size_i", "2")]


def test_no_temporary_is_larger_than_the_tensors_of_the_product() -> None:
    made = plan("Y[b,o] = sum(i, j, A[b,i]*B[o,i,j]*C[b,j])")
    assert made.backward is not None
    kept = [b for p in made.passes for b in p.temporaries if "partial" not in b.name]
    assert kept == []


def test_a_part_of_a_product_reads_no_name_that_only_the_forward_has() -> None:
    """relu(H) is computed again in the backward; the contraction that order makes of its sum writes it out."""
    d = derive_text(
        "H[n,e,h] = relu(sum(i, X[n,i]*A[e,i,h]))\nG[n,e] = sum(i, X[n,i]*B[i,e])\n"
        "Y[n,o] = sum(e, h, G[n,e]*H[n,e,h]*C[e,h,o])"
    )
    made = make_plan(d.forward, d.backward)
    assert made.backward is not None
    assert not [b.name for b in made.backward.arguments if b.role == "temporary"]
