"""Compare loss, logits and every gradient of GPT-2, made by generated kernels, with a reference file.

    python examples/gpt2/check.py FILE.npz --dtype float64

Exit status: 0 all within the tolerance; 1 not; 2 the file is no such reference.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from model import GPT2, Config, ModelError

from derive.arrays import read_arrays
from derive.emulator import EmulatorError
from derive.errors import DeriveError

TOLERANCE = {"float32": 5e-6, "float64": 1e-9}
Array = np.ndarray[Any, Any]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dtype", type=click.Choice(sorted(TOLERANCE)), default="float32", show_default=True)
@click.option("--tolerance", type=float, help="Largest error allowed, relative to a tensor's largest entry "
              "[default: 5e-6 in float32, 1e-9 in float64].")
@click.option("--executor", type=click.Choice(["auto", "cupy", "emulator"]), default="auto", show_default=True)
def main(file: Path, dtype: str, tolerance: float | None, executor: str) -> None:
    """Compare with FILE: param/*, grad/*, tokens, targets, logits, loss and config, named and laid out as in llm.c."""
    limit = TOLERANCE[dtype] if tolerance is None else tolerance
    start = time.perf_counter()
    try:
        found = dict(compare(file, dtype, executor))
    except (ModelError, DeriveError, EmulatorError) as e:
        click.echo(f"error: {e}", err=True)
        sys.exit(2)
    for name, error in found.items():
        click.echo(f"{name:<14} {error:9.2e}" + ("" if error <= limit else "  beyond the tolerance"))
    worst = max(found, key=lambda n: found[n] if found[n] == found[n] else np.inf)
    failed = sum(not error <= limit for error in found.values())
    click.echo(f"{'FAILED' if failed else 'ok'}: {len(found) - failed} of {len(found)} within {limit:.0e} in {dtype}, "
               f"largest {found[worst]:.2e} ({worst}), {time.perf_counter() - start:.1f} s")
    sys.exit(1 if failed else 0)


def compare(file: Path, dtype: str, executor: str = "auto") -> Iterator[tuple[str, float]]:
    """The largest error of each tensor, relative to the tensor's largest entry."""
    config, held = read(file)
    model = GPT2(config, {n: held[f"param/{n}"] for n in config.shapes()}, dtype, executor)
    logits, loss = model.forward(*(model.cp.asarray(held[n]) for n in ("tokens", "targets")))
    model.backward()
    made = model.host({"loss": loss, "logits": logits, **{f"grad/{n}": g for n, g in model.gradients.items()}})
    for name in ("loss", "logits", *(f"grad/{n}" for n in config.shapes())):
        yield name, relative(made[name], held[name])


def relative(found: Array, expected: Array) -> float:
    """The largest error by the largest entry expected (the error itself if all of them are 0)."""
    scale = float(np.abs(expected).max(initial=0))
    return float(np.abs(found.astype(np.float64) - expected).max(initial=0))/(scale or 1.0)


def read(file: Path) -> tuple[Config, dict[str, Array]]:
    """A reference file, checked.

    Raises:
        ModelError, DeriveError: what is wrong with it.
    """
    held = read_arrays(file)
    try:
        return _checked(held)
    except ModelError as e:
        raise ModelError(f"{file}: {e}") from None


def _checked(held: dict[str, Array]) -> tuple[Config, dict[str, Array]]:
    def need(name: str) -> Array:
        if name not in held:
            raise ModelError(f"{name} is missing")
        return held[name]

    sizes = need("config")
    if sizes.shape != (7,) or sizes.dtype.kind not in "iu":
        raise ModelError(f"config must be seven integers, L, H, C, V, T, B, maxT; it is {sizes.dtype} {sizes.shape}")
    L, H, C, V, T, B, maxT = (int(n) for n in sizes)
    config = Config(L, H, C, V, maxT)
    if not 1 <= T <= maxT or B < 1:
        raise ModelError(f"config must have 1 <= T <= maxT and B >= 1; T = {T}, maxT = {maxT}, B = {B}")
    shapes = {f"{kind}/{n}": s for kind in ("param", "grad") for n, s in config.shapes().items()}
    for name, shape in {**shapes, "logits": (B, T, V), "loss": (), "tokens": (B, T), "targets": (B, T)}.items():
        array = need(name)
        if array.shape != shape:
            raise ModelError(f"{name} must have shape {shape}, not {array.shape}")
        if name in ("tokens", "targets"):
            if array.dtype.kind not in "iu":
                raise ModelError(f"{name} must hold integers, not {array.dtype}")
            if array.min() < 0 or array.max() >= V:
                raise ModelError(f"{name} must lie between 0 and V - 1 = {V - 1}; found {array.min()} to {array.max()}")
            held[name] = array.astype(np.int32)
        elif array.dtype.kind != "f":
            raise ModelError(f"{name} must hold floats, not {array.dtype}")
        elif not np.isfinite(array).all():
            raise ModelError(f"{name} holds entries that are not finite")
    return config, held


if __name__ == "__main__":
    main()
