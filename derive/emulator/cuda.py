"""Stand-ins for `cupy.cuda`: one device, one stream, and nothing that runs late."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from derive.emulator.errors import EmulatorError


@dataclass(frozen=True, eq=False)
class MemoryPointer:
    """A place in memory that kernels see: `offset` bytes into `mem`, an array of bytes that it keeps alive.

    What is copied to or from it must fit: EmulatorError, where a GPU would change what lies behind.
    """

    mem: np.ndarray[Any, Any]
    offset: int = 0
    device_id = 0

    @property
    def ptr(self) -> int:
        """The address, in this process."""
        return int(self.mem.ctypes.data) + self.offset

    def __int__(self) -> int:
        return self.ptr

    def __add__(self, count: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.offset + count)

    __radd__ = __add__

    def __sub__(self, count: int) -> MemoryPointer:
        return self + -count

    def require(self, size: int) -> None:
        """Raises EmulatorError unless `size` bytes from here lie in the memory."""
        if size < 0 or self.offset < 0 or self.offset + size > self.mem.nbytes:
            there = f"there are {self.mem.nbytes}" + (f", and it begins at byte {self.offset}" if self.offset else "")
            raise EmulatorError(f"{size} bytes of the memory are asked for, but {there}")

    def copy_from(self, mem: Any, size: int) -> None:
        """From a MemoryPointer, or an address: a number or a `ctypes.c_void_p`."""
        self.require(size)
        ctypes.memmove(self.ptr, _address(mem, size), size)

    copy_from_host = copy_from_device = copy_from

    def copy_to_host(self, mem: Any, size: int) -> None:
        """To an address: a number or a `ctypes.c_void_p`."""
        self.require(size)
        ctypes.memmove(_address(mem, size), self.ptr, size)

    def memset(self, value: int, size: int) -> None:
        """Each of `size` bytes becomes `value`."""
        self.require(size)
        ctypes.memset(self.ptr, value, size)


def _address(mem: Any, size: int) -> int:
    if isinstance(mem, MemoryPointer):
        mem.require(size)
        return mem.ptr
    return int((mem.value or 0) if isinstance(mem, ctypes.c_void_p) else mem)


class Stream:
    """A stream that is always done: launches end before they return."""

    ptr = 0

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False) -> None:
        del null, non_blocking, ptds

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def use(self) -> Stream:
        """This stream."""
        return self

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


Stream.null = Stream()  # type: ignore[attr-defined]


def get_current_stream() -> Stream:
    """The only stream."""
    return Stream()


class Device:
    """The CPU, as device 0."""

    id = 0
    compute_capability = "80"

    def __init__(self, device: int = 0) -> None:
        del device

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def use(self) -> None:
        """Already in use."""

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
