"""Row kernels move 16 bytes at once where a row is aligned, and single elements where it is not."""

from typing import Any

import numpy as np
import pytest

from derive import emulator
from derive.arrays import storage
from derive.emit import sources
from derive.operation import parse
from derive.plan import make_plan
from derive.plan.records import Row
from derive.profile.drive import Counting
from derive.run import _import
from derive.validate.drive import Poisoned
from tests.plan.test_packs import shifted

LENGTHS = (1, 2, 3, 5, 17, 31, 33, 127, 128, 129, 256, 257)
#: rows of two tensors, one of them shared by all rows, whose gradient is a sum over rows
TEXT = "M[i] = sum(k, X[i,k]*w[k])\nY[i,j] = X[i,j]*M[i] + w[j]"
NEAR = {"float64": 1e-12, "float32": 3e-5, "float16": 2e-2, "bfloat16": 1e-1}


def planned(text: str, dtype: str) -> Any:
    d = parse(text, "op").derivation
    return make_plan(d.forward, d.backward, dtype)


def close(found: Any, want: Any, dtype: str) -> None:
    error = np.abs(np.asarray(found).astype(float) - want).max()
    assert error <= NEAR[dtype] * max(np.abs(want).max(), 1)


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("by", [0, 1])
def test_any_alignment_and_any_length_in_check_mode(dtype: str, by: int) -> None:
    """Forward and backward, results misaligned too and added to what is there."""
    made = planned(TEXT, dtype)
    assert {k.shape.lanes for p in made.passes for k in p.kernels if k.plan == "row"} == {
        {"float64": 2, "float32": 4}.get(dtype, 8)
    }
    kernels = _import("op", sources("op", made)).load(Poisoned(emulator, check=True))
    rng = np.random.default_rng(by)
    for n in LENGTHS:
        host = {"X": rng.standard_normal((3, n)), "w": rng.standard_normal(n) / n, "dY": rng.standard_normal((3, n))}
        device = {name: shifted(a.astype(storage(dtype)), dtype, by) for name, a in host.items()}
        x, w, dy = (np.asarray(device[name]).astype(float) for name in host)
        m = x @ w
        first = kernels.op_forward(device["X"], device["w"])
        close((first if not isinstance(first, tuple) else first[0]), x * m[:, None] + w, dtype)
        device["M"] = shifted(m.astype(np.float64 if dtype == "float64" else np.float32), "float32", 0)
        if dtype == "float64":
            device["M"] = emulator.asarray(m)
        given = [device[a.tensor] for a in made.backward.arguments]
        held = [shifted(np.ones(n if g.tensor == "dw" else (3, n)), dtype, by) for g in made.backward.results]
        found = kernels.op_backward(*given, out=tuple(held), accumulate=True)
        by_name = dict(zip((g.tensor for g in made.backward.results), found, strict=True))
        slope = (dy * x).sum(axis=1)
        close(by_name["dX"], dy * m[:, None] + slope[:, None] * w + 1, dtype)
        close(by_name["dw"], dy.sum(axis=0) + slope @ x + 1, dtype)


@pytest.mark.parametrize(("dtype", "lanes"), [("float32", 4), ("float64", 2), ("float16", 8), ("bfloat16", 8)])
@pytest.mark.parametrize("length", ["kept", "again"])
def test_a_warp_moves_512_bytes_where_rows_are_aligned(dtype: str, lanes: int, length: str) -> None:
    """Also where a row does not fit in shared memory and is read again."""
    made = planned("P[i,j] = softmax(j, S[i,j])", dtype)
    assert isinstance(made.forward.kernels[0].shape, Row)
    n = 32 * lanes if length == "kept" else 32 * 1024
    texts = sources("op", made)
    for by in (0, 1):
        counting = Counting()
        _import("op", texts).load(counting).op_forward(shifted(np.ones((8, n)), dtype, by))
        found = {(site.write, site.bytes // site.requests) for site in counting.launches[0].sites}
        assert (True, 512) in found  # the result is our own, aligned
        assert ((False, 512) in found) == (by == 0)


def test_what_a_guard_may_keep_from_being_read_stays_single() -> None:
    (kernel,) = planned("P[t,s] = softmax(s, where(s <= t, S[t,s] + B[ids[s],t], -1e30))", "float32").forward.kernels
    assert {x.buffer.name for phase in kernel.shape.phases for x in phase.packs} == {"P"}
