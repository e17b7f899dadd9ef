"""How an emitted wrapper finds every size from the shapes of its arguments."""

from __future__ import annotations

from derive import expr as E
from derive.expr import Expr, Index, Num, Size
from derive.plan.records import Buffer, SizeRule
from derive.program import Program


def size_rules(
    arguments: tuple[Buffer, ...], needed: set[str], names: dict[str, str], program: Program
) -> tuple[SizeRule, ...]:
    """A rule for each size that a pass needs, in an order in which they can be carried out.

    An argument's axis fixes a size; else the largest one that keeps every access in range, where that is an affine
    matter; else the caller gives it.
    """
    rules: dict[str, SizeRule] = {}
    extent_of = {n: e for e, n in names.items()}
    for b in arguments:
        for n, axis in enumerate(b.axes):
            rules.setdefault(axis, SizeRule(axis, extent_of[axis], (b.name, n)))
    open_sizes = [s for s in names.values() if s in needed and s not in rules and not s.isdigit()]
    progress = True
    while open_sizes and progress:
        progress = False
        for size in list(open_sizes):
            formula = _room(extent_of[size], program, {extent_of[r]: r for r in rules})
            if formula is not None:
                rules[size] = SizeRule(size, extent_of[size], None, formula)
                open_sizes.remove(size)
                progress = True
    for size in open_sizes:
        rules[size] = SizeRule(size, extent_of[size])
    return tuple(rules.values())


def _room(extent: str, program: Program, known: dict[str, str]) -> str | None:
    """`(size_u - size_r) // 1 + 1`: the largest size of `extent` for which every access to a known axis fits."""
    bounds: dict[str, None] = {}
    for g in program.accesses():
        for s, axis in zip(g.subs, program.axes(g.tensor), strict=True):
            if isinstance(s, Index) or not any(i.extent == extent for i in s.free):
                continue
            if axis not in known:
                return None
            found = _bound(s, extent, known[axis], known)
            if found is None:
                return None
            bounds[found] = None
    if not bounds:
        return None
    inner = next(iter(bounds)) if len(bounds) == 1 else f"min({', '.join(bounds)})"
    return f"max({inner}, 0)"


def _bound(s: Expr, extent: str, room: str, known: dict[str, str]) -> str | None:
    slope, rest, constant = 0, [], 0
    for t in E.terms(s):
        c, x = E.coefficient(t)
        if c.denominator != 1:
            return None
        if isinstance(t, Num):
            constant += int(t.value)
        elif isinstance(x, Index) and x.extent == extent:
            slope += max(int(c), 0)
        elif isinstance(x, Index) and x.extent in known:
            if c > 0:
                rest.append(f"{int(c)}*({known[x.extent]} - 1)" if c != 1 else f"({known[x.extent]} - 1)")
        elif isinstance(x, Size) and x.extent in known:
            rest.append(f"{int(c)}*{known[x.extent]}" if c != 1 else known[x.extent])
        else:
            return None
    if slope == 0:
        return None
    high = "".join(f" - {r}" for r in rest) + (
        f" - {constant}" if constant > 0 else f" + {-constant}" if constant else ""
    )
    top = f"{room} - 1{high}"
    return f"({top}) // {slope} + 1" if slope != 1 else f"{top} + 1"
