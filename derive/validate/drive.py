"""Drive an emitted module, the very files a user gets, on CuPy or on the emulator, with poisoned memory."""

from __future__ import annotations

import importlib.util
import inspect
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from derive.arrays import cast_inputs, storage
from derive.emit import sources
from derive.plan import Plan
from derive.plan.names import clean
from derive.plan.records import Pass
from derive.program import Program
from derive.validate.data import Sample

Array = np.ndarray[Any, Any]

LARGER, MANY = 256, 300  # parts of a sum: more than a block has threads
TERMS, ROOM = 70, 1 << 20  # parts of a product's sums: more than carry twice, where their results have room


def _finer(chunks: Callable[..., int], count: int, *more: int) -> int:
    return int(min(chunks(LARGER * count, *more), MANY))


def _always(chunks: Callable[..., int], batches: int, rows: int, columns: int, length: int) -> int:
    return TERMS if batches * rows * columns * TERMS <= ROOM else chunks(batches, rows, columns, length)


def _few(blocks: Callable[..., int], most: int, count: int, threads: int, bound: int = 0) -> int:
    return blocks(count, threads, most if bound < 1 << 16 else bound)  # a larger bound counts no blocks of a launch


# What a wrapper asks how many parts a sum has.
SPLIT: dict[str, Callable[..., int]] = {
    "total_chunks": _finer, "column_chunks": _finer, "row_chunks": _finer, "product_chunks": _always,
}  # fmt: skip


class Poisoned:
    """An array module whose `empty` is full of NaN (of the largest number for integers).

    Args:
        base: CuPy, or the emulator.
        options: for every `RawModule` made through it, as `order="random"`.
    """

    def __init__(self, base: Any, **options: Any):
        self.base, self.options = base, options

    def __getattr__(self, name: str) -> Any:
        return getattr(self.base, name)

    def empty(self, shape: Any, dtype: Any = np.float64) -> Any:
        made = self.base.empty(shape, dtype)
        kind = np.dtype(dtype).kind
        made[...] = np.iinfo(dtype).max if kind in "iu" else float("nan")
        return made

    def RawModule(self, **given: Any) -> Any:
        return self.base.RawModule(**given, **self.options)


class Askew(Poisoned):
    """An array module whose `asarray` gives arrays that start one element past an aligned place, as `X[1:]` does."""

    def asarray(self, value: Any) -> Any:
        value = np.asarray(value)
        made = self.base.empty(value.size + 1, value.dtype)[1:].reshape(value.shape)
        made[...] = self.base.asarray(value)
        return made


class Emitted:
    """The kernels of a plan, behind the emitted wrapper.

    Args:
        program: the forward formula as it was prepared.
        cp: array module for the wrapper.
        texts: the files, if they are not those of the plan (a mutant's).
        most: blocks of a launch whose threads stride over what is left, if fewer than on a GPU; sums are then split
            as those of much larger arrays are, so that what adds up the parts strides too.
    """

    def __init__(self, name: str, program: Program, plan: Plan, cp: Any, texts: Mapping[str, str] | None = None,
                 most: int | None = None):
        self.name, self.program, self.plan, self.cp = clean(name), program, plan, cp
        folder = tempfile.mkdtemp(prefix="derive-validate-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        for file, text in (texts or sources(name, plan)).items():
            Path(folder, file).write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(self.name, Path(folder, f"{self.name}.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if most is not None and hasattr(module, "blocks"):
            vars(module)["blocks"] = partial(_few, module.blocks, most)
        for name, finer in SPLIT.items() if most is not None else ():
            if hasattr(module, name):
                setattr(module, name, partial(finer, getattr(module, name)))
        self.kernels = module.load(cp)

    @property
    def accumulates(self) -> bool:
        """Whether the backward can add to given arrays."""
        function = getattr(self.kernels, f"{self.name}_backward", None)
        return function is not None and "accumulate" in inspect.signature(function).parameters

    def run(self, sample: Sample, out: Mapping[str, Array] | None = None, accumulate: bool = True) -> dict[str, Array]:
        """Outputs and gradients as the kernels leave them, on the host.

        Args:
            out: arrays that the gradients are added to, by `d<input>`.
            accumulate: if false, they are written over these.
        """
        held = cast_inputs(self.program, {n: np.asarray(a) for n, a in sample.arrays.items()}, self.plan.dtype)
        device = {n: self.cp.asarray(a) for n, a in held.items()}
        device |= self._call(self.plan.forward, device, sample, {})
        wanted = list(self.program.outputs)
        if self.plan.backward is not None:
            names = [b.tensor for b in self.plan.backward.arguments if b.role == "cotangent"]
            for o, n in zip(self.program.outputs, names, strict=True):
                device[n] = self.cp.asarray(np.asarray(sample.cotangents[o]).astype(storage(self.plan.dtype)))
            wanted += [b.tensor for b in self.plan.backward.results]
            options: dict[str, Any] = {}
            if out is not None:
                options = {"accumulate": accumulate, "out": tuple(
                    self.cp.asarray(np.array(out[b.tensor])) for b in self.plan.backward.results)}
            device |= self._call(self.plan.backward, device, sample, options)
        return {n: np.array(self.cp.asnumpy(device[n])) for n in wanted}

    def _call(self, p: Pass, device: Mapping[str, Any], sample: Sample, options: Mapping[str, Any]) -> dict[str, Any]:
        function = getattr(self.kernels, f"{self.name}_{p.name}")
        sizes = {r.name: _extent(r.letter, sample) for r in p.sizes if r.source is None}
        found = function(*(device[b.tensor] for b in p.arguments), **sizes, **options)
        values = found if len(p.results) != 1 else (found,)
        return dict(zip((b.tensor for b in p.results), values, strict=True))


def _extent(letter: str, sample: Sample) -> int:
    """Of a letter, or of an axis that no letter addresses, as `X.2`."""
    tensor, _, axis = letter.partition(".")
    return int(sample.arrays[tensor].shape[int(axis)]) if axis else sample.extents[letter]
