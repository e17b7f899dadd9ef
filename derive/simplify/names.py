"""Rewriting in what the forward already has: sub-terms of the formula that a gradient reads get a name.

    (V + eps)^(-3/2)       ->  rstd³              when the formula computes rstd = (V + eps)^(-1/2)
    1 − tanh(u)²           ->  1 − t²             when it computes t = tanh(u)
    (X − M)                ->  xhat / rstd        when it computes the product xhat = (X − M)·rstd
    A/B²                   ->  Y/B                when it computes the quotient Y = A/B, which overflows less, too

Names are introduced where a partial derivative is formed, in the letters of its statement; those that the finished
gradient does not use disappear again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from derive import expr as E
from derive.chain import axis_letters
from derive.expr import Add, Call, Expr, Get, Index, Mul, Num, Pow, Reduce, Softmax, Where
from derive.patterns import Names
from derive.program import Program, Statement
from derive.reads import steady
from derive.simplify.cost import divides

WORTH_NAMING = {"exp": "e", "log": "l", "tanh": "t", "erf": "e", "sin": "s", "cos": "c", "sigmoid": "s",
                "softplus": "s", "log1p": "l", "expm1": "e"}


@dataclass(frozen=True)
class Product:
    """`name = part · scale`: a centred or plain value times an inverse scale, as in x̂ = (X − M)·rstd."""

    name: str
    part: Expr
    scale: Expr
    within: frozenset[str]  # statements in whose partials the part is rewritten


@dataclass
class ForwardNames:
    """Names for sub-terms of one forward program.

    Attributes:
        definitions: candidate statements, by name, in order of discovery.
        products: the x̂-like ones.
        use_products: whether to rewrite with them.
    """

    program: Program
    use_products: bool
    names: Names = field(default_factory=Names)
    definitions: dict[str, Statement] = field(default_factory=dict)
    host: dict[str, int] = field(default_factory=dict)  # name -> the statement before which all it reads is there
    products: list[Product] = field(default_factory=list)
    astray: dict[Expr, bool] = field(default_factory=dict)  # see `_strays`, which looks at each sub-term once

    def __post_init__(self) -> None:
        self.taken = self.program.names | {n for n, _ in self.program.letters}
        self.taken |= {i.name for s in self.program.statements for i in s.indices}  # a letter of its own, as l1
        self.taken |= {i.name for t in self.program.inputs for i in axis_letters(self.program, t.name)}  # of a gradient
        self.taken |= {"d" + n for n in self.program.names}
        for s in self.program.statements:
            if s.expr._height == 0 and not isinstance(s.expr, (Get, Num)) and _reads(s.expr):
                self.names.define(s.expr, s.name, s.indices)
        for s in self.program.statements:
            for body, letters, guarded in _bodies(s):
                self._collect(body, letters, guarded)
        if self.use_products:
            for n, s in enumerate(self.program.statements):
                for body, letters, guarded in _bodies(s):
                    self._collect_products(body, letters, guarded, n)

    # ------------------------------------------------------------------------------------------ candidates

    def _collect(self, body: Expr, letters: tuple[Index, ...], guarded: bool) -> None:
        factors = {f for x in E.subterms(body) if isinstance(x, (Mul, Pow))
                   for f in (x.args if isinstance(x, Mul) else (x.base,))}
        for x in self._values(body, guarded):
            if not _reads(x) or x._height:
                continue
            if isinstance(x, Call) and x.fn in WORTH_NAMING:
                self._name(x, WORTH_NAMING[x.fn], letters)
            elif isinstance(x, Pow) and isinstance(x.exponent, Num) and x.exponent.value.denominator != 1:
                self._name(x, "rstd" if x.exponent.value < 0 else "root", letters)
            elif isinstance(x, Add) and x in factors and all(isinstance(E.coefficient(t)[1], Get) for t in x.args):
                self._name(x, "c", letters)

    def _collect_products(self, body: Expr, letters: tuple[Index, ...], guarded: bool, host: int) -> None:
        for x in self._values(body, guarded):
            if not isinstance(x, Mul):
                continue
            scales = [f for f in x.args if self._divides(f)]
            for r in scales:
                parts = [f for f in x.args if isinstance(f, (Add, Get)) and f.free > r.free]
                parts = [f for f in parts if isinstance(f, Add)] or parts
                if len(parts) == 1:
                    self._product(x, parts[0], r, letters, host)

    def _divides(self, f: Expr) -> bool:
        """Whether a factor is an inverse power, in place or as the name of a statement."""
        if isinstance(f, Get) and (made := self.program.statement(f.tensor)) is not None:
            f = made.expr
        return divides(f) and _reads(f)

    def _values(self, e: Expr, within: bool) -> list[Expr]:
        """Sub-terms of `e` that are values, not conditions, subscripts or insides of reductions; largest first.

        A branch that reads at computed places is left out whole: a name has no guard, and would read out of range.

        Args:
            within: whether `e` itself stands in a branch.
        """
        seen: dict[Expr, None] = {}

        def walk(x: Expr, guarded: bool) -> None:
            if x in seen or isinstance(x, (E.Cmp, E.Logic, E.Truth)) or (guarded and self._strays(x)):
                return
            if not isinstance(x, (Get, Reduce, Softmax)):
                for c in x.children:
                    walk(c, guarded or isinstance(x, Where))
            seen[x] = None

        walk(e, within)
        return list(seen)[::-1]

    def _strays(self, e: Expr) -> bool:
        """Whether a guard may be all that keeps a read of `e` in range."""
        if e not in self.astray:
            self.astray[e] = any(self._strays(c) for c in e.children) or (
                isinstance(e, Get) and (any(self.program.parts(e)) or not steady(e)))
        return self.astray[e]

    def _product(self, whole: Mul, part: Expr, scale: Expr, letters: tuple[Index, ...], host: int) -> None:
        both = E.mul(part, scale)
        if any(p.part is part and p.scale is scale for p in self.products):
            return
        hit = self.names.find(both)
        if hit is None:
            stem = next((t for t in E.tensors(part)), "x").split("_")[0] or "x"  # of `Y_sum_2` too: yhat
            name = self._name(both, stem.lower() + "hat", letters)
            if name is None:
                return
        else:
            name = hit.tensor
        near = self._between(part, scale, host)
        self.products.append(Product(name, part, scale, near))

    def _between(self, part: Expr, scale: Expr, host: int) -> frozenset[str]:
        """The statement of the product, and those that its scale is computed from."""
        reach = set(E.tensors(scale))
        for s in reversed(self.program.statements):
            if s.name in reach:
                reach |= set(E.tensors(s.expr))
        return frozenset(reach | {self.program.statements[host].name})

    def _name(self, e: Expr, stem: str, letters: tuple[Index, ...]) -> str | None:
        if self.names.find(e) is not None:
            return None
        indices = tuple(i for i in letters if i in e.free)
        name, n = stem, 0
        while name in self.taken:
            n += 1
            name = f"{stem}{n}"
        shown = presentable(indices)
        if not self.names.define(e, name, indices):
            return None
        self.taken.add(name)
        self.definitions[name] = Statement(name, shown, E.substitute(e, dict(zip(indices, shown, strict=True))))
        made = [s.name for s in self.program.statements]
        self.host[name] = 1 + max((made.index(t) for t in E.tensors(e) if t in made), default=-1)
        return name

    # --------------------------------------------------------------------------------------------- rewriting

    def rewrite(self, statement: Statement, e: Expr) -> Expr:
        """`e`, a coefficient in the letters of `statement`, with everything named that has a name."""
        e = self.replace(_quotient_named(statement, e))
        for p in self.products:
            if statement.name in p.within:
                e = self._with_product(e, p)
        return e

    def _with_product(self, e: Expr, p: Product) -> Expr:
        part, scale = self.replace(p.part), self.replace(p.scale)
        pattern = Names()
        order = tuple(sorted(part.free, key=lambda i: i.key))
        pattern.define(part, p.name, order)

        def step(x: Expr) -> Expr:
            if not isinstance(x, (Mul, Pow)):
                return x
            out = []
            for f in E.factors(x):
                base, exponent = E.split_power(f)
                hit = pattern.find(base)
                if hit is None:
                    out.append(f)
                    continue
                values: dict[Expr, Expr] = dict(zip(order, hit.subs, strict=True))
                both = E.mul(E.substitute(p.part, values), E.substitute(p.scale, values))
                name = self.names.find(both)
                out.append(f if name is None else E.power(
                    E.div(name, E.substitute(scale, values)), exponent))
            return E.mul(*out)

        whole = pattern.find(e)
        return step(E.Mul((E.ONE, e))) if whole is not None else E.transform(e, step)

    def replace(self, e: Expr, skip: Expr | None = None) -> Expr:
        """Every named sub-term by its name, outermost first; `skip` is left as it is at the root."""
        memo: dict[Expr, Expr] = {}

        def walk(x: Expr) -> Expr:
            if x in memo:
                return memo[x]
            found: Expr | None = None
            if x is not skip and not isinstance(x, (Get, Index)) and not x._height:
                found = self.names.find(x)
            if found is None and isinstance(x, Pow):
                found = self._power(x)
            if found is None:
                found = E.rebuild(x, tuple(walk(c) for c in x.children)) if x.children else x
            memo[x] = found
            return found

        return walk(e)

    def _power(self, x: Pow) -> Expr | None:
        """(V + eps)^q as a whole power of a named (V + eps)^p; q not whole: that exists of V + eps < 0 too."""
        if not isinstance(x.exponent, Num) or x.exponent.value.denominator == 1:
            return None
        for p in (-1, 1):
            root = self.names.find(E.power(x.base, E.num(E.HALF.value * p)))
            if root is not None and (ratio := x.exponent.value / (E.HALF.value * p)).denominator == 1:
                return E.power(root, E.num(ratio))
        return None

    def extended(self, used: set[str]) -> Program:
        """The forward program with statements for the names in `used`, and written in terms of them."""
        needed = set(used) & set(self.definitions)
        statements: list[Statement] = []
        chosen = Names()
        for name in self.definitions:
            if name in needed:
                d = self.definitions[name]
                chosen.define(d.expr, name, d.indices)
        for n, s in enumerate(self.program.statements):
            for name in sorted(needed, key=lambda x: (len(E.subterms(self.definitions[x].expr)), x)):
                if self.host[name] == n:  # inner terms before those that contain them
                    d = self.definitions[name]
                    statements.append(Statement(name, d.indices, _written(d.expr, chosen, self, needed, skip=d.expr)))
            statements.append(Statement(s.name, s.indices, _written(s.expr, chosen, self, needed), s.line))
        p = self.program
        return Program(p.text, p.params, p.inputs, tuple(statements), p.outputs, p.letters)


def _written(e: Expr, chosen: Names, names: ForwardNames, needed: set[str], skip: Expr | None = None) -> Expr:
    """`e` in terms of the chosen names, products included."""
    def step(x: Expr) -> Expr:
        if isinstance(x, Mul):
            for p in names.products:
                if p.name in needed and x is not skip:
                    both = E.factors(E.mul(p.part, p.scale))
                    if set(both) <= set(x.args) and x is not skip:
                        hit = names.names.find(E.mul(*both))
                        if hit is not None:
                            return walk(E.mul(hit, *(f for f in x.args if f not in both)))
        return x

    memo: dict[Expr, Expr] = {}

    def walk(x: Expr) -> Expr:
        if x not in memo:
            found: Expr | None = None if x is skip or isinstance(x, (Get, Index)) or x._height else chosen.find(x)
            if found is None:
                stepped = step(x)
                found = stepped if stepped is not x else (
                    E.rebuild(x, tuple(walk(c) for c in x.children)) if x.children else x)
            memo[x] = found
        return memo[x]

    return walk(e)


def _quotient_named(s: Statement, e: Expr) -> Expr:
    """`e` with `Y/B` for `A/B²`, where the statement is Y = A/B: the slope of a quotient by what it is divided by."""
    if not isinstance(s.expr, Mul) or s.expr._height:
        return e
    wanted = [E.split_power(f) for f in s.expr.args]
    below = {b for b, x in wanted if isinstance(x, Num) and x.value < 0 and x.value.denominator == 1 and _reads(b)}

    def step(x: Expr) -> Expr:
        if not isinstance(x, Mul):
            return x
        have = dict(map(E.split_power, x.args))
        whole = all(b in have and (have[b] is p or b in below) for b, p in wanted if not isinstance(b, Num))
        more = whole and {_more(have[b], p) for b, p in wanted if b in below}
        return E.mul(s.target, E.div(x, s.expr)) if more and max(more) > 0 <= min(more) else x

    return E.transform(e, step) if below else e


def _more(x: Expr, than: Expr) -> Fraction:
    """How much further down a power stands than another; -1 where that is not known."""
    return than.value - x.value if isinstance(x, Num) and isinstance(than, Num) else Fraction(-1)


def presentable(indices: tuple[Index, ...], beside: tuple[Index, ...] = ()) -> tuple[Index, ...]:
    """The same indices under names that can be written: bound ones take their extent's letter, or a spare one."""
    taken = {i.name for i in (*beside, *indices)}
    out: list[Index] = []
    for i in indices:
        name = i.name
        if not name.isidentifier():
            stem = i.extent if i.extent.isidentifier() else "i"
            name, n = stem, 1
            while name in taken:
                n, name = n + 1, f"{stem}{n}"
            taken.add(name)
        out.append(Index(name, i.extent))
    return tuple(out)


def _reads(e: Expr) -> bool:
    return any(isinstance(x, Get) for x in E.subterms(e))


def _bodies(s: Statement) -> list[tuple[Expr, tuple[Index, ...], bool]]:
    """The pointwise expressions of a statement, binders opened, with the letters in scope, and whether a guard is."""
    out: list[tuple[Expr, tuple[Index, ...], bool]] = []

    def walk(e: Expr, letters: tuple[Index, ...], guarded: bool) -> None:
        out.append((e, letters, guarded))
        open_to_all = _unguarded(e)
        for x in E.subterms(e):
            if isinstance(x, (Reduce, Softmax)) and not x.free - set(letters):
                inner, body = E.open_binder(x, avoid=letters)
                walk(body, (*letters, *inner), guarded or x not in open_to_all)

    walk(s.expr, s.indices, False)
    return out


def _unguarded(e: Expr) -> set[Expr]:
    """Sub-terms of `e` that stand somewhere in no branch."""
    found: set[Expr] = set()

    def walk(x: Expr) -> None:
        if x not in found:
            found.add(x)
            for c in (x.cond,) if isinstance(x, Where) else x.children:
                walk(c)

    walk(e)
    return found
