"""A random place to evaluate at: sizes, inputs, forward values and cotangents, all from one seed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import prod
from random import Random
from typing import Any

import numpy as np

from derive import expr as E
from derive.errors import ShapeError
from derive.exact.evaluate import evaluate
from derive.exact.fields import MODULAR, Array, Field, Undefined
from derive.expr import Get
from derive.extents import floors, solve
from derive.program import Program, Statement, Tensor

MOST = 100_000  # elements of one input


@dataclass(frozen=True)
class Env:
    """Where terms are evaluated.

    Attributes:
        field: the kind of number.
        seed: of every random choice.
        sizes: by extent class.
        values: by tensor: inputs, forward statements, cotangents `d<output>`, and what `define` added.
        params: exact values of the program's constants.
        integers: tensors of whole numbers.
    """

    field: Field
    seed: int
    sizes: Mapping[str, int]
    values: Mapping[str, Array]
    params: Mapping[str, Fraction]
    integers: frozenset[str]

    def define(self, statements: Iterable[Statement]) -> Env:
        """The environment with more statements evaluated, in order."""
        env = self
        for s in statements:
            env = env.put(s.name, evaluate(s.expr, s.indices, env))
        return env

    @cached_property
    def largest(self) -> Any:
        """The greatest magnitude of a real value here, 0 in a field without order: rounding of it may be left where it
        cancels."""
        if not self.field.ordered:
            return 0
        reals = (a for name, a in self.values.items() if name not in self.integers)
        return max((abs(x) for a in reals for x in a.flat), default=0)

    def put(self, name: str, value: Array) -> Env:
        return replace(self, values={**self.values, name: value})


def environment(program: Program, seed: int, sizes: Mapping[str, int] | None = None, field: Field = MODULAR) -> Env:
    """Random sizes (pairwise different while there are few), inputs, cotangents, and the forward values they give.

    Args:
        program: a forward formula.
        seed: same seed, same environment.
        sizes: by extent class; None draws them.
        field: MODULAR or DIGITS.

    Raises:
        Unmodelled: the field has no operation that the formula uses.
        Undefined: no inputs were found for which the formula is defined.
    """
    draws = [sizes] if sizes is not None else [random_sizes(program, seed + 1000 * n, least=2 + n) for n in range(8)]
    real = [t.name for t in program.inputs if not t.integer]
    for drawn in draws:
        for least in (-1, 0):  # below zero only where a guard of the labels themselves allows it
            env = _try(program, seed, drawn, field, frozenset(), least)
            if env is not None:
                return env
        best = _try(program, seed, drawn, field, frozenset(real)) if field.ordered else None
        if best is not None:
            return _widened(best, program, real)
    raise Undefined("no inputs were found for which the formula is defined")


def _widened(best: Env, program: Program, real: list[str]) -> Env:
    """Let every input have both signs that can."""
    kept = frozenset(real)
    for name in real:
        env = _try(program, best.seed, best.sizes, best.field, kept - {name})
        if env is not None:
            best, kept = env, kept - {name}
    return best


def _try(program: Program, seed: int, sizes: Mapping[str, int], field: Field, positive: frozenset[str],
         least: int = 0) -> Env | None:
    integers = frozenset(t.name for t in program.inputs if t.integer)
    values: dict[str, Array] = {}
    for t in program.inputs:
        shape = tuple(sizes[a] for a in t.axes)
        if prod(shape) > MOST:
            raise Undefined(f"{t.name} has too many elements to evaluate exactly")
        rng = _rng(seed, t.name)
        if t.integer:
            low, high = _range(program, t, sizes, least)
            values[t.name] = _fill(shape, lambda rng=rng, low=low, high=high: rng.randrange(low, high))
        else:
            values[t.name] = _fill(shape, lambda rng=rng, name=t.name: field.draw(rng, name in positive))
    for o in program.outputs:
        rng = _rng(seed, "d" + o)
        values["d" + o] = _fill(tuple(sizes[a] for a in program.axes(o)), lambda rng=rng: field.draw(rng, False))
    try:
        return Env(field, seed, sizes, values, dict(program.params), integers).define(program.statements)
    except Undefined:
        return None


def _rng(seed: int, name: str) -> Random:
    return Random(zlib.crc32(f"{seed} {name}".encode()))


def _fill(shape: tuple[int, ...], draw: Any) -> Array:
    out = np.empty(shape, dtype=object)
    for place in np.ndindex(shape):
        out[place] = draw()
    return out


def _range(program: Program, t: Tensor, sizes: Mapping[str, int], least: int) -> tuple[int, int]:
    """Values of an integer tensor: what fits where it is a subscript, from `least` if every such place is guarded."""
    rooms, guarded = [], True
    for s in program.statements:
        inside = {x for w in E.subterms(s.expr) if isinstance(w, E.Where) for b in (w.then, w.other)
                  for x in E.subterms(b)}
        for g in E.subterms(s.expr):
            if isinstance(g, Get) and g.tensor != t.name:
                for sub, axis in zip(g.subs, program.axes(g.tensor), strict=True):
                    if any(isinstance(x, Get) and x.tensor == t.name for x in E.subterms(sub)):
                        rooms.append(sizes[axis])
                        guarded = guarded and g in inside
    if not rooms:
        return 0, max(sizes.values(), default=2) + 1
    return (least if guarded else 0), min(rooms)


def random_sizes(program: Program, seed: int, least: int = 2) -> dict[str, int]:
    """Sizes of all extent classes that keep every access in range; pairwise different while they are few.

    A letter that must fit an access of another one (`X[2*t+r]` beside `X[u]`) is left to the solver when a draw of its
    own does not fit.
    """
    rng = _rng(seed, "sizes")
    classes = list(dict.fromkeys(e for _, e in program.letters if not e.startswith("=")))
    letter = {e: n for n, e in reversed(program.letters)}
    pinned = {e for e in classes for g in program.accesses() for s in g.subs
              if not isinstance(s, E.Index) and e in {i.extent for i in s.free}}
    floor = floors(program)
    for attempt in range(200):
        room = least + 2 + len(classes) + attempt // 20
        few = len(classes) <= 5
        pool = rng.sample(range(least, room), len(classes)) if few else rng.choices(range(least, least + 3),
                                                                                    k=len(classes))
        given = {e: max(n, floor.get(e, 0)) for e, n in zip(classes, pool, strict=True)}
        if attempt % 2:
            for e in rng.sample(sorted(pinned), rng.randrange(len(pinned) + 1)):
                del given[e]
        default = next(n for n in range(least, 100) if n not in given.values()) if few else 3
        try:
            found = solve(program, {}, {letter[e]: n for e, n in given.items()}, default)
        except ShapeError:
            continue
        if all(n > 0 for n in found.values()):
            return found
    try:
        return solve(program, {}, {letter[e]: n for e, n in floor.items()}, 3)
    except ShapeError as e:
        raise Undefined(f"no sizes were found that keep every access in range: {e.what}") from e
