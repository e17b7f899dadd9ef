"""Every matrix rule that derive prints is true: read back from its signs and compared with the index rule."""

import pytest

import derive
from derive import exact
from derive.claim.layout import target_groups
from derive.claim.matrix import MatrixReader
from derive.operation import Gradient
from derive.rule.grouping import layouts
from tests.formulas import ENTRIES


def in_matrices(g: Gradient) -> bool:
    return g.matrix != g.index and "einsum(" not in g.matrix


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_printed_matrix_rules_are_true(entry: object) -> None:
    op = derive.parse(entry.text)  # type: ignore[attr-defined]
    d = op.derivation
    tensors = {t.name: t.axes for t in d.backward.inputs}
    tensors |= {s.name: tuple(i.extent for i in s.indices) for s in (*d.source.statements, *d.backward.statements)}
    params = frozenset(n for n, _ in d.forward.params)
    for g in op.gradients.values():
        text, rule = g.matrix, g.rule
        if not in_matrices(g):
            continue
        known = layouts(rule)
        target = target_groups(rule.indices, known[rule.name])
        read = MatrixReader(text.partition("=")[2], tensors, known, target, g.letters.letters, params).read()
        formula = [s for s in d.source.statements if s.name not in d.named.names]  # those that the forward spares
        found = exact.same(read, rule.expr, rule.indices, d.named, [*formula, *d.backward.statements], seeds=(1, 2))
        assert found.equal, (text, g.index, found)


def test_most_rules_have_a_matrix_form() -> None:
    gradients = [g for e in ENTRIES[:80] for g in derive.parse(e.text).gradients.values()]
    assert sum(in_matrices(g) for g in gradients) > 0.6 * len(gradients)


def test_a_wrong_sign_in_a_matrix_rule_is_seen() -> None:
    g = derive.parse("P[i,j] = softmax(j, S[i,j])").gradients["S"]
    d = g.of.derivation
    text = g.matrix.partition("=")[2].replace("−", "+")
    known = layouts(g.rule)
    tensors = {t.name: t.axes for t in d.backward.inputs}
    read = MatrixReader(text, tensors, known, target_groups(g.rule.indices, known["dS"]), g.letters.letters).read()
    assert exact.same(read, g.rule.expr, g.rule.indices, d.named).equal is False


def test_no_product_with_a_guard_at_a_pole() -> None:
    """0 times log 0 is no 0: such a guard is written as a choice."""
    power = derive.parse("Y[i] = X[i]**W[i]")
    assert power.gradients["W"].matrix == "dW = where(X ≠ 0, Y ∘ dY ∘ log(X), 0)"
    assert derive.parse("Y[i] = relu(X[i])").gradients["X"].matrix == "dX = dY ∘ [X > 0]"
