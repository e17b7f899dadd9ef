"""Common sub-terms named once: `g = dY·γ`, used in three places, becomes a statement of its own.

Terms count as common up to the names of their indices, so `g[b,s,d]` and the `g[b,s,l]` of a sum are one.  A term is
named only if some tensor in it has all its indices already: no outer product is ever stored.  Each step removes at
least one operation, so it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from derive import expr as E
from derive.expr import Add, Call, Cmp, Expr, Get, Index, Logic, Mul, Num, Reduce
from derive.patterns import Names, pattern
from derive.program import Statement
from derive.simplify.cost import cost, divides
from derive.simplify.names import presentable

Axes = Mapping[str, tuple[str, ...]]  # tensor -> extents of its axes, where that is known


def share(statements: list[Statement], taken: set[str], letters: set[str], axes: Axes) -> list[Statement]:
    """Name common sub-terms until none is left; none is read beyond its axes, which only a guard would prevent."""
    taken = taken | letters
    while True:
        found = _candidate(statements, axes)
        if found is None:
            return statements
        statements = _named(statements, found, taken)


def _candidate(statements: list[Statement], axes: Axes) -> Expr | None:
    """The repeated term that saves most."""
    seen_at: dict[int, list[Expr]] = {}  # occurrences by shape: patterns are made only where shapes repeat

    def note(x: Expr) -> None:
        seen_at.setdefault(x._shape, []).append(x)

    seen: set[Expr] = set()

    def walk(x: Expr) -> None:
        if x in seen or isinstance(x, (Get, Cmp, Logic)):
            return
        seen.add(x)
        for c in x.children:
            if not isinstance(c, (Get, Index, Num, Cmp, Logic)):
                note(c)
            walk(c)
        if isinstance(x, Mul):
            parts = [f for f in x.args if not isinstance(f, Num)]
            if 2 < len(parts) <= 6 or (len(parts) == 2 and len(x.args) == 3):
                for pair in combinations(parts, 2):
                    note(E.mul(*pair))

    for s in statements:
        note(s.expr)
        walk(s.expr)
    count: dict[Expr, int] = {}
    example: dict[Expr, Expr] = {}
    for same in seen_at.values():
        if len(same) > 1:
            for x in (x for x in same if _shareable(x, axes)):
                p = pattern(x)[0]
                count[p] = count.get(p, 0) + 1
                example.setdefault(p, x)
    best, gain = None, 0
    for p, n in count.items():
        if n > 1:
            saved = (n - 1) * max(cost(example[p]), 1)
            if saved > gain or (saved == gain and best is not None and p.key < pattern(best)[0].key):
                best, gain = example[p], saved
    return best


def _shareable(x: Expr, axes: Axes) -> bool:
    if isinstance(x, (Num, Index, E.Size, E.Param, E.Const, E.Truth, Cmp, Logic)) or cost(x) == 0:
        return False
    gets = [g for g in E.subterms(x) if isinstance(g, Get)]
    if not gets or any(not all(isinstance(s, Index) for s in g.subs) for g in gets):
        return False
    if any(i.extent.startswith("=") for i in x.free):
        return False
    if any(s.extent != a for g in gets for s, a in zip(g.subs, axes.get(g.tensor, ())) if isinstance(s, Index)):
        return False  # C[p,p], its second axis shorter
    owner = any(set(g.subs) >= x.free for g in gets)
    return owner or isinstance(x, Reduce) or x._height > 0


def _named(statements: list[Statement], e: Expr, taken: set[str]) -> list[Statement]:
    same = next((s for s in statements if s.expr is e and set(s.indices) == e.free), None)
    names = Names()
    if same is not None:
        name, indices = same.name, same.indices
    else:
        stem = "r" if isinstance(e, Reduce) else "g" if e._height == 0 else "h"
        name, n = stem, 0
        while name in taken:
            n += 1
            name = f"{stem}{n}"
        taken.add(name)
        indices = tuple(i for i in _display_order(e) if i in e.free)
    names.define(e, name, indices)
    out: list[Statement] = []
    placed = same is not None
    for s in statements:
        new = s.expr if s is same else _replaced(s.expr, names, e)
        if new is not s.expr and not placed:
            shown = presentable(indices)
            out.append(Statement(name, shown, E.substitute(e, dict(zip(indices, shown, strict=True)))))
            placed = True
        out.append(Statement(s.name, s.indices, new, s.line))
    if same is not None:
        out = _ordered(out, same.name)
    return out


def _ordered(statements: list[Statement], name: str) -> list[Statement]:
    """`name` moved before its first reader."""
    home = next(n for n, s in enumerate(statements) if s.name == name)
    first = next((n for n, s in enumerate(statements) if name in E.tensors(s.expr)), home)
    if first >= home:
        return statements
    s = statements[home]
    return [*statements[:first], s, *statements[first:home], *statements[home + 1:]]


def _display_order(e: Expr) -> tuple[Index, ...]:
    gets = sorted((g for g in E.subterms(e) if isinstance(g, Get)), key=lambda g: (-len(g.subs), g.key))
    order: dict[Index, None] = {}
    for g in gets:
        for s in g.subs:
            if isinstance(s, Index) and s in e.free:
                order.setdefault(s)
    for i in sorted(e.free, key=lambda i: i.key):
        order.setdefault(i)
    return tuple(order)


def _replaced(e: Expr, names: Names, term: Expr) -> Expr:
    """`e` with the name for `term`; where values are compared, only if that rounds as what it stands for: of two that
    tie, each term of a gradient asks for itself which is the greater, and all must hear the same."""
    memo: dict[tuple[Expr, bool], Expr] = {}
    size = len(term.args) if isinstance(term, Mul) else 0
    settled = _settled(term)

    def walk(x: Expr, compared: bool) -> Expr:
        if (x, compared) not in memo:
            memo[x, compared] = replaced(x, compared)
        return memo[x, compared]

    def replaced(x: Expr, compared: bool) -> Expr:
        compared = compared or isinstance(x, Cmp)
        if compared and not settled:
            return x
        hit = None if isinstance(x, (Get, Index)) else names.find(x)
        if hit is not None:
            return hit
        if size == 2 and isinstance(x, Mul) and len(x.args) > 2 and not compared:
            for pair in combinations([f for f in x.args if not isinstance(f, Num)], 2):
                found = names.find(E.mul(*pair))
                if found is not None:
                    return walk(E.mul(found, *(f for f in x.args if f not in pair)), False)
        if not x.children:
            return x
        below = [c for c in x.children if compared and isinstance(x, Mul) and _below(c)]
        return E.rebuild(x, tuple(inside(c, compared) if c in below else walk(c, compared) for c in x.children))

    def inside(x: Expr, compared: bool) -> Expr:
        return E.rebuild(x, tuple(walk(c, compared) for c in x.children))

    return walk(e, False)


def _settled(e: Expr) -> bool:
    """Whether a value is rounded in one way, wherever it stands: no order of factors or terms, no quotient that may be
    a product with an inverse."""
    if isinstance(e, (Mul, Add)):
        parts = [f for f in e.args if f is not E.MINUS_ONE]
        if len(parts) > 2 or (isinstance(e, Mul) and any(_below(f) for f in parts)):
            return False
    return all(_settled(c) for c in e.children)


def _below(f: Expr) -> bool:
    """Whether a factor is printed below a line."""
    return divides(f) or (isinstance(f, Call) and f.fn == "sigmoid")
