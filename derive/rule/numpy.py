"""A program as runnable NumPy, one statement an item: matrix products, einsum, broadcasts, `np.add.at`.

The code reads `np`, `erf`, the tensors by name, parameters by name and `size_<letter>`; nothing else.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction
from functools import partial

from derive import expr as E
from derive.errors import DerivationError
from derive.expr import (
    Add,
    Call,
    Cmp,
    Const,
    Expr,
    Get,
    Index,
    Logic,
    Mul,
    Num,
    Param,
    Pow,
    Reduce,
    Size,
    Softmax,
    Truth,
    Where,
)
from derive.program import Program, Statement
from derive.rule.access import AccessPrinter, reached
from derive.rule.arrays import (
    ADD,
    ATOM,
    COMPARE,
    JOIN,
    MUL,
    NOT,
    POW,
    UNARY,
    Array,
    aligned,
    literal,
    number,
    transposed,
    union,
)
from derive.rule.contract import contraction
from derive.rule.letters import visible_means
from derive.rule.namespace import apart
from derive.rule.places import Places

UFUNCS = {"erf": "erf", **{fn: f"np.{fn}" for fn in (
    "exp", "log", "log1p", "expm1", "tanh", "sin", "cos", "abs", "sign", "maximum", "minimum")}}


class NumPyPrinter(AccessPrinter):
    """Terms to arrays. `scope` orders the axes of what is printed: the statement's indices, then bound ones."""

    masked: frozenset[str] = frozenset()  # tensors that may hold the -1e30 of a mask

    def array(self, e: Expr, scope: tuple[Index, ...], guarded: bool = False) -> Array:
        """The array of `e`; `guarded` says that an access may be out of range and must be clipped."""
        match e:
            case Num():
                return literal(e)
            case Const():
                return Array("np.pi", ())
            case Param():
                return Array(e.name, ())
            case Size():
                return Array(self.size(e.extent), ())
            case Index():
                return Array(f"np.arange({self.size(e.extent)})", (e,))
            case Get():
                return self.access(e, scope, guarded)
            case Add():
                return self._sum_of_terms(e, scope, guarded)
            case Mul():
                return self._product(e, scope, guarded)
            case Pow():
                return self._power(e, scope, guarded)
            case Call():
                return self._call(e, scope, guarded)
            case Where():
                return self._where(e, scope, guarded)
            case Cmp() | Logic() | Truth():
                return self._condition(e, scope, guarded)
            case Reduce(op="sum"):
                return self._sum(e, scope, guarded, "np.sum")
            case Reduce(op="max" | "min"):
                inner, body = E.open_binder(e, avoid=scope)
                return self._reduced(f"np.{e.op}", self.array(body, self.order(body, scope, inner), guarded), inner)
        raise DerivationError(f"no NumPy form for a {type(e).__name__} inside an expression", value=repr(e))

    # ------------------------------------------------------------------------------------------- arithmetic

    def _binary(self, a: Array, op: str, b: Array, scope: tuple[Index, ...], level: int) -> Array:
        want = union(scope, a, b)
        if a.boolean and b.boolean:
            a = a.real
        left, right = aligned(a, want), aligned(b, want)
        return Array(f"{left.at(level)} {op} {right.at(level + 1)}" if level == ADD else
                     f"{left.at(level)}{op}{right.at(level + 1)}", want, level)

    def _sum_of_terms(self, e: Add, scope: tuple[Index, ...], guarded: bool) -> Array:
        signed = [(E.coefficient(t)[0] < 0, t) for t in e.args]
        signed.sort(key=lambda st: (st[0], isinstance(st[1], Num)))  # positive terms first, a bare number last
        total: Array | None = None
        for negative, t in signed:
            a = self.array(E.neg(t) if negative else t, scope, guarded)
            if total is None:
                total = Array(f"-{a.real.at(UNARY)}", a.axes, UNARY) if negative else a
            else:
                total = self._binary(total, "-" if negative else "+", a, scope, ADD)
        assert total is not None
        return total

    def _product(self, e: Mul, scope: tuple[Index, ...], guarded: bool) -> Array:
        chosen = _chosen(e)
        if chosen is not None:
            return self._where(chosen, scope, guarded)
        value, rest = E.coefficient(e)
        parts = list(E.factors(rest))
        means, parts = visible_means(parts)
        up: list[Array] = []
        down: list[Array] = []
        denominator: list[Array] = []
        sign = "-" if value < 0 else ""
        value = abs(value)
        if value != 1:
            short = number(value)
            if short.startswith("("):  # no exact short decimal: multiply and divide
                if value.numerator != 1:
                    up.append(Array(str(value.numerator), ()))
                denominator = [Array(str(value.denominator), ())]
            else:
                up.append(Array(short, ()))
        for f in parts:
            base, exponent = E.split_power(f)
            if isinstance(f, Call) and f.fn == "sigmoid":
                down.append(self._one_plus_exp(f, scope, guarded))
            elif isinstance(exponent, Num) and exponent.value < 0:
                down.append(self.array(E.power(base, E.neg(exponent)), scope, guarded))
            else:
                up.append(self.array(f, scope, guarded))
        up += [self._sum(m, scope, guarded, "np.mean") for m in means]
        by_rank = sorted(up, key=lambda a: len(a.axes))  # small operands first: fewer element operations
        total = (by_rank[0].real if sign else by_rank[0]) if by_rank else Array("1", ())
        for a in by_rank[1:]:
            total = self._binary(total, "*", a, scope, MUL)
        if len(down) > 1 and all(not a.axes for a in down):
            joint = self._joint_size(parts)
            down = down if joint is None else [joint]
        down = denominator + down
        if len(down) > 1 and all(not a.axes for a in down):
            total = self._binary(total, "/", Array("*".join(a.at(MUL) for a in down), (), MUL), scope, MUL)
        else:
            for a in down:
                total = self._binary(total, "/", a, scope, MUL)
        total = total.real if sign else total
        return Array(f"-{total.at(MUL)}", total.axes, UNARY if total.level > MUL else MUL) if sign else total

    def _joint_size(self, factors: list[Expr]) -> Array | None:
        """`X.size` for the product of the sizes that divide, if a tensor has exactly those axes."""
        below = [f for f in factors if isinstance(f, Pow) and isinstance(f.exponent, Num) and f.exponent.value < 0]
        if any(isinstance(f, Call) and f.fn == "sigmoid" for f in factors):
            return None
        if not all(isinstance(f.base, Size) and f.exponent is E.MINUS_ONE for f in below):
            return None
        wanted = sorted(f.base.extent for f in below if isinstance(f.base, Size))
        found = next((t.name for t in self.inputs if sorted(t.axes) == wanted), None)
        return Array(f"{found}.size", ()) if found else None

    def _power(self, e: Pow, scope: tuple[Index, ...], guarded: bool) -> Array:
        if isinstance(e.exponent, Num):
            q = e.exponent.value
            if q < 0:
                below = self.array(E.power(e.base, E.num(-q)), scope, guarded)
                return Array(f"1/{below.at(MUL + 1)}", below.axes, MUL)
            base = self.array(e.base, scope, guarded).real
            if q == Fraction(1, 2):
                if _steady(e):
                    return Array(f"{base.at(ATOM)}**0.5", (), POW)
                return Array(f"np.sqrt({base.code})", base.axes)
            return Array(f"{base.at(ATOM)}**{number(q)}", base.axes, POW)
        base = Array(repr(float(e.base.value)), ()) if isinstance(e.base, Num) else self.array(e.base, scope, guarded)
        up = self.array(e.exponent, scope, guarded)
        want = union(scope, base, up)
        return Array(f"{aligned(base, want).at(ATOM)}**{aligned(up, want).at(ATOM)}", want, POW)

    def _call(self, e: Call, scope: tuple[Index, ...], guarded: bool) -> Array:
        args = [self.array(a, scope, guarded).real for a in e.args]
        want = union(scope, *args)
        a = [aligned(x, want) for x in args]
        match e.fn:
            case "sigmoid":
                below = self._one_plus_exp(e, scope, guarded)
                return Array(f"1/{below.at(ATOM)}", below.axes, MUL)
            case "softplus":
                return Array(f"np.logaddexp(0, {a[0].code})", want)
            case "relu":
                return Array(f"np.maximum({a[0].code}, 0)", want)
            case "floordiv":
                return Array(f"{a[0].at(UNARY)}//{a[1].at(UNARY)}", want, ADD)  # in brackets in -(i//2)*x
            case "mod":
                return Array(f"{a[0].at(UNARY)}%{a[1].at(UNARY)}", want, ADD)
        code = f"{UFUNCS[e.fn]}({', '.join(x.code for x in a)})"
        return Array(f"float({code})" if _steady(e) else code, want)

    def _one_plus_exp(self, e: Call, scope: tuple[Index, ...], guarded: bool) -> Array:
        """The denominator of a sigmoid."""
        a = self.array(E.neg(e.args[0]), scope, guarded)
        return Array(f"1 + np.exp({a.code})", a.axes, ADD)

    def _where(self, e: Where, scope: tuple[Index, ...], guarded: bool) -> Array:
        cond = self._condition(e.cond, scope, guarded)
        if e.then is E.ONE and e.other is E.ZERO:
            return replace(cond, boolean=True)
        then, other = self.array(e.then, scope, True).real, self.array(e.other, scope, True).real
        want = union(scope, cond, then, other)
        parts = [aligned(x, want).code for x in (cond, then, other)]
        return Array(f"np.where({', '.join(parts)})", want)

    def _condition(self, e: Expr, scope: tuple[Index, ...], guarded: bool) -> Array:
        match e:
            case Truth():
                return Array(str(e.value), ())
            case Cmp():
                left, op, right = e.sides
                a, b = self.array(left, scope, guarded), self.array(right, scope, guarded)
                want = union(scope, a, b)
                return Array(f"{aligned(a, want).at(ADD)} {op} {aligned(b, want).at(ADD)}", want, COMPARE)
            case Logic(op="not"):
                a = self._condition(e.args[0], scope, guarded)
                if not a.axes:  # ~ of Python's own True is -2, which is true
                    return Array(f"not {a.at(COMPARE)}", (), NOT)
                return Array(f"~{a.at(ATOM)}", a.axes, UNARY)
            case Logic():
                parts = [self._condition(c, scope, guarded or n > 0) for n, c in enumerate(e.args)]
                want = union(scope, *parts)
                joint = " & " if e.op == "and" else " | "
                return Array(joint.join(aligned(p, want).at(ADD) for p in parts), want, JOIN)
        a = self.array(e, scope, guarded)
        return Array(f"{a.at(ADD)} != 0", a.axes, COMPARE)

    # ------------------------------------------------------------------------------------------- reductions

    def _sum(self, e: Reduce, scope: tuple[Index, ...], guarded: bool, function: str) -> Array:
        inner, body = E.open_binder(e, avoid=scope)
        order = self.order(body, scope, inner)
        if function == "np.sum" and isinstance(body, (Mul, Pow)):
            operands = [self.array(f, order, guarded) for f in E.factors(body)]
            product = contraction(operands, inner, scope)
            if product is not None:
                return product
        a = self.array(body, order, guarded)
        return self._reduced(function, a, inner, self.dtype(body) if a.boolean else "")

    def _reduced(self, function: str, a: Array, inner: tuple[Index, ...], dtype: str = "") -> Array:
        places = [n for n, i in enumerate(a.axes) if i in inner]
        rest = tuple(i for i in a.axes if i not in inner)
        if not rest:
            return Array(f"{function}({a.code}{dtype})", ())
        axis = (f"{places[0] if places[0] != len(a.axes) - 1 else -1}" if len(places) == 1
                else "(" + ", ".join(map(str, places)) + ")")
        slots = tuple(None if i in inner else i for i in a.axes)
        kept = (f"{function}({a.code}, axis={axis}, keepdims=True{dtype})", slots)
        return Array(f"{function}({a.code}, axis={axis}{dtype})", rest, ATOM, kept)

    def order(self, body: Expr, scope: tuple[Index, ...], inner: tuple[Index, ...]) -> tuple[Index, ...]:
        """An order of axes for the body of a reduction that spares transposes: that of its widest operand."""
        widest: tuple[Index, ...] = ()
        for x in E.subterms(body):
            plain = isinstance(x, Get) and all(isinstance(s, Index) for s in x.subs)
            if isinstance(x, Get) and plain and len(widest) < len(x.subs) == len(set(x.subs)):
                widest = x.subs  # type: ignore[assignment]
        rest = [i for i in (*scope, *inner) if i not in widest]
        outer = [i for i in rest if i not in inner]
        return (*outer, *widest, *(i for i in rest if i in inner))


# --------------------------------------------------------------------------------------------------- statements

def numpy_program(program: Program, given: Program | None = None, masked: Collection[str] = ()) -> list[str]:
    """Statements of `program` as NumPy source, in order.

    Args:
        program: forward or backward.
        given: the forward program, when `program` is the backward one: its inputs give the sizes of unlettered axes.
        masked: inputs that may hold the -1e30 of a mask themselves.

    Raises:
        DerivationError: no NumPy form, or a tensor is called `size_<letter>` and the rule needs that extent.
    """
    return apart(program, given, partial(_printed, masked))


def _printed(masked: Collection[str], program: Program, given: Program | None, moved: dict[str, str]) -> list[str]:
    names = program.names | (given.names if given else set())
    printer = NumPyPrinter(program, names, Places(given or program), moved)
    printer.given = given.inputs if given else ()
    printer.reached = reached(given or program)
    printer.masked = _masked({moved.get(n, n) for n in masked}, *(p.statements for p in (given, program) if p))
    return [line for s in program.statements for line in _statement(printer, s)]


def _statement(p: NumPyPrinter, s: Statement) -> list[str]:
    if isinstance(s.expr, Softmax):
        return _softmax(p, s, s.expr)
    if isinstance(s.expr, Reduce) and s.expr.op == "logsumexp":
        return _logsumexp(p, s, s.expr)
    scattered = [t for t in E.terms(s.expr) if p.scatters(t, s)]
    if scattered:
        return p.scatter(s, scattered)
    a = p.array(s.expr, s.indices)
    return [f"{s.name} = {p.zeros(s) if a.code == '0' else finished(p, a, s.indices)}"]


def finished(p: NumPyPrinter, a: Array, want: tuple[Index, ...]) -> str:
    """The code of `a` with exactly the axes `want`."""
    a = a.real
    if a.axes == want:
        return a.code
    if set(a.axes) == set(want):
        return transposed(a.at(ATOM), a.axes, want)
    return f"np.broadcast_to({aligned(a, want).code}, {p.shape(i.extent for i in want)}).copy()"


def _shifted(p: NumPyPrinter, s: Statement, e: Reduce | Softmax, inner: tuple[Index, ...], body: Expr
             ) -> tuple[list[str], str, str, bool]:
    scope = tuple(i for i in s.indices if i not in inner) + inner
    full = tuple(i for i in s.indices if i in scope) if isinstance(e, Softmax) else scope
    axes = tuple(full.index(i) for i in inner)
    axis = str(axes[0]) if len(axes) == 1 else str(axes)
    code = finished(p, p.array(body, full), full)
    u = code if code.isidentifier() else p.temporary()
    m = p.temporary()
    start = [] if u == code else [f"{u} = {code}"]
    return [*start, f"{m} = np.max({u}, axis={axis}, keepdims=True)"], u, m, _masks(body, p.masked)


def _masks(e: Expr, masked: Collection[str]) -> bool:
    """Whether some value of `e` may stand for minus infinity: a literal of its own, or one that came by name."""
    match e:
        case Num():
            return e.value <= E.MASKED
        case Get():
            return e.tensor in masked
        case Softmax() | Cmp() | Logic():
            return False
    return any(_masks(x, masked) for x in e.children)


def _masked(found: set[str], *parts: tuple[Statement, ...]) -> frozenset[str]:
    """The tensors whose values may stand for minus infinity, besides those `found` before."""
    for s in (s for part in parts for s in part):
        if _masks(s.expr, found):
            found.add(s.name)
    return frozenset(found)


def _softmax(p: NumPyPrinter, s: Statement, e: Softmax) -> list[str]:
    inner = tuple(a for a in e.at if isinstance(a, Index))
    body = E.substitute(e.body, dict(zip(e.indices, inner, strict=True)))
    lines, u, m, masked = _shifted(p, s, e, inner, body)
    axes = tuple(s.indices.index(i) for i in inner)
    axis = str(axes[0]) if len(axes) == 1 else str(axes)
    value = f"np.exp({u} - {m})"
    if masked:
        value = f"np.where({u} <= -5e29, 0.0, {value})"
    total = f"np.sum({s.name}, axis={axis}, keepdims=True)"
    if masked:
        total = f"np.maximum({total}, 1)"  # the largest score counts 1: only a row masked whole has less
    return [*lines, f"{s.name} = {value}", f"{s.name} = {s.name}/{total}"]


def _logsumexp(p: NumPyPrinter, s: Statement, e: Reduce) -> list[str]:
    inner, body = E.open_binder(e, avoid=s.indices)
    lines, u, m, _ = _shifted(p, s, e, inner, body)
    axes = tuple(len(s.indices) + n for n in range(len(inner)))
    axis = str(axes[0]) if len(axes) == 1 else str(axes)
    return [*lines, f"{s.name} = np.log(np.sum(np.exp({u} - {m}), axis={axis})) + np.squeeze({m}, axis={axis})"]


def _chosen(e: Mul) -> Where | None:
    """`dY·where(c, 1, a)` as `where(c, dY, a·dY)`: two numbers alone would make NumPy's `where` float64."""
    for f, g in (e.args, e.args[::-1]) if len(e.args) == 2 else ():
        if isinstance(f, Where) and isinstance(g, Get) and E.ONE in (f.then, f.other) and (
                _steady(f.then) and _steady(f.other)):
            return Where(f.cond, E.mul(g, f.then), E.mul(g, f.other))
    return None


def _steady(e: Expr) -> bool:
    """Whether `e` is one number, of sizes, parameters and constants: as Python's it leaves an array's float32 as it is,
    where NumPy's own scalar would make it float64."""
    return not e.free and not E.tensors(e)


def value_of(value: Fraction) -> float:
    """A parameter's value for the namespace."""
    return float(value) if value.denominator != 1 or abs(value) > 2**53 else int(value)

