"""The text of a claim: its two sides as syntax trees, with places for carets."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

from derive.claim.facts import Facts
from derive.claim.layout import has_products, has_signs
from derive.errors import NotationError, Where


@dataclass(frozen=True)
class Claim:
    """`left = right` as it was written.

    Attributes:
        code: what the trees were read from.
        number: its line in a file of claims, or None.
        matrix: the right side as it was written, when it is in matrix notation; `right` is then empty.
        sizes: extents that the claim states before it, `size l = 2; dX[i] = sum(l, ...)`.
    """

    code: str
    left: ast.expr
    right: ast.expr
    number: int | None = None
    matrix: str | None = None
    sizes: tuple[tuple[str, int], ...] = ()

    def error(self, what: str, node: ast.AST | None = None, *, value: object = None, hint: str | None = None
              ) -> NotationError:
        where = Where(self.code, 0, None, self.number)
        if node is not None and hasattr(node, "col_offset"):
            place = Where.of(self.code, node)
            where = Where(place.line, place.start, place.stop, self.number)
        return NotationError(what, where=where, value=value, hint=hint)

    def unknown(self, node: ast.Name, facts: Facts) -> NotationError:
        known = sorted(facts.program.names)
        return self.error(f"{node.id} is nothing in the formula", node, value=node.id,
                          hint=f"its tensors are {', '.join(known)}; the gradient of X is dX or X_G")

    def integer(self, node: ast.expr) -> int:
        """A whole number as it is written."""
        sign = 1
        while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            sign, node = -sign, node.operand
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return sign * node.value
        raise self.error("a whole number is expected here", node, value=ast.unparse(node))


MODULES = {"np", "numpy", "jnp", "jax", "nn", "torch", "F", "cp", "cupy", "tf", "special", "scipy", "linalg"}
SIGNS = {"∘": "*", "⊙": "*", "·": "*", "−": "-", "σ": "sigmoid", "≤": "<=", "≥": ">=", "≠": "!=", "π": "pi"}


def read_claim(text: str, number: int | None = None) -> Claim:
    """Split a claim at its `=` and read both sides as Python expressions.

    Raises:
        NotationError: it is no equation of two expressions.
    """
    code, sizes = _stated(text.split("#", 1)[0].strip())
    code = re.sub(r"\^\s*(?:T\b|⊤|\{?\\top\}?)|⊤", "ᵀ", code)
    as_written, at = code, _equals(code)
    for sign, plain in SIGNS.items():
        code = code.replace(sign, plain)
    if at is not None and "]" not in as_written[:at]:
        right = as_written[at + 1:].strip()
        if has_signs(right) or (has_products(right) and not _parses(code.partition("=")[2])):
            return Claim(as_written, _side(as_written, 0, at, number), ast.Constant(0), number, right)
    at = _equals(code)
    if at is None:
        raise NotationError("a claim is one equation", where=Where(code, 0, None, number), value=code,
                            hint="write dB = A.T @ dY, or dB[k,n] = sum(m, A[m,k]*dY[m,n])")
    return Claim(code, _side(code, 0, at, number), _side(code, at + 1, len(code), number), number, sizes=sizes)


def base(node: ast.expr) -> str:
    """The name of `dX` or `dX[i,j]`, else nothing."""
    inner = node.value if isinstance(node, ast.Subscript) else node
    return inner.id if isinstance(inner, ast.Name) else ""


def _stated(code: str) -> tuple[str, tuple[tuple[str, int], ...]]:
    """What follows `size l = 2;`, and the sizes."""
    sizes = []
    while found := re.match(r"size\s+([A-Za-z_]\w*)\s*=\s*(\d+)\s*;\s*", code):
        sizes.append((found[1], int(found[2])))
        code = code[found.end():]
    return code, tuple(sizes)


def _parses(code: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _equals(code: str) -> int | None:
    """Where the only `=` outside brackets stands."""
    depth, found = 0, []
    for n, c in enumerate(code):
        depth += (c in "([{") - (c in ")]}")
        if c == "=" and depth == 0 and code[n + 1:n + 2] != "=" and code[max(n - 1, 0)] not in "=<>!":
            found.append(n)
    return found[0] if len(found) == 1 else None


def _side(code: str, start: int, stop: int, number: int | None) -> ast.expr:
    """One side, its tree's columns those of the whole claim."""
    before = len(code[:start].encode())
    padded = "(" + " " * (before - 1) + code[start:stop] + ")" if before else code[start:stop].rstrip()
    try:
        return ast.parse(padded, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        place = max((getattr(e, "offset", None) or 1) - 1, 0)
        place = min(max(place, start), max(stop - 1, 0))
        raise NotationError("this is no claim", where=Where(code, place, place + 1, number),
                            value=getattr(e, "msg", str(e)),
                            hint="write dB = A.T @ dY, or dB[k,n] = sum(m, A[m,k]*dY[m,n])") from None
