"""One change to a claim at a time: a transpose, a sign, an axis.  What makes a claim right names its fault."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import combinations

from derive.claim.source import MODULES, Claim

Change = Callable[[ast.expr], ast.expr | None]
Place = int | tuple[int, ...]


def transposes(claim: Claim) -> Iterator[Claim]:
    """With `.T` put on or taken off one factor, two indices of one access or two lengths of a reshape swapped, or the
    factors of `@` swapped."""
    if claim.matrix is not None:
        yield from _matrix_transposes(claim, claim.matrix)
        return
    yield from _changed(claim, _transposed, right=True, left=True)


def _matrix_transposes(claim: Claim, text: str) -> Iterator[Claim]:
    """The same in matrix notation: one `ᵀ` put on or taken off a name, or the whole transposed."""
    head = ast.unparse(claim.left)
    new = [f"({text})ᵀ"]
    for m in re.finditer(r"[A-Za-z_][A-Za-z_0-9]*(?!\()(?![A-Za-z_0-9])ᵀ?", text):
        word = m[0].removesuffix("ᵀ") if m[0].endswith("ᵀ") else m[0] + "ᵀ"
        new.append(text[:m.start()] + word + text[m.end():])
    for t in new:
        yield replace(claim, code=f"{head} = {t}", matrix=t)


def signs(claim: Claim) -> Iterator[Claim]:
    """With one sign turned."""
    yield from _changed(claim, _turned)


def axes(claim: Claim) -> Iterator[Claim]:
    """With one reduction over another axis, or over one where it was over all; its axis kept or not."""
    for change in (_moved, _moved_and_kept):
        places: list[Place] = [0, 1, -1, -2, *combinations(range(4), 2), *combinations(range(4), 3)]
        for place in places:
            yield from _changed(claim, partial(change, place=place))


def kept_axes(claim: Claim) -> Iterator[Claim]:
    """With one reduction keeping its axis."""
    yield from _changed(claim, _kept)


def _changed(claim: Claim, change: Change, right: bool = True, left: bool = False) -> Iterator[Claim]:
    for side in [*(["right"] if right else []), *(["left"] if left and isinstance(claim.left, ast.Subscript) else [])]:
        tree: ast.expr = getattr(claim, side)
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.expr)]
        for n in range(len(nodes)):
            new = _replaced(tree, n, change)
            if new is not None:
                ast.fix_missing_locations(new)
                a, b = (claim.left, new) if side == "right" else (new, claim.right)
                yield Claim(f"{ast.unparse(a)} = {ast.unparse(b)}", a, b)


def _replaced(tree: ast.expr, at: int, change: Change) -> ast.expr | None:
    """The tree with its node number `at` changed; None if the change does not apply there."""
    tree = copy.deepcopy(tree)
    target = [n for n in ast.walk(tree) if isinstance(n, ast.expr)][at]
    new = change(target)
    if new is None:
        return None
    if target is tree:
        return new
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(v is target for v in value):
                value[[v is target for v in value].index(True)] = new
    return tree


def reshaped(claim: Claim) -> Iterator[Claim]:
    """With the whole in the derivative's shape."""
    if claim.matrix is None and isinstance(claim.left, ast.Name):
        shape = ast.Attribute(claim.left, "shape", ast.Load())
        yield from _changed(claim, lambda node: ast.Call(ast.Attribute(node, "reshape", ast.Load()), [shape], [])
                            if ast.dump(node) == ast.dump(claim.right) else None)


def _transposed(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".reshape") and len(node.args) == 2 and not (
            isinstance(node.args[1], ast.Tuple)):
        return ast.Attribute(ast.Call(node.func, node.args[::-1], []), "T", ast.Load())
    if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        return node.value
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple) and len(node.slice.elts) == 2:
        if all(isinstance(e, ast.Name) for e in node.slice.elts):
            return ast.Subscript(node.value, ast.Tuple(node.slice.elts[::-1], ast.Load()), ast.Load())
        return None
    if isinstance(node, ast.Call) and not isinstance(node.func, ast.Name):
        return ast.Attribute(node, "T", ast.Load())
    if isinstance(node, ast.Name | ast.BinOp) and not (isinstance(node, ast.Name) and node.id in ("np", "torch")):
        return ast.Attribute(node, "T", ast.Load())
    return None


def _turned(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        return ast.BinOp(node.left, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), node.right)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return node.operand
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        return ast.UnaryOp(ast.USub(), node)
    return None


REDUCTIONS = ("sum", "mean", "max", "min", "amax", "amin", "logsumexp", "softmax", "var")


def _reduction(node: ast.expr) -> tuple[ast.Call, int] | None:
    """A reduction, and at which argument its axis may stand by position: `x.sum(1)`, `np.sum(x, 1)`."""
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name):
        return (node, 1) if node.func.id in REDUCTIONS else None
    if isinstance(node.func, ast.Attribute) and node.func.attr in REDUCTIONS:
        return node, int(isinstance(node.func.value, ast.Name) and node.func.value.id in MODULES)
    return None


def _moved(node: ast.expr, place: Place) -> ast.expr | None:
    found = _reduction(node)
    if found is None:
        return None
    call, at = found
    spec = next((k.value for k in call.keywords if k.arg in ("axis", "dim")), (*call.args[at:], None)[0])
    if isinstance(place, tuple) and not (isinstance(spec, ast.Tuple | ast.List) and len(spec.elts) == len(place)):
        return None  # as many axes as before
    rest = [k for k in call.keywords if k.arg not in ("axis", "dim")]
    return ast.Call(call.func, call.args[:at], [ast.keyword("axis", _number(place)), *rest])


def _number(place: Place) -> ast.expr:
    return ast.Tuple([ast.Constant(n) for n in place], ast.Load()) if isinstance(place, tuple) else ast.Constant(place)


def _kept(node: ast.expr) -> ast.expr | None:
    found = _reduction(node)
    if found is None:
        return None
    rest = [k for k in found[0].keywords if k.arg not in ("keepdims", "keepdim")]
    return ast.Call(found[0].func, found[0].args, [*rest, ast.keyword("keepdims", ast.Constant(True))])


def _moved_and_kept(node: ast.expr, place: Place) -> ast.expr | None:
    moved = _moved(node, place)
    return None if moved is None else _kept(moved)


def swapped(claim: Claim) -> Iterator[Claim]:
    """With the two factors of one `@` in the other order, each transposed or not."""
    def change(node: ast.expr, turn: tuple[bool, bool]) -> ast.expr | None:
        if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)):
            return None
        sides = [_t(x) if t else x for x, t in zip((node.right, node.left), turn, strict=True)]
        return ast.BinOp(sides[0], ast.MatMult(), sides[1])

    for turn in ((False, False), (True, False), (False, True), (True, True)):
        yield from _changed(claim, partial(change, turn=turn))


def _t(node: ast.expr) -> ast.expr:
    return node.value if isinstance(node, ast.Attribute) and node.attr == "T" else ast.Attribute(node, "T", ast.Load())
