"""Run both passes of an emitted module in the emulator's count mode, and keep what each launch asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from derive import emulator
from derive.emulator.count import SECTOR, Area, Counters
from derive.plan.records import Pass
from derive.validate.data import Drawer, Sample, Sizes
from derive.validate.drive import Emitted

Array = np.ndarray[Any, Any]

FILL = "fill"
START, BUDGET = 512, 1 << 18  # default extents are halved until no statement has more terms


@dataclass(frozen=True)
class Run:
    """One pass as it ran.

    Attributes:
        launches: in order; a `cp.full` of the wrapper counts as a kernel called `fill`.
        bytes: of each argument and result, by the name of its buffer.
    """

    launches: tuple[Counters, ...]
    bytes: Mapping[str, int]


class Counting:
    """The emulator as an array module whose kernels are counted."""

    def __init__(self) -> None:
        self.launches: list[Counters] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(emulator, name)

    def RawModule(self, **given: Any) -> emulator.RawModule:
        made = emulator.RawModule(**given, count=True)
        made.counters = self.launches
        return made

    def full(self, shape: Any, fill_value: Any, dtype: Any = np.float64) -> Array:
        """As the emulator's; a kernel of its own on a device."""
        made = emulator.full(shape, fill_value, dtype)
        area = Area(FILL, False, made.nbytes, 0, made.nbytes, 0, -(-made.nbytes // SECTOR))
        self.launches.append(Counters(FILL, (1, 1, 1), (1, 1, 1), 0, (area,), ()))
        return made

    def zeros(self, shape: Any, dtype: Any = np.float64) -> Array:
        return self.full(shape, 0, dtype)


class Profiled(Emitted):
    """An emitted module that keeps what its passes asked for."""

    def __init__(self, name: str, program: Any, plan: Any) -> None:
        self.counting = Counting()
        self.runs: dict[str, Run] = {}
        super().__init__(name, program, plan, self.counting)

    def _call(self, p: Pass, device: Mapping[str, Any], sample: Sample, options: Mapping[str, Any]) -> dict[str, Any]:
        first = len(self.counting.launches)
        made = super()._call(p, device, sample, options)
        held = {**device, **made}
        sizes = {b.name: int(held[b.tensor].nbytes) for b in (*p.arguments, *p.results)}
        self.runs[p.name] = Run(tuple(self.counting.launches[first:]), sizes)
        return made


def default_sizes(drawer: Drawer) -> Sizes:
    """Powers of two, the same for all letters as far as that goes, for letters that nobody has fixed."""
    sizes = dict.fromkeys(drawer.classes(), START)

    def volume() -> int:
        full = dict.fromkeys(drawer.f.letters, 1)
        for letter, n in {**sizes, **drawer.f.stated, **drawer.given}.items():
            full |= dict.fromkeys(drawer.groups.get(letter, ()), n)
        return drawer.volume(full)

    while sizes and volume() > BUDGET:
        largest = max(sizes, key=lambda x: sizes[x])
        if sizes[largest] <= 1:
            break
        sizes[largest] //= 2
    return sizes
