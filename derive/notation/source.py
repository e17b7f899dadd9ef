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
    """One logical line: its kind (a keyword, or `statement`), its text, and the tree that was read from the text."""

    kind: str
    code: str
    number: int
    tree: ast.stmt

    def where(self, node: ast.AST | None = None) -> Where:
        if node is None:
            first = self.code.splitlines()[0] if self.code else ""
            return Where(first.strip(), 0, None, self.number)
        place = Where.of(self.code, node)
        row = getattr(node, "lineno", 1) - 1
        return Where(place.line, place.start, place.stop, self.number + row)

    def error(self, what: str, node: ast.AST | None = None, *, value: object = None,
              hint: str | None = None) -> NotationError:
        return NotationError(what, where=self.where(node), value=value, hint=hint)


def split(text: str) -> Iterator[Line]:
    """Logical lines of `text`: comments dropped, brackets joined across line ends, `;` separating statements."""
    if len(text) > MAX_LENGTH:
        raise NotationError("the formula is too long", value=f"{len(text)} characters",
                            hint="give one operation at a time")
    for number, code in _logical(text):
        stripped = code.lstrip()
        word = stripped.split(None, 1)[0] if stripped else ""
        kind = word if word in KEYWORDS and _declares(stripped[len(word):]) else "statement"
        body = " " * (len(code) - len(stripped)) + stripped
        if kind != "statement":  # keep the columns: blank the keyword out
            at = len(code) - len(stripped)
            body = " " * (at + len(word)) + code[at + len(word):]
        yield Line(kind, code, number, _tree(body, code, number, kind))


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
                yield from _pieces(joined, start)
            buffer, depth = [], 0


def _pieces(code: str, number: int) -> Iterator[tuple[int, str]]:
    if ";" not in code:
        yield number, code
        return
    for piece in code.split(";"):
        if piece.strip():
            yield number, piece


def _tree(body: str, code: str, number: int, kind: str) -> ast.stmt:
    pad = len(body) - len(body.lstrip())
    try:
        module = ast.parse(body[pad:], mode="exec")
    except SyntaxError as e:
        row = (e.lineno or 1) - 1
        lines = code.splitlines() or [""]
        line = lines[min(row, len(lines) - 1)]
        start = max((e.offset or 1) - 1, 0) + (pad if row == 0 else 0)
        start = min(start, max(len(line) - 1, 0))
        raise NotationError("this is no formula", where=Where(line, start, start + 1, number + row),
                            value=e.msg, hint="a line reads Y[i,j] = expression, in Python's syntax") from None
    except (RecursionError, MemoryError, ValueError) as e:
        raise NotationError("this line cannot be read", where=Where(code[:80], 0, None, number), value=str(e),
                            hint="write it in several shorter statements") from None
    if pad:
        for node in ast.walk(module):
            if getattr(node, "lineno", 0) == 1:
                node.col_offset += pad  # type: ignore[attr-defined]
                if getattr(node, "end_lineno", 0) == 1:
                    node.end_col_offset += pad  # type: ignore[attr-defined]
    if len(module.body) != 1:
        raise NotationError("one statement a line, please", where=Where(code, 0, None, number))
    return module.body[0]

