"""Statements that one kernel carries out."""

from __future__ import annotations

from dataclasses import dataclass, field

from derive.expr import Index
from derive.program import Statement


@dataclass(frozen=True)
class Group:
    """One kernel (or one fixed sequence of kernels) of the menu.

    Attributes:
        plan: entry of the menu.
        domain: indices that every statement of a map has; the rows of a row kernel; the outputs of a reduction.
        inner: indices that the kernel reduces over.
        statements: what it computes, in order, all in terms of `domain` and `inner`.
    """

    plan: str
    domain: tuple[Index, ...]
    statements: tuple[Statement, ...]
    inner: tuple[Index, ...] = field(default=())

    @property
    def made(self) -> set[str]:
        return {s.name for s in self.statements}
