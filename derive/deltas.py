"""Delta elimination: `Σ_l f(l) δ(i, e(l))` with a subscript `e` solved for a summed letter.

    e = l                        l := i
    e = c·l + rest               l := (i − rest) / c       where that is a whole number in 0 .. size(l)−1
    e = (±l + rest) % size(l)    l := ±(i − rest) % size(l)
    e = l // c                   l := c·i + g, a new letter g in 0 .. c−1,  where c·i + g < size(l)
    e without a summed letter, or an entry of an integer tensor:  where(i == e, ..., 0)

The letter that is the output's own is preferred over one that a reduction binds, so that the adjoint of a
convolution loops over the window, not over all positions.  Every step removes one delta, so it ends.  Guards that
have come to hold everywhere, as `0 <= t + r`, are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from derive import expr as E
from derive.errors import DerivationError
from derive.expr import Add, Call, Expr, Index, Mul, Num, Size
from derive.guards import draw_guards
from derive.reads import in_order, steady


@dataclass(frozen=True)
class Delta:
    """δ(left, right): `left` an index of the result, `right` a subscript."""

    left: Index
    right: Expr

    def substitute(self, values: dict[Expr, Expr]) -> Delta:
        return Delta(self.left, E.substitute(self.right, values))


@dataclass(frozen=True)
class Sifted:
    """What is left of `Σ_summed Π deltas · body`: fewer letters, the guards that the solutions need, and the deltas
    that have none, as tests."""

    summed: tuple[Index, ...]
    guards: tuple[Expr, ...]
    tests: tuple[Expr, ...]
    body: Expr

    def expr(self) -> Expr:
        """The sum; what reads at computed places comes after those guards of the body that keep it in range."""
        conditions = (*self.guards, *self.tests)
        conditions = tuple(sorted(conditions, key=lambda c: bool(E.tensors(c))))  # ranges first
        body = draw_guards(self.body)
        if not all(map(steady, conditions)) and isinstance(body, E.Where) and body.other is E.ZERO:
            late = in_order(E.conjuncts(body.cond), (g for g in self.guards if not steady(g)))
            conditions = (*filter(steady, conditions), *late, *(t for t in self.tests if not steady(t)))
            body = body.then
        return E.summation(self.summed, E.where(E.logic("and", *conditions), body, E.ZERO))


def eliminate(summed: tuple[Index, ...], deltas: tuple[Delta, ...], body: Expr,
              prefer: tuple[Index, ...] = ()) -> Sifted:
    """Remove every delta.

    Args:
        summed: letters of the sum; none of them occurs on a delta's left.
        deltas: one for each axis of the operand.
        body: the summand.
        prefer: letters to solve for first where there is a choice.

    Raises:
        DerivationError: when a delta's left index is summed over, which would capture it.
    """
    for d in deltas:
        if d.left in summed:
            raise DerivationError(f"index {d.left.name} is free in the result and summed over", value=d.left.name)
    left, todo = list(summed), list(deltas)
    guards: list[Expr] = []
    tests: list[Expr] = []
    while todo:
        todo.sort(key=lambda d: not isinstance(d.right, Index))  # bare letters first
        delta = todo.pop(0)
        solution = _solve(delta, left, prefer)
        if solution is None:
            tests.append(E.compare("==", delta.left, delta.right))
            continue
        letter, value, conditions, new = solution
        values: dict[Expr, Expr] = {letter: value}
        left = [i for i in left if i is not letter] + new
        guards = [E.substitute(g, values) for g in guards] + conditions
        tests = [E.substitute(t, values) for t in tests]
        todo = [d.substitute(values) for d in todo]
        body = E.substitute(body, values)
    ranges, equal = (tuple(c for c in map(E.decide, found) if c is not E.TRUE) for found in (guards, tests))
    return Sifted(tuple(left), ranges, equal, E.decide(body))


Solution = tuple[Index, Expr, list[Expr], list[Index]]


def _solve(d: Delta, summed: list[Index], prefer: tuple[Index, ...]) -> Solution | None:
    if isinstance(d.right, Index):
        if d.right not in summed:
            return None
        bounds = [] if d.right.extent == d.left.extent else [E.compare("<", d.left, Size(d.right.extent))]
        return d.right, d.left, bounds, []
    if isinstance(d.right, Call) and d.right.fn == "floordiv":
        return _solve_group(d, summed)
    if isinstance(d.right, Call) and d.right.fn == "mod":
        return _solve_turn(d, summed)
    candidates = [(i, c) for i in summed if (c := slope(d.right, i)) is not None]
    if not candidates:
        return None
    candidates.sort(key=lambda ic: (ic[0] not in prefer, abs(ic[1]) != 1, summed.index(ic[0])))
    letter, c = candidates[0]
    rest = E.sub(d.right, E.mul(E.num(c), letter))
    gap = E.sub(d.left, rest) if c > 0 else E.sub(rest, d.left)
    step = E.num(abs(c))
    value = E.call("floordiv", gap, step)
    conditions = [E.compare("==", E.call("mod", gap, step), E.ZERO)] if abs(c) != 1 else []
    conditions += [E.compare("<=", E.ZERO, gap), E.compare("<", value, Size(letter.extent))]
    return letter, value, conditions, []


def _solve_group(d: Delta, summed: list[Index]) -> Solution | None:
    assert isinstance(d.right, Call)
    letter, c = d.right.args
    if not isinstance(letter, Index) or letter not in summed:
        return None
    if isinstance(c, Num):
        extent = f"={int(c.value)}"
    elif isinstance(c, Size):
        extent = c.extent
    else:
        return None
    g = E.fresh(Index("g", extent), [*summed, d.left])
    value = E.add(E.mul(c, d.left), g)
    return letter, value, [E.compare("<", value, Size(letter.extent))], [g]


def _solve_turn(d: Delta, summed: list[Index]) -> Solution | None:
    """`(±l + rest) % size(l)` is a permutation of l's range."""
    assert isinstance(d.right, Call)
    inside, modulus = d.right.args
    for letter in summed:
        c = slope(inside, letter)
        if c is not None and abs(c) == 1 and isinstance(modulus, Size) and modulus.extent == letter.extent:
            rest = E.sub(inside, E.mul(E.num(c), letter))
            gap = E.sub(d.left, rest) if c > 0 else E.sub(rest, d.left)
            bound = [] if d.left.extent == letter.extent else [E.compare("<", d.left, modulus)]
            return letter, E.call("mod", gap, modulus), bound, []
    return None


def slope(e: Expr, letter: Index) -> Fraction | None:
    """The whole number c of `e = c·letter + rest` with `rest` free of the letter; None if there is none."""
    total = Fraction(0)
    for t in E.terms(e):
        if letter not in t.free:
            continue
        c, rest = E.coefficient(t)
        if rest is not letter or (isinstance(t, Mul) and len(t.args) != 2):
            return None
        total += c
    return total if total.denominator == 1 and total != 0 and isinstance(e, (Add, Mul, Index)) else None
