"""Contractions store their results 16 bytes at once where memory lies so, and single elements where it does not."""

from typing import Any

import numpy as np
import pytest

from derive import emulator
from derive.arrays import storage
from derive.emit import sources
from derive.plan.tiles import Contraction
from derive.profile.drive import Counting
from derive.run import _import
from derive.validate.drive import Poisoned
from tests.plan.test_packs import shifted
from tests.plan.test_row_packs import close, planned

WIDTHS = (*range(1, 10), 31, 32, 33, 63, 64, 65)
DTYPES = ("float32", "float64", "float16", "bfloat16")
#: what is read beside the results is a row for all, a matrix as they are, and one number a row
TEXT = "Y[m,n] = sum(k, A[m,k]*B[k,n])*s[m] + R[m,n] + b[n]"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("by", [0, 1])
def test_any_alignment_and_any_width_in_check_mode(dtype: str, by: int) -> None:
    """Forward and backward; gradients are added to what is there, and begin where the other arrays do."""
    made = planned(TEXT, dtype)
    assert made.backward is not None
    kernels = _import("op", sources("op", made)).load(Poisoned(emulator, check=True))
    rng = np.random.default_rng(by)
    for n in WIDTHS:
        shapes = {"A": (5, n), "B": (n, n), "s": (5,), "R": (5, n), "b": (n,), "dY": (5, n)}
        device = {x: shifted(rng.standard_normal(s).astype(storage(dtype)), dtype, by) for x, s in shapes.items()}
        a, b, s, r, bias, dy = (np.asarray(x).astype(float) for x in device.values())
        outputs = kernels.op_forward(*(device[x.tensor] for x in made.forward.arguments))
        results = dict(zip((x.tensor for x in made.forward.results), _tuple(outputs), strict=True))
        close(results["Y"], (a @ b) * s[:, None] + r + bias, dtype)
        given = [device[x.tensor] if x.tensor in device else results[x.tensor] for x in made.backward.arguments]
        held = [shifted(np.ones(shapes[x.tensor[1:]]), dtype, by) for x in made.backward.results]
        found = kernels.op_backward(*given, out=tuple(held), accumulate=True)
        gradients = dict(zip((x.tensor for x in made.backward.results), _tuple(found), strict=True))
        close(gradients["dA"], (dy * s[:, None]) @ b.T + 1, dtype)
        close(gradients["dB"], a.T @ (dy * s[:, None]) + 1, dtype)
        close(gradients["ds"], (dy * (a @ b)).sum(axis=1) + 1, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_chunks_of_a_long_sum_at_any_width(dtype: str) -> None:
    made = planned("Y[m,n] = sum(k, A[m,k]*B[k,n]) + b[n]", dtype)
    kernels = _import("op", sources("op", made)).load(Poisoned(emulator, check=True))
    rng = np.random.default_rng(0)
    for n in (1, 3, 4, 5, 8, 66):
        host = [rng.standard_normal(s).astype(storage(dtype)) for s in ((3, 1100), (1100, n), (n,))]
        a, b, bias = (x.astype(float) for x in host)
        close(kernels.op_forward(*(shifted(x, dtype, 1) for x in host)), a @ b + bias, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_warp_stores_16_bytes_of_sums_a_thread_where_results_are_aligned(dtype: str) -> None:
    """512 bytes in 32 and 64 bits; in 16, where sums are of 32 bits, half of that."""
    made = planned(TEXT, dtype)
    texts = sources("op", made)
    wide = 256 if dtype in ("float16", "bfloat16") else 512
    for columns, by in ((128, 0), (128, 1), (127, 0)):
        counting = Counting()
        kernels = _import("op", texts).load(counting)
        shapes = {"A": (64, 64), "B": (64, columns), "s": (64,), "R": (64, columns), "b": (columns,)}
        device = {x: shifted(np.ones(s), dtype, by) for x, s in shapes.items()}
        kernels.op_forward(*(device[x.tensor] for x in made.forward.arguments))
        aligned = columns == 128
        (first, *_) = counting.launches
        stored = {s.bytes // s.requests for s in first.sites if s.write and not s.shared}
        assert (wide in stored) == aligned  # results are our own: only their rows may lie askew
        if by == 0 and aligned:
            assert stored == {wide}
            assert first.store_sectors * 32 == first.store_bytes


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_results_that_do_not_lie_together_are_stored_one_by_one(dtype: str) -> None:
    """The last index of the result is shared by both sides, so that neighbours of a tile are none in memory."""
    (kernel, *_) = planned("Y[m,n,b] = sum(k, A[b,m,k]*B[b,k,n])", dtype).forward.kernels
    assert isinstance(kernel.shape, Contraction)
    assert kernel.shape.packs == ()
    assert kernel.shape.lanes == (4 if dtype == "float32" else 1)


def _tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)
