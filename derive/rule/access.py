"""Accesses and scatters as NumPy indexing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from fractions import Fraction

from derive import expr as E
from derive.expr import Cmp, Expr, Get, Index, Num, Reduce, Where
from derive.program import Program, Statement, Tensor
from derive.reads import in_order, surely_read
from derive.rule.arrays import ATOM, MUL, Array, aligned, union
from derive.rule.places import Places
from derive.rule.windows import window


class AccessPrinter:
    """The part of the NumPy printer that reads and writes tensors at computed places."""

    def __init__(self, program: Program, names: set[str], places: Places, moved: Mapping[str, str]):
        self.inputs, self.names, self.places, self.made = program.inputs, names, places, 0
        self.moved = moved  # tensor, as extents name it -> what it is called here
        self.given: tuple[Tensor, ...] = ()  # inputs of the formula, read or not
        self.reached: dict[str, int] = {}  # extent -> the last place at which the formula reads it whatever its guards
        self.axes = {t.name: t.axes for t in program.inputs}
        self.integers = {t.name for t in program.inputs if t.integer}
        self.axes |= {s.name: tuple(i.extent for i in s.indices) for s in program.statements}

    @abstractmethod
    def array(self, e: Expr, scope: tuple[Index, ...], guarded: bool = False) -> Array: ...

    def size(self, extent: str) -> str:
        """Code for an extent: `size_i`, `X.shape[2]`, or a number."""
        if extent.startswith("="):
            return extent[1:]
        if "." not in extent:
            return f"size_{extent}"
        tensor, _, axis = extent.rpartition(".")
        return f"{self.moved.get(tensor, tensor)}.shape[{axis}]"

    def temporary(self) -> str:
        self.made += 1
        while f"_t{self.made}" in self.names:
            self.made += 1
        return f"_t{self.made}"

    # ---------------------------------------------------------------------------------------------- reading

    def access(self, e: Get, scope: tuple[Index, ...], guarded: bool) -> Array:
        slots = [self._slot(e, n, guarded) for n in range(len(e.subs))]
        hard = [n for n, slot in enumerate(slots) if slot is None]
        letters = [i for n, s in enumerate(e.subs) if n not in hard for i in s.free]
        if len(set(letters)) == len(letters):
            if not hard:
                return Array(e.tensor + _brackets([s for s in slots if s]), tuple(letters))
            together = hard[-1] - hard[0] + 1 == len(hard) and not any(isinstance(s, Num) for s in e.subs)
            if together and not any(e.subs[n].free & set(letters) for n in hard):
                return self._one_place(e, hard, slots, scope, guarded)
        return self._everywhere(e, scope, guarded)

    def _slot(self, e: Get, n: int, guarded: bool) -> str | None:
        """A subscript as a slice or a number, which leaves the other axes in place; None if it takes an array."""
        sub = e.subs[n]
        if isinstance(sub, Num):
            if guarded and not self._held(e, n):
                return f"min({sub.value}, {e.tensor}.shape[{n}] - 1)" if sub.value >= 0 else None
            return str(sub.value) if sub.value >= 0 else None
        if isinstance(sub, Index) and sub.extent == self.axes[e.tensor][n]:
            return ":"
        line = None if guarded or len(sub.free) != 1 else _straight(sub)
        if line is None:
            return None
        return self._slice(*line)

    def _slice(self, letter: Index, step: int, start: int) -> str:
        """The places c·i + n of all i."""
        size = self.size(letter.extent)
        stop = (size if step == 1 else f"{step}*{size}") + (f" + {start}" if start else "")
        return f"{start or ''}:{stop}" + (f":{step}" if step != 1 else "")

    def _one_place(self, e: Get, hard: list[int], slots: list[str | None], scope: tuple[Index, ...], guarded: bool
                   ) -> Array:
        """`X[:, idx, :]`: computed subscripts side by side among slices keep the order of axes."""
        idx = [self._subscript(e, n, scope, guarded) for n in hard]
        joint = union(scope, *idx)
        codes = {n: aligned(a, joint).code for n, a in zip(hard, idx, strict=True)}
        before = tuple(i for s in e.subs[: hard[0]] for i in s.free)
        after = tuple(i for s in e.subs[hard[-1] + 1 :] for i in s.free)
        code = e.tensor + _brackets([slot or codes[n] for n, slot in enumerate(slots)])
        return Array(code, (*before, *joint, *after))

    def _everywhere(self, e: Get, scope: tuple[Index, ...], guarded: bool) -> Array:
        """Every subscript as an integer array, all broadcast together."""
        idx = [self._subscript(e, n, scope, guarded) for n in range(len(e.subs))]
        want = union(scope, *idx)
        return Array(f"{e.tensor}[{', '.join(aligned(i, want).code for i in idx)}]", want)

    def _subscript(self, e: Get, n: int, scope: tuple[Index, ...], guarded: bool) -> Array:
        sub = e.subs[n]
        a = self.array(sub, scope, guarded)
        if guarded and not self._held(e, n):
            return Array(f"np.clip({a.code}, 0, {e.tensor}.shape[{n}] - 1)", a.axes)
        return a

    def _held(self, e: Get, n: int) -> bool:
        """Whether a subscript is in range whatever the guards around it say."""
        sub, extent = e.subs[n], self.axes[e.tensor][n]
        if isinstance(sub, Num):
            size = int(extent[1:]) if extent.startswith("=") else self.reached.get(extent, 0) + 1
            return 0 <= sub.value < size
        return isinstance(sub, Index) and sub.extent == extent

    # ---------------------------------------------------------------------------------------------- writing

    def scatters(self, t: Expr, s: Statement) -> bool:
        """Whether a term is one of places: of data, `Σ where(v == ids[...], ..., 0)`, or of a window."""
        return _scatter_parts(t, s, self.places) is not None or self._window(t, s) is not None

    def scatter(self, s: Statement, terms: list[Expr]) -> list[str]:
        """`dX = rest`, then one `np.add.at` for each scattered term."""
        rest = E.add(*(t for t in E.terms(s.expr) if t not in terms))
        start = self.zeros(s, E.add(*terms))
        lines = [f"{s.name} = {start}"]
        if rest is not E.ZERO:
            a = self.array(rest, s.indices)
            lines = [f"{s.name} = {start} + {aligned(a, s.indices).at(MUL)}"]
        for t in terms:
            parts = _scatter_parts(t, s, self.places)
            line = self._window(t, s) if parts is None else self._add_at(s, *parts)
            assert line is not None
            lines.append(line)
        return lines

    def zeros(self, s: Statement, holds: Expr = E.ZERO) -> str:
        """Zeros of the shape of `s`: of an input's shape and type for its gradient, else of the type of what it holds.
        """
        axes = tuple(i.extent for i in s.indices)
        if any(s.name == f"d{t.name}" and t.axes == axes for t in self.given):
            return f"np.zeros_like({s.name[1:]})"
        return f"np.zeros({self.shape(axes)}{self.dtype(holds)})"

    def dtype(self, e: Expr) -> str:
        """The type of the first array of reals that `e` reads, as an argument: NumPy's own choice is float64.

        One that is computed rather than an input, which may be given as integers where it is only compared.
        """
        read = [t for t in E.tensors(e) if self.axes[t] and t not in self.integers]
        read.sort(key=lambda t: any(t == g.name for g in self.given))
        return f", dtype={read[0]}.dtype" if read else ""

    def shape(self, axes: Iterable[str]) -> str:
        """Code for the shape of an array with these extents."""
        sizes = [self.size(x) for x in axes]
        return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"

    def _window(self, t: Expr, s: Statement) -> str | None:
        """`dX[1:size_t + 1] += value`, or `np.add.at` where places may meet; None for any other term."""
        found = window(t, s, self.places)
        if found is None:
            return None
        places, inner, value = found
        at = [n for n, i in enumerate(s.indices) if i in places]
        first, stop = at[0], at[-1] + 1
        if len(at) != stop - first:
            return None  # NumPy would move the axes of places apart from each other to the front
        read = {i for p in places.values() for i in p.free}
        if read & set(s.indices):
            return None  # a place that differs along an axis that stays is no slice of it
        value = E.summation([i for i in inner if i not in read], value)
        before, after = s.indices[:first], s.indices[stop:]
        lines = [_straight(places[i]) for i in s.indices[first:stop]]
        if all(lines) and len(read) == len(at):
            letters = tuple(line[0] for line in lines if line)
            slots = [":"] * first + [self._slice(*line) for line in lines if line]
            return f"{s.name}{_brackets(slots)} += {self._valued(value, (*before, *letters, *after))}"
        arrays = [self.array(places[i], inner) for i in s.indices[first:stop]]
        joint = union(inner, *arrays)
        where = ", ".join(["slice(None)"] * first + [aligned(a, joint).code for a in arrays])
        where = f"({where})" if len(at) + first > 1 else where
        order = (*before, *joint, *after)
        v = aligned(self.array(value, order).real, order)
        return f"np.add.at({s.name}, {where}, {_spread(v, s, len(joint))})"

    def _valued(self, value: Expr, order: tuple[Index, ...]) -> str:
        return aligned(self.array(value, order).real, order).code

    def _add_at(self, s: Statement, places: dict[Index, Expr], inner: tuple[Index, ...], value: Expr) -> str:
        scope = (*inner, *(i for i in s.indices if i not in places))
        guarded = isinstance(value, Where)
        subs: list[Expr] = [places.get(i, i) for i in s.indices]
        last = max(n for n, i in enumerate(s.indices) if i in places)
        plain = not any(places[i].free & set(s.indices) for i in places)
        if plain and len(places) == 1 and last == 0:
            idx = self._place(s, subs[0], 0, scope, guarded)
            order = (*idx.axes, *s.indices[1:])
            if set(order) >= set(inner):
                v = aligned(self.array(value, order), order)
                return f"np.add.at({s.name}, {idx.code}, {_spread(v, s, len(idx.axes))})"
        arrays = [self._place(s, sub, n, scope, guarded) for n, sub in enumerate(subs)]
        v = self.array(value, scope)
        want = union(scope, *arrays, v)
        where = ", ".join(aligned(a, want).code for a in arrays)
        if any(i not in {x for a in arrays for x in a.axes} for i in inner):
            zero = Array(f"np.zeros({self.shape(i.extent for i in want)}, dtype=int)", want)
            first = arrays[0]
            where = ", ".join([f"{aligned(first, want).at(MUL)} + {zero.code}",
                               *(aligned(a, want).code for a in arrays[1:])])
        where += "," if len(arrays) == 1 else ""
        return f"np.add.at({s.name}, ({where}), {_spread(aligned(v, want), s, len(want))})"

    def _place(self, s: Statement, sub: Expr, n: int, scope: tuple[Index, ...], guarded: bool) -> Array:
        a = self.array(sub, scope, guarded)
        if guarded and not isinstance(sub, Index):
            return Array(f"np.clip({a.code}, 0, {s.name}.shape[{n}] - 1)", a.axes)
        return a


def reached(forward: Program) -> dict[str, int]:
    """For an extent, the last place that the formula reads of it whatever its conditions say: it is that long."""
    found: dict[str, int] = {}
    for g in (g for s in forward.statements for g in surely_read(s.expr)):
        for sub, extent in zip(g.subs, forward.axes(g.tensor), strict=True):
            if isinstance(sub, Num):
                found[extent] = max(found.get(extent, 0), int(sub.value))
    return found


def _spread(v: Array, s: Statement, places: int) -> str:
    """Values for `np.add.at`, which reads past the end of a vector that it has to repeat for a matrix of places."""
    return f"{v.at(ATOM)}[None]" if len(s.indices) == len(v.axes) == 1 < places else v.code


def _brackets(slots: list[str]) -> str:
    """`[:, 0]`, without slices at the end that take all."""
    while slots and slots[-1] == ":":
        slots = slots[:-1]
    return f"[{', '.join(slots)}]" if slots else ""


def _straight(e: Expr) -> tuple[Index, int, int] | None:
    """(i, c, n) of a subscript `c·i + n` with c > 0 and n >= 0."""
    start = sum((t.value for t in E.terms(e) if isinstance(t, Num)), Fraction(0))
    c, letter = E.coefficient(E.sub(e, E.num(start)))
    if not isinstance(letter, Index) or c <= 0 or start < 0 or c.denominator != 1 or start.denominator != 1:
        return None
    return letter, int(c), int(start)


def _scatter_parts(t: Expr, s: Statement, known: Places
                   ) -> tuple[dict[Index, Expr], tuple[Index, ...], Expr] | None:
    """(subscript for each scattered index, summed letters, value) of a scattered term."""
    coefficient, reduced = E.coefficient(t)
    outer: list[Expr] = [E.num(coefficient)]
    sums = [f for f in E.factors(reduced) if isinstance(f, Reduce) and f.op == "sum"]
    if len(sums) != 1 or not isinstance(sums[0], Reduce):
        return None
    outer += [f for f in E.factors(reduced) if f is not sums[0]]
    inner, body = E.open_binder(sums[0], avoid=s.indices)
    if not isinstance(body, Where) or body.other is not E.ZERO:
        return None
    conditions = E.conjuncts(body.cond)
    places: dict[Index, Expr] = {}
    rest: list[Expr] = []
    for c in conditions:
        pair = _equation(c, s.indices, inner)
        if pair is not None and pair[0] not in places and known.whole(pair[1]):
            places[pair[0]] = pair[1]
        else:
            rest.append(c)
    if not places or any(set(places) & p.free for p in places.values()):
        return None
    values: dict[Expr, Expr] = {i: e for i, e in places.items()}  # noqa: C416
    kept = [E.substitute(c, values) for c in rest]
    for i, e in places.items():
        kept = in_order(kept, known.missing(e, i.extent, kept))
    value = E.where(E.logic("and", *kept), E.substitute(E.mul(*outer, body.then), values), E.ZERO)
    return places, inner, value


def _equation(c: Expr, targets: tuple[Index, ...], inner: tuple[Index, ...]) -> tuple[Index, Expr] | None:
    """(i, e) of a condition `i == e` with `i` a result index and `e` read from data over summed letters."""
    if isinstance(c, Cmp) and c.op == "==":
        for i, e in ((c.left, c.right), (c.right, c.left)):
            if isinstance(i, Index) and i in targets and any(isinstance(x, Get) for x in E.subterms(e)) and (
                    e.free & set(inner)):
                return i, e
    return None
