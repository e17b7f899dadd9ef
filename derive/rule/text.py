"""Terms, statements and programs in the notation itself, so that what is written can be read back."""

from __future__ import annotations

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
from derive.program import Program, Statement
from derive.rule.arrays import ADD, ATOM, MUL, POW, UNARY, number
from derive.rule.letters import Letters, visible_means

OR, AND, NOT, CMP = -4, -3, -2, -1
Piece = tuple[str, int]  # text and how tightly it binds


class TextPrinter:
    """Writes terms; `scope` is the set of letters in use around the term.

    Args:
        unused: extents that no letter of the text runs over: `size(k)` would be of an unknown letter.
    """

    def __init__(self, letters: Letters, unused: frozenset[str] = frozenset()):
        self.letters, self.unused = letters, unused

    def text(self, e: Expr, scope: frozenset[str], level: int = OR) -> str:
        code, own = self.piece(e, scope)
        return code if own >= level else f"({code})"

    def piece(self, e: Expr, scope: frozenset[str]) -> Piece:
        match e:
            case Num():
                code = number(e.value)
                return code.strip("()") if code.startswith("(") else code, (
                    MUL if code.startswith("(") else ATOM) if e.value >= 0 else UNARY
            case Const() | Param():
                return e.name, ATOM
            case Size():
                if e.extent.startswith("="):
                    return e.extent[1:], ATOM
                letter = self.letters.of_extent(e.extent)
                return f"sum({letter}, 1)" if e.extent in self.unused else f"size({letter})", ATOM
            case Index():
                return e.name, ATOM
            case Get():
                subs = ",".join(("1*" if part else "") + self.text(s, scope)
                                for s, part in zip(e.subs, self.letters.parts(e), strict=True))
                return (f"{e.tensor}[{subs}]" if e.subs else e.tensor), ATOM
            case Add():
                return self._sum(e, scope), ADD
            case Mul():
                return self._product(e, scope)
            case Pow():
                return self._power(e, scope)
            case Call():
                return self._call(e, scope)
            case Where():
                parts = ", ".join(self.text(c, scope) for c in (e.cond, e.then, e.other))
                return f"where({parts})", ATOM
            case Reduce():
                return self._reduce(e.op, e, scope), ATOM
            case Softmax():
                return self._softmax(e, scope), ATOM
            case Truth():
                return ("0 == 0" if e.value else "0 == 1"), CMP
            case Cmp():
                left, op, right = e.sides
                return f"{self.text(left, scope, ADD)} {op} {self.text(right, scope, ADD)}", CMP
            case Logic(op="not"):
                return f"not {self.text(e.args[0], scope, NOT)}", NOT
            case Logic():
                level = AND if e.op == "and" else OR
                return f" {e.op} ".join(self.text(a, scope, level + 1) for a in e.args), level
        raise TypeError(f"no text for {type(e).__name__}")

    def _sum(self, e: Add, scope: frozenset[str]) -> str:
        signed = [(E.coefficient(t)[0] < 0, t) for t in e.args]
        signed.sort(key=lambda st: (st[0], isinstance(st[1], Num)))
        out = ""
        for negative, t in signed:
            code = self.text(E.neg(t) if negative else t, scope, MUL if negative else ADD)
            out += (f" - {code}" if negative else f" + {code}") if out else (f"-{code}" if negative else code)
        return out

    def _product(self, e: Mul, scope: frozenset[str]) -> Piece:
        value, rest = E.coefficient(e)
        means, parts = visible_means(list(E.factors(rest)))
        up, down = [], []
        if abs(value.numerator) != 1 and value.denominator != 1 and number(abs(value)).startswith("("):
            up.append(str(abs(value.numerator)))
            down.append(str(value.denominator))
        elif number(abs(value)).startswith("("):
            down.append(str(value.denominator))
        elif abs(value) != 1:
            up.append(number(abs(value)))
        for f in parts:
            base, exponent = E.split_power(f)
            if isinstance(exponent, Num) and exponent.value < 0:
                down.append(self.text(E.power(base, E.neg(exponent)), scope, POW))
            else:
                up.append(self.text(f, scope, MUL))
        up += [self._reduce("mean", m, scope) for m in means]
        code = "*".join(up) or "1"
        for d in down:
            code += f"/{d}"
        return (f"-{code}", UNARY if len(up) + len(down) == 1 else MUL) if value < 0 else (code, MUL)

    def _power(self, e: Pow, scope: frozenset[str]) -> Piece:
        if isinstance(e.exponent, Num):
            q = e.exponent.value
            if q == E.HALF.value:
                return f"sqrt({self.text(e.base, scope)})", ATOM
            if q == -E.HALF.value:
                return f"rsqrt({self.text(e.base, scope)})", ATOM
            if q < 0:
                return f"1/{self.text(E.power(e.base, E.num(-q)), scope, POW)}", MUL
        return f"{self.text(e.base, scope, ATOM)}**{self.text(e.exponent, scope, ATOM)}", POW

    def _call(self, e: Call, scope: frozenset[str]) -> Piece:
        if e.fn in ("floordiv", "mod"):
            op = "//" if e.fn == "floordiv" else "%"  # in brackets in a product: 2*(i//2) is not 2*i//2
            return f"{self.text(e.args[0], scope, UNARY)}{op}{self.text(e.args[1], scope, UNARY)}", ADD
        args = [self.text(a, scope) for a in e.args]
        if e.fn == "softplus":  # not in the notation: its definition is
            return f"log(1 + exp({args[0]}))", ATOM
        if e.fn == "sign":
            return f"(where({args[0]} > 0, 1, 0) - where({args[0]} < 0, 1, 0))", ATOM
        return f"{e.fn}({', '.join(args)})", ATOM

    def _reduce(self, op: str, e: Reduce, scope: frozenset[str]) -> str:
        letters, body = self.letters.opened(e, scope)
        names = [i.name for i in letters]
        code = self.text(body, scope | set(names))
        if op in ("max", "min"):  # max(j, 0) reads as the greater of two values, unless j is known for an index
            code = " + ".join([code, *(f"0*{i.name}" for i in letters if i not in body.free)])
        return f"{op}({', '.join(names)}, {code})"

    def _softmax(self, e: Softmax, scope: frozenset[str]) -> str:
        if all(isinstance(a, Index) for a in e.at):
            body = E.substitute(e.body, dict(zip(e.indices, e.at, strict=True)))
            over = ", ".join(a.name for a in e.at if isinstance(a, Index))
            return f"softmax({over}, {self.text(body, scope)})"
        letters, body = self.letters.opened(e, scope)
        top = E.substitute(body, dict(zip(letters, e.at, strict=True)))
        names = [i.name for i in letters]
        inner = scope | set(names)
        return f"exp({self.text(top, scope)} - logsumexp({', '.join(names)}, {self.text(body, inner)}))"


def statement_text(s: Statement, letters: Letters, unused: frozenset[str] = frozenset()) -> str:
    """`name[i,j] = expression`."""
    scope = frozenset(i.name for i in s.indices)
    head = f"{s.name}[{','.join(i.name for i in s.indices)}]" if s.indices else s.name
    return f"{head} = {TextPrinter(letters, unused).text(s.expr, scope)}"


def program_text(p: Program) -> str:
    """A whole program in the notation, with the declarations that make it stand by itself."""
    letters = Letters(p)
    terms = [x for s in p.statements for x in E.subterms(s.expr)]
    bound = {i for x in terms if isinstance(x, (Reduce, Softmax)) for i in x.indices}
    over = {i.extent for i in (*bound, *(i for s in p.statements for i in s.indices))}
    over |= {extent for t in p.inputs for extent in t.axes}
    unused = frozenset(x.extent for x in terms if isinstance(x, Size)) - over
    body = [statement_text(s, letters, unused) for s in p.statements]
    lines = [f"param {n} = {number(v).strip('()')}" for n, v in p.params]
    for t in p.inputs:
        axes: list[str] = []
        for extent in t.axes:
            axes.append(letters.another(extent, axes))
        if axes:
            lines.append(f"input {t.name}[{','.join(axes)}]" + ": int"*t.integer)
    lines += [f"size {n} = {e[1:]}" for n, e in letters.letters.items() if e.startswith("=")]
    lines += body
    if p.outputs != (p.statements[-1].name,):
        lines.append("output " + ", ".join(p.outputs))
    return "\n".join(lines)
