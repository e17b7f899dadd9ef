"""What the template of contractions asks beyond a printer of scalars and statements."""

from __future__ import annotations

from derive.emit.cuda import NARROW, STORAGE, WIDEN, Printer
from derive.plan import ir
from derive.plan.tiles import Contraction, Run

BYTES = {"float": 4, "double": 8, "__half": 2, "__nv_bfloat16": 2}


class TilePrinter(Printer):
    """Prints how tiles are loaded, multiplied and stored."""

    def storage(self, dtype: str) -> str:
        return STORAGE[dtype]

    def element_of(self, buffer: str) -> str:
        return self.element(self.buffers[buffer])

    def lanes(self, buffer: str) -> int:
        """Elements in 16 bytes."""
        return 16 // BYTES[self.element_of(buffer)]

    def place(self, run: Run) -> str:
        """Where an element is: `X + n*size_i + i`."""
        return run.buffer if run.offset == ir.integer(0) else f"{run.buffer} + {self.scalar(run.offset, 5)}"

    def narrow_to(self, dtype: str, value: str) -> str:
        return f"{NARROW[dtype]}({value})"

    def widen_from(self, buffer: str, value: str) -> str:
        """An element of a buffer as a float."""
        return f"{WIDEN[self.dtype]}({value})" if self.buffers[buffer].dtype == "T" else value

    def products(self, shape: Contraction) -> list[tuple[str, str]]:
        """Pairs of tiles to multiply; the product of two rests is too small to count."""
        left, right = (s.tiles for s in shape.sides)
        return [(a, b) for n, a in enumerate(left) for m, b in enumerate(right) if n + m < 2]

    def as_it_is(self, shape: Contraction) -> bool:
        """Whether all that is done with results is to store them, without rounding."""
        match shape.after, shape.packs:
            case (ir.Store(value=ir.Local(name=name), accumulate=False),), (pack,) if name == shape.total:
                return self.element(pack.buffer) == self.compute
        return False

    def chunk_row(self, shape: Contraction) -> str:
        """Where a row of a chunk's results begins among all chunks."""
        outer = "blockIdx.y" if shape.batches == "1" else f"(blockIdx.y*({shape.batches}) + {shape.batch})"
        return f"({outer}*rows + {shape.m})*columns"


def tile_helpers(shapes: list[Contraction]) -> set[str]:
    """Which of the helpers for tiles the contractions use."""
    found = set()
    for shape in shapes:
        found |= {"read"} if any(s.run for s in shape.sides) else set()
        found |= {"Tile"} if shape.tensor else set()
        found |= {"split"} if any(s.parts > 1 for s in shape.sides) else set()
    return found


def tile_headers(shapes: list[Contraction]) -> tuple[str, ...]:
    """The header of bfloat16, where a tile is made of it."""
    return ("cuda_bf16.h",) if any(s.element == "bfloat16" for s in shapes) else ()
