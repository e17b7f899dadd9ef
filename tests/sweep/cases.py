"""Sizes to try an operation at: every letter at every awkward size, the others mixed; every letter at length zero."""

from __future__ import annotations

import random
from collections.abc import Iterator

from derive.validate.data import Drawer, Sizes

SIZES = (1, 2, 3, 5, 17, 31, 33, 127, 129, 257)
MANY, FEW = 1 << 16, 1 << 13  # terms of the largest statement


def fitting(drawer: Drawer, sizes: Sizes, leader: str | None, budget: int = MANY) -> Sizes:
    """`sizes` with the largest letter but the leader made smaller, step by step, until no statement is too large."""
    sizes = dict(sizes)

    def volume() -> int:
        full = dict.fromkeys(drawer.f.letters, 1)
        for letter, n in {**sizes, **drawer.f.stated, **drawer.given}.items():
            full |= dict.fromkeys(drawer.groups.get(letter, ()), n)
        return drawer.volume(full)

    while volume() > budget:
        others = [x for x in sizes if x != leader and sizes[x] > 1] or [x for x in sizes if sizes[x] > 1]
        if not others:
            break
        largest = max(others, key=lambda x: sizes[x])
        sizes[largest] = max(n for n in SIZES if n < sizes[largest])
    return sizes


def whole(drawer: Drawer) -> Iterator[Sizes]:
    """Each letter leads at each size; then all letters are equal; then each has length zero, and all of them."""
    letters = drawer.classes()
    rng = random.Random(0)
    for leader in letters:
        for n in SIZES:
            yield fitting(drawer, {x: n if x == leader else rng.choice(SIZES) for x in letters}, leader)
    for n in SIZES[:5]:
        yield fitting(drawer, dict.fromkeys(letters, n), None)
    yield from zeros(drawer)


def zeros(drawer: Drawer) -> Iterator[Sizes]:
    letters = drawer.classes()
    for empty in letters:
        yield {x: 0 if x == empty else 3 for x in letters}
    yield dict.fromkeys(letters, 0)


def sample(drawer: Drawer, seed: int) -> list[Sizes]:
    """Two mixtures and one letter of length zero."""
    rng = random.Random(seed)
    letters = drawer.classes()
    if not letters:
        return [{}]
    mixed = [fitting(drawer, {x: rng.choice(SIZES) for x in letters}, rng.choice(letters), FEW) for _ in range(2)]
    return [*mixed, rng.choice(list(zeros(drawer)))]
