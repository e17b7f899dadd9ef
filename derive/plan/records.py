"""The plan: what `derive.emit` prints and `derive.run` drives.  Frozen records of ints and strings, but for
the statements that a kernel carries out."""

from __future__ import annotations

from dataclasses import dataclass, field

from derive.dtypes import ITEM
from derive.plan.ir import Block, Scalar
from derive.program import Statement

#: A size expression in Python and C syntax over size names, as `size_b*size_s`.
Text = str


@dataclass(frozen=True)
class Buffer:
    """An array in device memory.

    Attributes:
        name: how emitted text calls it.
        tensor: how the formula calls it.
        axes: size name of each axis, outermost first.
        dtype: `T` (the operation's), `compute` (what sums are kept in), `ids` (an integer tensor), `short` (16 bits, no
            sign).
        role: input, output, saved, cotangent, gradient, temporary, or scratch: what kernels of one group share.
    """

    name: str
    tensor: str
    axes: tuple[str, ...]
    dtype: str
    role: str

    @property
    def count(self) -> Text:
        return "*".join(self.axes) or "1"


@dataclass(frozen=True)
class Launch:
    """Grid, block and bytes of dynamic shared memory, as Python expressions over size names.

    `needed`: a condition without which there is nothing to launch.
    """

    grid: tuple[Text, Text, Text]
    block: tuple[Text, Text, Text]
    shared: Text = "0"
    needed: Text = ""


@dataclass(frozen=True)
class Kernel:
    """One `__global__` function.

    Attributes:
        name: its name in the emitted text.
        plan: entry of the menu: pointwise, row, column, total, contraction, scatter, nest.
        computes: the statements it carries out, spelled in the notation.
        reads, writes: buffers, in the order of the arguments.
        sizes: integer arguments, in order; each is a size name, or `name=expression` for a derived one.
        shape: what its template needs beyond this.
        launch: grid and block.
        accumulates: whether it takes the flag that adds to its gradients.
        statements: those of `computes` themselves, for who counts them; a kernel that adds up partial results has none.
    """

    name: str
    plan: str
    computes: tuple[str, ...]
    reads: tuple[Buffer, ...]
    writes: tuple[Buffer, ...]
    sizes: tuple[str, ...]
    shape: Shape
    launch: Launch
    accumulates: bool = False
    statements: tuple[Statement, ...] = ()


@dataclass(frozen=True)
class Shape:
    """The part of a kernel that its template fills in."""


@dataclass(frozen=True)
class Nest(Shape):
    """One thread an element, or `lanes` neighbours: `body` runs for each value of `counter` below `count`.

    `packs` are buffers that `body` reads or writes at `counter`, and the local that holds their lanes.
    """

    counter: str
    count: Text
    body: Block
    lanes: int = 1
    packs: tuple[tuple[Buffer, str], ...] = ()


@dataclass(frozen=True)
class Packed:
    """A buffer that a loop over neighbours reads or writes at `offset`, `start` and the element: `local` holds a run.

    `adds`: it may be added to what is there.  `again`: it is read where the row is not kept.
    """

    buffer: Buffer
    start: Scalar
    offset: Scalar
    local: str
    write: bool
    adds: bool
    again: bool


@dataclass(frozen=True)
class Phase:
    """One loop over a row: `body` adds to `totals` (local, op); `after` runs when the threads have combined."""

    totals: tuple[tuple[str, str], ...]
    body: Block
    after: Block
    packs: tuple[Packed, ...] = ()


@dataclass(frozen=True)
class Row(Shape):
    """A row a group of threads: counter and number of rows, counter and number of elements, what comes before.

    Attributes:
        lanes: neighbouring elements that a thread takes at a time.
        kept: (array in shared memory, what stands there) for each access to a row that several phases make.
        columns: (array in shared memory, op, buffer of partial results) for each sum over rows.
    """

    row: str
    rows: Text
    element: str
    count: Text
    head: Block
    phases: tuple[Phase, ...]
    kept: tuple[tuple[str, str], ...] = ()
    columns: tuple[tuple[str, str, str], ...] = ()
    lanes: int = 1


@dataclass(frozen=True)
class Column(Shape):
    """Columns: each chunk of rows is reduced by a block; `after` runs when its threads have combined.

    A thread takes `lanes` neighbouring columns; where these are several, `parts` are its arrays of running values.
    """

    column: str
    columns: Text
    row: str
    rows: Text
    head: Block
    body: Block
    totals: tuple[tuple[str, str], ...]  # (local, op)
    after: Block
    lanes: int = 1
    packs: tuple[Packed, ...] = ()
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Total(Shape):
    """Everything: threads stride over the elements, `lanes` neighbours at a time; `after` runs once a block, when its
    threads have combined."""

    element: str
    count: Text
    head: Block
    body: Block
    totals: tuple[tuple[str, str], ...]
    after: Block
    lanes: int = 1
    packs: tuple[Packed, ...] = ()


@dataclass(frozen=True)
class SizeRule:
    """How the wrapper finds a size: from an axis of an argument, or as an expression over earlier ones.

    `source` is (argument, axis); `formula` a Python expression; with neither it must be given by keyword.
    """

    name: str
    letter: str
    source: tuple[str, int] | None = None
    formula: str | None = None


@dataclass(frozen=True)
class Label:
    """What a wrapper checks of integer tensors: `value` is from 0 below `size` wherever `mask` holds ("" is always).

    Attributes:
        arrays: the buffers that value and mask are made of, element by element.
        place: what is addressed, for the message.
    """

    arrays: tuple[str, ...]
    value: Text
    mask: Text
    size: Text
    place: str


@dataclass(frozen=True)
class Pass:
    """The forward or the backward: arguments in, results out, kernels in order."""

    name: str
    arguments: tuple[Buffer, ...]
    results: tuple[Buffer, ...]
    temporaries: tuple[Buffer, ...]
    kernels: tuple[Kernel, ...]
    sizes: tuple[SizeRule, ...]
    aliases: tuple[tuple[str, str], ...] = ()  # (result, argument) where the result is the argument itself
    labels: tuple[Label, ...] = ()
    added: tuple[str, ...] = ()  # gradients that later kernels read: to be added to given arrays at the end


@dataclass(frozen=True)
class Contract:
    """What an operation promises (design: saved, recomputed, accumulation, determinism, traffic, work)."""

    saved: tuple[str, ...] = ()
    recomputed: tuple[str, ...] = ()
    in_place: tuple[tuple[str, str], ...] = ()  # (gradient, argument) that may share memory
    accumulation: str = "float32"
    deterministic: bool = True
    atomics: tuple[str, ...] = ()  # tensors that atomics add up: their bits vary from run to run
    index_width: str = "32-bit, 64-bit when a tensor has 2^30 elements or more"
    bytes_forward: Text = "0"
    bytes_backward: Text = "0"
    flops_forward: Text = "0"
    flops_backward: Text = "0"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything about an operation that is emitted.

    Attributes:
        dtype: float32, float64, float16 or bfloat16.
        formula: the forward as the user wrote it.
        forward, backward: the two passes; an operation without gradients has no backward.
        contract: what it promises.
    """

    dtype: str
    formula: str
    forward: Pass
    backward: Pass | None
    contract: Contract = field(default_factory=Contract)

    @property
    def passes(self) -> tuple[Pass, ...]:
        return (self.forward,) if self.backward is None else (self.forward, self.backward)

    @property
    def compute(self) -> str:
        return "double" if self.dtype == "float64" else "float"

    def item_bytes(self, b: Buffer) -> int:
        """Bytes of one element of a buffer; integer tensors count as int64."""
        return {"T": ITEM[self.dtype], "compute": max(4, ITEM[self.dtype]), "ids": 8, "short": 2}[b.dtype]
