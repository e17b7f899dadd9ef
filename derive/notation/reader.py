"""Expressions: from Python syntax trees to terms, through a whitelist of nodes."""

from __future__ import annotations

import ast
from copy import deepcopy
from dataclasses import dataclass, replace
from fractions import Fraction
from string import ascii_lowercase

from derive import expr as E
from derive.errors import NotationError
from derive.expr import Expr, Index
from derive.notation.constants import NoNumberError, check_constant, value
from derive.notation.letters import Letters
from derive.notation.source import Line
from derive.notation.words import SPELLED, foreign
from derive.program import FUNCTIONS, REDUCTIONS

COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
FARTHEST = 1 << 40  # no axis is as long
LINEAR_ALGEBRA = ("inv", "det", "logdet", "chol")


@dataclass(frozen=True)
class Scope:
    """What a name means at one place: `bound` are the letters in scope; the rest is the same in a whole program."""

    line: Line
    letters: Letters
    params: dict[str, Fraction]
    bound: frozenset[str]
    subscript: bool = False

    def inside(self, names: list[str]) -> Scope:
        return replace(self, bound=self.bound | set(names))

    def index(self, name: str) -> Index:
        return Index(name, self.letters.extent(name))


def read(node: ast.expr, scope: Scope) -> Expr:
    """A real-valued term; a condition stands for 1 where it holds and 0 elsewhere."""
    return _real(_any(node, scope))


def condition(node: ast.expr, scope: Scope) -> Expr:
    """A condition; a number stands for `!= 0`."""
    found = _any(node, scope)
    return found if _is_condition(found) else E.compare("!=", found, E.ZERO)


def _is_condition(e: Expr) -> bool:
    return isinstance(e, (E.Cmp, E.Logic, E.Truth))


def _any(node: ast.expr, scope: Scope) -> Expr:
    spine: list[ast.BinOp] = []  # a - b + c, from the right: long sums would nest deeply
    while isinstance(node, ast.BinOp):
        spine.append(node)
        node = node.left
    found = _term(node, scope)
    if isinstance(node, ast.Call):
        _check(found, node, scope)
    for n in reversed(spine):
        found = _binary(n, _real(found), read(n.right, scope), scope)
        _check(found, n, scope)
    return found


def _check(e: Expr, node: ast.expr, scope: Scope) -> None:
    try:
        check_constant(e, scope.params)
    except NoNumberError as why:
        raise scope.line.error(f"this constant {why}", node, value=ast.unparse(node)) from None


def _real(e: Expr) -> Expr:
    return E.indicator(e) if _is_condition(e) else e


def _term(node: ast.expr, scope: Scope) -> Expr:
    match node:
        case ast.Constant():
            return _number(node, scope)
        case ast.Name():
            return _name(node, scope)
        case ast.Subscript():
            return _access(node, scope)
        case ast.UnaryOp(op=ast.USub()):
            return E.neg(read(node.operand, scope))
        case ast.UnaryOp(op=ast.UAdd()):
            return read(node.operand, scope)
        case ast.UnaryOp(op=ast.Not()):
            return E.negate(condition(node.operand, scope))
        case ast.UnaryOp():
            raise _foreign(node.op, scope, node)
        case ast.Compare():
            return _compare(node, scope)
        case ast.BoolOp():
            parts = [condition(v, scope) for v in node.values]
            return E.logic("and" if isinstance(node.op, ast.And) else "or", *parts)
        case ast.Call():
            return _call(node, scope)
    raise _foreign(node, scope)


def _foreign(node: ast.AST, scope: Scope, at: ast.AST | None = None) -> NotationError:
    called, hint = foreign(node)
    return scope.line.error(f"{called} is not in the notation", at or node, value=ast.unparse(at or node), hint=hint)


def _number(node: ast.Constant, scope: Scope) -> Expr:
    if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
        raise scope.line.error("only real numbers are constants", node, value=repr(node.value))
    return E.num(literal(node, scope.line))


def literal(node: ast.Constant, line: Line) -> Fraction:
    """The exact value of a decimal literal as it was written."""
    if isinstance(node.value, int):
        if node.value.bit_length() > 1024:
            raise line.error("this number is too large", node)
        return Fraction(node.value)
    text = ast.get_source_segment(line.code, node) or repr(node.value)
    if not -1000 < _exponent(text) < 300 or node.value != node.value or node.value in (float("inf"), float("-inf")):
        raise line.error("this number is beyond float64", node, value=text, hint="-1e30 stands for minus infinity")
    return Fraction(text.replace("_", ""))


def _exponent(text: str) -> int:
    _, _, power = text.lower().partition("e")
    try:
        return int(power or 0)
    except ValueError:
        return 0


def _name(node: ast.Name, scope: Scope) -> Expr:
    name = node.id
    if name in scope.bound:
        return scope.index(name)
    if name in scope.params:
        return E.Param(name)
    rank = scope.letters.rank.get(name)
    if rank is None and name == "pi":
        return E.Const("pi")
    if rank is None or rank[0] != 0:
        if rank is not None:
            raise scope.line.error(f"{name} has {rank[0]} axes and is used with no index", node, value=name,
                                   hint=f"write {name}[...] with {rank[0]} indices")
        raise _unbound(node, name, scope)
    if name in scope.letters.order and not isinstance(rank[2], ast.Assign):
        raise _unbound(node, name, scope)  # a letter elsewhere in the formula
    return E.Get(name, ())


def _unbound(node: ast.AST, name: str, scope: Scope) -> NotationError:
    return scope.line.error(f"index {name} is not bound here", node, value=name,
                            hint=f"put it on the left side, reduce over it: sum({name}, ...), or, if it is a single "
                            f"number that is given, declare it: input {name}")


def _access(node: ast.Subscript, scope: Scope) -> Expr:
    if isinstance(node.value, ast.Call):
        raise _call_error(node.value, scope)
    if not isinstance(node.value, ast.Name):
        if isinstance(node.value, ast.Subscript):
            raise scope.line.error("an element has all its indices in one bracket", node, value=ast.unparse(node),
                                   hint="write X[i,j] for X[i][j]")
        raise _foreign(node.value, scope, node)
    if node.value.id in scope.params:
        raise scope.line.error(f"{node.value.id} is a parameter, a single number", node, value=ast.unparse(node))
    return E.Get(node.value.id, tuple(subscript(s, scope) for s in elements(node.slice)))


def elements(node: ast.expr) -> list[ast.expr]:
    return list(node.elts) if isinstance(node, ast.Tuple) else [node]


def subscript(node: ast.expr, scope: Scope) -> Expr:
    """An integer-valued term: letters, integers, their sums and multiples, `//`, `%`, integer tensors."""
    if isinstance(node, ast.Slice):
        raise _foreign(node, scope)
    found = _numbers(read(node, replace(scope, subscript=True)), scope.params)
    bad = next((x for x in E.subterms(found) if not _integral(x)), None)
    if bad is not None:
        raise scope.line.error("a subscript must be an integer", node, value=ast.unparse(node),
                               hint="use letters, integers, + - *, // and %, or an integer tensor")
    if any(isinstance(x, E.Num) and abs(x.value) >= FARTHEST for x in E.subterms(found)):
        raise scope.line.error("a subscript is too large", node, value=ast.unparse(node))
    if isinstance(found, E.Num) and found.value < 0:
        raise scope.line.error("subscripts count from 0", node, value=ast.unparse(node))
    return found


def _numbers(e: Expr, params: dict[str, Fraction]) -> Expr:
    """`e` with the values of these parameters in place of their names: subscripts are exact."""
    return E.transform(e, lambda x: E.num(params[x.name]) if isinstance(x, E.Param) and x.name in params else x)


def _integral(x: Expr) -> bool:
    if isinstance(x, E.Num):
        return x.value.denominator == 1
    if isinstance(x, E.Call):
        return x.fn in ("floordiv", "mod")
    return isinstance(x, (Index, E.Get, E.Add, E.Mul, E.Size))


def _values(e: Expr) -> list[str]:
    """The tensors whose elements a whole number is made of, those in subscripts apart."""
    return [e.tensor] if isinstance(e, E.Get) else [t for x in e.children for t in _values(x)]


def _binary(node: ast.BinOp, left: Expr, right: Expr, scope: Scope) -> Expr:
    match node.op:
        case ast.Add():
            return E.add(left, right)
        case ast.Sub():
            return E.sub(left, right)
        case ast.Mult():
            return E.mul(left, right)
        case ast.Div():
            if right is E.ZERO:
                raise scope.line.error("division by zero", node, value=ast.unparse(node))
            return E.div(left, right)
        case ast.Pow():
            if left is E.ZERO and isinstance(right, E.Num) and right.value < 0:
                raise scope.line.error("division by zero", node, value=ast.unparse(node))
            exponent = value(right, scope.params)
            if left is E.ZERO and exponent is None:
                raise scope.line.error("a power of 0 has no derivative by its exponent", node, value=ast.unparse(node),
                                       hint="write where(exponent == 0, 1, 0)")
            return E.power(left, E.ZERO if exponent == 0 else right)
        case ast.FloorDiv() | ast.Mod():
            left, right = _numbers(left, scope.params), _numbers(right, scope.params)
            if not all(map(_integral, E.subterms(left))) or not (
                    isinstance(right, E.Size) or (isinstance(right, E.Num) and right.value.denominator == 1)):
                raise scope.line.error("// and % are for indices and whole numbers", node, value=ast.unparse(node))
            if not scope.subscript:
                scope.letters.divided += [(t, scope.line, node) for t in _values(left)]
            if isinstance(right, E.Num) and right.value <= 0:
                raise scope.line.error("the divisor of an index must be positive", node.right, value=right.value)
            return E.call("floordiv" if isinstance(node.op, ast.FloorDiv) else "mod", left, right)
    raise _foreign(node.op, scope, node)


def _compare(node: ast.Compare, scope: Scope) -> Expr:
    # A stride, a number in subscripts, is that number in conditions on places too.
    strides = {n: v for n, v in scope.params.items() if n in scope.letters.placed}
    values = [_numbers(read(v, scope), strides) for v in (node.left, *node.comparators)]
    parts = []
    for op, a, b in zip(node.ops, values, values[1:], strict=False):
        if type(op) not in COMPARISONS:
            raise _foreign(op, scope, node)
        parts.append(E.compare(COMPARISONS[type(op)], a, b))
    return E.logic("and", *parts)


def _call_error(node: ast.Call, scope: Scope) -> NotationError:
    name = ast.unparse(node.func)
    if name in LINEAR_ALGEBRA:
        return scope.line.error(f"{name} is not supported yet", node, value=name,
                                hint="linear algebra comes in a later version")
    if not isinstance(node.func, ast.Name):
        return _foreign(node.func, scope, node)
    known = sorted({*FUNCTIONS, *REDUCTIONS, "softmax", "where", "size"})
    meant = next((SPELLED.get(n, n) for n in (name, name.lower()) if n in SPELLED or n in known), None)
    hint = f"write {meant}" if meant else "known: " + ", ".join(known)
    return scope.line.error(f"unknown function {name}", node.func, value=name, hint=hint)


def _call(node: ast.Call, scope: Scope) -> Expr:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
        called = ast.unparse(node.func).rpartition(".")[2]
        hint = (f"a letter names the axis, and comes first: {called}(k, X[i,k])"
                if called in (*REDUCTIONS, "softmax") else "write them in their order, without names")
        raise scope.line.error("functions take plain arguments only", node, value=ast.unparse(node), hint=hint)
    if name in REDUCTIONS or name == "softmax":
        return _reduce(name, node, scope)
    arity = FUNCTIONS.get(name) or {"where": 3, "size": 1}.get(name)
    if arity is None:
        raise _call_error(node, scope)
    if len(node.args) != arity:
        raise scope.line.error(f"{name} takes {arity} argument{'s' * (arity > 1)}", node,
                               value=f"{len(node.args)} given")
    if name == "size":
        letter = node.args[0]
        if not isinstance(letter, ast.Name) or letter.id not in scope.letters.order:
            raise scope.line.error("size takes an index letter of the formula", node, value=ast.unparse(node),
                                   hint="a line such as input X[c,t] names the axes of a tensor")
        return E.Size(scope.letters.extent(letter.id))
    if name == "where":
        return E.where(condition(node.args[0], scope), read(node.args[1], scope), read(node.args[2], scope))
    values = [read(a, scope) for a in node.args]
    if name in ("sqrt", "rsqrt"):
        return E.power(values[0], E.HALF if name == "sqrt" else E.num(Fraction(-1, 2)))
    if name in ("maximum", "minimum"):
        values.sort(key=lambda v: v.key)
    return E.call(name, *values)


def _renamed(node: ast.Call, name: str, other: str) -> str:
    """The text of `node` with `other` for `name`."""
    copy = deepcopy(node)
    for x in ast.walk(copy):
        if isinstance(x, ast.Name) and x.id == name:
            x.id = other
    return ast.unparse(copy)


def _reduce(name: str, node: ast.Call, scope: Scope) -> Expr:
    *binders, body = node.args or [node]
    example = f"{name}(k, X[i,k])"
    if name in ("max", "min") and (any(not isinstance(b, ast.Name) for b in binders) or any(
            b.id not in scope.letters.order for b in binders if isinstance(b, ast.Name))):
        raise scope.line.error(f"{name} reduces over an index", node, value=ast.unparse(node),
                               hint=f"of two values, write {name}imum({', '.join(ast.unparse(a) for a in node.args)})")
    if not binders or not node.args or any(not isinstance(b, ast.Name) for b in binders):
        raise scope.line.error(f"{name} needs an index and a body", node, value=ast.unparse(node),
                               hint=f"as in {example}")
    names = [b.id for b in binders if isinstance(b, ast.Name)]
    for n, b in zip(names, binders, strict=True):
        if names.count(n) > 1:
            raise scope.line.error(f"index {n} is bound twice", node, value=n)
        if name != "softmax" and n in scope.bound:
            taken = {x.id for x in ast.walk(node) if isinstance(x, ast.Name)} | {
                *scope.bound, *scope.params, *scope.letters.order, *scope.letters.rank}
            respelled = _renamed(node, n, next(x for x in (*ascii_lowercase, n + "_") if x not in taken))
            raise scope.line.error(f"index {n} is already bound, {name} cannot bind it again", b, value=n,
                                   hint=f"give {name} a letter of its own: {respelled}")
        if name == "softmax" and n not in scope.bound:
            raise scope.line.error(f"index {n} of softmax is not bound here", b, value=n,
                                   hint="softmax keeps its index free: P[i,j] = softmax(j, S[i,j])")
    inner = read(body, scope.inside(names))
    indices = [scope.index(n) for n in names]
    if name == "softmax":
        return E.softmax(indices, inner, indices)
    if name == "mean":
        return E.mul(*(E.power(E.Size(i.extent), E.MINUS_ONE) for i in indices), E.summation(indices, inner))
    return E.reduction(name, indices, inner)
