"""Counts over extents: polynomials as numbers and as text, and the size expressions of a plan."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from fractions import Fraction

from derive import expr as E
from derive.expr import Expr, Size
from derive.plan.launches import RULES
from derive.plan.records import Buffer, Plan
from derive.program import Program


def value(e: Expr, sizes: Mapping[str, int]) -> int:
    """A polynomial in the extents as a number."""
    match e:
        case E.Num():
            return int(e.value)
        case Size():
            return sizes[e.extent]
        case E.Add():
            return sum(value(a, sizes) for a in e.args)
        case E.Mul():
            total = Fraction(1)
            for a in e.args:
                total *= value(a, sizes)
            return int(total)
        case E.Pow(exponent=E.Num() as q) if q.value.denominator == 1 and q.value > 0:
            return int(value(e.base, sizes) ** int(q.value))
    raise TypeError(f"{type(e).__name__} is no count")


def text(e: Expr, program: Program) -> str:
    """A polynomial in the letters of the formula, largest terms first: `2*m*n*k + m*n`."""
    letters = {x: n for n, x in reversed(program.letters)}

    def factor(f: Expr) -> str:
        base, q = E.split_power(f)
        name = letters.get(base.extent, base.extent) if isinstance(base, Size) else number(base)
        return name if q is E.ONE else f"{name}**{number(q)}"

    def number(n: Expr) -> str:
        return str(n.value) if isinstance(n, E.Num) else "?"

    parts = sorted(E.terms(e), key=lambda t: (-len(E.factors(E.coefficient(t)[1])), t.key))
    return " + ".join("*".join(factor(f) for f in E.factors(t)) for t in parts)


def product(axes: tuple[str, ...]) -> Expr:
    """The number of elements of a tensor, from the extents of its axes."""
    return E.mul(*(E.num(int(a[1:])) if a.startswith("=") else Size(a) for a in axes))


def buffer_bytes(b: Buffer, plan: Plan, names: Mapping[str, int]) -> int:
    return plan.item_bytes(b) * evaluate(b.count, names)


_CALLS: dict[str, Callable[..., int]] = {"min": min, "max": max, **{f.__name__: f for f in RULES}}


def evaluate(code: str, names: Mapping[str, int]) -> int:
    """The value of a plan's size expression: names, whole numbers, `+ - * // %`, min, max and the
    wrapper's own functions."""
    def walk(node: ast.expr) -> int:
        match node:
            case ast.Constant(value=int() as number):
                return number
            case ast.Name():
                return names[node.id]
            case ast.UnaryOp(op=ast.USub()):
                return -walk(node.operand)
            case ast.BinOp():
                a, b = walk(node.left), walk(node.right)
                match node.op:
                    case ast.Add():
                        return a + b
                    case ast.Sub():
                        return a - b
                    case ast.Mult():
                        return a * b
                    case ast.FloorDiv():
                        return a // b
                    case ast.Mod():
                        return a % b
            case ast.Call(func=ast.Name()) if isinstance(node.func, ast.Name) and node.func.id in _CALLS:
                return _CALLS[node.func.id](*(walk(a) for a in node.args))
        raise ValueError(f"{ast.unparse(node)} is no size expression")

    return walk(ast.parse(code, mode="eval").body)
