"""Delta elimination against a dense sum over every value of every letter."""

import itertools

import numpy as np
import pytest

from derive import expr as E
from derive.deltas import Delta, eliminate
from derive.errors import DerivationError
from derive.expr import Expr, Get, Index

SIZES = {"i": 7, "t": 4, "r": 3, "h": 6, "=2": 2, "=3": 3, "b": 2}
i, t, r, h, b = (Index(x, x) for x in "itrhb")
DATA = {"X": np.random.default_rng(0).standard_normal((4, 3)), "H": np.random.default_rng(1).standard_normal(6)}


def value(e: Expr, at: dict[Index, int]) -> float:
    """A term by its definition, one place at a time; reading out of range is an error."""
    match e:
        case E.Num():
            return float(e.value)
        case E.Index():
            return at[e]
        case E.Size():
            return SIZES[e.extent]
        case E.Get():
            place = tuple(int(value(s, at)) for s in e.subs)
            assert all(0 <= p < n for p, n in zip(place, DATA[e.tensor].shape, strict=True)), "read out of range"
            return float(DATA[e.tensor][place])
        case E.Add():
            return sum(value(a, at) for a in e.args)
        case E.Mul():
            return float(np.prod([value(a, at) for a in e.args]))
        case E.Call(fn="floordiv"):
            return value(e.args[0], at) // value(e.args[1], at)
        case E.Call(fn="mod"):
            return value(e.args[0], at) % value(e.args[1], at)
        case E.Where():
            return value(e.then if holds(e.cond, at) else e.other, at)
        case E.Reduce(op="sum"):
            ranges = [range(SIZES[x.extent]) for x in e.indices]
            places = (dict(zip(e.indices, p, strict=True)) for p in itertools.product(*ranges))
            return sum(value(e.body, {**at, **p}) for p in places)
    raise TypeError(type(e))


def holds(c: Expr, at: dict[Index, int]) -> bool:
    if isinstance(c, E.Logic):
        return all(holds(a, at) for a in c.args)
    assert isinstance(c, E.Cmp)
    left, right = value(c.left, at), value(c.right, at)
    return {"<": left < right, "<=": left <= right, "==": left == right, "!=": left != right}[c.op]


CASES = {
    "letter": ((t, r), t, Get("X", (t, r)), "i"),
    "window": ((t, r), E.add(t, r), Get("X", (t, r)), "i"),
    "stride": ((t, r), E.add(E.mul(E.num(2), t), r), Get("X", (t, r)), "i"),
    "dilation": ((t, r), E.add(t, E.mul(E.num(2), r)), Get("X", (t, r)), "i"),
    "reversed": ((t, r), E.sub(t, r), Get("X", (t, r)), "i"),
    "group": ((h,), E.call("floordiv", h, E.num(2)), Get("H", (h,)), "r"),
    "uneven group": ((h,), E.call("floordiv", h, E.num(4)), Get("H", (h,)), "b"),
    "remainder": ((h,), E.call("mod", h, E.num(4)), Get("H", (h,)), "t"),
    "turn": ((h,), E.call("mod", E.add(h, E.num(2)), E.Size("h")), Get("H", (h,)), "h"),
    "constant": ((t, r), E.num(2), Get("X", (t, r)), "i"),
}


@pytest.mark.parametrize("name", CASES)
def test_eliminated_sum_equals_the_filtered_one(name: str) -> None:
    summed, sub, body, extent = CASES[name]
    SIZES.setdefault("=4", 4)
    out = Index("out", extent)
    got = eliminate(summed, (Delta(out, sub),), body, prefer=(t,)).expr()
    dense = E.summation(summed, E.where(E.compare("==", out, sub), body, E.ZERO))
    for place in range(SIZES[extent]):
        assert value(got, {out: place}) == pytest.approx(value(dense, {out: place})), place


def test_one_letter_on_two_axes() -> None:
    x, y = Index("x", "t"), Index("y", "t")
    left = eliminate((t,), (Delta(x, t), Delta(y, t)), Get("H", (t,)))
    assert left.summed == ()
    assert left.tests == (E.compare("==", x, y),)


def test_the_output_letter_is_solved_for_first() -> None:
    found = eliminate((t, r), (Delta(i, E.add(t, r)),), Get("X", (t, r)), prefer=(t,))
    assert found.summed == (r,)


def test_an_index_that_would_be_captured_is_refused() -> None:
    with pytest.raises(DerivationError, match="free in the result"):
        eliminate((t,), (Delta(t, E.add(t, r)),), Get("X", (t, r)))
