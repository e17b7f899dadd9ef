"""Count mode: what a launch asked of memory, as numbers, with lines of the user's source.

An access is one of the source's, as the C++ compiler leaves it: where a GPU's compiler joins neighbouring loads into a
vector, a device makes fewer requests than are counted here, and its bank conflicts may be others.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from derive.emulator import dwarf
from derive.emulator.source import FILE_NAME

SECTOR = 32


@dataclass(frozen=True)
class Area:
    """A buffer, a device global or a shared array. Sectors are the distinct ones of the launch, caches cold."""

    name: str  # of the parameter; `a/b` where two parameters were given overlapping arrays
    shared: bool
    size: int
    loaded: int  # bytes asked for by all threads together
    stored: int
    sectors_read: int
    sectors_written: int

    @property
    def device_bytes(self) -> int:
        """Bytes that reach device memory when no sector is fetched or written back twice."""
        return SECTOR * (self.sectors_read + self.sectors_written)


@dataclass(frozen=True)
class Site:
    """Accesses of one line, all of one kind; a request is what the lanes of a warp ask for together."""

    line: int  # counts from 1; 0 where the compiler kept none
    shared: bool
    write: bool
    requests: int
    bytes: int
    wanted: int  # of those, each byte once a request: lanes may want the same; 0 for shared memory
    sectors: int  # of all requests; 0 for shared memory
    conflicts: int  # extra cycles by bank conflicts; 0 for device memory

    @property
    def efficiency(self) -> float:
        """Of the bytes in the sectors asked for, the part that a lane wanted; 1 when none were."""
        return self.wanted / (SECTOR * self.sectors) if self.sectors else 1.0


@dataclass(frozen=True)
class Counters:
    """One launch.

    Attributes:
        barriers: how often all threads of a block met, over all blocks.
    """

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    barriers: int
    areas: tuple[Area, ...]
    sites: tuple[Site, ...]

    @property
    def load_bytes(self) -> int:
        """Bytes that threads load from device memory."""
        return sum(a.loaded for a in self.areas if not a.shared)

    @property
    def store_bytes(self) -> int:
        """Bytes that threads store to device memory."""
        return sum(a.stored for a in self.areas if not a.shared)

    @property
    def requested_bytes(self) -> int:
        """Both."""
        return self.load_bytes + self.store_bytes

    @property
    def load_sectors(self) -> int:
        """Sectors over all requests that load: what the first cache is asked for."""
        return sum(s.sectors for s in self.sites if not s.write)

    @property
    def store_sectors(self) -> int:
        """Sectors over all requests that store."""
        return sum(s.sectors for s in self.sites if s.write)

    @property
    def device_bytes(self) -> int:
        """Distinct sectors read and distinct sectors written, in bytes: caches cold at the launch, and large."""
        return sum(a.device_bytes for a in self.areas if not a.shared)

    @property
    def efficiency(self) -> float:
        """Coalescing: of the bytes in all sectors asked for, the part that a lane wanted; 1 when none were."""
        sectors = self.load_sectors + self.store_sectors
        return sum(s.wanted for s in self.sites) / (SECTOR * sectors) if sectors else 1.0

    @property
    def bank_conflicts(self) -> int:
        """Extra cycles of accesses to shared memory."""
        return sum(s.conflicts for s in self.sites)


@functools.lru_cache(maxsize=32)
def _lines(path: Path) -> dwarf.LineTable:
    return dwarf.read(path)


def read(text: str, kernel: str, grid: tuple[int, int, int], block: tuple[int, int, int], compiled: Path) -> Counters:
    """The runner's counts; places of one line become one site."""
    barriers = 0
    areas = []
    sites: dict[tuple[int, bool, bool], list[int]] = {}
    for row in text.splitlines():
        kind, *rest = row.split("\t")
        if kind == "barriers":
            barriers = int(rest[0])
        elif kind == "area":
            areas.append(Area(rest[0], rest[1] == "1", *(int(n) for n in rest[2:])))
        elif kind == "site":
            line, pc, shared, write, *counts = (int(n) for n in rest)
            line = line or (_lines(compiled).line_in(FILE_NAME, pc) if pc else 0)
            held = sites.setdefault((line, shared == 1, write == 1), [0] * len(counts))
            for i, n in enumerate(counts):
                held[i] += n
    found = (Site(*key, *counts) for key, counts in sorted(sites.items()))
    return Counters(kernel, grid, block, barriers, tuple(areas), tuple(found))
