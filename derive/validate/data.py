"""Arrays to try a formula on: awkward sizes, several scales, labels in range, numbers that suit its domain."""

from __future__ import annotations

import ast
import math
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from derive.errors import ShapeError
from derive.validate.formula import Formula, called, extents, groups, shapes, span, subscripts
from derive.validate.interpret import Interpreter, evaluate, typed

Array = np.ndarray[Any, Any]
Sizes = dict[str, int]

AWKWARD = (2, 3, 5, 7, 4, 6, 11)
MEDIUM = (19, 33, 31, 5, 2, 3, 7)
ROUND = (8, 64, 16, 32, 4, 2, 8)
LONG = 257
TABLE = 4096  # rows of a table, at most
SHORT = 7  # of a pack of 8 elements, or of 4
BUDGET = 1 << 18  # terms of the largest statement at one size
LABELS = ((-2, 1), (0, 1), (0, 2), (0, 4), (0, LONG))  # least integer drawn, and of which part of what it may address
HARDLY = "every second row or element hardly different from 0, one label in range"
NAMED = {
    "logits": "logits ±200",
    "below": "all of one sign but one input, far below 0",
    "masked": "some entries masked by -1e30",
    "nothing": "some entries masked by -1e30, and a whole row",
    "heavy": "heavy tails",
    "rows": "rows far apart, some constant, few labels",
    "one-hot": "one-hot rows, one label",
    "subnormal": "subnormal numbers, no label in range",
    "sparse": "every second entry 0, or hardly more where it must be positive",
    "least": HARDLY,
    "none": "no label in range",
    "ties": "small whole numbers, many alike",
}  # what `scale` may be besides a factor
FAR = ("logits", "below", "masked", "nothing", "rows", "heavy")  # of one input at a time: products would mean nothing
LOGITS = 350.0  # two of them apart are no subnormal weight in float64
LEAST = 2.0**-23  # a number that is hardly positive, in each type
MULTIPLES = (1, 2, 4, 6, 12)  # what an index divided by a constant may ask of its extent


@dataclass(frozen=True)
class Sample:
    """Arrays for one evaluation.

    Attributes:
        extents: of every letter.
        scale: how the real inputs were drawn.
    """

    arrays: Mapping[str, Array]
    cotangents: Mapping[str, Array]
    extents: Mapping[str, int]
    scale: str

    @property
    def where(self) -> str:
        letters = ", ".join(f"{x}={n}" for x, n in sorted(self.extents.items()))
        return f"{letters or 'scalars'}, {self.scale}"


class Drawer:
    """Draws samples of one formula.

    Args:
        kinds: input -> `positive` or `unit`, where normal numbers would not do; found by trial if nothing is said.
        given: extents that are fixed.
    """

    def __init__(self, formula: Formula, kinds: Mapping[str, str], given: Mapping[str, int], seed: int = 0):
        self.f, self.given, self.seed = formula, dict(given), seed
        self.groups, self.axes = groups(formula)
        for letter in given:
            if letter not in formula.letters:
                raise ShapeError(f"{letter} is no index of the formula", value=f"{letter}={given[letter]}",
                                 hint="its indices are " + (", ".join(sorted(formula.letters)) or "none"))
        self.low = -2  # of an integer tensor: below 0 where a guard allows it
        self.share = 1  # of the rows that it may address: less where a formula adds to it
        self.kinds = dict(kinds)
        if not kinds:
            self.kinds = self._find_kinds()

    @property
    def reals(self) -> list[str]:
        return [n for n in self.f.inputs if n not in self.f.integers]

    # ---------------------------------------------------------------------------------------------------- sizes

    def classes(self) -> list[str]:
        """One letter of each group that no one has fixed, in order of appearance."""
        fixed = {x for letter in (*self.given, *self.f.stated) for x in self.groups.get(letter, ())}
        seen: set[str] = set()
        found = []
        order = dict.fromkeys([x for s in self.f.statements for x in s.letters] + sorted(self.f.letters))
        for x in order:
            if x not in seen and x not in fixed:
                found.append(x)
            seen |= self.groups[x]
        return found

    def small(self) -> Sizes:
        """2, 3, 5, 7, ...: small enough to move every element in turn."""
        return self._fitting(dict(zip(self.classes(), AWKWARD * 3)), 1 << 12)

    def sweep(self) -> list[Sizes]:
        """Small primes, ones, one long axis after another, round numbers, medium ones that divide nothing, and tensors
        one element short of whole packs."""
        every = list(self._sweep())
        return [s for n, s in enumerate(every) if s not in every[:n]]

    def _sweep(self) -> Iterator[Sizes]:
        classes = self.classes()
        yield self.small()
        if not classes:
            return
        yield self._fitting(dict.fromkeys(classes, 1), BUDGET)
        for n, letter in enumerate(classes):
            rest = (1, 2, 3, 2, 1, 3)
            sizes = {x: rest[(k + n) % 6] for k, x in enumerate(classes)} | {letter: LONG if n % 2 else LONG // 2 + 1}
            yield self._fitting(sizes, BUDGET)
        yield self._fitting(dict(zip(classes, ROUND * 3)), BUDGET)
        yield self.medium()
        yield self.medium(1 << 14)
        ones = dict.fromkeys(classes, 1)
        yield from (self._full(ones | dict.fromkeys(pair, LONG)) for pair in self._compared_letters())
        yield from (self._fitting({x: SHORT if x in some else 1 for x in classes}, BUDGET) for some in self._short())

    def _compared_letters(self) -> Iterator[tuple[str, ...]]:
        """Axes that a mask compares, as `s <= t`: what is left out depends on both, tile by tile."""
        classes = self.classes()
        for node in (n for s in self.f.statements for n in ast.walk(s.tree) if isinstance(n, ast.Compare)):
            inside = {id(x) for sub in ast.walk(node) if isinstance(sub, ast.Subscript) for x in ast.walk(sub)}
            met = {x.id for x in ast.walk(node) if isinstance(x, ast.Name) and id(x) not in inside}
            pair = tuple(c for c in classes if self.groups[c] & met)
            if len(pair) > 1 and LONG ** len(pair) <= BUDGET:
                yield pair

    def _short(self) -> Iterator[tuple[str, ...]]:
        """Letters that are 7 where others are 1, so that each statement once has one element less than a multiple of
        8: an odd number of sevens."""
        classes = self.classes()
        open_ = {frozenset(c for c in classes for x in s.letters if x in self.groups[c]) for s in self.f.statements}
        open_ = {letters for letters in open_ if letters}
        while open_:
            sets = (some for n in range(1, len(classes) + 1) for some in combinations(classes, n))
            best = max(sets, key=lambda some: sum(len(letters & set(some)) % 2 for letters in open_))
            open_ = {letters for letters in open_ if len(letters & set(best)) % 2 == 0}
            yield best

    def medium(self, budget: int = BUDGET) -> Sizes:
        """No multiple of anything, with no more terms than that."""
        return self._fitting(dict(zip(self.classes(), MEDIUM * 3)), budget)

    def with_long(self, letter: str, length: int, rest: int, more: Mapping[str, int] | None = None) -> Sizes:
        """One axis of that length, all others of `rest`, but for `more`."""
        return self._full({**dict.fromkeys(self.classes(), rest), **(more or {}), letter: length})

    def _fitting(self, sizes: Sizes, budget: int) -> Sizes:
        """`sizes` for all letters, made smaller until no statement has more terms than `budget`."""
        sizes = dict(sizes)
        while sizes and self.volume(self._full(sizes)) > budget:
            largest = max(sizes, key=lambda x: sizes[x])
            if sizes[largest] == 1:
                break
            sizes[largest] = sizes[largest] // 2
        return self._full(sizes)

    def _full(self, sizes: Mapping[str, int]) -> Sizes:
        full = dict.fromkeys(self.f.letters, 1)
        for letter, n in {**sizes, **self.f.stated, **self.given}.items():
            full |= dict.fromkeys(self.groups.get(letter, ()), n)
        return full

    def volume(self, sizes: Mapping[str, int]) -> int:
        return max((math.prod(sizes[x] for x in statement_letters(s.tree, s.letters) if x in sizes)
                    for s in self.f.statements), default=1)

    # --------------------------------------------------------------------------------------------------- arrays

    def sample(self, sizes: Mapping[str, int], scale: str = "1", number: int = 0) -> Sample:
        """Arrays at these sizes; sizes are raised to a multiple if the formula divides an index.

        Raises:
            ShapeError: no multiple tried keeps every access in range.
        """
        last: ShapeError | None = None
        for multiple in MULTIPLES:
            raised = {x: -(-n // multiple)*multiple if x not in self.given and x not in self.f.stated else n
                      for x, n in sizes.items()}
            fitted = (raised, self._with_room(raised))
            for self.low, self.share, here in ((*label, s) for label in LABELS for s in fitted):
                try:
                    return self._sample(here, scale, number)
                except ShapeError as e:
                    last = e
        assert last is not None
        raise last

    def _with_room(self, sizes: Mapping[str, int]) -> Sizes:
        """`sizes` with axes as long as what reads them asks for, as the second of `K[b,g,s]` read at `h//2`."""
        sizes = dict(sizes)
        for a in self.f.accesses():
            for n, sub in enumerate(a.subscripts):
                axis = self.axes.get((a.tensor, n))
                reach = None if axis not in sizes or isinstance(sub, ast.Name) else span(sub, sizes, self.f)
                if axis is not None and reach is not None and reach[1] >= sizes[axis]:
                    free = [x for x in self.groups[axis] if x not in self.given and x not in self.f.stated]
                    sizes |= dict.fromkeys(free, reach[1] + 1)
        return sizes

    def _sample(self, sizes: Mapping[str, int], scale: str, number: int) -> Sample:
        rng = np.random.default_rng(zlib.crc32(f"{self.seed} {scale} {number} {sorted(sizes.items())}".encode()))
        made = shapes(self.f, sizes, self._table(sizes))
        arrays = {}
        one = self.reals[number % len(self.reals)] if self.reals and scale in FAR else ""
        for name in self.f.inputs:
            if name in self.f.integers:
                top = max(1, self._room(name, made, sizes) // self.share)
                low = 0 if 0 in sizes.values() else self.low  # where nothing is read, no guard is missed
                arrays[name] = draw_labels(rng, made[name], scale, low, top)
            else:
                here = scale if not one or name == one else "above" if scale == "below" else "1"
                arrays[name] = draw(rng, made[name], here, self.kinds.get(name, "normal"))
        known = extents(self.f, {n: a.shape for n, a in arrays.items()}, {**self._free(sizes), **self.given})
        values = self._tamed(arrays, {x: known[x] for x in self._free(known)}, [one] if one else self.reals, scale)
        cotangents = {o: np.asarray(rng.standard_normal(values[o].shape)) for o in self.f.outputs}
        return Sample(arrays, cotangents, known, NAMED.get(scale, f"scale {scale}"))

    def _tamed(self, arrays: dict[str, Array], free: Sizes, names: list[str], scale: str) -> dict[str, Array]:
        """The formula's value; `names` are halved until no softmax meets more than `LOGITS`, beyond which the rounding
        of a score alone makes any weight of it."""
        for _ in range(24):
            run = Interpreter(self.f, {n: typed(a) for n, a in arrays.items()}, free)
            values = run.run()
            if run.logit <= LOGITS or scale in ("masked", "nothing"):
                break
            for n in names:
                if self.kinds.get(n) != "unit":
                    arrays[n] = arrays[n] / 2
        return values

    def _free(self, sizes: Mapping[str, int]) -> Sizes:
        """Letters whose extent no input's axis shows: it must be said."""
        return {x: n for x, n in sizes.items() if x in self.f.letters and not self._shown(x)}

    def _shown(self, letter: str) -> bool:
        """Whether an input's axis shows the letter's extent."""
        return any(x in self.groups[letter] and t in self.f.inputs for (t, _), x in self.axes.items())

    def _table(self, sizes: Mapping[str, int]) -> int:
        """The length of an axis that only data address: some places fall together in its rows, some lie far apart."""
        found = [TABLE]
        for a in self.f.accesses():
            by_data = [s for s in a.subscripts if any(isinstance(x, ast.Subscript) for x in ast.walk(s))]
            if by_data:
                places, beside = ({x.id for s in subs for x in ast.walk(s) if isinstance(x, ast.Name) and x.id in sizes}
                                  for subs in (by_data, set(a.subscripts) - set(by_data)))
                room = BUDGET // math.prod(max(sizes[x], 1) for x in beside)
                longest = max((sizes[x] for x in places), default=0)
                found.append(min(4 + longest // 3 * (longest >= LONG), int(room ** (1 / len(by_data)))))
        return max(4, min(found))

    def _room(self, name: str, made: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int]) -> int:
        """The length of the shortest axis that an integer tensor addresses."""
        room = []
        for a in self.f.accesses():
            for n, sub in enumerate(a.subscripts):
                held = (x.value for x in ast.walk(sub) if isinstance(x, ast.Subscript))
                inside = {x.id for x in held if isinstance(x, ast.Name)}
                if name in inside:
                    if a.tensor in made:
                        room.append(made[a.tensor][n])
                    elif (a.tensor, n) in self.axes:
                        room.append(sizes[self.axes[a.tensor, n]])
        return min(room, default=self._compared(name, sizes))

    def _compared(self, name: str, sizes: Mapping[str, int]) -> int:
        """One more than the longest axis whose places are compared with an integer tensor, as in `s < lengths[b]`."""
        sides = [n for s in self.f.statements for n in ast.walk(s.tree) if isinstance(n, ast.Compare)]
        held = [{x.id for x in ast.walk(c) if isinstance(x, ast.Name)} for c in sides]
        letters = [x for names in held if name in names for x in names & self.f.letters]
        return max((sizes[x] for x in letters), default=1) + 1

    def _find_kinds(self) -> dict[str, str]:
        """Normal numbers if they keep the formula finite, else positive ones for one input after another."""
        tries: list[dict[str, str]] = [{}]
        for kind in ("positive", "unit"):
            tries += [*({n: kind} for n in self.reals), dict.fromkeys(self.reals, kind)]
        for kinds in tries:
            self.kinds = kinds
            samples = (self.sample(self.medium(1 << 16), scale, n) for scale in ("1", "0.1") for n in range(3))
            if all(np.isfinite(v).all() for s in samples for v in self.interpret(s).values()):
                return kinds
        return {}

    def interpret(self, sample: Sample) -> dict[str, Array]:
        """The formula's value."""
        return evaluate(self.f, sample.arrays, self.free(sample))

    def free(self, sample: Sample) -> Sizes:
        """The extents of a sample that no array shows."""
        return self._free(sample.extents)


def draw(rng: np.random.Generator, shape: tuple[int, ...], scale: str, kind: str) -> Array:
    """Random reals. `scale` is a factor or one of `NAMED`; of kind `positive` or `unit` they stay in its domain."""
    x = rng.standard_normal(shape)
    rows = rng.uniform(-150, 150, (*shape[:-1], 1)) if shape else np.zeros(())
    if scale == "ties":
        low, top, part = {"unit": (1, 4, 4), "positive": (1, 4, 1)}.get(kind, (-1, 2, 1))
        return rng.integers(low, top, shape) / part
    if kind == "unit":
        return rng.uniform(0.05, 0.95, shape)
    if kind == "positive":
        if scale == "sparse":  # what a formula adds to keep a divisor from 0 then shows
            return np.where(rng.integers(2, size=shape) > 0, np.exp(0.5 * x), LEAST)
        if scale == "least":
            return np.exp(0.5 * x) * hardly(shape)
        if scale in NAMED or scale == "above":  # positive it is
            return np.exp({"heavy": 1.5 * x, "rows": 0.5 * x + rows / 50}.get(scale, 0.5 * x))
        return np.exp(0.5 * x) * float(scale)
    match scale:
        case "logits":
            x = rng.uniform(-200, 200, shape)
            x.flat[:2] = (200.0, -200.0)[: x.size]
        case "below":
            x = rng.uniform(-200, -100, shape)
        case "above":
            x = np.abs(x)
        case "masked" | "nothing":
            odd = np.indices(shape).sum(0) % 2 == 1  # each row and column keeps every second entry
            if min(shape, default=0) > 1:
                x = np.where(odd & (rng.integers(3, size=shape) > 0), -1e30, x)
                if scale == "nothing":
                    x[(0,) * (x.ndim - 1)] = -1e30
        case "heavy":
            x = np.clip(x * np.exp(2.5 * rng.standard_normal(shape)), -99, 99)
            if x.size:  # the ends of each row lie all over it: evenly, by the golden ratio
                n = x.shape[-1] if shape else 1
                lines, at = x.reshape(-1, n), np.arange(x.size // n) * 0.618 % 1
                lines[np.arange(len(at)), (at * n).astype(int)] += 250
                lines[np.arange(len(at)), ((at + 0.5) % 1 * n).astype(int)] -= 250
        case "rows":
            x = np.where(rng.integers(3, size=rows.shape) == 0, rows, x + rows)
        case "one-hot":
            x = np.where(np.arange(x.size).reshape(shape) % 5 == 3, 3.0, 0.0)
        case "subnormal":
            x = x * 1e-40
        case "sparse":
            x = np.where(rng.integers(2, size=shape) > 0, x, 0.0)
        case "least":
            x = x * hardly(shape)
        case "none":
            pass
        case _:
            x = x * float(scale)
    return x


def hardly(shape: tuple[int, ...]) -> Array:
    """1 and `LEAST` in turn, row by row, or element by element of what has no rows."""
    lines = np.indices(shape[:-1] if len(shape) > 1 else shape).sum(0)
    return np.broadcast_to(np.where(lines % 2 == 1, LEAST, 1.0)[(..., None) if len(shape) > 1 else ...], shape)


def draw_labels(rng: np.random.Generator, shape: tuple[int, ...], scale: str, low: int, top: int) -> Array:
    """Random integers from `low` on below `top`: the greatest is among them, and one stands twice."""
    match scale:
        case "rows":
            x = rng.integers(max(low, top - 2), top, shape)  # few, often repeated
        case "one-hot":
            x = np.full(shape, top - 1)
        case "subnormal" | "none" | "least":
            x = np.full(shape, low)  # where a guard allows it, none is in range
            x.flat[: scale == "least"] = top - 1  # or one
        case _:
            x = rng.integers(low, top, shape)
            x.flat[:2] = top - 1
    return x


def statement_letters(tree: ast.AST, left: tuple[str, ...]) -> set[str]:
    """Every letter that a statement runs over, each reduction's among them."""
    found = set(left)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in ("sum", "mean", "max", "min", "logsumexp"):
            found |= {a.id for a in node.args[:-1] if isinstance(a, ast.Name)}
        elif isinstance(node, ast.Subscript):
            found |= {s.id for s in subscripts(node) if isinstance(s, ast.Name)}
    return found


def normalised(f: Formula, by: Collection[str] = ("softmax", "logsumexp")) -> list[str]:
    """Inputs that a softmax or a log-sum-exp reads as they are: -1e30 in them is a mask."""
    calls = (n for s in f.statements for n in ast.walk(s.tree) if isinstance(n, ast.Call))
    bodies = [c.args[-1] for c in calls if called(c) in by]
    names = {b.value.id for b in bodies if isinstance(b, ast.Subscript) and isinstance(b.value, ast.Name)}
    return [n for n in f.inputs if n in names]


def exponentiates(f: Formula) -> bool:
    """Whether logits of ±200 are meant for the formula: it has a softmax or a log-sum-exp, or spells one."""
    names = {called(n) for s in f.statements for n in ast.walk(s.tree) if isinstance(n, ast.Call)}
    return bool(names & {"softmax", "logsumexp", "sigmoid", "tanh"}) or {"log", "exp"} <= names
