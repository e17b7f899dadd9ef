"""Whether a claim that was read is true."""

from __future__ import annotations

from derive import exact
from derive import expr as E
from derive.claim.facts import Facts, written_out
from derive.claim.statement import Stated
from derive.exact import Agreement
from derive.expr import Expr, Get
from derive.program import Statement

ONE_SEED = (1,)


def judge(said: Stated, facts: Facts, seeds: tuple[int, ...] = (1, 2, 3)) -> Agreement:
    """Compare what a claim says with the derivative."""
    for known in canonical(said, facts):
        if said.right is known:
            return Agreement(True, "the same canonical form")
    found = exact.same(said.right, said.truth, said.indices, facts.forward, extra(said, facts), seeds)
    if found.equal:
        tied = exact.same_at_ties(said.right, said.truth, said.indices, facts.forward, extra(said, facts))
        if tied.equal is False:
            return tied
    return found


def equal(e: Expr, said: Stated, facts: Facts) -> bool:
    """Whether another term is the derivative: one place, then three."""
    for seeds in (ONE_SEED, (2, 3)):
        if exact.same(e, said.truth, said.indices, facts.forward, extra(said, facts), seeds).equal is not True:
            return False
    return True


def extra(said: Stated, facts: Facts) -> tuple[Statement, ...]:
    """What is evaluated beside the forward: the adjoints, after the loss's cotangent where the claim omits it."""
    loss = facts.scalar_loss
    one = (Statement(loss, (), E.ONE),) if said.without_loss and loss is not None else ()
    return (*one, *facts.statements)


def canonical(said: Stated, facts: Facts) -> list[Expr]:
    """The derivative's spellings: as the chain rule gives it, and simplified."""
    found = [said.truth]
    if said.of is not None:
        for a in facts.chain.adjoints:
            if a.of == said.of:
                found.append(E.substitute(a.expr, dict(zip(a.indices, said.indices, strict=True))))
        rule = facts.rule(said.of)
        if rule is not None:
            own = {s.name for s in facts.program.statements}
            aside = {s.name: s for s in (*rule.forward_statements, *rule.statements[:-1]) if s.name not in own}
            e = written_out(rule.rule.expr, aside)
            found.append(E.substitute(e, dict(zip(rule.rule.indices, said.indices, strict=True))))
    loss = facts.scalar_loss
    if said.without_loss and loss is not None:
        found = [E.transform(e, lambda x: E.ONE if isinstance(x, Get) and x.tensor == loss else x) for e in found]
    return found
