"""FLOPs of a kernel and the elements that it gathers, from the statements that it says it computes."""

from __future__ import annotations

import re

from derive import expr as E
from derive.cost.flops import flops
from derive.errors import DeriveError
from derive.expr import Expr
from derive.notation import parse
from derive.plan.records import Kernel
from derive.program import Program


def kernel_flops(k: Kernel, program: Program) -> Expr | None:
    """Operations of one kernel; None where its statements are not in the notation.

    A kernel that only adds up partial results, or makes them, has the additions, which are few, left out.
    """
    if any("_partial" in b.name for b in k.reads) or all(b.role == "scratch" for b in k.writes):
        return E.ZERO
    found = _read(k, program)
    if found is None:
        return None
    read, classes = found
    return _renamed(flops(read.statements, together=True), classes)


def gathered(k: Kernel, program: Program) -> dict[str, tuple[str, ...]]:
    """Tensors that a kernel reads at places which an integer tensor says, and nowhere else: extents of those places.

    Only where they are among the tensor's own axes, so that they are fewer than its elements: of `X[b,s,labels[b,s]]`
    it reads b·s elements.  Of `E[ids[t],c]` it may read the whole table, or rows of it more than once.
    """
    found = _read(k, program)
    if found is None:
        return {}
    read, classes = found
    places: dict[str, tuple[str, ...] | None] = {}
    for s in read.statements:
        for g in (x for x in E.subterms(s.expr) if isinstance(x, E.Get)):
            within = tuple(classes[i.extent] for i in g.subs if isinstance(i, E.Index) and i.extent in classes)
            inside = {classes[i.extent] for i in g.free if i.extent in classes}
            by_data = any(isinstance(x, E.Get) for sub in g.subs for x in E.subterms(sub))
            new = within if by_data and inside <= set(within) else None
            places[g.tensor] = new if places.get(g.tensor, new) == new else None
    return {t: axes for t, axes in places.items() if axes is not None}


def _read(k: Kernel, program: Program) -> tuple[Program, dict[str, str]] | None:
    """A kernel's statements, and what their extents are called in the formula; None if they are not in the notation."""
    extents = dict(program.letters)
    lines = []
    for c in k.computes:
        def renamed(m: re.Match[str]) -> str:
            return m[0] if m[0] in extents else f"D_{m[1]}"

        line = re.sub(r"(?<![\w~])d([A-Za-z_]\w*)", renamed, c.split(", of each")[0])
        for name, letter, _ in re.findall(r"softmax\(((\w+?)(\d+)),", line):
            line = re.sub(rf"\b{name}\b", letter, line)  # the softmax's own letter, as the notation writes it
        line = re.sub(r"\bsize\((\w+)\)", r"N_\1", line)  # a number here, whichever index it belongs to
        lines.append(re.sub(r"~(\w+?)(\d+)\b", r"\1_\2", line))
    try:
        read = parse("\n".join(lines))
    except DeriveError:
        return None
    classes: dict[str, str] = {}
    for letter, extent in read.letters:
        base = letter.rsplit("_", 1)[0]
        names = (letter, base, base.rstrip("0123456789"))
        found = next((extents[n] for n in names if n in extents), base if base in program.extents else None)
        if found is None:
            return None
        classes.setdefault(extent, found)
    return read, classes


def _renamed(e: Expr, classes: dict[str, str]) -> Expr:
    return E.transform(e, lambda x: E.Size(classes.get(x.extent, x.extent)) if isinstance(x, E.Size) else x)
