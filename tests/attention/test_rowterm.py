"""The row term of attention, rewritten and checked by exact evaluation."""

import pytest

from derive import expr as E
from derive.exact import same
from derive.operation import parse
from derive.simplify.rowterm import row_term
from tests.attention.variants import VARIANTS


@pytest.mark.parametrize("name", ["plain", "causal", "multihead", "alibi", "soft_cap", "grouped"])
def test_the_sum_over_keys_becomes_one_over_values(name: str) -> None:
    d = parse(VARIANTS[name].text).derivation
    before = {s.name: s for s in d.backward.statements}
    found = 0
    for s in d.backward.statements:
        earlier = list(before.values())[: list(before).index(s.name)]
        new = row_term(s.expr, d.forward, earlier)
        if new is not s.expr:
            found += 1
            assert "O" in E.tensors(new)
            assert same(s.expr, new, s.indices, d.forward, earlier).equal is True
    assert found == 1


def test_a_sum_that_has_no_name_stays() -> None:
    d = parse(VARIANTS["plain"].text).derivation
    adjoint = next(
        s
        for s in d.backward.statements
        if any(isinstance(x, E.Reduce) for x in E.subterms(s.expr))
        and "P" in E.tensors(s.expr)
        and s.name.startswith("dS")
    )
    without = type(d.forward)(
        d.forward.text,
        d.forward.params,
        d.forward.inputs,
        tuple(s for s in d.forward.statements if s.name != "O"),
        ("P",),
        d.forward.letters,
    )
    assert row_term(adjoint.expr, without, d.backward.statements) is adjoint.expr
