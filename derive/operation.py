"""The Python face: a formula, its gradients, and each gradient as a formula again.

    op = derive.parse("Y[i,j] = sum(k, X[i,k]*W[k,j])")
    op.gradients["X"].matrix            # 'dX = dY Wᵀ'
    op.gradients["X"].op                # the same as an Operation: differentiate once more
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from derive import expr as E
from derive.chain import axis_letters
from derive.errors import DerivationError
from derive.expr import Expr, Get
from derive.notation import parse as parse_text
from derive.pipeline import Derivation, derive_program
from derive.program import Program, Statement, Tensor, alive
from derive.rule.glyphs import LATEX, TEXT, Glyphs
from derive.rule.latex import statement_latex
from derive.rule.letters import Letters
from derive.rule.matrix import matrix_rule
from derive.rule.nodes import count_nodes
from derive.rule.numpy import numpy_program, value_of
from derive.rule.shown import shown
from derive.rule.text import program_text, statement_text

RAISED = str.maketrans(dict.fromkeys("ᵀ⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᐟ", " "))  # what may follow a name, and counts as a letter


def parse(text: str, name: str = "op") -> Operation:
    """Read a formula.

    Args:
        text: statements of the notation, one a line.
        name: what emitted files and functions are called.

    Raises:
        NotationError: with the place, the value and what to do.

    Example:
        >>> parse("Y[i] = X[i]**2").gradients["X"].index
        'dX[i] = 2*X[i]*dY[i]'
    """
    return Operation(parse_text(text), name)


@dataclass(frozen=True, repr=False)
class Operation:
    """A forward formula. Its gradients are derived at first use and kept."""

    program: Program
    name: str = "op"
    wrt: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"<Operation {self.name}: {'; '.join(self.text.strip().splitlines())}>"

    @property
    def text(self) -> str:
        return self.program.text

    @cached_property
    def derivation(self) -> Derivation:
        """Every stage's record, with the steps between."""
        return derive_program(self.program, self.wrt)

    @cached_property
    def gradients(self) -> Mapping[str, Gradient]:
        """The gradient by each real input."""
        return _Gradients(self)

    @cached_property
    def rules(self) -> tuple[str, ...]:
        """The gradients in matrices, one a line, and below them what their names stand for, in indices."""
        rules = [g.matrix for g in self.gradients.values()]
        made = {"d" + n for n in self.gradients}
        defined: list[str] = []
        for d in reversed(list(dict.fromkeys(d for g in self.gradients.values() for d in g.definitions))):
            name = re.split(r"\W", d)[0]
            if name not in made and re.search(rf"\b{name}\b", " ".join([*rules, *defined]).translate(RAISED)):
                defined.insert(0, d)
        return (*rules, "where", *defined) if defined else tuple(rules)

    @cached_property
    def forward_numpy(self) -> list[str]:
        return numpy_program(self.derivation.forward)

    @cached_property
    def backward_numpy(self) -> list[str]:
        return numpy_program(self.derivation.backward, self.derivation.forward)

    def json(self) -> dict[str, Any]:
        """What `derive rule --format json` prints."""
        d = self.derivation
        return {
            "op": self.name,
            "formula": self.text.strip(),
            "params": {n: value_of(v) for n, v in d.forward.params},
            "sizes": {n: int(e[1:]) for n, e in self.program.letters if e.startswith("=")},
            "inputs": {t.name: {"axes": list(t.letters()), "dtype": "integer" if t.integer else "real"}
                       for t in self.program.inputs},
            "outputs": {o: {"axes": _letters(d.forward.axes(o))} for o in d.forward.outputs},
            "program": {"forward": self.forward_numpy, "backward": self.backward_numpy},
            "gradients": {n: g.json() for n, g in self.gradients.items()},
            "saved": list(d.saved),
        }

    def _repr_latex_(self) -> str:
        letters = Letters(self.program)
        rows = [statement_latex(s, letters) for s in self.program.statements]
        rows += [g.latex for g in self.gradients.values()]
        return r"$$\begin{gathered}" + r" \\ ".join(rows) + r"\end{gathered}$$"


class _Gradients(Mapping[str, "Gradient"]):
    def __init__(self, op: Operation):
        self.op = op
        self.made = {n: Gradient(op, n) for n in op.derivation.chain.wanted}

    def __getitem__(self, name: str) -> Gradient:
        if name not in self.made:
            tensor = self.op.program.input(name)
            whole = tensor is not None and tensor.integer
            what = "holds integers, its gradient does not exist" if whole else "has no gradient here"
            raise DerivationError(f"{name} {what}", value=name, hint="ask for one of " + ", ".join(self.made))
        return self.made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.made)

    def __len__(self) -> int:
        return len(self.made)

    def __contains__(self, name: object) -> bool:
        return name in self.made

    def __repr__(self) -> str:
        return f"<{'; '.join(g.matrix for g in self.made.values())}>"


@dataclass(frozen=True, repr=False)
class Gradient:
    """The derivative of a scalar loss by one input: `dX`, given the outputs' cotangents.

    Attributes:
        of: the operation.
        name: the input.
    """

    of: Operation
    name: str

    def __repr__(self) -> str:
        return f"<Gradient {self.matrix}>"

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        """The backward statements that dX needs, in order, dX last."""
        kept = alive(self.of.derivation.backward.statements, ("d" + self.name,))
        return tuple(sorted(kept, key=lambda s: s.name == "d" + self.name))

    @property
    def rule(self) -> Statement:
        return self.statements[-1]

    @property
    def letters(self) -> Letters:
        """Letters to write the rule with; fresh, so that what was written before makes no difference."""
        return Letters(self.of.derivation.backward)

    @property
    def axes(self) -> list[str | None]:
        return list(next(t.letters() for t in self.of.program.inputs if t.name == self.name))

    @property
    def matrix(self) -> str:
        """The rule in matrix notation, or as an einsum, or in indices where neither exists."""
        return self._in_matrices(TEXT)

    @property
    def matrix_latex(self) -> str:
        return self._in_matrices(LATEX)

    def _in_matrices(self, glyphs: Glyphs) -> str:
        if self._reads_parts:  # a part of a tensor is no matrix of the rule's shapes
            return glyphs.statement(self.rule, self.letters)
        return matrix_rule(self.rule, self.letters, glyphs, self.shown)

    @cached_property
    def _reads_parts(self) -> bool:
        """Whether a letter reads an axis that is longer than what it runs over."""
        return self.of.derivation.backward.reads_a_part(self.rule.expr)

    @cached_property
    def shown(self) -> Statement:
        """The rule as its matrix form shows it, with probabilities by name."""
        return shown(self.rule, self.of.program.statements, self.of.derivation.forward.statements)

    @cached_property
    def _written(self) -> tuple[str, list[str], dict[str, int]]:
        """The rule, its definitions, and the letters of both that have extents of their own."""
        own = {s.name for s in self.of.program.statements}
        mine = [s for s in self.forward_statements if s.name not in own]
        letters = self.letters
        rule = statement_text(self.rule, letters)
        return rule, [statement_text(s, letters) for s in (*mine, *self.statements[:-1])], letters.sizes

    @property
    def index(self) -> str:
        """The rule in indices, in the notation."""
        return self._written[0]

    @property
    def sizes(self) -> dict[str, int]:
        """Letters of `index` and `definitions` that run over so many values, which the formula does not state."""
        return self._written[2]

    @property
    def latex(self) -> str:
        """The rule in indices, in LaTeX."""
        return statement_latex(self.rule, self.letters)

    @cached_property
    def forward_statements(self) -> tuple[Statement, ...]:
        """The forward statements that the gradient reads, directly or not."""
        needed = {t for s in self.statements for t in E.tensors(s.expr)}
        return tuple(alive(self.of.derivation.forward.statements, needed))

    @property
    def definitions(self) -> list[str]:
        """What the rule's names stand for, beside the formula's own: forward values first, then adjoints."""
        return self._written[1]

    @property
    def numpy(self) -> list[str]:
        """NumPy statements that compute dX from the inputs, saved values and cotangents."""
        b = self.of.derivation.backward
        return numpy_program(Program(b.text, b.params, b.inputs, self.statements, ("d" + self.name,), b.letters),
                             self.of.derivation.forward)

    @property
    def nodes(self) -> int:
        return count_nodes(self.numpy)

    def json(self) -> dict[str, Any]:
        return {"axes": self.axes, "matrix": self.matrix, "index": self.index, "sizes": self.sizes,
                "definitions": self.definitions, "latex": self.latex, "matrix_latex": self.matrix_latex,
                "nodes": self.nodes}

    @cached_property
    def op(self) -> Operation:
        """The gradient as a formula: inputs and `gY` in, `gX` out; its adjoints are called g instead of d."""
        forward, backward = self.of.derivation.forward, self.of.derivation.backward
        taken = forward.names
        adjoints = ["d" + o for o in forward.outputs] + [s.name for s in self.statements if s.name[0] == "d"]
        names = {n: _unused("g" + n[1:], taken) for n in dict.fromkeys(adjoints)}
        statements = [*self.forward_statements, *(_renamed(s, names) for s in self.statements)]
        read = {t for s in statements for t in E.tensors(s.expr)}
        cotangents = [Tensor(names["d" + o], forward.axes(o)) for o in forward.outputs if names["d" + o] in read]
        program = Program("", forward.params, (*forward.inputs, *cotangents), tuple(statements), (statements[-1].name,),
                          _all_letters(backward, self.name))
        return parse(program_text(program), names["d" + self.name])


def _renamed(s: Statement, names: dict[str, str]) -> Statement:
    def step(x: Expr) -> Expr:
        return Get(names[x.tensor], x.subs) if isinstance(x, Get) and x.tensor in names else x
    return Statement(names.get(s.name, s.name), s.indices, E.transform(s.expr, step), s.line)


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _all_letters(program: Program, tensor: str) -> tuple[tuple[str, str], ...]:
    own = {i.name: i.extent for i in axis_letters(program, tensor)}
    return tuple({**own, **dict(program.letters)}.items())


def _letters(axes: tuple[str, ...]) -> list[str | None]:
    return [a if a.isidentifier() else None for a in axes]

