"""The catalogue: every operation reads, derives, and has a rule that differences of its own formula confirm."""

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
