"""A launch: arguments placed where the runner sees them, the request built, the answer turned into an error or not."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from derive.emulator import arena, worker
from derive.emulator.errors import CrashError, EmulatorError, LaunchError
from derive.emulator.signature import Signature, check_array, pack_scalar

_VALUE, _BUFFER, _NULL = range(3)
MAX_THREADS = 1024
MAX_BLOCK = (1024, 1024, 64)
MAX_GRID = (2**31 - 1, 65535, 65535)
DEFAULT_SHARED = 48 * 1024
MAX_SHARED = 227 * 1024


@dataclass(frozen=True)
class Configuration:
    """The shape of a launch, complete to three dimensions."""

    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_mem: int


def configure(grid: Any, block: Any, shared_mem: int) -> Configuration:
    """Reads grid and block as CuPy does: integers or tuples of up to three."""
    return Configuration(_three(grid, "grid"), _three(block, "block"), int(shared_mem))


def _three(value: Any, what: str) -> tuple[int, int, int]:
    dims = tuple(int(n) for n in (value if isinstance(value, Sequence) else (value,)))
    if not 1 <= len(dims) <= 3:
        raise LaunchError(f"{what} must have one to three dimensions, not {value!r}")
    x, y, z = (*dims, 1, 1)[:3]
    return x, y, z


def limit_violations(kernel: Signature, shape: Configuration, dynamic_limit: int) -> list[str]:
    """What a device would refuse about this launch."""
    found = []
    for what, dims, limits in (("grid", shape.grid, MAX_GRID), ("block", shape.block, MAX_BLOCK)):
        for axis, n, limit in zip("xyz", dims, limits, strict=True):
            if not 1 <= n <= limit:
                found.append(f"{what} dimension {axis} is {n}, allowed are 1 to {limit}")
    threads = shape.block[0] * shape.block[1] * shape.block[2]
    if threads > MAX_THREADS:
        found.append(f"a block of {shape.block} has {threads} threads, at most {MAX_THREADS} are allowed")
    if kernel.static_shared > DEFAULT_SHARED:
        found.append(f"{kernel.static_shared} bytes of static shared memory, at most {DEFAULT_SHARED} are allowed")
    if shape.shared_mem < 0:
        found.append(f"shared_mem is {shape.shared_mem}")
    total = kernel.static_shared + shape.shared_mem
    if shape.shared_mem > 0 and total > max(dynamic_limit, DEFAULT_SHARED):
        found.append(
            f"{shape.shared_mem} bytes of dynamic and {kernel.static_shared} of static shared memory, more than "
            f"{max(dynamic_limit, DEFAULT_SHARED)}; "
            f"up to {MAX_SHARED} are allowed after kernel.max_dynamic_shared_size_bytes = {shape.shared_mem}"
        )
    return found


class _Placement:
    """The arrays of one launch: those outside the arena get a copy there, one for all that overlap."""

    def __init__(self, home: arena.Arena) -> None:
        self._home = home
        self._foreign: list[tuple[int, int]] = []
        self._copies: list[tuple[int, int, np.ndarray[Any, Any]]] = []
        self._written: list[tuple[np.ndarray[Any, Any], int]] = []

    def announce(self, array: np.ndarray[Any, Any]) -> None:
        """All arrays are announced before the first is placed, so that overlapping ones share a copy."""
        start = array.ctypes.data
        if array.nbytes and self._home.offset_of(start) is None:
            self._foreign.append((start, start + array.nbytes))

    def copy_in(self) -> None:
        merged: list[tuple[int, int]] = []
        for start, end in sorted(self._foreign):
            if merged and start < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        for start, end in merged:
            block: np.ndarray[Any, Any] = np.asarray(self._home.allocate(end - start))
            self._copies.append((start, end, block))

    def offset(self, array: np.ndarray[Any, Any], *, written: bool) -> int:
        start = array.ctypes.data
        inside = self._home.offset_of(start)
        if inside is not None:
            return inside
        for begin, end, block in self._copies:
            if begin <= start < end:
                place = start - begin
                block[place : place + array.nbytes] = _bytes_of(array)
                if written:
                    self._written.append((array, block.ctypes.data + place - self._home.base))
                return int(block.ctypes.data + place - self._home.base)
        return 0  # an empty array: its address is never used

    def copy_out(self) -> None:
        for array, offset in self._written:
            source = self._home.bytes_at(offset, array.nbytes)
            _bytes_of(array)[:] = source


def _bytes_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.reshape(-1).view(np.uint8)


def run(
    home: worker.Worker,
    number: tuple[int, int],
    kernel: Signature,
    shape: Configuration,
    args: Sequence[Any],
    order: tuple[bool, int],
) -> None:
    """Runs one launch in `home` and waits for its end."""
    if len(args) != len(kernel.parameters):
        raise LaunchError(f"kernel '{kernel.name}' takes {len(kernel.parameters)} arguments, got {len(args)}. "
                          f"Signature: {kernel.describe()}")  # fmt: skip
    placement = _Placement(home.arena)
    for parameter, value in zip(kernel.parameters, args, strict=True):
        if isinstance(value, np.ndarray):
            check_array(kernel, parameter, value)
            placement.announce(value)
    placement.copy_in()
    packed = []
    for parameter, value in zip(kernel.parameters, args, strict=True):
        if isinstance(value, np.ndarray):
            offset = placement.offset(value, written=not parameter.is_const)
            packed.append(struct.pack("=BQ", _BUFFER, offset))
        elif parameter.is_pointer and value is None:
            packed.append(struct.pack("=B", _NULL))
        else:
            data = pack_scalar(kernel, parameter, value)
            packed.append(struct.pack("=BI", _VALUE, len(data)) + data)
    random, seed = order
    head = struct.pack("=3I6IIIQI", 2, *number, *shape.grid, *shape.block, shape.shared_mem, random, seed, len(args))
    answer = home.ask(head + b"".join(packed), worker.timeout())
    worker.show(answer.printed)
    if answer.status == worker.OK:
        return placement.copy_out()
    raise _error(kernel, answer)


def _error(kernel: Signature, answer: worker.Answer) -> EmulatorError:
    first, _, rest = answer.text.partition("\n")
    if answer.status == worker.LAUNCH_ERROR:
        return LaunchError(rest, tuple(int(n) for n in first.split(",") if n))
    if answer.status == worker.CRASH:
        where = f" in {rest}" if rest else ""
        return CrashError(f"kernel '{kernel.name}' crashed: {first}{where}", first)
    return EmulatorError(rest)
