"""What is known about a formula: its tensors, the derivative of the loss by each of them, and the right rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from derive import expr as E
from derive.chain import Chain, chain, differentiable
from derive.claim.sift import sift
from derive.errors import DerivationError
from derive.expr import Expr, Get, Index
from derive.operation import Gradient, Operation
from derive.prepare import hoist
from derive.program import Program, Statement, Tensor, alive


@dataclass(frozen=True)
class Facts:
    """A formula with the total derivative by every tensor in it.

    Attributes:
        op: the formula as the user wrote it.
    """

    op: Operation

    @property
    def program(self) -> Program:
        return self.op.program

    @cached_property
    def chain(self) -> Chain:
        """The chain rule over the formula as written, each non-linear reduction named."""
        return chain(hoist(self.program))

    @property
    def forward(self) -> Program:
        return self.chain.forward

    @cached_property
    def adjoints(self) -> dict[str, str]:
        """Tensor -> the statement that holds the derivative of the loss by it."""
        found = {o: "d" + o for o in self.program.outputs}
        return found | {a.of: a.name for a in self.chain.adjoints}

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        """What the chain rule computes, in order."""
        made = [*self.chain.counts, *(a.statement for a in self.chain.adjoints)]
        known = {s.name for s in made}
        idle = [self._zero(n) for n in sorted(self.program.names - set(self.adjoints)) if "d" + n not in known]
        return (*idle, *made)

    def _zero(self, name: str) -> Statement:
        """A tensor that the outputs do not depend on."""
        if name in dict(self.program.params):
            return Statement("d" + name, (), E.ZERO)
        return Statement("d" + name, fresh(self.program.axes(name)), E.ZERO)

    def derivative(self, name: str) -> str | None:
        """The tensor of the formula whose derivative a claim calls `name`, as `dX` or `X_G`."""
        of = name[1:] if name.startswith("d") else name[:-2] if name.endswith("_G") else ""
        if of not in self.program.names or of in dict(self.program.params):
            return None
        tensor = self.program.input(of)
        if tensor is not None and tensor.integer:
            raise DerivationError(f"{of} holds integers, its gradient does not exist", value=name,
                                  hint="claim one of " + ", ".join("d" + n for n in differentiable(self.program)))
        return of

    @cached_property
    def tensors(self) -> Mapping[str, tuple[str, ...]]:
        """Every tensor that a claim may read, with the extents of its axes; derivatives by the names they have here."""
        names = [t.name for t in self.program.inputs] + [s.name for s in self.program.statements]
        found = {n: self.program.axes(n) for n in names}
        for n in names:
            tensor = self.program.input(n)
            if tensor is None or not tensor.integer:
                found[self.adjoints.get(n, "d" + n)] = found[n]
                found.setdefault("d" + n, found[n])
        return found

    @property
    def scalar_loss(self) -> str | None:
        """The cotangent that a claim may leave out: that of the only output, a scalar."""
        outputs = self.program.outputs
        return "d" + outputs[0] if len(outputs) == 1 and not self.program.axes(outputs[0]) else None

    def rule(self, name: str) -> Gradient | None:
        """The right rule for the derivative by a tensor, input or not; None for an output that nothing reads."""
        if name in self.chain.wanted:
            return self.op.gradients[name]
        if not any(a.of == name for a in self.chain.adjoints):
            return None
        return Operation(cut(self.program, name), self.op.name, (name,)).gradients[name]

    def partial(self, of: Get, by: Get) -> Expr:
        """∂of/∂by, both elements of tensors, as a term in their subscripts: every path from the one to the other."""
        program = self.program
        if of.tensor == by.tensor:
            return E.indicator(E.logic("and", *(E.compare("==", a, b) for a, b in zip(of.subs, by.subs, strict=True))))
        if program.statement(of.tensor) is None:
            return E.ZERO
        alone = cut(program, by.tensor, of.tensor) if program.input(by.tensor) is None else only(program, of.tensor)
        if alone.input(by.tensor) is None:
            return E.ZERO
        found = chain(hoist(alone), (by.tensor,))
        values = {a.name: a.statement for a in found.adjoints}
        unit = Statement("d" + of.tensor, fresh(program.axes(of.tensor)), E.ZERO)
        unit = Statement(unit.name, unit.indices, E.indicator(E.logic("and", *(
            E.compare("==", a, b) for a, b in zip(unit.indices, of.subs, strict=True)))))
        values[unit.name] = unit
        values |= {c.name: c for c in found.counts}
        values |= {s.name: s for s in found.forward.statements if program.statement(s.name) is None}
        return sift(written_out(Get(values["d" + by.tensor].name, by.subs), values))


def fresh(axes: tuple[str, ...]) -> tuple[Index, ...]:
    return tuple(Index(f"axis@{n}", e) for n, e in enumerate(axes))  # no claim and no `Algebra` makes these names


def only(program: Program, output: str) -> Program:
    """The part of a formula that computes one tensor."""
    return _needed(program, program.inputs, program.statements, (output,))


def cut(program: Program, at: str, output: str | None = None) -> Program:
    """The formula with an intermediate tensor given instead of computed."""
    statements = tuple(s for s in program.statements if s.name != at)
    given = Tensor(at, program.axes(at))
    outputs = tuple(o for o in program.outputs if o != at) if output is None else (output,)
    return _needed(program, (*program.inputs, given), statements, outputs)


def _needed(program: Program, inputs: tuple[Tensor, ...], statements: tuple[Statement, ...],
            outputs: tuple[str, ...]) -> Program:
    """These statements and inputs as a formula of its own, without what no output needs."""
    kept = alive(statements, outputs)
    read = {*outputs, *(t for s in kept for t in E.tensors(s.expr))}
    return Program("", program.params, tuple(t for t in inputs if t.name in read), tuple(kept), outputs,
                   program.letters)


def written_out(e: Expr, values: Mapping[str, Statement]) -> Expr:
    """`e` with every defined name replaced by its definition."""
    def step(x: Expr) -> Expr:
        if isinstance(x, Get) and x.tensor in values:
            s = values[x.tensor]
            return written_out(E.substitute(s.expr, dict(zip(s.indices, x.subs, strict=True))), values)
        return x
    return E.transform(e, step)
