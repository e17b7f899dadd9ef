"""Statements grouped into kernels of the menu."""

from __future__ import annotations

from derive import expr as E
from derive.plan.group import Group
from derive.program import Statement

MENU = ("pointwise", "row", "column", "contraction", "scatter")


def fuse(statements: list[Statement], results: tuple[str, ...], menu: tuple[str, ...], integers: set[str]) -> list[Group]:
    """Groups in an order in which they can run.  Statements that no result needs are dropped."""
    return [Group("nest", s.indices, (s,)) for s in alive(statements, results)]


def alive(statements: list[Statement], results: tuple[str, ...]) -> list[Statement]:
    """The statements that some result needs."""
    wanted = set(results)
    kept: list[Statement] = []
    for s in reversed(statements):
        if s.name in wanted:
            kept.append(s)
            wanted |= set(E.tensors(s.expr))
    return kept[::-1]
