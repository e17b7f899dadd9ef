"""Test of gpt2_block.py: the kernels against a plain NumPy forward and its finite differences.

Runs wherever CuPy has a GPU: `python -m pytest test_gpt2_block.py`, or `python test_gpt2_block.py`.

Made by `derive emit gpt2_block -o DIR`; do not edit.
"""

import importlib.util
from pathlib import Path

import numpy as np

SIZES = {'b': 3, 't': 5, 'c': 4, 'h': 7, 'd': 2, 'f': 6}
REAL = {'X': (3, 5, 4), 'ln1w': (4,), 'ln1b': (4,), 'wq': (7, 2, 4), 'bq': (7, 2), 'wk': (7, 2, 4), 'bk': (7, 2), 'wv': (7, 2, 4), 'bv': (7, 2), 'attprojw': (4, 7, 2), 'attprojb': (4,), 'ln2w': (4,), 'ln2b': (4,), 'fcw': (6, 4), 'fcb': (6,), 'fcprojw': (4, 6), 'fcprojb': (4,)}  # input: the sizes of its axes
INTEGER = {}  # input: the sizes of its axes, and how many values it may take
SCALE = 1e-4  # tolerance, relative to the largest entry


def forward(X, ln1w, ln1b, wq, bq, wk, bk, wv, bv, attprojw, attprojb, ln2w, ln2b, fcw, fcb, fcprojw, fcprojb):
    """The formula in NumPy; the outputs in order."""
    size_t = 5
    size_d = 2
    eps = 1e-05
    M1 = np.mean(X, axis=-1)
    V1 = np.mean((X - M1[..., None])**2, axis=-1)
    rstd = 1/np.sqrt(eps + V1)
    xhat = rstd[..., None]*(X - M1[..., None])
    N1 = ln1b + ln1w*xhat
    Q = bq[:, None, :] + np.einsum('btc,hdc->bhtd', N1, wq)
    K = bk[:, None, :] + np.einsum('btc,hdc->bhtd', N1, wk)
    U = bv[:, None, :] + np.einsum('btc,hdc->bhtd', N1, wv)
    S_sum = Q @ K.swapaxes(-1, -2)
    S = S_sum/size_d**0.5
    _t1 = np.where(np.arange(size_t) <= np.arange(size_t)[:, None], S, -1e+30)
    _t2 = np.max(_t1, axis=3, keepdims=True)
    P = np.where(_t1 <= -5e29, 0.0, np.exp(_t1 - _t2))
    P = P/np.maximum(np.sum(P, axis=3, keepdims=True), 1)
    O = P @ U
    R = X + attprojb + np.einsum('bhtd,chd->btc', O, attprojw)
    M2 = np.mean(R, axis=-1)
    V2 = np.mean((R - M2[..., None])**2, axis=-1)
    rstd1 = 1/np.sqrt(eps + V2)
    rhat = rstd1[..., None]*(R - M2[..., None])
    N2 = ln2b + ln2w*rhat
    F = fcb + N2 @ fcw.T
    t1 = np.tanh(2**0.5*(F + 0.044715*F**3)/np.pi**0.5)
    G = 0.5*F*(t1 + 1)
    Y = R + fcprojb + G @ fcprojw.T
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
    path = Path(__file__).with_name("gpt2_block.py")
    spec = importlib.util.spec_from_file_location("gpt2_block", path)
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


def test_gpt2_block(cp=None):
    if cp is None:
        import cupy as cp
    kernels = module().load(cp)
    host = inputs()
    host = {n: np.asarray(cp.asnumpy(cp.asarray(a, kernels.dtypes["T"]))).astype(float) if n in REAL else a
            for n, a in host.items()}
    device = {n: cp.asarray(a, kernels.dtypes["T"]) if n in REAL else cp.asarray(a) for n, a in host.items()}
    expected = as_tuple(forward(**host))
    results = as_tuple(kernels.gpt2_block_forward(device["X"], device["ln1w"], device["ln1b"], device["wq"], device["bq"], device["wk"], device["bk"], device["wv"], device["bv"], device["attprojw"], device["attprojb"], device["ln2w"], device["ln2b"], device["fcw"], device["fcb"], device["fcprojw"], device["fcprojb"]))
    for name, got, value in zip(('Y',), results, expected):
        close(name, cp.asnumpy(got), value)

    # Σ outputs·cotangents, differentiated by central differences in every element of every real input
    rng = np.random.default_rng(1)
    cotangents = [rng.standard_normal(np.shape(value)) for value in expected]
    device |= {n: cp.asarray(np.asarray(c), kernels.dtypes["T"]) for n, c in zip(('dY',), cotangents)}
    cotangents = [np.asarray(cp.asnumpy(device[n])).astype(float) for n in ('dY',)]
    device |= dict(zip(('Y', 'M1', 'V1', 'Q', 'K', 'U', 'P_lse', 'O', 'R', 'M2', 'V2', 'F'), results))
    gradients = as_tuple(kernels.gpt2_block_backward(device["dY"], device["X"], device["ln1w"], device["ln1b"], device["wq"], device["wk"], device["wv"], device["attprojw"], device["ln2w"], device["ln2b"], device["fcw"], device["fcprojw"], device["M1"], device["V1"], device["Q"], device["K"], device["U"], device["P_lse"], device["O"], device["R"], device["M2"], device["V2"], device["F"]))
    slopes = {}
    for name in ('X', 'ln1w', 'ln1b', 'wq', 'bq', 'wk', 'bk', 'wv', 'bv', 'attprojw', 'attprojb', 'ln2w', 'ln2b', 'fcw', 'fcb', 'fcprojw', 'fcprojb'):
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
    test_gpt2_block()
    print("gpt2_block: right")
