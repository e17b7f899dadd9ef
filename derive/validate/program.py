"""Run the NumPy program of a rule: in float64, the reference of kernels; with noise, a measure of what rounding does.

Noise: every input and every rounding operation of the program is moved by a unit roundoff up or down. How far the
results move is how far a right kernel may be off, for this formula on this data, cancellation included. Up or down is
decided by the bits of the value itself, so that a value computed twice is moved the same way and still equals itself.
"""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import CodeType
from typing import Any

import numpy as np

from derive.arrays import storage
from derive.operation import Operation
from derive.validate.data import Sample
from derive.validate.interpret import MASKED

Array = np.ndarray[Any, Any]

erf = np.vectorize(math.erf, otypes=[float])
# Unit roundoff of what is written, and of what is summed in.
ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
CANCELLED = 2.0**-40  # what float64 leaves, of its terms, of a sum that is 0 but for rounding
AMPLIFIED = 1024.0  # float64's own roundoff would be lost in float64: its noise is larger, and counted for less
EXACT = (ast.FloorDiv, ast.Mod)
NOISY, ADDED, SUMMED = "noisy()", "added()", "summed()"  # no tensor has such a name
WRITTEN, NAMED, GUARDED, TURNED = "written()", "named()", "guarded()", "turned()"
ROUNDING = {"exp", "log", "log1p", "expm1", "tanh", "sqrt", "sin", "cos", "erf", "power"}
SUMS = {"sum", "mean", "einsum"}
TURNING = {"sin", "cos"}  # of a mask they are some number, which one its last digits tell


class _Plain(ast.NodeTransformer):
    """`A[np.clip(k, 0, A.shape[0] - 1)]` becomes `guarded(A, ...)`: an axis of length zero has no place to clip to. So
    do `A[min(1, A.shape[0] - 1)]` and `A[0]`, for which nothing is clipped: unguarded, it has been refused before."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        slots = getattr(node.slice, "elts", [node.slice])
        first = any(isinstance(x, ast.Constant) and x.value == 0 for x in slots) and isinstance(node.value, ast.Name)
        if first or {"clip", "min"} & {_called(x) for x in ast.walk(node.slice)}:
            places = ast.Subscript(ast.parse("np.s_", mode="eval").body, node.slice, ast.Load())
            return _call(GUARDED, node.value, places)
        return node


def _called(node: ast.AST) -> str:
    """`f` of `f(x)` and of `np.f(x)`."""
    f = node.func if isinstance(node, ast.Call) else node
    return f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "")


class _Noisy(_Plain):
    """`a*b` becomes `noisy(a*b)`, and so do functions; `np.sum(x)` becomes `summed(np.sum, x)`; `y = e` becomes
    `y = named(e)`, or, where it is an output's last definition, `y = written(e)`."""

    def __init__(self, last: dict[str, ast.Assign]):
        self.last = last

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        kept = any(node is a for a in self.last.values())
        self.generic_visit(node)
        node.value = _call(WRITTEN if kept else NAMED, node.value)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.MatMult):
            return _call(SUMMED, ast.parse("np.matmul", mode="eval").body, node.left, node.right)
        if isinstance(node.op, (ast.Add, ast.Sub)):
            return _call(ADDED, node.left, node.right, ast.Constant(1 if isinstance(node.op, ast.Add) else -1))
        return node if isinstance(node.op, EXACT) else _call(NOISY, node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = _called(node)
        if name in SUMS:
            return ast.Call(ast.Name(SUMMED, ast.Load()), [node.func, *node.args], node.keywords)
        if name in TURNING:
            node.args = [_call(TURNED, a) for a in node.args]
        return _call(NOISY, node) if name in ROUNDING else node


def _call(name: str, *nodes: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(nodes), [])


def _single(x: Any) -> Any:
    """Reals in float32: NumPy's own scalars, as the root of a size, would make a float32 array one of float64."""
    real = isinstance(x, (float, np.floating)) or (isinstance(x, np.ndarray) and x.dtype.kind == "f")
    return np.asarray(x, np.float32) if real else x


def cancels(value: Array, spread: float, dtype: str) -> bool:
    """Whether an array is 0 but for rounding, if noise of that type's rounding moves it by `spread`."""
    return bool(np.max(np.abs(value), initial=0.0) <= CANCELLED * spread / ROUNDOFF[dtype])


def moved(x: Any, roundoff: float, seed: int, size: Any = None, masks: bool = False) -> Any:
    """Real values, each moved up or down by about a `roundoff` of itself, or of `size`; anything else as it is.

    The amount differs from value to value (3/4 to 5/4 of a roundoff): signs alone would cancel by chance. What stands
    for infinity, as the -1e30 of a mask, is not rounded, unless `masks`.
    """
    if not isinstance(x, (float, np.floating, np.ndarray)) or (isinstance(x, np.ndarray) and x.dtype.kind != "f"):
        return x
    bits = np.asarray(x, np.float64).view(np.uint64)
    with np.errstate(over="ignore"):
        drawn = ((bits ^ np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    up, amount = (drawn & np.uint64(1)).astype(float), ((drawn >> np.uint64(1)) & np.uint64(1023)).astype(float) / 1024
    step = roundoff * (2.0 * up - 1.0) * (0.75 + 0.5 * amount)
    size = np.asarray(x if size is None else size)
    return np.asarray(x) + np.where(masks | (np.abs(size) < -MASKED), size, 0.0) * step


def summed(roundoff: float, seed: int, f: Any, *args: Any, **more: Any) -> Any:
    """A sum, a mean or a product of matrices, moved by what adding its terms up one by one may lose: about a roundoff
    of what it would be if none cancelled, more if there are many."""
    sizes = (np.abs(a) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in args)
    result = f(*args, **more)
    return moved(result, roundoff * max(1.0, math.sqrt(terms(f, args, result)) / 4), seed, f(*sizes, **more))


def terms(f: Any, args: tuple[Any, ...], result: Any) -> float:
    """How many terms each entry of a sum, a mean or a product has."""
    if f is np.matmul:
        return float(np.shape(args[0])[-1])
    if f is np.einsum:
        operands, _, out = args[0].partition("->")
        lengths = {x: n for part, a in zip(operands.split(","), args[1:]) for x, n in zip(part, np.shape(a))}
        return float(math.prod(n for x, n in lengths.items() if x not in out))
    return np.size(args[0]) / max(1, np.size(result))


def added(roundoff: float, seed: int, a: Any, b: Any, sign: int) -> Any:
    """a + b or a - b, moved by `roundoff` of the larger: two values that cancel may come by different ways."""
    return moved(a + sign * b, roundoff, seed, np.maximum(np.abs(a), np.abs(b)))


def guarded(a: Array, places: Any) -> Array:
    """`a[places]` where a guard decides what is used of it: 0 on an axis of length zero."""
    places = places if isinstance(places, tuple) else (places,)
    taken = [not isinstance(x, slice) for x in places] + [False] * (a.ndim - len(places))
    room = tuple(max(n, 1) if one else n for n, one in zip(a.shape, taken, strict=True))
    held = a if room == a.shape else np.zeros(room, a.dtype)
    return np.asarray(held[places])


class Adding:
    """`np.add`, whose `at` adds nothing to nothing, however it is guarded, and adds up with more digits than it is
    given where there are such: NumPy's own goes from term to term, and of terms that are alike all round one way."""

    __call__ = staticmethod(np.add)

    def __init__(self, noise: Callable[[Array], Any]):
        self.noise = noise

    def at(self, target: Array, places: Any, value: Any) -> None:
        if target.size:
            total = target.astype(np.longdouble)
            np.add.at(total, places, value)
            target[...] = self.noise(total.astype(target.dtype))


class Numpy:
    """NumPy, where reductions over no entries are what kernels make of them: NumPy's own raise an error or warn.

    Args:
        noise: what happens to sums at places.
    """

    def __init__(self, noise: Callable[[Array], Any] = lambda x: x):
        self.add = Adding(noise)

    @staticmethod
    def max(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return np.max(np.asarray(x, float), axis=axis, keepdims=keepdims, initial=-np.inf)  # integers have no infinity

    @staticmethod
    def min(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return np.min(np.asarray(x, float), axis=axis, keepdims=keepdims, initial=np.inf)

    @staticmethod
    def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        if np.size(x):
            return np.mean(x, axis=axis, keepdims=keepdims)
        return np.sum(x, axis=axis, keepdims=keepdims) / np.float64(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@dataclass(frozen=True)
class Runnable:
    """The forward and backward of an operation as NumPy text, compiled once."""

    op: Operation
    params: Mapping[str, float]

    @classmethod
    def of(cls, op: Operation) -> Runnable:
        return cls(op, {n: float(v) for n, v in op.derivation.forward.params})

    @cached_property
    def words(self) -> frozenset[str]:
        """Every name in the text."""
        return frozenset(n.id for t in self._trees for n in ast.walk(t) if isinstance(n, ast.Name))

    @cached_property
    def plain(self) -> list[CodeType]:
        trees = copy.deepcopy(self._trees)
        return [compile(ast.fix_missing_locations(_Plain().visit(t)), "rule", "exec") for t in trees]

    @cached_property
    def _trees(self) -> list[ast.Module]:
        return [ast.parse("\n".join(lines)) for lines in (self.op.forward_numpy, self.op.backward_numpy)]

    @cached_property
    def noisy(self) -> list[CodeType]:
        trees = copy.deepcopy(self._trees)
        last = {t.id: a for a in trees[0].body if isinstance(a, ast.Assign) for t in a.targets
                if isinstance(t, ast.Name) and t.id in self.op.derivation.forward.outputs}
        return [compile(ast.fix_missing_locations(_Noisy(last).visit(t)), "rule", "exec") for t in trees]

    def run(self, sample: Sample) -> dict[str, Array]:
        """Outputs by name and gradients as `d<input>`, in float64."""
        return self._run(self.plain, {n: a.copy() for n, a in sample.arrays.items()}, sample)

    def single(self, sample: Sample) -> dict[str, Array]:
        """The same with the result of every operation rounded to float32: what overflows there is infinite."""
        space: dict[str, Any] = {n: _single(a.copy()) for n, a in sample.arrays.items()}
        space |= {NOISY: _single, WRITTEN: _single, NAMED: _single, TURNED: _single}
        space[ADDED] = lambda a, b, sign: _single(a + sign * b)
        space[SUMMED] = lambda f, *args, **more: _single(f(*args, **more))
        given = {o: _single(np.asarray(d)) for o, d in sample.cotangents.items()}
        return self._run(self.noisy, space, replace(sample, cotangents=given))

    def perturbed(self, sample: Sample, dtype: str, seed: int, plain: bool = False) -> dict[str, Array]:
        """The same with the rounding of kernels of that type: 16-bit ones compute in float32 and round outputs.

        In float64 the noise is `AMPLIFIED` times as large.

        Args:
            plain: round every named value to 16 bits, as a program that is written in that type does; kernels that
                are no worse than it are right.
        """
        roundoff = 2.0**-53 * AMPLIFIED if dtype == "float64" else 2.0**-24
        half, kept = dtype in ("float16", "bfloat16"), storage(dtype)
        space = {n: a.copy() if half else moved(a, roundoff, seed) for n, a in sample.arrays.items()}
        space[NOISY] = lambda x: moved(x, roundoff, seed)
        space[ADDED] = partial(added, roundoff, seed)
        space[SUMMED] = partial(summed, roundoff, seed)
        space[TURNED] = lambda x: moved(x, roundoff, seed, masks=True)

        def written(x: Any) -> Any:
            return np.asarray(x).astype(kept).astype(float) if half and np.asarray(x).dtype.kind == "f" else x

        space[WRITTEN], space[NAMED] = written, written if plain else lambda x: x
        given = {o: moved(np.asarray(d), roundoff, seed) for o, d in sample.cotangents.items()}  # a kernel may sum them
        added_up = Numpy(lambda x: moved(x, roundoff, seed))
        return self._run(self.noisy, space, replace(sample, cotangents=given), added_up)

    def _run(self, code: list[CodeType], space: dict[str, Any], sample: Sample, numpy: Numpy | None = None
             ) -> dict[str, Array]:
        outputs = self.op.derivation.forward.outputs
        sizes = {f"size_{x}": np.int64(n) for x, n in sample.extents.items()}  # NumPy's divide by zero
        space = {"np": numpy or Numpy(), "erf": erf, GUARDED: guarded, **sizes, **self.params, **space}
        with np.errstate(all="ignore"):
            exec(code[0], space)  # text of our own making
            space |= {f"d{o}": np.array(sample.cotangents[o]) for o in outputs}
            exec(code[1], space)
            return {n: np.asarray(space[n], float) for n in (*outputs, *(f"d{n}" for n in self.op.gradients))}


def flushed(sample: Sample) -> Sample:
    """The sample with 0 for each number that is subnormal in single precision."""
    least = float(np.finfo(np.float32).smallest_normal)
    return _each(sample, lambda a: np.where(np.abs(a) < least, 0.0, a))


def rounded(sample: Sample, dtype: str) -> Sample:
    """The sample as kernels of that type are given it."""
    kept = storage(dtype)
    with np.errstate(over="ignore"):
        return _each(sample, lambda a: np.asarray(a).astype(kept).astype(np.float64))


def _each(sample: Sample, change: Callable[[Array], Array]) -> Sample:
    """The sample with its real arrays and cotangents changed."""

    def one(a: Array) -> Array:
        return change(a) if np.asarray(a).dtype.kind == "f" else a

    return replace(sample, arrays={n: one(a) for n, a in sample.arrays.items()},
                   cotangents={n: one(a) for n, a in sample.cotangents.items()})
