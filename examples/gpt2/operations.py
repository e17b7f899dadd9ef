"""Generated operations: a formula of `ops/` or of derive's catalogue, the folder that derive emits from it, and its
kernels loaded from there.

Arrays go in and out by the names of the formula, so that nothing here depends on what a plan decides to save.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import derive
from derive import catalog
from derive.emit import emit
from derive.emulator.cache import directory, key
from derive.operation import Operation, parse
from derive.run import array_module
from derive.run import compile as compile_plan

Arrays = dict[str, Any]
HERE = Path(__file__).resolve().parent / "ops"


class Emitted:
    """One formula, emitted and loaded.

    Args:
        name: the file's in `ops/`, or the catalogue's.
        dtype: float32 or float64.
        cp: CuPy, or the emulator.
        differentiable: whether a backward is wanted too.
    """

    def __init__(self, name: str, dtype: str, cp: ModuleType, *, differentiable: bool = True) -> None:
        folder = emitted(name, dtype, differentiable)
        spec = importlib.util.spec_from_file_location(f"{folder.parent.name}_{name}", folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        wrapper = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(wrapper)
        self.name, self.kernels = name, wrapper.load(cp)
        contract = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
        self.passes = {p["name"]: p for p in contract["passes"]}

    def forward(self, arrays: Mapping[str, Any]) -> Arrays:
        """Every array given, and the outputs and saved tensors: what `backward` reads."""
        return {**arrays, **self._call("forward", arrays)}

    def backward(self, arrays: Mapping[str, Any], into: Mapping[str, Any], *, accumulate: bool = False) -> Arrays:
        """The gradients by name.

        Args:
            arrays: what `forward` returned, and the cotangents.
            into: arrays to write gradients into; new ones are made for the others.
            accumulate: add to what `into` holds, which then must have them all.
        """
        if not into:
            return self._call("backward", arrays)
        sizes = self._sizes(arrays)
        out = [into[b["tensor"]] if b["tensor"] in into else self._empty(b, sizes) for b in self.results("backward")]
        return self._call("backward", arrays, out=out, accumulate=accumulate)

    def _sizes(self, arrays: Mapping[str, Any]) -> dict[str, int]:
        """Every size that an array shows."""
        known = [b for p in self.passes.values() for b in (*p["arguments"], *p["results"]) if b["tensor"] in arrays]
        return {n: m for b in known for n, m in zip(b["axes"], arrays[b["tensor"]].shape, strict=True)}

    def results(self, which: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.passes[which]["results"]
        return found

    def _empty(self, buffer: Mapping[str, Any], sizes: Mapping[str, int]) -> Any:
        return self.kernels.cp.empty(tuple(sizes[n] for n in buffer["axes"]), self.kernels.dtypes[buffer["dtype"]])

    def _call(self, which: str, arrays: Mapping[str, Any], **options: Any) -> Arrays:
        function = getattr(self.kernels, f"{self.name}_{which}")
        asked = [n for n in signature(function).parameters if n.startswith("size_")]
        if asked:  # sizes that no argument of this pass shows
            options |= {n: m for n, m in self._sizes(arrays).items() if n in asked}
        found = function(*(arrays[b["tensor"]] for b in self.passes[which]["arguments"]), **options)
        names = [b["tensor"] for b in self.results(which)]
        return dict(zip(names, found if len(names) != 1 else (found,), strict=True))


def emitted(name: str, dtype: str, differentiable: bool = True) -> Path:
    """The folder of an emitted operation, made unless it is there for this formula and this derive."""
    file = HERE / f"{name}.op"
    text = file.read_text(encoding="utf-8") if file.exists() else catalog.load(name).text
    home = directory() / f"gpt2-{key(text, dtype, str(differentiable), _version())}"
    if not (home / name).is_dir():
        op = Operation(parse(text).program, name, None if differentiable else ())
        plan = compile_plan(op, dtype).plan
        made = Path(tempfile.mkdtemp(prefix=".gpt2-", dir=directory()))
        try:
            source = f"examples/gpt2/ops/{name}.op" if file.exists() else name
            command = f"derive emit {source} -o DIR" + (f" --dtype {dtype}" if dtype != "float32" else "")
            emit(name, plan, made, rules=op.rules, numpy_forward=op.forward_numpy, command=command)
            os.chmod(made, 0o755)
            os.rename(made, home)
        except OSError:
            if not (home / name).is_dir():  # else another process was first
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return home / name


@cache
def _version() -> str:
    """What the package consists of, as a hash: operations are emitted anew when derive changes."""
    root = Path(derive.__file__).parent
    digest = sha256()
    for folder in (root, root / "templates"):
        for path in sorted(p for p in folder.rglob("*") if p.suffix in (".py", ".j2")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


__all__ = ["Arrays", "Emitted", "array_module", "emitted"]
