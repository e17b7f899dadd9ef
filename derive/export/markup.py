"""The small markup that the language templates are written in, as blocks.

    # title   ## section   ### step      paragraphs with $math$, `code` and **strong**
    - item                               $$ display $$   (with `box` before it for the result)
    | a | b |                            ``` language ... ```
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """kind: heading, text, math, box, code, table, list; `level` of a heading, `language` of code."""

    kind: str
    text: str = ""
    level: int = 0
    language: str = ""
    rows: tuple[tuple[str, ...], ...] = ()


INLINE = re.compile(r"(\$[^$\n]+\$|`[^`\n]+`|\*\*[^*\n]+\*\*)")


def blocks(source: str) -> Iterator[Block]:
    """Read a rendered template."""
    lines = source.splitlines()
    n = 0
    while n < len(lines):
        line = lines[n].strip()
        if not line:
            n += 1
        elif line.startswith("```"):
            stop = next(m for m in range(n + 1, len(lines)) if lines[m].strip() == "```")
            yield Block("code", "\n".join(lines[n + 1:stop]), language=line[3:].strip())
            n = stop + 1
        elif line.startswith("#"):
            level = len(line) - len(line.lstrip("#"))
            yield Block("heading", line[level:].strip(), level)
            n += 1
        elif line.startswith(("$$", "box $$")):
            kind, _, body = line.partition("$$")
            yield Block("box" if kind else "math", body.removesuffix("$$").strip())
            n += 1
        elif line.startswith(("|", "- ")):
            sign = line[0]
            stop = next((m for m in range(n, len(lines)) if not lines[m].strip().startswith(sign)), len(lines))
            group = [x.strip() for x in lines[n:stop]]
            if sign == "|":
                yield Block("table", rows=tuple(tuple(c.strip() for c in x.strip("|").split("|")) for x in group))
            else:
                yield Block("list", rows=tuple((x[2:],) for x in group))
            n = stop
        else:
            stop = next((m for m in range(n, len(lines)) if not lines[m].strip()
                         or lines[m].strip().startswith(("#", "$$", "```", "|", "- ", "box $$"))), len(lines))
            yield Block("text", " ".join(x.strip() for x in lines[n:stop]))
            n = stop


def spans(text: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of a paragraph's parts: plain, math, code, strong."""
    for part in INLINE.split(text):
        if not part:
            continue
        if part.startswith("$"):
            yield "math", part[1:-1]
        elif part.startswith("`"):
            yield "code", part[1:-1]
        elif part.startswith("**"):
            yield "strong", part[2:-2]
        else:
            yield "plain", part
