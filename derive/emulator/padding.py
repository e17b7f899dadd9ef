"""The bytes of a struct that belong to none of its members: to copy it whole is to read them, and means nothing.

Read from the types in the object's debugging information, which the compiler writes where a text has structs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from derive.emulator import dwarf
from derive.emulator.source import FILE_NAME

_MOST = 1024  # bytes of a struct that is looked at
_SIZE, _BITS, _OFFSET, _TYPE, _DECLARATION, _FILE = 0x0B, 0x0D, 0x38, 0x49, 0x3C, 0x3A
_UPPER, _COUNT = 0x2F, 0x37
_ARRAY, _CLASS, _MEMBER, _STRUCT, _UNION, _BASE, _RANGE = 0x01, 0x02, 0x0D, 0x13, 0x17, 0x1C, 0x21
_RECORDS = (_CLASS, _STRUCT, _UNION)
_SAME = (0x16, 0x26, 0x35, 0x37)  # typedef, const, volatile, restrict


@dataclass(frozen=True)
class Padding:
    """A size in bytes, and which bytes of a struct of that size hold nothing: bit i of `unused` is byte i."""

    size: int
    unused: int

    def __bytes__(self) -> bytes:
        """One byte for each of the struct's, 1 where it holds nothing."""
        return bytes(self.unused >> i & 1 for i in range(self.size))


@lru_cache(maxsize=32)
def read(path: Path) -> tuple[Padding, ...]:
    """The structs of the user's text that have padding, smallest first; none where the object tells of no types."""
    try:
        return _Types(dwarf.sections_of(path)).paddings()
    except dwarf.UNREADABLE:
        return ()


class _Types:
    """The types of one object, by their places in .debug_info."""

    def __init__(self, sections: dict[str, bytes]) -> None:
        self.entries: dict[int, dwarf.Entry] = {}
        self.children: dict[int, list[dwarf.Entry]] = {}
        self.records: list[dwarf.Entry] = []
        self.known: dict[int, tuple[int, int]] = {}
        files: list[str] = []
        for e in dwarf.entries(sections):
            self.entries[e.at] = e
            self.children.setdefault(e.parent, []).append(e)
            if e.tag == dwarf.UNIT_TAG:
                files = dwarf.read_line_program(sections[".debug_line"], e.values[dwarf.LINES], dwarf.LineTable())
            elif e.tag in _RECORDS and 0 < e.values.get(_FILE, 0) < len(files) and files[e.values[_FILE]] == FILE_NAME:
                self.records.append(e)

    def paddings(self) -> tuple[Padding, ...]:
        found = set()
        for e in self.records:
            size, used = self.layout(e.at)
            unused = (1 << size) - 1 & ~used
            if unused and used and size <= _MOST:
                found.add(Padding(size, unused))
        return tuple(sorted(found, key=lambda p: (p.size, p.unused)))

    def layout(self, at: int) -> tuple[int, int]:
        """(bytes, which of them hold something) of the type at this place."""
        if at not in self.known:
            self.known[at] = self._layout(self.entries[at])
        return self.known[at]

    def _layout(self, e: dwarf.Entry) -> tuple[int, int]:
        children = self.children.get(e.at, [])
        if e.tag in _SAME:
            return self._of(e)
        if e.tag == _ARRAY:
            size, used = self._of(e)
            for r in children:
                if r.tag == _RANGE:
                    count = r.values.get(_COUNT, r.values.get(_UPPER, -1) + 1)
                    used = sum(used << size * i for i in range(count)) if size * count <= _MOST else -1
                    size *= count
            return size, used
        size = e.values.get(_SIZE, 8)
        if e.tag not in _RECORDS or e.values.get(_DECLARATION):
            return size, (1 << size) - 1
        used = 0
        for m in children:
            if m.tag not in (_MEMBER, _BASE) or m.values.get(_DECLARATION):
                continue  # a function, or what is no part of the object
            if _BITS in m.values:
                return size, (1 << size) - 1  # bytes that several members share
            used |= self._of(m)[1] << m.values.get(_OFFSET, 0)
        return size, used

    def _of(self, e: dwarf.Entry) -> tuple[int, int]:
        return self.layout(e.unit + e.values[_TYPE])
