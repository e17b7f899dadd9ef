"""Faults in derived rules, made on the syntax tree of their NumPy text."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MATHS = {"exp", "log", "log1p", "expm1", "tanh", "sqrt", "sin", "cos", "erf"}
SWAPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
           ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One fault: its kind, the statement before and after, and all statements with it."""

    kind: str
    was: str
    now: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind}: {self.was} -> {self.now}"


def called(node: ast.expr) -> str:
    return node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""


def dropped_operand(node: ast.expr) -> Iterator[ast.expr]:
    """a + b, a - b, a*b, a/b and a @ b become a, and all but a/b b."""
    if isinstance(node, ast.BinOp):
        yield node.left
        if not isinstance(node.op, (ast.Div, ast.Pow, ast.Sub)):
            yield node.right


def flipped(node: ast.expr) -> Iterator[ast.expr]:
    """+ for -, / for *, <= for <, == for !=, and -a becomes a."""
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPPED:
        yield ast.BinOp(node.left, SWAPPED[type(node.op)](), node.right)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        yield ast.Compare(node.left, [SWAPPED[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand


def transposed(node: ast.expr) -> Iterator[ast.expr]:
    """X.T becomes X; a @ b becomes a.T @ b, a @ b.T and b @ a; einsum reads an operand with two indices exchanged."""
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield ast.BinOp(ast.Attribute(node.left, "T", ast.Load()), node.op, node.right)
        yield ast.BinOp(node.left, node.op, ast.Attribute(node.right, "T", ast.Load()))
        yield ast.BinOp(node.right, node.op, node.left)
    if called(node) == "einsum":
        assert isinstance(node, ast.Call)
        assert isinstance(node.args[0], ast.Constant)
        operands, _, out = str(node.args[0].value).partition("->")
        parts = operands.split(",")
        for n, part in enumerate(parts):
            if len(part) > 1:
                turned = ",".join([*parts[:n], part[:-2] + part[-1] + part[-2], *parts[n + 1:]])
                yield ast.Call(node.func, [ast.Constant(f"{turned}->{out}"), *node.args[1:]], node.keywords)


def wrong_sum(node: ast.expr) -> Iterator[ast.expr]:
    """A sum over another axis, over one axis less, not at all, a mean for a sum, a sum for a maximum."""
    if called(node) not in ("sum", "mean", "max", "min"):
        return
    assert isinstance(node, ast.Call)
    yield node.args[0]
    other = {"sum": "mean", "mean": "sum", "max": "sum", "min": "max"}[called(node)]
    yield ast.Call(ast.Attribute(ast.Name("np", ast.Load()), other, ast.Load()), node.args, node.keywords)
    for k in node.keywords:
        if k.arg == "axis":
            axes = ast.literal_eval(k.value)
            less = axes[1:] if isinstance(axes, tuple) and len(axes) > 1 else None
            for changed in (0, 1, -1, less):
                if changed is not None and changed != axes:
                    keywords = [ast.keyword("axis", ast.Constant(changed)) if x is k else x for x in node.keywords]
                    yield ast.Call(node.func, node.args, keywords)


def missing_function(node: ast.expr) -> Iterator[ast.expr]:
    """f(x) becomes x; where(c, a, b) becomes a, and b."""
    if isinstance(node, ast.Call) and called(node) in MATHS:
        yield node.args[0]
    elif called(node) in ("where", "maximum", "minimum"):
        assert isinstance(node, ast.Call)
        yield from node.args[-2:]


def wrong_constant(node: ast.expr) -> Iterator[ast.expr]:
    """A number becomes the next one, or twice as large."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        yield ast.Constant(node.value + 1)
        if isinstance(node.value, float):
            yield ast.Constant(2 * node.value)


def zeros(node: ast.expr) -> Iterator[ast.expr]:
    """0 for a product, a sum or a function of the same shape."""
    if isinstance(node, (ast.BinOp, ast.Call)):
        yield ast.BinOp(ast.Constant(0.0), ast.Mult(), node)


FAULTS: dict[str, Callable[[ast.expr], Iterator[ast.expr]]] = {
    f.__name__.replace("_", " "): f
    for f in (dropped_operand, flipped, transposed, wrong_sum, missing_function, wrong_constant, zeros)
}


def faults(lines: list[str]) -> list[Fault]:
    """Every fault of every sort, each text once."""
    found: dict[tuple[str, ...], Fault] = {}
    for n, line in enumerate(lines):
        tree = ast.parse(line)
        count = sum(1 for _ in ast.walk(tree))
        for k in range(count):
            node = list(ast.walk(tree))[k]
            if not isinstance(node, ast.expr):
                continue
            for kind, fault in FAULTS.items():
                for changed in fault(node):
                    now = replaced(tree, k, changed)
                    made = (*lines[:n], now, *lines[n + 1:])
                    if now != ast.unparse(tree):
                        found.setdefault(made, Fault(kind, line, now, made))
    return list(found.values())


def replaced(tree: ast.AST, k: int, new: ast.expr) -> str:
    """The text of the tree with its k-th node replaced."""
    marked = copy.deepcopy(tree)
    old = list(ast.walk(marked))[k]

    class Put(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return copy.deepcopy(new) if node is old else self.generic_visit(node)

    return ast.unparse(ast.fix_missing_locations(Put().visit(marked)))
