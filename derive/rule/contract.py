"""Sums of products as `@` or `np.einsum`."""

from __future__ import annotations

import string

from derive.expr import Index
from derive.rule.arrays import ATOM, MUL, Array


def contraction(operands: list[Array], inner: tuple[Index, ...], scope: tuple[Index, ...]) -> Array | None:
    """`Σ_inner Π operands` as a matrix product or an einsum; None where an element-wise product reads better.

    Operands are arrays without repeated axes; the result's axes are what is left, in `scope` order.
    """
    if len(operands) < 2 or any(not a.axes for a in operands):
        return None
    if all(set(a.axes) == set(operands[0].axes) for a in operands):
        return None  # the row sum of a Hadamard product
    left = {i for a in operands for i in a.axes} - set(inner)
    result = tuple(i for i in scope if i in left)
    return _matmul(operands, inner, result) or _einsum(operands, result)


def _matmul(operands: list[Array], inner: tuple[Index, ...], result: tuple[Index, ...]) -> Array | None:
    """`A @ B` with at most a transpose of the last two axes of each."""
    if len(operands) != 2 or len(inner) != 1 or not result:
        return None
    k = inner[0]
    for a, b in (operands, operands[::-1]):
        if k not in a.axes or k not in b.axes:
            return None
        for left in _orientations(a, k, last=True):
            for right in _orientations(b, k, last=False):
                if _product_axes(left.axes, right.axes) == result:
                    return Array(f"{left.at(MUL)} @ {right.at(ATOM)}", result, MUL)
    return None


def _orientations(a: Array, k: Index, last: bool) -> list[Array]:
    """`a` and its last two axes swapped, where `k` stands on the side that a product sums over."""
    found = []
    if a.axes[-1 if last or len(a.axes) == 1 else -2] is k:
        found.append(a)
    if len(a.axes) >= 2 and a.axes[-2 if last else -1] is k:
        axes = (*a.axes[:-2], a.axes[-1], a.axes[-2])
        found.append(Array(f"{a.at(ATOM)}.T" if len(axes) == 2 else f"{a.at(ATOM)}.swapaxes(-1, -2)", axes))
    return found


def _product_axes(left: tuple[Index, ...], right: tuple[Index, ...]) -> tuple[Index, ...] | None:
    """Axes of NumPy's `left @ right`; None where batch axes do not line up."""
    batch_l, batch_r = left[:-2], right[:-2]
    rows = left[-2:-1] if len(left) >= 2 else ()
    columns = right[-1:] if len(right) >= 2 else ()
    if batch_l and batch_r and batch_l != batch_r:
        return None
    if (batch_r and not rows) or (batch_l and not columns):
        return None  # a vector against a batch: einsum says it better
    return (*(batch_l or batch_r), *rows, *columns)


def _einsum(operands: list[Array], result: tuple[Index, ...]) -> Array:
    names: dict[Index, str] = {}
    pool = list(string.ascii_letters)
    every = list(dict.fromkeys(i for a in operands for i in a.axes))
    for i in every:
        wish = i.name if len(i.name) == 1 and i.name in pool else i.extent
        names[i] = wish if len(wish) == 1 and wish in pool else next(
            c for c in pool if c not in {j.name for j in every} and c not in {j.extent for j in every})
        pool.remove(names[i])
    spec = ",".join("".join(names[i] for i in a.axes) for a in operands)
    target = "".join(names[i] for i in result)
    return Array(f"np.einsum('{spec}->{target}', {', '.join(a.code for a in operands)})", result)
