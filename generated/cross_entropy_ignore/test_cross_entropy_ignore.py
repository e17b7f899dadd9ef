"""Test of cross_entropy_ignore.py: the kernels against a plain NumPy forward and its finite differences.

Runs wherever CuPy has a GPU: `python -m pytest test_cross_entropy_ignore.py`, or `python test_cross_entropy_ignore.py`.

Made by `derive emit cross_entropy_ignore -o DIR`; do not edit.
"""

import importlib.util
from pathlib import Path

import numpy as np

SIZES = {'b': 3, 's': 5, 'v': 4}
REAL = {'X': (3, 5, 4)}  # input: the sizes of its axes
INTEGER = {'labels': ((3, 5), 3)}  # input: the sizes of its axes, and how many values it may take
SCALE = 1e-4  # tolerance, relative to the largest entry


def forward(labels, X):
    """The formula in NumPy; the outputs in order."""
    size_b = 3
    size_s = 5
    N = np.sum(labels >= 0)
    _t1 = np.max(X, axis=2, keepdims=True)
    L_lse = np.log(np.sum(np.exp(X - _t1), axis=2)) + np.squeeze(_t1, axis=2)
    L = np.sum(np.where(labels >= 0, L_lse - X[np.arange(size_b)[:, None], np.arange(size_s), np.clip(labels, 0, X.shape[2] - 1)], 0))/np.maximum(1, N)
    return (L,)


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
    path = Path(__file__).with_name("cross_entropy_ignore.py")
    spec = importlib.util.spec_from_file_location("cross_entropy_ignore", path)
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


def test_cross_entropy_ignore(cp=None):
    if cp is None:
        import cupy as cp
    kernels = module().load(cp)
    host = inputs()
    host = {n: np.asarray(cp.asnumpy(cp.asarray(a, kernels.dtypes["T"]))).astype(float) if n in REAL else a
            for n, a in host.items()}
    device = {n: cp.asarray(a, kernels.dtypes["T"]) if n in REAL else cp.asarray(a) for n, a in host.items()}
    expected = as_tuple(forward(**host))
    results = as_tuple(kernels.cross_entropy_ignore_forward(device["labels"], device["X"]))
    for name, got, value in zip(('L',), results, expected):
        close(name, cp.asnumpy(got), value)

    # Σ outputs·cotangents, differentiated by central differences in every element of every real input
    rng = np.random.default_rng(1)
    cotangents = [rng.standard_normal(np.shape(value)) for value in expected]
    device |= {n: cp.asarray(np.asarray(c), kernels.dtypes["T"]) for n, c in zip(('dL',), cotangents)}
    cotangents = [np.asarray(cp.asnumpy(device[n])).astype(float) for n in ('dL',)]
    device |= dict(zip(('L', 'N', 'L_lse'), results))
    gradients = as_tuple(kernels.cross_entropy_ignore_backward(device["dL"], device["labels"], device["X"], device["N"], device["L_lse"]))
    slopes = {}
    for name in ('X',):
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
    test_cross_entropy_ignore()
    print("cross_entropy_ignore: right")
