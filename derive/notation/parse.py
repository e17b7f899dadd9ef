"""`parse(text)`: the three readers in order, and the checks that only the whole program allows."""

from __future__ import annotations

import ast
from fractions import Fraction

from derive import expr as E
from derive.errors import NotationError
from derive.expr import Get, Index
from derive.notation.integers import compared_with_places
from derive.notation.letters import Letters
from derive.notation.reader import FARTHEST, Scope, elements, literal, read
from derive.notation.source import Line, split
from derive.program import REDUCTIONS, Program, Statement, Tensor

LONGEST = 100


def parse(text: str) -> Program:
    """Read a formula.

    Args:
        text: statements of the notation, one a line.

    Returns:
        The program, with every letter's extent class decided.

    Raises:
        NotationError: with the place, the value and what to do.

    Example:
        >>> parse("Y[i] = sum(k, W[i,k]*x[k])").outputs
        ('Y',)
    """
    text = text.removeprefix("\ufeff")  # a byte order mark
    lines = list(split(text))
    for line in lines:
        _check_spelling(line)
    try:
        return _parse(text, lines)
    except RecursionError:
        raise NotationError("the formula is nested too deeply", hint="write it in several statements") from None


def _check_spelling(line: Line) -> None:
    """Names that nothing downstream can carry: files and functions are called after them."""
    for node in ast.walk(line.tree):
        if isinstance(node, ast.Name):
            if len(node.id.encode()) > LONGEST:
                raise line.error(f"a name has at most {LONGEST} bytes", value=f"{node.id[:30]}...")
            if node.id == "__debug__":
                raise line.error("this name is Python's own", node, value=node.id, hint="choose another")


def _parse(text: str, lines: list[Line]) -> Program:
    params: dict[str, Fraction] = {}
    for line in lines:
        if line.kind == "param":
            name, value = _param(line)
            if name in params:
                raise line.error(f"{name} is defined twice", value=name)
            params[name] = value
    letters = Letters(fixed=dict(_fixed(line) for line in lines if line.kind == "size"))
    for line in lines:
        if line.kind in ("statement", "input"):
            (_target if line.kind == "statement" else _declaration)(line)
            _Survey(line, letters, params).visit(line.tree)
    statements: list[Statement] = []
    given: dict[str, None] = {}
    targets = {_target(line)[0]: line for line in lines if line.kind == "statement"}
    for line in lines:
        if line.kind == "input":
            name = _declaration(line)[0]
            if name in given:
                raise line.error(f"{name} is declared twice", line.tree, value=name)
            if name in targets:
                raise line.error(f"{name} is declared as an input and defined by a statement", line.tree, value=name)
            given[name] = None
    for line in lines:
        if line.kind == "statement":
            statement = _statement(line, letters, params)
            _check_names(line, statement, statements, targets, given, params)
            statements.append(statement)
    if not statements:
        raise NotationError("there is no statement", value=text.strip() or "empty", hint="write Y[i,j] = expression")
    integers = _integer_tensors(statements, lines, params)
    inputs = tuple(Tensor(n, letters.axes(n), n in integers) for n in letters.rank if n not in targets)
    letters.check_divided(integers, [t.name for t in inputs])
    _check_cotangent_names(set(letters.rank), params)
    return Program(text, tuple(params.items()), inputs, tuple(statements), _outputs(lines, statements),
                   tuple((n, letters.extent(n)) for n in letters.order))


class _Survey(ast.NodeVisitor):
    """First pass over a line: which letters there are and which axes they address."""

    def __init__(self, line: Line, letters: Letters, params: dict[str, Fraction]):
        self.line, self.letters, self.params, self.within = line, letters, params, 0

    def visit_Assign(self, node: ast.Assign) -> None:
        name, names = _target(self.line)
        for n in names:
            self.letters.letter(n)
        self.letters.note(self.line, node.targets[0], name, list(names))
        self.bound = set(names)
        self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        name, names = _declaration(self.line)
        self.letters.note(self.line, node.value, name, list(names))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        name, names = _declaration(self.line)
        self.letters.note(self.line, node.target, name, list(names))

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.value, ast.Name):
            subs = elements(node.slice)
            self.letters.note(self.line, node, node.value.id, [
                s.id if isinstance(s, ast.Name) and s.id in self.bound else None for s in subs])
            self.within += 1
            for s in subs:
                self.visit(s)
            self.within -= 1
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in REDUCTIONS and len(node.args) > 1:
            names = [a.id for a in node.args[:-1] if isinstance(a, ast.Name)]
            if name in ("max", "min") and not all(_addresses(n, node.args[-1]) for n in names):
                names = []  # max(alpha, X[i]): `reader` suggests maximum
            for n in names:
                self.letters.letter(n)
            outer = self.bound
            self.bound = self.bound | set(names)
            self.visit(node.args[-1])
            self.bound = outer
        elif name in ("softmax", "size"):
            for a in node.args[-1:] if name == "softmax" else ():
                self.visit(a)
        else:
            for a in node.args:
                self.visit(a)

    def visit_Name(self, node: ast.Name) -> None:
        # A bare name is a scalar input, except among subscripts, where it must be a bound index.
        letters, name = self.letters, node.id
        if self.within and name in self.params:
            letters.placed.add(name)
        known = name in self.bound or name in self.params or name in letters.order or name in letters.rank
        if not self.within and not known and name != "pi":
            letters.note(self.line, node, name, [])


def _addresses(letter: str, body: ast.expr) -> bool:
    return any(isinstance(n, ast.Name) and n.id == letter for n in ast.walk(body))


def _param(line: Line) -> tuple[str, Fraction]:
    tree = line.tree
    if isinstance(tree, ast.Assign) and len(tree.targets) == 1 and isinstance(tree.targets[0], ast.Name):
        value, sign = tree.value, 1
        while isinstance(value, ast.UnaryOp) and isinstance(value.op, (ast.USub, ast.UAdd)):
            sign = -sign if isinstance(value.op, ast.USub) else sign
            value = value.operand
        if isinstance(value, ast.Constant) and type(value.value) in (int, float):
            return tree.targets[0].id, sign * literal(value, line)
    example = "param eps = 1e-5" if line.kind == "param" else "size p = 2"
    raise line.error(f"a {line.kind} is one number", value=line.text, hint=f"write {example}")


def _fixed(line: Line) -> tuple[str, int]:
    """`size p = 2`: the extent of a letter that no array fixes, as part of the formula."""
    name, value = _param(line)
    if value.denominator != 1 or not 1 <= value < FARTHEST:
        raise line.error("a size is a positive whole number, less than 2^40", value=str(value), hint="write size p = 2")
    return name, int(value)


def _names(nodes: list[ast.expr], line: Line) -> list[str]:
    out: list[str] = []
    for n in nodes:
        if not isinstance(n, ast.Name):
            raise line.error("an index here is a letter", n, value=ast.unparse(n), hint="as in Y[i,j] = ...")
        if n.id in out:
            raise line.error(f"index {n.id} is repeated", n, value=n.id, hint="give each axis a letter of its own")
        out.append(n.id)
    return out


def _target(line: Line) -> tuple[str, list[str]]:
    tree = line.tree
    if not isinstance(tree, ast.Assign) or len(tree.targets) != 1:
        raise line.error("a statement is name[indices] = expression", tree, value=ast.unparse(tree))
    return _head(tree.targets[0], line)


def _declaration(line: Line) -> tuple[str, list[str]]:
    """`input X[b,c,u]`, or `input lengths[b]: int`."""
    tree = line.tree
    if isinstance(tree, ast.AnnAssign) and tree.value is None:
        if not isinstance(tree.annotation, ast.Name) or tree.annotation.id != "int":
            raise line.error("a declared tensor is real, or int", tree.annotation, value=ast.unparse(tree.annotation),
                             hint="as in input lengths[b]: int")
        return _head(tree.target, line)
    if not isinstance(tree, ast.Expr):
        raise line.error("a declaration names a tensor and its axes", value=line.text,
                         hint="as in input X[b,c,u], or input lengths[b]: int")
    return _head(tree.value, line)


def _head(node: ast.expr, line: Line) -> tuple[str, list[str]]:
    if isinstance(node, ast.Name):
        return node.id, []
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        return node.value.id, _names(elements(node.slice), line)
    raise line.error("expected a tensor and its indices", node, value=ast.unparse(node), hint="as in Y[i,j]")


def _statement(line: Line, letters: Letters, params: dict[str, Fraction]) -> Statement:
    name, names = _target(line)
    assert isinstance(line.tree, ast.Assign)
    scope = Scope(line, letters, params, frozenset(names))
    return Statement(name, tuple(Index(n, letters.extent(n)) for n in names), read(line.tree.value, scope), line.number)


def _check_names(line: Line, s: Statement, before: list[Statement], targets: dict[str, Line],
                 given: dict[str, None], params: dict[str, Fraction]) -> None:
    if s.name in params:
        raise line.error(f"{s.name} is a parameter and cannot be defined again", line.tree, value=s.name)
    if any(b.name == s.name for b in before):
        raise line.error(f"{s.name} is defined twice", line.tree, value=s.name, hint="give the second one another name")
    if s.name in given:
        raise line.error(f"{s.name} is used before it is defined", line.tree, value=s.name)
    defined = {b.name for b in before}
    for x in E.subterms(s.expr):
        if isinstance(x, Get) and x.tensor not in defined:
            if x.tensor in targets:
                at = next((n for n in ast.walk(line.tree.value) if isinstance(n, ast.Name)  # type: ignore[attr-defined]
                           and n.id == x.tensor), line.tree)
                if x.tensor == s.name:
                    raise line.error(f"{s.name} is defined by itself", at, value=s.name,
                                     hint="the notation has no recurrences: write each step as a statement of its own")
                raise line.error(f"{x.tensor} is used before it is defined", at, value=x.tensor,
                                 hint=f"it is defined on line {targets[x.tensor].number}")
            given[x.tensor] = None


def _integer_tensors(statements: list[Statement], lines: list[Line], params: dict[str, Fraction]) -> set[str]:
    """Tensors that stand in a subscript, those that are only compared with places, and those declared so."""
    found: set[str] = set()
    for s in statements:
        for x in E.subterms(s.expr):
            if isinstance(x, Get):
                found |= {y.tensor for sub in x.subs for y in E.subterms(sub) if isinstance(y, Get)}
    computed = next((s for s in statements if s.name in found), None)
    if computed is not None:
        line = next(ln for ln in lines if ln.kind == "statement" and _target(ln)[0] == computed.name)
        raise line.error(f"{computed.name} is computed and used as an index", line.tree, value=computed.name,
                         hint="an index tensor must be an input")
    found |= compared_with_places([s.expr for s in statements], params) - {s.name for s in statements}
    return found | {_declaration(ln)[0] for ln in lines if ln.kind == "input" and isinstance(ln.tree, ast.AnnAssign)}


def _check_cotangent_names(names: set[str], params: dict[str, Fraction]) -> None:
    for n in sorted(names | set(params)):
        if n.startswith("d") and n[1:] in names:
            raise NotationError(f"{n} is the name of the gradient of {n[1:]}", value=n, hint="rename the tensor")


def _outputs(lines: list[Line], statements: list[Statement]) -> tuple[str, ...]:
    asked: list[str] = []
    for line in lines:
        if line.kind == "output":
            tree = line.tree
            nodes = elements(tree.value) if isinstance(tree, ast.Expr) else []
            if not nodes:
                raise line.error("an output line names statements", value=line.text, hint="as in output h, c")
            for n in nodes:
                if not isinstance(n, ast.Name) or not any(s.name == n.id for s in statements):
                    raise line.error("an output must be the name of a statement", n, value=ast.unparse(n))
                if n.id not in asked:
                    asked.append(n.id)
    return tuple(asked) or (statements[-1].name,)
