"""What the template of a contraction fills in: two sides, loaded a tile at a time, and what is done with a tile of
results."""

from __future__ import annotations

from dataclasses import dataclass

from derive import expr as E
from derive.expr import Expr, Get, Index, Where
from derive.plan.ir import Block, Scalar
from derive.plan.records import Buffer, Nest, Packed, Shape, Text

TILE = 64  # results of a block, each way


@dataclass(frozen=True)
class Run:
    """Neighbours in memory: along the tile or along the sum, an element's place is `buffer + offset`, and the next
    one's is the next; `offset` is that of the element itself."""

    buffer: str
    offset: Scalar


@dataclass(frozen=True)
class Side:
    """One factor of a contraction, as a tile of it is loaded.

    Attributes:
        tile: the shared array.
        index: counter along the tile; `first` and `limit` are where the tile starts and where the side ends.
        body: statements that end in `value = ...`, an element.
        along: whether memory runs along the sum.
        run: where the elements lie, if neighbours along the tile or the sum are neighbours in memory.
        parts: how many 16-bit numbers a tile keeps of each element, for tensor cores.
    """

    tile: str
    index: str
    first: str
    limit: str
    body: Block
    along: bool
    run: Run | None
    parts: int

    @property
    def whole(self) -> str:
        """The local that says whether the run can be read 16 bytes at a time."""
        return f"whole_{self.tile[0].lower()}"

    @property
    def tiles(self) -> tuple[str, ...]:
        """The shared arrays: what 16 bits hold of each element, and the rest."""
        return (self.tile, f"{self.tile}_rest")[: self.parts]


@dataclass(frozen=True)
class Contraction(Shape):
    """C[batch, m, n] = Σ_k A[batch, m, k]·B[batch, n, k] in tiles; the two sides are any expressions.

    Attributes:
        batch, batches: counter over the batch axes, and how many they are; likewise m, n and k.
        head: batch indices from their counter; `across` is what a row of results needs beyond.
        sides: A and B.
        element: dtype of a tile's elements in shared memory.
        tensor: whether the products are taken by tensor cores.
        total: local of a result; `after` is what is done with it, one of `lanes` neighbours that a thread has.
        packs: what `after` reads and writes of them where they lie in one piece.
        partial: where chunks of a long sum go, if it may be split.
    """

    batch: str
    batches: Text
    m: str
    rows: Text
    n: str
    columns: Text
    k: str
    length: Text
    head: Block
    sides: tuple[Side, Side]
    element: str
    tensor: bool
    total: str
    across: Block
    after: Block
    lanes: int
    packs: tuple[Packed, ...]
    partial: Buffer | None


@dataclass(frozen=True)
class Chunks(Nest):
    """The second kernel of a contraction that was split: adds up the chunks of each result, in order."""


def run_of(e: Expr, inner: tuple[Index, ...], own: tuple[Index, ...]) -> tuple[Get, bool] | None:
    """The access that `e` is, and whether neighbours in memory are neighbours along `inner` (else along `own`).

    Its last subscripts are all of `inner` or all of `own`, in order, and the others none of these.
    """
    if not isinstance(e, Get) or not all(isinstance(s, Index) for s in e.subs):
        return None
    for indices, along in ((inner, True), (own, False)):
        n = len(indices)
        if n and e.subs[-n:] == indices and not set(e.subs[:-n]) & set(indices):
            return e, along
    return None


def exact(e: Expr, narrow: frozenset[str]) -> bool:
    """Whether every value of `e` is one that stands in a tensor of `narrow`, or 0."""
    if isinstance(e, Where):
        return exact(e.then, narrow) and exact(e.other, narrow)
    return e is E.ZERO or (isinstance(e, Get) and e.tensor in narrow)
