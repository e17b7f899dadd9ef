"""From an address of a compiled kernel to the line of its source: as much of DWARF 4 as that takes.

An access that a header makes for the kernel (a `float` read from a `half`) counts for the line that called it, so the
inlined calls around an address are read too. `entries` reads what else the object says; padding.py asks for its types.
"""

from __future__ import annotations

import bisect
import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class _Inlined:
    """One inlined call: the addresses it became, and where it was called."""

    ranges: tuple[tuple[int, int], ...]
    file: str
    line: int


@dataclass
class LineTable:
    """Rows of (address, file, line) in order of address, and the inlined calls, outer before inner."""

    rows: list[tuple[int, str, int]] = field(default_factory=list)
    inlined: list[_Inlined] = field(default_factory=list)

    def line_in(self, file: str, address: int) -> int:
        """The line of `file` that this address belongs to, through as many inlined calls as needed; 0 if none."""
        i = bisect.bisect_right(self.rows, (address, "\U0010ffff", 0)) - 1
        if i >= 0 and self.rows[i][1] == file:
            return self.rows[i][2]
        for call in reversed(self.inlined):
            if call.file == file and any(low <= address < high for low, high in call.ranges):
                return call.line
        return 0


class _Bytes:
    """A cursor over a section."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def number(self, size: int) -> int:
        value = int.from_bytes(self.data[self.at : self.at + size], "little")
        self.at += size
        return value

    def uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def sleb(self) -> int:
        start = self.at
        value = self.uleb()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) & 1 else value

    def text(self) -> str:
        end = self.data.index(b"\0", self.at)
        value = self.data[self.at : end].decode(errors="replace")
        self.at = end + 1
        return value


def read(path: Path) -> LineTable:
    """The line table of a shared object; empty where it has none that can be read."""
    sections = sections_of(path)
    table = LineTable()
    # Another version of DWARF: lines stay unknown, findings do not.
    with contextlib.suppress(*UNREADABLE):
        _read_units(sections, table)
    table.rows.sort(key=lambda row: row[0])
    return table


def sections_of(path: Path) -> dict[str, bytes]:
    """The debugging sections of an object."""
    data = path.read_bytes()
    offset = struct.unpack_from("<Q", data, 0x28)[0]
    size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size) for i in range(count)]
    names = headers[names_index]
    found = {}
    for header in headers:
        start = names[4] + header[0]
        name = data[start : data.index(b"\0", start)].decode()
        if name.startswith(".debug_"):
            found[name] = data[header[4] : header[4] + header[5]]
    return found


def read_line_program(section: bytes, offset: int, table: LineTable) -> list[str]:
    """Appends the rows of one unit; returns its file names, numbered from 1."""
    c = _Bytes(section, offset)
    end = c.number(4) + offset + 4
    version = c.number(2)
    if version not in (2, 3, 4):
        raise ValueError(f"line table of version {version}")
    program = c.number(4) + c.at
    minimum = c.number(1)
    if version == 4:
        c.number(1)
    c.number(1)
    base = int.from_bytes(section[c.at : c.at + 1], "little", signed=True)
    c.at += 1
    span, opcode_base = c.number(1), c.number(1)
    lengths = [c.number(1) for _ in range(opcode_base - 1)]
    while c.text():
        pass
    files = [""]
    while name := c.text():
        files.append(name.rsplit("/", 1)[-1])
        for _ in range(3):
            c.uleb()
    c.at = program
    address, file, line = 0, 1, 1

    def row() -> None:
        table.rows.append((address, files[file] if file < len(files) else "", line))

    while c.at < end:
        opcode = c.number(1)
        if opcode >= opcode_base:
            adjusted = opcode - opcode_base
            address += adjusted // span * minimum
            line += base + adjusted % span
            row()
        elif opcode == 0:
            length = c.uleb()
            after = c.at + length
            extended = c.number(1)
            if extended == 1:  # end of a sequence: nothing is known behind it
                table.rows.append((address, "", 0))
                address, file, line = 0, 1, 1
            elif extended == 2:
                address = c.number(8)
            c.at = after
        elif opcode == 1:
            row()
        elif opcode == 2:
            address += c.uleb() * minimum
        elif opcode == 3:
            line += c.sleb()
        elif opcode == 4:
            file = c.uleb()
        elif opcode == 8:
            address += (255 - opcode_base) // span * minimum
        elif opcode == 9:
            address += c.number(2)
        else:
            for _ in range(lengths[opcode - 1]):
                c.uleb()
    return files


def _read_abbreviations(section: bytes, offset: int) -> dict[int, tuple[int, bool, list[tuple[int, int]]]]:
    c = _Bytes(section, offset)
    table: dict[int, tuple[int, bool, list[tuple[int, int]]]] = {}
    while code := c.uleb():
        tag = c.uleb()
        has_children = bool(c.number(1))
        attributes = []
        while (pair := (c.uleb(), c.uleb())) != (0, 0):
            attributes.append(pair)
        table[code] = (tag, has_children, attributes)
    return table


UNREADABLE = (IndexError, ValueError, KeyError, struct.error)  # what reading another version of DWARF may end in
_FIXED = {1: 8, 5: 2, 6: 4, 7: 8, 0x0B: 1, 0x0C: 1, 0x0E: 4, 0x10: 4, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8,
          0x17: 4, 0x19: 0, 0x20: 8}  # fmt: skip
_BLOCK = {3: 2, 4: 4, 0x0A: 1}
_ADDRESS, _STRING, _SIGNED, _UNSIGNED, _REFERENCE = 0x01, 0x08, 0x0D, 0x0F, 0x15


def _value(c: _Bytes, form: int) -> int:
    if form in _FIXED:
        return c.number(_FIXED[form])
    if form in (_UNSIGNED, _REFERENCE):
        return c.uleb()
    if form == _SIGNED:
        return c.sleb()
    if form == _STRING:
        c.text()
        return 0
    size = c.number(_BLOCK[form]) if form in _BLOCK else c.uleb() if form in (0x09, 0x18) else -1
    if size < 0:
        raise ValueError(f"attribute form {form:#x}")
    c.at += size
    return 0


@dataclass(frozen=True)
class Entry:
    """One entry of .debug_info: a tag of DWARF, and its attributes by their numbers (0 for a text or a block)."""

    at: int
    parent: int  # the place of the entry that this one is a child of, or -1
    unit: int  # where its unit starts, which references count from
    tag: int
    values: dict[int, int]
    forms: dict[int, int]


def entries(sections: dict[str, bytes]) -> Iterator[Entry]:
    """Everything that .debug_info says, parents before their children."""
    info = _Bytes(sections[".debug_info"])
    while info.at < len(info.data):
        unit = info.at
        end = info.number(4) + info.at
        if info.number(2) != 4:
            raise ValueError("another version of DWARF")
        abbreviations = _read_abbreviations(sections[".debug_abbrev"], info.number(4))
        info.number(1)
        parents = [-1]
        while info.at < end:
            at, code = info.at, info.uleb()
            if code == 0:
                if len(parents) > 1:
                    parents.pop()
                continue
            tag, has_children, attributes = abbreviations[code]
            values = {name: _value(info, form) for name, form in attributes}
            yield Entry(at, parents[-1], unit, tag, values, dict(attributes))
            if has_children:
                parents.append(at)
        info.at = end


_LOW, _HIGH, LINES, _RANGES, _CALL_FILE, _CALL_LINE = 0x11, 0x12, 0x10, 0x55, 0x58, 0x59
UNIT_TAG, _INLINED_TAG = 0x11, 0x1D


def _read_units(sections: dict[str, bytes], table: LineTable) -> None:
    files: list[str] = [""]
    unit_base = 0
    for entry in entries(sections):
        values = entry.values
        if entry.tag == UNIT_TAG:
            unit_base = values.get(_LOW, 0)
            files = read_line_program(sections[".debug_line"], values[LINES], table)
        elif entry.tag == _INLINED_TAG and _CALL_LINE in values:
            if _RANGES in values:
                ranges = _read_ranges(sections[".debug_ranges"], values[_RANGES], unit_base)
            else:
                low, high = values.get(_LOW, 0), values.get(_HIGH, 0)
                ranges = ((low, high if entry.forms.get(_HIGH) == _ADDRESS else low + high),)
            name = files[values[_CALL_FILE]] if values.get(_CALL_FILE, 0) < len(files) else ""
            table.inlined.append(_Inlined(ranges, name, values[_CALL_LINE]))


def _read_ranges(section: bytes, offset: int, base: int) -> tuple[tuple[int, int], ...]:
    c = _Bytes(section, offset)
    ranges = []
    while (pair := (c.number(8), c.number(8))) != (0, 0):
        if pair[0] == 2**64 - 1:
            base = pair[1]
        else:
            ranges.append((pair[0] + base, pair[1] + base))
    return tuple(ranges)
