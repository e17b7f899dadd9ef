"""How tensors of any number of axes are read as matrices, and whether a claim is written in matrices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from derive import expr as E
from derive.expr import Get, Index
from derive.program import Statement
from derive.rule import grouping

Group = tuple[Index, ...]
SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᐟ"


@dataclass(frozen=True)
class Layout:
    """How a tensor is read as a matrix: `batch` axes in front, then groups of so many axes each."""

    batch: int
    groups: tuple[int, ...]


def layouts(s: Statement) -> dict[str, Layout]:
    """How a rule's own letters read the tensors in it; of two axes or fewer, one tensor may be missing.

    Raises:
        NoMatrixError: they give no matrices.
    """
    e = grouping._distinct(s.expr, s.indices)
    every = [s.target, *(x for x in E.subterms(e) if isinstance(x, Get))]
    letters = [tuple(i for i in g.subs if isinstance(i, Index)) for g in every]
    if any(len(a) != len(g.subs) for a, g in zip(letters, every, strict=True)):
        raise grouping.NoMatrixError
    groups = grouping._groups(letters, grouping._binders(e))
    target = grouping._regroup(s.target, groups)
    rest = [x for x in E.subterms(grouping._rewrite(e, groups)) if isinstance(x, Get)]
    front = grouping._batch(tuple(i for i in target.subs if isinstance(i, Index)), [target, *rest])
    found: dict[str, Layout] = {}
    for g, subs in zip(every, letters, strict=True):
        batch, sizes, n = 0, [], 0
        while n < len(subs):
            group = next(q for q in groups if subs[n] in q)
            if group[0] in front:
                batch += len(group)
            else:
                sizes.append(len(group))
            n += len(group)
        found.setdefault(g.tensor, Layout(batch, tuple(sizes)))
    return found


def target_groups(indices: Group, layout: Layout) -> tuple[Group, Group | None, Group | None]:
    """Batch, rows and columns of a derivative's indices."""
    rest = indices[layout.batch:]
    groups: list[Group | None] = []
    for n in layout.groups:
        groups.append(rest[:n])
        rest = rest[n:]
    rows, columns = (*groups, None, None)[:2]
    return indices[:layout.batch], rows, columns


def layout_of(name: str, tensors: Mapping[str, tuple[str, ...]], known: Mapping[str, Layout]) -> Layout:
    """A tensor's layout: the rule's, that of one of the same shape, or all axes but the last as rows."""
    axes = tensors[name]
    if name in known:
        return known[name]
    alike = next((known[n] for n, a in tensors.items() if a == axes and n in known), None)
    if alike is not None:
        return alike
    return Layout(0, (1,) * len(axes) if len(axes) <= 2 else (len(axes) - 1, 1))


def has_signs(code: str) -> bool:
    """Whether a right side has signs that only matrix notation has: `ᵀ`, `√`, superscripts, `|n|`."""
    return bool(re.search(rf"[ᵀ√{SUPERSCRIPTS}]|\|\w+\|", code))


def has_products(code: str) -> bool:
    """Whether factors stand side by side."""
    return bool(re.search(r"[\w)\]]\s+[A-Za-z_(\[1]", code))
