"""Arrays that users give: by name, of the right shape and type, with labels in range, from and to `.npz` files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from derive import expr as E
from derive.errors import FileError, ShapeError
from derive.expr import Expr, Get, Index
from derive.extents import spelled
from derive.files import placed
from derive.plan.labels import accesses
from derive.program import Program

Array = np.ndarray[Any, Any]


def storage(dtype: str) -> np.dtype[Any]:
    """NumPy's dtype of that name; bfloat16 comes from ml_dtypes."""
    if dtype == "bfloat16":
        import ml_dtypes

        small: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return small
    return np.dtype(dtype)


def cast_inputs(program: Program, arrays: Mapping[str, Array], dtype: str) -> dict[str, Array]:
    """Every input of `program`, real ones as `dtype`, C-contiguous.

    Raises:
        ShapeError: one is missing, unknown, or of the wrong kind.
    """
    known = {t.name for t in program.inputs}
    addressing = {t for g in program.accesses() for sub in g.subs for t in E.tensors(sub)}
    for name in sorted(set(arrays) - known):
        raise ShapeError(
            f"{name} is no input of the formula",
            value=f"array {name}",
            hint="its inputs are " + (", ".join(spelled(program, t.name) for t in program.inputs) or "none"),
        )
    out: dict[str, Array] = {}
    for t in program.inputs:
        if t.name not in arrays:
            raise ShapeError(
                f"the array of input {spelled(program, t.name)} is missing",
                value=t.name,
                hint="given: " + (", ".join(sorted(arrays)) or "none"),
            )
        array = np.asarray(arrays[t.name])
        if t.integer and array.dtype.kind == "f" and t.name not in addressing:
            array = _whole(t.name, array)
        out[t.name] = cast(t.name, array, dtype, t.integer)
    return out


def _whole(name: str, array: Array) -> Array:
    """Floating-point numbers that are compared with places, as the whole numbers that they must be."""
    odd = array[~((np.abs(array) < 2.0**62) & (array == np.trunc(array)))]
    if odd.size:
        raise ShapeError(f"{name} is compared with places and must hold whole numbers", value=float(odd.flat[0]),
                         hint="give it as int32 or int64")
    return array.astype(np.int64)


def cast(name: str, array: Array, dtype: str, integer: bool = False) -> Array:
    """One array as the kernels want it: integer tensors stay integer, real ones become `dtype`."""
    kind = array.dtype.kind
    if integer:
        if kind not in "iu":
            raise ShapeError(
                f"{name} is an index tensor and must be integer",
                value=f"dtype {array.dtype}",
                hint="give it as int32 or int64",
            )
        if kind == "u" and np.any(array > np.iinfo(np.int64).max):
            raise ShapeError(f"a value of {name} is beyond int64", value=int(array.max()))
        wanted = array.dtype if array.dtype in (np.int32, np.int64) else np.dtype(np.int64)
        return np.array(array, dtype=wanted, order="C", copy=None)
    if kind not in "fiub" and array.dtype != storage("bfloat16"):
        raise ShapeError(f"{name} must be an array of real numbers", value=f"dtype {array.dtype}")
    with np.errstate(over="ignore"):
        return np.array(array, dtype=storage(dtype), order="C", copy=None)


# -------------------------------------------------------------------------------------------------- labels


def check_labels(program: Program, arrays: Mapping[str, Array], sizes: Mapping[str, int]) -> None:
    """Raise where an integer tensor would make an access read out of range.

    A guard that needs real numbers cannot be judged here; what it protects is taken to be safe.
    """
    integers = {t.name for t in program.inputs if t.integer}
    params = dict(program.params)
    for s in program.statements:
        for guards, g in accesses(s.expr):
            for n, (sub, axis) in enumerate(zip(g.subs, program.axes(g.tensor), strict=True)):
                held = [x.tensor for x in E.subterms(sub) if isinstance(x, Get)]
                if held:
                    _check_label(
                        sub,
                        guards,
                        arrays,
                        sizes,
                        params,
                        integers,
                        sizes[axis],
                        held[0],
                        f"axis {n} of {spelled(program, g.tensor)}",
                    )


def _check_label(
    sub: Expr,
    guards: tuple[Expr, ...],
    arrays: Mapping[str, Array],
    sizes: Mapping[str, int],
    params: Mapping[str, Any],
    integers: set[str],
    room: int,
    label: str,
    place: str,
) -> None:
    free = sorted(set(sub.free).union(*(c.free for c in guards)), key=lambda i: i.name)
    if any(sizes[i.extent] == 0 for i in free):
        return
    grid = {i: np.arange(sizes[i.extent]).reshape([-1 if j == i else 1 for j in free]) for i in free}
    try:
        holds: Any = True
        with np.errstate(all="ignore"):
            for c in guards:
                holds = holds & _evaluate(c, grid, arrays, sizes, params, integers)
            value = _evaluate(sub, grid, arrays, sizes, params, integers)
            wrong = ((value < 0) | (value >= room)) & holds
    except _UnknownError:
        return
    if np.any(wrong):
        bad = np.broadcast_to(value, np.broadcast_shapes(np.shape(value), np.shape(wrong)))[wrong]
        raise ShapeError(
            f"a value of {label} is out of range for {place}",
            value=int(bad.flat[0]),
            hint=f"it must be from 0 to {room - 1} wherever it is read; guard it with where(...)",
        )


class _UnknownError(Exception):
    """A term that needs more than indices and integer tensors."""


def _evaluate(
    e: Expr,
    grid: Mapping[Index, Array],
    arrays: Mapping[str, Array],
    sizes: Mapping[str, int],
    params: Mapping[str, Any],
    integers: set[str],
) -> Any:
    def down(x: Expr) -> Any:
        return _evaluate(x, grid, arrays, sizes, params, integers)

    match e:
        case E.Num():
            return int(e.value) if e.value.denominator == 1 else float(e.value)
        case E.Param():
            return float(params[e.name])
        case E.Size():
            return sizes[e.extent]
        case Index():
            return grid[e]
        case Get() if e.tensor in integers:
            subs = np.broadcast_arrays(*(down(s) for s in e.subs)) if e.subs else ()
            array = arrays[e.tensor]
            if any(np.any((s < 0) | (s >= n)) for s, n in zip(subs, array.shape, strict=True)):
                raise _UnknownError
            return array[tuple(subs)].astype(np.int64)
        case E.Add():
            return sum(down(a) for a in e.args)
        case E.Mul():
            out: Any = 1
            for a in e.args:
                out = out * down(a)
            return out
        case E.Call(fn="floordiv"):
            return down(e.args[0]) // down(e.args[1])
        case E.Call(fn="mod"):
            return down(e.args[0]) % down(e.args[1])
        case E.Truth():
            return e.value
        case E.Cmp():
            a, b = down(e.left), down(e.right)
            return {"<": a < b, "<=": a <= b, "==": a == b, "!=": a != b}[e.op]
        case E.Logic(op="not"):
            return ~np.asarray(down(e.args[0]))
        case E.Logic():
            parts = [np.asarray(down(a)) for a in e.args]
            value = parts[0]
            for p in parts[1:]:
                value = value & p if e.op == "and" else value | p
            return value
    raise _UnknownError


# --------------------------------------------------------------------------------------------------- files


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an `.npz` file.

    Raises:
        FileError: it is not there, or no npz of plain arrays.
    """
    try:
        with open(path, "rb") as file:
            found = np.load(file, allow_pickle=False)
            if not isinstance(found, np.lib.npyio.NpzFile):
                raise FileError(f"{path} is no npz file", value=path, hint="write it with numpy.savez")
            with found:
                return {name: _member(found, name) for name in found.files}
    except FileNotFoundError as e:
        raise FileError(f"there is no file {path}", value=path) from e
    except OSError as e:
        raise FileError(f"cannot read {path}", value=e.strerror or e) from e
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError) as e:
        raise FileError(
            f"{path} is no npz file of plain arrays",
            value=str(e).splitlines()[0] if str(e) else path,
            hint="write it with numpy.savez, arrays of numbers only",
        ) from e


def _member(archive: Any, name: str) -> Array:
    try:
        array: Array = archive[name]
    except ValueError as e:  # objects, or a member that is no array
        raise FileError(
            f"{name} is no array of numbers",
            value=str(e).splitlines()[0],
            hint="write it with numpy.savez, arrays of numbers only",
        ) from e
    return array


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an `.npz` file in one piece: a failure leaves nothing behind.

    Raises:
        FileError: the place cannot be written.
    """
    with placed(Path(path), "give another --output") as file:
        np.savez(file, **{n: _plain(a) for n, a in arrays.items()})  # type: ignore[arg-type]


def _plain(a: Array) -> Array:
    """npz has no bfloat16."""
    return a.astype(np.float32) if a.dtype == storage("bfloat16") else a
