"""What the kernels of a scatter need beyond a kernel's own fields."""

from __future__ import annotations

from dataclasses import dataclass

from derive.plan.ir import Block, Scalar
from derive.plan.records import Shape, Text

CHUNK, PART = 4096, 256  # places that a block sorts, and that are summed together where they add to one row


@dataclass(frozen=True)
class Rows(Shape):
    """The row that each place adds to, and the places of each chunk sorted by it; `body` sets `row` from `place`."""

    place: str
    count: Text
    body: Block
    row: str
    rows: str
    order: str


@dataclass(frozen=True)
class Merge(Shape):
    """Sorted runs of `width` places become runs of twice that."""

    count: Text
    rows: str
    order: str
    into: str


@dataclass(frozen=True)
class Starts(Shape):
    """Where the places of each row start in the sorted order; one more row ends the last."""

    count: Text
    length: Text
    rows: str
    order: str
    starts: str


@dataclass(frozen=True)
class Parts(Shape):
    """Sums of places in a row of the sorted order that all add to one row of the result, so that no thread sums up a
    long one alone.

    `along` counts the free indices, `width` of them; `body` adds a place, of `places` in all, to `total`.
    """

    places: Text
    elements: Text
    target: Text
    width: Text
    along: str
    head: Block
    place: str
    body: Block
    total: str
    rows: str
    order: str
    parts: str


@dataclass(frozen=True)
class Scatter(Shape):
    """One thread an element: the sum over the places of its row, whole parts at once; then `after`."""

    counter: str
    count: Text
    head: Block
    row: Scalar
    along: Scalar
    width: Text
    place: str
    body: Block
    total: str
    after: Block
    order: str
    starts: str
    parts: str
