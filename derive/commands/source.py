"""From what a user writes as OP to an operation: a catalogue name, a path, an inline formula, or standard input."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from derive.errors import FileError, NotationError
from derive.operation import Operation, parse


@dataclass(frozen=True)
class Source:
    """An operation and what stands beside its formula.

    Attributes:
        argument: how the command line spells it again.
        data: input -> kind of numbers that a check should draw.
    """

    op: Operation
    argument: str
    title: str = ""
    sentence: str = ""
    origin: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    title_zh: str = ""
    sentence_zh: str = ""


def find(argument: str, wrt: tuple[str, ...] | None = None) -> Source:
    """The operation that OP names.

    Args:
        argument: a catalogue name, a path to an `.op` file, a formula (it contains `=`), or `-`.
        wrt: inputs to differentiate by; None for all.

    Raises:
        FileError: no such operation or file.
        NotationError: the formula is not in the notation.
    """
    found = _find(argument)
    return replace(found, op=replace(found.op, wrt=wrt)) if wrt else found


def _find(argument: str) -> Source:
    if argument == "-":
        return _inline(sys.stdin.read(), "-")
    if "=" in argument:
        return _inline(argument, argument)
    if argument.endswith(".op") or "/" in argument or "\\" in argument:
        path = Path(argument)
        return _entry(path.stem, _read(path), argument)
    from derive import catalog

    e = catalog.load(argument)
    return Source(parse(e.text, e.name), argument, e.title, e.sentence, e.source, e.data, e.title_zh,
                  e.sentence_zh)


def _inline(text: str, argument: str) -> Source:
    op = parse(text)
    return Source(replace(op, name=op.program.outputs[-1]), argument)


def _entry(name: str, text: str, argument: str) -> Source:
    from derive import catalog

    e = catalog.entry(name, text)
    try:
        op = parse(e.text, name)
    except NotationError:
        parse(text, name)  # the same error, with the line numbers of the file
        raise
    return Source(op, argument, e.title if e.title != name else "", e.sentence, e.source, e.data,
                  e.title_zh, e.sentence_zh)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as e:
        raise FileError(f"there is no file {path}", value=path) from e
    except OSError as e:
        raise FileError(f"cannot read {path}", value=e.strerror) from e
    except UnicodeDecodeError as e:
        raise FileError(f"{path} is no text", value=f"byte {e.start}", hint="a formula is written in UTF-8") from e


LARGEST = 2**63 - 1  # what an index of 64 bits can count to


def sizes(pairs: tuple[str, ...]) -> dict[str, int]:
    """`--size t=5` as letter -> extent."""
    found: dict[str, int] = {}
    for pair in pairs:
        letter, _, number = pair.partition("=")
        if not letter.strip().isidentifier() or not number.strip().isdecimal():
            raise NotationError("a size is written LETTER=NUMBER", value=f"--size {pair}", hint="as in --size t=5")
        if len(number.strip()) > len(str(LARGEST)) or int(number) > LARGEST:
            raise NotationError("no array has an axis so long", value=f"--size {pair}", hint=f"at most {LARGEST}")
        if found.setdefault(letter.strip(), int(number)) != int(number):
            raise NotationError(f"index {letter.strip()} has two sizes, {found[letter.strip()]} and {int(number)}",
                                value=f"--size {pair}", hint="give it once")
    return found
