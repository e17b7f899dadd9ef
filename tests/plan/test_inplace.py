"""What the contract says may share memory does: kernels on aliased buffers give the same bits."""

from typing import Any

import numpy as np
import pytest

from derive import emulator
from derive.arrays import storage
from derive.catalog import load
from derive.emit import sources
from derive.operation import parse
from derive.pipeline import derive_text
from derive.plan import Plan, make_plan
from derive.validate.comparison import plan_of
from derive.validate.data import Drawer
from derive.validate.drive import Emitted, Poisoned
from derive.validate.formula import read

OPS = ("softmax", "cross_entropy", "layernorm", "gelu", "swiglu", "batchnorm", "linear", "logsumexp", "mse", "tanh")


def plan(text: str) -> Plan:
    d = derive_text(text)
    return make_plan(d.forward, d.backward)


class InPlace(Emitted):
    """Writes one gradient over one argument; `pair` says which."""

    pair: tuple[str, str] | None = None

    def _call(self, p: Any, device: Any, sample: Any, options: Any) -> dict[str, Any]:
        if p.name == "backward" and self.pair is not None:
            copies = {n: np.array(a) for n, a in device.items()}
            held = {b.name: copies[b.tensor] for b in p.arguments}
            out = tuple(
                held[self.pair[1]] if b.name == self.pair[0]
                else self.cp.empty([held_size(b, p, held, a) for a in b.axes], storage(self.plan.dtype))
                for b in p.results
            )  # fmt: skip
            return super()._call(p, copies, sample, {"out": out})
        return super()._call(p, device, sample, options)


def held_size(buffer: Any, p: Any, held: Any, axis: str) -> int:
    if axis.isdigit():
        return int(axis)
    return next(held[b.name].shape[n] for b in p.arguments for n, a in enumerate(b.axes) if a == axis)


@pytest.mark.parametrize("name", OPS)
def test_gradients_written_over_arguments_have_the_same_bits(name: str) -> None:
    op = parse(load(name).text, name)
    made = plan_of(op, "float32")
    pairs = made.contract.in_place
    assert pairs
    emitted = InPlace(name, op.derivation.forward, made, Poisoned(emulator, order="random", seed=1))
    samples = Drawer(read(op.text), {}, {})
    for n, sizes in enumerate(samples.sweep()[:3]):
        sample = samples.sample(sizes, "1", n)
        emitted.pair = None
        want = emitted.run(sample)
        for pair in pairs:
            emitted.pair = pair
            for tensor, value in emitted.run(sample).items():
                assert value.tobytes() == want[tensor].tobytes(), (pair, tensor, sample.where)


def test_what_is_read_elsewhere_or_later_is_no_place() -> None:
    assert plan("Y[i,j] = X[i,j]*W[i,j]").contract.in_place == (  # X is read for dW when dX is stored
        ("dX", "dY"), ("dX", "W"), ("dW", "dY"), ("dW", "X"), ("dW", "W"))  # fmt: skip
    assert plan("Y[i,j] = X[i,j]*X[i,0]").contract.in_place == (("dX", "dY"),)  # all of a row needs its X[i,0]
    assert plan("Y[i,k] = sum(j, X[i,j]*W[j,k])").contract.in_place == (("dW", "W"),)  # X is read after dX is made
    assert plan("Y[i,j] = X[j,i]*S[i,j]").contract.in_place == (("dS", "dY"), ("dS", "S"))


def test_arrays_that_may_be_one_are_not_promised_to_be_two() -> None:
    code = sources("gelu", plan(load("gelu").text))["gelu.cu"]
    backward = code.split("void backward")[1]
    assert "const float* X," in backward
    assert "const float* dY," in backward
    assert "float* dX," in backward
    assert "__restrict__" in code.split("void backward")[0]
    assert "In place, one at a time and without accumulate: dX over dY, dX over X." in code
