"""Check mode: what the runner found, as reports with lines of the user's source.

A race is two accesses to one place by threads that nothing orders, one of them a write, unless both are atomic. Threads
of one block that store the value which is there already (all set one flag) are none: no order of them shows. That is
what CUDA's own racecheck leaves out by default. Threads of different blocks that do so are reported.

The plain read that a compare-and-swap loop begins with is none either: the compare-and-swap finds out whether that
guess still holds. A place in the source counts as one once any thread compares and swaps what it has read there.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from derive.emulator import dwarf
from derive.emulator.errors import EmulatorError
from derive.emulator.source import FILE_NAME

KINDS = (
    "out-of-bounds",
    "uninitialized",
    "race",
    "barrier-divergence",
    "warp-divergence",
    "misaligned",
    "write-to-input",
    "launch-limit",
)

Index = tuple[int, int, int]


@dataclass(frozen=True)
class Report:
    """One finding: a kind of `KINDS`, where in the source, which variable, and the first thread that did it."""

    kind: str
    kernel: str
    line: int  # counts from 1; 0 where the compiler kept no line
    what: str
    variable: str = ""
    other_line: int | None = None  # of a race: the line of the earlier access
    block: Index = (0, 0, 0)
    thread: Index = (0, 0, 0)
    count: int = 1  # how often it happened

    def __str__(self) -> str:
        other = f" (and line {self.other_line})" if self.other_line else ""
        times = f", {self.count} times" if self.count > 1 else ""
        return (
            f"{self.kind}: kernel '{self.kernel}', line {self.line}{other}: {self.what}; "
            f"block {_show(self.block)}, thread {_show(self.thread)}{times}"
        )


def _show(index: Index) -> str:
    return f"({index[0]},{index[1]},{index[2]})"


class CheckError(EmulatorError):
    """A launch in check mode with findings; `reports` holds all of them."""

    def __init__(self, reports: tuple[Report, ...]) -> None:
        shown = "\n".join(f"  {report}" for report in reports[:20])
        more = f"\n  ... and {len(reports) - 20} more" if len(reports) > 20 else ""
        super().__init__(f"{len(reports)} finding{'s' if len(reports) != 1 else ''}:\n{shown}{more}")
        self.reports = reports


@functools.lru_cache(maxsize=32)
def _lines(path: Path) -> dwarf.LineTable:
    return dwarf.read(path)


def read(text: str, kernel: str, compiled: Path) -> tuple[Report, ...]:
    """The runner's findings; those of one line and variable count once, however many accesses they became."""
    table = _lines(compiled)
    found: dict[tuple[object, ...], Report] = {}
    for row in text.splitlines():
        kind, line, pc, other_line, other_pc, variable, block, thread, count, what = row.split("\t", 9)
        where = int(line) or (table.line_in(FILE_NAME, int(pc)) if int(pc) else 0)
        other = int(other_line) or (table.line_in(FILE_NAME, int(other_pc)) if int(other_pc) else 0)
        key = (kind, where, other, variable)
        if key in found:
            continue
        said = f"'{variable}': {what}" if variable else what
        found[key] = Report(
            kind, kernel, where, said, variable, other or None, _index(block), _index(thread), int(count)
        )  # fmt: skip
    return tuple(found.values())


def line_at(compiled: Path, pc: int) -> int:
    """The line of the user's source that this address was made from; 0 if none."""
    return _lines(compiled).line_in(FILE_NAME, pc) or 0


def _index(text: str) -> Index:
    x, y, z = (int(n) for n in text.split(","))
    return x, y, z
