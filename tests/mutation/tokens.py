"""CUDA text as tokens, and the functions it holds: as much of the language as mutating it needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<directive>\#(?:[^\n\\]|\\.)*)
      | (?P<number>(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[fFuUlL]*)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
      | (?P<sign><<=|>>=|\+\+|--|&&|\|\||->|::|[-+*/%&|^<>=!]=|<<|>>|[^\s\w])""",
    re.VERBOSE | re.DOTALL,
)
PAIRS = {"(": ")", "[": "]", "{": "}"}
TYPES = frozenset("float double int unsigned long char bool half __half __nv_bfloat16 INDEX auto void const".split())


@dataclass(frozen=True)
class Token:
    """A word, number, literal or sign; `start` and `end` in the text, `partner` the index of a bracket's other one."""

    kind: str
    text: str
    start: int
    end: int
    spaced: bool  # white space stands before it
    partner: int = -1


def tokens(code: str) -> list[Token]:
    """The tokens of `code`, without comments and directives, each bracket knowing its partner."""
    found: list[Token] = []
    open_: list[int] = []
    spaced = True
    for m in _TOKEN.finditer(code):
        kind = m.lastgroup or ""
        if kind in ("space", "directive"):
            spaced = True
            continue
        found.append(Token(kind, m.group(), m.start(), m.end(), spaced))
        spaced = False
        here = len(found) - 1
        if found[here].text in PAIRS:
            open_.append(here)
        elif found[here].text in PAIRS.values() and open_:
            other = open_.pop()
            for a, b in ((here, other), (other, here)):
                t = found[a]
                found[a] = Token(t.kind, t.text, t.start, t.end, t.spaced, b)
    return found


@dataclass(frozen=True)
class Piece:
    """A function or struct of the text, from its comment to its closing brace.

    Attributes:
        name: of the function or struct.
        kernel: whether it is a `__global__` function.
        begin, end: in the text.
        body: first and last token of what stands in its braces.
    """

    name: str
    kernel: bool
    begin: int
    end: int
    body: tuple[int, int]


def pieces(code: str, found: list[Token]) -> list[Piece]:
    """The functions and structs at file scope, in order."""
    out = []
    n = start = 0
    while n < len(found):
        t = found[n]
        if t.text == ";":
            start = n + 1
        elif t.text == "{" and t.partner > 0 and n > 0:
            head = found[start:n]
            words = [h.text for h in head]
            if words[:2] == ["extern", '"C"'] and words[2:] == []:  # a block of linkage: look inside
                n, start = n + 1, n + 1
                continue
            called = next((k for k in range(start, n)
                           if found[k].text == "(" and found[found[k].partner + 1].text in ("{", "const")), 0)
            name = found[called - 1].text if called else words[-1]
            begin, end = _from_comment(code, head[0].start), found[t.partner].end
            out.append(Piece(name, "__global__" in words, begin, end, (n + 1, t.partner)))
            n = t.partner
            start = n + 1
        n += 1
    return out


def _from_comment(code: str, begin: int) -> int:
    """Where the lines of comment above `begin` start."""
    begin = code.rfind("\n", 0, begin) + 1
    while begin > 0:
        above = code.rfind("\n", 0, begin - 1) + 1
        if not code[above:begin].lstrip().startswith("//"):
            break
        begin = above
    return begin


@lru_cache(maxsize=4)
def _words(code: str) -> list[tuple[Piece, frozenset[str]]]:
    """Each piece with the words in it."""
    found = tokens(code)
    return [(p, frozenset(t.text for t in found if p.begin <= t.start < p.end and t.kind == "word"))
            for p in pieces(code, found)]


@lru_cache(maxsize=1024)
def only(code: str, kernel: str) -> str:
    """The text without the other kernels, and without functions that this one does not reach; lines stay where they
    are."""
    every = _words(code)
    reached, more = {kernel}, {kernel}
    while more:
        more = {w for p, words in every if p.name in more for w in words} & {p.name for p, _ in every} - reached
        reached |= more
    out = code
    for p, _ in reversed(every):
        if p.name not in reached:
            out = out[:p.begin] + "\n" * out[p.begin:p.end].count("\n") + out[p.end:]
    return out
