"""Where a formula attends: `P[.., t, s] = softmax(s, f(Σ_d Q[.., t, d]·K[.., s, d], ...))`.

Structure decides, not names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from derive import expr as E
from derive.expr import Expr, Get, Index, Reduce, Softmax
from derive.program import Statement


@dataclass(frozen=True)
class Site:
    """A softmax over keys.

    Attributes:
        weights: the statement `P[..., t, s] = softmax(s, ...)`.
        query, key: which of its indices are t and s.
        score: what it exponentiates, at (t, s), with every statement that has both indices written out.
        opened: names of those statements.
    """

    weights: Statement
    query: Index
    key: Index
    score: Expr
    opened: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.weights.name

    @property
    def rows(self) -> tuple[Index, ...]:
        """The indices of a row: all but the key."""
        return tuple(i for i in self.weights.indices if i is not self.key)


def find_site(s: Statement, made: Mapping[str, Statement]) -> Site | None:
    """The site at a statement, if it is one.

    Args:
        s: a forward statement.
        made: every forward statement by name.
    """
    e = s.expr
    if not isinstance(e, Softmax) or len(e.indices) != 1 or not isinstance(e.at[0], Index) or e.at[0] not in s.indices:
        return None
    key = e.at[0]
    body = E.substitute(e.body, {e.indices[0]: key})
    rows = [i for i in s.indices if i is not key]
    compared = {i for x in E.subterms(body) if isinstance(x, E.Cmp) and key in x.free for i in x.free}
    for query in sorted(rows, key=lambda i: (i not in compared, -rows.index(i))):
        score, opened = open_pairs(body, query, key, made)
        products = pair_products(score, query, key)
        if products and all(sides(p, query, key) is not None for p in products):
            return Site(s, query, key, score, opened)
    return None


def scored(statements: Iterable[Statement]) -> set[str]:
    """Tensors that the scores of a forward's sites are made of: the backward reads them to compute P again."""
    made = {s.name: s for s in statements}
    sites = (find_site(s, made) for s in made.values())
    return {t for site in sites if site is not None for t in E.tensors(site.score)}


def open_pairs(e: Expr, query: Index, key: Index, made: Mapping[str, Statement]) -> tuple[Expr, tuple[str, ...]]:
    """`e` with every statement that is read at both indices written out, and their names."""
    opened: dict[str, None] = {}

    def rule(x: Expr) -> Expr:
        if isinstance(x, Get) and x.tensor in made and {query, key} <= x.free:
            s = made[x.tensor]
            if isinstance(s.expr, Softmax):
                return x
            opened[s.name] = None
            return E.transform(E.substitute(s.expr, dict(zip(s.indices, x.subs, strict=True))), rule)
        return x

    return E.transform(e, rule), tuple(opened)


def pair_products(e: Expr, query: Index, key: Index) -> list[Reduce]:
    """Every reduction in `e` that has a value for each pair."""
    return [x for x in E.subterms(e) if isinstance(x, Reduce) and {query, key} <= x.free]


@dataclass(frozen=True)
class Sides:
    """`Σ_shared own·other`; `own` has the query, `other` the key, each with indices that it sums over alone."""

    shared: tuple[Index, ...]
    query: Expr
    key: Expr
    query_only: tuple[Index, ...]
    key_only: tuple[Index, ...]


def sides(e: Reduce, query: Index, key: Index) -> Sides | None:
    """The two sides of a product over pairs; None when it is none."""
    if e.op != "sum":
        return None
    inner, body = E.open_binder(e, avoid=(query, key))
    bound = set(inner)
    mine: list[Expr] = []
    theirs: list[Expr] = []
    rest: list[Expr] = []
    for f in E.factors(body):
        if {query, key} <= f.free:
            return None
        (mine if query in f.free else theirs if key in f.free else rest).append(f)
    for f in rest:
        linked = f.free & bound
        with_query = any(linked & m.free for m in mine)
        (mine if with_query or not any(linked & m.free for m in theirs) else theirs).append(f)
    a: frozenset[Index] = frozenset().union(*(f.free for f in mine))
    b: frozenset[Index] = frozenset().union(*(f.free for f in theirs))
    shared = tuple(i for i in inner if i in a and i in b)
    if not shared or query not in a or key not in b:
        return None
    return Sides(
        shared,
        E.mul(*mine),
        E.mul(*theirs),
        tuple(i for i in inner if i in a and i not in b),
        tuple(i for i in inner if i in b and i not in a),
    )
