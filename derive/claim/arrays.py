"""Claims in matrix syntax: Python's operators and NumPy's names, read through a whitelist, never executed."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from derive import expr as E
from derive.claim.facts import Facts
from derive.claim.shaped import Algebra, Misfit, Shaped
from derive.claim.source import Claim
from derive.expr import Expr, Index, Size
from derive.program import FUNCTIONS

MODULES = {"np", "numpy", "jnp", "jax", "nn", "torch", "F", "cp", "cupy", "tf", "special", "scipy", "linalg"}
ALIASES = {
    "amax": "max", "amin": "min", "tr": "trace", "identity": "eye", "fabs": "abs", "absolute": "abs",
    "expit": "sigmoid", "ln": "log", "mm": "matmul", "bmm": "matmul", "one_hot": "onehot", "permute": "transpose",
    "t": "T", "unsqueeze": "expand_dims", "multiply": "mul", "subtract": "sub", "divide": "div", "true_divide": "div",
}
OPERATORS: dict[type[ast.operator], Callable[[Expr, Expr], Expr]] = {
    ast.Add: E.add, ast.Sub: E.sub, ast.Mult: E.mul, ast.Div: E.div, ast.Pow: E.power,
}
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
WORDS: dict[str, Callable[[Expr, Expr], Expr]] = {
    "mul": E.mul, "sub": E.sub, "div": E.div, "add": E.add, "power": E.power, "pow": E.power,
}


@dataclass
class ArrayReader:
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
        raise self.claim.error(f"{type(node).__name__} is not in a claim", node, value=ast.unparse(node))

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
        size = self.extent(node)
        if size is not None:
            return Shaped((), Size(size))
        if name == "pi":
            return Shaped((), E.Const("pi"))
        raise self.claim.unknown(node, self.facts)

    def extent(self, node: ast.expr) -> str | None:
        """The extent that an index letter, `size(k)` or `X.shape[1]` stands for."""
        letters = dict(self.facts.program.letters)
        if isinstance(node, ast.Name):
            folded = {n.lower(): e for n, e in letters.items()}
            return letters.get(node.id) or folded.get(node.id.lower())
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1:
            if node.func.id == "size":
                return self.extent(node.args[0])
            if node.func.id == "len" and (i := self.read(node.args[0]).axes[:1]):
                return i[0].extent if i[0] is not None else None
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
            array = self.read(node.value.value)
            axis = array.axes[self.algebra.place(array, self.claim.integer(node.slice))]
            return axis.extent if axis is not None else None
        return None

    def _length(self, node: ast.expr) -> Index | None:
        """An axis for `ones(m, 1)`."""
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return None if node.value == 1 else self.algebra.index(f"={node.value}")
        found = self.extent(node)
        if found is None:
            raise self.claim.error("a length is an index letter or a number", node, value=ast.unparse(node),
                                   hint="as in ones(m, 1)")
        return self.algebra.index(found)

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
                return Shaped((), E.mul(*(Size(i.extent) for i in array.axes if i is not None)))
        raise self.claim.error(f".{node.attr} is not in a claim", node, value=ast.unparse(node),
                               hint="known: .T, .mT, .size, .shape[n], .sum(...), .mean(...), .transpose(...)")

    def _subscript(self, node: ast.Subscript) -> Shaped:
        size = self.extent(node)
        if size is not None:
            return Shaped((), Size(size))
        array = self.read(node.value)
        parts = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        used = sum(not _is_none(p) and not _is_ellipsis(p) for p in parts)
        axes = list(array.axes)
        out: list[Index | None] = []
        e, at = array.expr, 0
        for p in parts:
            if _is_none(p):
                out.append(None)
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
                e, more = self._picked(e, axes[at], p)
                out += more
                at += 1
        return Shaped((*out, *axes[at:]), e)

    def _picked(self, e: Expr, axis: Index | None, node: ast.expr) -> tuple[Expr, list[Index | None]]:
        """One axis read at a number or at the places that an integer tensor holds."""
        if axis is None:
            return e, []
        if isinstance(node, ast.Name) and (t := self.facts.program.input(node.id)) is not None and t.integer:
            ids = self.algebra.tensor(node.id, t.axes)
            return E.substitute(e, {axis: ids.expr}), list(ids.axes)
        n = self.claim.integer(node)
        place: Expr = E.num(n) if n >= 0 else E.add(Size(axis.extent), E.num(n))
        return E.substitute(e, {axis: place}), []

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
            "heaviside": lambda a: E.indicator(E.compare("<", E.ZERO, a)),
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

    def _axes(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]
              ) -> tuple[Shaped, tuple[int, ...] | None, bool]:
        """(array, axes, keepdims) of a reduction."""
        if not args:
            raise self.claim.error("a reduction needs an array", node, value=ast.unparse(node))
        spec = options.get("axis", options.get("dim", args[1] if len(args) > 1 else None))
        keep = options.get("keepdims", options.get("keepdim"))
        kept = isinstance(keep, ast.Constant) and bool(keep.value)
        if spec is None or _is_none(spec):
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
        return self.algebra.pointwise(lambda c, a, b: E.where(_condition(c), a, b), *map(self.read, args))

    def _do_ones(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        lengths = list(args[0].elts) if len(args) == 1 and isinstance(args[0], ast.Tuple | ast.List) else args
        if len(lengths) == 1 and isinstance(lengths[0], ast.Attribute) and lengths[0].attr == "shape":
            return Shaped(self.read(lengths[0].value).axes, E.ONE)
        return Shaped(tuple(self._length(a) for a in lengths), E.ONE)

    def _do_zeros(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return Shaped(self._do_ones(node, args, options).axes, E.ZERO)

    def _do_ones_like(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return Shaped(self.read(args[0]).axes, E.ONE)

    def _do_zeros_like(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return Shaped(self.read(args[0]).axes, E.ZERO)

    def _do_eye(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        i = self._length(args[0])
        return self.algebra.diagonal(Shaped((i,), E.ONE))

    def _do_arange(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        i = self._length(args[0])
        return Shaped((i,), i if i is not None else E.ZERO)

    def _do_onehot(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        ids = self.read(args[0])
        i = self._length(args[1] if len(args) > 1 else options.get("num_classes", node))
        return Shaped((*ids.axes, i), E.indicator(E.compare("==", ids.expr, i or E.ZERO)))

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
        found = self.extent(node)
        if found is None:
            raise self.claim.error("size takes an index letter of the formula", node, value=ast.unparse(node))
        return Shaped((), Size(found))

    def _do_len(self, node: ast.Call, args: list[ast.expr], options: dict[str, ast.expr]) -> Shaped:
        return self._do_size(node, args, options)


def _condition(e: Expr) -> Expr:
    if isinstance(e, E.Where) and e.then is E.ONE and e.other is E.ZERO:
        return e.cond
    return E.compare("!=", e, E.ZERO)


def _is_none(node: ast.expr) -> bool:
    newaxis = isinstance(node, ast.Attribute) and node.attr == "newaxis"
    return newaxis or (isinstance(node, ast.Constant) and node.value is None)


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis

