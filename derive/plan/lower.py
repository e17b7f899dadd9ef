"""The freeze: terms of index notation become scalars, loops and stores with names.

A `Scope` is a block under construction.  A sub-term that several others read is bound to a local in the block where
it is first evaluated without condition; the branches of a `where` are blocks of their own, so that what a guard
protects stays behind it.  A reduction becomes a loop, and what does not depend on its index is computed before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from derive import expr as E
from derive.errors import PlanError
from derive.expr import Add, Call, Cmp, Expr, Get, Index, Logic, Mul, Num, Pow, Reduce, Size, Truth, Where
from derive.plan import ir
from derive.plan.ir import BOOL, INT, REAL, Apply, Binary, Choose, Literal, Local, Scalar, Stmt, Unary
from derive.plan.names import Namer
from derive.plan.terms import Memory, divided, is_integer, letter, local_name, natural
from derive.program import Statement
from derive.reads import steady


@dataclass(frozen=True)
class Frame:
    """What all scopes of a kernel share.

    Attributes:
        memory: buffer of each tensor.
        sizes: name of the size of each extent class.
        flat: runs of indices that one counter covers, as (i, j) in a loop over all elements of `X[i,j]`.
    """

    memory: Mapping[str, Memory]
    sizes: Mapping[str, str]
    flat: tuple[tuple[tuple[Index, ...], Scalar], ...] = ()


@dataclass
class Scope:
    """A block being written.  `memo` holds what is already computed here, `places` the local of each index."""

    frame: Frame
    namer: Namer
    places: dict[Index, Scalar] = field(default_factory=dict)
    memo: dict[Expr, Scalar] = field(default_factory=dict)
    shared: frozenset[Expr] = frozenset()
    stmts: list[Stmt] = field(default_factory=list)
    parent: Scope | None = None
    scales: dict[Expr, tuple[Expr, Expr]] = field(default_factory=dict)  # products as what is known times the rest

    # ------------------------------------------------------------------------------------------ scopes

    def child(self) -> Scope:
        return Scope(self.frame, self.namer.child(), dict(self.places), {}, self.shared, [], self)

    def find(self, e: Expr) -> Scalar | None:
        scope: Scope | None = self
        while scope is not None:
            if e in scope.memo:
                return scope.memo[e]
            scope = scope.parent
        return None

    def split(self, e: Expr) -> tuple[Expr, Expr] | None:
        scope: Scope | None = self
        while scope is not None:
            if e in scope.scales:
                return scope.scales[e]
            scope = scope.parent
        return None

    def let(self, wish: str, value: Scalar) -> Scalar:
        name = self.namer.fresh(wish)
        self.stmts.append(ir.Let(name, value))
        return Local(value.kind, name)

    def index(self, i: Index) -> Scalar:
        """A new local for an index, named after its letter."""
        local = Local(INT, self.namer.fresh(letter(i)))
        self.places[i] = local
        return local

    def size(self, extent: str) -> Scalar:
        return Local(INT, self.frame.sizes[extent])

    def share(self, roots: Iterable[Expr]) -> None:
        """Note which sub-terms of `roots` are read more than once; an element under // or % is read where it stands,
        since int64 may hold more there than an index can."""
        seen: dict[Expr, int] = {}

        def walk(x: Expr) -> None:
            seen[x] = seen.get(x, 0) + 1
            if seen[x] == 1:
                for c in x.children:
                    walk(c)

        for r in roots:
            walk(r)
        self.shared = frozenset(x for x, n in seen.items() if n > 1) - divided(seen)

    # ------------------------------------------------------------------------------------------ values

    def real(self, e: Expr) -> Scalar:
        if is_integer(e, self.frame.memory):
            return _as_real(self.integer(e))
        found = self.find(e)
        if found is not None:
            return found
        split = self.split(e)
        value = self._real(e) if split is None else Binary(REAL, "*", self.real(split[0]), self.real(split[1]))
        if e in self.shared and not isinstance(value, (Literal, Local)):
            value = self.let(_wish(e), value)
        self.memo[e] = value
        return value

    def _real(self, e: Expr) -> Scalar:
        match e:
            case Num():
                return Literal(REAL, e.value)
            case E.Const(name="pi"):
                return Literal(REAL, Fraction(314159265358979323846264338327950288, 10**35))
            case Get():
                return ir.Load(REAL, self.frame.memory[e.tensor].name, self.offset(e))
            case Add():
                return self._sum(e)
            case Mul():
                return self._product(e)
            case Pow():
                return self._power(e)
            case Call():
                fn = {"maximum": "greater", "minimum": "lesser"}.get(e.fn, e.fn)
                return Apply(REAL, fn, tuple(self.real(a) for a in e.args))
            case Where():
                return self._where(e)
            case Reduce():
                return self._reduce(e)
            case Cmp() | Logic() | Truth():
                return Choose(REAL, self.cond(e), Literal(REAL, Fraction(1)), Literal(REAL, Fraction(0)))
        raise PlanError(f"no plan covers {type(e).__name__}", value=repr(e)[:200])

    def _sum(self, e: Add) -> Scalar:
        whole = [t for t in e.args if is_integer(t, self.frame.memory) and not isinstance(t, Num)]
        if len(whole) > 1:  # index arithmetic stays exact
            rest = [t for t in e.args if t not in whole]
            return _add(_as_real(self.integer(E.add(*whole))), [(t, self) for t in rest])
        positive = [t for t in e.args if E.coefficient(t)[0] > 0] or [e.args[0]]
        rest = [t for t in e.args if t is not positive[0]]
        return _add(self.real(positive[0]), [(t, self) for t in rest])

    def _product(self, e: Mul) -> Scalar:
        over, under = [], []
        for f in e.args:
            base, exponent = E.split_power(f)
            if isinstance(exponent, Num) and exponent.value < 0 and exponent.value.denominator == 1:
                under.append(E.power(base, E.neg(exponent)))
            else:
                over.append(f)
        sign = bool(over) and over[0] is E.MINUS_ONE
        if sign:
            over = over[1:]
        value = self.real(over[0]) if over else Literal(REAL, Fraction(1))
        for f in over[1:]:
            value = Binary(REAL, "*", value, self.real(f))
        for f in under:
            value = Binary(REAL, "/", value, self.real(f))
        return Unary(REAL, "-", value) if sign else value

    def _power(self, e: Pow) -> Scalar:
        if not isinstance(e.exponent, Num) or e.exponent.value.denominator > 2:
            return Apply(REAL, "pow", (self.real(e.base), self.real(e.exponent)))
        n, base = e.exponent.value, self.real(e.base)
        if n.denominator == 2:
            root = Apply(REAL, "sqrt" if n > 0 else "rsqrt", (base,))
            return _whole_power(root, abs(n.numerator))
        value = _whole_power(base, abs(int(n)))
        return value if n > 0 else Binary(REAL, "/", Literal(REAL, Fraction(1)), value)

    def _where(self, e: Where) -> Scalar:
        cond = self.cond(e.cond)
        name = self.namer.fresh("value", ours=True)
        sides = []
        for branch in (e.then, e.other):
            inner = self.child()
            inner.share([branch])
            sides.append((inner, inner.real(branch)))
        if not any(inner.stmts for inner, _ in sides):
            self.namer.taken.discard(name)
            return Choose(REAL, cond, sides[0][1], sides[1][1])
        self.stmts.append(ir.Declare(name, None))
        then, other = ((*inner.stmts, ir.Assign(name, v)) for inner, v in sides)
        self.stmts.append(ir.If(cond, then, other))
        return Local(REAL, name)

    def give(self, e: Expr) -> None:
        """`value = e`, for a template that declares `value` around it: no local of ours may hide that one."""
        self.namer.reserve(("value",))
        self.share([e])
        self.stmts.append(ir.Assign("value", self.real(e)))

    # ------------------------------------------------------------------------------------------ reductions

    def _reduce(self, e: Reduce) -> Scalar:
        indices, body = E.open_binder(e, avoid=self.places)
        name = self.namer.fresh({"sum": "total", "max": "greatest", "min": "least"}[e.op], ours=True)
        self.stmts.append(ir.Accumulator(name, e.op))
        self.loop(indices, body, name, e.op)
        return Apply(REAL, "total", (Local(REAL, name),)) if e.op == "sum" else Local(REAL, name)

    def loop(self, indices: tuple[Index, ...], body: Expr, name: str, op: str) -> None:
        """Loops over `indices` that accumulate `body` in `name`."""
        if not indices:
            self.accumulate(body, name, op)
            return
        self.hoist(body, frozenset(indices))
        inner = self.child()
        local = inner.index(indices[0])
        assert isinstance(local, Local)
        inner.share([body])
        inner.loop(indices[1:], body, name, op)
        self.stmts.append(ir.For(local.name, self.size(indices[0].extent), tuple(inner.stmts)))

    def accumulate(self, body: Expr, name: str, op: str) -> None:
        if op == "sum" and isinstance(body, Where) and body.other is E.ZERO:
            cond, inner = self.cond(body.cond), self.child()
            inner.accumulate(body.then, name, op)
            self.stmts.append(ir.If(cond, tuple(inner.stmts)))
        else:
            self.stmts.append(ir.Accumulate(name, op, self.real(body)))

    def hoist(self, e: Expr, bound: frozenset[Index]) -> None:
        """Compute here what a loop over `bound` would compute again and again: reductions and functions that do not
        depend on `bound`, are not guarded, and read in range."""
        if (
            not e.free & bound
            and isinstance(e, (Reduce, Call, Pow))
            and steady(e)
            and not is_integer(e, self.frame.memory)
        ):
            value = self.real(e)
            if not isinstance(value, (Literal, Local)):
                self.memo[e] = self.let(_wish(e), value)
            return
        if isinstance(e, Where):
            self.hoist(e.cond, bound)
        elif not isinstance(e, Reduce):
            for c in e.children:
                self.hoist(c, bound)

    # ------------------------------------------------------------------------------------------ conditions

    def cond(self, e: Expr) -> Scalar:
        match e:
            case Truth():
                return Literal(BOOL, Fraction(int(e.value)))
            case Logic(op="not"):
                return Unary(BOOL, "!", self.cond(e.args[0]))
            case Logic():
                return self._chain(e)
            case Cmp():
                whole = is_integer(e.left, self.frame.memory) and is_integer(e.right, self.frame.memory)
                read = self.integer if whole else self.real
                left, op, right = e.sides
                return Binary(BOOL, op, read(left), read(right))
        raise PlanError(f"{type(e).__name__} is no condition", value=repr(e)[:200])

    def _chain(self, e: Logic) -> Scalar:
        """`a && b && ...`, the first guards the reads of the rest; what reads at bare indices needs no guard."""
        op = "&&" if e.op == "and" else "||"
        first, *rest = sorted(e.args, key=lambda a: not steady(a))
        value = self.cond(first)
        for a in rest:
            name = self.namer.fresh("holds", ours=True)
            inner = self.child()
            inner.share([a])
            more = inner.cond(a)
            if not inner.stmts:
                self.namer.taken.discard(name)
            if inner.stmts:
                self.stmts.append(ir.Declare(name, value, BOOL))
                value = Local(BOOL, name)
                self.stmts.append(
                    ir.If(value if op == "&&" else Unary(BOOL, "!", value), (*inner.stmts, ir.Assign(name, more)))
                )
            else:
                value = Binary(BOOL, op, value, more)
        return value

    # ------------------------------------------------------------------------------------------ integers

    def integer(self, e: Expr) -> Scalar:
        match e:
            case Num():
                return Literal(INT, e.value)
            case Index():
                return self.places[e]
            case Size():
                return self.size(e.extent)
            case Get():
                found = self.find(e)
                if found is None:
                    found = ir.Load(INT, self.frame.memory[e.tensor].name, self.offset(e))
                    if e in self.shared:
                        found = self.let(_wish(e), found)
                    self.memo[e] = found
                return found
            case Add():
                first = next((t for t in e.args if E.coefficient(t)[0] > 0 and not isinstance(t, Num)), e.args[0])
                value = self.integer(first)
                for t in e.args:
                    c, rest = E.coefficient(t)
                    if t is first:
                        continue
                    size = self.integer(E.mul(E.num(abs(c)), rest))
                    value = Binary(INT, "-" if c < 0 else "+", value, size)
                return value
            case Mul():
                value = self.integer(e.args[0])
                for f in e.args[1:]:
                    value = Binary(INT, "*", value, self.integer(f))
                return value
            case Pow():
                return _product_of([self.integer(e.base)] * int(e.exponent.value))  # type: ignore[attr-defined]
            case Call(fn="floordiv" | "mod"):
                a, b = (self.integer(x) for x in e.args)
                if natural(e.args[0]):
                    return Binary(INT, "/" if e.fn == "floordiv" else "%", a, b)
                return Apply(INT, e.fn, (a, b))
        raise PlanError(f"{type(e).__name__} is no integer", value=repr(e)[:200])

    def offset(self, g: Get) -> Scalar:
        """Where an element lies: ((i*n1 + j)*n2 + k), C layout; a run of indices with a counter is one step."""
        return self.place(g.subs, self.frame.memory[g.tensor].axes)

    def place(self, subs: tuple[Expr, ...], axes: tuple[str, ...]) -> Scalar:
        """The number of an element in an array with these axes, in C layout."""
        value: Scalar | None = None
        n = 0
        while n < len(subs):
            run, counter = next(((r, c) for r, c in self.frame.flat if r and subs[n : n + len(r)] == r), ((), None))
            at = self.integer(subs[n]) if counter is None else counter
            width = max(len(run), 1)
            if value is None or value == ir.integer(0):
                value = at
            else:
                step = Binary(INT, "*", value, self.extent(axes[n : n + width]))
                value = step if at == ir.integer(0) else Binary(INT, "+", step, at)
            n += width
        return ir.integer(0) if value is None else value

    def extent(self, axes: Iterable[str]) -> Scalar:
        """The product of sizes."""
        return _product_of([self.size(a) for a in axes] or [ir.integer(1)])

    # ------------------------------------------------------------------------------------------ statements

    def define(self, s: Statement, stored: bool, accumulate: bool = False) -> None:
        """The value of a statement, known under its target from here on, and in memory if it is to be `stored`."""
        value = self.real(s.expr)
        if not isinstance(value, (Literal, Local)) and (s.target in self.shared or not stored or accumulate):
            value = self.let(local_name(s.name, s.name in self.frame.memory), value)
        self.memo[s.target] = value
        if stored:
            self.store(s, accumulate)

    def store(self, s: Statement, accumulate: bool = False) -> None:
        value = self.find(s.target)
        assert value is not None
        self.stmts.append(ir.Store(self.frame.memory[s.name].name, self.offset(s.target), value, accumulate))


def _as_real(value: Scalar) -> Scalar:
    return Literal(REAL, value.value) if isinstance(value, Literal) else Apply(REAL, "real", (value,))


def _add(value: Scalar, rest: list[tuple[Expr, Scope]]) -> Scalar:
    for t, scope in rest:
        c, _ = E.coefficient(t)
        minus = c < 0
        value = Binary(REAL, "-" if minus else "+", value, scope.real(E.neg(t) if minus else t))
    return value


def _product_of(values: list[Scalar]) -> Scalar:
    out = values[0]
    for v in values[1:]:
        out = Binary(INT, "*", out, v)
    return out


def _whole_power(value: Scalar, n: int) -> Scalar:
    if n == 1:
        return value
    return Apply(REAL, {2: "square", 3: "cube"}[n], (value,)) if n < 4 else Apply(REAL, "powi", (value, ir.integer(n)))


def _wish(e: Expr) -> str:
    if isinstance(e, Get):
        return local_name(e.tensor)
    return {"exp": "e", "sigmoid": "s", "tanh": "t"}.get(e.fn, e.fn) if isinstance(e, Call) else "v"
