"""How much arithmetic a kernel does, counted in its lowered text: an operation or a function is one, wherever it is."""

from __future__ import annotations

import re

from derive.plan import ir
from derive.plan.attention.shape import Attention
from derive.plan.ir import REAL, Apply, Binary, Block, Scalar, Stmt, Unary
from derive.plan.records import Buffer, Column, Kernel, Nest, Row, Text, Total
from derive.plan.scatter.shape import Order, Parts, Scatter
from derive.plan.tiles import Chunks, Contraction

FREE = frozenset(("real", "index", "total"))  # casts and a read


def moved(kernel: Kernel) -> tuple[tuple[Buffer, ...], tuple[Buffer, ...]]:
    """What a kernel reads and writes.  Of one that adds up the chunks of a sum, these: it runs only where the sum is
    split, and all else is counted with the tiles, which then leave it to this kernel.  So too the parts of a scatter:
    what they read, it leaves out."""
    if isinstance(kernel.shape, Chunks):
        return kernel.reads[:1], ()
    if isinstance(kernel.shape, Parts):
        return kernel.reads[:1], kernel.writes
    return kernel.reads, kernel.writes


def work(kernel: Kernel) -> Text:
    """FLOPs as an expression over size names; a branch counts both its sides, the sort of a scatter nothing."""
    text = _shape(kernel)
    for size in kernel.sizes:
        name, _, formula = size.partition("=")
        if formula:
            text = re.sub(rf"\b{name}\b", formula, text)
    return text


def _shape(kernel: Kernel) -> Text:
    shape = kernel.shape
    match shape:
        case Chunks():  # the maps are counted with the tiles
            return f"{shape.count}*chunks"
        case Nest():
            return _times(shape.count, _block(shape.body))
        case Row():
            inside = [_plus(_block(p.body), str(len(p.totals))) for p in shape.phases]
            outside = [_block(shape.head), *(_block(p.after) for p in shape.phases)]
            return _times(shape.rows, _plus(_times(shape.count, _plus(*inside)), *outside))
        case Column():
            column = _times(shape.rows, _plus(_block(shape.body), str(len(shape.totals))))
            return _times(shape.columns, _plus(column, _block(shape.after)))
        case Total():
            element = _plus(_block(shape.body), str(len(shape.totals)))
            return _plus(_times(shape.count, element), _block(shape.after), _block(shape.head))
        case Contraction():
            result = _times(f"{shape.rows}*{shape.columns}", _plus(_times("2", shape.length), _block(shape.after)))
            sides = [
                _times(f"{count}*{shape.length}", _block(side.body))
                for side, count in zip(shape.sides, (shape.rows, shape.columns), strict=True)
            ]
            return _times(shape.batches, _plus(result, *sides))
        case Attention():  # every pair, those of skipped tiles too
            products = [_times("2", p.length) for p in shape.products]
            outputs = [_times("2", o.columns) for o in shape.outputs]
            values = [_block(w.value) for w in shape.weights]
            sums = sum(len(w.totals) + len(w.paired) for w in shape.weights)
            softmax = 4 if shape.online else 0  # maximum, difference, exp and sum, which the template itself has
            pair = _plus(*products, *outputs, *values, _block(shape.pair), str(sums + softmax))
            return _times(_times(shape.batches, shape.turns or "1"), _times(f"{shape.rows}*{shape.length}", pair))
        case Order():  # indices are sorted
            return "0"
        case Parts():  # every place once: those that stand in no whole part too, which the scatter itself sums up
            return _times(f"{shape.places}*{shape.width}", _block(shape.body))
        case Scatter():
            return _times(shape.count, _block(shape.after))
    raise NotImplementedError(f"FLOPs of {type(shape).__name__}")


def _block(block: Block) -> Text:
    return _plus(*(_statement(s) for s in block))


def _statement(s: Stmt) -> Text:
    own = sum(_scalar(v) for v in ir.scalars(s)) + isinstance(s, ir.Accumulate)
    inside = [_block(b) for b in ir.blocks(s)]
    if isinstance(s, ir.For):
        return _times(_text(s.stop), _plus(*inside))
    return _plus(str(own), *inside)


def _scalar(s: Scalar) -> int:
    mine = s.kind == REAL and (isinstance(s, (Binary, Unary)) or (isinstance(s, Apply) and s.fn not in FREE))
    return int(mine) + sum(_scalar(v) for v in ir.scalars(s) if not isinstance(s, ir.Load))


def _text(s: Scalar) -> Text:
    if isinstance(s, ir.Local):
        return s.name
    if isinstance(s, ir.Literal):
        return str(int(s.value))
    return "1"


def _plus(*parts: Text) -> Text:
    """The sum, equal terms of it taken together: 2*d and 2*d are 4*d."""
    terms: dict[Text, int] = {}
    for p in parts:
        found = re.fullmatch(r"(?:(\d+)\*)?([^+]+?)(?:\*(\d+))?", p)  # no sum, but for one in brackets
        if p.isdigit():
            terms["1"] = terms.get("1", 0) + int(p)
        elif found:
            times = int(found[1] or 1) * int(found[3] or 1)
            terms[found[2]] = terms.get(found[2], 0) + times
        else:
            terms[p] = terms.get(p, 0) + 1
    number = terms.pop("1", 0)
    rest = [_times(str(n), t) for t, n in terms.items() if n]
    if number:
        rest.append(str(number))
    return " + ".join(rest) or "0"


def _times(a: Text, b: Text) -> Text:
    if "0" in (a, b):
        return "0"
    if a == "1" or b == "1":
        return b if a == "1" else a
    return "*".join(f"({x})" if " + " in x else x for x in (a, b))
