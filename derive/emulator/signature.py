"""What a kernel takes: checked against what it is given, and packed for the runner."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from derive.emulator.errors import LaunchError

# derive_class of include/derive/abi.h
_OTHER, _SIGNED, _UNSIGNED, _FLOAT, _BOOL, _BFLOAT16, _VOID = range(7)
_CLASS_NAMES = {_FLOAT: "float", _BOOL: "bool", _BFLOAT16: "bfloat16", _SIGNED: "int", _UNSIGNED: "uint"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel, as the compiler described it."""

    name: str
    is_pointer: bool
    is_const: bool
    element_class: int
    size: int
    element_size: int
    scalar_size: int

    @property
    def type_name(self) -> str:
        """For messages: "pointer to float32", "int64"."""
        if self.element_class == _VOID:
            scalar = "void"
        elif self.element_class == _OTHER:
            scalar = f"a struct of {self.element_size} bytes"
        elif self.element_class in (_BOOL, _BFLOAT16):
            scalar = _CLASS_NAMES[self.element_class]
        else:
            scalar = f"{_CLASS_NAMES[self.element_class]}{8 * self.scalar_size}"
        return f"pointer to {scalar}" if self.is_pointer else scalar


@dataclass(frozen=True)
class Signature:
    """A kernel's name, its parameters, the static shared memory and the `__launch_bounds__` (0: none) it declares."""

    name: str
    parameters: tuple[Parameter, ...]
    static_shared: int
    max_threads: int

    def describe(self) -> str:
        """For messages: "k(x: pointer to float32, n: int32)"."""
        return f"{self.name}({', '.join(f'{p.name}: {p.type_name}' for p in self.parameters)})"


def parse(line: str) -> Signature:
    """A line of the runner's answer to `load`."""
    name, shared, threads, names, *fields = line.split("\t")
    given = names.split(",") if names else []
    parameters = []
    for i, field in enumerate(fields):
        pointer, const, kind, size, element, scalar = (int(n) for n in field.split(","))
        label = given[i] if i < len(given) and given[i] else f"argument {i + 1}"
        parameters.append(Parameter(label, bool(pointer), bool(const), kind, size, element, scalar))
    return Signature(name, tuple(parameters), int(shared), int(threads))


def _dtype_class(dtype: np.dtype[Any]) -> int:
    if dtype.name == "bfloat16":
        return _BFLOAT16
    return {"i": _SIGNED, "u": _UNSIGNED, "f": _FLOAT, "b": _BOOL}.get(dtype.kind, _OTHER)


def _fits_pointer(parameter: Parameter, dtype: np.dtype[Any]) -> bool:
    wanted, given = parameter.element_class, _dtype_class(dtype)
    if wanted in (_VOID, _OTHER):
        return True
    if dtype.kind in "cV":  # complex numbers and records: only their size can be compared
        return dtype.itemsize in (parameter.element_size, 2 * parameter.scalar_size)
    if dtype.itemsize != parameter.scalar_size:
        return False
    integers = (_SIGNED, _UNSIGNED)
    bits_of_half = given == _UNSIGNED and wanted in (_FLOAT, _BFLOAT16) and dtype.itemsize == 2
    bytes_of_bool = {wanted, given} <= {_BOOL, _SIGNED, _UNSIGNED}
    return wanted == given or (wanted in integers and given in integers) or bits_of_half or bytes_of_bool


def check_array(kernel: Signature, parameter: Parameter, array: np.ndarray[Any, Any]) -> None:
    """Raises LaunchError unless the pointer parameter can take this array."""
    where = f"kernel '{kernel.name}', parameter '{parameter.name}'"
    if not parameter.is_pointer:
        raise LaunchError(
            f"{where}: expected a value of type {parameter.type_name}, got an array of {array.dtype}. "
            f"Signature: {kernel.describe()}"
        )
    if not _fits_pointer(parameter, array.dtype):
        raise LaunchError(f"{where}: expected {parameter.type_name}, got an array of {array.dtype}")
    if not array.flags.c_contiguous:
        raise LaunchError(
            f"{where}: the array of shape {array.shape} has strides {array.strides} and is not C-contiguous; "
            "a kernel sees only its memory. Pass ascontiguousarray(array)."
        )
    if not parameter.is_const and not array.flags.writeable:
        raise LaunchError(f"{where}: the array is read-only, but the kernel takes it as a pointer to non-const")


def pack_scalar(kernel: Signature, parameter: Parameter, value: Any) -> bytes:
    """The bytes of a scalar argument as the parameter's type, or LaunchError if CuPy would pass other bits."""
    where = f"kernel '{kernel.name}', parameter '{parameter.name}'"
    if parameter.is_pointer:
        raise LaunchError(f"{where}: expected an array ({parameter.type_name}), got {value!r}")
    kind, size = parameter.element_class, parameter.size
    scalar: Any = value if isinstance(value, np.generic) else _as_cupy(value)
    if scalar is None:
        raise LaunchError(f"{where}: cannot pass a {type(value).__name__} ({value!r}) as {parameter.type_name}")
    given = _dtype_class(scalar.dtype)
    if kind in (_SIGNED, _UNSIGNED) and given in (_SIGNED, _UNSIGNED, _BOOL):
        return _pack_integer(where, parameter, scalar)
    if kind == _BOOL and given in (_BOOL, _SIGNED, _UNSIGNED):
        return struct.pack("?", bool(scalar))
    is_vector = given == _OTHER and size > parameter.scalar_size  # a record for a float4, a complex64 for a float2
    if (kind in (given, _OTHER) or is_vector) and scalar.dtype.itemsize == size:
        return bytes(scalar.tobytes())
    hint = f"Wrap it, for instance np.float{8 * size}(value)." if kind == _FLOAT else "Wrap it in the right NumPy type."
    if given == _OTHER:
        hint = f"It has {scalar.dtype.itemsize} bytes; np.dtype(..., align=True) pads as C++ does."
    raise LaunchError(
        f"{where}: expected {parameter.type_name}, got {value!r}, which is passed as {scalar.dtype}. {hint}"
    )


def _as_cupy(value: Any) -> Any:
    """A Python scalar as CuPy passes it: int as a long long, float as a double."""
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        return np.int64(value) if -(1 << 63) <= value < 1 << 63 else np.uint64(value) if value < 1 << 64 else None
    if isinstance(value, float):
        return np.float64(value)
    if isinstance(value, complex):
        return np.complex128(value)
    return None


def _pack_integer(where: str, parameter: Parameter, scalar: Any) -> bytes:
    if scalar.dtype.itemsize < parameter.size:
        raise LaunchError(
            f"{where}: expected {parameter.type_name}, got {scalar!r}: CuPy would pass {scalar.dtype.itemsize} bytes "
            f"where the kernel reads {parameter.size}"
        )
    bits = 8 * parameter.size
    number = int(scalar)
    signed = parameter.element_class == _SIGNED
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    same_size = scalar.dtype.itemsize == parameter.size
    if not same_size and not low <= number < high:
        raise LaunchError(f"{where}: {number} does not fit {parameter.type_name}")
    return (number & ((1 << bits) - 1)).to_bytes(parameter.size, "little")
