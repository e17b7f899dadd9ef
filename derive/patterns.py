"""Terms up to the names of their free indices.

`pattern(x)` replaces the free indices of a term by placeholders in order of occurrence, so that `X[b,s,d] − M[b,s]`
in the letters of one statement and in those of another are the same pattern, applied to different indices.
"""

from __future__ import annotations

from derive import expr as E
from derive.expr import Expr, Get, Index

Pattern = Expr


def occurrence(e: Expr) -> tuple[Index, ...]:
    """Free indices of `e`, in order of first occurrence."""
    seen: dict[Index, None] = {}
    done: set[Expr] = set()

    def walk(x: Expr) -> None:
        if x in done:
            return
        done.add(x)
        if isinstance(x, Index):
            if x in e.free:
                seen.setdefault(x)
            return
        for c in x.children:
            if c.free & e.free:
                walk(c)

    walk(e)
    return tuple(seen)


def pattern(e: Expr) -> tuple[Pattern, tuple[Index, ...]]:
    """The pattern of `e` and the indices that stand at its placeholders."""
    order = occurrence(e)
    names: dict[Expr, Expr] = {i: Index(f"?{n}", i.extent) for n, i in enumerate(order)}
    return E.substitute(e, names), order


class Names:
    """A table of named terms: looks a term up under any names of its free indices."""

    def __init__(self) -> None:
        self.table: dict[Pattern, tuple[str, tuple[int, ...]]] = {}
        self.shapes: set[int] = set()
        self.memo: dict[Expr, Get | None] = {}

    def define(self, e: Expr, name: str, indices: tuple[Index, ...]) -> bool:
        """Let `name[indices]` stand for `e`; False if the indices do not cover it or the pattern is taken."""
        p, order = pattern(e)
        if set(order) != set(indices) or p in self.table:
            return False
        self.table[p] = (name, tuple(order.index(i) for i in indices))
        self.shapes.add(e._shape)
        self.memo.clear()
        return True

    def find(self, e: Expr) -> Get | None:
        """`name[...]` for a term that has a name."""
        if e._shape not in self.shapes:
            return None
        if e not in self.memo:
            p, order = pattern(e)
            hit = self.table.get(p)
            self.memo[e] = None if hit is None else Get(hit[0], tuple(order[n] for n in hit[1]))
        return self.memo[e]
