"""The same steps in a terminal, in the notation."""

from __future__ import annotations

from derive import expr as E
from derive.chain import Contribution
from derive.export.shares import plain_letters
from derive.expr import Index
from derive.pipeline import Derivation
from derive.program import Statement
from derive.rule.letters import Letters
from derive.rule.text import TextPrinter, statement_text
from derive.simplify.passes import LAWS


def steps_text(derivation: Derivation) -> str:
    """The chain rule with its deltas, then each rewrite: its law, before and after."""
    letters = Letters(derivation.named)
    out: list[str] = []
    for a in derivation.chain.adjoints:
        out.append(f"{a.name}: the derivative of the loss by {a.of}")
        for c in a.contributions:
            out += [f"  {line}" for line in _contribution(c, Letters(derivation.named))]
        out += [f"  so {statement_text(a.statement, letters)}", ""]
    for n, s in enumerate(derivation.steps, 1):
        indices = tuple(i for i in s.target.subs if isinstance(i, Index))
        before, after = (statement_text(Statement(s.target.tensor, indices, e), letters) for e in (s.before, s.after))
        out += [f"{n}. {LAWS.get(s.law, s.law)}", f"   {before}", f"   {after}"]
    return "\n".join(out).rstrip()


def _contribution(c: Contribution, letters: Letters) -> list[str]:
    values = plain_letters(c, letters)
    scope = frozenset(v.name for v in values.values() if isinstance(v, Index)) | {d.left.name for d in c.deltas}
    printer = TextPrinter(letters)
    body = printer.text(E.substitute(c.body, values), scope, 1)
    deltas = [f"δ({d.left.name}, {printer.text(E.substitute(d.right, values), scope)})" for d in c.deltas]
    names = ", ".join(v.name for v in values.values() if isinstance(v, Index))
    summed = f"sum({names}, {'*'.join([body, *deltas])})" if names else "*".join([body, *deltas])
    result = printer.text(c.expr, frozenset(d.left.name for d in c.deltas))
    return [f"through {c.partial.statement.name}: {summed}", f"  = {result}"]
