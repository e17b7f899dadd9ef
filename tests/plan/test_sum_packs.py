"""Sums over leading axes and over everything move 16 bytes at once where memory is aligned, else single elements."""

from typing import Any

import numpy as np
import pytest

from derive import emulator
from derive.arrays import storage
from derive.emit import sources
from derive.operation import parse
from derive.plan import make_plan
from derive.plan.records import Column, Total
from derive.profile.drive import Counting
from derive.run import _import
from derive.validate.drive import Poisoned
from tests.plan.test_packs import shifted
from tests.plan.test_row_packs import LENGTHS, close, planned

#: a map beside a sum over rows (its gradient is one too), and sums and an extremum of columns
COLUMN = "Y[i,j] = tanh(X[i,j] + b[j])"
SEVERAL = "S[j] = sum(i, X[i,j]); M[j] = max(i, X[i,j]); T[j] = sum(i, X[i,j]*X[i,j]); output S, M, T"
#: a gradient that is a sum over everything beside a map; sums over everything
TOTAL = "Y[i] = X[i]*alpha"
LOSS = "L = mean(i, j, (Y[i,j] - T[i,j])**2)"
LANES = {"float64": 2, "float32": 4, "float16": 8, "bfloat16": 8}


def loaded(text: str, dtype: str) -> Any:
    return _import("op", sources("op", planned(text, dtype))).load(Poisoned(emulator, check=True))


def ordered(made: Any, found: Any) -> dict[str, Any]:
    found = found if isinstance(found, tuple) else (found,)
    return dict(zip((g.tensor for g in made.results), found, strict=True))


@pytest.mark.parametrize("dtype", LANES)
@pytest.mark.parametrize("by", [0, 1])
def test_sums_of_columns_at_any_alignment_and_length_in_check_mode(dtype: str, by: int) -> None:
    """Results misaligned too and added to what is there; several sums in one kernel; more rows than one chunk has."""
    first, several = planned(COLUMN, dtype), planned(SEVERAL, dtype)
    kernel = next(k for k in first.backward.kernels if k.plan == "column")
    assert (kernel.shape.lanes, several.forward.kernels[0].shape.lanes) == (LANES[dtype], LANES[dtype])
    maps, sums = loaded(COLUMN, dtype), loaded(SEVERAL, dtype)
    rng = np.random.default_rng(by)
    for n in LENGTHS:
        rows = 300 if n in (5, 33) else 3 if n % 2 else 40
        x = rng.standard_normal((rows, n)).astype(storage(dtype))
        found = ordered(several.forward, sums.op_forward(shifted(x, dtype, by)))
        wide = x.astype(float)
        close(found["M"], wide.max(axis=0), dtype)
        close(found["S"], wide.sum(axis=0), dtype)
        close(found["T"], (wide * wide).sum(axis=0), dtype)
        host = {"X": x, "b": rng.standard_normal(n), "dY": rng.standard_normal((rows, n))}
        device = {name: shifted(np.asarray(a).astype(storage(dtype)), dtype, by) for name, a in host.items()}
        y = maps.op_forward(device["X"], device["b"])
        device["Y"] = shifted(np.asarray(y), dtype, by)
        given = [device[a.tensor] for a in first.backward.arguments]
        held = [shifted(np.ones(n if g.tensor == "db" else (rows, n)), dtype, by) for g in first.backward.results]
        dy, t = np.asarray(device["dY"]).astype(float), np.asarray(y).astype(float)
        found = ordered(first.backward, maps.op_backward(*given, out=tuple(held), accumulate=True))
        close(found["dX"], dy * (1 - t * t) + 1, dtype)
        close(found["db"], (dy * (1 - t * t)).sum(axis=0) + 1, dtype)


@pytest.mark.parametrize("dtype", LANES)
@pytest.mark.parametrize("by", [0, 1])
def test_sums_over_everything_at_any_alignment_and_length_in_check_mode(dtype: str, by: int) -> None:
    scaled, loss = planned(TOTAL, dtype), planned(LOSS, dtype)
    assert isinstance(scaled.backward.kernels[0].shape, Total)
    assert (scaled.backward.kernels[0].shape.lanes, loss.forward.kernels[0].shape.lanes) == (LANES[dtype],) * 2
    scale, mean = loaded(TOTAL, dtype), loaded(LOSS, dtype)
    rng = np.random.default_rng(by)
    for n in (*LENGTHS, 5000):
        host = {"X": rng.standard_normal(n), "alpha": np.array(0.5), "dY": rng.standard_normal(n)}
        device = {name: shifted(a.astype(storage(dtype)), dtype, by) for name, a in host.items()}
        x, dy = (np.asarray(device[name]).astype(float) for name in ("X", "dY"))
        given = [device[a.tensor] for a in scaled.backward.arguments]
        held = [shifted(np.ones(n if g.tensor == "dX" else ()), dtype, by) for g in scaled.backward.results]
        found = ordered(scaled.backward, scale.op_backward(*given, out=tuple(held), accumulate=True))
        close(found["dX"], dy / 2 + 1, dtype)
        close(found["dalpha"], (dy * x).sum() + 1, dtype)
        shape = (3, n)
        pair = [shifted(rng.standard_normal(shape).astype(storage(dtype)), dtype, by) for _ in range(2)]
        y, t = (np.asarray(a).astype(float) for a in pair)
        close(ordered(loss.forward, mean.op_forward(*pair))["L"], ((y - t) ** 2).mean(), dtype)


@pytest.mark.parametrize("dtype", LANES)
@pytest.mark.parametrize("text", ["S[j] = sum(i, X[i,j])", "L = sum(i, j, X[i,j])"])
def test_a_warp_moves_512_bytes_where_memory_is_aligned(dtype: str, text: str) -> None:
    """Whether it lies in one row or in several; nothing meets in a bank; the bits do not depend on the order."""
    made = planned(text, dtype)
    assert isinstance(made.forward.kernels[0].shape, (Column, Total))
    texts, seen = sources("op", made), {}
    x = np.random.default_rng(3).standard_normal((256, 32 * LANES[dtype])).astype(storage(dtype))
    for by in (0, 1):
        counting = Counting()
        seen[by] = np.asarray(_import("op", texts).load(counting).op_forward(shifted(x, dtype, by)))
        reads = {site.bytes // site.requests for site in counting.launches[0].sites if not site.write}
        assert (512 in reads) == (by == 0)
        assert all(launch.bank_conflicts == 0 for launch in counting.launches)
    np.testing.assert_array_equal(seen[0], seen[1])


def test_what_belongs_to_a_column_before_the_rows_keeps_columns_single() -> None:
    """`1/sqrt(V[j])` is computed once a column, so a thread has one."""
    made = planned("Y[i,j] = X[i,j]/sqrt(V[j]); S[j] = sum(i, Y[i,j]); output S", "float32")
    assert {k.shape.lanes for k in made.forward.kernels if isinstance(k.shape, Column)} == {1}
    wide = "; ".join(f"S{n}[j] = sum(i, X[i,j]**{n})" for n in range(2, 8))
    d = parse(wide + "; output " + ", ".join(f"S{n}" for n in range(2, 8))).derivation
    kernel = make_plan(d.forward, None, "float16").forward.kernels[0]
    assert isinstance(kernel.shape, Column)  # six sums of eight columns a thread would not fit in shared memory
    assert kernel.shape.lanes == 1
