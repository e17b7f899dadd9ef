"""Variables of kernels that the caller sees too: `__constant__` and `__device__`, by the name that CuPy takes.

Each lies twice: in the runner, where kernels have it, and in the arena, where the caller has it. A launch brings its
value in before, and out after; the caller's outlives a runner that crashed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from derive.emulator import worker
from derive.emulator.errors import EmulatorError


@dataclass(frozen=True)
class Shared:
    """A variable that the caller has asked for: its number in its library, and its bytes in the arena."""

    number: int
    memory: np.ndarray[Any, Any]

    def offset_of(self, array: np.ndarray[Any, Any]) -> int | None:
        """Where in the variable this array lies, or None."""
        offset: int = array.ctypes.data - self.memory.ctypes.data
        return offset if array.nbytes and 0 <= offset <= self.memory.nbytes - array.nbytes else None


# By process and library: modules of the same text and options share their variables, as in CuPy.
_shared: dict[tuple[int, Path], dict[int, Shared]] = {}


def shared_with(home: worker.Worker, path: Path) -> tuple[Shared, ...]:
    """The variables of this library that the caller sees."""
    return tuple(_shared.get((home.pid, path), {}).values())


def share(home: worker.Worker, path: Path, name: str) -> Shared:
    """The variable of this name, with the value that it has now."""
    library = home.load(path)
    symbols = [variable.symbol for variable in library.variables]
    found = next((symbols.index(symbol) for symbol in (name, _internal(name)) if symbol in symbols), None)
    if found is None:
        known = ", ".join(_shown(symbol) for symbol in symbols if not symbol.startswith("_ZZ")) or "none"
        raise EmulatorError(
            f"no variable '{name}' in this source that the host can fill (variables: {known}). "
            "One in a namespace, or made from a template, has its mangled name, as in CuPy; one that is const, or that "
            "nothing uses, has no place in memory."
        )
    shared = _shared.setdefault((home.pid, path), {})
    if found not in shared:
        block = home.arena.allocate(library.variables[found].size)
        memory = np.asarray(block)[: library.variables[found].size]
        answer = home.ask(struct.pack("=IIIQ", 3, library.number, found, block.offset), None)
        if answer.status != worker.OK:
            raise EmulatorError(f"cannot read the variable '{name}': {answer.text.strip()}")
        shared[found] = Shared(found, memory)
    return shared[found]


def _internal(name: str) -> str:
    """What this compiler calls a `static` one at file scope, which CUDA leaves its plain name."""
    return f"_ZL{len(name)}{name}"


def _shown(symbol: str) -> str:
    plain = symbol.lstrip("_ZL0123456789")
    return plain if symbol == _internal(plain) else symbol
