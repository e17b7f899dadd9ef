"""The catalogue: forward formulas of well-known operations as `.op` text files, no gradient among them.

A file starts with comment lines: the title, a sentence, `zh: ...`, which says both in Chinese with `。` between them,
`Source: ...`, and where the formula asks for it `Data: V positive`, which says what numbers a check should draw for an
input (positive, or unit for 0 to 1).  Formula lines follow, in the notation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files

from derive.errors import FileError

MARKS = ("zh: ", "Source: ", "Data: ")


@dataclass(frozen=True)
class Entry:
    """One operation.

    Attributes:
        name: how the command line calls it.
        text: its formula, comments left out.
        data: input -> `positive`, `unit` or `negative`, where normal numbers would not do.
        title_zh, sentence_zh: in Chinese; empty where the file does not say.
    """

    name: str
    title: str
    sentence: str
    source: str
    text: str
    data: Mapping[str, str] = field(default_factory=dict)
    title_zh: str = ""
    sentence_zh: str = ""


def names() -> list[str]:
    """Every operation's name, sorted."""
    found = (f.name for f in files("derive.catalog").iterdir())
    return sorted(n.removesuffix(".op") for n in found if n.endswith(".op"))


def load(name: str) -> Entry:
    """The operation of that name.

    Raises:
        FileError: there is none; with the names that are close.

    Example:
        >>> load("relu").text
        'Y[i,j] = relu(X[i,j])'
    """
    known = names()
    if name not in known:
        close = get_close_matches(name, known, 3, 0.5)
        raise FileError(f"there is no operation {name} in the catalogue", value=name,
                        hint=f"did you mean {' or '.join(close)}?" if close else "`derive ops` lists all; a formula "
                        "holds '=', a file ends in .op")
    return entry(name, files("derive.catalog").joinpath(name + ".op").read_text(encoding="utf-8"))


def entry(name: str, text: str) -> Entry:
    """An operation from the text of an `.op` file; the lines of comment are optional."""
    head: list[str] = []
    lines = text.strip().splitlines()
    while lines and lines[0].startswith("#"):
        head.append(lines.pop(0).lstrip("#").strip())
    marked = dict(h.split(": ", 1) for h in head if h.startswith(MARKS))
    plain = [h for h in head if not h.startswith(MARKS)]
    title_zh, _, sentence_zh = marked.get("zh", "").partition("。")
    data: dict[str, str] = {}
    for item in filter(None, marked.get("Data", "").split(",")):
        tensor, kind = item.split()
        data[tensor] = kind
    return Entry(name, plain[0] if plain else name, " ".join(plain[1:]), marked.get("Source", ""),
                 "\n".join(lines).strip(), data, title_zh, sentence_zh)
