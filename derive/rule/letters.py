"""Letters for bound indices, chosen when a term is written: the extent's own letter, or one that nobody uses."""

from __future__ import annotations

from collections.abc import Iterable

from derive import expr as E
from derive.expr import Expr, Index, Reduce, Softmax
from derive.program import Program

SPARE = "lkjmnpquvwxyzabcdefghirost"


class Letters:
    """Gives out letters; two sums side by side may get the same one, nested ones never do."""

    def __init__(self, program: Program):
        self.letters = dict(program.letters)
        self.names = program.names
        self.axes = {t.name: t.axes for t in program.inputs}
        self.axes |= {s.name: tuple(i.extent for i in s.indices) for s in program.statements}

        self.own = set(self.letters)

    def fixed(self, index: Index) -> bool:
        """Whether an index runs over a number of values that no letter of the formula tells."""
        return index.extent.startswith("=") and index.name not in self.own

    @property
    def sizes(self) -> dict[str, int]:
        """The letters given out so far whose extents are numbers that the formula does not state."""
        return {n: int(e[1:]) for n, e in self.letters.items() if n not in self.own and e.startswith("=")}

    def choose(self, index: Index, scope: frozenset[str]) -> Index:
        """An index of the same extent whose name is not in scope."""
        own = [n for n, e in self.letters.items() if e == index.extent]
        spare = [c for c in SPARE if c not in self.letters and c not in self.names]
        for name in [*own, *spare, *(f"i{n}" for n in range(1, 1000))]:
            if name not in scope:
                self.letters.setdefault(name, index.extent)  # from now on the letter means this extent
                return Index(name, index.extent)
        raise AssertionError("no letter left")

    def opened(self, e: Reduce | Softmax, scope: frozenset[str]) -> tuple[tuple[Index, ...], Expr]:
        """Bound letters for writing, and the body in them."""
        taken = scope | {i.name for i in e.body.free}
        letters: list[Index] = []
        for i in e.indices:
            letters.append(self.choose(i, frozenset(taken)))
            taken = taken | {letters[-1].name}
        values: dict[Expr, Expr] = dict(zip(e.indices, letters, strict=True))
        return tuple(letters), E.substitute(e.body, values)

    def parts(self, e: E.Get) -> list[bool]:
        """Which subscripts are letters that run over a part of their axis only, as of `A[1*l]`."""
        axes = self.axes.get(e.tensor)
        return [axes is not None and isinstance(s, Index) and s.extent != axes[n] for n, s in enumerate(e.subs)]

    def in_part(self, e: Expr) -> bool:
        """Whether `e` has such an access, which reads no whole array."""
        return any(any(self.parts(x)) for x in E.subterms(e) if isinstance(x, E.Get))

    def of_extent(self, extent: str) -> str:
        """A letter that stands for an extent, as in `size(d)`; an axis without one gets the first spare letter."""
        return self.another(extent, ())

    def another(self, extent: str, taken: Iterable[str]) -> str:
        """A letter of an extent that is not among `taken`."""
        used = set(taken)
        found = next((n for n, e in self.letters.items() if e == extent and n not in used), None)
        if found is None:
            found = next(c for c in SPARE if c not in self.letters and c not in self.names)
            self.letters[found] = extent
        return found


def visible_means(parts: list[Expr]) -> tuple[list[Reduce], list[Expr]]:
    """Sums divided by exactly the sizes they run over, and the other factors."""
    means: list[Reduce] = []
    left = list(parts)
    for f in parts:
        if isinstance(f, Reduce) and f.op == "sum":
            sizes = [E.power(E.Size(i.extent), E.MINUS_ONE) for i in f.indices]
            if len(set(sizes)) == len(sizes) and all(s in left for s in sizes):
                for x in (*sizes, f):
                    left.remove(x)
                means.append(f)
    return means, left
