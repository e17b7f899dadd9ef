"""The derivation in order, straight-line: formula -> program -> prepared program -> simplified backward program.

`parse` reads the formula, `stabilise` and `hoist` prepare it, `simplify` differentiates it (chain rule over
element-wise partials) and simplifies what comes out; it does so for each way of naming forward values and keeps the
shortest.  The record of all this, a `Derivation`, is what the printed rule, the plan of the kernels and the documents
are made from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from derive.chain import Chain
from derive.notation import parse
from derive.prepare import hoist, stabilise
from derive.program import Program
from derive.simplify import Step, simplify


@dataclass(frozen=True)
class Derivation:
    """What one run of the pipeline made.

    Attributes:
        source: the formula as it was read.
        forward: the same, prepared: stable spellings, each non-linear reduction in a statement of its own.
        named: the same with every name that any step reads.
        chain: adjoints as the chain rule gives them.
        backward: the simplified backward program; its outputs are `d<input>`.
        steps: every rewrite between the two, in order.
    """

    source: Program
    forward: Program
    named: Program
    chain: Chain
    backward: Program
    steps: tuple[Step, ...]

    @cached_property
    def saved(self) -> tuple[str, ...]:
        """Forward values, other than inputs, that the rule reads; kernels may keep others, as their contract says."""
        from derive import expr as E
        made = {s.name for s in self.forward.statements}
        read = {t for s in self.backward.statements for t in E.tensors(s.expr)}
        return tuple(s.name for s in self.forward.statements if s.name in made & read)


def derive_text(text: str, wrt: tuple[str, ...] | None = None) -> Derivation:
    """Read a formula and derive its gradients; see `derive_program`."""
    return derive_program(parse(text), wrt)


def derive_program(source: Program, wrt: tuple[str, ...] | None = None) -> Derivation:
    """Derive the gradients of a formula.

    Args:
        source: a formula as it was read.
        wrt: inputs to differentiate by; None for all that have a gradient.

    Raises:
        DerivationError: what cannot be derived exactly, with the sub-expression and what to do.
    """
    forward = hoist(stabilise(source))
    done = simplify(forward, wrt)
    return Derivation(source, done.forward, done.named, done.chain, done.backward, done.steps)
