"""`derive sanitize`: anybody's CUDA kernel, run on the CPU under the checks of the emulator."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from derive.errors import FileError, RunError

ARRAY = re.compile(r"(?P<dtype>\w+)\[(?P<shape>[\d,\s]*)\](?::(?P<fill>.+))?")
RANGE = re.compile(r"(?P<low>-?\d+)\.\.(?P<high>-?\d+)")
TYPES = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
         "uint64", "bool")


@click.command("sanitize", short_help="Check any CUDA kernel for races, bounds, uninitialised reads.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--kernel", "name", required=True, help="As it stands in the source; a template as name<float>.")
@click.option("--grid", required=True, metavar="X[,Y[,Z]]", help="Blocks.")
@click.option("--block", required=True, metavar="X[,Y[,Z]]", help="Threads of a block.")
@click.option("--arg", "args", multiple=True, metavar="NAME=VALUE",
              help="A parameter: x=float32[1000] (normal), ids=int32[64]:0..9, y=float32[8]:uninitialized (or zeros, "
                   "ones, arange), x=data.npy, x=null (no array), n=1000, eps=1e-5.")
@click.option("--shared", default=0, metavar="BYTES",
              help="Dynamic shared memory; above 48 KiB as with max_dynamic_shared_size_bytes.")
@click.option("--option", "options", multiple=True, metavar="-DNAME=VALUE", help="A compiler option.")
@click.option("--seed", default=0, show_default=True, help="Of the random arrays.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(file: Path, name: str, grid: str, block: str, args: tuple[str, ...], shared: int,
            options: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Check a CUDA kernel without a GPU: bounds, uninitialised reads, races, barriers, warps, alignment.

    FILE is CUDA text as CuPy's RawKernel takes it.  Exit status 1 if something is found.

    Example: derive sanitize sum.cu --kernel total --grid 4 --block 256 --arg x=float32[1000]
    --arg out=float32[4]:uninitialized --arg n=1000
    """
    from derive.emulator import CheckError, RawKernel
    from derive.emulator.launch import DEFAULT_SHARED

    try:
        code = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise FileError(f"cannot read {file}", value=getattr(e, "strerror", None) or e) from e
    given = dict(_split(a) for a in args)
    blank = tuple(n for n, v in given.items() if v.endswith(":uninitialized"))
    kernel = RawKernel(code, name, options, check=True, uninitialized=blank).kernel
    values = _values(given, kernel.signature.parameters, kernel.signature.describe(), seed)
    if shared > DEFAULT_SHARED - kernel.signature.static_shared:
        kernel.max_dynamic_shared_size_bytes = shared  # as a launch that asks for so much must have done
    reports: tuple[Any, ...] = ()
    try:
        kernel(_extent("--grid", grid), _extent("--block", block), values, shared_mem=shared)
    except CheckError as e:
        reports = e.reports
    if as_json:
        click.echo(json.dumps({"kernel": name, "reports": [asdict(r) for r in reports]}, indent=2))
    elif reports:
        lines = code.splitlines()
        click.echo(f"{len(reports)} finding{'s' * (len(reports) > 1)} in {name}")
        for r in reports:
            click.echo(f"\n{r}")
            for n in sorted({r.line, r.other_line or r.line} - {0}):
                click.echo(f"  {file.name}:{n}: {lines[n - 1].strip() if n <= len(lines) else ''}")
    else:
        click.echo(f"{name}: no findings")
    if reports:
        sys.exit(1)


def _split(argument: str) -> tuple[str, str]:
    name, equals, value = argument.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise RunError("an argument is NAME=VALUE", value=argument, hint="as in --arg x=float32[1000] --arg n=1000")
    return name.strip(), value.strip()


def _extent(option: str, text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(x) for x in text.split(","))
    except ValueError:
        found = ()
    if not 1 <= len(found) <= 3:
        raise RunError(f"{option} is one to three whole numbers", value=text, hint=f"as in {option} 16,4")
    return found


def _values(given: dict[str, str], parameters: tuple[Any, ...], signature: str, seed: int) -> tuple[Any, ...]:
    """The kernel's arguments, in its own order."""
    names = [p.name for p in parameters]
    extra, missing = set(given) - set(names), set(names) - set(given)
    for wrong, what in ((extra, "is no parameter of the kernel"), (missing, "is missing")):
        if wrong:
            raise RunError(f"{sorted(wrong)[0]} {what}", value=signature, hint="give each parameter once, with --arg")
    import numpy as np

    rng = np.random.default_rng(seed)
    return tuple(_array(p.name, given[p.name], rng) if p.is_pointer else _scalar(p, given[p.name]) for p in parameters)


def _array(name: str, text: str, rng: Any) -> Any:
    import numpy as np

    if text == "null":
        return None
    if text.endswith(".npy"):
        try:
            return np.ascontiguousarray(np.load(text))
        except (OSError, ValueError) as e:
            raise FileError(f"cannot read {text} for {name}", value=getattr(e, "strerror", None) or e) from e
    found = ARRAY.fullmatch(text)
    if found is None or found["dtype"] not in TYPES:
        raise RunError(f"{name} is a pointer: it needs an array", value=text,
                       hint="as in float32[1000], or null; types: " + ", ".join(TYPES))
    shape = tuple(int(n) for n in found["shape"].split(",") if n.strip())
    return np.ascontiguousarray(_filled(name, found["fill"], shape, _dtype(found["dtype"]), rng))


def _filled(name: str, fill: str | None, shape: tuple[int, ...], dtype: Any, rng: Any) -> Any:
    import numpy as np

    bounds = RANGE.fullmatch(fill or "")
    if bounds and int(bounds["low"]) <= int(bounds["high"]):
        return rng.integers(int(bounds["low"]), int(bounds["high"]) + 1, shape).astype(dtype)
    if fill == "arange":
        return np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    if fill in ("zeros", "ones", "uninitialized") or (fill is None and dtype.kind in "iub"):
        return np.full(shape, fill == "ones", dtype)
    if fill in (None, "normal"):
        return rng.standard_normal(shape).astype(dtype)
    raise RunError(f"unknown content of {name}", value=fill,
                   hint="normal, zeros, ones, arange, uninitialized, or a range such as 0..9")


def _scalar(parameter: Any, text: str) -> Any:
    kind = parameter.type_name
    if kind not in TYPES:
        raise RunError(f"{parameter.name} is {kind}: only numbers and arrays can be given here", value=text)
    try:
        value = float(text) if "float" in kind else int(text, 0)
        return _dtype(kind).type(value)
    except (ValueError, OverflowError):
        raise RunError(f"{parameter.name} is a {kind}: it needs a number", value=text) from None


def _dtype(name: str) -> Any:
    import numpy as np

    if name == "bfloat16":
        import ml_dtypes
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)
