"""Every rewrite of a derivation, judged by exact evaluation: before and after must agree wherever they are defined.

Four kinds are checked: the stable spellings of the forward formula, each delta elimination, each simplification
step, and the finished gradients against the chain rule's own.  Values are residues modulo a prime where that models
the terms, else reals of 50 digits; a step that neither can judge is reported as not checked, never as right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from derive import expr as E
from derive.chain import Chain
from derive.exact import same
from derive.expr import Expr, Get, Index
from derive.program import Program, Statement
from derive.simplify.passes import Step


class Derived(Protocol):
    """What a derivation must offer to be checked."""

    @property
    def source(self) -> Program: ...
    @property
    def forward(self) -> Program: ...
    @property
    def named(self) -> Program: ...
    @property
    def chain(self) -> Chain: ...
    @property
    def backward(self) -> Program: ...
    @property
    def steps(self) -> tuple[Step, ...]: ...


@dataclass(frozen=True)
class Checked:
    """One rewrite with its verdict.

    Attributes:
        law: what was done: `stable`, `delta`, a simplification law, or `result`.
        target: whose right side it was.
        right: True, False, or None when it could not be judged.
        how: the check it had.
    """

    law: str
    target: str
    before: Expr
    after: Expr
    right: bool | None
    how: str


def check_steps(d: Derived, seeds: tuple[int, ...] = (1, 2)) -> list[Checked]:
    """Judge every rewrite of a derivation.

    Args:
        d: the derivation.
        seeds: random places; more are slower and surer.
    """
    adjoints = (*d.chain.counts, *(a.statement for a in d.chain.adjoints))
    return [*_spellings(d, seeds), *_deltas(d, adjoints, seeds), *_steps(d, adjoints, seeds),
            *_results(d, adjoints, seeds)]


def _judge(law: str, target: Get, before: Expr, after: Expr, program: Program, extra: tuple[Statement, ...],
           seeds: tuple[int, ...]) -> Checked:
    indices = tuple(i for i in target.subs if isinstance(i, Index))
    found = same(before, after, indices, program, extra, seeds)
    return Checked(law, target.tensor, before, after, found.equal, found.how)


def _spellings(d: Derived, seeds: tuple[int, ...]) -> list[Checked]:
    """Each output of the formula as it was written, and as it was prepared."""
    out: list[Checked] = []
    twin = {s.name: s.name + "'" for s in d.forward.statements}
    prepared = tuple(Statement(twin[s.name], s.indices, _renamed(s.expr, twin)) for s in d.forward.statements)
    for name in d.source.outputs:
        s, new = d.source.statement(name), d.forward.statement(name)
        if s is not None and new is not None and s.expr is not new.expr:
            out.append(_judge("stable", s.target, s.target, Get(twin[name], s.indices), d.source, prepared, seeds))
    return out


def _renamed(e: Expr, names: dict[str, str]) -> Expr:
    return E.transform(e, lambda x: Get(names[x.tensor], x.subs) if isinstance(x, Get) and x.tensor in names else x)


def _deltas(d: Derived, adjoints: tuple[Statement, ...], seeds: tuple[int, ...]) -> list[Checked]:
    """Σ f·Πδ with the deltas as filters, and with them eliminated."""
    out: list[Checked] = []
    for a in d.chain.adjoints:
        for c in a.contributions:
            dense = E.summation(c.summed, E.where(
                E.logic("and", *(E.compare("==", x.left, x.right) for x in c.deltas)), c.body, E.ZERO))
            if dense is not c.expr:
                out.append(_judge("delta", a.statement.target, dense, c.expr, d.named, adjoints, seeds[:1]))
    return out


def _steps(d: Derived, adjoints: tuple[Statement, ...], seeds: tuple[int, ...]) -> list[Checked]:
    return [_judge(s.law, s.target, s.before, s.after, d.named, adjoints, seeds) for s in d.steps]


def _results(d: Derived, adjoints: tuple[Statement, ...], seeds: tuple[int, ...]) -> list[Checked]:
    """Each finished adjoint against the one that the chain rule gave."""
    plain = {s.name: s for s in adjoints}
    twin = {s.name: s.name + "'" for s in d.backward.statements}
    finished = tuple(Statement(twin[s.name], s.indices, _renamed(s.expr, twin)) for s in d.backward.statements)
    return [_judge("result", s.target, s.target, Get(twin[s.name], s.indices), d.named, (*adjoints, *finished), seeds)
            for s in d.backward.statements if s.name in plain and plain[s.name].expr is not s.expr]
