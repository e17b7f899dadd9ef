"""Sizes that reach every way in which kernels are launched: rows too long for a warp, rows too long for a block or
for shared memory, sums of more parts than a block has threads.

The emitted wrapper chooses blocks by the sizes of its arrays. It is run with kernels that do nothing but note how they
were launched; a longer axis is worth trying where one of them is launched in a way not seen yet.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import numpy as np

from derive.dtypes import ITEM
from derive.errors import ShapeError
from derive.operation import Operation
from derive.plan import Plan
from derive.plan.scatter.shape import CHUNK, SUMMERS, TILE, Order
from derive.validate.data import BUDGET, Drawer, Sample, Sizes
from derive.validate.drive import MANY, Emitted, Poisoned

LENGTHS = (256, 521, 1031, 2053, 4099, 16411, 32771, 131101)
MOST = 1 << 17  # threads of all launches together: a longer axis may mean work by its square
FEW = 2  # blocks that a launch is also tried with: with one more than these, threads have to stride
CROWD, WIDTH = 67, 32  # places of a tile that a block adds up, and how much of its rows at once
CHECKED = 1 << 14  # threads that check mode runs at one size: it takes its time


def filling(sizes: Sizes) -> Sizes:
    """The powers of two just below: they fill blocks and tiles to the last place."""
    return {x: 1 << (n.bit_length() - 1) if n else n for x, n in sizes.items()}


class Noting(Poisoned):
    """An array module whose kernels only note how they are launched."""

    def __init__(self, base: Any):
        super().__init__(base)
        self.ways: set[tuple[Any, ...]] = set()
        self.threads = 0

    def RawModule(self, **given: Any) -> Any:
        return _Module(self, given["code"])


class _Module:
    def __init__(self, notes: Noting, code: str):
        self.notes, self.code = notes, hash(code)

    def get_function(self, name: str) -> Any:
        return _Kernel(self.notes, self.code, name)


class _Kernel:
    max_dynamic_shared_size_bytes = 0

    def __init__(self, notes: Noting, code: int, name: str):
        self.notes, self.code, self.name = notes, code, name

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: Any, shared_mem: int = 0) -> None:
        threads = 1
        for n in (*grid, *block):
            threads *= int(n)
        self.notes.threads += threads
        several = tuple(min(int(n), FEW + 1) for n in grid)
        shared = (shared_mem > 0) + (shared_mem > 48 * 1024)
        self.notes.ways.add((self.code, self.name, several, tuple(block), shared))


class Launches:
    """How the kernels of a plan are launched, size by size.

    Args:
        base: array module of the wrapper; nothing runs on it.
    """

    def __init__(self, op: Operation, plan: Plan, drawer: Drawer, base: Any):
        self.drawer, self.plan = drawer, plan
        self.notes = Noting(base)
        self.emitted = Emitted(op.name, op.derivation.forward, plan, self.notes)

    def threads(self, sizes: Sizes) -> int:
        """How many threads all kernels have together."""
        self.notes.threads = 0
        self.emitted.run(self.drawer.sample(sizes, "1"))
        return self.notes.threads

    @cached_property
    def plain(self) -> list[Sizes]:
        """The formula's own sweep, without what takes too many threads."""
        return [s for s in self.drawer.sweep() if self.threads(s) <= MOST]

    @cached_property
    def longer(self) -> list[Sizes]:
        """Sizes with one long axis, wherever that launches a kernel in a way that nothing before it did."""
        self.notes.ways.clear()
        for sizes in self.plain:
            self.threads(sizes)
        found = (self._longer(letter, n) for letter in self.drawer.classes() for n in LENGTHS)
        return [s for s in found if s is not None]

    @cached_property
    def summed(self) -> Sizes | None:
        """So many elements of a sum over everything that each of `MANY` parts has some: 256 threads, a pack each."""
        grids = [k.launch.grid[0] for p in self.plan.passes for k in p.kernels if k.plan == "total"]
        over = self._classes(" ".join(grids))
        if not over:
            return None
        elements = MANY * 256 * 16 // ITEM[self.plan.dtype] + 3
        sizes = self.drawer.with_long(over[0], elements, 2, dict.fromkeys(over[1:], 1))
        return sizes if self.drawer.volume(sizes) <= 4 * elements else None

    @cached_property
    def gathered(self) -> list[Sizes]:
        """Of a gather: more places than its gradient sorts at once, in a table where few meet in a tile of rows; and
        many that meet in one, of rows so wide that a block goes on to further parts of it."""
        return [*self._gather(CHUNK + 33, CHUNK, 3), *self._gather(CROWD, TILE, (2 * FEW + 1) * WIDTH + 5)]

    @cached_property
    def checked(self) -> list[Sample]:
        """Samples of all sizes that need few threads, and of the sweep's first whatever it needs."""
        rest = [*self.plain[1:], *self.longer]
        sizes = [*self.plain[:1], *(s for s in rest if self.threads(s) <= CHECKED)]
        return [self.drawer.sample(s, "1", n) for n, s in enumerate(sizes)]

    @cached_property
    def largest(self) -> Sample:
        """The one with the most elements."""
        return max(self.checked, key=lambda s: sum(np.size(a) for a in s.arrays.values()))

    @cached_property
    def striding(self) -> list[Sample]:
        """Samples on which few blocks have several shares of the work each; of a gather also a first tile where many
        places meet, before more tiles than such blocks look at at once."""
        found = [self.drawer.sample(s, "1") for s in self.gathered if self.threads(s) <= CHECKED]
        found += [self.drawer.sample(s, "none") for s in self._gather(CROWD, (FEW * SUMMERS + 9) * TILE, 3)]
        return [self.largest, *found]

    def _gather(self, places: int, rows: int, wide: int) -> list[Sizes]:
        """Sizes for so many places that address a table of so many rows; none where no gradient sorts places."""
        for order in (k.shape for p in self.plan.passes for k in p.kernels if isinstance(k.shape, Order)):
            by, to = self._classes(order.count), self._classes(order.target)
            if by and not set(by) & set(to):
                beside = [x for x in self.drawer.classes() if x not in by + to][:1]
                sizes = self.drawer.with_long(by[0], places, 1, dict.fromkeys(to, rows) | dict.fromkeys(beside, wide))
                return [sizes] if self.drawer.volume(sizes) <= BUDGET else []
        return []

    def _classes(self, text: str) -> list[str]:
        """Letters, one of each class, whose sizes a text of the wrapper names."""
        named = set(re.findall(r"size_(\w+)", text))
        return [x for x in self.drawer.classes() if self.drawer.groups[x] & named]

    def _longer(self, letter: str, length: int) -> Sizes | None:
        for rest in (17, 5, 2, 1):  # of each other axis
            sizes = self.drawer.with_long(letter, length, rest)
            before = set(self.notes.ways)
            try:
                if self.drawer.volume(sizes) <= BUDGET and self.threads(sizes) <= MOST:
                    return sizes if self.notes.ways != before else None
            except ShapeError:  # the formula divides this axis
                pass
            self.notes.ways = before
        return None
