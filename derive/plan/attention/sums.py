"""Sums over the weights of a site, each with the parts that a tile kernel works with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from derive import expr as E
from derive.expr import Expr, Get, Index
from derive.program import Statement

ROW, KEY, PAIR = "row", "key", "pair"


class NotFusedError(Exception):
    """A site that has to keep its n x n tensors; the message says why."""


@dataclass(frozen=True)
class TileSum:
    """`name[indices] = Σ_inner weight·operand`, or a value for each pair, with or without a sum over heads.

    Attributes:
        kind: ROW sums over keys, KEY over queries, PAIR over neither.
        statement: what it defines, in terms of the weights.
        access: how it reads the weights: `P[b, h, t, s]`, `P[b, j + 2*i, t, s]`.
        query, key: its letters for them.
        turns: further indices that it sums over, as the heads of a group.
        guards: conditions on the access that hold for the terms that count.
        weight: what is known of each pair.
        operand: the tensor that the weight multiplies; None for a sum of weights alone.
        columns: indices of the operand that the result keeps.
        final: a map of the result that is stored in its place; `statement.target` stands for the result in it.
        copy: another name under which it is stored too, before it is rounded; empty for none.
    """

    kind: str
    statement: Statement
    access: Get
    query: Index
    key: Index
    turns: tuple[Index, ...]
    guards: tuple[Expr, ...]
    weight: Expr
    operand: Expr | None
    columns: tuple[Index, ...]
    final: Statement | None = None
    copy: str = ""

    @property
    def stored(self) -> Statement:
        return self.final or self.statement

    @property
    def makes(self) -> tuple[str, ...]:
        return (self.stored.name, self.copy) if self.copy else (self.stored.name,)

    @property
    def own(self) -> Index:
        return self.key if self.kind == KEY else self.query

    @property
    def batch(self) -> tuple[Index, ...]:
        """Indices of the result that are neither its tile's nor its columns."""
        return tuple(i for i in self.statement.indices if i not in (self.own, *self.columns, *self.pair_end))

    @property
    def pair_end(self) -> tuple[Index, ...]:
        return (self.key,) if self.kind == PAIR else ()

    @property
    def whole(self) -> Expr:
        """The stored statement's value, with the sum written out."""
        if self.final is None:
            return self.statement.expr
        return E.transform(self.final.expr, lambda x: self.statement.expr if x is self.statement.target else x)

    def reads(self) -> dict[str, None]:
        parts = (self.weight, *self.guards, self.access, self.whole, *([self.operand] if self.operand else []))
        return {t: None for p in parts for t in E.tensors(p)}

    def renamed(self, names: dict[Index, Index], composite: dict[Expr, Expr]) -> TileSum:
        """In other letters; `composite` then replaces subscripts like `j + 2*i` by an index."""
        table: dict[Expr, Expr] = {i: j for i, j in names.items()}  # noqa: C416

        def new(e: Expr) -> Expr:
            return E.transform(E.substitute(e, table), lambda x: composite.get(x, x))

        def at(i: Index) -> Index:
            return names.get(i, i)

        def moved(s: Statement) -> Statement:
            return Statement(s.name, tuple(at(i) for i in s.indices), new(s.expr), s.line)

        access = new(self.access)
        assert isinstance(access, Get)
        return replace(
            self,
            statement=moved(self.statement),
            access=access,
            query=at(self.query),
            key=at(self.key),
            turns=tuple(at(i) for i in self.turns),
            guards=tuple(new(g) for g in self.guards),
            weight=new(self.weight),
            operand=None if self.operand is None else new(self.operand),
            columns=tuple(at(i) for i in self.columns),
            final=None if self.final is None else moved(self.final),
        )


def linear_in(weight: Expr, access: Get) -> Expr | None:
    """`g` when `weight = P·g` with `g` free of P; None when it is not of that form."""
    parts = list(E.factors(weight))
    mine = [f for f in parts if access in E.subterms(f)]
    if len(mine) != 1:
        return None
    rest = E.mul(*(f for f in parts if f is not mine[0]))
    if mine[0] is access:
        return rest
    if isinstance(mine[0], E.Where) and mine[0].other is E.ZERO and access not in E.subterms(mine[0].cond):
        inner = linear_in(mine[0].then, access)
        return None if inner is None else E.mul(rest, E.where(mine[0].cond, inner, E.ZERO))
    return None


def vanishes(e: Expr, access: Get) -> bool:
    """Whether `e` is 0 wherever P is."""
    if e is access or e is E.ZERO:
        return True
    if isinstance(e, E.Mul):
        return any(vanishes(f, access) for f in e.args)
    if isinstance(e, E.Add):
        return all(vanishes(t, access) for t in e.args)
    if isinstance(e, E.Where):
        return vanishes(e.then, access) and vanishes(e.other, access)
    return False
