"""The temporary memory that a report promises is what a run of the emitted module takes, to the byte."""

import weakref
from typing import Any

import numpy as np
import pytest

import derive
from derive import catalog, emulator
from derive.cost import report
from derive.cost.counts import evaluate
from derive.plan.records import Pass, Plan
from derive.plan.sums import collected, greatest
from derive.validate.drive import Emitted


class Counting:
    """The emulator as an array module that counts the bytes of the arrays that it made and that are still there."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(emulator, name)

    def empty(self, shape: Any, dtype: Any) -> Any:
        made = emulator.empty(shape, dtype)
        self.now += made.nbytes
        self.most = max(self.most, self.now)
        weakref.finalize(made, self._gone, made.nbytes)
        return made

    def _gone(self, count: int) -> None:
        self.now -= count


def measured(name: str, op: Any, plan: Plan, p: Pass, sizes: dict[str, int]) -> int:
    """The most bytes at once of arrays that a pass made and does not return."""
    counting = Counting()
    emitted = Emitted(name, op.derivation.forward, plan, counting)
    held = {"T": np.float32, "compute": np.float32, "ids": np.int32}
    given = [np.ones([evaluate(a, sizes) for a in b.axes], held[b.dtype]) * (b.dtype != "ids") for b in p.arguments]
    arrays = [emulator.asarray(a.astype(held[b.dtype])) for a, b in zip(given, p.arguments, strict=True)]
    options = {r.name: sizes[r.name] for r in p.sizes if r.source is None}
    found = getattr(emitted.kernels, f"{name}_{p.name}")(*arrays, **options)
    returned = found if isinstance(found, tuple) else (found,)
    return counting.most - sum(a.nbytes for a in returned if not any(a is b for b in arrays))


BLOCK = {"b": 2, "t": 40, "c": 24, "d": 8, "f": 72}


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("gpt2_block", {**BLOCK, "h": 3}),
        ("llama_block", {**BLOCK, "h": 4, "g": 1, "i": 4}),
        ("attention", {"b": 2, "h": 3, "t": 70, "s": 70, "d": 16}),
        ("feed_forward", {"n": 1100, "i": 24, "h": 72, "o": 40}),  # sums over n are split
        ("layernorm", {"b": 3, "s": 100, "d": 48}),
        ("embedding", {"v": 50, "d": 8, "b": 40, "s": 110}),
    ],
)
def test_temporaries_take_what_the_report_says(name: str, sizes: dict[str, int]) -> None:
    op = derive.parse(catalog.load(name).text, name)
    found = report(op, sizes)
    assert found.plan.backward is not None
    most = []
    for p in found.plan.passes:
        promised = max(map(found.buffers, found.temporaries(p.name)), default=0)
        assert measured(name, op, found.plan, p, dict(found.names)) == promised
        together = found.buffers(p.temporaries)
        assert promised <= together
        if name.endswith("_block"):
            assert promised < (0.5 if p.name == "backward" else 0.9) * together
        most.append(promised)
    assert found.json()["temporary_bytes"] == max(most)


def test_temporary_bytes_by_hand() -> None:
    """M, N and R are made in turn; two of them are there at once."""
    text = """
M[i,k] = sum(j, X[i,j]*A[j,k])
N[i,l] = sum(k, M[i,k]*B[k,l])
R[i,m] = sum(l, N[i,l]*C[l,m])
Y[i,n] = sum(m, R[i,m]*D[m,n])
"""
    sizes = {"i": 2, "j": 3, "k": 50, "l": 70, "m": 11, "n": 5}
    found = report(derive.parse(text), sizes)
    assert [b.tensor for b in found.plan.forward.temporaries if "partial" not in b.name] == []  # all are saved
    assert max(map(found.buffers, found.temporaries("forward"))) == 0  # no sum is long enough to be split
    back = [{b.tensor for b in held if "partial" not in b.name} for held in found.temporaries("backward")]
    assert {"dN", "dR"} in back
    assert not any({"dM", "dR"} <= held for held in back)


def test_symbolic_peaks_leave_out_what_another_exceeds() -> None:
    small, large = collected([(4, "m*n")]), collected([(4, "n*m"), (4, "m*n"), (2, "k*3")])
    assert str(large) == "8*n*m + 6*k"
    assert greatest([small, large, collected([(1, "f(a*b, 2)*c")])]) == "max(8*n*m + 6*k, f(a*b, 2)*c)"
    assert greatest([]) == str(collected([])) == "0"
