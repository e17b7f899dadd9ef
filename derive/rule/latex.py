"""Terms in LaTeX, complete: every sum with its index, every subscript written."""

from __future__ import annotations

import re
from collections.abc import Iterable

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
RELATIONS = {"<": "<", "<=": r"\le", "==": "=", "!=": r"\ne"}


def name_latex(name: str) -> str:
    """A tensor's name: `W1` is W_1, `xhat` is x with a hat, `dX` the differential, several letters upright."""
    if len(name) > 1 and name[0] == "d" and (name[1].isupper() or name[1:] in GREEK or len(name) == 2):
        return r"\mathrm{d}" + name_latex(name[1:])
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
            out += (f" - {code}" if negative else f" + {code}") if out else (f"-{code}" if negative else code)
        return out

    def _product(self, e: Mul, scope: frozenset[str]) -> str:
        value, rest = E.coefficient(e)
        up, down = [], []
        decimal = number(abs(value))
        if decimal.startswith("("):
            if abs(value.numerator) != 1:
                up.append(str(abs(value.numerator)))
            down.append(str(value.denominator))
        elif abs(value) != 1:
            up.append(number_latex(E.num(abs(value))))
        parts = list(E.factors(rest))
        sums = [f for f in parts if isinstance(f, Reduce)]
        for f in [f for f in parts if f not in sums] + sums:
            base, exponent = E.split_power(f)
            if isinstance(exponent, Num) and exponent.value < 0:
                down.append(self.latex(E.power(base, E.neg(exponent)), scope, MUL))
            else:
                last = f is sums[-1] if sums else False
                up.append(self.latex(f, scope, MUL if last or not isinstance(f, Reduce) else ATOM))
        top = r"\,".join(up) or "1"
        below = r"\,".join(down)
        code = rf"\frac{{{top}}}{{{below}}}" if down else top
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
        return f"{base}^{{{self.latex(e.exponent, scope)}}}", POW

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
        cond = self.condition(e.cond, scope)
        if e.other is E.ZERO:
            bracket = self.delta(e.cond, scope) or rf"\left[{cond}\right]"
            if e.then is E.ONE:
                return bracket, ATOM
            negative = E.coefficient(e.then)[0] < 0
            then = self.latex(E.neg(e.then) if negative else e.then, scope, MUL)
            return rf"{'-' if negative else ''}{bracket}\,{then}", ADD if negative else MUL
        then, other = self.latex(e.then, scope), self.latex(e.other, scope)
        return rf"\begin{{cases}} {then} & {cond} \\ {other} & \text{{otherwise}} \end{{cases}}", ATOM

    def delta(self, cond: Expr, scope: frozenset[str]) -> str | None:
        """A Kronecker delta for an equation of indices."""
        if not (isinstance(cond, Cmp) and cond.op == "=="):
            return None
        sides = (cond.left, cond.right)
        if not all(isinstance(x, (Index, Get)) for x in sides) or not any(isinstance(x, Index) for x in sides):
            return None
        return rf"\delta_{{{','.join(self.latex(x, scope) for x in sides)}}}"

    def condition(self, e: Expr, scope: frozenset[str]) -> str:
        match e:
            case Truth():
                return r"\text{true}" if e.value else r"\text{false}"
            case Cmp():
                return f"{self.latex(e.left, scope)} {RELATIONS[e.op]} {self.latex(e.right, scope)}"
            case Logic(op="not"):
                return rf"\lnot\left({self.condition(e.args[0], scope)}\right)"
            case Logic():
                joint = r" \wedge " if e.op == "and" else r" \vee "
                return joint.join(self.condition(a, scope) for a in e.args)
        return rf"{self.latex(e, scope)} \ne 0"

    def _reduce(self, e: Reduce, scope: frozenset[str]) -> tuple[str, int]:
        letters, body = self.letters.opened(e, scope)
        under = ",".join(index_latex(i) for i in letters)
        inner = scope | {i.name for i in letters}
        if e.op == "sum":
            return rf"\sum_{{{under}}} {self.latex(body, inner, MUL)}", MUL
        head = r"\operatorname{logsumexp}" if e.op == "logsumexp" else rf"\{e.op}"
        return rf"{head}_{{{under}}} {self.latex(body, inner, MUL)}", MUL


def index_latex(i: Index) -> str:
    return i.name if len(i.name) == 1 else rf"\mathit{{{i.name}}}"


def number_latex(e: Num) -> str:
    code = number(e.value)
    if code.startswith("("):
        sign = "-" if e.value < 0 else ""
        return rf"{sign}\frac{{{abs(e.value.numerator)}}}{{{e.value.denominator}}}"
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

