"""The CUDA file of an operation."""

from __future__ import annotations

import re
from dataclasses import replace

from derive.emit.cuda import STORAGE, Printer, neutral
from derive.emit.templates import render
from derive.emit.tiles import TilePrinter, tile_headers, tile_helpers
from derive.plan import ir
from derive.plan.attention.shape import Attention
from derive.plan.inplace import shares
from derive.plan.records import Buffer, Column, Kernel, Nest, Plan, Row, Shape, Total
from derive.plan.scatter.shape import CHUNK, FEW, PART, SORTERS, SUMMERS, TILE, Order, Parts, Scatter
from derive.plan.tiles import Chunks, Contraction

TEMPLATES: dict[type[Shape], str] = {
    Nest: "cuda/nest.cu.j2",
    Row: "cuda/row.cu.j2",
    Column: "cuda/column.cu.j2",
    Total: "cuda/total.cu.j2",
    Contraction: "cuda/contraction.cu.j2",
    Chunks: "cuda/nest.cu.j2",
    Order: "cuda/order.cu.j2",
    Parts: "cuda/parts.cu.j2",
    Scatter: "cuda/scatter.cu.j2",
    Attention: "cuda/attention.cu.j2",
}
HEADERS = {"float16": ("cuda_fp16.h",), "bfloat16": ("cuda_bf16.h",)}


def cuda_source(op: str, plan: Plan, rules: tuple[str, ...], command: str) -> str:
    """Forward and backward kernels in one file: formula, rule and contract on top."""
    kernels = [k for p in plan.passes for k in p.kernels]
    used = set().union(*(functions(k) for k in kernels)) if kernels else set()
    ids = {b.name: b for k in kernels for b in k.reads if b.dtype == "ids"}
    texts = [_kernel(k, plan) for k in kernels]
    products = [k.shape for k in kernels if isinstance(k.shape, Contraction)]
    return render(
        "cuda/module.cu.j2",
        op=op,
        plan=plan,
        formula=formula_lines(plan),
        rules=rules,
        command=command,
        promises=promises(plan),
        headers=tuple(dict.fromkeys((*HEADERS.get(plan.dtype, ()), *tile_headers(products)))),
        tiles=tile_helpers(products),
        ids=list(ids.values()),
        dynamic=any(k.launch.shared != "0" for k in kernels),
        used=used,
        real=plan.compute,
        f="f" if plan.compute == "float" else "",
        combine=_combine(kernels),
        infinite=any("INFINITY" in t for t in texts),
        kernels=texts,
        storage=STORAGE[plan.dtype],
        adds=bool(plan.backward and plan.backward.added),
    )


def _combine(kernels: list[Kernel]) -> list[tuple[str, str]]:
    """The reductions over the threads of a row, and how each joins two values."""
    ops = {op for k in kernels if isinstance(k.shape, Row) for phase in k.shape.phases for _, op in phase.totals}
    ops |= {op for k in kernels if isinstance(k.shape, Total) for _, op in k.shape.totals}
    joins = {"sum": "x + other", **{op: f"{fn}(x, other)" for op, fn in ir.EXTREMUM.items()}}
    return [(op, joins[op]) for op in ("sum", "max", "min") if op in ops]


def functions(k: Kernel) -> set[str]:
    """The helpers that a kernel calls."""
    shape = k.shape
    found = {"Sum", "tile_places"} if isinstance(shape, Scatter) else set()
    found |= _packs(k, shape) if isinstance(shape, Nest) and shape.packs else set()
    found |= _runs(shape) if isinstance(shape, (Row, Column, Total, Contraction, Scatter)) else set()
    found |= {"Pack", *["store"] * bool(shape.partial and shape.lanes > 1)} if isinstance(shape, Contraction) else set()
    for block in ir.blocks_in(shape):
        found |= ir.applied(block)
    return found


def _packs(k: Kernel, shape: Nest) -> set[str]:
    """What moves the packs of a kernel."""
    written = [b for b, _ in shape.packs if b in k.writes]
    loads = len(written) < len(shape.packs) or any(b.name in _adding(shape) for b in written)
    return {"Pack", *["load"] * loads, *["store"] * bool(written)}


def _runs(shape: Row | Column | Total | Contraction | Scatter) -> set[str]:
    """What moves the runs of a kernel's loops."""
    packs = [x for loop in (shape.phases if isinstance(shape, Row) else (shape,)) for x in loop.packs]
    packs += shape.own_packs if isinstance(shape, Scatter) else ()
    loads = any(x.adds or not x.write for x in packs)
    return {*["Pack"] * bool(packs), *["load"] * loads, *["store"] * any(x.write for x in packs)}


def _adding(shape: Nest) -> set[str]:
    """Buffers that a kernel may add to."""
    return {s.buffer for s in shape.body if isinstance(s, ir.Store) and s.accumulate}


def formula_lines(plan: Plan) -> list[str]:
    return [line.rstrip() for line in plan.formula.strip().splitlines() if line.strip()]


def promises(plan: Plan) -> list[str]:
    """The contract in a few lines."""
    c = plan.contract
    lines = []
    if plan.backward is not None:
        lines.append(
            f"Saved for the backward: {', '.join(c.saved) or 'nothing beyond inputs and outputs'}."
            + (f"  Computed again: {', '.join(c.recomputed)}." if c.recomputed else "")
        )
    bits = "the same bits at every run"
    if not c.deterministic:
        bits = f"{' and '.join(c.atomics)} by atomics in no fixed order, so that bits vary from run to run"
    lines.append(f"Sums are kept in {c.accumulation}; {bits}.")
    pairs = [f"{g} over {a}" for g, a in c.in_place]
    if pairs:
        lines.append(f"In place, one at a time and without accumulate: {', '.join(pairs)}.")
    lines += [f"{note[:1].upper()}{note[1:]}." for note in c.notes]
    return lines


def _kernel(k: Kernel, plan: Plan) -> str:
    kind = TilePrinter if isinstance(k.shape, Contraction) else Printer
    buffers = {b.name: b for b in (*k.reads, *k.writes)}
    printer = kind(plan.dtype, buffers, shares=shares(k, plan.contract.in_place))
    if isinstance(k.shape, Nest) and k.shape.packs:
        at = ir.Local(ir.INT, k.shape.counter)
        printer = replace(printer, packs={(b.name, at): local for b, local in k.shape.packs})
    template = TEMPLATES[type(k.shape)]
    writes_rows = isinstance(k.shape, Row) and "writer" in set().union(*(ir.names_in(b) for b in ir.blocks_in(k.shape)))
    text = render(
        template,
        k=k,
        shape=k.shape,
        p=printer,
        parameters=_parameters(k, printer),
        neutral=neutral,
        join=printer.join,
        writes_rows=writes_rows,
        **(_lanes(k.shape, printer) if isinstance(k.shape, Nest) else {}),
        chunk=CHUNK,
        few=FEW,
        tile=TILE,
        part=PART,
        threads=SORTERS if isinstance(k.shape, Order) else SUMMERS,
        totals=sum(len(phase.totals) for phase in k.shape.phases) if isinstance(k.shape, Row) else 0,
    ).rstrip("\n")
    return re.sub(r"\n\n+( *[^ \n])", r"\n\1", text) if isinstance(k.shape, Attention) else text


def _lanes(shape: Nest, printer: Printer) -> dict[str, object]:
    """Buffers that a kernel of several lanes may add to, and whether a lane needs nothing but its own values."""
    alone = not re.search(rf"\b{shape.counter}\b", printer.block(shape.body, 0))
    return {"adding": _adding(shape), "alone": alone}


def _parameters(k: Kernel, printer: Printer) -> list[tuple[str, str]]:
    """Each parameter with its comma and, for a buffer, its shape as a comment."""
    texts = printer.signature(k)
    buffers: tuple[Buffer, ...] = (*k.reads, *k.writes)
    comments = [f"  // [{', '.join(shape_letter(a) for a in b.axes)}]" for b in buffers]
    comments += [""] * (len(texts) - len(buffers))
    return [(t + ("," if n < len(texts) - 1 else ""), c) for n, (t, c) in enumerate(zip(texts, comments, strict=True))]


def shape_letter(axis: str) -> str:
    """An axis in a comment: `d` for size_d, `chunks` for how many chunks of rows there are."""
    if "_chunks(" in axis:
        return "chunks"
    return re.sub(r"size_|^\(|\)$", "", axis)
