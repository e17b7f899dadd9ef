"""Every kind of kernel against the nest, which is slow and plain, at awkward shapes."""

import numpy as np
import pytest

from derive.extents import solve
from derive.plan.fuse import MENU
from derive.run import compile

OPS = {
    "softmax": "P[i,j] = softmax(j, S[i,j])",
    "softmax_first": "P[i,j] = softmax(i, S[i,j])",
    "layernorm": """M[b,d] = mean(j, X[b,d,j])
V[b,d] = mean(j, (X[b,d,j] - M[b,d])**2)
Y[b,d,j] = (X[b,d,j] - M[b,d]) / sqrt(V[b,d] + 1e-2) * g[j] + h[j]""",
    "linear": "Y[b,i,j] = sum(k, X[b,i,k]*W[k,j]) + a[j]",
    "contraction_tn": "Y[i,j] = sum(k, A[k,i]*B[k,j])",
    "contraction_nt": "Y[b,i,j] = sum(k, A[b,i,k]*B[b,j,k])",
    "contraction_tt": "Y[i,j] = sum(k, A[k,i]*B[j,k])",
    "cross_entropy": "L = mean(b, i, logsumexp(j, X[b,i,j]) - X[b,i,labels[b,i]])",
    "embedding": "Y[b,i,j] = E[ids[b,i],j] + P[i,j]",
    "attention": """S[b,i,j] = where(j <= i, sum(d, Q[b,i,d]*K[b,j,d])*0.3, -1e30)
P[b,i,j] = softmax(j, S[b,i,j])
O[b,i,d] = sum(j, P[b,i,j]*V[b,j,d])""",
    "column_max": "Y[j] = max(i, X[i,j])",
    "conv": "Y[b,i,j] = sum(c, r, where(j - r >= 0, X[b,c,j-r], 0)*W[i,c,r])",
}
SIZES = (1, 2, 3, 5, 17, 33, 65, 129)
TOLERANCE = {"float64": 1e-11, "float32": 2e-5}


def shapes(name: str, extents: tuple[str, ...], n: int) -> dict[str, int]:
    rng = np.random.default_rng([n, len(name)])
    if n == 0:  # zero length, in front
        return {e: 0 if k == 0 else 3 for k, e in enumerate(extents)}
    return {e: int(rng.choice(SIZES[: 5 if k == 0 else 8])) for k, e in enumerate(extents)}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", OPS)
def test_kernels_agree_with_the_nest(name: str, dtype: str) -> None:
    fast, plain = compile(OPS[name], dtype, "emulator"), compile(OPS[name], "float64", "emulator", menu=())
    program = fast.forward_program
    for n in range(4):
        sizes = shapes(name, program.extents, n)
        rng = np.random.default_rng(n)
        arrays = {t.name: rng.standard_normal([sizes[e] for e in t.axes]) for t in program.inputs}
        for t in program.inputs:
            if t.integer:
                top = sizes.get("j", 3) if name == "cross_entropy" else sizes["E.0"]
                arrays[t.name] = rng.integers(0, max(top, 1), [sizes[e] for e in t.axes])
        if name == "embedding" and sizes["E.0"] == 0:
            continue
        full = solve(program, {k: a.shape for k, a in arrays.items()})
        cotangents = {o: rng.standard_normal([full[e] for e in program.axes(o)]) for o in program.outputs}
        with np.errstate(all="ignore"):
            got, expected = (k.run(arrays, cotangents) for k in (fast, plain))
        for key, value in expected.items():
            if np.isfinite(value).all():
                scale = max(np.abs(value).max(initial=0), 0.1)
                assert np.abs(got[key] - value).max(initial=0) < TOLERANCE[dtype] * scale, (key, sizes)
            else:
                np.testing.assert_array_equal(got[key], value)


def test_a_long_sum_in_float32_stays_accurate() -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, (3, 70001)).astype(np.float32)
    for text, axis in (("Y[i] = sum(j, X[i,j])", x), ("Y[j] = sum(i, X[i,j])", np.ascontiguousarray(x.T))):
        for menu in (MENU, ()):
            got = compile(text, "float32", "emulator", menu=menu).run({"X": axis})["Y"]
            expected = axis.astype(float).sum(axis=1 if axis is x else 0)
            assert np.abs(got - expected).max() < 2e-6 * expected.max()
