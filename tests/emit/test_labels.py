"""Integer tensors out of range: an error that names them, or nothing at all, but never a read or write elsewhere."""

from typing import Any

import numpy as np
import pytest

from derive import emulator
from derive.emit import sources
from derive.operation import parse
from derive.run import _import
from derive.validate.comparison import plan_of
from derive.validate.drive import Poisoned

E = np.arange(12.0).reshape(4, 3)


def loaded(text: str, cp: Any = emulator, **options: Any) -> Any:
    return _import("op", sources("op", plan_of(parse(text), "float64"))).load(cp, **options)


def ids(*values: int) -> Any:
    return emulator.asarray(np.array(values))


@pytest.mark.parametrize("bad", [4, -1, 2**40])
def test_an_id_out_of_range_is_an_error_in_both_directions(bad: int) -> None:
    kernels = loaded("Y[t,c] = E[ids[t],c]")
    with pytest.raises(ValueError, match=rf"ids addresses axis 0 of E: it must be from 0 to 3, not {bad}"):
        kernels.op_forward(emulator.asarray(E), ids(0, bad))
    with pytest.raises(ValueError, match="ids"):
        kernels.op_backward(emulator.asarray(np.ones((2, 3))), ids(0, bad), size_E_0=4)


def test_terms_of_ids_and_guards_on_them_are_judged() -> None:
    kernels = loaded("Y[t] = where(ids[t] != -100, E[ids[t] + 1], 0)")
    table = emulator.asarray(np.arange(4.0))
    assert kernels.op_forward(E=table, ids=ids(-100, -1, 2)).tolist() == [0, 0, 3]
    for bad in (3, -2):
        with pytest.raises(ValueError, match="must be from 0 to 3"):
            kernels.op_forward(E=table, ids=ids(-100, bad))


@pytest.mark.parametrize("text", ["Y[t] = where(m[t] > 0, E[ids[t]], 0)", "Y[t] = where(t < 1, E[ids[t]], 0*m[t])"])
def test_what_only_the_kernel_can_judge_is_left_to_it(text: str) -> None:
    made = plan_of(parse(text), "float64")
    kernels = _import("op", sources("op", made)).load(emulator)
    arrays = {"E": np.arange(4.0), "ids": np.array([2, 99]), "m": np.array([1.0, 0.0])}
    given = [emulator.asarray(arrays[b.name]) for b in made.forward.arguments]
    assert kernels.op_forward(*given).tolist() == [2, 0]


@pytest.mark.parametrize("scatter", ["deterministic", "atomic"])
def test_trusted_ids_out_of_range_add_to_no_row(scatter: str) -> None:
    from derive.plan import make_plan

    d = parse("Y[t,c] = E[ids[t],c]").derivation
    made = make_plan(d.forward, d.backward, "float64", scatter=scatter)
    kernels = _import("op", sources("op", made)).load(Poisoned(emulator, check=True), check_ids=False)
    for wide in (np.int32, np.int64):
        given = emulator.asarray(np.array([1, -1, 4, 2**31 - 1, -(2**31), 1], wide))
        found = kernels.op_backward(emulator.asarray(np.ones((6, 3))), given, size_E_0=4)
        assert found[:, 0].tolist() == [0, 2, 0, 0]
