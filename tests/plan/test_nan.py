"""A NaN is the extremum of what it stands in, and gets no gradient: in kernels of every plan as in the NumPy rule."""

import warnings
from typing import Any

import numpy as np
import pytest

from derive.operation import parse
from derive.plan import make_plan
from derive.run import run
from derive.validate.data import Sample
from derive.validate.interpret import evaluate
from derive.validate.program import Runnable

#: a formula, and the plan of the kernel that has its extremum
EXTREMA = {
    "Y[i] = max(j, X[i,j])": "row",
    "Y[i] = min(j, X[i,j])": "row",
    "Y[j] = max(i, X[i,j])": "column",
    "Y[j] = min(i, X[i,j])": "column",
    "Y = max(i, j, X[i,j])": "total",
    "Y = min(i, j, X[i,j])": "total",
    "Y[i,j] = maximum(X[i,j], Z[i,j])": "pointwise",
    "Y[i,j] = minimum(Z[i,j], X[i,j])": "pointwise",
    "Y[i,j] = minimum(maximum(X[i,j], -0.5), 0.5)": "pointwise",
    "Y[i,u] = max(r, X[i,u+r])": "nest",
    "size r = 2\nY[i,u] = max(r, X[i,2*u+r])": "nest",
    "Y[i] = logsumexp(j, X[i,j])": "row",
    "Y[i,j] = softmax(j, X[i,j])": "row",
}


@pytest.mark.parametrize(
    ("text", "dtype"),
    [(text, "float32") for text in EXTREMA]
    + [(text, dtype) for text in list(EXTREMA)[:8:3] for dtype in ("float64", "float16", "bfloat16")],
)
def test_kernels_and_the_numpy_rule_agree_on_nan(text: str, dtype: str) -> None:
    op = parse(text)
    assert EXTREMA[text] in {k.plan for k in make_plan(op.derivation.forward, op.derivation.backward).forward.kernels}
    rng = np.random.default_rng(5)
    arrays: dict[str, Any] = {"X": rng.standard_normal((7, 36))}
    if "Z" in text:
        arrays["Z"] = rng.standard_normal((7, 36))
        arrays["Z"][4, 7] = np.nan
    arrays["X"][2, 5] = arrays["X"][6, 35] = np.nan
    free = {"r": 3} if "u+r" in text and "size" not in text else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        true = evaluate(text, arrays, free)["Y"]
        assert np.isnan(true).any()
        extents = {"i": 7, "j": 36, "u": 34 if free else 18, **(free or {"r": 2})}
        sample = Sample(arrays, {"Y": np.ones(true.shape)}, extents, "")
        rule = Runnable.of(op).run(sample)
    found = run(op, arrays, {"Y": np.ones(true.shape)}, dtype, free, "emulator")
    near = 3e-2 if dtype == "bfloat16" else 2e-3
    for name in ("Y", *(f"d{n}" for n in arrays)):
        want = true if name == "Y" else rule[name]
        np.testing.assert_allclose(rule[name], want)
        np.testing.assert_allclose(np.asarray(found[name]).astype(float), want, atol=near, rtol=near)
