"""Pointwise kernels move 16 bytes at once where an array is aligned, and single elements where it is not."""

from typing import Any

import numpy as np
import pytest

from derive import emulator
from derive.arrays import storage
from derive.emit import sources
from derive.operation import parse
from derive.plan import make_plan
from derive.plan.records import Nest
from derive.profile.drive import Counting
from derive.run import _import
from derive.validate.drive import Poisoned

TEXT = "Y[i,j] = X[i,j]*tanh(X[i,j]) + b[j]*m[i]"
SIZES = [(1, 1), (1, 3), (2, 2), (3, 5), (1, 257), (31, 33), (17, 129)]


def loaded(dtype: str, cp: Any) -> Any:
    d = parse(TEXT, "op").derivation
    return _import("op", sources("op", make_plan(d.forward, d.backward, dtype))).load(cp)


def shifted(values: Any, dtype: str, by: int) -> Any:
    """A copy that begins `by` elements after a multiple of 256 bytes."""
    held = emulator.empty(values.size + by, storage(dtype))
    held[by:] = values.ravel()
    return held[by:].reshape(values.shape)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("by", [0, 1, 3])
def test_any_alignment_and_any_length_in_check_mode(dtype: str, by: int) -> None:
    kernels = loaded(dtype, Poisoned(emulator, check=True))
    rng = np.random.default_rng(by)
    for i, j in SIZES:
        host = {n: rng.standard_normal(s).astype(storage(dtype)) for n, s in
                {"X": (i, j), "b": (j,), "m": (i,), "dY": (i, j)}.items()}
        device = {n: shifted(a, dtype, by if n != "dY" else 0) for n, a in host.items()}
        x, b, m, dy = (host[n].astype(float) for n in ("X", "b", "m", "dY"))
        y = kernels.op_forward(device["X"], device["b"], device["m"])
        t = np.tanh(x)
        near = {"float64": 1e-13, "float32": 1e-5, "float16": 1e-2, "bfloat16": 6e-2}[dtype]
        np.testing.assert_allclose(np.asarray(y).astype(float), x * t + b * m[:, None], atol=near, rtol=near)
        made = make_plan(*(getattr(parse(TEXT).derivation, p) for p in ("forward", "backward")), dtype).backward
        assert made is not None
        held = [shifted(np.ones([{"size_i": i, "size_j": j}[a] for a in g.axes]), dtype, by) for g in made.results]
        given = [device[a.tensor] for a in made.arguments]
        found = dict(zip((g.tensor for g in made.results),
                         kernels.op_backward(*given, out=tuple(held), accumulate=True), strict=True))
        want = dy * (t + x * (1 - t * t)) + 1
        np.testing.assert_allclose(np.asarray(found["dX"]).astype(float), want, atol=2 * near, rtol=near)


@pytest.mark.parametrize(("dtype", "lanes"), [("float32", 4), ("float64", 2), ("float16", 8), ("bfloat16", 8)])
def test_a_warp_moves_512_bytes_where_memory_is_aligned(dtype: str, lanes: int) -> None:
    n = 32 * lanes * 4
    for by in (0, 1):
        counting = Counting()
        d = parse("Y[i] = relu(X[i])", "op").derivation
        made = make_plan(d.forward, d.backward, dtype)
        shape = made.forward.kernels[0].shape
        assert isinstance(shape, Nest)
        assert shape.lanes == lanes
        texts = sources("op", made)
        _import("op", texts).load(counting).op_forward(shifted(np.ones(n), dtype, by))
        found = {"read": set(), "write": set()}
        for site in counting.launches[0].sites:
            line = texts["op.cu"].splitlines()[site.line - 1]
            found["write" if site.write else "read"].add((site.bytes // site.requests, "*(" in line))
        assert found["write"] == {(512, True)}  # the result is our own, aligned
        assert {packed for _, packed in found["read"]} == {by == 0}
        assert by or found["read"] == {(512, True)}


def test_broadcast_operands_and_sums_stay_single() -> None:
    d = parse(TEXT).derivation
    shape = make_plan(d.forward, d.backward).forward.kernels[0].shape
    assert isinstance(shape, Nest)
    assert {b.tensor for b, _ in shape.packs} == {"X", "Y"}
    looped = parse("Y[i] = max(r, X[2*i+r])").derivation
    shape = make_plan(looped.forward, None).forward.kernels[0].shape
    assert isinstance(shape, Nest)
    assert shape.lanes == 1
