"""Every rewrite is judged by exact evaluation, and a corrupted one is caught."""

from collections.abc import Callable

import pytest

import derive
from derive import expr as E
from derive.expr import Expr
from derive.simplify import passes
from derive.simplify.check import check_steps
from tests.formulas import ENTRIES


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_every_rewrite_is_right(entry) -> None:  # type: ignore[no-untyped-def]
    for c in check_steps(derive.parse(entry.text).derivation, seeds=(1,)):
        assert c.right, (c.law, c.target, c.how)


LAYERNORM = next(e.text for e in ENTRIES if e.name == "layernorm")


def flip_sign(e: Expr) -> Expr:
    return E.neg(e) if isinstance(e, E.Add) else e


def drop_term(e: Expr) -> Expr:
    return E.add(*e.args[1:]) if isinstance(e, E.Add) else e


def drop_factor(e: Expr) -> Expr:
    return E.mul(*e.args[1:]) if isinstance(e, E.Mul) else e



@pytest.mark.parametrize("corrupt", [flip_sign, drop_term, drop_factor])
def test_a_corrupted_pass_is_caught(corrupt: Callable[[Expr], Expr], monkeypatch: pytest.MonkeyPatch) -> None:
    honest = passes.factor
    monkeypatch.setattr(passes, "factor", lambda e: E.transform(honest(e), corrupt))
    found = check_steps(derive.parse(LAYERNORM).derivation)
    assert any(c.right is False and c.law == "factor" for c in found)
    assert any(c.right is False and c.law == "result" for c in found)


def test_a_wrong_gradient_is_caught_whatever_the_steps_say(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = passes.share

    def careless(statements, *rest):  # type: ignore[no-untyped-def]
        return [passes.Statement(s.name, s.indices, drop_factor(s.expr)) for s in honest(statements, *rest)]

    monkeypatch.setattr(passes, "share", careless)
    assert any(c.right is False for c in check_steps(derive.parse(LAYERNORM).derivation))
