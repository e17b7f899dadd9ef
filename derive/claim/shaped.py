"""Arrays with symbolic shapes: NumPy's operations on terms, where every axis has an extent of the formula.

An axis carries the indices that run over it: one, none where its length is one, or several where a reshape has joined
axes, the last of them running fastest.  Two extents are equal when they are the same class of letters, so that what
fits only on square matrices does not fit here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from derive import expr as E
from derive.expr import Expr, Index, Size

Axis = tuple[Index, ...]
ONE: Axis = ()


class Misfit(Exception):  # noqa: N818
    """Shapes that do not fit; the message says which."""


@dataclass(frozen=True)
class Shaped:
    """`expr` over `axes`; `code` is how the claim wrote it."""

    axes: tuple[Axis, ...]
    expr: Expr
    code: str = field(default="", compare=False)

    @property
    def extents(self) -> tuple[str, ...]:
        return tuple("*".join(i.extent.lstrip("=") for i in axis) or "1" for axis in self.axes)

    @property
    def indices(self) -> tuple[Index, ...]:
        """Of all axes, in the order of the elements."""
        return tuple(i for axis in self.axes for i in axis)

    def named(self, code: str) -> Shaped:
        return Shaped(self.axes, self.expr, code)

    def __str__(self) -> str:
        return f"{self.code} is {shape(self.extents)}"


def shape(extents: tuple[str, ...]) -> str:
    """`[m,k]`, or `a scalar`."""
    return "[" + ",".join(e.lstrip("=") for e in extents) + "]" if extents else "a scalar"


def condition(e: Expr) -> Expr:
    """The condition that an array of truth values stands for."""
    if isinstance(e, E.Where) and e.then is E.ONE and e.other is E.ZERO:
        return e.cond
    return e if isinstance(e, E.Truth) else E.compare("!=", e, E.ZERO)


@dataclass
class Algebra:
    """NumPy's operations. A lenient one takes unequal extents for equal and notes them in `forced`."""

    lenient: bool = False
    forced: dict[tuple[str, str], None] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)

    def index(self, extent: str) -> Index:
        return Index(f"@{next(self.numbers)}", extent)

    def scalar(self, e: Expr) -> Shaped:
        return Shaped((), e)

    def tensor(self, name: str, extents: tuple[str, ...]) -> Shaped:
        axes = tuple(self.index(e) for e in extents)
        return Shaped(tuple((i,) for i in axes), E.Get(name, axes), name)

    def fits(self, a: str, b: str) -> bool:
        if a != b and self.lenient:
            self.forced.setdefault((a, b))
        return a == b or self.lenient

    def along(self, e: Expr, axis: Axis, onto: Axis) -> Expr | None:
        """A term over `axis` as a term over `onto`; None if they differ in length."""
        if len(axis) == len(onto) == 1 and self.fits(onto[0].extent, axis[0].extent):
            return E.substitute(e, {axis[0]: onto[0]})
        if Counter(i.extent for i in axis) != Counter(i.extent for i in onto):
            return None
        return _read_at(e, axis, onto)

    # ------------------------------------------------------------------------------------------- elementwise

    def broadcast(self, arrays: list[Shaped], joint: str) -> tuple[tuple[Axis, ...], list[Expr]]:
        """Common axes from the right, and each array's term in them."""
        rank = max(len(a.axes) for a in arrays)
        out: list[Axis] = [ONE] * rank
        terms = [a.expr for a in arrays]
        for place in range(1, rank + 1):
            chosen = ONE
            for n, a in enumerate(arrays):
                axis = a.axes[-place] if place <= len(a.axes) else ONE
                if not axis:
                    continue
                if not chosen:
                    chosen = axis
                elif (term := self.along(terms[n], axis, chosen)) is not None:
                    terms[n] = term
                else:
                    raise Misfit(f"{joint} of " + " and ".join(map(str, arrays)))
            out[-place] = chosen
        return tuple(out), terms

    def pointwise(self, f: Callable[..., Expr], *arrays: Shaped, joint: str = "the broadcast") -> Shaped:
        axes, terms = self.broadcast(list(arrays), joint)
        return Shaped(axes, f(*terms))

    # ----------------------------------------------------------------------------------------------- products

    def matmul(self, a: Shaped, b: Shaped) -> Shaped:
        """`a @ b`: a vector counts as a row on the left and as a column on the right."""
        if not a.axes or not b.axes:
            raise Misfit(f"@ needs axes on both sides: {a} and {b}")
        k, other = a.axes[-1], b.axes[-2] if len(b.axes) > 1 else b.axes[0]
        left, right = a.expr, self.along(b.expr, other, k)
        if right is None:
            one, two = (Shaped((axis,), left).extents[0] for axis in (k, other))
            raise Misfit(f"{a} and {b}: @ needs {one} and {two} to be one")
        rows = a.axes[:-1][-1:] if len(a.axes) > 1 else ()
        columns = b.axes[-1:] if len(b.axes) > 1 else ()
        batch, (left, right) = self.broadcast([Shaped(a.axes[:-2], left, a.code), Shaped(b.axes[:-2], right, b.code)],
                                              "the batch axes")
        return Shaped((*batch, *rows, *columns), E.summation(k, E.mul(left, right)))

    def einsum(self, spec: str, arrays: list[Shaped]) -> Shaped:
        inputs, arrow, output = _spelled(spec.replace(" ", ""), [len(a.axes) for a in arrays]).partition("->")
        names: dict[str, Axis] = {}
        terms = []
        for letters, a in zip(inputs.split(","), arrays, strict=True):
            if len(letters) != len(a.axes):
                raise Misfit(f"einsum reads {a} with {len(letters)} letters")
            e = a.expr
            for c, i in zip(letters, a.axes, strict=True):
                known = names.get(c)
                if known and i:
                    term = self.along(e, i, known)
                    if term is None:
                        one, two = Shaped((known, i), e).extents
                        raise Misfit(f"letter {c} of einsum stands for {one} and, in {a.code}, for {two}")
                    e = term
                names[c] = known or i
            terms.append(e)
        if not arrow:
            output = "".join(sorted(c for c in names if inputs.count(c) == 1))
        gone = [i for c, axis in names.items() if c not in output for i in axis]
        return Shaped(tuple(names[c] for c in output), E.summation(gone, E.mul(*terms)))

    # --------------------------------------------------------------------------------------------- rearranging

    def transpose(self, a: Shaped, order: tuple[int, ...] | None = None) -> Shaped:
        order = order or tuple(reversed(range(len(a.axes))))
        if sorted(n % len(a.axes) for n in order) != list(range(len(a.axes))):
            raise Misfit(f"transpose{order} of {a}")
        return Shaped(tuple(a.axes[n] for n in order), a.expr)

    def swap(self, a: Shaped, i: int, j: int) -> Shaped:
        order = list(range(len(a.axes)))
        i, j = self.place(a, i), self.place(a, j)
        order[i], order[j] = order[j], order[i]
        return self.transpose(a, tuple(order))

    def place(self, a: Shaped, axis: int) -> int:
        if not -len(a.axes) <= axis < len(a.axes):
            raise Misfit(f"there is no axis {axis}: {a}")
        return axis % len(a.axes)

    def reduce(self, op: str, a: Shaped, axes: tuple[int, ...] | None, keepdims: bool) -> Shaped:
        places = tuple(range(len(a.axes))) if axes is None else tuple(self.place(a, n) for n in axes)
        gone = [i for n in places for i in a.axes[n]]
        e = E.reduction("sum" if op == "mean" else op, gone, a.expr)
        if op == "mean":
            e = E.mul(*(E.power(Size(i.extent), E.MINUS_ONE) for i in gone), e)
        kept: list[Axis] = []
        for n, i in enumerate(a.axes):
            if n not in places:
                kept.append(i)
            elif keepdims:
                kept.append(ONE)
        return Shaped(tuple(kept), e)

    def softmax(self, a: Shaped, axis: int) -> Shaped:
        i = a.axes[self.place(a, axis)]
        return Shaped(a.axes, E.softmax(i, a.expr, i) if i else E.ONE)

    def diagonal(self, a: Shaped) -> Shaped:
        """`diag(v)` of a vector, or the diagonal of a matrix."""
        if len(a.axes) == 1 and (rows := a.axes[0]):
            columns = tuple(self.index(i.extent) for i in rows)
            same = E.logic("and", *(E.compare("==", i, j) for i, j in zip(rows, columns, strict=True)))
            return Shaped((rows, columns), E.where(same, a.expr, E.ZERO))
        if len(a.axes) == 2 and all(a.axes):
            e = self.along(a.expr, a.axes[1], a.axes[0])
            if e is None:
                raise Misfit(f"the diagonal of {a}")
            return Shaped((a.axes[0],), e)
        raise Misfit(f"diag of {a}")

    def insert(self, a: Shaped, place: int) -> Shaped:
        return Shaped((*a.axes[:place], ONE, *a.axes[place:]), a.expr)

    def reshape(self, a: Shaped, lengths: Sequence[tuple[str, ...] | None]) -> Shaped:
        """The same elements in the same order; a length is a product of extents, or None for what is left of them.

        Raises:
            Misfit: there are not as many elements, or an axis would be cut in a way that no letter names.
        """
        rest = Counter(i.extent for i in a.indices)
        rest.subtract(e for n in lengths if n is not None for e in n)
        if min(rest.values(), default=0) < 0 or (None not in lengths and any(rest.values())):
            said = ", ".join("-1" if n is None else "*".join(e.lstrip("=") for e in n) or "1" for n in lengths)
            raise Misfit(f"reshape({said}): {a}")
        left = []
        for i in a.indices:
            if rest[i.extent] > 0:
                left.append(i.extent)
                rest[i.extent] -= 1
        axes = tuple(tuple(map(self.index, left if n is None else n)) for n in lengths)
        return Shaped(axes, _read_at(a.expr, a.indices, tuple(i for axis in axes for i in axis)))

    def onto(self, a: Shaped, target: tuple[Index, ...]) -> tuple[Expr, bool]:
        """The term of `a` in the indices of a target, and whether it had to be broadcast.

        Raises:
            Misfit: the shapes differ by more than axes of length one.
        """
        axes, e = list(a.axes), a.expr
        while len(axes) > len(target) and axes and not axes[0]:
            axes.pop(0)
        if len(axes) > len(target):
            axes = [i for i in axes if i]
        if len(axes) > len(target):
            raise Misfit("")
        stretched = len(a.axes) < len(target)
        for i, t in zip(axes[::-1], target[::-1], strict=False):
            if not i:
                stretched = True
            elif (term := self.along(e, i, (t,))) is not None:
                e = term
            else:
                raise Misfit("")
        return e, stretched


def _read_at(e: Expr, old: Axis, new: Axis) -> Expr:
    """A term over `old` at the places that `new` counts: the first element at the first place, and so on.

    Indices at either end that agree in extent are the same; the others are digits of one number.
    """
    same: dict[Expr, Expr] = {}
    for end in (0, -1):
        while old and new and old[end].extent == new[end].extent:
            same[old[end]] = new[end]
            old, new = (old[1:], new[1:]) if end == 0 else (old[:-1], new[:-1])
    return E.substitute(e, {**same, **digits(place_in(new), old)})


def place_in(axis: Axis) -> Expr:
    """Where an axis's indices stand, counted along all of it."""
    place: Expr = E.ZERO
    for i in axis:
        place = E.add(E.mul(place, Size(i.extent)), i)
    return place


def digits(place: Expr, axis: Axis) -> dict[Expr, Expr]:
    """The values of an axis's indices at a place counted along all of it."""
    found: dict[Expr, Expr] = {}
    for i in reversed(axis):
        last = i is axis[0]
        found[i] = place if last else E.call("mod", place, Size(i.extent))
        place = place if last else E.call("floordiv", place, Size(i.extent))
    return found


def _spelled(spec: str, ranks: list[int]) -> str:
    """An einsum with letters for its ellipses: axes that broadcast, aligned at their right."""
    spare = "".join(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in spec)
    inputs, arrow, output = spec.partition("->")
    parts = [p.replace("...", spare[:rank - len(p) + 3][::-1]) if "..." in p else p
             for p, rank in zip(inputs.split(","), ranks, strict=True)]
    widest = max((rank - len(p) + 3 for p, rank in zip(inputs.split(","), ranks, strict=True) if "..." in p), default=0)
    return ",".join(parts) + arrow + output.replace("...", spare[:widest][::-1])

