"""What is known of each pair of places: statements over pairs, written out, and the one way in which they read P."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from derive import expr as E
from derive.expr import Expr, Get, Index, Reduce
from derive.patterns import Names
from derive.plan.attention.site import Site, open_pairs, sides
from derive.plan.attention.sums import NotFusedError, TileSum
from derive.program import Statement


@dataclass
class Pairs:
    """The state of one site's rewriting.

    Attributes:
        site: the softmax P.
        fresh: gives a new tensor name near a wish.
        names: terms that have a name.
        pairs: the statements over pairs that read P, and P itself.
        current: every statement as it stands, by name.
        out: the statements and tile sums so far.
    """

    site: Site
    fresh: Callable[[str], str]
    names: Names = field(default_factory=Names)
    pairs: dict[str, Statement] = field(default_factory=dict)
    current: dict[str, Statement] = field(default_factory=dict)
    out: list[Statement | TileSum] = field(default_factory=list)

    def hot(self, e: Expr) -> bool:
        return any(isinstance(x, Get) and x.tensor in self.pairs for x in E.subterms(e))

    def others(self, e: Expr) -> list[str]:
        """Softmaxes that `e` reads, but the site's."""
        made = (self.current.get(x.tensor) for x in E.subterms(e) if isinstance(x, Get) and x.tensor != self.site.name)
        return [s.name for s in made if s is not None and isinstance(s.expr, E.Softmax)]

    def parted(self, body: Expr) -> Expr:
        """`(P + R)·V` as `P·V + R·V` when R are the weights of another softmax, so that each is summed by itself."""
        if isinstance(body, E.Where) and body.other is E.ZERO:
            return E.add(*(E.where(body.cond, t, E.ZERO) for t in E.terms(self.parted(body.then))))
        parts = E.factors(body)
        for f in parts:
            if isinstance(f, E.Add) and self.others(f):
                mine, theirs = (E.add(*(t for t in f.args if self.hot(t) is hot)) for hot in (True, False))
                return E.add(*(E.mul(side, *(x for x in parts if x is not f)) for side in (mine, theirs)))
        return body

    def open(self, e: Expr) -> tuple[Expr, Get | None]:
        """`e` with everything written out that is known of each pair, and the one way in which it then reads P."""
        while True:
            before = e
            e = E.transform(e, self._opened_pair)
            reads = {x: None for x in E.subterms(e) if isinstance(x, Get) and x.tensor == self.site.name}
            if not reads:
                return e, None
            if len(reads) > 1:
                raise NotFusedError(f"{self.site.name} is read at two places at once")
            access = next(iter(reads))
            query, key = self.places(access)
            e, _ = open_pairs(e, query, key, {n: s for n, s in self.current.items() if n != self.site.name})
            e = E.transform(e, lambda x: self.product(x, query, key, access))  # noqa: B023
            e = E.transform(e, lambda x: self.aside(x, query, key, access))  # noqa: B023
            if e is before:
                return e, access

    def _opened_pair(self, x: Expr) -> Expr:
        if isinstance(x, Get) and x.tensor in self.pairs and x.tensor != self.site.name:
            s = self.pairs[x.tensor]
            return E.substitute(s.expr, dict(zip(s.indices, x.subs, strict=True)))
        return x

    def product(self, x: Expr, query: Index, key: Index, access: Get) -> Expr:
        """A product over pairs with what either side sums over alone in a statement of its own."""
        if not isinstance(x, Reduce) or not {query, key} <= x.free:
            return x
        parts = sides(x, query, key)
        if parts is None:
            raise NotFusedError("a term of the scores is no product of queries and keys")
        if not parts.query_only and not parts.key_only:
            return x
        rows = self.row_order(access, ())
        mine, theirs = parts.query, parts.key
        if parts.query_only:
            mine = self.named(E.summation(parts.query_only, mine), f"{self.site.name}_side", (*rows, *parts.shared))
        if parts.key_only:
            order = (*(i for i in rows if i is not query), key, *parts.shared)
            theirs = self.named(E.summation(parts.key_only, theirs), f"{self.site.name}_side", order)
        return E.summation(parts.shared, E.mul(mine, theirs))

    def aside(self, x: Expr, query: Index, key: Index, access: Get) -> Expr:
        """A sum that knows one side of a pair only, as `Σ_v O·dO` of a row: a statement of its own."""
        one_side = x.free <= access.free and not {query, key} <= x.free
        if not isinstance(x, Reduce) or not one_side or self.hot(x) or not x.free & {query, key}:
            return x
        return self.named(x, f"{self.site.name}_row", (*self.row_order(access, ()), key))

    def places(self, access: Get) -> tuple[Index, Index]:
        """The query and the key at which P is read."""
        at = dict(zip(self.site.weights.indices, access.subs, strict=True))
        query, key = at[self.site.query], at[self.site.key]
        others = [e for i, e in at.items() if i not in (self.site.query, self.site.key)]
        if (
            not isinstance(query, Index)
            or not isinstance(key, Index)
            or query is key
            or any(o.free & {query, key} for o in others)
        ):
            raise NotFusedError(f"{self.site.name} is read at computed places")
        return query, key

    def row_order(self, access: Get, order: tuple[Index, ...]) -> tuple[Index, ...]:
        _, key = self.places(access)
        mine = [i for x in access.subs for i in ((x,) if isinstance(x, Index) else sorted(x.free, key=lambda i: i.key))]
        return tuple(dict.fromkeys(i for i in (*mine, *order) if i is not key))

    def named(self, e: Expr, stem: str, order: tuple[Index, ...]) -> Expr:
        """The name of a term; a new statement if it has none."""
        if not isinstance(e, Reduce):
            parts = tuple(self.named(c, stem, order) if isinstance(c, Reduce) else c for c in e.children)
            return E.rebuild(e, parts) if parts else e
        known = self.names.find(e)
        if known is None:
            s = Statement(self.fresh(stem), tuple(i for i in order if i in e.free), e)
            if set(s.indices) != e.free:
                raise NotFusedError("a part of a product depends on more than its row")
            self.names.define(e, s.name, s.indices)
            self.out.append(s)
            self.current[s.name] = s
            known = s.target
        return known
