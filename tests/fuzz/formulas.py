"""Random formulas of the notation, as a hypothesis strategy: text, sizes, and arrays that suit them.

Every formula it makes is one that derive has to take: accesses in range (or guarded), integer tensors within their
axis, functions inside their domain. So a refusal is a finding, as a wrong number is.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.idioms import PARAMS
from tests.fuzz.writer import LETTERS, Writer

WORD = re.compile(r"[^\W\d]\w*")
ODD = """np erf float int len print out cp self stream tid idx threadIdx template double restrict count element
accumulate match type row total I E S N Q beta gamma sum_ exp_ t1 rstd g r dtypes Kernels batch lane _t1 d dd""".split()

LONG = (17, 33, 40, 65, 130)  # beyond a vector, a warp, a tile


@dataclass
class Sample:
    """A formula with everything needed to judge it; `ties` where its numbers are few, so that many are equal."""

    text: str
    sizes: dict[str, int]
    arrays: dict[str, Any]
    cotangents: dict[str, Any]
    wrt: list[str]
    ties: bool = False

    @property
    def number(self) -> int:
        """A number that its text alone decides."""
        return zlib.crc32(self.text.encode())

    def __repr__(self) -> str:
        shapes = {n: a.shape for n, a in self.arrays.items()}
        return f"Sample({self.text!r}, sizes={self.sizes}, shapes={shapes})"


@st.composite
def samples(draw: Any, statements: int = 3, depth: int = 4) -> Sample:
    """Formulas of up to `statements` statements and nesting `depth`, with float64 arrays and cotangents."""
    return sample(lambda low, high: int(draw(st.integers(low, high))), statements, depth)


def sample(choose: Callable[[int, int], int], statements: int = 3, depth: int = 4) -> Sample:
    """The formula that a row of choices makes."""
    w = Writer(choose, {})
    sizes = w.sizes
    sizes |= {x: w.pick((1, 2, 3, 4, 3, 2, 5)) for x in LETTERS}
    if w.chance(8):
        sizes[w.pick(LETTERS)] = 0
    elif w.chance(12):  # a long axis among short ones
        sizes |= {x: min(n, 3) for x, n in sizes.items()}
        sizes[w.pick(LETTERS)] = w.pick(LONG)
        if w.chance(25):
            sizes[w.pick(LETTERS)] = w.pick(LONG[:2])
    lines = w.idiom() if w.chance(25) else []
    for n in range(w.whole(1, statements)):
        letters = w.some(LETTERS[:4], 0, 3 if w.chance(20) else 2)
        w.begin()
        body = w.expression(list(letters), depth, 0 if w.chance(10) else 22)
        name = f"Y{n}"
        lines.append(f"{name}[{','.join(letters)}] = {body}" if letters else f"{name} = {body}")
        w.made[name] = tuple(sizes[x] for x in letters)
    outputs = list(w.made)[-1:]
    if len(w.made) > 1 and w.chance(50):
        outputs = list(dict.fromkeys([*outputs, *w.some(sorted(w.made), 0, 2)]))
        lines.append("output " + ", ".join(outputs))
    return finished(w, lines, outputs, w.whole(0, 2**32 - 1))


def finished(w: Writer, lines: list[str], outputs: list[str], seed: int) -> Sample:
    """The formula with arrays drawn for what it reads; in one of ten the names are words of Python and C++."""
    rng = np.random.default_rng(seed)
    text = (w.pick(("\n", "\n", "\n", "; ")) if len(lines) > 1 else "").join(lines)
    words = dict.fromkeys(WORD.findall(text))
    text = "".join(f"param {n} = {v}\n" for n, v in PARAMS.items() if n in words) + w.declared(words) + text
    words = dict.fromkeys(WORD.findall(text))
    called = {n: n for n in (*w.tensors, *w.integers, *w.made, *LETTERS)}
    if w.chance(10):
        odd = w.some(ODD, 3, 6)
        odd = [x for x in odd if x not in words and not (x[0] == "d" and x[1:] in odd)]  # taken, or a gradient's
        called |= dict(zip(w.some(found := [n for n in words if n in called], len(found), len(found)), odd))
        text = WORD.sub(lambda m: called.get(m[0], m[0]), text)
    ties, scale = w.chance(10), 10.0 if w.chance(8) else 1.0

    def real(shape: tuple[int, ...]) -> Any:
        x = scale*rng.standard_normal(shape)
        return np.asarray(np.round(2*x)/2 if ties else x)

    whole = w.pick((np.int64, np.int64, np.int32))
    arrays: dict[str, Any] = {called[n]: real(s) for n, s in w.tensors.items() if n in words}
    arrays |= {called[n]: np.asarray(rng.integers(least, top, s)).astype(whole)
               for n, (s, least, top) in w.integers.items() if n in words}
    cotangents = {called[o]: rng.standard_normal(w.made[o]) for o in outputs}
    sizes = {called[x]: n for x, n in w.sizes.items()}
    return Sample(text, sizes, arrays, cotangents, [called[n] for n in w.tensors if n in words], ties)


@dataclass
class Choices:
    """A row of choices: drawn as they are asked for, or given, with the simplest beyond their end."""

    seed: int | None = None
    made: list[int] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def __call__(self, low: int, high: int) -> int:
        if self.seed is not None:
            self.made.append(self.random.randint(low, high))
            return self.made[-1]
        self.asked += 1
        return low if self.asked > len(self.made) else min(max(self.made[self.asked - 1], low), high)


def shrunk(made: list[int], fails: Callable[[Sample], bool], tries: int = 300) -> Sample:
    """The simplest formula found that fails too: choices left out, or made the simplest, many at a time at first."""
    best, size = made, len(made)
    while size and tries > 0:
        for start in range(0, len(best), size):
            for shorter in (best[:start] + best[start + size:], best[:start] + [0]*size + best[start + size:]):
                if shorter != best and tries > 0:
                    tries -= 1
                    if fails(sample(Choices(made=shorter))):
                        best = shorter
        size //= 2
    return sample(Choices(made=best))
