"""The nodes of a term. Use the constructors of `derive.expr.build`; these classes canonicalise nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

NEGATIVE_INFINITY = Fraction(-(10**30))  # what `-1e30` means in a mask
MASKED = Fraction(-5 * 10**29)  # values at or below this count as minus infinity

_table: WeakValueDictionary[Any, Any] = WeakValueDictionary()


class _Interned(type):
    """Metaclass that returns the one object for each (class, arguments)."""

    if not TYPE_CHECKING:

        def __call__(cls, *args):
            key = (cls, *args)
            found = _table.get(key)
            if found is None:
                found = super().__call__(*args)
                object.__setattr__(found, "_free", _free_of(found))
                object.__setattr__(found, "_key", None)
                object.__setattr__(found, "_height", max((c._height for c in found.children), default=0))
                if isinstance(found, (Reduce, Softmax)):
                    object.__setattr__(found, "_height", found._height + 1)
                object.__setattr__(found, "_shape", _shape_of(found))
                _table[key] = found
            return found


@dataclass(frozen=True, eq=False, repr=False)
class Expr(metaclass=_Interned):
    """A term.  `free` is the set of its free indices."""

    if TYPE_CHECKING:  # set by the metaclass

        @property
        def _free(self) -> frozenset[Index]: ...

        @property
        def _height(self) -> int:
            """How deeply reductions are nested in the term."""

        @property
        def _shape(self) -> int:
            """Equal for terms that differ in the names of indices only."""

    @property
    def free(self) -> frozenset[Index]:
        return self._free

    @property
    def children(self) -> tuple[Expr, ...]:
        return ()

    @property
    def key(self) -> tuple[Any, ...]:
        """A total order on terms that depends on their spelling only, never on identity or hash seed."""
        if self._key is None:  # type: ignore[attr-defined]
            plain: list[str] = []
            for f in fields(self):
                v = getattr(self, f.name)
                if isinstance(v, (str, Fraction, bool)):
                    plain.append(str(v))
                elif isinstance(v, tuple):
                    plain.append(str(len(v)))
            key = (_RANK[type(self).__name__], tuple(plain), tuple(c.key for c in self.children))
            object.__setattr__(self, "_key", key)
        return cast(tuple[Any, ...], self._key)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        parts = ", ".join(repr(getattr(self, f.name)) for f in fields(self))
        return f"{type(self).__name__}({parts})"


@dataclass(frozen=True, eq=False, repr=False)
class Num(Expr):
    """An exact rational number; a decimal literal is read exactly."""

    value: Fraction


@dataclass(frozen=True, eq=False, repr=False)
class Const(Expr):
    """A named real constant: `pi`."""

    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Param(Expr):
    """A scalar constant declared by `param name = value`."""

    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Size(Expr):
    """The extent of an index class, as a positive number."""

    extent: str


@dataclass(frozen=True, eq=False, repr=False)
class Index(Expr):
    """An index that runs over `0 .. size(extent) - 1`; as a term, its value.

    `extent` names the class of letters that share one size: two letters that address the same axis of a tensor
    are in one class, named after the first of them.
    """

    name: str
    extent: str


@dataclass(frozen=True, eq=False, repr=False)
class Get(Expr):
    """An element of a tensor, `tensor[subs]`; a subscript is an integer-valued term."""

    tensor: str
    subs: tuple[Expr, ...]

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.subs


@dataclass(frozen=True, eq=False, repr=False)
class Add(Expr):
    """A sum of two or more terms, in canonical order."""

    args: tuple[Expr, ...]

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.args


@dataclass(frozen=True, eq=False, repr=False)
class Mul(Expr):
    """A product of two or more factors, a number first if there is one."""

    args: tuple[Expr, ...]

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.args


@dataclass(frozen=True, eq=False, repr=False)
class Pow(Expr):
    base: Expr
    exponent: Expr

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.base, self.exponent)


@dataclass(frozen=True, eq=False, repr=False)
class Call(Expr):
    """A scalar function of real arguments; `FUNCTIONS` in derive.program lists them."""

    fn: str
    args: tuple[Expr, ...]

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.args


@dataclass(frozen=True, eq=False, repr=False)
class Truth(Expr):
    value: bool


@dataclass(frozen=True, eq=False, repr=False)
class Cmp(Expr):
    """A comparison, `op` one of `< <= == !=` (`>` and `>=` are turned round)."""

    op: str
    left: Expr
    right: Expr

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.left, self.right)

    @property
    def sides(self) -> tuple[Expr, str, Expr]:
        """Left side, sign and right side as people write them, a constant last: `x > 0` for `0 < x`."""
        if _constant(self.left) and not _constant(self.right):
            return self.right, {"<": ">", "<=": ">="}.get(self.op, self.op), self.left
        return self.left, self.op, self.right


def _constant(e: Expr) -> bool:
    return all(map(_constant, e.children)) if e.children else isinstance(e, (Num, Param, Const, Size))


@dataclass(frozen=True, eq=False, repr=False)
class Logic(Expr):
    """`and`, `or`, `not` of conditions."""

    op: str
    args: tuple[Expr, ...]

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.args


@dataclass(frozen=True, eq=False, repr=False)
class Where(Expr):
    """`then` where `cond` holds, else `other`; the branch not taken is never evaluated."""

    cond: Expr
    then: Expr
    other: Expr

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.cond, self.then, self.other)


@dataclass(frozen=True, eq=False, repr=False)
class Reduce(Expr):
    """`op` over `indices` of `body`; op one of sum, max, min, logsumexp.

    logsumexp is its own node because it is computed stably and differentiated from its definition log Σ exp.
    """

    op: str
    indices: tuple[Index, ...]
    body: Expr

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.body,)


@dataclass(frozen=True, eq=False, repr=False)
class Softmax(Expr):
    """`exp(body(at)) / Σ_indices exp(body)`: softmax over the bound `indices`, read at the place `at`."""

    indices: tuple[Index, ...]
    body: Expr
    at: tuple[Expr, ...]

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.body, *self.at)


_RANK = {c.__name__: i for i, c in enumerate(
    (Num, Const, Param, Size, Index, Get, Pow, Call, Where, Reduce, Softmax, Add, Mul, Truth, Cmp, Logic))}
_NOTHING: frozenset[Index] = frozenset()


def _free_of(e: Expr) -> frozenset[Index]:
    if isinstance(e, Index):
        return frozenset((e,))
    if isinstance(e, Softmax):
        return frozenset().union(e.body.free - set(e.indices), *(a.free for a in e.at))
    found = _NOTHING.union(*(c.free for c in e.children)) if e.children else _NOTHING
    return found - set(e.indices) if isinstance(e, Reduce) else found


def _shape_of(e: Expr) -> int:
    if isinstance(e, Index):
        return hash(("Index", e.extent))
    kids = [c._shape for c in e.children]
    if isinstance(e, (Add, Mul, Cmp, Logic)):
        kids.sort()
    return hash((type(e).__name__, *(getattr(e, f) for f in _PLAIN.get(type(e).__name__, ())), *kids))


#: Fields that are no terms, by class.
_PLAIN = {"Num": ("value",), "Const": ("name",), "Param": ("name",), "Size": ("extent",), "Get": ("tensor",),
          "Call": ("fn",), "Truth": ("value",), "Cmp": ("op",), "Logic": ("op",), "Reduce": ("op",)}
