"""Whether two terms are equal: the same object, or the same values at several random places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from derive import expr as E
from derive.exact.environment import Env, environment
from derive.exact.evaluate import evaluate
from derive.exact.fields import DIGITS, MODULAR, SPARE, TIED, Array, Field, Undefined, Unmodelled
from derive.expr import Expr, Index
from derive.program import Program, Statement

SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Agreement:
    """Two terms compared.

    Attributes:
        equal: True or False; None when they could not be compared.
        how: `the same canonical form`, `modulo the prime 2^61 - 1 at 3 sizes`, `to 50 digits at 3 sizes`, or why not.
        place: index values at which they differ, with the two values, if they do.
        env: where they were compared last.
    """

    equal: bool | None
    how: str
    place: tuple[int, ...] | None = None
    values: tuple[str, str] | None = None
    env: Env | None = None


@lru_cache(maxsize=256)
def _prepared(program: Program, extra: tuple[Statement, ...], seed: int, field: Field) -> Env | str:
    try:
        return environment(program, seed, field=field).define(extra)
    except (Unmodelled, Undefined) as why:
        return str(why)


def same(a: Expr, b: Expr, indices: Iterable[Index], program: Program, extra: Iterable[Statement] = (),
         seeds: tuple[int, ...] = SEEDS) -> Agreement:
    """Compare two terms over `indices`.

    Args:
        a, b: terms over the program's tensors, its cotangents `d<output>` and `extra`.
        indices: the free indices of both.
        program: a forward formula.
        extra: statements that they read beside it, as a backward program's.
        seeds: one environment each.
    """
    if a is b:
        return Agreement(True, "the same canonical form")
    indices, extra = tuple(indices), tuple(extra)
    why = ""
    for field in (MODULAR, DIGITS):
        found, why = _compare(a, b, indices, program, extra, seeds, field)
        if found is not None and (found.equal or field is DIGITS or _exact(found, a, b, program, extra)):
            return found
    return Agreement(None, why)


def same_at_ties(a: Expr, b: Expr, indices: Iterable[Index], program: Program, extra: Iterable[Statement] = (),
                 seeds: tuple[int, ...] = tuple(range(1, 7))) -> Agreement:
    """Compare two terms where entries are equal and arguments are 0, which random numbers never are.

    Terms without comparisons, extrema and kinks are equal there if they are equal anywhere, and are not compared.
    """
    extra = tuple(extra)
    if not any(_kinked(x) for t in (a, b) for x in E.subterms(t)):
        return Agreement(True, "without a kink")
    found, why = _compare(a, b, tuple(indices), program, extra, seeds, TIED)
    return found or Agreement(None, why)


def _kinked(x: Expr) -> bool:
    if isinstance(x, E.Cmp):
        return any(isinstance(y, (E.Get, E.Call)) for y in E.subterms(x))
    extremum = isinstance(x, E.Reduce) and x.op in ("max", "min")
    return extremum or (isinstance(x, E.Call) and x.fn in ("abs", "relu", "sign", "maximum", "minimum"))


def _compare(a: Expr, b: Expr, indices: tuple[Index, ...], program: Program, extra: tuple[Statement, ...],
             seeds: tuple[int, ...], field: Field) -> tuple[Agreement | None, str]:
    done, why = 0, ""
    env = None
    for seed in seeds:
        made = _prepared(program, extra, seed, field)
        if isinstance(made, str):
            why = made
            continue
        try:
            x, y = evaluate(a, indices, made), evaluate(b, indices, made)
        except (Unmodelled, Undefined) as e:
            why = str(e)
            if isinstance(e, Unmodelled):
                return None, why
            continue
        env = made
        place = difference(x, y, field, made.largest)
        if place is not None:
            return Agreement(False, field.name, place, (field.show(x[place]), field.show(y[place])), env), ""
        done += 1
    if not done:
        return None, why
    return Agreement(True, f"{field.name} at {done} random size{'s' * (done > 1)}", env=env), ""


def difference(x: Array, y: Array, field: Field, beside: Any = 0) -> tuple[int, ...] | None:
    """The first place at which two arrays differ by more than rounding of `beside`, the largest value in sight."""
    scale = 1
    if field.ordered:
        scale = max((abs(v) for v in (*x.flat, *y.flat)), default=1)
        scale = max(scale, beside / SPARE)
    places: list[tuple[int, ...]] = list(np.ndindex(x.shape))
    for place in places:
        if not field.equal(x[place], y[place], scale):
            return place
    return None


def _exact(found: Agreement, a: Expr, b: Expr, program: Program, extra: tuple[Statement, ...]) -> bool:
    """Whether a difference between residues is one between reals: only if no function was modelled by random values."""
    terms = [a, b, *(s.expr for s in (*program.statements, *extra))]
    return not any(_opaque(x) for t in terms for x in E.subterms(t))


def _opaque(x: Expr) -> bool:
    if isinstance(x, E.Call):
        return x.fn not in ("floordiv", "mod")
    return isinstance(x, (E.Softmax, E.Const)) or (isinstance(x, E.Reduce) and x.op != "sum")
