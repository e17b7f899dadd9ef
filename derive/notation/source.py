"""The lines of a formula: parameters, declarations, outputs and statements, each with its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from derive.errors import NotationError, Where

KEYWORDS = ("param", "size", "input", "output")
MAX_LENGTH = 200_000


@dataclass(frozen=True)
class Line:
    """One statement: its kind (a keyword, or `statement`), and the tree that was read from it.

    Attributes:
        code: the text from the beginning of its first line, other statements of that line with it.
        number: that line's.
        start, stop: the statement's own part of `code`; None stands for the end.
    """

    kind: str
    code: str
    number: int
    tree: ast.stmt
    start: int = 0
    stop: int | None = None

    @property
    def text(self) -> str:
        return self.code[self.start:self.stop].strip()

    def where(self, node: ast.AST | None = None) -> Where:
        if node is None:
            first = self.code.splitlines()[0] if self.code else ""
            return Where(first, self.start, min(self.start + len(self.text.split("\n")[0]), len(first)), self.number)
        place = Where.of(self.code, node)
        row = getattr(node, "lineno", 1) - 1
        return Where(place.line, place.start, place.stop, self.number + row)

    def error(self, what: str, node: ast.AST | None = None, *, value: object = None,
              hint: str | None = None) -> NotationError:
        return NotationError(what, where=self.where(node), value=value, hint=hint)


def split(text: str) -> Iterator[Line]:
    """The statements of `text`: without comments, brackets joined across line ends, `;` between those of one line."""
    if len(text) > MAX_LENGTH:
        raise NotationError("the formula is too long", value=f"{len(text)} characters",
                            hint="give one operation at a time")
    for number, code in _logical(text):
        for start, stop in _pieces(code):
            above = code.count("\n", 0, start)
            row = code.rfind("\n", 0, start) + 1
            yield _line(code[row:], number + above, start - row, stop - row)


def _line(code: str, number: int, start: int, stop: int) -> Line:
    """The statement `code[start:stop]`, which begins in the first line of `code`."""
    word = code[start:stop].split(None, 1)[0]
    kind = word if word in KEYWORDS and _declares(code[start + len(word):stop]) else "statement"
    body = start if kind == "statement" else start + len(word)
    body += len(code[body:stop]) - len(code[body:stop].lstrip())
    return Line(kind, code, number, _tree(code, body, stop, number), start, stop)


def _declares(rest: str) -> bool:
    """`param x = 1` declares; `param[i] = ...` and `param = ...` define a tensor of that name."""
    rest = rest.strip()
    return bool(rest) and (rest[0].isalpha() or rest[0] == "_")


def _logical(text: str) -> Iterator[tuple[int, str]]:
    """(line number, code) of each logical line, with comments blanked."""
    lines = text.splitlines()
    buffer: list[str] = []
    depth, start = 0, 1
    for n, raw in enumerate(lines, 1):
        code = raw.split("#", 1)[0].rstrip() if "#" in raw else raw.rstrip()
        if not buffer:
            start = n
        depth += sum(code.count(c) for c in "([{") - sum(code.count(c) for c in ")]}")
        buffer.append(code)
        if depth <= 0 or n == len(lines):
            joined = "\n".join(buffer)
            if joined.strip():
                yield start, joined
            buffer, depth = [], 0


def _pieces(code: str) -> Iterator[tuple[int, int]]:
    """Where each statement of a logical line begins and ends."""
    at = 0
    for piece in code.split(";"):
        if piece.strip():
            yield at + len(piece) - len(piece.lstrip()), at + len(piece.rstrip())
        at += len(piece) + 1


def _tree(code: str, start: int, stop: int, number: int) -> ast.stmt:
    """`code[start:stop]` as a tree with the columns of `code`."""
    try:
        module = ast.parse(code[start:stop], mode="exec")
    except SyntaxError as e:
        row = (e.lineno or 1) - 1
        lines = code.splitlines() or [""]
        line = lines[min(row, len(lines) - 1)]
        at = max((e.offset or 1) - 1, 0) + (start if row == 0 else 0)
        at = min(at, max(len(line) - 1, 0))
        raise NotationError("this is no formula", where=Where(line, at, at + 1, number + row),
                            value=e.msg, hint="a line reads Y[i,j] = expression, in Python's syntax") from None
    except (RecursionError, MemoryError, ValueError) as e:
        raise NotationError("this line cannot be read", where=Where(code[:80], 0, None, number), value=str(e),
                            hint="write it in several shorter statements") from None
    before = len(code[:start].encode())  # a tree counts bytes
    for node in ast.walk(module):
        if getattr(node, "lineno", 0) == 1:
            node.col_offset += before  # type: ignore[attr-defined]
        if getattr(node, "end_lineno", 0) == 1:
            node.end_col_offset += before  # type: ignore[attr-defined]
    if len(module.body) != 1:
        raise NotationError("one statement a line, please", where=Where(code, 0, None, number))
    return module.body[0]
