"""Statements as a reader wrote them, for the comments of emitted text."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from derive import expr as E
from derive.expr import Expr, Index
from derive.program import Statement
from derive.simplify.names import presentable

LOOSE, NOT, COMPARE, SUM, PRODUCT, POWER = range(6)
Letters = Mapping[str, tuple[str, ...]]  # extent -> what its indices had better be called


def statement(s: Statement, letters: Letters | None = None) -> str:
    """`Y[i,j] = sum(k, X[i,k]*W[k,j])`"""
    names = {i: shown.name for i, shown in zip(s.indices, presentable(s.indices), strict=True)}
    code = term(s.expr, LOOSE, {i: names.get(i, i.name) for i in s.expr.free}, letters)
    return f"{s.name}[{','.join(names.values())}] = {code}" if s.indices else f"{s.name} = {code}"


def number(v: Fraction) -> str:
    if v.denominator == 1:
        n = int(v)
        return f"{float(v):g}" if abs(n) >= 10**7 and Fraction(f"{float(v):g}") == v else str(n)
    decimals = (f"{float(v):.12g}", repr(float(v)))
    return next((d for d in decimals if Fraction(d) == v), f"{v.numerator}/{v.denominator}")


def term(
    e: Expr, tight: int = LOOSE, names: dict[Index, str] | None = None, letters: Letters | None = None
) -> str:
    text, level = _spell(e, names or {i: i.name for i in e.free}, letters or {})
    return f"({text})" if level < tight else text


def _spell(e: Expr, names: dict[Index, str], letters: Letters) -> tuple[str, int]:
    def sub(x: Expr, tight: int = LOOSE) -> str:
        text, level = _spell(x, names, letters)
        return f"({text})" if level < tight else text

    match e:
        case E.Num():
            text = number(e.value)
            return text, SUM if e.value < 0 else PRODUCT if "/" in text else POWER + 1
        case E.Const() | E.Param():
            return e.name, POWER + 1
        case E.Size():
            return e.extent[1:] if e.extent.startswith("=") else f"size({e.extent})", POWER + 1
        case Index():
            return names.get(e, e.name), POWER + 1
        case E.Get():
            return (f"{e.tensor}[{','.join(sub(s) for s in e.subs)}]" if e.subs else e.tensor), POWER + 1
        case E.Add():
            parts = sorted(e.args, key=lambda t: E.coefficient(t)[0] < 0)
            text = sub(parts[0], SUM)
            for t in parts[1:]:
                minus = E.coefficient(t)[0] < 0
                text += f" - {sub(E.neg(t), PRODUCT)}" if minus else f" + {sub(t, SUM)}"
            return text, SUM
        case E.Mul():
            return _product(e, sub)
        case E.Pow():
            if e.exponent is E.HALF:
                return f"sqrt({sub(e.base)})", POWER + 1
            if isinstance(e.exponent, E.Num) and e.exponent.value == Fraction(-1, 2):
                return f"rsqrt({sub(e.base)})", POWER + 1
            if e.exponent is E.MINUS_ONE:
                return f"1/{sub(e.base, POWER)}", PRODUCT
            return f"{sub(e.base, POWER + 1)}**{sub(e.exponent, POWER + 1)}", POWER
        case E.Call(fn="floordiv" | "mod"):
            return f"{sub(e.args[0], PRODUCT)} {'//' if e.fn == 'floordiv' else '%'} {sub(e.args[1], POWER)}", SUM
        case E.Call():
            return f"{e.fn}({', '.join(sub(a) for a in e.args)})", POWER + 1
        case E.Truth():
            return str(e.value), POWER + 1
        case E.Cmp():
            left, op, right = e.sides
            return f"{sub(left, SUM)} {op} {sub(right, SUM)}", COMPARE
        case E.Logic(op="not"):
            return f"not ({sub(e.args[0])})", NOT
        case E.Logic():
            return f" {e.op} ".join(sub(a, NOT) for a in e.args), LOOSE
        case E.Where():
            return f"where({sub(e.cond)}, {sub(e.then)}, {sub(e.other)})", POWER + 1
        case E.Reduce() | E.Softmax():
            inner = dict(names)
            for n, i in enumerate(e.indices):
                at = e.at[n] if isinstance(e, E.Softmax) else None  # softmax(s, S[t,s]) is at s what it is over s
                same = isinstance(at, Index) and at in names and at not in e.body.free
                inner[i] = names[at] if same else _letter(i.extent, set(inner.values()), letters)  # type: ignore[index]
            bound = ", ".join(inner[i] for i in e.indices)
            fn = e.op if isinstance(e, E.Reduce) else "softmax"
            return f"{fn}({bound}, {_spell(e.body, inner, letters)[0]})", POWER + 1
    return repr(e), LOOSE


def _product(e: E.Mul, sub: object) -> tuple[str, int]:
    spell = sub
    assert callable(spell)
    sign, over, under = "", [], []
    for f in e.args:
        base, exponent = E.split_power(f)
        if f is E.MINUS_ONE:
            sign = "-"
        elif isinstance(exponent, E.Num) and exponent.value < 0 and exponent.value.denominator == 1:
            under.append(spell(E.power(base, E.neg(exponent)), POWER))
        else:
            over.append(spell(f, PRODUCT))
    text = "*".join(over) or "1"
    return sign + text + "".join("/" + u for u in under), SUM if sign else PRODUCT


def _letter(extent: str, taken: set[str], letters: Letters) -> str:
    """A name for a bound index: one of `letters`, or its extent's; a letter where the extent is a number, as `=2`."""
    wish = next((x for x in letters.get(extent, ()) if x not in taken), None)
    if wish is not None:
        return wish
    base = next((x for x in "rqpuwz" if x not in taken), "r") if extent.startswith("=") else extent.replace(".", "_")
    name, n = base, 1
    while name in taken:
        n += 1
        name = f"{base}{n}"
    return name
