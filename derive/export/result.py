"""The finished gradients as a document shows them: boxed, written out, and with the shape of every factor."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from derive import expr as E
from derive.export.element import Writer, dotted, last_named, lettered, placed
from derive.export.fit import width
from derive.expr import Expr
from derive.operation import Gradient, Operation
from derive.program import Program, Statement, alive
from derive.rule.glyphs import LatexGlyphs
from derive.rule.grouping import Layout, NoMatrixError, layouts
from derive.rule.latex import name_latex, statement_latex
from derive.rule.matrix import matrix_rule
from derive.rule.text import statement_text

TIMES = r" \times "
EXPLICIT = 150  # letters of width up to which a gradient is written out with dots


@dataclass(frozen=True)
class Rule:
    """A finished gradient.

    Attributes:
        matrix, index_latex: the rule in matrices and in indices.
        plain: whether `matrix` is the index form again, because there is no matrix form.
        shaped: the matrix rule with each factor's shape below it, where that can be read.
        shapes: (factor, shape, shape as the rule reads it) of each factor.
        shape, matrix_shape: of the result.
        explicit: the gradient with dots, for short entries.
        batch: letters of the leading axes for each of which the matrix rule holds.
    """

    name: str
    latex: str
    matrix: str
    index_latex: str
    plain: bool
    shaped: str
    shapes: tuple[tuple[str, str, str], ...]
    shape: str
    matrix_shape: str
    explicit: str
    batch: tuple[str, ...]


def rule(g: Gradient, program: Program) -> Rule:
    w = Writer(program)
    axes = {s.name: tuple(i.extent for i in s.indices) for s in g.statements}

    def extents(name: str) -> tuple[str, ...]:
        return axes[name] if name in axes else g.of.derivation.backward.axes(name)

    try:
        known: Mapping[str, Layout] = layouts(g.rule)
    except NoMatrixError:
        known = {}
    plain = g.matrix_latex == g.latex
    read = E.tensors(g.rule.expr)
    grouped = {n: _matrix_shape(extents(n), known[n], w) for n in (*read, g.rule.name) if n in known}
    shaped = ""
    if not plain and grouped.keys() >= {*read, g.rule.name} and len(read) > 1:
        shaped = matrix_rule(g.rule, g.letters, _Shaped({n: s for n, s in grouped.items() if s}))
        if re.search(r"\\left|\\frac|\\begin|_\{.*\\mathrm\{einsum", shaped) or "einsum" in shaped:
            shaped = ""
    shapes = tuple((name_latex(n), shape(extents(n), w),
                    TIMES.join(grouped[n]) if n in grouped and not plain else "") for n in read)
    own = TIMES.join(grouped.get(g.rule.name, ())) if not plain else ""
    if all(matrix in ("", own_shape) for _, own_shape, matrix in shapes):
        own = ""  # read as they are
    return Rule(g.name, name_latex("d" + g.name), g.matrix_latex, g.latex, plain, shaped, shapes,
                shape(extents("d" + g.name), w), own, _explicit(g.rule, w),
                tuple(w.term(i) for i in g.rule.indices[:known[g.rule.name].batch]) if grouped and not plain else ())


def shape(axes: tuple[str, ...], w: Writer) -> str:
    """`N_i × N_j`; empty for a scalar."""
    return TIMES.join(w.printer.size(a) for a in axes)


def _matrix_shape(axes: tuple[str, ...], layout: Layout, w: Writer) -> tuple[str, ...]:
    """Rows and columns, each a product of extents; a vector is a column; batch axes are left out."""
    rest = axes[layout.batch:]
    out = []
    for n in layout.groups:
        out.append(r"\,".join(w.printer.size(a) for a in rest[:n]))
        rest = rest[n:]
    return (*out, "1") if len(out) == 1 else tuple(out)


class _Shaped(LatexGlyphs):
    """Each name with its shape below it; the transpose of a name turns its shape."""

    def __init__(self, shapes: Mapping[str, tuple[str, ...]]):
        self.shapes = {name_latex(n): s for n, s in shapes.items()}

    def name(self, name: str) -> str:
        return self._under(name_latex(name), self.shapes.get(name_latex(name), ()))

    def transpose(self, code: str) -> str:
        for name, found in self.shapes.items():
            if code == self._under(name, found):
                return self._under(super().transpose(name), found[::-1])
        return super().transpose(code)

    def _under(self, code: str, found: tuple[str, ...]) -> str:
        return rf"\;\underbrace{{{code}}}_{{{TIMES.join(found)}}}\;" if found else code


def _explicit(s: Statement, w: Writer) -> str:
    """The gradient written out with dots, for at most two axes and short entries."""
    if not 1 <= len(s.indices) <= 2 or any(isinstance(x, E.Where) for x in E.subterms(s.expr)):
        return ""
    rows, columns = (s.indices[0], s.indices[1]) if len(s.indices) == 2 else (None, s.indices[0])

    def entry(r: Expr, c: Expr) -> str:
        values: dict[Expr, Expr] = {columns: c} if rows is None else {rows: r, columns: c}
        return w.term(placed(s.expr, values))

    found = last_named(f"{name_latex(s.name)} = {dotted(entry, rows, columns)}", w)
    return found if width(found) < EXPLICIT else ""


def definitions(gradients: list[Gradient]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the rules' names stand for: values of the forward pass, and terms that the backward pass names."""
    forward: dict[str, str] = {}
    backward: dict[str, str] = {}
    for g in gradients:
        own = {s.name for s in g.of.program.statements}
        made = [s for s in g.forward_statements if s.name not in own]
        read = {t for s in g.statements for t in E.tensors(s.expr)}
        for s in reversed(made):
            read |= set(E.tensors(s.expr)) if s.name in read else set()
        for s in made:
            if s.name in read:
                forward.setdefault(s.name, statement_latex(s, g.letters))
        for s in g.statements[:-1]:
            if s.name not in {"d" + n for n in g.of.gradients}:
                backward.setdefault(s.name, statement_latex(s, g.letters))
    return tuple(forward.values()), tuple(backward.values())


def notation(op: Operation) -> tuple[str, ...]:
    """The backward pass in the notation, to stand after the formula: sizes, values of the forward pass, gradients."""
    d = op.derivation
    own = {s.name for s in op.program.statements}
    needed = {t for s in d.backward.statements for t in E.tensors(s.expr)}
    forward = alive([s for s in d.forward.statements if s.name not in own], needed)
    letters = lettered(d.named)
    lines = [statement_text(s, letters) for s in (*forward, *d.backward.statements)]
    named = set(dict(d.source.letters).values())
    open_axes = [t for t in d.source.inputs if not t.integer and any(a not in named and a[0] != "=" for a in t.axes)]
    axes = [f"input {t.name}[{','.join(letters.of_extent(a) for a in t.axes)}]" for t in open_axes]
    return (*axes, *(f"size {n} = {size}" for n, size in letters.sizes.items()), *lines)


# ---------------------------------------------------------------------------------------------------- counts

PARTIAL = "p"  # what stands for the partial results of sums that are split


def count_latex(text: str, size: Callable[[str], str]) -> str:
    """`4*i*n*o + n*o**2` in LaTeX, with `size` for an extent; terms of partial results are one `p`."""
    tree = ast.parse(text.replace(".", "_DOT_"), mode="eval").body
    terms: list[ast.expr] = []
    while isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add):
        terms.insert(0, tree.right)
        tree = tree.left
    terms.insert(0, tree)
    whole = [t for t in terms if not _split(t)]
    parts = [_count(t, size) for t in whole] + [PARTIAL] * (len(whole) < len(terms))
    return " + ".join(parts)


def _split(term: ast.expr) -> bool:
    """Whether a term counts partial results: their number is a function of sizes."""
    return any(isinstance(n, (ast.Call, ast.FloorDiv)) for n in ast.walk(term))


def _count(node: ast.expr, size: Callable[[str], str]) -> str:
    match node:
        case ast.Constant():
            return str(node.value)
        case ast.Name():
            return size(node.id.replace("_DOT_", "."))
        case ast.BinOp(op=ast.Mult()):
            number, codes = 1, []
            for f in _factors(node):
                if isinstance(f, ast.Constant) and isinstance(f.value, int):
                    number *= f.value
                else:
                    add = isinstance(f, ast.BinOp) and isinstance(f.op, ast.Add)
                    codes.append(rf"\left({_count(f, size)}\right)" if add else _count(f, size))
            return r"\,".join([str(number)] * (number != 1 or not codes) + codes)
        case ast.BinOp(op=ast.Pow()):
            return f"{_count(node.left, size)}^{{{_count(node.right, size)}}}"
        case ast.BinOp(op=ast.Add()):
            return f"{_count(node.left, size)} + {_count(node.right, size)}"
    raise ValueError(f"{ast.unparse(node)} is no count")


def _factors(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _factors(node.left) + _factors(node.right)
    return [node]
