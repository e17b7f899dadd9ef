"""The contract of an operation, read off its plan."""

from __future__ import annotations

from collections.abc import Iterator

from derive.plan import ir
from derive.plan.inplace import in_place
from derive.plan.launches import SHORT
from derive.plan.records import Contract, Kernel, Nest, Pass, Plan
from derive.plan.sums import collected
from derive.plan.tiles import Contraction
from derive.plan.work import moved, work


def contract(plan: Plan, recomputed: tuple[str, ...]) -> Contract:
    """What the plan keeps, moves and promises."""
    kernels = [k for p in plan.passes for k in p.kernels]
    added = tuple(dict.fromkeys(b.tensor for k in kernels if adds_atomically(k) for b in k.writes))
    return Contract(
        saved=tuple(b.name for b in plan.forward.results if b.role == "saved"),
        recomputed=recomputed,
        notes=_notes(plan.passes),
        in_place=in_place(plan.backward, added) if plan.backward else (),
        deterministic=not added,
        atomics=added,
        accumulation="float64" if plan.dtype == "float64" else "float32",
        bytes_forward=_bytes(plan, plan.forward),
        bytes_backward=_bytes(plan, plan.backward) if plan.backward else "0",
        flops_forward=_flops(plan.forward),
        flops_backward=_flops(plan.backward) if plan.backward else "0",
    )


def _notes(passes: tuple[Pass, ...]) -> tuple[str, ...]:
    """How products are taken."""
    products = [k.shape for p in passes for k in p.kernels if isinstance(k.shape, Contraction)]
    notes = []
    if any(s.tensor for s in products):
        notes.append("products run on tensor cores, at every size (from sm_80 on, with <mma.h>), sums in float32")
    if any(side.parts > 1 for s in products for side in s.sides):
        notes.append("a factor that is not 16 bits in memory enters them as the sum of two bfloat16 numbers")
    if any(s.partial for s in products):
        notes.append(f"a sum of {SHORT} products or more with few tiles of results is split in chunks, added in order")
    return tuple(notes)


def adds_atomically(kernel: Kernel) -> bool:
    """Whether real numbers are added up in no fixed order."""
    return isinstance(kernel.shape, Nest) and any(isinstance(s, ir.AtomicAdd) for s in _statements(kernel.shape.body))


def _statements(block: ir.Block) -> Iterator[ir.Stmt]:
    for s in block:
        yield s
        for inner in ir.blocks(s):
            yield from _statements(inner)


def _flops(p: Pass) -> str:
    return " + ".join(w for w in (work(k) for k in p.kernels) if w != "0") or "0"


def _bytes(plan: Plan, p: Pass) -> str:
    """Each buffer that a kernel reads or writes, once a kernel."""
    return str(collected((plan.item_bytes(b), b.count) for k in p.kernels for bs in moved(k) for b in bs))
