"""A claim read: what it says about which derivative, as two terms over the same indices."""

from __future__ import annotations

import ast
import contextlib
import re
from dataclasses import dataclass

from derive import expr as E
from derive.chain import axis_letters
from derive.claim.arrays import ArrayReader
from derive.claim.facts import Facts, fresh
from derive.claim.indexed import IndexReader, is_indexed
from derive.claim.layout import layout_of, target_groups
from derive.claim.matrix import MatrixReader
from derive.claim.shaped import Algebra, Misfit, Shaped, shape
from derive.claim.source import Claim, base
from derive.expr import Expr, Get, Index
from derive.rule.grouping import Layout, NoMatrixError, layouts


@dataclass(frozen=True)
class Stated:
    """`left = right` over `indices`.

    Attributes:
        of: the tensor whose derivative is claimed; None for the partial derivative of an element.
        right: what the claim says.
        truth: what is right.
        stretched: the claim's value had to be broadcast to the derivative's shape.
        without_loss: the claim leaves the cotangent of a scalar loss out, so it is 1.
        forced: extents that a lenient reading took for equal.
    """

    of: str | None
    indices: tuple[Index, ...]
    right: Expr
    truth: Expr
    stretched: bool = False
    without_loss: bool = False
    forced: tuple[tuple[str, str], ...] = ()


def state(claim: Claim, facts: Facts, lenient: bool = False, given: bool = False) -> Stated:
    """Read a claim.

    Args:
        lenient: take unequal extents for equal where shapes would not fit.
        given: let `dY` of an output that later statements read stand for the given cotangent, not for the total.

    Raises:
        Misfit: shapes do not fit, and why.
        NotationError: it is no claim about this formula.
    """
    pair = _partial(claim.left)
    if pair is not None:
        return _elements(claim, facts, pair, lenient)
    of = _claimed(claim, facts)
    names = _names(claim, facts, given)
    algebra = Algebra(lenient)
    left = facts.adjoints.get(of, "d" + of)
    if claim.matrix is not None:
        indices, right = _in_matrices(claim, facts, of, names)
        silent = facts.scalar_loss is not None and not re.search(rf"\b({facts.scalar_loss}|\w+_G)\b", claim.matrix)
        return Stated(of, indices, right, Get(left, indices), without_loss=silent)
    if isinstance(claim.left, ast.Subscript) or is_indexed(claim.right, facts):
        head = claim.left
        if not isinstance(head, ast.Subscript) and facts.program.axes(of):
            raise claim.error("a claim in index notation names the indices on the left", head, value=ast.unparse(head),
                              hint=f"as in {ast.unparse(head)}[{','.join(facts.program.axes(of))}] = ...")
        right, (target,) = IndexReader(claim, facts, algebra, {**names, base(head): left}).read(claim.right, [head])
        if not all(isinstance(i, Index) for i in target.subs) or len(set(target.subs)) != len(target.subs):
            raise claim.error("the left side has one letter for each axis", head, value=ast.unparse(head))
        indices = tuple(i for i in target.subs if isinstance(i, Index))
        stretched = False
    else:
        array = ArrayReader(claim, facts, algebra, names).read(claim.right)
        indices = fresh(facts.program.axes(of))
        right, stretched = _fitted(array, indices, algebra, ast.unparse(claim.left))
    silent = facts.scalar_loss is not None and facts.scalar_loss not in _mentioned(claim, names)
    return Stated(of, indices, right, Get(left, indices), stretched, silent, tuple(algebra.forced))


def _in_matrices(claim: Claim, facts: Facts, of: str, names: dict[str, str]) -> tuple[tuple[Index, ...], Expr]:
    """The right side of a claim in matrix notation; tensors of more axes are laid out as in the right rule."""
    rule = facts.rule(of)
    known: dict[str, Layout] = {}
    if rule is not None:
        with contextlib.suppress(NoMatrixError):
            known = layouts(rule.rule)
    tensors = {**facts.tensors, **{n: facts.tensors[t] for n, t in names.items()}}
    for word in re.findall(r"[A-Za-z_][A-Za-z_0-9]*", claim.matrix or ""):
        source = facts.derivative(word) if word not in tensors else None
        if source is not None:
            tensors[word] = facts.program.axes(source)
    letters = facts.program.letters
    indices = axis_letters(facts.program, of)
    target = target_groups(indices, layout_of("d" + of, tensors, known))
    params = frozenset(n for n, _ in facts.program.params)
    found = MatrixReader(claim.matrix or "", tensors, known, target, dict(letters), params).read()
    renamed = {w: facts.adjoints.get(s, "d" + s) for w in tensors if (s := _source(facts, w)) is not None}
    return indices, E.transform(found, lambda x: Get(renamed[x.tensor], x.subs)
                                if isinstance(x, Get) and x.tensor in renamed else x)


def _source(facts: Facts, name: str) -> str | None:
    return None if name in facts.program.names else facts.derivative(name)


def _fitted(array: Shaped, indices: tuple[Index, ...], algebra: Algebra, left: str) -> tuple[Expr, bool]:
    try:
        return algebra.onto(array, indices)
    except Misfit:
        want = shape(tuple(i.extent for i in indices))
        raise Misfit(f"{array}, {left} is {want}") from None


def _claimed(claim: Claim, facts: Facts) -> str:
    """The tensor on the left: `dX`, `X_G`, `dX[i,j]`."""
    name = base(claim.left)
    of = facts.derivative(name) if name else None
    if of is None and name.endswith("_total"):
        of = next((t for t, n in facts.adjoints.items() if n == name), None)
    if of is None:
        node = claim.left.value if isinstance(claim.left, ast.Subscript) else claim.left
        if isinstance(node, ast.Name) and node.id not in facts.program.names:
            raise claim.unknown(node, facts)
        raise claim.error("the left side of a claim is a derivative", claim.left, value=ast.unparse(claim.left),
                          hint="as dX, X_G, dX[i,j] or d(Y[m])/d(X[i])")
    return of


def _names(claim: Claim, facts: Facts, given: bool) -> dict[str, str]:
    """How the claim calls derivatives -> their tensors here."""
    found: dict[str, str] = {}
    own = facts.program.names
    for node in ast.walk(ast.Tuple([claim.left, claim.right], ast.Load())):
        if isinstance(node, ast.Name) and node.id not in own:
            of = facts.derivative(node.id)
            if of is not None:
                cotangent = given and of in facts.program.outputs
                found[node.id] = "d" + of if cotangent else facts.adjoints.get(of, "d" + of)
    return found


def _mentioned(claim: Claim, names: dict[str, str]) -> set[str]:
    return {names.get(n.id, n.id) for n in ast.walk(claim.right) if isinstance(n, ast.Name)}


# --------------------------------------------------------------------------------------- element-wise partials

def _partial(node: ast.expr) -> tuple[ast.expr, ast.expr] | None:
    """(P[i], S[j]) of `d(P[i])/d(S[j])`, also written `dP[i]/dS[j]`."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)):
        return None
    parts = []
    for side in (node.left, node.right):
        if isinstance(side, ast.Call) and ast.unparse(side.func) == "d" and len(side.args) == 1:
            parts.append(side.args[0])
        elif base(side).startswith("d"):
            name = ast.copy_location(ast.Name(base(side)[1:], ast.Load()), side)
            parts.append(ast.copy_location(ast.Subscript(name, side.slice, ast.Load()), side)
                         if isinstance(side, ast.Subscript) else name)
        else:
            return None
    return parts[0], parts[1]


def _elements(claim: Claim, facts: Facts, pair: tuple[ast.expr, ast.expr], lenient: bool) -> Stated:
    algebra = Algebra(lenient)
    for p in pair:
        if base(p) not in facts.program.names:
            raise claim.error("both sides of the fraction are elements of the formula's tensors", claim.left,
                              value=ast.unparse(p), hint="as in d(P[i])/d(S[j]) = ...")
    right, (of, by) = IndexReader(claim, facts, algebra, {}).read(claim.right, list(pair))
    indices = tuple(dict.fromkeys(i for g in (of, by) for s in g.subs for i in sorted(s.free, key=lambda i: i.name)))
    return Stated(None, indices, right, facts.partial(of, by), forced=tuple(algebra.forced))

