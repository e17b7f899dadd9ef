"""An independent autodiff of formulas, for tests only: exact gradients to compare the derived ones with.

The formula's syntax tree is walked once with arrays that record what was done to them; the record is then walked
backwards. Of derive only the judge's reader is used (lines, letters, extents), nothing of the compiler. Values
follow `derive.validate.interpret`: one axis a letter in scope, broadcasting does the looping.

Conventions: relu'(0) = abs'(0) = 0; max, min, maximum and minimum share the gradient equally among ties; an entry
of softmax or logsumexp at or below -5e29 is masked: its P is 0 and its gradient too.
"""

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from derive.validate.formula import extents, read, subscripts

Array = Any
Pull = Callable[[Array], Array]  # cotangent of a result -> cotangent of one operand
Rounding = Callable[[Array], Array]  # the real result of one operation -> what a machine makes of it


@dataclass(eq=False)
class Node:
    """An array, and how a cotangent of it becomes cotangents of what it was made from."""

    v: Array
    parents: list[tuple["Node", Pull]] = field(default_factory=list)


def scale(g: Array, d: Array) -> Array:
    """g*d, where nothing flows through an infinite derivative that nothing asks for."""
    with np.errstate(all="ignore"):
        return np.where(g == 0, 0.0, g * d)


def unbroadcast(g: Array, shape: tuple[int, ...]) -> Array:
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True).reshape(shape)


def erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[float])(x)


def sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -x))


# function -> value, derivative in terms of the argument x and the value y
UNARY: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
    "exp": (np.exp, lambda x, y: y),
    "log": (np.log, lambda x, y: 1 / x),
    "log1p": (np.log1p, lambda x, y: 1 / (1 + x)),
    "expm1": (np.expm1, lambda x, y: np.exp(x)),
    "tanh": (np.tanh, lambda x, y: 1 / np.cosh(np.clip(x, -300, 300)) ** 2),
    "sqrt": (np.sqrt, lambda x, y: 0.5 / y),
    "rsqrt": (lambda x: x**-0.5, lambda x, y: -0.5 * y / x),
    "erf": (erf, lambda x, y: 2 / math.sqrt(math.pi) * np.exp(-x * x)),
    "sigmoid": (sigmoid, lambda x, y: y * sigmoid(-x)),
    "relu": (lambda x: np.where(x > 0, x, 0.0), lambda x, y: np.where(x > 0, 1.0, 0.0)),
    "abs": (np.abs, lambda x, y: np.sign(x)),
    "sin": (np.sin, lambda x, y: np.cos(x)),
    "cos": (np.cos, lambda x, y: -np.sin(x)),
}

EXACT = ("relu", "abs")  # what rounds nothing
VOID = 5e-324  # stands for the weights 0 of a row that is masked whole, where rounding is asked after

COMPARE = {ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal,
           ast.Eq: np.equal, ast.NotEq: np.not_equal}  # fmt: skip


@dataclass
class Result:
    """Values of all statements, and the gradient of `Σ <cotangent, output>` with respect to each input asked for."""

    values: dict[str, Array]
    gradients: dict[str, Array]
    outputs: tuple[str, ...]


class Tape:
    """One evaluation of a formula. A scope is (letters, value ranges by letter, where it counts).

    Args:
        rounding: of every constant, operation and cotangent; None for float64's own.
    """

    def __init__(self, text: str, arrays: Mapping[str, Array], sizes: Mapping[str, int] | None = None,
                 rounding: Rounding | None = None):
        self.formula, self.rounding = read(text), rounding
        self.nodes: list[Node] = []
        self.tensors = {}
        for name in self.formula.inputs:
            a = np.asarray(arrays[name])
            self.tensors[name] = self.node(a.astype(np.int64 if a.dtype.kind in "iub" else np.float64))
        self.sizes = extents(self.formula, {n: t.v.shape for n, t in self.tensors.items()}, sizes or {})
        self.params = {n: self.eval(e, ((), {}, None)) for n, e in self.formula.params.items()}
        with np.errstate(all="ignore"):
            for s in self.formula.statements:
                scope = ((), {}, None)
                for x in s.letters:
                    scope = self.bind(scope, x)
                self.tensors[s.name] = self.spread(self.eval(s.tree, scope), tuple(self.sizes[x] for x in s.letters))

    def node(self, v: Array, *parents: tuple[Node, Pull]) -> Node:
        self.nodes.append(Node(np.asarray(v), list(parents)))
        return self.nodes[-1]

    def made(self, v: Array, *parents: tuple[Node, Pull]) -> Node:
        """The result of an operation, rounded."""
        return self.node(self.rounded(np.asarray(v)), *parents)

    def rounded(self, v: Array) -> Array:
        return v if self.rounding is None or v.dtype.kind != "f" else self.rounding(v)

    def pull_back(self, cotangents: Mapping[str, Array], wrt: list[str]) -> dict[str, Array]:
        grads: dict[int, Array] = {}
        for name, g in cotangents.items():
            grads[id(self.tensors[name])] = np.array(g, dtype=float)
        with np.errstate(all="ignore"):
            for n in reversed(self.nodes):
                g = grads.get(id(n))
                if g is None:
                    continue
                for parent, pull in n.parents:
                    if parent.v.dtype.kind == "f":
                        more = self.rounded(unbroadcast(pull(g), parent.v.shape))
                        grads[id(parent)] = grads.get(id(parent), 0.0) + more
        zero = {n: np.zeros(self.tensors[n].v.shape) for n in wrt}
        return {n: np.asarray(grads.get(id(self.tensors[n]), zero[n])) for n in wrt}

    # ---- scopes

    def bind(self, scope: Any, letter: str) -> Any:
        letters, ranges, counts = scope
        ranges = {**ranges, letter: np.arange(self.sizes[letter])}
        return (*letters, letter), ranges, None if counts is None else counts[..., None]

    def narrow(self, scope: Any, condition: Array) -> Any:
        letters, ranges, counts = scope
        condition = condition.reshape((1,) * (len(letters) - condition.ndim) + condition.shape)
        return letters, ranges, condition if counts is None else counts & condition

    def spread(self, n: Node, shape: tuple[int, ...]) -> Node:
        return self.node(np.broadcast_to(n.v, shape), (n, lambda g: g))

    # ---- expressions

    def eval(self, e: ast.expr, scope: Any) -> Node:
        match e:
            case ast.Constant(value=value):
                return self.made(value)
            case ast.Name(id=name):
                if name in scope[1]:
                    return self.node(scope[1][name].reshape([-1 if x == name else 1 for x in scope[0]]))
                if name in self.params:
                    return self.params[name]
                return self.tensors[name] if name in self.tensors else self.node({"pi": math.pi}[name])
            case ast.Subscript(value=ast.Name(id=name)):
                return self.gather(self.tensors[name], [self.eval(s, scope).v for s in subscripts(e)], scope)
            case ast.UnaryOp(op=op, operand=inner):
                a = self.eval(inner, scope)
                if isinstance(op, ast.Not):
                    return self.node(a.v == 0)
                a = self.number(a)
                return self.node(-a.v, (a, lambda g: -g)) if isinstance(op, ast.USub) else a
            case ast.BinOp(left=left, op=op, right=right):
                return self.binary(op, *(self.number(self.eval(x, scope)) for x in (left, right)))
            case ast.Compare(left=left, ops=ops, comparators=rest):
                v = [self.eval(x, scope).v for x in (left, *rest)]
                held = [COMPARE[type(op)](a, b) for op, a, b in zip(ops, v, v[1:])]
                return self.node(math.prod(held[1:], start=held[0]))
            case ast.BoolOp(op=op, values=operands):
                result = self.eval(operands[0], scope).v != 0
                for x in operands[1:]:
                    both = isinstance(op, ast.And)
                    more = self.eval(x, self.narrow(scope, result if both else ~result)).v != 0
                    result = result & more if both else result | more
                return self.node(result)
            case ast.Call(func=ast.Name(id=name), args=args):
                return self.call(name, args, scope)
        raise TypeError(ast.unparse(e))

    def number(self, n: Node) -> Node:
        """A comparison counts as 0 or 1."""
        return self.node(n.v.astype(np.int64)) if n.v.dtype.kind == "b" else n

    def gather(self, t: Node, subs: list[Array], scope: Any) -> Node:
        if scope[2] is None:
            assert all(np.all((i >= 0) & (i < n)) for i, n in zip(subs, t.v.shape)), "read out of range"
        room = tuple(max(n, 1) for n in t.v.shape)  # a guarded read of an empty axis takes a 0 that nobody uses
        held = t.v if room == t.v.shape else np.zeros(room, t.v.dtype)
        at = tuple(np.clip(i, 0, n - 1) for i, n in zip(subs, room))

        def scatter(g: Array) -> Array:
            total = np.zeros(room)
            np.add.at(total, at, g)
            return total[tuple(slice(n) for n in t.v.shape)]

        return self.node(held[at], (t, scatter))

    def binary(self, op: ast.operator, a: Node, b: Node) -> Node:
        x, y = a.v, b.v
        match op:
            case ast.Add():
                return self.made(x + y, (a, lambda g: g), (b, lambda g: g))
            case ast.Sub():
                return self.made(x - y, (a, lambda g: g), (b, lambda g: -g))
            case ast.Mult():
                return self.made(x * y, (a, lambda g: scale(g, y)), (b, lambda g: scale(g, x)))
            case ast.Div():
                return self.made(x / y, (a, lambda g: scale(g, 1 / y)), (b, lambda g: scale(g, -x / (y * y))))
            case ast.Pow():
                x, y = x.astype(float), y.astype(float)
                z = x**y
                return self.made(
                    z,
                    (a, lambda g: scale(g, np.where(y == 0, 0.0, y * x ** (y - 1)))),
                    (b, lambda g: scale(g, np.where(z == 0, 0.0, z * np.log(x)))),
                )
            case ast.FloorDiv():
                return self.node(x // y)
            case ast.Mod():
                return self.node(x % y)
        raise TypeError(type(op).__name__)

    def call(self, name: str, args: list[Any], scope: Any) -> Node:
        if name == "size":
            return self.node(self.sizes[args[0].id])
        if name == "where":
            c = self.eval(args[0], scope).v != 0
            a, b = self.eval(args[1], self.narrow(scope, c)), self.eval(args[2], self.narrow(scope, ~c))
            v = np.where(c, a.v, b.v)
            return self.node(v, (a, lambda g: np.where(c, g, 0.0)), (b, lambda g: np.where(c, 0.0, g)))
        if name in ("maximum", "minimum"):
            a, b = self.number(self.eval(args[0], scope)), self.number(self.eval(args[1], scope))
            x, y = (a.v, b.v) if name == "maximum" else (b.v, a.v)
            share = np.where(x == y, 0.5, np.where(x > y, 1.0, 0.0))
            if name == "maximum":
                return self.node(np.maximum(x, y), (a, lambda g: g * share), (b, lambda g: g * (1 - share)))
            return self.node(np.minimum(x, y), (a, lambda g: g * share), (b, lambda g: g * (1 - share)))
        if name in UNARY:
            a = self.number(self.eval(args[0], scope))
            f, df = UNARY[name]
            x, y = a.v, f(a.v)
            if name == "log" and self.rounding is not None:
                y = np.where(x == VOID, 0.0, y)  # log P is -inf there, but x - logsumexp(x) is 0
            keep = self.node if name in EXACT else self.made
            return keep(y, (a, lambda g: scale(g, df(x, y))))
        letters = [x.id for x in args[:-1]]
        if name == "softmax":
            axes = tuple(scope[0].index(x) for x in letters)
            a = self.spread(self.eval(args[-1], scope), tuple(len(scope[1][x]) for x in scope[0]))
            p, value = self.distribution(a.v, axes)
            p = p if self.rounding is None else np.where(value == -1e30, VOID, p)
            return self.made(p, (a, lambda g: p * (g - (g * p).sum(axis=axes, keepdims=True))))
        for x in letters:
            scope = self.bind(scope, x)
        axes = tuple(range(-len(letters), 0))
        a = self.spread(self.eval(args[-1], scope), tuple(len(scope[1][x]) for x in scope[0]))
        return self.reduce(name, a, axes)

    def reduce(self, name: str, a: Node, axes: tuple[int, ...]) -> Node:
        def back(g: Array) -> Array:
            return np.broadcast_to(np.expand_dims(g, axes), a.v.shape)

        if name in ("sum", "mean"):
            n = math.prod(a.v.shape[i] for i in axes) if name == "mean" else 1
            total = a.v.sum(axis=axes)
            return self.made(total / n if name == "mean" else total, (a, lambda g: back(g) / n))
        if name in ("max", "min"):
            best = (np.max if name == "max" else np.min)(a.v, axis=axes, keepdims=True)
            tied = (a.v == best) / (a.v == best).sum(axis=axes, keepdims=True)
            return self.node(np.squeeze(best, axes), (a, lambda g: back(g) * tied))
        assert name == "logsumexp", name
        p, value = self.distribution(a.v, axes)
        near = self.rounded(value)
        if self.rounding is not None:  # who keeps the value alone has its rounding in every weight
            p = np.where(p > 0, p * np.exp(np.where(p > 0, value - near, 0.0)), 0.0)
        return self.node(np.squeeze(near, axes), (a, lambda g: back(g) * p))

    @staticmethod
    def distribution(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
        """Softmax and logsumexp (axes kept), by the masking convention."""
        live = x > -5e29
        shift = np.max(np.where(live, x, -np.inf), axis=axes, keepdims=True)
        shift = np.where(np.isfinite(shift), shift, 0.0)
        e = np.where(live, np.exp(np.minimum(x - shift, 0.0)), 0.0)
        total = e.sum(axis=axes, keepdims=True)
        some = total > 0
        return e / np.where(some, total, 1.0), np.where(some, np.log(np.where(some, total, 1.0)) + shift, -1e30)


def differentiate(
    text: str,
    arrays: Mapping[str, Array],
    cotangents: Mapping[str, Array],
    wrt: list[str],
    sizes: Mapping[str, int] | None = None,
    rounding: Rounding | None = None,
) -> Result:
    """Values and gradients of a formula, as they are or as rounding makes them."""
    tape = Tape(text, arrays, sizes, rounding)
    values = {s.name: tape.tensors[s.name].v.astype(float) for s in tape.formula.statements}
    return Result(values, tape.pull_back(cotangents, wrt), tape.formula.outputs)
