"""FLOPs of a kernel and the elements that it gathers, from the statements that it carries out."""

from __future__ import annotations

from derive import expr as E
from derive.cost.flops import flops
from derive.expr import Expr
from derive.plan.records import Kernel


def kernel_flops(k: Kernel) -> Expr:
    """Operations of one kernel; of one that only adds up partial results, or makes them, none: these are few."""
    return flops(k.statements, together=True)


def gathered(k: Kernel) -> dict[str, tuple[str, ...]]:
    """Tensors that a kernel reads at places which an integer tensor says, and nowhere else: extents of those places.

    Only where they are among the tensor's own axes, so that they are fewer than its elements: of `X[b,s,labels[b,s]]`
    it reads b·s elements.  Of `E[ids[t],c]` it may read the whole table, or rows of it more than once.
    """
    places: dict[str, tuple[str, ...] | None] = {}
    for s in k.statements:
        for g in (x for x in E.subterms(s.expr) if isinstance(x, E.Get)):
            within = tuple(i.extent for i in g.subs if isinstance(i, E.Index))
            by_data = any(isinstance(x, E.Get) for sub in g.subs for x in E.subterms(sub))
            new = within if by_data and {i.extent for i in g.free} <= set(within) else None
            places[g.tensor] = new if places.get(g.tensor, new) == new else None
    return {t: axes for t, axes in places.items() if axes is not None}
