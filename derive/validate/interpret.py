"""A slow, obvious interpreter of formulas in float64: what the formula says, nothing else.

    evaluate("Y[i] = sum(k, A[i,k]*x[k])", {"A": A, "x": x})["Y"]

Every expression is evaluated as an array with one axis for each letter in scope (of length 1 where it does not
depend on the letter), so that NumPy's broadcasting does the looping. A reduction adds the letters it binds as last
axes, evaluates its body and reduces over them. `where` evaluates both branches, each knowing where it counts: an
index that is out of range where the branch does not count is moved into range, and its value dropped.
"""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derive.errors import NotationError, ShapeError, Where
from derive.validate.formula import REDUCTIONS, Formula, Statement, called, extents, name_of, read, subscripts

Array = NDArray[Any]

MASKED = -5e29  # an entry of softmax or logsumexp that is not above this counts as minus infinity
BUDGET = 1 << 24  # the most elements of one intermediate array; larger statements are evaluated slab by slab


def sigmoid(x: Array) -> Array:
    """1/(1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "expm1": np.expm1,
    "tanh": np.tanh,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "erf": np.vectorize(math.erf, otypes=[float]),
    "sigmoid": sigmoid,
    "relu": lambda x: np.maximum(x, 0),
    "abs": np.abs,
    "sin": np.sin,
    "cos": np.cos,
    "maximum": np.maximum,
    "minimum": np.minimum,
}

OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: lambda a, b: np.power(np.asarray(a, dtype=float), np.asarray(b, dtype=float)),
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


def number(x: Array) -> Array:
    """A value as a number: a comparison counts as 0 or 1."""
    return x.astype(np.int64) if x.dtype.kind == "b" else x


def truth(x: Array) -> Array:
    """A value as a condition: a number holds where it is not 0."""
    return x if x.dtype.kind == "b" else np.asarray(x != 0)


@dataclass(frozen=True)
class Scope:
    """The letters in scope, one axis each; the values each runs over; where what is evaluated counts at all."""

    letters: tuple[str, ...] = ()
    values: Mapping[str, Array] = field(default_factory=dict)
    counts: Array | None = None  # None: everywhere

    def index(self, letter: str) -> Array:
        shape = [-1 if x == letter else 1 for x in self.letters]
        return self.values[letter].reshape(shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(self.values[x]) for x in self.letters)

    def bind(self, letter: str, n: int) -> "Scope":
        if letter in self.values:
            raise NotationError(f"index {letter} is bound twice", value=letter)
        counts = None if self.counts is None else self.counts[..., None]
        return Scope((*self.letters, letter), {**self.values, letter: np.arange(n)}, counts)

    def narrow(self, condition: Array) -> "Scope":
        condition = np.broadcast_to(condition, np.broadcast_shapes(condition.shape, (1,) * len(self.letters)))
        return replace(self, counts=condition if self.counts is None else self.counts & condition)


def evaluate(
    formula: str | Formula, arrays: Mapping[str, ArrayLike], sizes: Mapping[str, int] | None = None,
    held: Sequence[Array] | None = None,
) -> dict[str, Array]:
    """The value of every statement, in float64.

    Args:
        formula: the text, or what `read` made of it.
        arrays: every input by name; real ones are taken as float64, integer ones stay integer.
        sizes: extents that no array fixes.
        held: what comparisons are to give whatever their sides are, in order: an `Interpreter`'s `found` of before.

    Raises:
        ShapeError: arrays that do not fit, or a read out of range where it counts.
    """
    f = read(formula) if isinstance(formula, str) else formula
    return Interpreter(f, {n: typed(a) for n, a in arrays.items()}, sizes or {}, held).run()


def typed(a: ArrayLike) -> Array:
    array = np.asarray(a)
    return array.astype(np.int64 if array.dtype.kind in "iub" else np.float64)


class Interpreter:
    """One evaluation: `tensors` grows from the inputs to all statements, in order.

    Attributes:
        logit: the largest magnitude that a softmax or a log-sum-exp has met, masked entries left out.
        found: what each comparison gave, in the order in which they were met.
    """

    logit = 0.0

    def __init__(self, formula: Formula, arrays: Mapping[str, Array], sizes: Mapping[str, int],
                 held: Sequence[Array] | None = None):
        self.formula, self.held = formula, held
        self.found: list[Array] = []
        for name in formula.inputs:
            if name not in arrays:
                raise ShapeError(f"array {name} is missing")
            if name in formula.integers and arrays[name].dtype.kind == "f":
                raise ShapeError(f"{name} is used as an index and must hold integers", value=arrays[name].dtype)
        self.tensors = {n: arrays[n] for n in formula.inputs}
        self.sizes = extents(formula, {n: a.shape for n, a in self.tensors.items()}, sizes)
        self.code = ""
        self.params: dict[str, Array] = {}
        for name, value in formula.params.items():
            self.params[name] = self.value(value, Scope())

    def run(self) -> dict[str, Array]:
        with np.errstate(all="ignore"):
            for s in self.formula.statements:
                self.tensors[s.name] = self.statement(s)
        return {s.name: self.tensors[s.name].astype(np.float64) for s in self.formula.statements}

    def statement(self, s: Statement) -> Array:
        """The statement's tensor, in slabs of its first letter if one array for all would be too large."""
        self.code = s.code
        scope = Scope()
        for x in s.letters:
            scope = scope.bind(x, self.sizes[x])
        pieces = math.prod(scope.shape) * self.volume(s.tree) // BUDGET + 1
        if pieces == 1 or not s.letters or self.normalises(s.tree, s.letters[0]):
            return np.array(np.broadcast_to(self.value(s.tree, scope), scope.shape))
        slabs = np.array_split(scope.values[s.letters[0]], min(pieces, scope.shape[0]))
        parts = [replace(scope, values={**scope.values, s.letters[0]: slab}) for slab in slabs]
        return np.concatenate([np.broadcast_to(self.value(s.tree, p), p.shape) for p in parts])

    def volume(self, node: ast.AST) -> int:
        """How many elements the largest reduction's body has for each element of the left side."""
        inside = max((self.volume(c) for c in ast.iter_child_nodes(node)), default=1)
        if isinstance(node, ast.Call) and called(node) in REDUCTIONS:
            return inside * math.prod(self.sizes[name_of(a, self.code)] for a in node.args[:-1])
        return inside

    def normalises(self, tree: ast.AST, letter: str) -> bool:
        calls = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and called(n) == "softmax")
        return any(name_of(a, self.code) == letter for n in calls for a in n.args[:-1])

    # ---- expressions

    def value(self, node: ast.expr, scope: Scope) -> Array:
        """The value of an expression, broadcastable to the scope's shape."""
        match node:
            case ast.Constant(value=int() | float() as constant):
                return np.asarray(constant)
            case ast.Name(id=name):
                return self.name(name, node, scope)
            case ast.Subscript():
                return self.access(name_of(node.value, self.code), subscripts(node), node, scope)
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return np.asarray(-number(self.value(inner, scope)))
            case ast.UnaryOp(op=ast.UAdd(), operand=inner):
                return self.value(inner, scope)
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                return ~truth(self.value(inner, scope))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                a, b = number(self.value(left, scope)), number(self.value(right, scope))
                return np.asarray(OPERATORS[type(op)](a, b))
            case ast.Compare(left=left, ops=ops, comparators=others):
                values = [number(self.value(x, scope)) for x in (left, *others)]
                parts = [OPERATORS[type(op)](a, b) for op, a, b in zip(ops, values, values[1:])]
                self.found.append(np.asarray(reduce(np.logical_and, parts)))
                return self.found[-1] if self.held is None else self.held[len(self.found) - 1]
            case ast.BoolOp(op=op, values=operands):
                return self.logic(isinstance(op, ast.And), operands, scope)
            case ast.Call():
                return self.call(called(node), node, scope)
        raise self.error("this is not in the notation", node)

    def error(self, what: str, node: ast.AST) -> NotationError:
        return NotationError(what, where=Where.of(self.code, node), value=ast.unparse(node))

    def name(self, name: str, node: ast.expr, scope: Scope) -> Array:
        if name in scope.values:
            return scope.index(name)
        if name in self.params:
            return self.params[name]
        if name in self.tensors:
            return self.access(name, [], node, scope)
        if name == "pi":
            return np.asarray(math.pi)
        raise self.error(f"{name} has no value here", node)

    def logic(self, both: bool, operands: list[ast.expr], scope: Scope) -> Array:
        """`and`, `or`: as in Python, an operand counts only where those before it leave the matter open."""
        result = truth(self.value(operands[0], scope))
        for operand in operands[1:]:
            more = truth(self.value(operand, scope.narrow(result if both else ~result)))
            result = result & more if both else result | more
        return result

    def access(self, name: str, subs: list[ast.expr], node: ast.expr, scope: Scope) -> Array:
        if name not in self.tensors:
            raise self.error(f"{name} is used before its definition", node)
        tensor = self.tensors[name]
        if tensor.ndim != len(subs):
            raise ShapeError(f"{name} must have {len(subs)} axes", value=f"shape {tensor.shape}")
        indices = []
        for n, (sub, length) in enumerate(zip(subs, tensor.shape)):
            i = self.value(sub, scope)
            if i.dtype.kind != "i":
                raise self.error("a subscript must be an integer", sub)
            outside = (i < 0) | (i >= length)
            wrong = outside if scope.counts is None else outside & scope.counts
            if wrong.any() and 0 not in scope.shape:
                bad = np.broadcast_to(i, wrong.shape)[wrong][0]
                raise ShapeError(f"{name} is read out of range on axis {n}", where=Where.of(self.code, node),
                                 value=f"{bad}, of {length}")  # fmt: skip
            indices.append(np.clip(i, 0, max(length - 1, 0)))
        if 0 in tensor.shape:  # nothing to read, and nothing read counts
            return np.zeros(np.broadcast_shapes(*(i.shape for i in indices)), dtype=tensor.dtype)
        return np.asarray(tensor[tuple(indices)])

    # ---- calls

    def call(self, function: str, node: ast.Call, scope: Scope) -> Array:
        if function in REDUCTIONS:
            return self.reduce(function, [name_of(a, self.code) for a in node.args[:-1]], node.args[-1], scope)
        if function == "softmax":
            return self.softmax([name_of(a, self.code) for a in node.args[:-1]], node.args[-1], scope)
        if function == "where":
            condition = truth(self.value(node.args[0], scope))
            then = self.value(node.args[1], scope.narrow(condition))
            other = self.value(node.args[2], scope.narrow(~condition))
            return np.where(condition, number(then), number(other))
        if function == "size":
            return np.asarray(self.sizes[name_of(node.args[0], self.code)])
        if function in FUNCTIONS:
            return np.asarray(FUNCTIONS[function](*(number(self.value(a, scope)) for a in node.args)))
        raise self.error(f"unknown function {function}", node)

    def reduce(self, function: str, letters: list[str], body: ast.expr, scope: Scope) -> Array:
        inner = scope
        for x in letters:
            inner = inner.bind(x, self.sizes[x])
        value = np.broadcast_to(number(self.value(body, inner)), inner.shape)
        axes = tuple(range(-len(letters), 0))
        if function == "sum":
            return np.asarray(value.sum(axis=axes))
        if function == "mean":
            count = np.float64(math.prod(self.sizes[x] for x in letters))
            return np.asarray(value.sum(axis=axes) / count)
        if function == "max":  # as a real number: integers, of indices alone, have no infinity
            return np.asarray(value.astype(float).max(axis=axes, initial=-np.inf))
        if function == "min":
            return np.asarray(value.astype(float).min(axis=axes, initial=np.inf))
        self.meet(value)
        return logsumexp(value, axes).reshape(scope.shape)

    def meet(self, value: Array) -> None:
        self.logit = max(self.logit, float(np.max(np.abs(value), initial=0.0, where=value > MASKED)))

    def softmax(self, letters: list[str], body: ast.expr, scope: Scope) -> Array:
        value = np.broadcast_to(number(self.value(body, scope)), scope.shape)
        self.meet(value)
        return softmax(value, tuple(scope.letters.index(x) for x in letters))


def softmax(x: Array, axes: tuple[int, ...]) -> Array:
    """exp(x)/Σ exp(x), where masked entries have the value 0, all of them in a row that is masked whole."""
    masked = x <= MASKED
    top = np.max(np.where(masked, MASKED, x), axis=axes, keepdims=True, initial=MASKED)
    e = np.where(masked, 0.0, np.exp(np.where(masked, 0.0, x - top)))
    total = e.sum(axis=axes, keepdims=True)
    return e / np.where(total == 0, 1.0, total)


def logsumexp(x: Array, axes: tuple[int, ...]) -> Array:
    """log Σ exp(x) over the entries that are not masked; -1e30 in a row that is masked whole."""
    masked = x <= MASKED
    top = np.max(np.where(masked, MASKED, x), axis=axes, keepdims=True, initial=MASKED)
    total = np.where(masked, 0.0, np.exp(np.where(masked, 0.0, x - top))).sum(axis=axes, keepdims=True)
    return np.where(total == 0, -1e30, np.log(np.where(total == 0, 1.0, total)) + top)
