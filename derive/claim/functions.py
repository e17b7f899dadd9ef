"""NumPy's functions and methods on arrays with symbolic shapes, each as `_do_<name>`."""

from __future__ import annotations

import ast
from abc import abstractmethod

from derive import expr as E
from derive.claim.shaped import Algebra, Axis, Misfit, Shaped, condition, place_in
from derive.claim.source import Claim
from derive.expr import Expr, Size


class Functions:
    """What a claim may call; the rest of the reader is in `derive.claim.arrays`."""

    claim: Claim
    algebra: Algebra

    @abstractmethod
    def read(self, node: ast.expr) -> Shaped: ...

    @abstractmethod
    def extents(self, node: ast.expr) -> tuple[str, ...] | None: ...

    @abstractmethod
    def shape(self, node: ast.expr) -> list[tuple[str, ...] | None]: ...

    @abstractmethod
    def _length(self, node: ast.expr) -> Axis: ...

    def _axes(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]
              ) -> tuple[Shaped, tuple[int, ...] | None, bool]:
        """(array, axes, keepdims) of a reduction."""
        if not args:
            raise self.claim.error("a reduction needs an array", node, value=ast.unparse(node))
        spec = options.get("axis", options.get("dim", args[1] if len(args) > 1 else None))
        keep = options.get("keepdims", options.get("keepdim"))
        kept = isinstance(keep, ast.Constant) and bool(keep.value)
        if spec is None or is_none(spec):
            return self.read(args[0]), None, kept
        places = [self.claim.integer(s) for s in (spec.elts if isinstance(spec, ast.Tuple | ast.List) else [spec])]
        return self.read(args[0]), tuple(places), kept

    def _reduction(self, op: str, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return self.algebra.reduce(op, *self._axes(node, args, options))

    def _do_sum(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return self._reduction("sum", node, args, options)

    def _do_mean(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return self._reduction("mean", node, args, options)

    def _do_max(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return self._reduction("max", node, args, options)

    def _do_min(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        if len(args) == 2 and not options and not (x := self.read(args[0])).axes:  # Python's, of two numbers
            return self.algebra.pointwise(_least, x, self.read(args[1]))
        return self._reduction("min", node, args, options)

    def _do_logsumexp(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return self._reduction("logsumexp", node, args, options)

    def _do_var(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        array, axes, keep = self._axes(node, args, options)
        centred = self.algebra.pointwise(E.sub, array, self.algebra.reduce("mean", self.read(args[0]), axes, True))
        squared = self.algebra.pointwise(lambda a: E.power(a, E.num(2)), centred)
        return self.algebra.reduce("mean", squared, axes, keep)

    def _do_std(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return self.algebra.pointwise(lambda a: E.power(a, E.HALF), self._do_var(node, args, options))

    def _do_softmax(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        array, axes, _ = self._axes(node, args, options)
        return self.algebra.softmax(array, axes[0] if axes else -1)

    def _do_log_softmax(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return self.algebra.pointwise(lambda a: E.call("log", a), self._do_softmax(node, args, options))

    def _do_matmul(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        total = self.read(args[0])
        for a in args[1:]:
            total = self.algebra.matmul(total, self.read(a))
        return total

    def _do_dot(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        a, b = (self.read(x) for x in args)
        return self.algebra.matmul(a, b) if a.axes and b.axes else self.algebra.pointwise(E.mul, a, b)

    def _do_outer(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        a, b = (self.read(x) for x in args)
        if len(a.axes) != 1 or len(b.axes) != 1:
            raise Misfit(f"outer of {a} and {b}")
        return Shaped((*a.axes, *b.axes), E.mul(a.expr, b.expr))

    def _do_einsum(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        if not (args and isinstance(args[0], ast.Constant) and isinstance(args[0].value, str)):
            raise self.claim.error("einsum starts with its letters", node, value=ast.unparse(node))
        arrays = [self.read(a) for a in args[1:]]
        if args[0].value.partition("->")[0].count(",") + 1 != len(arrays):
            raise self.claim.error("einsum has letters for another number of arrays", node, value=args[0].value)
        return self.algebra.einsum(args[0].value, arrays)

    def _do_tensordot(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        a, b = self.read(args[0]), self.read(args[1])
        spec = options.get("axes", args[2] if len(args) > 2 else ast.Constant(2))
        if isinstance(spec, ast.Tuple | ast.List) and len(spec.elts) == 2:
            left, right = ([self.claim.integer(x) for x in (e.elts if isinstance(e, ast.Tuple | ast.List) else [e])]
                           for e in spec.elts)
        else:
            n = self.claim.integer(spec)
            left, right = list(range(len(a.axes) - n, len(a.axes))), list(range(n))
        letters = iter("abcdefghijklmnopqrstuvwxyz")
        one, two = [next(letters) for _ in a.axes], [next(letters) for _ in b.axes]
        for x, y in zip(left, right, strict=True):
            two[self.algebra.place(b, y)] = one[self.algebra.place(a, x)]
        out = [x for x in one if x not in two] + [y for y in two if y not in one]
        return self.algebra.einsum(f"{''.join(one)},{''.join(two)}->{''.join(out)}", [a, b])

    def _do_reshape(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        """The same elements in the same order; lengths are letters, their products, `X.shape` and one -1."""
        array = self.read(args[0])
        lengths = self.shape(ast.Tuple(args[1:], ast.Load()))
        if lengths.count(None) > 1:
            raise self.claim.error("a reshape leaves one length open", node, value=ast.unparse(node))
        return self.algebra.reshape(array, lengths)

    _do_view = _do_reshape

    def _do_reshape_as(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        axes = self.read(args[1]).axes
        return self.algebra.reshape(self.read(args[0]), [tuple(i.extent for i in axis) for axis in axes])

    def _do_flatten(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        """All axes joined, or, as in torch, those from a first to a last."""
        array = self.read(args[0])
        given = [*args[1:], *options.values()]
        first, last = (self.algebra.place(array, self.claim.integer(n))
                       for n in (*given, *(ast.Constant(0), ast.Constant(-1))[len(given):]))
        joined = tuple(i for axis in array.axes[first:last + 1] for i in axis)
        return Shaped((*array.axes[:first], joined, *array.axes[last + 1:]), array.expr)

    _do_ravel = _do_flatten

    def _do_squeeze(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        array = self.read(args[0])
        spec = options.get("axis", options.get("dim", args[1] if len(args) > 1 else None))
        if spec is None:
            return Shaped(tuple(axis for axis in array.axes if axis), array.expr)
        place = self.algebra.place(array, self.claim.integer(spec))
        if array.axes[place]:
            raise Misfit(f"squeeze of axis {place}: {array}")
        return Shaped((*array.axes[:place], *array.axes[place + 1:]), array.expr)

    def _do_moveaxis(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        array = self.read(args[0])
        source, target = (self.algebra.place(array, self.claim.integer(a)) for a in args[1:3])
        order = [n for n in range(len(array.axes)) if n != source]
        return self.algebra.transpose(array, (*order[:target], source, *order[target:]))

    def _do_norm(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        array, axes, keep = self._axes(node, args, options)
        squares = self.algebra.pointwise(lambda a: E.power(a, E.num(2)), array)
        return self.algebra.pointwise(lambda a: E.power(a, E.HALF), self.algebra.reduce("sum", squares, axes, keep))

    def _do_heaviside(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        at = [self.read(a) for a in args] + [Shaped((), E.ZERO)]*(len(args) == 1)
        return self.algebra.pointwise(
            lambda x, zero: E.where(E.compare("==", x, E.ZERO), zero, E.indicator(E.compare("<", E.ZERO, x))), *at)

    def _do_diag(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return self.algebra.diagonal(self.read(args[0]))

    _do_diagonal = _do_diag

    def _do_trace(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        array = self.read(args[0])
        if len(array.axes) != 2:
            raise Misfit(f"the trace of {array}")
        return self.algebra.reduce("sum", self.algebra.diagonal(array), None, False)

    def _do_where(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        if len(args) != 3:
            raise self.claim.error("where takes 3 arguments", node, value=f"{len(args)} given")
        return self.algebra.pointwise(lambda c, a, b: E.where(condition(c), a, b), *map(self.read, args))

    def _do_ones(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        lengths = self.shape(ast.Tuple(args, ast.Load()))
        if None in lengths:
            raise self.claim.error("a length is an index letter or a number", node, value=ast.unparse(node))
        return Shaped(tuple(tuple(map(self.algebra.index, n or ())) for n in lengths), E.ONE)

    def _do_zeros(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return Shaped(self._do_ones(node, args, options).axes, E.ZERO)

    def _do_ones_like(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return Shaped(self.read(args[0]).axes, E.ONE)

    def _do_zeros_like(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return Shaped(self.read(args[0]).axes, E.ZERO)

    def _do_eye(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return self.algebra.diagonal(Shaped((self._length(args[0]),), E.ONE))

    def _do_arange(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        axis = self._length(args[0])
        return Shaped((axis,), place_in(axis))

    def _do_onehot(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        ids = self.read(args[0])
        axis = self._length(args[1] if len(args) > 1 else options.get("num_classes", node))
        return Shaped((*ids.axes, axis), E.indicator(E.compare("==", ids.expr, place_in(axis))))

    def _do_T(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return self.algebra.transpose(self.read(args[0]))

    def _do_transpose(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        order = args[1:]
        if len(order) == 1 and isinstance(order[0], ast.Tuple | ast.List):
            order = list(order[0].elts)
        array = self.read(args[0])
        if len(order) == 2 and len(array.axes) > 2:
            return self.algebra.swap(array, *map(self.claim.integer, order))
        if order and len(order) != len(array.axes):
            raise Misfit(f"transpose of {array} names {len(order)} axes")
        return self.algebra.transpose(array, tuple(self.claim.integer(o) for o in order) or None)

    def _do_swapaxes(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return self.algebra.swap(self.read(args[0]), self.claim.integer(args[1]), self.claim.integer(args[2]))

    def _do_expand_dims(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        array = self.read(args[0])
        place = self.claim.integer(options.get("axis") or args[1])
        return self.algebra.insert(array, place if place >= 0 else place + len(array.axes) + 1)

    def _do_size(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        found = self.extents(node)
        if found is None:
            raise self.claim.error("size takes an index letter of the formula", node, value=ast.unparse(node))
        return Shaped((), E.mul(*map(Size, found)))

    def _do_len(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return self._do_size(node, args, options)

    def _do_copy(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return self.read(args[0])

    def _do_clip(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        a, low, high = (self.read(x) for x in args)
        above = self.algebra.pointwise(lambda x, y: E.where(E.compare("<", x, y), y, x), a, low)
        return self.algebra.pointwise(_least, above, high)

    def _do_broadcast_to(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        ones = self._do_ones(node, args[1:], options)
        return self.algebra.pointwise(E.mul, ones, self.read(args[0]))


def _least(x: Expr, y: Expr) -> Expr:
    return E.where(E.compare("<", y, x), y, x)


def is_none(node: ast.expr) -> bool:
    newaxis = isinstance(node, ast.Attribute) and node.attr == "newaxis"
    return newaxis or (isinstance(node, ast.Constant) and node.value is None)
