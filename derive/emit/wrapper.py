"""The CuPy wrapper of an operation: what its two functions check, allocate and launch."""

from __future__ import annotations

from dataclasses import dataclass

from derive.emit.module import formula_lines, promises
from derive.emit.templates import render
from derive.plan.launches import source
from derive.plan.records import Buffer, Kernel, Pass, Plan

NUMPY = {"float32": "cp.float32", "float64": "cp.float64", "float16": "cp.float16"}


@dataclass(frozen=True)
class Function:
    """The fields of one wrapper function in the template."""

    function: str
    parameters: str
    title: str
    doc: tuple[str, ...]
    checks: tuple[str, ...]
    body: tuple[str, ...]
    returns: str


def wrapper_source(op: str, plan: Plan, rules: tuple[str, ...], command: str) -> str:
    passes = [p for p in (plan.forward, plan.backward) if p is not None]
    real = NUMPY.get(plan.dtype, 'getattr(cp, "bfloat16", None) or __import__("ml_dtypes").bfloat16')
    compute = "cp.float64" if plan.dtype == "float64" else "cp.float32"
    dtypes = [("T", real), ("compute", compute)]
    return render(
        "python/module.py.j2",
        op=op,
        plan=plan,
        formula=formula_lines(plan),
        rules=rules,
        command=command,
        promises=promises(plan),
        dtypes=[(k, f"cp.dtype({v})") for k, v in dtypes],
        helpers=source(" ".join(x for p in passes for k in p.kernels for x in _texts(k))),
        passes=[_function(op, p, plan) for p in passes],
        labels=any(p.labels for p in passes),
    )


def _texts(k: Kernel) -> tuple[str, ...]:
    """Every size expression of a kernel."""
    return (*k.launch.grid, *k.launch.block, k.launch.shared, *k.sizes)


def _function(op: str, p: Pass, plan: Plan) -> Function:
    given = [r for r in p.sizes if r.source is None]
    options = [f"{r.name}=None" if r.formula else r.name for r in given]
    if p.name == "backward":
        options += ["out=None", "accumulate=False"]
    names = [*(b.name for b in p.arguments), "*", *options, "stream=None"]
    outs = ", ".join(b.name for b in p.results)
    return Function(
        function=f"{op}_{p.name}",
        parameters=", ".join(names),
        title=f"The {'outputs' if p.name == 'forward' else 'gradients'} of {op}.",
        doc=tuple(_doc(p, plan)),
        checks=tuple(_checks(p)),
        body=tuple(_body(p)),
        returns=outs,
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
        call = f'self.check("{b.name}", {b.name}, "{b.dtype}", {_tuple(shape)})'
        new = [a for a in dict.fromkeys(b.axes) if a not in known]
        if new:
            first = {a: b.axes.index(a) for a in new}
            targets = [a if a in new and first[a] == n else "_" for n, a in enumerate(b.axes)]
            lines.append(f"{', '.join(targets)}{',' if len(targets) == 1 else ''} = {call}")
        else:
            lines.append(call)
        if any(b.axes.count(a) > 1 for a in new):
            lines.append(f'self.check("{b.name}", {b.name}, "{b.dtype}", {_tuple(list(b.axes))})')
        known |= set(new)
    for r in p.sizes:
        if r.source is None and r.formula:
            lines.append(f"{r.name} = {r.formula} if {r.name} is None else {r.name}")
    for x in p.labels:
        mask = f", {x.mask}" if x.mask else ""
        lines.append(f'self.check_range("{x.value}", {x.value}, {x.size}, "{x.place}"{mask})')
    return lines


def _body(p: Pass) -> list[str]:
    everything = {b.count for b in (*p.arguments, *p.results, *p.temporaries)} | {_count(k) for k in p.kernels}
    ids = [b for b in p.arguments if b.dtype == "ids"]
    counts = ", ".join(sorted(everything))
    lines = [
        f"module, index = self.module(max({counts}{', 0' if len(everything) == 1 else ''}), "
        f"({' '.join(f'({chr(34)}{b.name}{chr(34)}, {b.name}),' for b in ids)}))"
    ]
    lines += _given_out(p) if p.name == "backward" else [_empty(b) for b in p.results]
    lines += [_empty(b) for b in p.temporaries]
    same = dict(p.aliases)
    for k in p.kernels:
        if any(b.name in same for b in k.writes):
            lines += ["if out is not None:", *("    " + line for line in _launch(k))]
        else:
            lines += _launch(k)
    for b in p.results:
        if b.name in p.added:
            lines += [
                "if accumulate:",
                f'    self.launch(module, "add_into", (blocks({b.count}, 256), 1, 1), (256, 1, 1),',
                f"                ({b.name}, given_{b.name}, index({b.count})))",
                f"    {b.name} = given_{b.name}",
            ]
    return lines


def _count(k: Kernel) -> str:
    count = str(getattr(k.shape, "count", "1"))
    return "1" if count == "chunks" else count


def _given_out(p: Pass) -> list[str]:
    """Gradient arrays: new ones, or those given."""
    names = ", ".join(b.name for b in p.results)
    comma = "," if len(p.results) == 1 else ""
    lines = [
        "if out is None:",
        "    if accumulate:",
        '        raise ValueError("accumulate=True needs out=: the arrays to add to")',
    ]
    same = dict(p.aliases)
    lines += [f"    {b.name} = {same[b.name]}" if b.name in same else "    " + _empty(b) for b in p.results]
    lines += ["else:", f"    {names}{comma} = out"]
    lines += [f'    self.check("{b.name}", {b.name}, "{b.dtype}", {_tuple(list(b.axes))})' for b in p.results]
    for b in p.results:
        if b.name in p.added:  # kernels to come read this gradient alone: the sum is made at the end
            lines += ["if accumulate:", f"    given_{b.name} = {b.name}", f"    {_empty(b)}"]
    return lines


def _empty(b: Buffer) -> str:
    dtype = "index" if b.dtype == "index" else f'dtypes["{b.dtype}"]'
    return f"{b.name} = cp.empty({_tuple(list(b.axes))}, {dtype})"


def _launch(k: Kernel) -> list[str]:
    args = [b.name for b in (*k.reads, *k.writes, *k.scratch)]
    args += [f"index({s.split('=', 1)[-1]})" for s in k.sizes] + (["cp.int32(accumulate)"] if k.accumulates else [])
    grid, block = (_tuple([x for x in t if x]) for t in (k.launch.grid, k.launch.block))
    shared = f", {k.launch.shared}" if k.launch.shared != "0" else ""
    lines = [f'self.launch(module, "{k.name}", {grid}, {block},', f"            ({', '.join(args)},){shared})"]
    again = k.launch.repeat
    if again is None:
        return lines
    one, other = again.swapped
    return [
        f"{again.size} = {again.first}",
        f"while {again.size} < {again.stop}:",
        *("    " + line for line in lines),
        f"    {one}, {other}, {again.size} = {other}, {one}, 2*{again.size}",
    ]


def _tuple(items: list[str]) -> str:
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
