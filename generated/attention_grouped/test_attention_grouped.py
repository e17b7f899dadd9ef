"""Test of attention_grouped.py: the kernels against a plain NumPy forward and its finite differences.

Runs wherever CuPy has a GPU: `python -m pytest test_attention_grouped.py`, or `python test_attention_grouped.py`.

Made by `derive emit attention_grouped -o DIR`; do not edit.
"""

import importlib.util
from pathlib import Path

import numpy as np

SIZES = {'b': 3, 'g': 5, 's': 4, 'd': 7, 'v': 2, 'h': 6, 't': 3}
REAL = {'K': (3, 5, 4, 7), 'V': (3, 5, 4, 2), 'Q': (3, 6, 3, 7)}  # input: the sizes of its axes
INTEGER = {}  # input: the sizes of its axes, and how many values it may take
SCALE = 1e-4  # tolerance, relative to the largest entry


def forward(K, V, Q):
    """The formula in NumPy; the outputs in order."""
    size_s = 4
    size_d = 7
    size_h = 6
    size_t = 3
    group = 4
    S_sum = Q @ K[:, np.arange(size_h)//4].swapaxes(-1, -2)
    S = S_sum/size_d**0.5
    _t1 = np.where(np.arange(size_s) <= np.arange(size_t)[:, None], S, -1e+30)
    _t2 = np.max(_t1, axis=3, keepdims=True)
    P = np.where(_t1 <= -5e29, 0.0, np.exp(_t1 - _t2))
    P = P/np.maximum(np.sum(P, axis=3, keepdims=True), 1)
    O = P @ V[:, np.arange(size_h)//4]
    return (O,)


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
    path = Path(__file__).with_name("attention_grouped.py")
    spec = importlib.util.spec_from_file_location("attention_grouped", path)
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


def test_attention_grouped(cp=None):
    if cp is None:
        import cupy as cp
    kernels = module().load(cp)
    host = inputs()
    host = {n: np.asarray(cp.asnumpy(cp.asarray(a, kernels.dtypes["T"]))).astype(float) if n in REAL else a
            for n, a in host.items()}
    device = {n: cp.asarray(a, kernels.dtypes["T"]) if n in REAL else cp.asarray(a) for n, a in host.items()}
    expected = as_tuple(forward(**host))
    results = as_tuple(kernels.attention_grouped_forward(device["K"], device["V"], device["Q"]))
    for name, got, value in zip(('O',), results, expected):
        close(name, cp.asnumpy(got), value)

    # Σ outputs·cotangents, differentiated by central differences in every element of every real input
    rng = np.random.default_rng(1)
    cotangents = [rng.standard_normal(np.shape(value)) for value in expected]
    device |= {n: cp.asarray(np.asarray(c), kernels.dtypes["T"]) for n, c in zip(('dO',), cotangents)}
    cotangents = [np.asarray(cp.asnumpy(device[n])).astype(float) for n in ('dO',)]
    device |= dict(zip(('O', 'P_lse'), results))
    gradients = as_tuple(kernels.attention_grouped_backward(device["dO"], device["K"], device["V"], device["Q"], device["O"], device["P_lse"]))
    slopes = {}
    for name in ('K', 'V', 'Q'):
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
    test_attention_grouped()
    print("attention_grouped: right")
