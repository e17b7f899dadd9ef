"""`check`: one claim after another, each with its verdict, its reason and the right rule."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from derive.claim import reasons
from derive.claim.facts import Facts
from derive.claim.judge import judge
from derive.claim.shaped import Misfit
from derive.claim.source import Claim, read_claim
from derive.claim.statement import Stated, state
from derive.exact import Undefined, Unmodelled
from derive.operation import Operation
from derive.rule.letters import Letters
from derive.rule.text import TextPrinter, statement_text

WORD = re.compile(r"[A-Za-z_]\w*")
PROVED, REFUTED, UNDECIDED = "proved", "refuted", "undecided"


@dataclass(frozen=True)
class Verdict:
    """What was found about a claim.

    Attributes:
        claim: as it was written.
        verdict: proved, refuted or undecided.
        reason: how it was proved, or why it is wrong.
        rule: the right rule.
    """

    claim: str
    verdict: str
    reason: str
    rule: str

    def json(self) -> dict[str, str]:
        return {"verdict": self.verdict, "reason": self.reason, "rule": self.rule}


def check(op: Operation, text: str, facts: Facts | None = None, number: int | None = None) -> Verdict:
    """Prove or refute a claimed rule.

    Args:
        op: the formula.
        text: the claim, as `dB = A.T @ dY`.
        facts: of the same formula, when several claims are checked.
        number: the claim's line, for errors.

    Raises:
        NotationError: the text is no claim about this formula.
        DerivationError: the derivative does not exist.
    """
    facts = facts or Facts(op)
    claim = read_claim(text, number)
    try:
        return _decide(claim, text.strip(), facts)
    except Misfit as why:
        rule = _rule(claim, facts, _unclaimed(claim, facts))
        return Verdict(text.strip(), REFUTED, reasons.misfit(claim, facts, why), rule)


def check_all(op: Operation, lines: Iterable[str]) -> list[Verdict]:
    """One verdict for each line that holds a claim; blank lines and comments are skipped."""
    facts = Facts(op)
    return [check(op, line, facts, n) for n, line in enumerate(lines, 1) if line.split("#", 1)[0].strip()]


def _decide(claim: Claim, text: str, facts: Facts) -> Verdict:
    said = state(claim, facts)
    rule = _rule(claim, facts, said)
    try:
        found = judge(said, facts)
    except (Undefined, Unmodelled) as why:
        return Verdict(text, UNDECIDED, f"it could not be evaluated: {why}", rule)
    if found.equal is False and any(facts.adjoints[o] != "d" + o for o in facts.program.outputs):
        other = state(claim, facts, given=True)
        if judge(other, facts).equal:
            said, found = other, judge(other, facts)
    if found.equal is None:
        return Verdict(text, UNDECIDED, f"it could not be evaluated: {found.how}", rule)
    if found.equal:
        return Verdict(text, PROVED, _how(said, found.how, facts), rule)
    return Verdict(text, REFUTED, reasons.wrong(claim, said, facts, found), rule)


def _unclaimed(claim: Claim, facts: Facts) -> Stated | None:
    """The left side alone, where the right one fits nothing."""
    if claim.matrix is not None or not isinstance(claim.left, ast.BinOp):
        return None
    return state(replace(claim, right=ast.copy_location(ast.Constant(0), claim.right)), facts)


def _how(said: Stated, how: str, facts: Facts) -> str:
    notes = [how if how.startswith("the same") else f"equal {how}"]
    if said.stretched:
        notes.append("broadcast to the derivative's shape")
    if said.without_loss:
        notes.append(f"with {facts.scalar_loss} = 1")
    return ", ".join(notes)


def _rule(claim: Claim, facts: Facts, said: Stated | None) -> str:
    """The right rule as the claim's author would write it: in matrices, or in indices for a claim in indices."""
    if said is not None and said.of is None:
        scope = frozenset(i.name for i in said.indices)
        return f"{ast.unparse(claim.left)} = {TextPrinter(Letters(facts.program)).text(said.truth, scope)}"
    name = claim.left.value if isinstance(claim.left, ast.Subscript) else claim.left
    of = facts.derivative(name.id) if isinstance(name, ast.Name) else None
    if of is None and isinstance(name, ast.Name):
        of = next((t for t, n in facts.adjoints.items() if n == name.id), None)
    if of is None:
        return ""
    rule = facts.rule(of)
    if rule is None:
        return f"d{of} is given"
    text = rule.index if isinstance(claim.left, ast.Subscript) else rule.matrix
    own = {s.name for s in facts.program.statements}
    aside = [s for s in (*rule.forward_statements, *rule.statements[:-1]) if s.name not in own]
    read = set(WORD.findall(text))
    where: list[str] = []
    for s in reversed(aside):
        if s.name in read:
            where.insert(0, statement_text(s, rule.letters))
            read |= set(WORD.findall(where[0]))
    return text + (f"  where {'; '.join(where)}" if where else "")

