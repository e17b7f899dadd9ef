"""The emitted folder: `sources` gives its files as text, `emit` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from derive.emit.module import cuda_source
from derive.emit.selftest import test_source
from derive.emit.wrapper import wrapper_source
from derive.files import place_all
from derive.plan.names import clean
from derive.plan.records import Plan


def sources(
    name: str,
    plan: Plan,
    *,
    rules: Sequence[str] = (),
    numpy_forward: Sequence[str] = (),
    sizes: Mapping[str, int] | None = None,
    derivation: str | None = None,
    command: str | None = None,
) -> dict[str, str]:
    """The files of an operation, by name.

    Args:
        name: of the operation; files and functions are called after it.
        plan: from `derive.plan.make_plan`.
        rules: the gradients as a reader wants them, one a line, for the header.
        numpy_forward: runnable NumPy statements of the forward, for the emitted test.
        sizes: the size of each extent class in that test; without these two there is none.
        derivation: Markdown, written as derivation.md.
        command: the command that makes these files again.
    """
    op = clean(name)
    command = command or f"derive emit {name} -o DIR" + (f" --dtype {plan.dtype}" if plan.dtype != "float32" else "")
    found = {
        f"{op}.cu": cuda_source(op, plan, tuple(rules), command),
        f"{op}.py": wrapper_source(op, plan, tuple(rules), command),
        "contract.json": json.dumps(_contract(op, plan), indent=2, ensure_ascii=False) + "\n",
    }
    if numpy_forward and sizes is not None:
        found[f"test_{op}.py"] = test_source(op, plan, numpy_forward, sizes, command)
    if derivation is not None:
        found["derivation.md"] = derivation
    return found


def emit(
    name: str,
    plan: Plan,
    directory: Path,
    *,
    rules: Sequence[str] = (),
    numpy_forward: Sequence[str] = (),
    sizes: Mapping[str, int] | None = None,
    derivation: str | None = None,
    command: str | None = None,
) -> list[Path]:
    """Write the files of an operation into `directory/name`.

    Raises:
        FileError: the folder cannot be written.
    """
    texts = sources(
        name, plan, rules=rules, numpy_forward=numpy_forward, sizes=sizes, derivation=derivation, command=command
    )
    place_all(Path(directory), {f"{clean(name)}/{file}": text for file, text in texts.items()})
    return [Path(directory) / clean(name) / file for file in texts]


def _contract(op: str, plan: Plan) -> dict[str, object]:
    kept = "float64" if plan.dtype == "float64" else "float32"
    types = {"T": plan.dtype, "compute": kept, "ids": "int32 or int64", "short": "uint16"}
    used = {b.dtype for p in plan.passes for b in (*p.arguments, *p.results, *p.temporaries)}
    return {
        "op": op,
        "dtype": plan.dtype,
        "types": {name: element for name, element in types.items() if name in used},
        **asdict(plan.contract),
        "passes": [
            {
                "name": p.name,
                "arguments": [asdict(b) for b in p.arguments],
                "results": [asdict(b) for b in p.results],
                "temporaries": [asdict(b) for b in p.temporaries],
                "kernels": [
                    {
                        "name": k.name,
                        "plan": k.plan,
                        "computes": list(k.computes),
                        "reads": [b.name for b in k.reads],
                        "writes": [b.name for b in k.writes],
                    }
                    for k in p.kernels
                ],
            }
            for p in plan.passes
        ],
    }
