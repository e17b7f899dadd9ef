"""A program: the typed record that every stage reads and writes.

A formula becomes a `Program`; so does its gradient, which is why derivation is closed.  Statements are in order of
definition, each `name[indices] = expr`, and read inputs and earlier statements only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from derive.expr import Expr, Get, Index, subterms, tensors

#: Scalar functions of the notation, with their number of arguments.
FUNCTIONS = {
    "exp": 1, "log": 1, "log1p": 1, "expm1": 1, "tanh": 1, "sqrt": 1, "rsqrt": 1, "erf": 1, "sigmoid": 1,
    "relu": 1, "abs": 1, "sin": 1, "cos": 1, "maximum": 2, "minimum": 2,
}
REDUCTIONS = ("sum", "mean", "max", "min", "logsumexp")


@dataclass(frozen=True)
class Tensor:
    """A tensor that is given: `axes` names each axis's extent class.

    An axis that no letter addresses has the class `name.position`, as `X.2`; one whose size the formula states, `=2`.
    """

    name: str
    axes: tuple[str, ...]
    integer: bool = False

    def letters(self) -> tuple[str | None, ...]:
        return tuple(a if a.isidentifier() else None for a in self.axes)


@dataclass(frozen=True)
class Statement:
    """`name[indices] = expr`.  `line` is where the user wrote it (0: we did)."""

    name: str
    indices: tuple[Index, ...]
    expr: Expr
    line: int = field(default=0, compare=False)

    @property
    def target(self) -> Get:
        return Get(self.name, self.indices)


@dataclass(frozen=True)
class Program:
    """A forward formula, or the gradient of one.

    Attributes:
        text: the formula as the user wrote it.
        params: scalar constants and their exact values.
        inputs: tensors that are given, in order of first appearance (declared ones first).
        statements: definitions, in order.
        outputs: names of statements that the user asked for.
        letters: extent class of each index letter in the text, in order of first appearance.
    """

    text: str
    params: tuple[tuple[str, Fraction], ...]
    inputs: tuple[Tensor, ...]
    statements: tuple[Statement, ...]
    outputs: tuple[str, ...]
    letters: tuple[tuple[str, str], ...]

    def input(self, name: str) -> Tensor | None:
        return next((t for t in self.inputs if t.name == name), None)

    def statement(self, name: str) -> Statement | None:
        return next((s for s in self.statements if s.name == name), None)

    def axes(self, name: str) -> tuple[str, ...]:
        """Extent classes of the axes of an input or a statement."""
        given = self.input(name)
        if given is not None:
            return given.axes
        made = self.statement(name)
        if made is None:
            raise KeyError(name)
        return tuple(i.extent for i in made.indices)

    @property
    def names(self) -> set[str]:
        return {t.name for t in self.inputs} | {s.name for s in self.statements} | {n for n, _ in self.params}

    @property
    def extents(self) -> tuple[str, ...]:
        """Every extent class, letters first, each once."""
        found = {e: None for _, e in self.letters}
        for t in self.inputs:
            found.update((a, None) for a in t.axes)
        return tuple(found)

    def accesses(self) -> Iterator[Get]:
        """Every access in every statement, each distinct one of a statement once."""
        for s in self.statements:
            for x in subterms(s.expr):
                if isinstance(x, Get):
                    yield x

    def parts(self, g: Get) -> list[bool]:
        """Which subscripts are letters that run over a part of their axis only, as of `A[1*l]`."""
        return [isinstance(s, Index) and s.extent != a for s, a in zip(g.subs, self.axes(g.tensor), strict=True)]

    def reads_a_part(self, e: Expr) -> bool:
        """Whether some letter of `e` reads an axis that is longer or shorter than what it runs over."""
        return any(any(self.parts(x)) for x in subterms(e) if isinstance(x, Get))


def alive(statements: Sequence[Statement], wanted: Iterable[str]) -> list[Statement]:
    """The statements that `wanted` names need, directly or not, in order."""
    needed = set(wanted)
    kept: list[Statement] = []
    for s in reversed(statements):
        if s.name in needed:
            kept.append(s)
            needed |= set(tensors(s.expr))
    return kept[::-1]
