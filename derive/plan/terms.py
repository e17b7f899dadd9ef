"""Questions about terms that lowering asks: is it whole, is it never negative, what is its local called."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from derive import expr as E
from derive.expr import Add, Call, Expr, Get, Index, Mul, Num, Size, Where


@dataclass(frozen=True)
class Memory:
    """A buffer as a kernel sees it: its name and the extent class of each axis."""

    name: str
    axes: tuple[str, ...]
    integer: bool = False


def is_integer(e: Expr, memory: Mapping[str, Memory]) -> bool:
    """Whether a term is a whole number made of indices, sizes and integer tensors."""
    match e:
        case Num():
            return e.value.denominator == 1 and abs(e.value) < 2**31
        case Index() | Size():
            return True
        case Get():
            return e.tensor in memory and memory[e.tensor].integer
        case Add():
            return all(is_integer(a, memory) for a in e.args)
        case Mul():
            return all(is_integer(a, memory) for a in e.args) and sum(not isinstance(a, Num) for a in e.args) < 2
        case Call(fn="floordiv" | "mod"):
            return True
    return False


def natural(e: Expr) -> bool:
    """Whether an integer term is never negative, so that C's truncating division is floor division."""
    match e:
        case Num():
            return e.value >= 0
        case Index() | Size():
            return True
        case Add() | Mul():
            return all(natural(a) for a in e.args)
        case Call(fn="floordiv"):
            return natural(e.args[0])
        case Call(fn="mod"):
            return True
    return False


def divided(terms: Iterable[Expr]) -> set[Expr]:
    """The elements of integer tensors of which some of `terms` take a quotient or a remainder."""
    def elements(x: Expr) -> set[Expr]:
        return {x} if isinstance(x, Get) else set[Expr]().union(*map(elements, x.children))

    return set[Expr]().union(*(elements(x) for x in terms if isinstance(x, Call) and x.fn in ("floordiv", "mod")))


def peel(body: Expr) -> tuple[list[Expr], Expr]:
    """The conditions in front of a body, and the body."""
    guards: list[Expr] = []
    while isinstance(body, Where) and body.other is E.ZERO:
        guards += E.conjuncts(body.cond)
        body = body.then
    return guards, body


def runs_along(e: Expr, inner: Collection[Index]) -> bool:
    """Whether memory runs along `inner` in the widest access of `e`."""
    reads = [x for x in E.subterms(e) if isinstance(x, Get) and x.subs]
    if not reads:
        return False
    widest = max(reads, key=lambda g: len(g.free))
    return bool(widest.subs[-1].free & set(inner))


def letter(i: Index) -> str:
    """The letter of an index; one that we made is called after its extent."""
    if i.name.isidentifier():
        return i.name
    base = i.extent.split(".")[0].lstrip("=")
    return f"n{base}" if base.isdigit() or not base else base


def local_name(tensor: str, array: bool = True) -> str:
    """What the value of an element is called beside the array, if there is one: `x` beside `X`, `mean_value` beside
    `mean`."""
    low = tensor[0] + tensor[1:].lower() if tensor[:1] == "d" and len(tensor) > 1 else tensor.lower()
    return low if low != tensor or not array else f"{tensor}_value"
