"""`report`: everything about an operation's cost, symbolic always, numeric when all sizes are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from derive import expr as E
from derive.cost.counts import buffer_bytes, product, text, value
from derive.cost.flops import flops
from derive.cost.gpus import GPUS, seconds
from derive.cost.kernels import gathered, kernel_flops
from derive.dtypes import ITEM
from derive.errors import ShapeError
from derive.expr import Expr
from derive.extents import solve
from derive.operation import Operation
from derive.plan import make_plan
from derive.plan.lifetimes import alive
from derive.plan.records import Buffer, Kernel, Pass, Plan
from derive.plan.sums import Sum, collected, greatest
from derive.plan.work import moved
from derive.program import Program

PASSES = ("forward", "backward")
COMPARED = ("bytes", "saved_bytes", "saved", "temporary_bytes")


@dataclass(frozen=True)
class KernelCost:
    """One kernel: what it computes, its FLOPs, its bytes."""

    name: str
    direction: str
    plan: str
    computes: tuple[str, ...]
    flops: Expr
    reads: tuple[Buffer, ...]
    writes: tuple[Buffer, ...]


@dataclass(frozen=True)
class Report:
    """The cost of one operation.

    Attributes:
        program: the prepared formula.
        plan: its kernels.
        sizes: by extent class; None when not all are given.
        flops: by direction.
        jacobians: (output, input, elements) of each Jacobian that is never built.
        gpu: whose data sheet gives the estimate.
        names: sizes as the plan calls them.
        unfused: the same without the attention kernels, where the plan has them.
    """

    program: Program
    plan: Plan
    sizes: Mapping[str, int] | None
    flops: Mapping[str, Expr]
    kernels: tuple[KernelCost, ...]
    jacobians: tuple[tuple[str, str, Expr], ...]
    gpu: str | None = None
    names: Mapping[str, int] = field(default_factory=dict)
    unfused: Report | None = None

    # -------------------------------------------------------------------------------------------- what is kept

    @property
    def saved(self) -> tuple[Buffer, ...]:
        """What is kept for the backward beyond inputs: saved values, and outputs that it reads."""
        read = {b.name for b in self.plan.backward.arguments} if self.plan.backward else set()
        return tuple(b for b in self.plan.forward.results if b.name in read)

    def buffers(self, what: Iterable[Buffer]) -> int:
        return sum(buffer_bytes(b, self.plan, self.names) for b in what)

    def temporaries(self, direction: str) -> tuple[tuple[Buffer, ...], ...]:
        """Those that there are while each kernel runs: as the emitted wrapper makes and releases them."""
        p = self._pass(direction)
        return alive(p) if p else ()

    def _pass(self, direction: str) -> Pass | None:
        return self.plan.forward if direction == "forward" else self.plan.backward

    def traffic(self, direction: str) -> list[Buffer]:
        """Each buffer that a kernel reads or writes, once a kernel."""
        return [b for k in self.kernels if k.direction == direction for b in (*k.reads, *k.writes)]

    def compulsory(self, direction: str) -> list[Buffer]:
        """Arguments read once and results written once: what no fusion can spare."""
        p = self._pass(direction)
        return [*p.arguments, *p.results] if p else []

    @property
    def jacobian(self) -> Expr:
        """Bytes of all Jacobians together."""
        return E.add(*(E.mul(E.num(ITEM[self.plan.dtype]), n) for *_, n in self.jacobians))

    # --------------------------------------------------------------------------------------------------- output

    def json(self) -> dict[str, Any]:
        """What `derive cost --json` prints; numbers are null while sizes are missing."""
        return {
            "dtype": self.plan.dtype,
            "sizes": dict(self.sizes) if self.sizes is not None else None,
            "flops": {d: self.number(self.flops[d]) for d in PASSES},
            "bytes": {d: self._bytes(self.traffic(d)) for d in PASSES},
            "minimum_bytes": {d: self._bytes(self.compulsory(d)) for d in PASSES},
            "intensity": {d: self.intensity(d) for d in PASSES},
            "saved_bytes": self._bytes(self.saved),
            "saved": [{"name": b.tensor, "role": b.role, "bytes": self._bytes([b])} for b in self.saved],
            "temporary_bytes": max((self.buffers(held) for d in PASSES for held in self.temporaries(d)), default=0)
            if self.sizes is not None else None,
            "jacobian_bytes": self.number(self.jacobian),
            "kernels": [self._kernel(k) for k in self.kernels],
            "symbolic": self.symbolic(),
            **({"unfused": {k: v for k, v in self.unfused.json().items() if k in COMPARED}} if self.unfused else {}),
            **self._estimate(),
        }

    def number(self, e: Expr | None) -> int | None:
        return None if e is None or self.sizes is None else value(e, self.sizes)

    def _bytes(self, what: Iterable[Buffer]) -> int | None:
        return None if self.sizes is None else self.buffers(what)

    def intensity(self, direction: str) -> float | None:
        """FLOPs for each byte."""
        moved, done = self._bytes(self.traffic(direction)), self.number(self.flops[direction])
        return round(done / moved, 3) if moved and done is not None else None

    def _kernel(self, k: KernelCost) -> dict[str, Any]:
        moved, done = self._bytes([*k.reads, *k.writes]), self.number(k.flops)
        row = {"name": k.name, "direction": k.direction, "plan": k.plan, "computes": list(k.computes), "flops": done,
               "bytes": moved, "intensity": round(done / moved, 3) if moved and done is not None else None}
        if self.gpu and moved is not None:
            row["estimated_seconds"] = seconds(done or 0, moved, self.plan.dtype, GPUS[self.gpu])
        return row

    def symbolic(self) -> dict[str, Any]:
        return {
            "flops": {d: text(self.flops[d], self.program) for d in PASSES},
            "bytes": {d: str(self._sum(self.traffic(d))) for d in PASSES},
            "saved_bytes": str(self._sum(self.saved)),
            "temporary_bytes": {d: greatest(self._sum(held) for held in self.temporaries(d)) for d in PASSES},
            "jacobian_bytes": text(self.jacobian, self.program),
            "jacobians": {f"d{o}/d{i}": text(n, self.program) for o, i, n in self.jacobians},
        }

    def _sum(self, what: Iterable[Buffer]) -> Sum:
        return collected((self.plan.item_bytes(b), b.count.replace("size_", "")) for b in what)

    def _estimate(self) -> dict[str, Any]:
        if not self.gpu or self.sizes is None:
            return {}
        gpu = GPUS[self.gpu]
        rows = [self._kernel(k) for k in self.kernels]
        total = {d: sum(r["estimated_seconds"] for r in rows if r["direction"] == d) for d in PASSES}
        return {"estimate": {"gpu": gpu.name, "source": gpu.source, "seconds": total,
                             "note": "an estimate from peak rates; no kernel reaches it"}}


def report(op: Operation, sizes: Mapping[str, int] | None = None, dtype: str = "float32",
           gpu: str | None = None, attention: str = "fused", scatter: str = "deterministic") -> Report:
    """Count an operation.

    Args:
        op: the formula.
        sizes: extents by letter; without all of them the report is symbolic only.
        dtype: float32, float64, float16 or bfloat16.
        gpu: one of `GPUS`, for a roofline estimate.
        attention, scatter: as `make_plan` takes them.

    Raises:
        ShapeError: a size contradicts the formula, or names no index.
    """
    d = op.derivation
    backward = d.backward if d.backward.outputs else None
    plan = make_plan(d.forward, backward, dtype, attention=attention, scatter=scatter)
    found = _counted(op, plan, sizes or {}, gpu)
    if any(k.plan == "attention" for k in found.kernels):
        plain = make_plan(d.forward, backward, dtype, attention="unfused", scatter=scatter)
        found = replace(found, unfused=_counted(op, plain, sizes or {}, gpu))
    return found


def _counted(op: Operation, plan: Plan, sizes: Mapping[str, int], gpu: str | None) -> Report:
    d = op.derivation
    known = _sizes(op.program, sizes)
    kernels = tuple(
        KernelCost(k.name, p.name, k.plan, k.computes, kernel_flops(k), *_moved(k, p))
        for p in plan.passes for k in p.kernels)
    names: dict[str, int] = {}
    if known is not None:
        for p in plan.passes:
            names.update({r.name: known[r.letter] for r in p.sizes if r.letter in known})
    jacobians = tuple((o, i, E.mul(product(d.forward.axes(o)), product(d.forward.axes(i))))
                      for o in d.forward.outputs for i in d.chain.wanted)
    counted = {"forward": flops(d.forward.statements), "backward": flops(d.backward.statements)}
    return Report(d.forward, plan, known, counted, kernels, jacobians, gpu, names)


def _moved(k: Kernel, p: Pass) -> tuple[tuple[Buffer, ...], tuple[Buffer, ...]]:
    """What a kernel reads and writes; of a buffer that it gathers from, the elements that it gathers."""
    sizes = {r.letter: r.name for r in p.sizes}
    places = gathered(k)
    reads, writes = moved(k)
    return tuple(replace(b, axes=tuple(sizes[e] for e in places[b.tensor]))
                 if b.tensor in places and all(e in sizes for e in places[b.tensor]) else b for b in reads), writes


def _sizes(program: Program, given: Mapping[str, int]) -> dict[str, int] | None:
    """Sizes of all extent classes, or None when some are missing."""
    letters = dict(program.letters)
    missing = {e for e in letters.values() if not e.startswith("=")} - {letters.get(n, "") for n in given}
    try:
        found = solve(program, {}, given)
    except ShapeError:
        if missing and all(n in letters for n in given):
            return None
        raise
    return found
