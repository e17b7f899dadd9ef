"""How large a program is: the arithmetic a reader sees, common sub-terms counted once.

One for each binary operation or call. Free: indexing, comparisons, indicators, negation, broadcasts, and the
division of a mean; a sum of products over several axes sets counts its operands less one, as a contraction.
"""

from __future__ import annotations

from collections.abc import Iterable

from derive import expr as E
from derive.expr import Add, Call, Expr, Get, Index, Mul, Num, Pow, Reduce, Size, Softmax, Where
from derive.program import Statement


def program_cost(statements: Iterable[Statement]) -> int:
    seen: set[Expr] = set()
    return sum(_walk(s.expr, seen) for s in statements)


def cost(e: Expr) -> int:
    return _walk(e, set())


def _walk(e: Expr, seen: set[Expr]) -> int:
    if e in seen or isinstance(e, (Get, Index, Num, Size)):
        return 0
    seen.add(e)
    if isinstance(e, Reduce) and e.op == "sum":
        operands = contracted(e)
        if operands:
            return len(operands) - 1 + sum(_walk(f, seen) for f in operands)
    if isinstance(e, Mul):
        parts = _visible(e)
        return _product(parts) + sum(_walk(_base(f), seen) for f in parts)
    if isinstance(e, Pow) and isinstance(e.exponent, Num):
        return 1 + _walk(e.base, seen) + (1 if e.exponent.value < 0 and e.exponent.value != -1 else 0)
    own = 0
    if isinstance(e, Add):
        own = len(e.args) - 1
    elif isinstance(e, Where):
        own = 0 if e.then is E.ONE and e.other is E.ZERO else 1
    elif isinstance(e, (Call, Pow, Reduce)):
        own = 1
    elif isinstance(e, Softmax):
        own = 4
    return own + sum(_walk(c, seen) for c in e.children)


def contracted(e: Reduce) -> tuple[Expr, ...] | None:
    """The operands of a sum of products whose axes differ, as in a matrix product."""
    if not isinstance(e.body, Mul):
        return None
    parts = e.body.args
    if any(not f.free for f in parts) or all(f.free == parts[0].free for f in parts):
        return None
    return parts


def _visible(e: Mul) -> list[Expr]:
    """Factors that cost an operation: without the sizes that a mean swallows, and without a sign."""
    parts = list(e.args)
    if isinstance(parts[0], Num) and abs(parts[0].value) == 1:
        parts.pop(0)
    for f in e.args:
        if isinstance(f, Reduce) and f.op == "sum":
            sizes = [E.power(Size(i.extent), E.MINUS_ONE) for i in f.indices]
            if all(s in parts for s in sizes) and len(set(sizes)) == len(sizes):
                for s in sizes:
                    parts.remove(s)
    whole = [f for f in parts if isinstance(f, Pow) and isinstance(f.base, Size) and f.exponent is E.MINUS_ONE]
    for f in whole[1:]:  # n·m of a full reduction is one number, the size of a tensor
        parts.remove(f)
    return parts


def _product(parts: list[Expr]) -> int:
    up = sum(1 for f in parts if not divides(f))
    down = len(parts) - up
    return max(up - 1, 0) + down


def divides(f: Expr) -> bool:
    """Whether a factor is an inverse power."""
    return isinstance(f, Pow) and isinstance(f.exponent, Num) and f.exponent.value < 0


def _base(f: Expr) -> Expr:
    return E.power(f.base, E.neg(f.exponent)) if divides(f) and isinstance(f, Pow) else f

