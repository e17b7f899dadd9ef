"""What derive says when something is wrong: what, where (a caret under the formula), which value, what to do.

Each stage has one class, so that a caller can tell whose refusal it is. An error that carries a `Where` shows
the line of the formula with carets under the place:

    error: index k is bound twice
      line 1: Y[i] = sum(k, sum(k, X[i,k]))
                            ^^^^^^^^^^^^^^
      value: k
      hint: give the inner sum a letter of its own
"""

import ast
from dataclasses import dataclass

WIDEST = 160  # characters of a line that an error shows
LONGEST = 500  # characters of a value


@dataclass(frozen=True)
class Where:
    """A stretch of one source line: columns `start` to `stop` (counted in characters from 0, stop excluded)."""

    line: str
    start: int = 0
    stop: int | None = None
    number: int | None = None

    @classmethod
    def of(cls, source: str, node: ast.AST) -> "Where":
        """The place of an `ast` node in its source; a node of several lines is shown by its first."""
        row = getattr(node, "lineno", 1)
        lines = source.splitlines() or [""]
        line = lines[min(row, len(lines)) - 1]
        data = line.encode()  # ast counts columns in UTF-8 bytes
        start = len(data[: getattr(node, "col_offset", 0)].decode(errors="ignore"))
        stop = len(line)
        if getattr(node, "end_lineno", row) == row and (end := getattr(node, "end_col_offset", None)) is not None:
            stop = len(data[:end].decode(errors="ignore"))
        return cls(line, start, stop, row)

    def render(self) -> str:
        """The line, and carets under the place; of a long line only what is around it."""
        label = f"  line {self.number}: " if self.number is not None else "  "
        stop = len(self.line) if self.stop is None else self.stop
        line, start, width = self.line, self.start, max(1, stop - self.start)
        if len(line) > WIDEST:
            first = max(0, min(start - WIDEST // 4, len(line) - WIDEST))
            line, start = line[first: first + WIDEST], start - first
            width = min(width, WIDEST - start)
        pad = "".join(c if c == "\t" else " " for c in line[:start])
        return f"{label}{line}\n{' ' * len(label)}{pad}{'^' * width}"


class DeriveError(Exception):
    """The base of all: `what` went wrong, `where` in the formula, the offending `value`, a `hint` of what to do."""

    status = 2  # the exit status of the command line: 2, the input is wrong; 1, a check failed

    def __init__(self, what: str, *, where: Where | None = None, value: object = None, hint: str | None = None):
        super().__init__(what)
        self.what, self.where, self.value, self.hint = what, where, value, hint

    def render(self) -> str:
        """The message as a terminal shows it, without a trailing newline."""
        lines = [f"error: {self.what}"]
        if self.where is not None:
            lines.append(self.where.render())
        if self.value is not None:
            value = str(self.value)
            lines.append(f"  value: {value if len(value) <= LONGEST else value[:LONGEST] + '...'}")
        if self.hint is not None:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.render().removeprefix("error: ")


class NotationError(DeriveError):
    """The formula is not in the notation, or contradicts itself."""


class ShapeError(DeriveError):
    """The arrays or sizes do not fit the formula: missing, extra, misshapen, of the wrong type, out of range."""


class DerivationError(DeriveError):
    """A gradient that cannot be derived exactly, or that does not exist."""


class PlanError(DeriveError):
    """A program that no plan covers."""


class EmitError(DeriveError):
    """Code that cannot be emitted as asked."""


class RunError(DeriveError):
    """Kernels that cannot be run here, or that failed while running."""


class FileError(DeriveError):
    """A file that cannot be read or written, or is not what its name says."""


class ExportError(DeriveError):
    """A document that cannot be written as asked."""


class CheckError(DeriveError):
    """A check failed: a rewrite, a rule or a kernel is not equal to what it should be."""

    status = 1
