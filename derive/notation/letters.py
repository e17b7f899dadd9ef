"""Which index letters share an extent: those that address the same axis of a tensor, over the whole program."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass, field

from derive.notation.source import Line

MOST_AXES = 32  # as in NumPy 1 and CuPy


@dataclass
class Letters:
    """Union-find over letters and tensor axes, filled by `note` and read by `extent` and `axes`."""

    fixed: dict[str, int] = field(default_factory=dict)  # letters whose size the formula states
    parent: dict[str, str] = field(default_factory=dict)
    order: dict[str, None] = field(default_factory=dict)  # letters by first appearance
    rank: dict[str, tuple[int, Line, ast.AST]] = field(default_factory=dict)  # tensor -> number of axes, first use
    divided: list[tuple[str, Line, ast.AST]] = field(default_factory=list)  # tensors under // and %, and where
    placed: set[str] = field(default_factory=set)  # parameters in subscripts: numbers, wherever they stand

    def letter(self, name: str) -> None:
        self.order.setdefault(name)
        self.parent.setdefault(name, name)

    def note(self, line: Line, node: ast.AST, tensor: str, subs: list[str | None]) -> None:
        """Record an access; an entry of `subs` is a letter, or None for any other subscript."""
        if len(subs) > MOST_AXES:
            raise line.error(f"{tensor} has more than {MOST_AXES} axes", node, value=len(subs))
        seen = self.rank.setdefault(tensor, (len(subs), line, node))
        if seen[0] != len(subs):
            raise line.error(f"{tensor} is used with {len(subs)} and with {seen[0]} indices", node,
                             value=ast.unparse(node),
                             hint=f"first used on line {seen[1].number}: {ast.unparse(seen[2])}")
        for n, letter in enumerate(subs):
            axis = f"{tensor}.{n}"
            self.parent.setdefault(axis, axis)
            if letter is not None:
                self.letter(letter)
                self._join(letter, axis)

    def check_divided(self, integers: Collection[str], inputs: Collection[str]) -> None:
        """Raise where an element of a tensor that holds no integers stands under // or %."""
        for tensor, line, node in self.divided:
            if tensor not in integers:
                declare = f"if {tensor} holds integers, declare it, as in input lengths[b]: int"
                raise line.error("// and % are for indices and whole numbers", node, value=ast.unparse(node),
                                 hint=declare if tensor in inputs else f"{tensor} holds real numbers")

    def _find(self, x: str) -> str:
        while self.parent[x] != x:
            x = self.parent[x]
        return x

    def _join(self, a: str, b: str) -> None:
        ra, rb = self._find(a), self._find(b)
        if ra != rb:  # the first letter names the class; an axis never does when a letter can
            first = min((ra, rb), key=lambda r: list(self.order).index(r) if r in self.order else len(self.order))
            self.parent[rb if first == ra else ra] = first

    def extent(self, letter: str) -> str:
        return self._constant(self._find(letter))

    def axes(self, tensor: str) -> tuple[str, ...]:
        return tuple(self._constant(self._find(f"{tensor}.{n}")) for n in range(self.rank[tensor][0]))

    def _constant(self, root: str) -> str:
        """`=2` for a class whose size the formula states."""
        mine = (n for letter, n in self.fixed.items() if letter in self.parent and self._find(letter) == root)
        size = next(mine, None)
        return root if size is None else f"={size}"
