"""Test of llama_block.py: the kernels against a plain NumPy forward and its finite differences.

Runs wherever CuPy has a GPU: `python -m pytest test_llama_block.py`, or `python test_llama_block.py`.

Made by `derive emit llama_block -o DIR`; do not edit.
"""

import importlib.util
from pathlib import Path

import numpy as np

SIZES = {'=2': 2, 'b': 3, 't': 5, 'c': 4, 'h': 7, 'i': 2, 'g': 6, 'd': 3, 'f': 5}
REAL = {'X': (3, 5, 4), 'ln1w': (4,), 'wq': (7, 2, 2, 4), 'wk': (6, 2, 2, 4), 'wv': (6, 3, 4), 'C': (5, 2), 'S': (5, 2), 'wo': (4, 7, 3), 'ln2w': (4,), 'w1': (5, 4), 'w3': (5, 4), 'w2': (4, 5)}  # input: the sizes of its axes
INTEGER = {}  # input: the sizes of its axes, and how many values it may take
SCALE = 1e-4  # tolerance, relative to the largest entry


def forward(X, ln1w, wq, wk, wv, C, S, wo, ln2w, w1, w3, w2):
    """The formula in NumPy; the outputs in order."""
    size_t = 5
    size_h = 7
    size_i = 2
    eps = 1e-05
    group = 4
    N1_in = eps + np.mean(X**2, axis=-1)
    rstd = 1/np.sqrt(N1_in)
    xhat = rstd[..., None]*X
    N1 = ln1w*xhat
    Q = np.einsum('btc,hpic->bhtpi', N1, wq)
    K = np.einsum('btc,gpic->bgtpi', N1, wk)
    V = np.einsum('btc,gdc->bgtd', N1, wv)
    Qr = C[:, None, :]*Q + S[:, None, :]*np.where((np.arange(2) == 0)[:, None], (-Q[:, :, :, 1])[:, :, :, None, :], Q[:, :, :, 0][:, :, :, None, :])
    Kr = C[:, None, :]*K + S[:, None, :]*np.where((np.arange(2) == 0)[:, None], (-K[:, :, :, 1])[:, :, :, None, :], K[:, :, :, 0][:, :, :, None, :])
    A_sum = np.einsum('bhsai,bhtai->bhts', Kr[:, np.arange(size_h)//4], Qr)
    A = A_sum/(2**0.5*size_i**0.5)
    _t1 = np.where(np.arange(size_t) <= np.arange(size_t)[:, None], A, -1e+30)
    _t2 = np.max(_t1, axis=3, keepdims=True)
    P = np.where(_t1 <= -5e29, 0.0, np.exp(_t1 - _t2))
    P = P/np.maximum(np.sum(P, axis=3, keepdims=True), 1)
    O = P @ V[:, np.arange(size_h)//4]
    R = X + np.einsum('bhtd,chd->btc', O, wo)
    N2_in = eps + np.mean(R**2, axis=-1)
    rstd1 = 1/np.sqrt(N2_in)
    rhat = rstd1[..., None]*R
    N2 = ln2w*rhat
    F = N2 @ w1.T
    s1 = 1/(1 + np.exp(-F))
    U = N2 @ w3.T
    Y = R + np.einsum('btf,btf,btf,cf->btc', F, U, s1, w2)
    return (Y,)


def inputs():
    """Random arrays, the same at every run."""
    rng = np.random.default_rng(0)
    found = {}
    for name, shape in REAL.items():
        found[name] = rng.uniform(0.3, 1.3, shape)
    for name, (shape, top) in INTEGER.items():
        found[name] = rng.integers(0, top, shape)
    return found


def module():
    path = Path(__file__).with_name("llama_block.py")
    spec = importlib.util.spec_from_file_location("llama_block", path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def close(name, got, expected, floor=0.1):
    got, expected = np.asarray(got, dtype=float), np.asarray(expected, dtype=float)
    assert got.shape == expected.shape, (name, got.shape, expected.shape)
    worst = np.abs(got - expected).max(initial=0)
    assert worst <= SCALE*max(np.abs(expected).max(initial=0), floor), (name, worst)


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def test_llama_block(cp=None):
    if cp is None:
        import cupy as cp
    kernels = module().load(cp)
    host = inputs()
    host = {n: np.asarray(cp.asnumpy(cp.asarray(a, kernels.dtypes["T"]))).astype(float) if n in REAL else a
            for n, a in host.items()}
    device = {n: cp.asarray(a, kernels.dtypes["T"]) if n in REAL else cp.asarray(a) for n, a in host.items()}
    expected = as_tuple(forward(**host))
    results = as_tuple(kernels.llama_block_forward(device["X"], device["ln1w"], device["wq"], device["wk"], device["wv"], device["C"], device["S"], device["wo"], device["ln2w"], device["w1"], device["w3"], device["w2"]))
    for name, got, value in zip(('Y',), results, expected):
        close(name, cp.asnumpy(got), value)

    # Σ outputs·cotangents, differentiated by central differences in every element of every real input
    rng = np.random.default_rng(1)
    cotangents = [rng.standard_normal(np.shape(value)) for value in expected]
    device |= {n: cp.asarray(np.asarray(c), kernels.dtypes["T"]) for n, c in zip(('dY',), cotangents)}
    cotangents = [np.asarray(cp.asnumpy(device[n])).astype(float) for n in ('dY',)]
    device |= dict(zip(('Y', 'N1_in', 'Q', 'K', 'V', 'Qr', 'Kr', 'P_lse', 'O', 'R', 'N2_in', 'F', 'U'), results))
    gradients = as_tuple(kernels.llama_block_backward(device["dY"], device["X"], device["ln1w"], device["wq"], device["wk"], device["wv"], device["C"], device["S"], device["wo"], device["ln2w"], device["w1"], device["w3"], device["w2"], device["N1_in"], device["Q"], device["K"], device["V"], device["Qr"], device["Kr"], device["P_lse"], device["O"], device["R"], device["N2_in"], device["F"], device["U"]))
    slopes = {}
    for name in ('X', 'ln1w', 'wq', 'wk', 'wv', 'C', 'S', 'wo', 'ln2w', 'w1', 'w3', 'w2'):
        numeric = slopes[name] = np.zeros(host[name].shape)
        for place in np.ndindex(numeric.shape):
            sides = []
            for step in (1e-5, -1e-5):
                moved = {n: a.copy() for n, a in host.items()}
                moved[name][place] += step
                sides.append(sum((v*c).sum() for v, c in zip(as_tuple(forward(**moved)), cotangents)))
            numeric[place] = (sides[0] - sides[1])/2e-5
    largest = max(np.abs(numeric).max(initial=0) for numeric in slopes.values())
    for (name, numeric), got in zip(slopes.items(), gradients):
        close("d" + name, cp.asnumpy(got), numeric, max(0.1, largest/100))  # terms that cancel leave their rounding


if __name__ == "__main__":
    test_llama_block()
    print("llama_block: right")
