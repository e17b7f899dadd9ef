"""Arrays with symbolic shapes: NumPy's operations on terms, where every axis has an extent of the formula.

An axis carries the index that runs over it, or None if its length is one.  Two extents are equal when they are the
same class of letters, so that what fits only on square matrices does not fit here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from derive import expr as E
from derive.expr import Expr, Index, Size

Axis = Index | None


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
        return tuple("1" if i is None else i.extent for i in self.axes)

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
        return Shaped(axes, E.Get(name, axes), name)

    def fits(self, a: str, b: str) -> bool:
        if a != b and self.lenient:
            self.forced.setdefault((a, b))
        return a == b or self.lenient

    # ------------------------------------------------------------------------------------------- elementwise

    def broadcast(self, arrays: list[Shaped], joint: str) -> tuple[tuple[Axis, ...], list[Expr]]:
        """Common axes from the right, and each array's term in them."""
        rank = max(len(a.axes) for a in arrays)
        out: list[Axis] = [None] * rank
        terms = [a.expr for a in arrays]
        for place in range(1, rank + 1):
            chosen: Axis = None
            for n, a in enumerate(arrays):
                axis = a.axes[-place] if place <= len(a.axes) else None
                if axis is None:
                    continue
                if chosen is None:
                    chosen = axis
                elif self.fits(chosen.extent, axis.extent):
                    terms[n] = E.substitute(terms[n], {axis: chosen})
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
        left, right = a.expr, b.expr
        if k is not None and other is not None:
            if not self.fits(k.extent, other.extent):
                raise Misfit(f"{a} and {b}: @ needs {k.extent} and {other.extent} to be one")
            right = E.substitute(right, {other: k})
        elif k is not other:
            raise Misfit(f"{a} and {b}: @ needs equal lengths")
        rows = a.axes[:-1][-1:] if len(a.axes) > 1 else ()
        columns = b.axes[-1:] if len(b.axes) > 1 else ()
        batch, (left, right) = self.broadcast([Shaped(a.axes[:-2], left, a.code), Shaped(b.axes[:-2], right, b.code)],
                                              "the batch axes")
        return Shaped((*batch, *rows, *columns), E.summation((k,) if k else (), E.mul(left, right)))

    def einsum(self, spec: str, arrays: list[Shaped]) -> Shaped:
        inputs, _, output = spec.replace(" ", "").partition("->")
        names: dict[str, Axis] = {}
        terms = []
        for letters, a in zip(inputs.split(","), arrays, strict=True):
            if len(letters) != len(a.axes):
                raise Misfit(f"einsum reads {a} with {len(letters)} letters")
            e = a.expr
            for c, i in zip(letters, a.axes, strict=True):
                known = names.get(c)
                if known is not None and i is not None:
                    if not self.fits(known.extent, i.extent):
                        raise Misfit(f"letter {c} of einsum stands for {known.extent} and, in {a.code}, for {i.extent}")
                    e = E.substitute(e, {i: known})
                names[c] = known or i
            terms.append(e)
        if "->" not in spec:
            output = "".join(sorted(c for c in names if inputs.count(c) == 1))
        gone = [i for c, i in names.items() if c not in output and i is not None]
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
        gone = [i for n in places if (i := a.axes[n]) is not None]
        e = E.reduction("sum" if op == "mean" else op, gone, a.expr)
        if op == "mean":
            e = E.mul(*(E.power(Size(i.extent), E.MINUS_ONE) for i in gone), e)
        kept: list[Axis] = []
        for n, i in enumerate(a.axes):
            if n not in places:
                kept.append(i)
            elif keepdims:
                kept.append(None)
        return Shaped(tuple(kept), e)

    def softmax(self, a: Shaped, axis: int) -> Shaped:
        i = a.axes[self.place(a, axis)]
        return Shaped(a.axes, E.ONE if i is None else E.softmax((i,), a.expr, (i,)))

    def diagonal(self, a: Shaped) -> Shaped:
        """`diag(v)` of a vector, or the diagonal of a matrix."""
        if len(a.axes) == 1 and a.axes[0] is not None:
            j = self.index(a.axes[0].extent)
            return Shaped((a.axes[0], j), E.where(E.compare("==", a.axes[0], j), a.expr, E.ZERO))
        if len(a.axes) == 2 and a.axes[0] is not None and a.axes[1] is not None:
            if not self.fits(a.axes[0].extent, a.axes[1].extent):
                raise Misfit(f"the diagonal of {a}")
            return Shaped((a.axes[0],), E.substitute(a.expr, {a.axes[1]: a.axes[0]}))
        raise Misfit(f"diag of {a}")

    def insert(self, a: Shaped, place: int) -> Shaped:
        return Shaped((*a.axes[:place], None, *a.axes[place:]), a.expr)

    def onto(self, a: Shaped, target: tuple[Index, ...]) -> tuple[Expr, bool]:
        """The term of `a` in the indices of a target, and whether it had to be broadcast.

        Raises:
            Misfit: the shapes differ by more than axes of length one.
        """
        axes, e = list(a.axes), a.expr
        while len(axes) > len(target) and axes and axes[0] is None:
            axes.pop(0)
        if len(axes) > len(target):
            axes = [i for i in axes if i is not None]
        if len(axes) > len(target):
            raise Misfit("")
        stretched = len(a.axes) < len(target)
        for i, t in zip(axes[::-1], target[::-1], strict=False):
            if i is None:
                stretched = True
            elif self.fits(t.extent, i.extent):
                e = E.substitute(e, {i: t})
            else:
                raise Misfit("")
        return e, stretched
