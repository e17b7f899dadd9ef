"""The size of a NumPy program in math nodes."""

from __future__ import annotations

import ast

#: Calls that move or make data and do no arithmetic.
FREE = frozenset({"reshape", "transpose", "expand_dims", "swapaxes", "moveaxis", "squeeze", "broadcast_to", "asarray",
                  "arange", "zeros_like", "ones_like", "zeros", "ones", "eye", "astype", "copy"})


def count_nodes(lines: list[str]) -> int:
    """Binary operations, augmented assignments and calls; an einsum counts its operands less one."""
    total = 0
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, (ast.BinOp, ast.AugAssign)):
            total += 1
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            total += max(len(node.args) - 2, 1) if name == "einsum" else name not in FREE
    return total
