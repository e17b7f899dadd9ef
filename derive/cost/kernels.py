"""FLOPs of a kernel, from the statements that it says it computes."""

from __future__ import annotations

import re

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
        from derive import expr as E
        return E.ZERO
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
    return _renamed(flops(read.statements, together=True), classes)


def _renamed(e: Expr, classes: dict[str, str]) -> Expr:
    from derive import expr as E
    return E.transform(e, lambda x: E.Size(classes.get(x.extent, x.extent)) if isinstance(x, E.Size) else x)
