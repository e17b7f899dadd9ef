"""A launch: arguments placed where the runner sees them, the request built, the answer turned into an error or not."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from derive.emulator import arena, check, count, history, padding, variables, worker
from derive.emulator.errors import CrashError, EmulatorError, LaunchError
from derive.emulator.signature import Parameter, Signature, check_array, pack_scalar

_VALUE, _BUFFER, _NULL, _VARIABLE = range(4)  # ArgumentTag of runtime/runner.cpp
_PLAIN, _CHECK, _COUNT = range(3)  # Mode of runtime/runner.cpp
MAX_THREADS = 1024
MAX_BLOCK = (1024, 1024, 64)
MAX_GRID = (2**31 - 1, 65535, 65535)
DEFAULT_SHARED = 48 * 1024
MAX_SHARED = 227 * 1024
_GUARD = 64 * 1024  # GUARD of runtime/access.cpp


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


def limit_violations(kernel: Signature, shape: Configuration, dynamic_limit: int | None) -> list[str]:
    """What a device would refuse about this launch; without a `dynamic_limit` of its own, dynamic and static shared
    memory together are at most 48 KiB."""
    found = []
    for what, dims, limits in (("grid", shape.grid, MAX_GRID), ("block", shape.block, MAX_BLOCK)):
        for axis, n, limit in zip("xyz", dims, limits, strict=True):
            if not 1 <= n <= limit:
                found.append(f"{what} dimension {axis} is {n}, allowed are 1 to {limit}")
    threads = shape.block[0] * shape.block[1] * shape.block[2]
    if threads > MAX_THREADS:
        found.append(f"a block of {shape.block} has {threads} threads, at most {MAX_THREADS} are allowed")
    elif 0 < kernel.max_threads < threads:
        found.append(f"a block of {shape.block} has {threads} threads, __launch_bounds__ allows {kernel.max_threads}")
    if kernel.static_shared > DEFAULT_SHARED:
        found.append(f"{kernel.static_shared} bytes of static shared memory, at most {DEFAULT_SHARED} are allowed")
    if shape.shared_mem < 0:
        found.append(f"shared_mem is {shape.shared_mem}")
    most = MAX_SHARED - kernel.static_shared
    limit = min(most, DEFAULT_SHARED - kernel.static_shared if dynamic_limit is None else dynamic_limit)
    if shape.shared_mem > max(limit, 0):
        found.append(
            f"{shape.shared_mem} bytes of dynamic shared memory beside {kernel.static_shared} of static, more than "
            f"{limit}; {MAX_SHARED} are allowed together"
            + (f" after kernel.max_dynamic_shared_size_bytes = {shape.shared_mem}" if shape.shared_mem <= most else "")
        )
    return found


@dataclass(frozen=True)
class Instrumented:
    """Check mode and count mode: the object, and for check mode the parameters whose arrays hold nothing yet."""

    compiled: Path
    uninitialized: frozenset[str]
    counting: bool = False


@dataclass
class _Span:
    """Bytes of the caller that the kernel gets as one copy: an array, or several that overlap."""

    start: int
    end: int
    parameters: list[Parameter]
    empty: bool = False  # holds nothing yet (check mode)
    place: int = 0  # offset of the copy in the arena
    memory: np.ndarray[Any, Any] | None = None


class _Placement:
    """The arrays of one launch: those outside the arena get a copy there, one for all that overlap.

    In check mode and count mode all get one, between wide gaps, so that an access out of bounds harms nobody's array.
    """

    def __init__(self, home: arena.Arena, *, gap: int) -> None:
        self._home = home
        self._gap = gap
        self.spans: list[_Span] = []
        self._written: list[tuple[np.ndarray[Any, Any], int]] = []

    def announce(self, array: np.ndarray[Any, Any], parameter: Parameter, empty: bool) -> None:
        """All arrays are announced before the first is placed, so that overlapping ones share a copy."""
        start = array.ctypes.data
        if self._gap or (array.nbytes and self._home.offset_of(start) is None):
            self.spans.append(_Span(start, start + array.nbytes, [parameter], empty))

    def reserve(self) -> None:
        """Makes room for everything announced."""
        merged: list[_Span] = []
        for span in sorted(self.spans, key=lambda s: (s.start, s.end)):
            last = merged[-1] if merged else None
            if last and (span.start < last.end or (span.start, span.end) == (last.start, last.end)):
                last.end = max(last.end, span.end)
                last.parameters += span.parameters
                last.empty = last.empty and span.empty
            else:
                merged.append(span)
        for span in merged:
            here = self._home.offset_of(span.start)
            shift = here % arena.ALIGNMENT if here is not None else 0  # a part of an array is no better aligned here
            span.memory = np.asarray(self._home.allocate(span.end - span.start + shift + 2 * self._gap))
            span.place = span.memory.ctypes.data - self._home.base + self._gap + shift
        self.spans = merged

    def offset(self, array: np.ndarray[Any, Any], *, written: bool) -> int:
        """Where in the arena the kernel finds this array; copies it there if it has to."""
        start = array.ctypes.data
        for span in self.spans:
            if span.start <= start and start + array.nbytes <= span.end:
                place = span.place + start - span.start
                self._home.bytes_at(place, array.nbytes)[:] = _bytes_of(array)
                if written:
                    self._written.append((array, place))
                return place
        return self._home.offset_of(start) or 0  # an empty array has no address: it is never used

    def copy_out(self) -> None:
        """Brings what the kernel wrote back to the caller's arrays."""
        for array, place in self._written:
            _bytes_of(array)[:] = self._home.bytes_at(place, array.nbytes)


def _bytes_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.reshape(-1).view(np.uint8)


def run(
    home: worker.Worker,
    number: tuple[int, int],
    kernel: Signature,
    shape: Configuration,
    args: Sequence[Any],
    order: tuple[bool, int],
    mode: Instrumented | None,
    shared: tuple[variables.Shared, ...] = (),
) -> count.Counters | None:
    """Runs one launch in `home` and waits for its end. Counters come in count mode only."""
    checked = mode if mode and not mode.counting else None
    if len(args) != len(kernel.parameters):
        raise LaunchError(
            f"kernel '{kernel.name}' takes {len(kernel.parameters)} arguments, got {len(args)}. "
            f"Signature: {kernel.describe()}"
        )
    placement = _Placement(home.arena, gap=_GUARD if mode else 0)
    for parameter, value in zip(kernel.parameters, args, strict=True):
        if isinstance(value, np.ndarray):
            check_array(kernel, parameter, value)
            if _in_variable(value, shared):
                continue
            empty = checked is not None and parameter.name in checked.uninitialized and not history.has_output(value)
            placement.announce(value, parameter, empty)
    placement.reserve()
    packed = []
    for parameter, value in zip(kernel.parameters, args, strict=True):
        if isinstance(value, np.ndarray) and (inside := _in_variable(value, shared)):
            packed.append(inside)
        elif isinstance(value, np.ndarray):
            offset = placement.offset(value, written=not parameter.is_const)
            packed.append(struct.pack("=BQ", _BUFFER, offset))
        elif parameter.is_pointer and value is None:
            packed.append(struct.pack("=B", _NULL))
        else:
            data = pack_scalar(kernel, parameter, value)
            packed.append(struct.pack("=BI", _VALUE, len(data)) + data)
    random, seed = order
    head = struct.pack("=3I6IIIQI", 2, *number, *shape.grid, *shape.block, shape.shared_mem, random, seed, len(args))
    tail = _pack_mode(mode, placement.spans)
    answer = home.ask(head + b"".join(packed) + _pack_variables(home, shared) + tail, worker.timeout())
    worker.show(answer.printed)
    if answer.status in (worker.OK, worker.FINDINGS):
        placement.copy_out()
    if checked:
        for parameter, value in zip(kernel.parameters, args, strict=True):
            if isinstance(value, np.ndarray) and not parameter.is_const:
                history.add_output(value)
    if answer.status == worker.FINDINGS and checked:
        raise check.CheckError(check.read(answer.text, kernel.name, checked.compiled))
    if answer.status != worker.OK:
        raise _error(kernel, answer, mode)
    if mode is None or not mode.counting:
        return None
    return count.read(answer.text, kernel.name, shape.grid, shape.block, mode.compiled)


def _in_variable(array: np.ndarray[Any, Any], shared: Sequence[variables.Shared]) -> bytes:
    """The argument for an array that lies over a variable of the kernel's own library; empty for any other."""
    for variable in shared:
        offset = variable.offset_of(array)
        if offset is not None:
            return struct.pack("=BIQ", _VARIABLE, variable.number, offset)
    return b""


def _pack_variables(home: worker.Worker, shared: Sequence[variables.Shared]) -> bytes:
    places = ((variable.number, home.arena.offset_of(variable.memory.ctypes.data)) for variable in shared)
    return struct.pack("=I", len(shared)) + b"".join(struct.pack("=IQ", *place) for place in places)


def _pack_mode(mode: Instrumented | None, spans: list[_Span]) -> bytes:
    if mode is None:
        return struct.pack("=I", _PLAIN)
    if mode.counting:
        return struct.pack("=I", _COUNT) + _pack_buffers(spans)
    structs = padding.read(mode.compiled)
    known = b"".join(struct.pack("=I", s.size) + bytes(s) for s in structs)
    return struct.pack("=I", _CHECK) + _pack_buffers(spans) + struct.pack("=I", len(structs)) + known


def _pack_buffers(spans: list[_Span]) -> bytes:
    """What these modes are told of each buffer; arrays that overlap count as one that may do what any of them may."""
    parts = [struct.pack("=I", len(spans))]
    for span in spans:
        name = "/".join(p.name for p in span.parameters).encode()
        element = min(p.scalar_size for p in span.parameters)
        is_input = all(p.is_const for p in span.parameters)
        initialised = not span.empty
        numbers = (span.place, span.end - span.start, element, is_input and initialised, initialised, len(name))
        parts.append(struct.pack("=QQIBBI", *numbers) + name)
    return b"".join(parts)


def _error(kernel: Signature, answer: worker.Answer, mode: Instrumented | None) -> EmulatorError:
    text = answer.text
    if mode:  # a place that is known by its address only
        text = re.sub(r"@(\d+)", lambda pc: str(check.line_at(mode.compiled, int(pc[1]))), text)
    first, _, rest = text.partition("\n")
    if answer.status == worker.LAUNCH_ERROR:
        return LaunchError(rest, tuple(int(n) for n in first.split(",") if n))
    if answer.status == worker.CRASH:
        where = f" in {rest}" if rest else ""
        return CrashError(f"kernel '{kernel.name}' crashed: {first}{where}", first)
    return EmulatorError(rest)
