"""The freeze of a unit: one kernel, a tile of rows a block, in a loop over tiles of as many places.

A pair of places is worked on in registers: the tile products give the scores (and dP), the pair's terms are computed
from them element by element, and the weights go through shared memory into the products that follow.
"""

from __future__ import annotations

from fractions import Fraction

from derive import expr as E
from derive.expr import Expr, Get, Index, Reduce
from derive.plan import ir
from derive.plan.attention.bounds import narrowing
from derive.plan.attention.shape import Attention, Output, Product, Weight
from derive.plan.attention.site import pair_products, sides
from derive.plan.attention.sums import PAIR, TileSum, linear_in, vanishes
from derive.plan.attention.units import ONLINE, AttentionGroup, Unit
from derive.plan.context import Context
from derive.plan.group import Group
from derive.plan.ir import BOOL, INT, REAL, Literal, Local
from derive.plan.lower import Scope
from derive.plan.records import Kernel, Launch, Text
from derive.plan.spell import statement, term
from derive.plan.terms import letter, local_name, runs_along
from derive.program import Statement

#: Places along a side of a tile, the first that fits: 256 threads keep 4 by 4 pairs of a tile of 64, 2 by 2 of 32.
SIDES = (64, 32)
#: Registers of a thread that may hold values of pairs: half of the 255; operands, offsets and functions need the rest.
REGISTERS = 127


def attention_kernels(
    group: Group, context: Context, stored: set[str], name: str, accumulate: set[str]
) -> list[Kernel]:
    """The kernel of a unit; sums that nothing needs are left out."""
    assert isinstance(group, AttentionGroup)
    assert group.unit is not None
    return [_Builder(group.unit, context, stored, name, accumulate).kernel()]


class _Builder:
    def __init__(self, unit: Unit, context: Context, stored: set[str], name: str, accumulate: set[str]):
        self.unit, self.context, self.stored, self.name, self.accumulate = unit, context, stored, name, accumulate
        self.sums = tuple(c for c in unit.sums if stored & set(c.makes))
        self.side = self._side()
        self.names = context.namer.child()
        self.leading = self._leading()
        self.batch = context.counter(self.leading, "batch", self.names)
        self.outer = context.scope((self.leading, self.batch))
        context.decode(self.outer, self.leading, self.batch)
        for i, j in (*zip(unit.batch, self.leading, strict=True), *unit.twins):
            self.outer.places[i] = self.outer.places[j]
        self.own, self.other = (self._place(i) for i in (unit.own, unit.other))
        self.looped = self.outer.child()
        self.turn = context.counter(unit.turns, "turn", self.looped.namer) if unit.turns else ""
        if unit.turns:
            context.decode(self.looped, unit.turns, self.turn)
        for axis, e in unit.lets:
            value = self.looped.integer(e)
            local = self.looped.index(axis)
            assert isinstance(local, Local)
            self.looped.stmts.append(ir.Let(local.name, value))
        self.guard = self._guard()
        self.norm = self.looped.namer.fresh(local_name(unit.norm.name))

    def _side(self) -> int:
        """The greatest tile whose pairs a thread can keep in registers: of each a product, a weight and a result."""
        site = self.unit.site
        roots = [site.score, *(c.weight for c in self.sums)]
        held = len({p for r in roots for p in pair_products(r, site.query, site.key)})
        held += len({c.weight for c in self.sums}) + len(self.sums)
        words = 2 if self.context.dtype == "float64" else 1
        return next((s for s in SIDES if held*words*(s//16)**2 <= REGISTERS), SIDES[-1])

    def _leading(self) -> tuple[Index, ...]:
        """The indices of a block; one that has twins runs over the greatest of their extents."""
        found = []
        for i in self.unit.batch:
            extents = tuple(dict.fromkeys((i.extent, *(t.extent for t, j in self.unit.twins if j is i))))
            found.append(self.context.greatest(i, extents) if len(extents) > 1 else i)
        return tuple(found)

    def _place(self, i: Index) -> str:
        name = self.outer.namer.fresh(letter(i))
        self.outer.places[i] = Local(INT, name)
        return name

    def _guard(self) -> str:
        """A local that says whether a turn's terms count: a group's last heads may not exist."""
        guards = list(dict.fromkeys(g for c in self.sums for g in c.guards))
        if not guards:
            return ""
        name = self.looped.namer.fresh("holds", ours=True)
        self.looped.stmts.append(ir.Let(name, self.looped.cond(E.logic("and", *guards))))
        return name

    # ------------------------------------------------------------------------------------------ parts

    def kernel(self) -> Kernel:
        context, shape = self.context, self._shape()
        used = {n for b in ir.blocks_in(shape) for n in ir.names_in(b)}
        lengths = (shape.rows, shape.length, shape.turns, *(p.length for p in shape.products))
        for text in (*lengths, *(o.columns for o in shape.outputs)):  # how many batches, the grid alone says
            used |= set(text.split("*"))
        written = {context.buffers[s].name for s in self.stored}
        across = self._across(shape)
        cut = "" if self.side == 64 else f", {self.side}"
        each, sums = self._pairs(), tuple(Statement(c.stored.name, c.stored.indices, c.whole) for c in self.sums)
        return Kernel(
            name=self.name,
            plan="attention",
            computes=self._spelled(each, sums),
            reads=context.reads(used, written),
            writes=tuple(b for b in context.buffers.values() if b.name in written),
            sizes=(
                *context.used_sizes(used),
                *((f"across=blocks({across}, {self.side}, 2**31)",) if shape.wide else ()),
            ),
            shape=shape,
            launch=Launch((f"tiles({shape.batches}, {shape.rows}, {across}{cut})", "1", "1"), ("256", "1", "1")),
            accumulates=bool(self.accumulate & self.stored),
            statements=(*each, *sums),
        )

    def _shape(self) -> Attention:
        """The parts of the template, each without what nothing reads."""
        unit, context = self.unit, self.context
        bounds = self._bounds()
        pair = self.looped.child()
        products = self._products(pair)
        self._weights_of_pairs(pair)
        weights = self._weights(pair)
        stores = self._stores(pair)
        norm = self._norm()
        parts: list[ir.Block] = [
            bounds,
            norm,
            stores,
            *(b for p in products for b in (p.own, p.other)),
            *(b for w in weights for b in (w.value, *(x for _, _, x in (*w.totals, *w.paired)))),
            *(b for w in weights for o in w.outputs for b in (o.operand, o.after)),
        ]
        live = frozenset(n for b in parts for n in ir.names_in(b))
        shared = ir.prune(tuple(pair.stmts), live | {"score"})
        live |= ir.names_in(shared)
        inner = ir.prune(tuple(self.looped.stmts), live | {self.guard})
        head = ir.prune(tuple(self.outer.stmts), live | ir.names_in(inner))
        return Attention(
            side=self.side,
            batch=self.batch,
            batches=context.count(self.leading),
            own=self.own,
            rows=context.count((unit.own,)),
            other=self.other,
            length=context.count((unit.other,)),
            head=head,
            turn=self.turn,
            turns=context.count(unit.turns),
            inner=inner,
            guard=self.guard,
            bounds=bounds,
            products=products,
            pair=shared,
            weights=weights,
            online=unit.kind == ONLINE,
            norm=norm,
            lse=self.norm,
            stores=stores,
            wide=unit.kind == PAIR or any(w.outputs for w in weights),
        )

    def _across(self, shape: Attention) -> Text:
        """How many columns, or places of the other side, blocks share between them."""
        if self.unit.kind == PAIR:
            return f"max({shape.length}, 1)"
        columns = dict.fromkeys(o.columns for o in shape.outputs)
        return f"max({', '.join(columns)}, 1)" if columns else "1"

    def _spelled(self, each: tuple[Statement, ...], sums: tuple[Statement, ...]) -> tuple[str, ...]:
        """What the kernel computes, in the letters of the site."""
        letters: dict[str, tuple[str, ...]] = {}
        for i in (*self.unit.turns, *self.unit.site.weights.indices):
            letters[i.extent] = (*letters.get(i.extent, ()), letter(i))
        lets = (f"{axis.name} = {term(e, names={i: letter(i) for i in e.free})}" for axis, e in self.unit.lets)
        return (*(statement(s, letters) for s in each), *lets, *(statement(s, letters) for s in sums))

    def _bounds(self) -> ir.Block:
        """Narrowed only where a place that is left out adds nothing."""
        site = self.unit.site
        whole = any(c.kind == PAIR for c in self.sums) or any(
            not vanishes(c.weight, site.weights.target) for c in self.sums
        )
        if whole:
            return ()
        return narrowing(site.score, self.unit.own, self.unit.other, self.looped.child(), "top", "last", self.side)

    def _products(self, pair: Scope) -> tuple[Product, ...]:
        """The tile products of scores and weights; `pair` then knows each as an element of its tile."""
        site, unit = self.unit.site, self.unit
        roots = [site.score, *(c.weight for c in self.sums)]
        found = dict.fromkeys(p for r in roots for p in pair_products(r, site.query, site.key))
        out = []
        for n, p in enumerate(found):
            parts = sides(p, site.query, site.key)
            assert parts is not None
            wish = ("score" if n == 0 else "dP" if self._is_dp(p) else "product") + "_tile"
            name = self.looped.namer.fresh(wish, ours=True)
            mine, theirs = (parts.query, parts.key) if unit.own is site.query else (parts.key, parts.query)
            k = self.context.counter(parts.shared, "k", self.looped.namer)
            out.append(
                Product(
                    name,
                    k,
                    self.context.count(parts.shared),
                    self._element(mine, parts.shared, k),
                    self._element(theirs, parts.shared, k),
                    runs_along(mine, parts.shared),
                    runs_along(theirs, parts.shared),
                )
            )
            pair.memo[p] = Local(REAL, f"{name}[over][along]")
        return tuple(out)

    def _is_dp(self, p: Reduce) -> bool:
        return all(p not in E.subterms(x) for x in (self.unit.site.score,))

    def _element(self, e: Expr, run: tuple[Index, ...], counter: str) -> ir.Block:
        """Statements that end in `value = ...`, an element of a tile."""
        scope = self.looped.child()
        self.context.decode(scope, run, counter)
        scope.give(e)
        return ir.prune(tuple(scope.stmts))

    def _weights_of_pairs(self, pair: Scope) -> None:
        """The scores, and P from them where the log-sum-exp is given."""
        site, unit = self.unit.site, self.unit
        pair.namer.reserve(("value",))  # the template's own
        pair.share([site.score, *(c.weight for c in self.sums)])
        score = pair.real(site.score)
        if unit.kind == ONLINE:
            pair.stmts.append(ir.Assign("value", score))
            return
        # The test also keeps a compiler from contracting `factor*product - lse`: the score is rounded as it was in the
        # forward, else every weight would be off by that rounding.
        if not isinstance(score, Local):
            score = pair.let("score", score)
        # A masked score is far below the -1e30 that stands for the log-sum-exp of a row without any other.
        score = ir.Choose(REAL, ir.Binary(BOOL, "<=", score, _real(E.MASKED)), _real(2*E.NEGATIVE_INFINITY), score)
        less = ir.Binary(REAL, "-", score, pair.real(unit.norm.target))
        pair.memo[site.weights.target] = pair.let(local_name(site.name), ir.Apply(REAL, "exp", (less,)))

    def _weights(self, pair: Scope) -> tuple[Weight, ...]:
        access = self.unit.site.weights.target
        grouped: dict[Expr, list[TileSum]] = {}
        for c in self.sums:
            if c.kind != PAIR or c.turns:
                grouped.setdefault(c.weight, []).append(c)
        out = []
        for w, sums in grouped.items():
            name = self.looped.namer.fresh("weight_tile", ours=True)
            scope = pair.child() if self.unit.kind != ONLINE else self.looped.child()
            if self.unit.kind == ONLINE:
                rest = linear_in(w, access)
                assert rest is not None
                if rest is not E.ONE:
                    scope.memo.update({x: v for x, v in pair.memo.items() if isinstance(x, Reduce)})
                    scope.give(rest)
            else:
                scope.stmts.append(ir.Assign("value", scope.real(w)))
            outputs: list[Output] = []
            totals: list[tuple[str, str, ir.Block]] = []
            paired: list[tuple[str, str, ir.Block]] = []
            for c in sums:
                if c.operand is not None:
                    outputs.append(self._output(c))
                    continue
                total = self.looped.namer.fresh(local_name(c.stored.name))
                running = self.looped.namer.fresh(f"{local_name(c.stored.name)}_part")
                (paired if c.kind == PAIR else totals).append((running, total, self._after(c, total)))
            out.append(Weight(name, tuple(scope.stmts), tuple(outputs), tuple(totals), tuple(paired)))
        return tuple(out)

    def _output(self, c: TileSum) -> Output:
        assert c.operand is not None
        column = self.context.counter(c.columns, "column", self.looped.namer)
        acc = self.looped.namer.fresh(f"{local_name(c.stored.name)}_tile")
        total = self.looped.namer.fresh(local_name(c.stored.name))
        return Output(
            acc,
            column,
            self.context.count(c.columns),
            self._element(c.operand, c.columns, column),
            runs_along(c.operand, c.columns),
            total,
            self._after(c, total, column),
        )

    def _after(self, c: TileSum, total: str, column: str = "") -> ir.Block:
        """What stores a result that stands in the local `total`."""
        scope = self.outer.child()
        scope.namer = self.looped.namer.child()
        if column:
            self.context.decode(scope, c.columns, column)
        scope.memo[c.statement.target] = Local(REAL, total)
        add = c.stored.name in self.accumulate
        if c.final is None:
            scope.store(c.statement, add)
        else:
            scope.share([c.final.expr])
            scope.define(c.final, True, add)
        if c.copy in self.stored:
            scope.memo[Get(c.copy, c.stored.indices)] = scope.memo[c.stored.target]
            scope.store(Statement(c.copy, c.stored.indices, c.whole))
        return self._inside(c, ir.prune(tuple(scope.stmts)))

    def _inside(self, c: TileSum, stmts: ir.Block) -> ir.Block:
        """Statements that stay within a result whose axis is shorter than its twin's."""
        twinned = {i for pair in self.unit.twins for i in pair if pair[0].extent != pair[1].extent}
        for i in c.stored.indices:
            if i in twinned:
                stmts = (ir.If(ir.Binary(BOOL, "<", self.outer.places[i], self.outer.size(i.extent)), stmts),)
        return stmts

    def _stores(self, pair: Scope) -> ir.Block:
        """Values of pairs that are results themselves."""
        scope = pair.child()
        for c in self.sums:
            if c.kind == PAIR and not c.turns:
                scope.define(
                    Statement(c.statement.name, c.statement.indices, c.weight),
                    True,
                    c.statement.name in self.accumulate,
                )
        return tuple(scope.stmts)

    def _norm(self) -> ir.Block:
        """Stores what normalises a row, where the backward needs it."""
        norm = self.unit.norm
        if self.unit.kind != ONLINE or norm.name not in self.stored:
            return ()
        scope = self.outer.child()
        scope.memo[norm.target] = Local(REAL, self.norm)
        scope.store(norm)
        return tuple(scope.stmts)

    def _pairs(self) -> tuple[Statement, ...]:
        """What is made of each pair."""
        site, unit = self.unit.site, self.unit
        if unit.kind != ONLINE:
            return (Statement(site.name, site.weights.indices, unit.weights),)
        bound = Index("~key", site.key.extent)
        soft = E.softmax((bound,), E.substitute(site.score, {site.key: bound}), (site.key,))
        weights = Statement(site.name, site.weights.target.subs, soft)  # type: ignore[arg-type]
        return (weights, unit.norm) if unit.norm.name in self.stored else (weights,)


def _real(value: Fraction) -> Literal:
    return Literal(REAL, value)
