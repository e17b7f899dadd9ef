"""Claims that nobody wrote for this: the printed NumPy rules are proved, and spoilt ones never are."""

import ast
import copy
import re
from collections.abc import Iterator

import pytest

import derive
from derive.claim import check
from derive.claim.facts import Facts
from derive.errors import DeriveError
from tests.formulas import ENTRIES


def own_rules(text: str) -> Iterator[tuple[Facts, str]]:
    """Gradients whose NumPy rule is one statement over names of the formula."""
    op = derive.parse(text)
    facts = Facts(op)
    own = {s.name for s in op.program.statements}
    for g in op.gradients.values():
        if not g.definitions and len(g.numpy) == 1 and all(s.name in own for s in g.forward_statements):
            yield facts, re.sub(r"size_(\w+)", r"size(\1)", g.numpy[0])


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_printed_numpy_rules_are_proved(entry: object) -> None:
    for facts, rule in own_rules(entry.text):  # type: ignore[attr-defined]
        found = check(facts.op, rule, facts)
        assert found.verdict == "proved", found


def spoilt(rule: str) -> Iterator[str]:
    """The rule with one operator, factor or sign changed."""
    left, _, right = rule.partition(" = ")
    tree = ast.parse(right, mode="eval")
    count = sum(isinstance(n, ast.BinOp) for n in ast.walk(tree))
    for at in range(count):
        new = copy.deepcopy(tree)
        node = [n for n in ast.walk(new) if isinstance(n, ast.BinOp)][at]
        if isinstance(node.op, ast.Add | ast.Sub):
            node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        elif isinstance(node.op, ast.Mult | ast.Div):
            node.right = ast.BinOp(node.right, ast.Mult(), ast.Constant(3))
        elif isinstance(node.op, ast.MatMult):
            node.left = ast.Attribute(node.left, "T", ast.Load())
        else:
            continue
        yield f"{left} = {ast.unparse(ast.fix_missing_locations(new))}"
    yield f"{left} = -({right})"
    yield f"{left} = {right} + 1"


@pytest.mark.parametrize("entry", ENTRIES[::3], ids=lambda e: e.name)
def test_spoilt_rules_are_not_proved(entry: object) -> None:
    for facts, rule in own_rules(entry.text):  # type: ignore[attr-defined]
        for wrong in list(spoilt(rule))[:6]:
            if harmless(wrong):
                continue
            try:
                found = check(facts.op, wrong, facts)
            except DeriveError:
                continue
            assert found.verdict != "proved", (rule, wrong)


def harmless(claim: str) -> bool:
    """A change inside a comparison or a subscript may change nothing."""
    return bool(re.search(r"where|[<>]|==|clip|arange|zeros", claim))
