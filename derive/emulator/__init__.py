"""CUDA text on the CPU, behind CuPy's own interface.

    from derive.emulator import RawKernel
    kernel = RawKernel(code, "name")
    kernel(grid, block, (x, y, np.int32(n)))

The text is unchanged CUDA C++; arrays are NumPy's. The module also stands in for `cupy` where a wrapper needs little of
it: `load(cp=derive.emulator)`. Arrays made by `empty`, `zeros`, `asarray` and their like lie where kernels see them;
others are copied in and out at each launch. `module.get_global("name")` says where a `__constant__` or `__device__`
variable lies, and `ndarray(shape, dtype, memptr)` lays an array over it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import (
    bool_,
    dtype,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)

from derive.emulator import arena, cuda
from derive.emulator.arena import empty
from derive.emulator.check import CheckError, Report
from derive.emulator.count import Counters
from derive.emulator.errors import CompileError, CrashError, EmulatorError, LaunchError, NoCompilerError
from derive.emulator.module import Kernel, RawKernel, RawModule
from derive.emulator.ndarray import ndarray

__all__ = [
    "CheckError",
    "CompileError",
    "Counters",
    "CrashError",
    "EmulatorError",
    "Kernel",
    "LaunchError",
    "NoCompilerError",
    "RawKernel",
    "RawModule",
    "Report",
    "arange",
    "array",
    "asarray",
    "ascontiguousarray",
    "asnumpy",
    "bfloat16",
    "bool_",
    "cuda",
    "dtype",
    "empty",
    "empty_like",
    "float16",
    "float32",
    "float64",
    "full",
    "int8",
    "int16",
    "int32",
    "int64",
    "ndarray",
    "ones",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "zeros",
    "zeros_like",
]

Array = np.ndarray[Any, Any]


def __getattr__(name: str) -> Any:
    """`bfloat16`, which NumPy lacks; its package is loaded when it is first asked for."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def full(shape: Any, fill_value: Any, dtype: Any = np.float64) -> Array:
    """An array of one value, where kernels see it."""
    result = empty(shape, dtype)
    result[...] = fill_value
    return result


def zeros(shape: Any, dtype: Any = np.float64) -> Array:
    """An array of zeros, where kernels see it."""
    return full(shape, 0, dtype)


def ones(shape: Any, dtype: Any = np.float64) -> Array:
    """An array of ones, where kernels see it."""
    return full(shape, 1, dtype)


def empty_like(array: Array, dtype: Any = None) -> Array:
    """An uninitialised array of the same shape, where kernels see it."""
    return empty(array.shape, array.dtype if dtype is None else dtype)


def zeros_like(array: Array, dtype: Any = None) -> Array:
    """An array of zeros of the same shape, where kernels see it."""
    return zeros(array.shape, array.dtype if dtype is None else dtype)


def asarray(value: Any, dtype: Any = None) -> Array:
    """`value` as an array where kernels see it; a copy unless it is one already."""
    given = np.asarray(value, dtype)
    return given if arena.current().offset_of(given.ctypes.data) is not None else array(given)


def array(value: Any, dtype: Any = None) -> Array:
    """A copy of `value` as an array where kernels see it."""
    given = np.asarray(value, dtype)
    result = empty(given.shape, given.dtype)
    result[...] = given
    return result


def arange(*places: Any, dtype: Any = None) -> Array:
    """`numpy.arange` where kernels see it."""
    return array(np.arange(*places, dtype=dtype))


def ascontiguousarray(value: Any, dtype: Any = None) -> Array:
    """As `asarray`, and C-contiguous."""
    given = np.asarray(value, dtype)
    return asarray(given) if given.flags.c_contiguous else array(given)


def asnumpy(array: Array) -> Array:
    """The array itself: it is NumPy's already."""
    return np.asarray(array)
