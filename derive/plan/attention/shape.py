"""What the templates of attention kernels fill in."""

from __future__ import annotations

from dataclasses import dataclass

from derive.plan.ir import Block, names_in
from derive.plan.records import Shape, Text


@dataclass(frozen=True)
class Product:
    """A tile product `name[own, other] = Σ_k f[own, k]·g[other, k]`, kept in registers.

    `*_fast` says that memory runs along k on that side.
    """

    name: str
    k: str
    length: Text
    own: Block
    other: Block
    own_fast: bool
    other_fast: bool


@dataclass(frozen=True)
class Output:
    """`acc[own, column] = Σ_other weight[own, other]·operand[other, column]`; `after` stores it as `total`."""

    acc: str
    column: str
    columns: Text
    operand: Block
    fast: bool
    total: str
    after: Block


@dataclass(frozen=True)
class Weight:
    """A value of each (own, other) pair and the products that it enters; `value` ends in `value = ...`.

    `totals` are sums of it along `other` alone: (running values, the sum, what stores it); `paired` sums over turns
    that keep a value for each pair, for which a block has one tile of `other` only.
    """

    name: str
    value: Block
    outputs: tuple[Output, ...]
    totals: tuple[tuple[str, str, Block], ...] = ()
    paired: tuple[tuple[str, str, Block], ...] = ()


@dataclass(frozen=True)
class Attention(Shape):
    """A tile of rows `own` a block, in a loop over tiles of `other`.

    Attributes:
        side: places along a side of a tile.
        batch, batches: counter over leading indices.
        own, rows: the index that the block's tile runs along, and its extent.
        other, length: the index that the loop runs along, and its extent.
        head: leading indices from the counter.
        turn, turns: counter of a further loop, over the heads of a group; empty when there is none.
        inner: what that loop computes first; `guard` is the local that says whether a turn counts, or empty.
        bounds: statements that narrow `begin` and `stop`, between which `other` runs.
        products: tile products, scores first.
        pair: the statements of a pair of places that all weights share.
        weights: what is made of each pair.
        online: whether the weights are a softmax that is normalised on the way; `norm` then stores the
            log-sum-exp of a row, which stands in the local `lse`.
        stores: statements that store the value of each pair.
        wide: whether blocks share the columns of outputs, or the tiles of `other`, between them.
    """

    side: int
    batch: str
    batches: Text
    own: str
    rows: Text
    other: str
    length: Text
    head: Block
    turn: str
    turns: Text
    inner: Block
    guard: str
    bounds: Block
    products: tuple[Product, ...]
    pair: Block
    weights: tuple[Weight, ...]
    online: bool
    norm: Block
    lse: str
    stores: Block
    wide: bool

    @property
    def outputs(self) -> tuple[Output, ...]:
        return tuple(o for w in self.weights for o in w.outputs)

    @property
    def totals(self) -> tuple[tuple[str, str, Block], ...]:
        return tuple(t for w in self.weights for t in w.totals)

    @property
    def uses_last(self) -> bool:
        return "last" in names_in(self.bounds)

    @property
    def paired(self) -> tuple[tuple[str, str, Block], ...]:
        return tuple(t for w in self.weights for t in w.paired)
