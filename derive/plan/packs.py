"""Runs of neighbours: what each element of a loop reads or writes in memory that lies in one piece."""

from __future__ import annotations

from derive.plan import ir
from derive.plan.context import Context
from derive.plan.ir import INT, Local
from derive.plan.names import Namer
from derive.plan.records import Packed


def packs(
    body: ir.Block, element: str, context: Context, namer: Namer, locals_: dict[tuple[str, ir.Scalar], str]
) -> tuple[Packed, ...]:
    """Each (buffer, offset) that `body` reads or writes whatever its conditions say, at `x + element`.

    Args:
        locals_: the local that holds a run; what is missing is added.
    """
    made = {s.name for s in body if isinstance(s, (ir.Let, ir.Declare))}
    buffers = {b.name: b for b in context.buffers.values() if b.dtype in ("T", "compute")}
    always = dict.fromkeys(x for s in body for x in ir.always(s))
    again = dict.fromkeys(x for s in body for x in ir.always(s, unless="held") if x not in always)
    found: dict[tuple[str, ir.Scalar], Packed] = {}
    for x in (*always, *again):
        start, place = ir.before(x.offset, Local(INT, element)), (x.buffer, x.offset)
        if x.buffer not in buffers or start is None or ir.names_in(start) & {*made, element}:
            continue
        if place not in locals_:
            locals_[place] = namer.fresh(f"{x.buffer}_pack", ours=True)
        write, adds = isinstance(x, ir.Store), isinstance(x, ir.Store) and x.accumulate
        pack = Packed(buffers[x.buffer], start, x.offset, locals_[place], write, adds, x in again)
        found.setdefault(place, pack)
    return tuple(found.values())
