"""Claims in matrix syntax: Python's operators and NumPy's names, read through a whitelist, never executed."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TypeGuard

from derive import expr as E
from derive.claim.facts import Facts
from derive.claim.functions import Functions, is_none
from derive.claim.shaped import ONE, Algebra, Axis, Misfit, Shaped, condition, digits
from derive.claim.source import MODULES, Claim
from derive.expr import Expr, Index, Size
from derive.notation.words import foreign
from derive.program import FUNCTIONS

ALIASES = {
    "amax": "max", "amin": "min", "tr": "trace", "identity": "eye", "fabs": "abs", "absolute": "abs",
    "expit": "sigmoid", "ln": "log", "mm": "matmul", "bmm": "matmul", "one_hot": "onehot", "permute": "transpose",
    "t": "T", "unsqueeze": "expand_dims", "multiply": "mul", "subtract": "sub", "divide": "div", "true_divide": "div",
    "astype": "copy",  # a truth value counts 1 or 0
}
OPERATORS: dict[type[ast.operator], Callable[[Expr, Expr], Expr]] = {
    ast.Add: E.add, ast.Sub: E.sub, ast.Mult: E.mul, ast.Div: E.div, ast.Pow: E.power,
    ast.FloorDiv: partial(E.call, "floordiv"), ast.Mod: partial(E.call, "mod"),
}
HINTS = {ast.BoolOp: "conditions on arrays are joined by & and |", ast.IfExp: "write np.where(c, a, b)"}
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
WORDS: dict[str, Callable[[Expr, Expr], Expr]] = {
    "mul": E.mul, "sub": E.sub, "div": E.div, "add": E.add, "power": E.power, "pow": E.power,
}


@dataclass
class ArrayReader(Functions):
    """Reads a claim's right side into an array with a symbolic shape."""

    claim: Claim
    facts: Facts
    algebra: Algebra
    names: dict[str, str]  # how the claim calls a derivative -> its tensor here

    def read(self, node: ast.expr) -> Shaped:
        return self._read(node).named(ast.unparse(node))

    def _read(self, node: ast.expr) -> Shaped:
        match node:
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int() | float()):
                return Shaped((), E.num(Fraction(str(node.value))))
            case ast.Name():
                return self._name(node)
            case ast.UnaryOp(op=ast.USub()):
                return self.algebra.pointwise(E.neg, self.read(node.operand))
            case ast.UnaryOp(op=ast.UAdd()):
                return self.read(node.operand)
            case ast.UnaryOp(op=ast.Invert() | ast.Not()):
                return self.algebra.pointwise(lambda a: E.indicator(E.negate(condition(a))), self.read(node.operand))
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
                word = "and" if isinstance(node.op, ast.BitAnd) else "or"
                return self.algebra.pointwise(lambda a, b: E.indicator(E.logic(word, condition(a), condition(b))),
                                              self.read(node.left), self.read(node.right), joint="the condition")
            case ast.BinOp(op=ast.MatMult()):
                return self.algebra.matmul(self.read(node.left), self.read(node.right))
            case ast.BinOp() if type(node.op) in OPERATORS:
                joint = {"Add": "the sum", "Sub": "the difference", "Mult": "the product", "Div": "the quotient"}
                return self.algebra.pointwise(self._operator(node), self.read(node.left), self.read(node.right),
                                              joint=joint.get(type(node.op).__name__, "the power"))
            case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
                sign = COMPARISONS[type(op)]
                return self.algebra.pointwise(lambda a, b: E.indicator(E.compare(sign, a, b)), self.read(node.left),
                                              self.read(node.comparators[0]), joint="the comparison")
            case ast.Attribute():
                return self._attribute(node)
            case ast.Subscript():
                return self._subscript(node)
            case ast.Call():
                return self._call(node)
        called, _ = foreign(node.op if isinstance(node, ast.BinOp) else node)
        raise self.claim.error(f"{called} is not in a claim", node, value=ast.unparse(node), hint=HINTS.get(type(node)))

    def _operator(self, node: ast.BinOp) -> Callable[[Expr, Expr], Expr]:
        def apply(a: Expr, b: Expr) -> Expr:
            if b is E.ZERO and isinstance(node.op, ast.Div):
                raise self.claim.error("division by zero", node, value=ast.unparse(node))
            return OPERATORS[type(node.op)](a, b)
        return apply

    # -------------------------------------------------------------------------------------------------- names

    def _name(self, node: ast.Name) -> Shaped:
        name = self.names.get(node.id, node.id)
        tensors = self.facts.tensors
        if name in tensors:
            return self.algebra.tensor(name, tensors[name]).named(node.id)
        if name in dict(self.facts.program.params):
            return Shaped((), E.Param(name))
        sizes = self.extents(node)
        if sizes is not None:
            return Shaped((), E.mul(*map(Size, sizes)))
        if name == "pi":
            return Shaped((), E.Const("pi"))
        raise self.claim.unknown(node, self.facts)

    def extents(self, node: ast.expr) -> tuple[str, ...] | None:
        """The extents whose product `k`, `size(k)`, `X.shape[1]`, `len(X)` or `b*t` stands for."""
        letters = dict(self.facts.program.letters)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            sides = [self.extents(side) for side in (node.left, node.right)]
            return None if None in sides else tuple(e for side in sides for e in side or ())
        if isinstance(node, ast.Name):
            folded = {n.lower(): e for n, e in letters.items()}
            name = node.id.removeprefix("size_")  # as the printed NumPy has it
            found = letters.get(name) or folded.get(name.lower())
            return None if found is None else (found,)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
            if node.func.id == "size":
                return self.extents(node.args[0])
            if node.func.id == "len" and (axes := self.read(node.args[0]).axes):
                return tuple(i.extent for i in axes[0])
        if isinstance(node, ast.Subscript) and _is_shape(node.value) and not isinstance(node.slice, ast.Slice):
            array = self.read(node.value.value)
            axis = array.axes[self.algebra.place(array, self.claim.integer(node.slice))]
            return tuple(i.extent for i in axis)
        return None

    def shape(self, node: ast.expr) -> list[tuple[str, ...] | None]:
        """Lengths as a reshape takes them, each a product of extents, or None for a -1."""
        if isinstance(node, ast.Tuple | ast.List):
            return [n for x in node.elts for n in self.shape(x)]
        if isinstance(node, ast.Starred):
            return self.shape(node.value)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return [*self.shape(node.left), *self.shape(node.right)]
        if _is_shape(node):
            return [tuple(i.extent for i in axis) for axis in self.read(node.value).axes]
        if isinstance(node, ast.Subscript) and _is_shape(node.value) and isinstance(node.slice, ast.Slice):
            first, last = (None if n is None else self.claim.integer(n) for n in (node.slice.lower, node.slice.upper))
            return self.shape(node.value)[first:last]
        if isinstance(node, ast.UnaryOp | ast.Constant):
            number = self.claim.integer(node)
            if number == -1:
                return [None]
            if number > 0:
                return [() if number == 1 else (f"={number}",)]
        found = self.extents(node)
        if found is None:
            raise self.claim.error("a length is an index letter or a number", node, value=ast.unparse(node),
                                   hint="as in ones(m, 1), X.shape[0], or b*t")
        return [found]

    def _length(self, node: ast.expr) -> Axis:
        """An axis for `eye(m)`."""
        (found,) = self.shape(node) or [None]
        if found is None:
            raise self.claim.error("a length is an index letter or a number", node, value=ast.unparse(node))
        return tuple(map(self.algebra.index, found))

    # ------------------------------------------------------------------------------------ attributes, subscripts

    def _attribute(self, node: ast.Attribute) -> Shaped:
        name = ALIASES.get(node.attr, node.attr)
        if isinstance(node.value, ast.Name) and node.value.id in MODULES and node.value.id not in self.facts.tensors:
            if name == "pi":
                return Shaped((), E.Const("pi"))
        else:
            array = self.read(node.value)
            if name == "T":
                return self.algebra.transpose(array) if array.axes else array
            if name in ("mT", "H"):
                return self.algebra.swap(array, -1, -2)
            if name == "size":
                return Shaped((), E.mul(*(Size(i.extent) for i in array.indices)))
        raise self.claim.error(f".{node.attr} is not in a claim", node, value=ast.unparse(node),
                               hint="known: .T, .mT, .size, .shape[n], .sum(...), .mean(...), .transpose(...)")

    def _subscript(self, node: ast.Subscript) -> Shaped:
        sizes = self.extents(node)
        if sizes is not None:
            return Shaped((), E.mul(*map(Size, sizes)))
        array = self.read(node.value)
        parts = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        used = sum(not is_none(p) and not _is_ellipsis(p) for p in parts)
        axes = list(array.axes)
        out: list[Axis] = []
        places: list[tuple[Axis, Shaped]] = []  # axes read at computed places, all broadcast together
        e, at, first = array.expr, 0, 0
        for p in parts:
            if is_none(p):
                out.append(ONE)
            elif _is_ellipsis(p):
                rest = len(axes) - used
                out += axes[at:at + rest]
                at += rest
            elif at >= len(axes):
                raise Misfit(f"{ast.unparse(node)} has too many subscripts: {array}")
            elif isinstance(p, ast.Slice):
                if p.lower or p.upper or p.step:
                    raise self.claim.error("only whole axes are sliced in a claim", node, value=ast.unparse(p))
                out.append(axes[at])
                at += 1
            else:
                axis = axes[at]
                first = first if places else len(out)
                if axis:
                    places.append((axis, self._place(p, axis)))
                at += 1
        if places:
            common, terms = self.algebra.broadcast([q for _, q in places], "the subscripts")
            for (axis, _), term in zip(places, terms, strict=True):
                e = E.substitute(e, digits(term, axis))
            out[first:first] = common
        return Shaped((*out, *axes[at:]), e)

    def _place(self, node: ast.expr, axis: Axis) -> Shaped:
        """A subscript: a number, counted from the end if negative, or an array of whole numbers."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return Shaped((), E.add(E.mul(*(Size(i.extent) for i in axis)), E.num(self.claim.integer(node))))
        found = self.read(node)
        whole = (E.Num, E.Add, E.Mul, Size, Index, E.Where, E.Cmp, E.Logic, E.Truth)
        integers = {t.name for t in self.facts.program.inputs if t.integer}
        for x in E.subterms(found.expr):
            held = isinstance(x, E.Get) and x.tensor in integers
            divided = isinstance(x, E.Call) and x.fn in ("floordiv", "mod")
            if not (held or divided or isinstance(x, whole)):
                raise self.claim.error("a subscript must be a whole number", node, value=ast.unparse(node))
        return found

    # -------------------------------------------------------------------------------------------------- calls

    def _call(self, node: ast.Call) -> Shaped:
        args = list(node.args)
        if isinstance(node.func, ast.Name):
            name = node.func.id
        elif isinstance(node.func, ast.Attribute):
            name = node.func.attr
            base = node.func.value
            while isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name | ast.Attribute) and (
                    base.attr in MODULES):
                base = base.value
            if not (isinstance(base, ast.Name) and base.id in MODULES and base.id not in self.facts.tensors):
                args = [node.func.value, *args]
        else:
            raise self.claim.error("this is no function", node, value=ast.unparse(node))
        options = {k.arg: k.value for k in node.keywords if k.arg}
        name = ALIASES.get(name, name)
        found = getattr(self, f"_do_{name}", None)
        if found is not None:
            result: Shaped = found(node, args, options)
            return result
        return self._function(node, name, args)

    def _function(self, node: ast.Call, name: str, args: list[ast.expr]) -> Shaped:
        if name in WORDS and len(args) == 2:
            return self.algebra.pointwise(WORDS[name], *map(self.read, args))
        known: dict[str, Callable[..., Expr]] = {
            "sqrt": lambda a: E.power(a, E.HALF),
            "rsqrt": lambda a: E.power(a, E.num(Fraction(-1, 2))),
            "square": lambda a: E.power(a, E.num(2)),
            "reciprocal": lambda a: E.power(a, E.MINUS_ONE),
            "negative": E.neg,
            "silu": lambda a: E.mul(a, E.call("sigmoid", a)),
        }
        arity = 1 if name in known or name in ("sign", "softplus", "float") else FUNCTIONS.get(name)
        if arity is None:
            raise self.claim.error(f"unknown function {name}", node, value=name, hint="known: " + ", ".join([
                *sorted(n[4:] for n in dir(self) if n.startswith("_do_")), *FUNCTIONS]))
        if len(args) != arity:
            raise self.claim.error(f"{name} takes {arity} argument{'s' * (arity > 1)}", node,
                                   value=f"{len(args)} given")
        if name == "float":
            return self.read(args[0])
        f = known.get(name)
        if f is not None:
            return self.algebra.pointwise(f, self.read(args[0]))

        def apply(*a: Expr) -> Expr:
            return E.call(name, *(sorted(a, key=lambda x: x.key) if len(a) > 1 else a))

        return self.algebra.pointwise(apply, *map(self.read, args))


def _is_shape(node: ast.expr) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and node.attr == "shape"


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis
