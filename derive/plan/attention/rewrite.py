"""Programs in which no sum reads P, S or dP: each sum over them becomes a `TileSum`.

Statements are visited in order, innermost sums first.  What a statement says of each pair (t, s) is written into the
sums that read it; a part of a sum that knows nothing of the pair gets a statement of its own; the row term
`Σ_s P·dP` becomes `Σ_v dO·O`.  A program with a use of P that is no such sum keeps its n x n tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from derive import expr as E
from derive.expr import Expr, Get, Index, Reduce
from derive.patterns import Names
from derive.plan.attention.pairs import Pairs
from derive.plan.attention.site import find_site, open_pairs
from derive.plan.attention.sums import KEY, PAIR, ROW, NotFusedError, TileSum
from derive.plan.attention.units import Unit, arrange, group_of
from derive.plan.group import Group
from derive.plan.terms import peel
from derive.program import Statement
from derive.simplify.rowterm import name_sum, swapped


@dataclass(frozen=True)
class Fused:
    """What fusing the attention of an operation leaves.

    Attributes:
        forward, backward: statements in an order in which they can run; those of a unit stand together.
        units: kernels by the name of each statement that they carry out.
        recomputed: tensors over pairs that exist in registers only.
        kept: why a softmax that looks like attention keeps its n x n tensors, one line each.
    """

    forward: tuple[Statement, ...] = ()
    backward: tuple[Statement, ...] = ()
    units: Mapping[str, Unit] = field(default_factory=dict)
    recomputed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @cached_property
    def groups(self) -> Mapping[str, Group]:
        """The group of each unit, by the name of each statement that it carries out."""
        made = {id(u): group_of(u) for u in self.units.values()}
        return {n: made[id(u)] for n, u in self.units.items()}


def fuse_attention(
    forward: list[Statement],
    backward: list[Statement],
    outputs: tuple[str, ...],
    gradients: tuple[str, ...],
    fresh: Callable[[str], str],
) -> Fused:
    """Fuse every site of an operation.

    Args:
        forward, backward: statements without parameters.
        outputs, gradients: which of them the user gets.
        fresh: gives a new tensor name near a wish.
    """
    units: dict[str, Unit] = {}
    gone: list[str] = []
    kept: list[str] = []
    for name in [s.name for s in forward]:
        made = {s.name: s for s in forward}
        site = find_site(made[name], made) if name in made else None  # it may have been written into another's sums
        if site is None:
            continue
        try:
            rewriter = Rewriter(site, fresh, made=made, outputs=outputs, fused=tuple(units))
            ahead = rewriter.program(forward, outputs)
            behind = rewriter.program(backward, gradients)
            forward, backward, new = arrange(site, ahead, behind, rewriter.norm, (*outputs, *gradients))
        except NotFusedError as why:
            kept.append(f"{name} keeps its [{', '.join(i.name for i in site.weights.indices)}] tensor: {why}")
            continue
        units |= new
        gone += [name, *site.opened, *(s for s in rewriter.pairs if s not in gradients)]
    return Fused(tuple(forward), tuple(backward), units, tuple(dict.fromkeys(gone)), tuple(kept))


@dataclass
class Rewriter(Pairs):
    """One site's work; `fused` names what the kernels of other sites make."""

    made: Mapping[str, Statement] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    fused: tuple[str, ...] = ()
    norms: Names = field(default_factory=Names)
    results: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        site = self.site
        exposed = [n for n in (site.name, *site.opened) if n in self.outputs]
        if exposed:
            raise NotFusedError(f"{exposed[0]} is an output")
        self.pairs[site.name] = Statement(site.name, site.weights.indices, site.weights.target)
        self.norm = self.fresh(f"{site.name}_lse")
        self.norms.define(E.reduction("logsumexp", (site.key,), site.score), self.norm, site.rows)

    def program(self, statements: list[Statement], results: tuple[str, ...]) -> list[Statement | TileSum]:
        """The statements of one direction, with sums over pairs as tile sums."""
        self.out, self.results = [], results
        self.current = dict(self.made)
        for s in statements:
            if s.name == self.site.name:
                continue
            if s.name in self.fused and self.hot(s.expr):
                raise NotFusedError(f"{s.name}, made by another attention's kernel, reads {self.site.name}")
            e = self.visit(E.transform(s.expr, self.norm_read), s.indices, s)
            if e is None:
                continue  # a sum that stands under its own name
            reads = [x for x in E.subterms(e) if isinstance(x, Get) and x.tensor in self.pairs]
            here = Statement(s.name, s.indices, e, s.line)
            if reads:
                self.pair(here, reads, s.name in results)
            else:
                name_sum(self.names, e, s.name, s.indices)
                self.out.append(here)
            self.current[s.name] = here
        return self.out

    def pair(self, s: Statement, reads: list[Get], wanted: bool) -> None:
        """A statement over pairs: written into what reads it, and stored only if it is a result."""
        e, access = self.open(s.expr)
        if access is None or any(i not in s.indices for i in access.free):
            raise NotFusedError(f"{s.name} reads {reads[0].tensor} at places that are no pairs")
        query, key = self.places(access)
        self.pairs[s.name] = Statement(s.name, s.indices, e)
        if wanted and s.name in self.outputs:
            raise NotFusedError(f"{s.name} is an output")
        if wanted:
            if any(i not in access.free for i in s.indices):
                raise NotFusedError(f"{s.name} has more than a value for each pair")
            self.out.append(TileSum(PAIR, Statement(s.name, s.indices, e), access, query, key, (), (), e, None, ()))

    # ------------------------------------------------------------------------------------------ walking

    def norm_read(self, x: Expr) -> Expr:
        """What normalises a row, where a formula asks for the log-sum-exp of its scores."""
        if not isinstance(x, Reduce) or x.op != "logsumexp" or len(x.indices) != 1:
            return x
        (key,), body = E.open_binder(x)
        for query in sorted(x.free, key=lambda i: i.key):
            opened, _ = open_pairs(body, query, key, self.made)
            found = self.norms.find(E.reduction("logsumexp", (key,), opened))
            if found is not None:
                return found
        return x

    def visit(self, e: Expr, order: tuple[Index, ...], root: Statement | None = None) -> Expr | None:
        """`e` with every sum over pairs replaced by its name; None if it is the sum that `root` names."""
        if not self.hot(e):
            return e
        if isinstance(e, Reduce) and e.op == "sum":
            inner, body = E.open_binder(e, avoid=order)
            below = self.visit(body, (*order, *inner))
            assert below is not None
            return self.settle(E.summation(inner, below), order, root)
        if isinstance(e, (Reduce, E.Softmax)):
            reads = [x for x in E.subterms(e) if isinstance(x, Get) and x.tensor in self.pairs]
            if any(i in e.indices for x in reads for i in x.free):
                raise NotFusedError(f"{getattr(e, 'op', 'softmax')} over {self.site.name}")
            return e
        return E.rebuild(e, tuple(self._visited(c, order) for c in e.children))

    def _visited(self, e: Expr, order: tuple[Index, ...]) -> Expr:
        found = self.visit(e, order)
        assert found is not None
        return found

    def settle(self, e: Expr, order: tuple[Index, ...], root: Statement | None = None) -> Expr | None:
        """Sums over pairs that a constructor may have split or moved, each taken in turn."""
        if not self.hot(e):
            return e
        if isinstance(e, Reduce) and e.op == "sum":
            return self.take(e, order, root)
        parts = []
        for c in e.children:
            found = self.settle(c, order)
            assert found is not None
            parts.append(found)
        return E.rebuild(e, tuple(parts)) if parts else e

    # ------------------------------------------------------------------------------------------ one sum

    def take(self, e: Reduce, order: tuple[Index, ...], root: Statement | None) -> Expr | None:
        inner, body = E.open_binder(e, avoid=order)
        body, access = self.open(body)
        if access is None or not access.free & set(inner):
            return e
        body = self.parted(body)
        if isinstance(body, E.Add) and (self.others(body) or any(i not in access.free for i in e.free)):
            return self.settle(E.add(*(E.summation(inner, t) for t in body.args)), order)
        known = self.names.find(E.summation(inner, body))
        if known is not None:
            return known
        query, key = self.places(access)
        if key in inner and len(access.free & set(inner)) > 1:  # first over the keys of a row, then over rows
            part = self.settle(E.summation((key,), body), (*order, *(i for i in inner if i is not key)))
            assert part is not None
            return self.settle(E.summation(tuple(i for i in inner if i is not key), part), order)
        kind = ROW if key in inner else KEY if query in inner else PAIR
        if kind == PAIR and (root is None or root.name not in self.results or root.name in self.outputs):
            raise NotFusedError(f"a sum over {', '.join(i.extent for i in inner)} reads {self.site.name}")
        if kind == ROW:
            term = swapped(E.summation(inner, body), self.names)
            if term is not None:
                return self.named(term.named, f"{self.site.name}_row", self.row_order(access, order))
        return self.tile(kind, inner, body, access, order, root)

    def tile(
        self,
        kind: str,
        inner: tuple[Index, ...],
        body: Expr,
        access: Get,
        order: tuple[Index, ...],
        root: Statement | None,
    ) -> Expr | None:
        """The tile sum `Σ_inner body`, under `root`'s name or one of its own."""
        query, key = self.places(access)
        total = E.summation(inner, body)
        guards, rest = peel(body)
        pair = access.free
        loose = tuple(i for i in inner if i not in pair)
        factors = list(E.factors(rest))
        if loose:
            linked = [f for f in factors if f.free & set(loose)]
            if guards or any(self.hot(f) for f in linked):
                raise NotFusedError(f"a sum over {', '.join(i.extent for i in loose)} crosses {self.site.name}")
            part = E.summation(loose, E.mul(*linked))
            factors = [f for f in factors if f not in linked]
            if {query, key} <= part.free:
                factors.append(self.product(part, query, key, access))
            else:
                factors.append(self.named(part, f"{self.site.name}_side", (*order, *inner)))
        bounded = frozenset().union(*(g.free for g in guards))
        columns = tuple(i for i in order if i in total.free and i not in pair and i not in bounded)
        mine = [f for f in factors if f.free & set(columns)]
        operand = E.mul(*mine) if mine else None
        if kind == PAIR and columns:
            raise NotFusedError(f"{root.name if root else 'a sum'} has more than a value for each pair")
        own, other = (key, query) if kind == KEY else (query, key)
        if operand is not None and (own in operand.free or self.hot(operand) or other not in operand.free):
            raise NotFusedError(f"a product with {self.site.name} is none of tiles")
        if self.others(body):
            raise NotFusedError(f"it is multiplied by {self.others(body)[0]}, the weights of another softmax")
        here = [g for g in guards if g.free & {query, key}]
        weight = E.mul(*(f for f in factors if f not in mine))
        if here:
            weight = E.where(E.logic("and", *here), weight, E.ZERO)
        turns = tuple(i for i in inner if i in pair and i is not other)
        if root is not None and set(root.indices) == total.free:
            name, indices = root.name, root.indices
        else:
            if total.free - set(order):
                raise NotFusedError("a sum outside its statement's indices")
            name = self.fresh(f"{root.name if root else self.site.name}_sum")
            first = (*self.row_order(access, ()), key, *order)
            indices = tuple(i for i in dict.fromkeys(first) if i in total.free)
        statement = Statement(name, indices, total)
        name_sum(self.names, total, name, indices)
        self.out.append(
            TileSum(
                kind,
                statement,
                access,
                query,
                key,
                turns,
                tuple(g for g in guards if g not in here),
                weight,
                operand,
                columns,
            )
        )
        return None if root is not None and name == root.name else statement.target
