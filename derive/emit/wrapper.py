"""The CuPy wrapper of an operation: what its two functions check, allocate and launch."""

from __future__ import annotations

from dataclasses import dataclass

from derive.emit.body import body, listed, wrapped
from derive.emit.module import formula_lines, promises
from derive.emit.templates import render
from derive.plan.launches import source
from derive.plan.records import Buffer, Pass, Plan
from derive.plan.tiles import Contraction

NUMPY = {"float32": "cp.float32", "float64": "cp.float64", "float16": "cp.float16"}


@dataclass(frozen=True)
class Function:
    """The fields of one wrapper function in the template."""

    function: str
    head: tuple[str, ...]
    title: str
    doc: tuple[str, ...]
    checks: tuple[str, ...]
    body: tuple[str, ...]
    allocates: bool
    returns: tuple[str, ...]


def wrapper_source(op: str, plan: Plan, rules: tuple[str, ...], command: str) -> str:
    real = NUMPY.get(plan.dtype, 'getattr(cp, "bfloat16", None) or __import__("ml_dtypes").bfloat16')
    compute = "cp.float64" if plan.dtype == "float64" else "cp.float32"
    dtypes = [("T", real), ("compute", compute)]
    dtypes += [("short", "cp.uint16")] * any(b.dtype == "short" for p in plan.passes for b in p.temporaries)
    functions = [_function(op, p, plan) for p in plan.passes]
    return render(
        "python/module.py.j2",
        op=op,
        plan=plan,
        formula=formula_lines(plan),
        rules=rules,
        command=command,
        promises=promises(plan),
        dtypes=[(k, f"cp.dtype({v})") for k, v in dtypes],
        helpers=source(" ".join(line for f in functions for line in f.body)),
        passes=functions,
        releases=any(line.startswith("del ") for f in functions for line in f.body),
        labels=any(p.labels for p in plan.passes),
        tensor_cores=any(isinstance(k.shape, Contraction) and k.shape.tensor for p in plan.passes for k in p.kernels),
    )


def _function(op: str, p: Pass, plan: Plan) -> Function:
    given = [r for r in p.sizes if r.source is None]
    options = [f"{r.name}=None" if r.formula else r.name for r in given]
    if p.name == "backward":
        options += ["out=None", "accumulate=False"]
    names = [*(b.name for b in p.arguments), "*", *options, "stream=None"]
    outs = ", ".join(b.name for b in p.results)
    lines = tuple(body(p))
    head = f"def {op}_{p.name}(self, {', '.join(names)}):"
    return Function(
        function=f"{op}_{p.name}",
        head=tuple(wrapped(head, 106)),
        title=f"The {'outputs' if p.name == 'forward' else 'gradients'} of {op}.",
        doc=tuple(_doc(p, plan)),
        checks=tuple(_checks(p)),
        body=lines,
        allocates=any("cp.empty(" in line for line in lines),
        returns=tuple(wrapped(f"return {outs}" if len(outs) < 95 else f"return ({outs})")),
    )


def _doc(p: Pass, plan: Plan) -> list[str]:
    lines = ["Args:"]
    ranges = {n: f", in range of {x.place}" for x in p.labels for n in x.arrays}
    lines += [f"    {b.name}: {_shape(b)}, {_element(b, plan)}{ranges.get(b.name, '')}" for b in p.arguments]
    for r in p.sizes:
        if r.source is None:
            lines.append(f"    {r.name}: size of {r.letter}" + (f" (default {r.formula})" if r.formula else ""))
    if p.name == "backward":
        lines += [
            "    out: gradient arrays to write into, in the order they are returned",
            "    accumulate: add to what `out` holds",
        ]
    return [
        *lines,
        "",
        "Returns:",
        *(f"    {b.name}: {_shape(b)}" + (", saved for the backward" if b.role == "saved" else "") for b in p.results),
    ]


def _shape(b: Buffer) -> str:
    return f"[{', '.join(a.removeprefix('size_') for a in b.axes)}]"


def _element(b: Buffer, plan: Plan) -> str:
    if b.dtype == "ids":
        return "int32 or int64"
    return plan.dtype if b.dtype == "T" else "float64" if plan.dtype == "float64" else "float32"


def _checks(p: Pass) -> list[str]:
    """Dtype, shape and layout of every argument; sizes are read off on the way."""
    lines: list[str] = []
    known = {a for b in p.arguments for a in b.axes if a.isdigit()}  # sizes that the formula states
    for b in p.arguments:
        shape = [a if a in known else "None" for a in b.axes]
        call = f'self.check("{b.name}", {b.name}, "{b.dtype}", {listed(shape)})'
        new = [a for a in dict.fromkeys(b.axes) if a not in known]
        if new:
            first = {a: b.axes.index(a) for a in new}
            targets = [a if a in new and first[a] == n else "_" for n, a in enumerate(b.axes)]
            lines.append(f"{', '.join(targets)}{',' if len(targets) == 1 else ''} = {call}")
        else:
            lines.append(call)
        if any(b.axes.count(a) > 1 for a in new):
            lines.append(f'self.check("{b.name}", {b.name}, "{b.dtype}", {listed(b.axes)})')
        known |= set(new)
    for r in p.sizes:
        if r.source is None and r.formula:
            lines.append(f"{r.name} = {r.formula} if {r.name} is None else {r.name}")
    for x in p.labels:
        mask = f", {x.mask}" if x.mask else ""
        lines.append(f'self.check_range("{x.value}", {x.value}, {x.size}, "{x.place}"{mask})')
    return lines
