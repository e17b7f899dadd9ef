"""Terms in LaTeX, complete: every sum with its index, every subscript written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

from derive import expr as E
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
from derive.program import Statement
from derive.rule.arrays import ADD, ATOM, MUL, POW, number
from derive.rule.letters import Letters

GREEK = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa", "lambda", "mu", "nu", "xi",
         "rho", "sigma", "tau", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Sigma", "Phi",
         "Psi", "Omega"}
FUNCTIONS = {"exp": r"\exp", "log": r"\log", "tanh": r"\tanh", "sin": r"\sin", "cos": r"\cos", "sigmoid": r"\sigma",
             "maximum": r"\max", "minimum": r"\min"}
CONSTANTS = {"eps": r"\varepsilon"}
SHORT = (2, 3, 4, 8)  # denominators that a reader knows better than their decimals
RELATIONS = {"<": "<", "<=": r"\le", ">": ">", ">=": r"\ge", "==": "=", "!=": r"\ne"}


def name_latex(name: str) -> str:
    """A tensor's name: `W1` is W_1, `xhat` is x with a hat, `dX` the differential, several letters upright."""
    if len(name) > 1 and name[0] == "d" and (name[1].isupper() or name[1:] in GREEK or len(name) == 2):
        return r"\mathrm{d}" + name_latex(name[1:])
    if name.endswith(")"):  # softmax(X), in place of a name
        fn, _, inner = name[:-1].partition("(")
        return rf"\operatorname{{{fn}}}\left({name_latex(inner)}\right)"
    if name.endswith("hat") and len(name) > 3:
        return rf"\hat{{{name_latex(name[:-3])}}}"
    stem, _, number_part = name.rpartition("_")
    if stem and number_part:
        return _indexed(stem, number_part)
    found = re.fullmatch(r"([A-Za-z]+?)(\d+)", name)
    if found:
        return _indexed(*found.groups())
    if name in GREEK:
        return "\\" + name
    if name in CONSTANTS:
        return CONSTANTS[name]
    return name if len(name) == 1 else rf"\mathrm{{{name.replace('_', chr(92) + '_')}}}"


def _indexed(stem: str, tail: str) -> str:
    tail = tail if tail.isdigit() else rf"\mathrm{{{tail}}}"
    head = name_latex(stem)
    return rf"{{{head}}}^{{({tail})}}" if "^" in head else rf"{head}^{{({tail})}}"


class LatexPrinter:
    """Writes terms in LaTeX, as TextPrinter writes them in the notation."""

    def __init__(self, letters: Letters):
        self.letters = letters

    def latex(self, e: Expr, scope: frozenset[str], level: int = ADD) -> str:
        code, own = self.piece(e, scope)
        return code if own >= level else rf"\left({code}\right)"

    def piece(self, e: Expr, scope: frozenset[str]) -> tuple[str, int]:
        match e:
            case Num():
                return number_latex(e), ATOM if e.value >= 0 else MUL
            case Const():
                return r"\pi", ATOM
            case Param():
                return name_latex(e.name), ATOM
            case Size():
                return self.size(e.extent), ATOM
            case Index():
                return index_latex(e), ATOM
            case Get():
                return self._access(e, scope), ATOM
            case Add():
                return self._sum(e, scope), ADD
            case Mul():
                return self._product(e, scope), MUL
            case Pow():
                return self._power(e, scope)
            case Call():
                return self._call(e, scope)
            case Where():
                return self._where(e, scope)
            case Reduce():
                return self._reduce(e, scope)
            case Softmax() if all(isinstance(a, Index) for a in e.at):  # as the notation has it: softmax over j, at j
                under = ",".join(self.latex(a, scope) for a in e.at)
                body = E.substitute(e.body, dict(zip(e.indices, e.at, strict=True)))
                return rf"\operatorname{{softmax}}_{{{under}}}\left({self.latex(body, scope)}\right)", ATOM
            case Softmax():
                letters, body = self.letters.opened(e, scope)
                under = ",".join(i.name for i in letters)
                places = ",".join(self.latex(a, scope) for a in e.at)
                return rf"\operatorname{{softmax}}_{{{under}}}\left({self.latex(body, scope)}\right)_{{{places}}}", ATOM
            case Truth() | Cmp() | Logic():
                return self.condition(e, scope), ADD
        raise TypeError(f"no LaTeX for {type(e).__name__}")

    def size(self, extent: str) -> str:
        """An extent: N with the letter below it."""
        return extent[1:] if extent.startswith("=") else f"N_{{{self.letters.of_extent(extent)}}}"

    def subscripts(self, subs: Iterable[Expr], scope: frozenset[str]) -> str:
        parts = [self.latex(s, scope) for s in subs]
        plain = all(re.fullmatch(r"[a-z]", p) for p in parts)
        return ("" if plain else ",").join(parts)

    def _access(self, e: Get, scope: frozenset[str]) -> str:
        return f"{name_latex(e.tensor)}_{{{self.subscripts(e.subs, scope)}}}" if e.subs else name_latex(e.tensor)

    def _sum(self, e: Add, scope: frozenset[str]) -> str:
        signed = [(E.coefficient(t)[0] < 0, t) for t in e.args]
        signed.sort(key=lambda st: (st[0], isinstance(st[1], Num)))
        out = ""
        for negative, t in signed:
            code = self.latex(E.neg(t) if negative else t, scope, MUL if negative else ADD)
            if not negative and code.startswith("-"):  # a guarded term brings its own sign
                negative, code = True, code[1:]
            out += (f" - {code}" if negative else f" + {code}") if out else (f"-{code}" if negative else code)
        return out

    def _product(self, e: Mul, scope: frozenset[str]) -> str:
        value, rest = E.coefficient(e)
        up, down = [], []
        size = abs(value)
        if _as_fraction(size):
            if size.numerator != 1:
                up.append(str(size.numerator))
            down.append(str(size.denominator))
        elif size != 1:
            up.append(number_latex(E.num(size)))
        parts = list(E.factors(rest))
        sums = [f for f in parts if isinstance(f, Reduce)]
        ordered = [f for f in parts if f not in sums] + sums
        below = [f for f in ordered if _divides(f)]
        above = [f for f in ordered if f not in below]
        for f in below:
            alone = len(below) == 1 and not down
            base, exponent = E.split_power(f)
            down.append(self.latex(E.power(base, E.neg(exponent)), scope, ADD if alone else MUL))
        for f in above:
            last = isinstance(f, Reduce) and f is sums[-1]
            alone = bool(down) and len(above) == 1 and not up
            up.append(self.latex(f, scope, ADD if alone else MUL if last or not isinstance(f, Reduce) else ATOM))
        top = r"\,".join(up) or "1"
        bottom = r"\,".join(down)
        code = rf"\frac{{{top}}}{{{bottom}}}" if down else top
        return f"-{code}" if value < 0 else code

    def _power(self, e: Pow, scope: frozenset[str]) -> tuple[str, int]:
        if isinstance(e.exponent, Num):
            q = e.exponent.value
            if q < 0:
                return rf"\frac{{1}}{{{self.latex(E.power(e.base, E.num(-q)), scope)}}}", MUL
            if q == E.HALF.value:
                return rf"\sqrt{{{self.latex(e.base, scope)}}}", ATOM
        base = self.latex(e.base, scope, ATOM)
        if isinstance(e.base, (Get, Call)):
            base = rf"\left({base}\right)" if isinstance(e.base, Call) else f"{{{base}}}"
        power = self.latex(e.exponent, scope)
        if isinstance(e.exponent, Num) and _as_fraction(abs(e.exponent.value)):
            power = str(e.exponent.value)
        return f"{base}^{{{power}}}", POW

    def _call(self, e: Call, scope: frozenset[str]) -> tuple[str, int]:
        args = [self.latex(a, scope) for a in e.args]
        match e.fn:
            case "floordiv":
                return rf"\left\lfloor \frac{{{args[0]}}}{{{args[1]}}} \right\rfloor", ATOM
            case "mod":
                return rf"{self.latex(e.args[0], scope, MUL)} \bmod {args[1]}", ADD
            case "abs":
                return rf"\left|{args[0]}\right|", ATOM
        head = FUNCTIONS.get(e.fn, rf"\operatorname{{{e.fn}}}")
        return rf"{head}\left({', '.join(args)}\right)", ATOM

    def _where(self, e: Where, scope: frozenset[str]) -> tuple[str, int]:
        if e.other is E.ZERO:
            bracket = self.indicator(e.cond, scope)
            negative = E.coefficient(e.then)[0] < 0
            value = E.neg(e.then) if negative else e.then
            code = bracket if value is E.ONE else rf"{bracket}\,{self.latex(value, scope, MUL)}"
            if negative:
                return f"-{code}", ADD
            return code, ATOM if value is E.ONE else MUL
        cond, then, other = self.condition(e.cond, scope), self.latex(e.then, scope), self.latex(e.other, scope)
        return rf"\begin{{cases}} {then} & {cond} \\ {other} & \text{{otherwise}} \end{{cases}}", ATOM

    def indicator(self, cond: Expr, scope: frozenset[str]) -> str:
        """1 where `cond` holds, else 0: a Kronecker delta for each equation of indices, a bracket for the rest."""
        deltas = [(c, self.delta(c, scope)) for c in E.conjuncts(cond)]
        rest = [c for c, d in deltas if d is None]
        bracket = [rf"\left[{self.condition(E.logic('and', *rest), scope)}\right]"] if rest else []
        return r"\,".join([*bracket, *(d for _, d in deltas if d is not None)])

    def delta(self, cond: Expr, scope: frozenset[str]) -> str | None:
        """A Kronecker delta for an equation of indices."""
        if not (isinstance(cond, Cmp) and cond.op == "=="):
            return None
        sides = (cond.left, cond.right)
        if not all(isinstance(x, (Index, Get)) for x in sides) or not any(isinstance(x, Index) for x in sides):
            return None
        return rf"\delta_{{{self.subscripts(sides, scope)}}}"

    def condition(self, e: Expr, scope: frozenset[str]) -> str:
        match e:
            case Truth():
                return r"\text{true}" if e.value else r"\text{false}"
            case Cmp():
                left, op, right = e.sides
                return f"{self.latex(left, scope)} {RELATIONS[op]} {self.latex(right, scope)}"
            case Logic(op="not"):
                return rf"\lnot\left({self.condition(e.args[0], scope)}\right)"
            case Logic():
                joint = r" \wedge " if e.op == "and" else r" \vee "
                return joint.join(self.condition(a, scope) for a in e.args)
        return rf"{self.latex(e, scope)} \ne 0"

    def _reduce(self, e: Reduce, scope: frozenset[str]) -> tuple[str, int]:
        letters, body = self.letters.opened(e, scope)
        under = ",".join(index_latex(i) + (f"<{i.extent[1:]}" if self.letters.fixed(i) else "") for i in letters)
        inner = scope | {i.name for i in letters}
        if e.op == "sum":
            return rf"\sum_{{{under}}} {self.latex(body, inner, MUL)}", MUL
        head = r"\operatorname{logsumexp}" if e.op == "logsumexp" else rf"\{e.op}"
        return rf"{head}_{{{under}}} {self.latex(body, inner, MUL)}", MUL


def index_latex(i: Index) -> str:
    return i.name if len(i.name) == 1 else rf"\mathit{{{i.name}}}"


def _as_fraction(value: Fraction) -> bool:
    """Whether a positive number is written as a fraction: no short decimal, or a denominator that everyone knows."""
    return value.denominator != 1 and (value.denominator in SHORT or number(value).startswith("("))


def _divides(f: Expr) -> bool:
    exponent = E.split_power(f)[1]
    return isinstance(exponent, Num) and exponent.value < 0


def number_latex(e: Num) -> str:
    """A number; what masks use for minus infinity is written as that."""
    if e.value <= E.MASKED:
        return r"-\infty"
    if _as_fraction(abs(e.value)):
        return rf"{'-' if e.value < 0 else ''}\frac{{{abs(e.value.numerator)}}}{{{e.value.denominator}}}"
    code = number(e.value)
    mantissa, _, power = code.partition("e")
    if not power:
        return code
    head = "" if mantissa == "1" else "-" if mantissa == "-1" else mantissa + r" \cdot "
    return f"{head}10^{{{int(power)}}}"


def statement_latex(s: Statement, letters: Letters) -> str:
    """`name_{ij} = expression`."""
    scope = frozenset(i.name for i in s.indices)
    printer = LatexPrinter(letters)
    return f"{printer.latex(s.target, scope)} = {printer.latex(s.expr, scope)}"

