"""Run an operation: drive the emitted wrapper, the very file a user gets, on CuPy or on the emulator."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from derive.arrays import Array, cast, cast_inputs, check_labels, read_arrays, storage, write_arrays
from derive.dtypes import DTYPES
from derive.emit import sources
from derive.errors import RunError, ShapeError
from derive.extents import solve, spelled
from derive.pipeline import Derivation, derive_text
from derive.plan import Plan, make_plan
from derive.plan.fuse import MENU
from derive.plan.records import Pass
from derive.program import Program

SCATTERS = ("deterministic", "atomic")


@dataclass(frozen=True, repr=False)
class Compiled:
    """A formula with its plan: call `forward` and `backward` on arrays.

    Attributes:
        name: what the emitted module is called.
        forward_program: the formula that the kernels compute.
        plan: the kernels.
        executor: auto, cupy or emulator.
    """

    name: str
    forward_program: Program
    plan: Plan
    executor: str = "auto"

    def __repr__(self) -> str:
        return f"<kernels of {self.name}: {', '.join(k.name for p in self.plan.passes for k in p.kernels)}>"

    @cached_property
    def module(self) -> Any:
        """The emitted wrapper, loaded."""
        module = _import(self.name, sources(self.name, self.plan))
        return module.load(array_module(self.executor))

    @property
    def cotangents(self) -> tuple[str, ...]:
        back = self.plan.backward
        return tuple(b.tensor for b in back.arguments if b.role == "cotangent") if back else ()

    def run(
        self,
        arrays: Mapping[str, Array],
        cotangents: Mapping[str, Array] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> dict[str, Array]:
        """Outputs by name; gradients as `d<input>` when the cotangents say so.

        Args:
            arrays: every input by name.
            cotangents: by the name of the output, or as `d<output>`.
            sizes: extents that no array fixes, by letter.

        Raises:
            ShapeError, RunError: with the array, what was expected and what was found.
        """
        program, dtype = self.forward_program, self.plan.dtype
        held = cast_inputs(program, arrays, dtype)
        extents = solve(program, {n: a.shape for n, a in held.items()}, sizes)
        check_labels(program, held, extents)
        given = self._cotangents(dict(cotangents or {}), extents)
        cp = array_module(self.executor)
        device = {n: cp.asarray(a) for n, a in held.items()}
        device |= self._call(self.plan.forward, device, extents)
        results = list(program.outputs)
        if given is not None and self.plan.backward is not None:
            device |= {n: cp.asarray(a) for n, a in given.items()}
            device |= self._call(self.plan.backward, device, extents)
            results += [b.tensor for b in self.plan.backward.results]
        return {n: np.array(_host(cp, device[n])) for n in results}

    def forward(self, sizes: Mapping[str, int] | None = None, **arrays: Any) -> dict[str, Any]:
        """Outputs and what the backward needs, by name, from every input by name."""
        return self._direct(self.plan.forward, arrays, sizes)

    def backward(self, sizes: Mapping[str, int] | None = None, **arrays: Any) -> dict[str, Any]:
        """Gradients, as `d<input>`, from the cotangents and what `forward` took and gave, by name."""
        if self.plan.backward is None:
            raise RunError("the operation has no gradient")
        return self._direct(self.plan.backward, arrays, sizes)

    def _direct(self, p: Pass, arrays: Mapping[str, Any], sizes: Mapping[str, int] | None) -> dict[str, Any]:
        """One pass on NumPy arrays (moved and cast) or on the executor's own (as they are)."""
        cp = array_module(self.executor)
        device: dict[str, Any] = {}
        for b in p.arguments:
            if b.tensor not in arrays:
                raise ShapeError(
                    f"the array of {b.tensor} is missing",
                    value=b.tensor,
                    hint="it takes " + ", ".join(a.tensor for a in p.arguments),
                )
            a = arrays[b.tensor]
            if isinstance(a, np.ndarray) or not isinstance(a, cp.ndarray):
                wide = "float64" if self.plan.dtype == "float64" else "float32"
                a = cp.asarray(
                    cast(b.tensor, np.asarray(a), wide if b.dtype == "compute" else self.plan.dtype, b.dtype == "ids")
                )
            device[b.tensor] = a
        known = {t.name: tuple(np.shape(arrays[t.name])) for t in self.forward_program.inputs if t.name in arrays}
        extents = (
            solve(self.forward_program, known, sizes)
            if p is self.plan.forward or len(known) == len(self.forward_program.inputs)
            else dict(sizes or {})
        )
        options = {r.name: extents[r.letter] for r in p.sizes if r.source is None and r.letter in extents}
        found = getattr(self.module, f"{self.name}_{p.name}")(*device.values(), **options)
        values = found if len(p.results) != 1 else (found,)
        return dict(zip((b.tensor for b in p.results), values, strict=True))

    def _call(self, p: Pass, device: Mapping[str, Any], extents: Mapping[str, int]) -> dict[str, Any]:
        function = getattr(self.module, f"{self.name}_{p.name}")
        options = {r.name: extents[r.letter] for r in p.sizes if r.source is None}
        try:
            found = function(*(device[b.tensor] for b in p.arguments), **options)
        except (MemoryError, np.exceptions.DTypePromotionError) as e:
            raise RunError("the kernels need more memory than there is", value=str(e)) from e
        values = found if len(p.results) != 1 else (found,)
        return dict(zip((b.tensor for b in p.results), values, strict=True))

    def _cotangents(self, given: dict[str, Array], extents: Mapping[str, int]) -> dict[str, Array] | None:
        """The cotangent of each output; None when there is nothing to differentiate by.

        If none is given, a scalar output has 1 and the others 0; if some are, a missing one is 0.
        """
        program, names = self.forward_program, dict(zip(self.forward_program.outputs, self.cotangents, strict=False))
        by_name = {names.get(n, n): a for n, a in given.items()}
        for n in sorted(set(by_name) - set(names.values())):
            raise ShapeError(
                f"{n} is no cotangent of the formula",
                value=n,
                hint="its cotangents are " + (", ".join(names.values()) or "none"),
            )
        scalars = [o for o in names if not program.axes(o)]
        if not by_name and not scalars:
            return None
        out: dict[str, Array] = {}
        for o, n in names.items():
            shape = tuple(extents[e] for e in program.axes(o))
            if n in by_name:
                out[n] = cast(n, np.asarray(by_name[n]), self.plan.dtype)
                if out[n].shape != shape:
                    raise ShapeError(
                        f"{n} must have the shape of {spelled(program, o)}, {shape}", value=f"shape {out[n].shape}"
                    )
            else:
                out[n] = np.full(shape, 1 if o in scalars and not by_name else 0, storage(self.plan.dtype))
        return out


def compile(
    op: Derivation | str | Any,
    dtype: str = "float32",
    executor: str = "auto",
    name: str = "op",
    menu: tuple[str, ...] | None = None,
    attention: str = "fused",
    scatter: str = "deterministic",
) -> Compiled:
    """Plan the kernels of a formula.

    Args:
        op: a formula, or what was derived from one.
        dtype: float32, float64, float16 or bfloat16.
        executor: cupy, emulator, or auto: CuPy where there is a GPU.
        name: what the emitted files are called.
        menu: the kinds of kernel to choose from.
        attention: fused, or unfused to keep scores and weights in memory.
        scatter: deterministic, or atomic: the gradient of a gather in less work and other bits at every run.

    Raises:
        RunError: an unknown dtype, executor or scatter.
    """
    if scatter not in SCATTERS:
        raise RunError(f"unknown scatter {scatter}", value=scatter, hint="one of " + ", ".join(SCATTERS))
    if dtype not in DTYPES:
        raise RunError(f"unknown dtype {dtype}", value=dtype, hint="one of " + ", ".join(DTYPES))
    derivation = derive_text(op) if isinstance(op, str) else getattr(op, "derivation", op)
    backward = derivation.backward if derivation.backward.outputs else None
    plan = make_plan(derivation.forward, backward, dtype, MENU if menu is None else menu, attention, scatter)
    return Compiled(name, derivation.forward, plan, executor)


def run(
    op: Derivation | str | Any,
    arrays: Mapping[str, Array],
    cotangents: Mapping[str, Array] | None = None,
    dtype: str = "float32",
    sizes: Mapping[str, int] | None = None,
    executor: str = "auto",
) -> dict[str, Array]:
    """Outputs and gradients of an operation from its emitted kernels."""
    return compile(op, dtype, executor).run(arrays, cotangents, sizes)


def run_files(
    op: Derivation | str | Any,
    source: Path,
    target: Path,
    dtype: str = "float32",
    sizes: Mapping[str, int] | None = None,
    executor: str = "auto",
    attention: str = "fused",
    scatter: str = "deterministic",
) -> dict[str, Array]:
    """`run` from one `.npz` file to another; nothing is written when anything is wrong."""
    found = read_arrays(Path(source))
    operation = compile(op, dtype, executor, attention=attention, scatter=scatter)
    marked = set(operation.cotangents) - {t.name for t in operation.forward_program.inputs}
    results = operation.run(
        {n: a for n, a in found.items() if n not in marked}, {n: a for n, a in found.items() if n in marked}, sizes
    )
    write_arrays(Path(target), results)
    return results


# ------------------------------------------------------------------------------------------------ executors


def array_module(executor: str = "auto") -> ModuleType:
    """CuPy, or the emulator, which offers its interface."""
    if executor not in ("auto", "cupy", "emulator"):
        raise RunError(f"unknown executor {executor}", value=executor, hint="one of auto, cupy, emulator")
    if executor == "cupy" or (executor == "auto" and _has_gpu()):
        return _cupy()
    from derive import emulator

    return emulator


@cache
def _has_gpu() -> bool:
    """Whether CuPy and a device are there; CuPy is imported only where a driver shows."""
    if not any(os.path.exists(p) for p in ("/dev/nvidiactl", "/dev/dxg")) and os.name == "posix":
        return False
    try:
        return int(_cupy().cuda.runtime.getDeviceCount()) > 0
    except Exception:  # whatever a broken driver raises, there is no GPU to use
        return False


def _cupy() -> ModuleType:
    try:
        import cupy
    except ImportError as e:
        raise RunError(
            "CuPy is not installed", hint="pip install 'derive-cuda[cuda13]' (or cuda12), or use --executor emulator"
        ) from e
    try:
        cupy.cuda.runtime.getDeviceCount()
    except Exception as e:
        raise RunError("CuPy finds no GPU", value=str(e).splitlines()[0], hint="use --executor emulator") from e
    module: ModuleType = cupy
    return module


def _host(cp: ModuleType, array: Any) -> Array:
    found: Array = cp.asnumpy(array)
    return found


# --------------------------------------------------------------------------------------------- the wrapper


def _import(name: str, texts: dict[str, str]) -> ModuleType:
    """The emitted module, written beside its CUDA file and imported from there; once for each content."""
    return _load(name, tuple(sorted((n, t) for n, t in texts.items() if n.endswith((".py", ".cu")))))


@cache
def _load(name: str, texts: tuple[tuple[str, str], ...]) -> ModuleType:
    digest = sha256(repr(texts).encode()).hexdigest()[:16]
    folder = _scratch() / digest
    folder.mkdir(exist_ok=True)
    for file, text in texts:
        (folder / file).write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(f"derive_emitted_{digest}", folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="derive-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
