"""`ndarray` as CuPy makes one: over memory that a pointer names, or over new memory where kernels see it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from derive.emulator import arena
from derive.emulator.cuda import MemoryPointer
from derive.emulator.errors import EmulatorError


class _Arrays(type):
    """Every array here is NumPy's: any of them is an `ndarray`."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, np.ndarray)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, np.ndarray)


class ndarray(metaclass=_Arrays):  # noqa: N801 - CuPy's name
    """The array of this shape and type at `memptr`, or a new one that holds nothing yet: NumPy's, by CuPy's arguments.

    Raises:
        EmulatorError: if it reaches past the end of the memory, which a GPU would not tell.

    Example:
        >>> from derive.emulator import RawModule, float32, ndarray
        >>> module = RawModule(code='__device__ float x = 3; __global__ void k() { x += 1; }', name_expressions=["k"])
        >>> x = ndarray((), float32, module.get_global("x"))
        >>> module.get_function("k")((2,), (1,), ())
        >>> float(x)
        5.0
    """

    def __new__(  # type: ignore[misc]
        cls,
        shape: Any,
        dtype: Any = float,
        memptr: MemoryPointer | None = None,
        strides: Any = None,
        order: Any = "C",
    ) -> np.ndarray[Any, Any]:
        """As `cupy.ndarray`."""
        if memptr is None:
            memptr = MemoryPointer(np.asarray(arena.empty(_size(shape, dtype), np.uint8)))
        if not isinstance(memptr, MemoryPointer):
            raise EmulatorError(f"memptr must be a MemoryPointer, as RawModule.get_global gives, not {memptr!r}")
        if strides is None:
            memptr.require(_size(shape, dtype))
        try:
            made: np.ndarray[Any, Any] = np.ndarray(shape, dtype, memptr.mem, memptr.offset, strides, order)
        except (TypeError, ValueError) as error:
            raise EmulatorError(f"no array of shape {shape} and type {dtype} can lie here: {error}") from None
        return made


def _size(shape: Any, dtype: Any) -> int:
    dims = (int(shape),) if np.ndim(shape) == 0 else tuple(int(n) for n in shape)
    size: int = math.prod(dims) * np.dtype(dtype).itemsize
    return size
