"""Kernels as people write them, each right as it stands and with one bug put in.

A case is a correct text and the replacements that break it. In the broken text the comment `BUG` marks the line that a
report must name, `OTHER` the line of the earlier access of a race or of the other barrier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Edit = tuple[str, str]
F32, F64, I32, U8, U32 = np.float32, np.float64, np.int32, np.uint8, np.uint32


def ramp(n: int, kind: Any = F32) -> Any:
    return ((np.arange(n) * 7919) % 101).astype(kind)


def zeros(n: int, kind: Any = F32) -> Any:
    return np.zeros(n, kind)


@dataclass(frozen=True)
class Case:
    """One kernel and one bug.

    Attributes:
        kind: of the report that the bug must give.
        code: the correct text.
        edits: what the bug takes out, and what it puts in.
        kernel: its name, or name expression.
        args: made afresh for each launch.
        holds: whether the arguments after a correct launch are right.
        waits: in a loop for a thread of its block, which only check mode lets have its turn.
    """

    name: str
    kind: str
    kernel: str
    code: str
    edits: tuple[Edit, ...]
    args: Callable[[], list[Any]]
    holds: Callable[[list[Any]], bool]
    grid: Any = 1
    block: Any = 64
    shared: int = 0
    uninitialized: tuple[str, ...] = ()
    waits: bool = False

    @property
    def broken(self) -> str:
        code = self.code
        for old, new in self.edits:
            assert code.count(old) == 1, (self.name, old)
            code = code.replace(old, new)
        return code


def mark(text: str, word: str = "BUG") -> Edit:
    """The line that ends so, marked."""
    return text, f"{text}  // {word}"
