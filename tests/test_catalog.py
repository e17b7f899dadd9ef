"""The catalogue: every operation reads, derives, and has a rule that differences of its own formula confirm."""

import math
from typing import Any

import numpy as np
import pytest

from derive import catalog
from derive.commands.source import find
from derive.errors import FileError
from derive.validate.data import Drawer
from derive.validate.formula import read
from derive.validate.records import PASS
from derive.validate.rule import rule

CANCELS = {"gpt2_block": "dbk"}  # a bias of the keys moves all scores of a row alike
FIRST = "matmul linear relu gelu_tanh softmax cross_entropy layernorm embedding feed_forward attention".split()


def test_the_first_operations_are_there() -> None:
    assert set(FIRST) <= set(catalog.names())


@pytest.mark.parametrize("name", catalog.names())
def test_entry(name: str) -> None:
    e = catalog.load(name)
    assert e.title
    assert e.sentence.endswith(".")
    assert e.source
    assert "#" not in e.text
    assert name.isidentifier()


@pytest.mark.parametrize("name", catalog.names())
def test_rule(name: str) -> None:
    source = find(name)
    assert source.op.gradients
    assert set(source.data) <= {t.name for t in source.op.program.inputs}
    found = rule(source.op, Drawer(read(source.op.text), source.data, {}))
    assert found.status == PASS, found.detail
    zero = f"{CANCELS[name]} is 0 wherever tried" if name in CANCELS else ""
    assert found.detail.count("wherever tried") == found.detail.count(zero)*bool(zero)  # no other gradient is 0


@pytest.mark.parametrize(("wrong", "meant"), [("sofmax", "softmax"), ("layer_norm", "layernorm"), ("gelu_tan", "gelu")])
def test_did_you_mean(wrong: str, meant: str) -> None:
    with pytest.raises(FileError, match=meant):
        catalog.load(wrong)


def test_comments_of_an_entry_are_optional() -> None:
    e = catalog.entry("mine", "Y[i] = X[i]")
    assert (e.title, e.sentence, e.source, e.text) == ("mine", "", "", "Y[i] = X[i]")


# Numbers that NumPy makes float64 beside an array, where no short spelling prevents it.
PROMOTED = {"attention_alibi": "S dslope", "cross_entropy_ignore": "L g1", "cross_entropy_smoothing": "dX"}


@pytest.mark.parametrize("name", catalog.names())
def test_the_numpy_rule_keeps_float32(name: str) -> None:
    """Each line alone, on float32: what one promotes is narrowed again before the next."""
    op = find(name).op
    drawer = Drawer(read(op.text), find(name).data, {})
    sample = drawer.sample(drawer.medium(1000))
    data = op.json()

    def narrow(x: Any) -> Any:
        return np.asarray(x, np.float32)[()] if np.asarray(x).dtype == np.float64 else x

    space: dict[str, Any] = {"np": np, "erf": np.vectorize(math.erf, otypes=[np.float32]), **data["params"]}
    space |= {f"size_{x}": n for x, n in sample.extents.items()}
    space |= {n: narrow(a) for n, a in sample.arrays.items()}
    promoted = []
    for line in [*data["program"]["forward"], None, *data["program"]["backward"]]:
        if line is None:
            space |= {f"d{o}": narrow(np.ones(np.shape(space[o]))) for o in data["outputs"]}
            continue
        exec(line, space)
        made = line.split(" = ")[0]
        if made.isidentifier() and getattr(space[made], "dtype", None) == np.float64:
            promoted.append(made)
            space[made] = narrow(space[made])
    assert " ".join(promoted) == PROMOTED.get(name, "")
