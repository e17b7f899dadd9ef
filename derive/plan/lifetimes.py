"""When each temporary of a pass is made and released: before the first kernel that touches it, and after the last;
and which kernels run early, so that it is released soon."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from derive.plan.records import Buffer, Kernel, Pass


@dataclass(frozen=True)
class Step:
    """A kernel, the temporaries that are made just before it, and those that nothing touches after it."""

    kernel: Kernel
    made: tuple[Buffer, ...]
    released: tuple[Buffer, ...]


def steps(p: Pass) -> tuple[Step, ...]:
    """The kernels of a pass in order, each with what it is the first or the last to touch."""
    first: dict[str, Kernel] = {}
    last: dict[str, Kernel] = {}
    for k in p.kernels:
        for b in (*k.reads, *k.writes):
            first.setdefault(b.name, k)
            last[b.name] = k
    return tuple(
        Step(k, *(tuple(b for b in p.temporaries if at.get(b.name) is k) for at in (first, last))) for k in p.kernels
    )


def alive(p: Pass) -> tuple[tuple[Buffer, ...], ...]:
    """The temporaries that there are while each kernel runs: memory for the largest of these sets is enough."""
    there: dict[str, Buffer] = {}
    found = []
    for step in steps(p):
        there |= {b.name: b for b in step.made}
        found.append(tuple(there.values()))
        for b in step.released:
            del there[b.name]
    return tuple(found)


def settled(groups: Sequence[Sequence[Kernel]], kept: Collection[str]) -> tuple[Kernel, ...]:
    """The kernels of all groups, where one that only uses a temporary up runs as soon as it is the last to want it.

    Such a group makes nothing that another reads, so that no lifetime is longer than before, whatever the sizes.

    Args:
        groups: kernels that belong together, in an order in which they can run.
        kept: names of the arguments and results, which are never released.
    """
    waiting = [_Group.of(g) for g in groups]
    out: list[Kernel] = []
    while waiting:
        early = (g for n, g in enumerate(waiting) if g.ends(waiting[:n], waiting[n + 1 :], kept))
        chosen = next(early, waiting[0])
        waiting.remove(chosen)
        out += chosen.kernels
    return tuple(out)


@dataclass(frozen=True)
class _Group:
    kernels: tuple[Kernel, ...]
    reads: frozenset[str]
    writes: frozenset[str]

    @classmethod
    def of(cls, kernels: Sequence[Kernel]) -> _Group:
        reads = frozenset(b.name for k in kernels for b in k.reads)
        writes = frozenset(b.name for k in kernels for b in k.writes)
        return cls(tuple(kernels), reads - writes, writes)

    def ends(self, before: Sequence[_Group], after: Sequence[_Group], kept: Collection[str]) -> bool:
        """Whether it can run before all of `before`, and a temporary ends with it."""
        if any(self.reads & g.writes or self.writes & (g.reads | g.writes) for g in before):
            return False
        wanted = frozenset[str]().union(*(g.reads | g.writes for g in (*before, *after)))
        return not self.writes & wanted and bool(self.reads - wanted - set(kept))
