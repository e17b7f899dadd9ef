"""The test that goes into an emitted folder: it needs NumPy and CuPy, and nothing of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from derive.emit.templates import render
from derive.plan.records import Buffer, Pass, Plan

TOLERANCE = {"float64": "1e-6", "float32": "1e-4", "float16": "2e-2", "bfloat16": "1e-1"}


def test_source(op: str, plan: Plan, numpy_forward: Sequence[str], sizes: Mapping[str, int], command: str) -> str:
    """A test of one forward and one backward at small sizes.

    Args:
        numpy_forward: runnable NumPy statements that define every output from the inputs, `np`, `erf` and integers
            `size_<extent>`.
        sizes: the size of each extent class.
    """
    forward, backward = plan.forward, plan.backward
    by_size = {r.name: sizes[r.letter] for p in (forward, backward) if p for r in p.sizes}
    inputs = forward.arguments
    outputs = [b for b in forward.results if b.role == "output"]
    real = {b.tensor: _shape(b, by_size) for b in inputs if b.dtype != "ids"}
    top = min(sizes.values(), default=1)
    integer = {b.tensor: (_shape(b, by_size), top) for b in inputs if b.dtype == "ids"}
    formula = "\n".join(numpy_forward)
    cotangents = [b for b in backward.arguments if b.role == "cotangent"] if backward else []
    return render(
        "python/test.py.j2",
        op=op,
        command=command,
        sizes=dict(sizes),
        real=real,
        integer=integer,
        scale=TOLERANCE[plan.dtype],
        arguments=", ".join(b.tensor for b in inputs),
        numpy_forward=numpy_forward,
        erf=re.search(r"\berf\(", formula) is not None,
        size_names=[(f"size_{e}", n) for e, n in sizes.items() if re.search(rf"\bsize_{e}\b", formula)],
        outputs=_tuple([b.tensor for b in outputs]),
        output_names=repr(tuple(b.tensor for b in outputs)),
        forward_call=_call(forward, by_size),
        result_names=repr(tuple(b.tensor for b in forward.results)),
        cotangent_names=repr(tuple(b.tensor for b in cotangents)),
        backward_call=_call(backward, by_size) if backward else None,
        gradient_of=repr(tuple(b.tensor.removeprefix("d") for b in backward.results)) if backward else "()",
    )


def _shape(b: Buffer, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(int(a) if a.isdigit() else sizes[a] for a in b.axes)


def _call(p: Pass, sizes: Mapping[str, int]) -> str:
    given = [f'device["{b.tensor}"]' for b in p.arguments]
    return ", ".join([*given, *(f"{r.name}={sizes[r.name]}" for r in p.sizes if r.source is None)])


def _tuple(names: list[str]) -> str:
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"
