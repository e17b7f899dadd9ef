"""What the kernels of a scatter need beyond a kernel's own fields."""

from __future__ import annotations

from dataclasses import dataclass

from derive.plan.ir import Block
from derive.plan.records import Packed, Shape, Text

CHUNK, TILE = 4096, 8  # places that a block sorts; rows that a block sums.  CHUNK*TILE is half of what 16 bits hold
FEW = 32  # places of a tile that a row's own line of threads adds up, as many as a running sum takes at a time
PART = 64  # neighbours in the order that are summed beforehand where they add to one row
SORTERS, SUMMERS = 1024, 256  # threads of a block
BLOCKS = 8192  # that sum: a few waves of a large GPU; they stride over more


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
    """A line of threads a row of a tile of few places; of other tiles a block each, which sums over the places of its
    rows, whole parts at once.  Then `after` for each element.

    `row` and `along` count the rows and what a row holds, `target` and `width` of them; `body` sets `value`, what one
    of the `places` adds.  A line's thread has `lanes` neighbours: `own_body` and `own_after`, each with what it needs
    of `head`, read and write `packs` and `own_packs`.
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
    own_body: Block
    own_after: Block
    lanes: int
    packs: tuple[Packed, ...]
    own_packs: tuple[Packed, ...]
