"""Slopes of the forward formula along a direction, exact, and by convention where there is no derivative.

    relu'(0) = 0, abs'(0) = 0; entries that tie for a maximum or a minimum share its slope equally;
    of a choice by value, the branch that is taken is differentiated

Differences see the mean of both sides there, whatever a rule says. A formula is walked as the interpreter walks it, and
each node gives, besides its value, how fast that grows when the inputs move along the direction: no rule is derived.
"""

import ast
import math
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np

from derive.validate.formula import REDUCTIONS, Formula, called, name_of, subscripts
from derive.validate.interpret import Array, Interpreter, Scope, number, softmax, truth, typed

BESIDE = 1e-9  # how near values may come to a tie that rounding has to decide
GRAIN, COARSE = 2.0**-12, 2.0**24  # a multiple of the one below the other is what it is, in whatever order it was made
STILL = np.zeros(())

SLOPES: dict[str, Callable[[Array, Array], Array]] = {  # f'(x), of x and f(x)
    "exp": lambda x, y: y,
    "log": lambda x, y: 1 / x,
    "log1p": lambda x, y: 1 / (1 + x),
    "expm1": lambda x, y: np.exp(x),
    "tanh": lambda x, y: 1 - y * y,
    "sqrt": lambda x, y: 0.5 / y,
    "rsqrt": lambda x, y: -0.5 * y / x,
    "erf": lambda x, y: 2 / math.sqrt(math.pi) * np.exp(-x * x),
    "sigmoid": lambda x, y: y * (1 - y),
    "relu": lambda x, y: np.where(x > 0, 1.0, 0.0),
    "abs": lambda x, y: np.sign(x),
    "sin": lambda x, y: np.cos(x),
    "cos": lambda x, y: -np.sin(x),
}


def has_kinks(f: Formula) -> bool:
    """Whether a formula may have points without a derivative: it takes a maximum, or chooses by a real value."""
    real = (set(f.inputs) | {s.name for s in f.statements}) - f.integers
    for node in (n for s in f.statements for n in ast.walk(s.tree)):
        if isinstance(node, ast.Call) and called(node) in ("relu", "abs", "maximum", "minimum", "max", "min"):
            return True
        if isinstance(node, ast.Compare) and any(isinstance(n, ast.Name) and n.id in real for n in ast.walk(node)):
            return True
    return False


class Tangents(Interpreter):
    """One evaluation with slopes, of sizes that need no slabs.

    Args:
        along: input -> direction in which it moves; others stay.

    Attributes:
        slopes: of every tensor.
        decided: whether no choice hung on rounding, so that another order of operations makes the same ones.
    """

    decided = True

    def __init__(self, formula: Formula, arrays: Mapping[str, Array], along: Mapping[str, Array],
                 sizes: Mapping[str, int]):
        self.slopes = {n: np.asarray(along.get(n, np.zeros(np.shape(a))), float) for n, a in arrays.items()}
        super().__init__(formula, {n: typed(a) for n, a in arrays.items()}, sizes)

    def run(self) -> dict[str, Array]:
        """The slope of every statement."""
        with np.errstate(all="ignore"):
            for s in self.formula.statements:
                self.code, scope = s.code, Scope()
                for x in s.letters:
                    scope = scope.bind(x, self.sizes[x])
                self.slopes[s.name] = np.array(np.broadcast_to(self.slope(s.tree, scope), scope.shape))
                self.tensors[s.name] = self.statement(s)
        return {s.name: self.slopes[s.name] for s in self.formula.statements}

    def value(self, node: ast.expr, scope: Scope) -> Array:
        if isinstance(node, ast.Compare):
            sides = [number(self.value(x, scope)) for x in (node.left, *node.comparators)]
            for a, b in pairwise(sides):
                self.meets(a, b)
        return super().value(node, scope)

    def meets(self, a: Array, b: Array) -> None:
        """A choice hangs on which of two values is greater."""
        if a.dtype.kind == "f" or b.dtype.kind == "f":
            self.decided &= not bool(np.any(beside(a, b) & ~(coarse(a) & coarse(b))))

    # ---- slopes

    def slope(self, node: ast.expr, scope: Scope) -> Array:
        """How fast an expression grows, broadcastable to the scope's shape."""
        match node:
            case ast.Name(id=name) if name in self.slopes and name not in scope.values and name not in self.params:
                return self.moving(name, [], node, scope)
            case ast.Subscript():
                return self.moving(name_of(node.value, self.code), subscripts(node), node, scope)
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return -self.slope(inner, scope)
            case ast.UnaryOp(op=ast.UAdd(), operand=inner):
                return self.slope(inner, scope)
            case ast.BinOp(left=left, op=op, right=right):
                return self.operation(op, left, right, scope)
            case ast.Call():
                return self.called(called(node), node, scope)
        return STILL  # numbers, letters, comparisons

    def moving(self, name: str, subs: list[ast.expr], node: ast.expr, scope: Scope) -> Array:
        """An element of a tensor's slope: read where the interpreter reads its value."""
        held = self.tensors
        self.tensors = {**held, name: self.slopes[name]}
        try:
            return self.access(name, subs, node, scope)
        finally:
            self.tensors = held

    def operation(self, op: ast.operator, left: ast.expr, right: ast.expr, scope: Scope) -> Array:
        da, db = self.slope(left, scope), self.slope(right, scope)
        if isinstance(op, ast.Add):
            return np.asarray(da + db)
        if isinstance(op, ast.Sub):
            return np.asarray(da - db)
        if not (da.any() or db.any()):  # of whole numbers, among them // and %
            return STILL
        a, b = (number(self.value(x, scope)).astype(float) for x in (left, right))
        if isinstance(op, ast.Mult):
            return np.asarray(da * b + a * db)
        if isinstance(op, ast.Div):
            return np.asarray((da - a / b * db) / b)
        grown = np.power(a, b) * np.log(a) * db if db.any() else 0.0
        return np.asarray(b * np.power(a, b - 1) * da + grown)

    def called(self, function: str, node: ast.Call, scope: Scope) -> Array:
        if function in REDUCTIONS:
            return self.reduced(function, [name_of(a, self.code) for a in node.args[:-1]], node.args[-1], scope)
        if function == "softmax":
            axes = tuple(scope.letters.index(name_of(a, self.code)) for a in node.args[:-1])
            p, d = self.value(node, scope), np.broadcast_to(self.slope(node.args[-1], scope), scope.shape)
            return np.asarray(p * (d - np.sum(p * d, axis=axes, keepdims=True)))
        if function == "where":
            condition = truth(self.value(node.args[0], scope))
            then = self.slope(node.args[1], scope.narrow(condition))
            return np.where(condition, then, self.slope(node.args[2], scope.narrow(~condition)))
        if function in ("maximum", "minimum"):
            a, b = (number(self.value(x, scope)).astype(float) for x in node.args)
            da, db = (self.slope(x, scope) for x in node.args)
            self.meets(a, b)
            first = np.where(a == b, 0.5, (a > b) == (function == "maximum"))
            return np.where(first == 0.5, (da + db) / 2, np.where(first > 0, da, db))
        if function == "size":
            return STILL
        x, d = number(self.value(node.args[0], scope)).astype(float), self.slope(node.args[0], scope)
        if function in ("relu", "abs"):
            self.meets(x, STILL)
        return np.asarray(SLOPES[function](x, self.value(node, scope)) * d)

    def reduced(self, function: str, letters: list[str], body: ast.expr, scope: Scope) -> Array:
        inner = scope
        for x in letters:
            inner = inner.bind(x, self.sizes[x])
        axes = tuple(range(-len(letters), 0))
        d = np.broadcast_to(self.slope(body, inner), inner.shape)
        if function == "sum":
            return np.asarray(d.sum(axis=axes))
        if function == "mean":
            return np.asarray(d.sum(axis=axes) / np.float64(math.prod(self.sizes[x] for x in letters)))
        value = np.broadcast_to(number(self.value(body, inner)), inner.shape).astype(float)
        if function == "logsumexp":
            return np.asarray((softmax(value, axes) * d).sum(axis=axes))
        best = value.max(axis=axes, keepdims=True, initial=-np.inf) if function == "max" else (
            value.min(axis=axes, keepdims=True, initial=np.inf))
        near, ties = beside(value, best), value == best
        alone = near.sum(axis=axes, keepdims=True) < 2
        self.decided &= not bool(np.any(near & ~alone & ~coarse(value)))
        return np.asarray((np.where(ties, d, 0.0) / np.maximum(1, ties.sum(axis=axes, keepdims=True))).sum(axis=axes))


def beside(a: Array, b: Array) -> Array:
    """Where two values are the same but for rounding."""
    return np.asarray((np.abs(a - b) <= BESIDE * (1 + np.abs(a) + np.abs(b))) | (a == b))


def coarse(x: Array) -> Array:
    """Where a value is a small multiple of a power of two, which no order of operations changes."""
    return np.asarray((np.abs(x) < COARSE) & (x % GRAIN == 0))


def tangents(f: Formula, arrays: Mapping[str, Array], along: Mapping[str, Array], cotangents: Mapping[str, Array],
             sizes: Mapping[str, int]) -> tuple[float, float, bool]:
    """`<dY, J v>`, the size of its terms, and whether no choice hung on rounding."""
    run = Tangents(f, arrays, along, sizes)
    slopes = run.run()
    terms = [np.asarray(d) * slopes[o] for o, d in cotangents.items()]
    return float(sum(t.sum() for t in terms)), float(sum(np.abs(t).sum() for t in terms)), run.decided
