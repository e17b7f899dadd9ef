"""How tensors of any number of axes are read as matrices, and whether a claim is written in matrices."""

from __future__ import annotations

import re
from collections.abc import Mapping

from derive.expr import Index
from derive.rule.grouping import Layout

Group = tuple[Index, ...]
SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᐟ"


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
