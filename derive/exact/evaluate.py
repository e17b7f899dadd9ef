"""Terms to arrays of exact values, one axis for each free index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from math import prod
from typing import Any, Protocol

import numpy as np

from derive import expr as E
from derive.exact.fields import UNDEFINED, Array, Digits, Field, Undefined, Unmodelled, each
from derive.expr import Expr, Get, Index

Value = tuple[tuple[Index, ...], Array]  # axes, entries
_NO, _UNKNOWN, _YES = 0, 1, 2  # of a condition; what compares a value that does not exist is unknown (Kleene's logic)


class World(Protocol):
    """What an evaluation needs to know; `Env` is one."""

    @property
    def field(self) -> Field: ...
    @property
    def seed(self) -> int: ...
    @property
    def sizes(self) -> Mapping[str, int]: ...
    @property
    def values(self) -> Mapping[str, Array]: ...
    @property
    def params(self) -> Mapping[str, Fraction]: ...
    @property
    def integers(self) -> frozenset[str]: ...


def evaluate(e: Expr, indices: Iterable[Index], env: World) -> Array:
    """The values of `e` over `indices`, an object array in that order of axes.

    Args:
        e: a term; its free indices are among `indices`.
        indices: one for each axis of the result.
        env: sizes, and a value for every tensor that `e` reads.

    Raises:
        Unmodelled: the field has no such operation.
        Undefined: a value that is asked for does not exist.
    """
    indices = tuple(indices)
    run = _Evaluation(env)
    axes, a = run.value(e)
    shape = tuple(run.size(i) for i in indices)
    out = np.array(np.broadcast_to(_spread((axes, a), indices), shape), dtype=object)
    if any(x is UNDEFINED for x in out.flat):
        raise Undefined("a value does not exist")
    return out


def _spread(v: Value, want: tuple[Index, ...]) -> Array:
    """The array of `v` with axes that broadcast against `want`."""
    axes, a = v
    order = [axes.index(i) for i in want if i in axes]
    a = a.transpose(order) if order else a
    return a.reshape([a.shape[order.index(axes.index(i))] if i in axes else 1 for i in want])


class _Evaluation:
    """One evaluation; equal sub-terms are evaluated once."""

    def __init__(self, env: World):
        self.env, self.field = env, env.field
        self.memo: dict[Expr, Value] = {}

    def size(self, of: Index | E.Size) -> int:
        return int(of.extent[1:]) if of.extent.startswith("=") else self.env.sizes[of.extent]

    def value(self, e: Expr) -> Value:
        if e not in self.memo:
            self.memo[e] = self._value(e)
        return self.memo[e]

    def _value(self, e: Expr) -> Value:
        f = self.field
        match e:
            case E.Num():
                return (), _scalar(f.number(e.value))
            case E.Param():
                return (), _scalar(f.number(self.env.params[e.name]))
            case E.Const():
                return (), _scalar(f.pi(self.env.seed))
            case E.Size():
                return (), _scalar(f.number(Fraction(self.size(e))))
            case Index() | E.Call(fn="floordiv" | "mod"):
                return self._lifted(self.whole(e))
            case Get() if e.tensor in self.env.integers:
                return self._lifted(self.whole(e))
            case Get():
                return self._access(self.env.values[e.tensor], [self.whole(s) for s in e.subs])
            case E.Add():
                return self._fold(e.args, np.add)
            case E.Mul():
                return self._fold(e.args, np.multiply)
            case E.Pow():
                return self._power(e)
            case E.Call():
                return self._call(e)
            case E.Where():
                return self._where(e)
            case E.Reduce():
                return self._reduce(e)
            case E.Softmax():
                return self._softmax(e)
        raise TypeError(f"{type(e).__name__} has no value")

    # --------------------------------------------------------------------------------------------- arithmetic

    def _joined(self, values: list[Value]) -> tuple[tuple[Index, ...], list[Array]]:
        axes = tuple(dict.fromkeys(i for v in values for i in v[0]))
        return axes, [_spread(v, axes) for v in values]

    def _fold(self, args: tuple[Expr, ...], op: Any) -> Value:
        total = self.value(args[0])
        for x in args[1:]:
            axes, (a, b) = self._joined([total, self.value(x)])
            total = axes, self.field.tidy(np.asarray(op(a, b), dtype=object))
        return total

    def _power(self, e: E.Pow) -> Value:
        axes, base = self.value(e.base)
        if isinstance(e.exponent, E.Num):
            q = e.exponent.value
            return axes, self.field.inverse(base) if q == -1 else self.field.power(base, q)
        axes, (base, exponent) = self._joined([(axes, base), self.value(e.exponent)])
        return axes, self.field.power(base, exponent)

    def _call(self, e: E.Call) -> Value:
        if e.fn in ("maximum", "minimum"):
            if not self.field.ordered:
                raise Unmodelled(e.fn)
            axes, (a, b) = self._joined([self.value(x) for x in e.args])
            return axes, each(max if e.fn == "maximum" else min, a, b)
        if e.fn == "exp":
            axes, a, hidden = self._masked(e.args[0])
            found = self.field.call("exp", a, self.env.seed)
            return axes, np.where(hidden, _zero(self.field), found) if hidden.any() else found
        axes, a = self.value(e.args[0])
        return axes, self.field.call(e.fn, a, self.env.seed)

    def _where(self, e: E.Where) -> Value:
        axes, (c, a, b) = self._joined([self.truth(e.cond), self.value(e.then), self.value(e.other)])
        return axes, _chosen(c, a, b)

    # --------------------------------------------------------------------------------------------- reductions

    def _bound(self, v: Value, indices: tuple[Index, ...]) -> tuple[tuple[Index, ...], Array]:
        """(outer axes, entries with the bound axes last, in one)."""
        axes, _ = v
        outer = tuple(i for i in axes if i not in indices)
        want = (*outer, *indices)
        full = np.broadcast_to(_spread(v, want), tuple(self.size(i) for i in want))
        return outer, full.reshape(*full.shape[:len(outer)], -1)

    def _reduce(self, e: E.Reduce) -> Value:
        if e.op == "sum" and isinstance(e.body, E.Where) and e.body.other is E.ZERO:
            return self._filtered(e.body, e.indices)
        if e.op == "sum":
            outer, a = self._bound(self.value(e.body), e.indices)
            return outer, self.field.tidy(_added(a))
        if e.op == "logsumexp":
            outer, weights = self._weights(e.body, e.indices)
            total = self.field.tidy(_added(weights))
            found = self.field.call("log", total, self.env.seed)
            if self.field.ordered:  # a row that is masked whole
                found = np.where(total == 0, self.field.number(E.NEGATIVE_INFINITY), found)
            return outer, np.asarray(found, dtype=object)
        if not self.field.ordered:
            raise Unmodelled(e.op)
        outer, a = self._bound(self.value(e.body), e.indices)
        pick = max if e.op == "max" else min
        rows = [UNDEFINED if any(x is UNDEFINED for x in r) else pick(r) for r in a.reshape(-1, a.shape[-1])]
        return outer, _objects(rows, a.shape[:-1])

    def _filtered(self, e: E.Where, indices: tuple[Index, ...]) -> Value:
        """A sum of what a condition lets through, and of nothing else: a delta drops all but one in thousands."""
        joined, (c, a) = self._joined([self.truth(e.cond), self.value(e.then)])
        outer = tuple(i for i in joined if i not in indices)
        want = (*outer, *indices)
        shape = tuple(self.size(i) for i in want)
        kept, entries = (np.broadcast_to(_spread((joined, x), want), shape) for x in (c, _chosen(c, a, a)))
        places = np.nonzero(kept)  # in order, so that the entries of one result follow one another
        count = prod(shape[:len(outer)])
        rows = np.ravel_multi_index(places[:len(outer)], shape[:len(outer)]) if outer else np.zeros_like(places[0])
        found, first = np.unique(rows, return_index=True)
        total = _objects([_zero(self.field)] * count, (count,))
        if len(found):
            total[found] = np.add.reduceat(entries[places], first)
        return outer, self.field.tidy(total.reshape(shape[:len(outer)]))

    def _masked(self, e: Expr) -> tuple[tuple[Index, ...], Array, Array]:
        """A logit that may be minus infinity: axes, values, and where it is."""
        if self.field.ordered:
            axes, a = self.value(e)
            low = self.field.number(E.MASKED)
            return axes, a, np.asarray(each(lambda x: x <= low, a) == True, dtype=bool)  # noqa: E712
        if isinstance(e, E.Num) and e.value <= E.MASKED:
            return (), _scalar(0), np.asarray(True)
        if isinstance(e, E.Where):
            parts = [self.truth(e.cond)]
            hidden: list[Value] = []
            for branch in (e.then, e.other):
                axes, a, h = self._masked(branch)
                parts.append((axes, a))
                hidden.append((axes, h))
            axes, (c, a, b, ha, hb) = self._joined([*parts, *hidden])
            return axes, _chosen(c, a, b), np.where(c == _YES, ha, (c == _NO) & hb)
        if isinstance(e, E.Add):
            found = [self._masked(x) for x in e.args]
            axes, arrays = self._joined([(x, a) for x, a, _ in found])
            _, masks = self._joined([(x, h) for x, _, h in found])
            total, gone = arrays[0], masks[0]
            for a, h in zip(arrays[1:], masks[1:], strict=True):
                total, gone = self.field.tidy(np.asarray(total + a, dtype=object)), gone | h
            return axes, total, np.broadcast_to(gone, total.shape)
        axes, a = self.value(e)
        return axes, a, np.zeros(a.shape, dtype=bool)

    def _weights(self, body: Expr, indices: tuple[Index, ...]) -> tuple[tuple[Index, ...], Array]:
        """exp(body), 0 where it is masked, bound axes last in one."""
        axes, a, hidden = self._masked(body)
        w = self.field.call("exp", a, self.env.seed)
        w = np.asarray(np.where(hidden, _zero(self.field), w), dtype=object)
        return self._bound((axes, w), indices)

    def _softmax(self, e: E.Softmax) -> Value:
        outer, w = self._weights(e.body, e.indices)
        total = self.field.tidy(_added(w))
        if self.field.ordered:
            total = np.asarray(np.where(total == 0, self.field.number(Fraction(1)), total), dtype=object)
        p = self.field.tidy(np.asarray(w * self.field.inverse(total)[..., None], dtype=object))
        p = p.reshape(*p.shape[:-1], *(self.size(i) for i in e.indices))
        here = [((i,), np.arange(self.size(i))) for i in outer]
        return self._access(p, [*here, *(self.whole(a) for a in e.at)])

    # ---------------------------------------------------------------------------------- subscripts, conditions

    def _access(self, array: Array, subs: list[Value]) -> Value:
        if not subs:
            return (), np.asarray(array, dtype=object)
        axes, places = self._joined(subs)
        inside = np.asarray(True)
        held = []
        for p, n in zip(places, array.shape, strict=True):
            here = np.asarray(each(lambda x, n=n: 0 <= x < n, p) == True, dtype=bool)  # noqa: E712  undefined is outside
            held.append(np.where(here, p, 0).astype(int))
            inside = inside & here
        if 0 in array.shape:
            return axes, _objects([UNDEFINED] * inside.size, inside.shape)
        found = np.asarray(array[tuple(held)], dtype=object)
        return axes, found if np.all(inside) else np.asarray(np.where(inside, found, _scalar(UNDEFINED)), dtype=object)

    def whole(self, e: Expr) -> Value:
        """An index, a subscript or a size as whole numbers (rationals where a parameter is one)."""
        match e:
            case E.Num():
                return (), _scalar(int(e.value) if e.value.denominator == 1 else e.value)
            case E.Param():
                return (), _scalar(self.env.params[e.name])
            case E.Size():
                return (), _scalar(self.size(e))
            case Index():
                return (e,), _objects(list(range(self.size(e))), (self.size(e),))
            case Get() if e.tensor in self.env.integers:
                return self._access(self.env.values[e.tensor], [self.whole(s) for s in e.subs])
            case E.Add() | E.Mul():
                total = self.whole(e.args[0])
                for x in e.args[1:]:
                    axes, (a, b) = self._joined([total, self.whole(x)])
                    total = axes, np.asarray(a + b if isinstance(e, E.Add) else a * b, dtype=object)
                return total
            case E.Call(fn="floordiv" | "mod"):
                axes, (a, b) = self._joined([self.whole(x) for x in e.args])
                return axes, each((lambda x, y: x // y) if e.fn == "floordiv" else (lambda x, y: x % y), a, b)
            case E.Where():
                axes, (c, a, b) = self._joined([self.truth(e.cond), self.whole(e.then), self.whole(e.other)])
                return axes, _chosen(c, a, b)
        raise Unmodelled("a subscript that is not made of whole numbers")

    def _lifted(self, v: Value) -> Value:
        return v[0], each(lambda x: self.field.number(Fraction(x)), v[1])

    def truth(self, e: Expr) -> Value:
        """Yes, no or unknown: `i > 0 and A[i-1] > 0` is no at 0, where A has no such entry."""
        match e:
            case E.Truth():
                return (), np.asarray(_YES if e.value else _NO)
            case E.Logic(op="not"):
                axes, a = self.truth(e.args[0])
                return axes, _YES - a
            case E.Logic():
                axes, parts = self._joined([self.truth(a) for a in e.args])
                total = parts[0]
                for p in parts[1:]:
                    total = np.minimum(total, p) if e.op == "and" else np.maximum(total, p)
                return axes, total
            case E.Cmp():
                return self._compare(e)
        raise TypeError(f"{type(e).__name__} is no condition")

    def _compare(self, e: E.Cmp) -> Value:
        try:
            axes, (a, b) = self._joined([self.whole(e.left), self.whole(e.right)])
            tiny: Any = 0
        except Unmodelled:
            if not isinstance(self.field, Digits):
                raise
            axes, (a, b) = self._joined([self.value(e.left), self.value(e.right)])
            tiny = self.field.close
        tests: dict[str, Callable[[Any, Any], Any]] = {
            "<": lambda x, y: x < y - tiny, "<=": lambda x, y: x <= y + tiny,
            "==": lambda x, y: abs(x - y) <= tiny, "!=": lambda x, y: abs(x - y) > tiny,
        }
        test = tests[e.op]
        found = np.frompyfunc(lambda x, y: _UNKNOWN if x is UNDEFINED or y is UNDEFINED else
                              _YES if test(x, y) else _NO, 2, 1)(a, b)
        return axes, np.asarray(found, dtype=int)


def _chosen(c: Array, a: Array, b: Array) -> Array:
    """`where` entry by entry: what an unknown condition chooses does not exist."""
    return np.asarray(np.where(c == _YES, a, np.where(c == _NO, b, _scalar(UNDEFINED))), dtype=object)


def _scalar(x: Any) -> Array:
    out = np.empty((), dtype=object)
    out[()] = x
    return out


def _objects(values: list[Any], shape: tuple[int, ...]) -> Array:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out.reshape(shape)


def _zero(field: Field) -> Any:
    return field.number(Fraction(0))


def _added(a: Array) -> Array:
    """The sum over the last axis."""
    return np.asarray(np.add.reduce(a, axis=-1), dtype=object)
