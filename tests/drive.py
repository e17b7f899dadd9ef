"""How the tests reach derive: through its two contracts, `rule --format json` and `run`, and nothing inside.

Both are called in process, which spares each case the start of an interpreter.
"""

import ast
import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from derive.cli import main

Array = Any


def command(*args: object, text: str = "") -> Result:
    """The command line's answer; its exit status is `.exit_code`, all it printed `.output`."""
    return CliRunner().invoke(main, [str(a) for a in args], input=text)


def succeed(*args: object, text: str = "") -> str:
    """What a command printed that had to succeed."""
    done = command(*args, text=text)
    if done.exit_code and done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def rule_json(text: str) -> dict[str, Any]:
    """The rule of a formula in the form other tools read."""
    found: dict[str, Any] = json.loads(succeed("rule", "-", "--format", "json", text=text))
    return found


def run_program(
    program: Mapping[str, list[str]],
    arrays: Mapping[str, Array],
    cotangents: Mapping[str, Array],
    extents: Mapping[str, int],
    params: Mapping[str, float],
) -> dict[str, Array]:
    """Execute a rule's NumPy program in the namespace that the contract promises; the namespace afterwards."""
    space: dict[str, Any] = {"np": np, "erf": np.vectorize(math.erf, otypes=[float]), **params}
    space |= {n: a.copy() for n, a in arrays.items()}
    space |= {f"size_{x}": n for x, n in extents.items()}
    with np.errstate(all="ignore"):
        exec("\n".join(program["forward"]), space)
        space |= {f"d{n}": g.copy() for n, g in cotangents.items()}
        exec("\n".join(program["backward"]), space)
    return space


def run_op(
    text: str,
    arrays: Mapping[str, Array],
    cotangents: Mapping[str, Array],
    dtype: str = "float32",
    sizes: Mapping[str, int] | None = None,
    executor: str = "emulator",
) -> dict[str, Array]:
    """Outputs by name and gradients as `d<input>`, from the emitted kernels."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, **arrays, **{f"d{n}": g for n, g in cotangents.items()})  # type: ignore[arg-type]
        given = [x for letter, n in (sizes or {}).items() for x in ("--size", f"{letter}={n}")]
        options = ["--dtype", dtype, "--executor", executor, *given]
        succeed("run", "-", "--inputs", source, "--output", target, *options, text=text)
        with np.load(target) as found:
            return dict(found)


FREE = {"reshape", "transpose", "expand_dims", "swapaxes", "moveaxis", "squeeze", "broadcast_to", "asarray", "arange",
        "zeros_like", "ones_like", "zeros", "ones", "eye", "astype", "copy"}  # fmt: skip


def count_nodes(lines: list[str]) -> int:
    """Math nodes of a NumPy program: binary operations, augmented assignments, calls; an einsum's operands less one."""
    n = 0
    for x in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(x, ast.BinOp | ast.AugAssign):
            n += 1
        elif isinstance(x, ast.Call):
            name = x.func.attr if isinstance(x.func, ast.Attribute) else getattr(x.func, "id", "")
            n += max(len(x.args) - 2, 1) if name == "einsum" else name not in FREE
    return n
