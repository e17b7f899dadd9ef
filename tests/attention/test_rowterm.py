"""The row term of attention: found, shown in two steps, and checked by exact evaluation."""

import pytest

from derive import expr as E
from derive.exact import same
from derive.export import document, rendered
from derive.operation import parse
from derive.simplify.rowterm import RowTerms
from tests.attention.spellings import SPELLINGS
from tests.attention.variants import VARIANTS
from tests.drive import count_nodes

ALL = {**VARIANTS, **SPELLINGS}


@pytest.mark.parametrize(
    "name",
    [
        *("plain", "causal", "multihead", "alibi", "soft_cap", "grouped", "padding"),
        *("mask_after", "mask_after_product", "dropped_weights", "log_sum_exp_shown", "explicit_masked", "a_loss"),
    ],
)
def test_the_sum_over_keys_becomes_one_over_values(name: str) -> None:
    d = parse(ALL[name].text).derivation
    exchanged = [n for n, s in enumerate(d.steps) if s.law == "exchange"]
    assert len(exchanged) == 1
    first, second = d.steps[exchanged[0] : exchanged[0] + 2]
    assert second.law == "known-sum"
    assert second.before is first.after
    assert "O" in E.tensors(second.after)
    adjoints = tuple(a.statement for a in d.chain.adjoints)
    for s in (first, second):
        indices = tuple(i for i in s.target.subs if isinstance(i, E.Index))
        assert same(s.before, s.after, indices, d.named, adjoints).equal is True


def test_it_costs_no_operation() -> None:
    """10 nodes for explicit causal attention, as with the sum over keys."""
    program = parse(VARIANTS["causal"].text).json()["program"]
    assert count_nodes(program["backward"]) == 10


def test_a_sum_that_has_no_name_stays() -> None:
    d = parse(VARIANTS["plain"].text).derivation
    step = next(s for s in d.steps if s.law == "exchange")
    without = type(d.forward)(
        d.forward.text,
        d.forward.params,
        d.forward.inputs,
        tuple(s for s in d.forward.statements if s.name != "O"),
        ("P",),
        d.forward.letters,
    )
    assert RowTerms(d.forward).rewritten(step.before, d.backward.statements) is not None
    assert RowTerms(without).rewritten(step.before, d.backward.statements) is None


@pytest.mark.parametrize(("lang", "said"), [("en", "Two sums change places"), ("zh", "交换求和次序")])
def test_documents_say_why(lang: str, said: str) -> None:
    doc = document(parse(VARIANTS["causal"].text, "causal"))
    for form in ("tex", "md", "html"):
        assert said in rendered(doc, form, lang)
