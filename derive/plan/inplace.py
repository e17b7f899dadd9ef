"""Which gradient may be written where an argument of the backward stands.

It may if no kernel reads the argument from the moment the gradient is first written; or if the one kernel that writes
the gradient reads the argument only in the very element that a thread writes, before it writes it, and no kernel reads
it later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from derive.plan import ir
from derive.plan.ir import Local, Scalar
from derive.plan.records import Buffer, Kernel, Nest, Pass, Row


def in_place(backward: Pass, added: Collection[str] = ()) -> tuple[tuple[str, str], ...]:
    """(gradient, argument) for each pair that may share memory, one argument for one gradient at a time.

    Args:
        backward: the pass.
        added: gradients that are zeroed before any kernel runs, and then added to by atomics.
    """
    return tuple(
        (r.name, a.name)
        for r in backward.results
        if r.tensor not in added
        for a in backward.arguments
        if (a.axes, a.dtype) == (r.axes, r.dtype) and _may_share(backward, r, a)
    )


def shares(kernel: Kernel, pairs: tuple[tuple[str, str], ...]) -> frozenset[str]:
    """The arrays of a kernel that may be one array, so that it must not promise the compiler otherwise."""
    reads, writes = {b.name for b in kernel.reads}, {b.name for b in kernel.writes}
    return frozenset(n for pair in pairs if pair[0] in writes and pair[1] in reads for n in pair)


def _may_share(p: Pass, gradient: Buffer, argument: Buffer) -> bool:
    writers = [n for n, k in enumerate(p.kernels) if gradient in k.writes]
    later = [k for k in p.kernels[writers[0] :] if argument in k.reads] if writers else []
    if not later:
        return bool(writers)
    return later == [p.kernels[writers[-1]]] and len(writers) == 1 and _own_element(later[0], gradient, argument)


def _own_element(kernel: Kernel, gradient: Buffer, argument: Buffer) -> bool:
    """Whether each thread reads the argument only where it then writes the gradient."""
    shape = kernel.shape
    own: list[ir.Block] = []  # where a thread has elements of its own
    if isinstance(shape, Nest):
        own = [shape.body]
    elif isinstance(shape, Row):
        own = [phase.body for phase in shape.phases]
        common = [shape.head, *(phase.after for phase in shape.phases)]
        if any(True for b in common for _ in _touched(b, {}, gradient.name, argument.name)):
            return False
    touched = [t for b in own for t in _touched(b, {}, gradient.name, argument.name)]
    stores = [n for n, (what, _) in enumerate(touched) if what == gradient.name]
    return stores == [len(touched) - 1] and all(place == touched[-1][1] for _, place in touched)


def _touched(block: ir.Block, known: dict[str, Scalar], gradient: str, argument: str) -> Iterator[tuple[str, Scalar]]:
    """Reads of the argument and writes of the gradient in order, each with its place in terms of the kernel's own
    counters."""
    known = dict(known)
    for n, s in enumerate(block):
        for value in ir.scalars(s):
            yield from ((argument, _resolved(x.offset, known)) for x in _loads(value) if x.buffer == argument)
        if isinstance(s, ir.Let):
            known[s.name] = _resolved(s.value, known)
        elif isinstance(s, ir.For):
            known[s.index] = Local(ir.INT, f"{s.index} of loop {n} of {len(known)}")
        elif isinstance(s, ir.Store) and s.buffer == gradient:
            yield gradient, _resolved(s.offset, known)
        for inner in ir.blocks(s):
            yield from _touched(inner, known, gradient, argument)


def _loads(value: Scalar) -> Iterator[ir.Load]:
    if isinstance(value, ir.Load):
        yield value
    for part in ir.scalars(value):
        yield from _loads(part)


def _resolved(value: Scalar, known: dict[str, Scalar]) -> Scalar:
    """`value` with locals replaced by what they stand for."""
    if isinstance(value, Local):
        return known.get(value.name, value)
    if isinstance(value, ir.Binary):
        return ir.Binary(value.kind, value.op, _resolved(value.left, known), _resolved(value.right, known))
    if isinstance(value, ir.Apply):
        return ir.Apply(value.kind, value.fn, tuple(_resolved(a, known) for a in value.args))
    return value
