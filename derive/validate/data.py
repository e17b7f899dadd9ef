"""Arrays to try a formula on: awkward sizes, several scales, labels in range, numbers that suit its domain."""

from __future__ import annotations

import ast
import math
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np

from derive.errors import ShapeError
from derive.validate.formula import Formula, called, extents, groups, shapes, span, subscripts
from derive.validate.interpret import Interpreter, evaluate, typed
from derive.validate.numbers import KINDS, NAMED, draw, draw_labels

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
FAR = ("logits", "below", "masked", "nothing", "rows", "heavy")  # of one input at a time: products would mean nothing
FEW = 5  # inputs, of which every choice of kinds is tried
LOGITS = 350.0  # two of them apart are no subnormal weight in float64
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
        kinds: input -> one of `KINDS`, where normal numbers would not do; found by trial if nothing is said.
        given: extents that are fixed.
    """

    def __init__(self, formula: Formula, kinds: Mapping[str, str], given: Mapping[str, int], seed: int = 0):
        self.f, self.given, self.seed = formula, dict(given), seed
        self.groups, self.axes = groups(formula)
        self.fixed = {x for letter in (*given, *formula.stated) for x in self.groups.get(letter, ())}
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
        seen: set[str] = set()
        found = []
        order = dict.fromkeys([x for s in self.f.statements for x in s.letters] + sorted(self.f.letters))
        for x in order:
            if x not in seen and x not in self.fixed:
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
        yield from (self.full(ones | dict.fromkeys(pair, LONG)) for pair in self._compared_letters())
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
        return self.full({**dict.fromkeys(self.classes(), rest), **(more or {}), letter: length})

    def _fitting(self, sizes: Sizes, budget: int) -> Sizes:
        """`sizes` for all letters, made smaller until no statement has more terms than `budget`."""
        sizes = dict(sizes)
        while sizes and self.volume(self.full(sizes)) > budget:
            largest = max(sizes, key=lambda x: sizes[x])
            if sizes[largest] == 1:
                break
            sizes[largest] = sizes[largest] // 2
        return self.full(sizes)

    def full(self, sizes: Mapping[str, int]) -> Sizes:
        """These sizes for all letters, 1 for the others, where no one has said them."""
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
            raised = {x: n if x in self.fixed else -(-n // multiple)*multiple for x, n in sizes.items()}
            fitted = (raised, self._with_room(raised))
            for self.low, self.share, here in ((*label, s) for label in LABELS for s in fitted):
                try:
                    return self._sample(here, scale, number)
                except ShapeError as e:
                    last = e
        assert last is not None
        raise last

    def _with_room(self, sizes: Mapping[str, int]) -> Sizes:
        """`sizes` with axes as long as what reads them asks for, as the second of `K[b,g,s]` read at `h//2`; if that
        length is fixed, with as few places that read it."""
        sizes = dict(sizes)
        for a in self.f.accesses():
            for n, sub in enumerate(a.subscripts):
                axis = self.axes.get((a.tensor, n))
                reach = None if axis not in sizes or isinstance(sub, ast.Name) else span(sub, sizes, self.f)
                if axis is None or reach is None or reach[1] < sizes[axis]:
                    continue
                free = self.groups[axis] - self.fixed
                sizes |= dict.fromkeys(free, reach[1] + 1)
                names = {x.id for x in ast.walk(sub) if isinstance(x, ast.Name)} & self.f.letters
                readers = [] if free else sorted(names - self.fixed)
                while readers and (reach := span(sub, sizes, self.f)) and reach[1] >= sizes[axis]:
                    longest = max(readers, key=lambda x: sizes[x])
                    if sizes[longest] < 2:
                        break
                    sizes |= dict.fromkeys(self.groups[longest], sizes[longest] - 1)
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
        of a score alone makes any weight of it. They are doubled if that makes it worse, as of a temperature."""
        factor, before = 0.5, math.inf
        for _ in range(24):
            run = Interpreter(self.f, {n: typed(a) for n, a in arrays.items()}, free)
            values = run.run()
            if run.logit <= LOGITS or scale in ("masked", "nothing"):
                break
            factor, before = (2.0 if run.logit > before else factor), run.logit
            for n in names:
                if self.kinds.get(n) != "unit":
                    arrays[n] = arrays[n] * factor
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
        """Normal numbers if they keep the formula finite, else those of another kind for one input after another, for
        all, and for some of a few."""
        tries: list[dict[str, str]] = [{}]
        for kind in KINDS:
            tries += [*({n: kind} for n in self.reals), dict.fromkeys(self.reals, kind)]
        if 1 < len(self.reals) <= FEW:
            tries += [dict(zip(self.reals, kinds)) for kinds in product(("normal", *KINDS), repeat=len(self.reals))]
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
