"""`profile`: counters of each kernel beside the bytes that it must move, and why there are more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from derive.cost import report
from derive.emulator.count import SECTOR, Area, Counters
from derive.operation import Operation
from derive.plan import make_plan
from derive.plan.names import clean
from derive.plan.records import Kernel, Pass
from derive.profile.drive import FILL, Profiled, Run, default_sizes
from derive.profile.usage import Target, target, usages
from derive.validate.data import Drawer
from derive.validate.formula import read

PASSES = {"forward": ("forward",), "backward": ("backward",), "both": ("forward", "backward")}


def _ratio(device: int, must: int) -> float | None:
    if must == 0:
        return None if device else 1.0
    return round(device / must, 4)


@dataclass(frozen=True)
class Launched:
    """One launch.

    Attributes:
        direction: of its pass.
        kernel: of the plan; None for a fill.
        must_bytes: each buffer that it reads once, each that it writes once.
        targets: by architecture; none without NVRTC.
    """

    direction: str
    counters: Counters
    kernel: Kernel | None
    must_bytes: int
    flops: int | None
    targets: Mapping[str, Target] = field(default_factory=dict)

    @property
    def buffers(self) -> tuple[Area, ...]:
        return tuple(a for a in self.counters.areas if not a.shared)

    @property
    def shared_bytes(self) -> int:
        return sum(a.size for a in self.counters.areas if a.shared)

    def json(self) -> dict[str, Any]:
        c = self.counters
        registers = [t.registers for t in self.targets.values()]
        spills = [t.spill_bytes for t in self.targets.values()]
        return {
            "name": c.kernel,
            "pass": self.direction,
            "plan": self.kernel.plan if self.kernel else None,
            "computes": list(self.kernel.computes) if self.kernel else [],
            "grid": list(c.grid),
            "block": list(c.block),
            **_memory(self.must_bytes, [self]),
            "barriers": c.barriers,
            "flops": self.flops,
            "shared_bytes": self.shared_bytes,
            "registers": max(registers) if registers else None,
            "spill_bytes": max(spills) if spills else None,
            "targets": {name: asdict(t) for name, t in self.targets.items()},
            "buffers": [{"name": a.name, "bytes": a.size, "loaded": a.loaded, "stored": a.stored,
                         "device_read": SECTOR * a.sectors_read, "device_written": SECTOR * a.sectors_written}
                        for a in self.buffers],
        }


def _memory(must: int, launches: list[Launched]) -> dict[str, Any]:
    """What one launch and several have in common."""
    counters = [x.counters for x in launches]
    requested, device = sum(c.requested_bytes for c in counters), sum(c.device_bytes for c in counters)
    sectors = SECTOR * sum(c.load_sectors + c.store_sectors for c in counters)
    wanted = sum(s.wanted for c in counters for s in c.sites)
    return {
        "must_bytes": must,
        "requested_bytes": requested,
        "device_bytes": device,
        "ratio": _ratio(device, must),
        "sector_bytes": sectors,
        "coalescing": round(wanted / sectors, 4) if sectors else 1.0,
        "bank_conflicts": sum(c.bank_conflicts for c in counters),
    }


@dataclass(frozen=True)
class Profile:
    """An operation's launches.

    Attributes:
        sizes: extents by letter.
        must_bytes: by pass, each argument that a kernel reads once and each result that is no alias once.
        why: what makes device bytes more than must bytes, a sentence each.
    """

    op: str
    dtype: str
    sizes: Mapping[str, int]
    launches: tuple[Launched, ...]
    must_bytes: Mapping[str, int]
    why: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """What `derive profile --json` prints."""
        flops = [x.flops for x in self.launches if x.kernel]
        total = {
            **_memory(sum(self.must_bytes.values()), list(self.launches)),
            "launches": len(self.launches),
            "barriers": sum(x.counters.barriers for x in self.launches),
            "flops": None if None in flops else sum(n for n in flops if n is not None),
            "passes": {d: _memory(n, [x for x in self.launches if x.direction == d])
                       for d, n in self.must_bytes.items()},
            "why": list(self.why),
        }
        return {"op": self.op, "dtype": self.dtype, "sizes": dict(self.sizes),
                "kernels": [x.json() for x in self.launches], "total": total}


def profile(op: Operation, sizes: Mapping[str, int] | None = None, dtype: str = "float32", direction: str = "backward",
            data: Mapping[str, str] | None = None, attention: str = "fused", scatter: str = "deterministic") -> Profile:
    """Run an operation's kernels in count mode.

    Args:
        op: the formula.
        sizes: extents by letter; moderate powers of two for the others.
        dtype: float32, float64, float16 or bfloat16.
        direction: backward, forward or both.
        data: input -> `positive`, `unit` or `negative`, where normal numbers would not do.
        attention, scatter: as `make_plan` takes them.

    Raises:
        DeriveError: a size contradicts the formula, or there is no C++ compiler.
    """
    d = op.derivation
    plan = make_plan(d.forward, d.backward if d.backward.outputs else None, dtype, attention=attention, scatter=scatter)
    drawer = Drawer(read(op.text), data or {}, sizes or {})
    sample = drawer.sample(default_sizes(drawer) | dict(sizes or {}))
    emitted = Profiled(op.name, d.forward, plan)
    emitted.run(sample)
    known = {x: n for x, n in sample.extents.items() if x in dict(op.program.letters)}
    counted = report(op, known, dtype, attention=attention, scatter=scatter)
    flops = {k.name: counted.number(k.flops) for k in counted.kernels}
    targets = usages(op.name, plan) or {}
    launches: list[Launched] = []
    must: dict[str, int] = {}
    why: list[str] = []
    for p in plan.passes:
        if p.name not in PASSES[direction]:
            continue
        run, kernels = emitted.runs[p.name], {k.name: k for k in p.kernels}
        mine = []
        for c in run.launches:
            k = kernels.get(c.kernel)
            threads = c.block[0] * c.block[1] * c.block[2]
            one = Launched(p.name, c, k, _must_of(k, c), flops.get(c.kernel))
            used = {u.architecture: target(u, threads, one.shared_bytes) for u in targets.get(c.kernel, ())}
            mine.append(Launched(one.direction, c, k, one.must_bytes, one.flops, used))
        must[p.name] = _must(p, run)
        why += _why(p, mine)
        launches += mine
    return Profile(clean(op.name), dtype, dict(sorted(sample.extents.items())), tuple(launches), must, tuple(why))


def _must_of(k: Kernel | None, counters: Counters) -> int:
    """A kernel's buffers, read once and written once; those of it that it did not touch are not there."""
    sizes = {n: a.size for a in counters.areas if not a.shared for n in a.name.split("/")}
    if k is None:
        return sum(sizes.values())
    reads, writes = {b.name for b in k.reads}, {b.name for b in k.writes}
    return sum(sizes.get(n, 0) for names in (reads, writes) for n in names)


def _must(p: Pass, run: Run) -> int:
    """A pass's arguments and results; what no launch reads is not needed, what is an argument itself moves nothing."""
    launched = {c.kernel for c in run.launches}
    read = {b.name for k in p.kernels if k.name in launched for b in k.reads}
    aliases = {result for result, _ in p.aliases}
    return sum(run.bytes[n] for n in
               {b.name for b in p.arguments if b.name in read}
               | {b.name for b in p.results if b.name not in aliases and b.tensor not in aliases})


def _why(p: Pass, launches: list[Launched]) -> list[str]:
    """Arguments that several kernels read, buffers between kernels, sectors fetched for a part of them."""
    said = []
    own = {b.name for b in (*p.arguments, *p.results)}
    readers: dict[str, list[Launched]] = {}
    between: dict[str, int] = {}
    for x in launches:
        for a in x.buffers:
            names = a.name.split("/")
            for n in names:
                if a.sectors_read and n in own:
                    readers.setdefault(n, []).append(x)
            if not own & set(names):
                label = f"{x.counters.kernel}'s {a.name}" if a.name == FILL else a.name
                between[label] = between.get(label, 0) + a.device_bytes
            moved, held = a.device_bytes, a.size * ((a.sectors_read > 0) + (a.sectors_written > 0))
            if moved > 1.05 * held + 64:
                said.append(f"{x.counters.kernel} moves {moved} bytes of {a.name}, which has {a.size}")
            if a.sectors_read and a.sectors_written and n in own:
                said.append(f"{x.counters.kernel} both reads and writes {a.name} ({a.size} bytes)")
    for n, found in readers.items():
        if len(found) > 1:
            size = next(a.size for a in found[0].buffers if n in a.name.split("/"))
            said.append(f"{n} ({size} bytes) is read by {' and '.join(x.counters.kernel for x in found)}")
    said += [f"{n} between kernels: {size} bytes" for n, size in between.items() if size]
    return said
