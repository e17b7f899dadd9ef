"""What the kernels of a scatter need beyond a kernel's own fields."""

from __future__ import annotations

from dataclasses import dataclass

from derive.plan.ir import Block
from derive.plan.records import Shape, Text

CHUNK, TILE = 4096, 8  # places that a block sorts; rows that a block sums.  CHUNK*TILE is half of what 16 bits hold
PART = 64  # neighbours in the order that are summed beforehand where they add to one row
SORTERS, SUMMERS = 1024, 256  # threads of a block


@dataclass(frozen=True)
class Order(Shape):
    """The places of each chunk sorted by row; `body` sets `row` of a `place` that adds to one of `target` rows.

    An entry of `order` is, from the lowest bit on, the place in its chunk, the row in its tile, and whether a part
    begins here.  `starts` says, for each chunk, where each tile starts in it; one more tile ends the last.
    """

    count: Text
    target: Text
    place: str
    body: Block
    row: str
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
    width: Text
    along: str
    head: Block
    place: str
    body: Block
    total: str
    order: str
    parts: str


@dataclass(frozen=True)
class Scatter(Shape):
    """A block a tile of rows: it sums over the places of its rows, whole parts at once; then `after` for each element.

    `row` and `along` count the rows and what a row holds, `target` and `width` of them; `body` sets `value`, what one
    of the `places` adds.
    """

    count: Text
    target: Text
    places: Text
    width: Text
    row: str
    along: str
    head: Block
    place: str
    body: Block
    value: str
    total: str
    after: Block
    order: str
    starts: str
    parts: str
