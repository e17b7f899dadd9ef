"""Memory that the caller's process and the runner share, so that arrays need no copying.

One sparse file in memory is mapped by both; blocks of it are handed out with the alignment of cudaMalloc and come
back when the array that owns them goes.
"""

from __future__ import annotations

import bisect
import collections
import math
import mmap
import os
import tempfile
import threading
from typing import Any

import numpy as np

from derive.emulator.errors import EmulatorError

ALIGNMENT = 256
_CAPACITY = 1 << 36
_KEEP_FREE = 256 << 20  # freed memory beyond this goes back to the system
_MAP_NORESERVE = 0x4000


class Block:
    """A piece of the arena, given back when nothing refers to it any more; NumPy arrays keep it as their base."""

    __slots__ = ("__array_interface__", "__weakref__", "_arena", "offset", "size")

    def __init__(self, arena: Arena, offset: int, size: int) -> None:
        self._arena = arena
        self.offset = offset
        self.size = size
        self.__array_interface__ = {
            "version": 3,
            "shape": (size,),
            "typestr": "|u1",
            "data": (arena.base + offset, False),
        }

    def __del__(self) -> None:
        self._arena.returned.append((self.offset, self.size))


class Arena:
    """An allocator over one shared mapping: first fit, neighbours merged."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.fd = _memory_file()
        self.size = _CAPACITY
        while True:
            try:
                os.ftruncate(self.fd, self.size)
                self._map = mmap.mmap(self.fd, self.size, flags=mmap.MAP_SHARED | _MAP_NORESERVE)
                break
            except (OSError, ValueError, OverflowError):
                self.size //= 2
                if self.size < 1 << 24:
                    raise EmulatorError("no memory can be mapped for the arrays of kernels") from None
        self.base = int(np.frombuffer(self._map, dtype=np.uint8, count=1).ctypes.data)
        self.returned: collections.deque[tuple[int, int]] = collections.deque()
        self._lock = threading.Lock()
        self._free: list[tuple[int, int]] = [(0, self.size)]  # sorted, (offset, size), never adjacent
        self._dirty = 0

    def allocate(self, size: int) -> Block:
        """A block of at least `size` bytes; what it holds is arbitrary."""
        # A gap behind each block: an access just past an array's end finds no other array there.
        rounded = (max(size, 1) + 2 * ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        with self._lock:
            self._take_back()
            for i, (offset, available) in enumerate(self._free):
                if available >= rounded:
                    if available == rounded:
                        del self._free[i]
                    else:
                        self._free[i] = (offset + rounded, available - rounded)
                    return Block(self, offset, rounded)
        raise EmulatorError(f"no room for an array of {size} bytes in the {self.size} bytes that kernels can use")

    def _take_back(self) -> None:
        while self.returned:
            offset, size = self.returned.popleft()
            self._dirty += size
            i = bisect.bisect_left(self._free, (offset, 0))
            if i < len(self._free) and self._free[i][0] == offset + size:
                size += self._free.pop(i)[1]
            if i > 0 and sum(self._free[i - 1]) == offset:
                offset, before = self._free[i - 1][0], self._free[i - 1][1]
                self._free[i - 1] = (offset, before + size)
            else:
                self._free.insert(i, (offset, size))
        if self._dirty > _KEEP_FREE:
            self._dirty = 0
            page = mmap.PAGESIZE
            for offset, size in self._free:
                start, end = -(-offset // page) * page, (offset + size) // page * page
                if end > start:
                    self._map.madvise(mmap.MADV_REMOVE, start, end - start)

    def offset_of(self, address: int) -> int | None:
        """Where in the arena this address lies, or None."""
        offset = address - self.base
        return offset if 0 <= offset < self.size else None

    def bytes_at(self, offset: int, size: int) -> np.ndarray[Any, Any]:
        """A view of these bytes, not owned by anybody: for copies only."""
        return np.frombuffer(self._map, dtype=np.uint8, count=size, offset=offset)


def _memory_file() -> int:
    if hasattr(os, "memfd_create"):
        try:
            return os.memfd_create("derive-emulator", os.MFD_CLOEXEC)
        except OSError:
            pass
    directory = "/dev/shm" if os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK) else None
    handle, path = tempfile.mkstemp(prefix="derive-emulator-", dir=directory)
    os.unlink(path)
    return handle


_current: Arena | None = None
_guard = threading.Lock()


def current() -> Arena:
    """This process's arena. A forked child gets its own, else it would write into its parent's arrays."""
    global _current
    with _guard:
        if _current is None or _current.pid != os.getpid():
            _current = Arena()
        return _current


def empty(shape: Any, dtype: Any = np.float64) -> np.ndarray[Any, Any]:
    """An uninitialised C-contiguous array that kernels can use without a copy."""
    kind = np.dtype(dtype)
    dims = (int(shape),) if np.ndim(shape) == 0 else tuple(int(n) for n in shape)
    size = math.prod(dims) * kind.itemsize
    raw: np.ndarray[Any, Any] = np.asarray(current().allocate(size))
    return raw[:size].view(kind).reshape(dims) if size else np.empty(dims, kind)
