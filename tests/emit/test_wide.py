"""64-bit offsets: tensors of more than 2^31 elements, and the same bits from either width of index."""

from typing import Any

import numpy as np
import pytest

from derive import catalog, emulator
from derive.commands.source import find
from derive.emit import sources
from derive.operation import parse
from derive.run import _import
from derive.validate.comparison import plan_of
from derive.validate.data import Drawer
from derive.validate.drive import Emitted
from derive.validate.formula import read

SOME = ("softmax", "layernorm", "linear", "cross_entropy", "embedding", "attention", "conv1d", "swiglu", "batchnorm")


def kernels(text: str, dtype: str) -> Any:
    return _import("op", sources("op", plan_of(parse(text, "op"), dtype))).load(emulator)


def test_a_table_of_more_than_two_to_the_31_elements() -> None:
    """Its pages exist only where they are touched."""
    rows = 2**28 + 5
    table = emulator.empty((rows, 8), np.float16)
    ids = np.array([0, 2**28 - 1, 2**28, rows - 1])
    table[ids] = np.arange(32).reshape(4, 8)
    found = kernels("Y[t,c] = E[ids[t],c]", "float16").op_forward(table, emulator.asarray(ids))
    np.testing.assert_array_equal(found, table[ids])


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_quotients_of_integers_that_no_index_holds(kind: type) -> None:
    """Negative ones among them; each is rounded down, in kernels of 32-bit offsets and of 64-bit ones."""
    text = "input h[t]: int\nY[t] = X[t]*(h[t]%1000) + E[h[t]%5]*(h[t]//10000000)"
    h = np.array([-1, 7, -2**31, 2**31 - 1, 2**40 + 3, -2**40, 0])[:4 if kind is np.int32 else None].astype(kind)
    x, table = np.linspace(-1, 2, len(h)), np.arange(5.0)
    made = kernels(text, "float64")
    found = made.op_forward(*map(emulator.asarray, (h, x, table)))
    np.testing.assert_allclose(found, x*(h%1000) + table[h%5]*(h//10000000))
    module = made.module
    made.module = lambda count, ids: module(2**30, ids)
    assert found.tobytes() == made.op_forward(*map(emulator.asarray, (h, x, table))).tobytes()


def test_the_wrapper_chooses_by_the_largest_tensor_and_by_sizes_given() -> None:
    made = kernels("Y[t,c] = E[ids[t],c]", "float32")
    seen = []
    module = made.module
    made.module = lambda count, ids: seen.append(count) or module(count, ids)
    dy, ids = emulator.asarray(np.ones((2, 3), np.float32)), emulator.asarray(np.array([0, 1]))
    made.op_backward(dy, ids, size_E_0=5)
    assert seen == [15]
    assert module(2**30 - 1, ())[1] is emulator.int32
    assert module(2**30, ())[1] is emulator.int64
    assert {k for k in made.modules if k} == {(("ids_t", "long long"),), (("INDEX", "long long"),)}


@pytest.mark.parametrize("name", [*SOME, *(pytest.param(n, marks=pytest.mark.slow) for n in catalog.names()
                                           if n not in SOME)])
def test_both_widths_give_the_same_bits(name: str) -> None:
    source = find(name)
    drawer = Drawer(read(source.op.text), source.data, {})
    narrow, wide = (Emitted(name, source.op.derivation.forward, plan_of(source.op, "float32"), emulator) for _ in "ab")
    module = wide.kernels.module
    wide.kernels.module = lambda count, ids: module(2**30, ids)
    for n, sizes in enumerate(drawer.sweep()[-2:]):
        sample = drawer.sample(sizes, "1", n)
        one, other = narrow.run(sample), wide.run(sample)
        assert {k: v.tobytes() for k, v in one.items()} == {k: v.tobytes() for k, v in other.items()}
    assert all(("INDEX", "long long") in k for k in wide.kernels.modules)
