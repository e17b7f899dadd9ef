"""Element-wise partial derivatives as a reader wants them: closed, by cases, and as matrices with dots."""

from __future__ import annotations

from collections.abc import Callable

from derive import expr as E
from derive.chain import Contribution, adjoint_name, axis_letters, contribution
from derive.claim.sift import sift
from derive.expr import Cmp, Expr, Get, Index
from derive.partials import Partial
from derive.program import Program, Statement
from derive.rule.latex import LatexPrinter
from derive.rule.letters import Letters

SPARE = "ijpqabuvwxyzcdefghklmnorst"
LAST = "'last "  # an index name that stands for the last value of an extent


def lettered(program: Program) -> Letters:
    """Letters in which an axis that the formula gives none has the one that its gradient is written in."""
    letters = Letters(program)
    for t in program.inputs:
        for i in axis_letters(program, t.name):
            letters.letters.setdefault(i.name, i.extent)
    return letters


class Writer:
    """LaTeX of terms with one choice of letters."""

    def __init__(self, program: Program):
        self.letters = lettered(program)
        self.printer = LatexPrinter(self.letters)

    def term(self, e: Expr, scope: tuple[Index, ...] = (), level: int = 0) -> str:
        return self.printer.latex(e, frozenset(i.name for i in (*scope, *e.free)), level)

    def condition(self, e: Expr) -> str:
        return self.printer.condition(e, frozenset(i.name for i in e.free))


def own_letters(program: Program, tensor: str, avoid: tuple[Index, ...]) -> tuple[Index, ...]:
    """Letters for an element of an operand that nothing else in the statement uses: i, j, ..."""
    taken = {n for n, _ in program.letters} | program.names | {i.name for i in avoid}
    found: list[Index] = []
    for extent in program.axes(tensor):
        names = [*(c for c in SPARE), *(f"i{n}" for n in range(1, 50))]
        name = next(c for c in names if c not in taken)
        taken.add(name)
        found.append(Index(name, extent))
    return tuple(found)


def at_letters(p: Partial, program: Program) -> tuple[Contribution, tuple[Index, ...]]:
    """The contribution of one access again, to an element with letters of its own, sums under plain letters."""
    indices = own_letters(program, p.access.tensor, (*p.statement.indices, *p.bound))
    return contribution(p, indices), indices


def unit_partial(s: Statement, parts: list[Contribution], indices: tuple[Index, ...], program: Program) -> Expr:
    """∂Y[m]/∂X[i] of one statement, all its accesses of X together: its cotangent put to 1 at m and 0 elsewhere."""
    names = {adjoint_name(program, s.name, later) for later in (False, True)}

    def step(x: Expr) -> Expr:
        if isinstance(x, Get) and x.tensor in names:
            return E.indicator(E.logic("and", *(E.compare("==", a, b) for a, b in zip(x.subs, s.indices, strict=True))))
        return x

    return sift(E.transform(E.add(*(c.expr for c in parts)), step))


def cases(e: Expr, kept: frozenset[Index] = frozenset(), depth: int = 0) -> list[tuple[tuple[Expr, ...], Expr]]:
    """(conditions, value): the equations of free indices in `e` decided one after another; those under a sum stay.

    Args:
        kept: letters that an equal one is written as.
    """
    asked = (_equation(x.cond) for x in E.subterms(e) if isinstance(x, E.Where))
    question = next((q for q in asked if q is not None and q.free <= e.free), None)
    if question is None or depth == 3:
        return [((), e)]
    yes = _identified(_decided(e, question, True), question, kept)
    no = _decided(e, question, False)
    return [((question, *c), v) for c, v in cases(yes, kept, depth + 1)] + [
        ((E.negate(question), *c), v) for c, v in cases(no, kept, depth + 1)]


def _equation(c: Expr) -> Expr | None:
    """The first equation between indices, or between an index and an entry of an integer tensor, in a condition."""
    if isinstance(c, E.Logic) and c.op == "and":
        return next((q for a in c.args if (q := _equation(a)) is not None), None)
    if isinstance(c, Cmp) and c.op == "==":
        sides = (c.left, c.right)
        if any(isinstance(x, Index) for x in sides) and all(isinstance(x, (Index, Get)) for x in sides):
            return c
    return None


def _decided(e: Expr, question: Expr, answer: bool) -> Expr:
    return E.transform(e, lambda x: E.Truth(answer) if x is question else x)


def _identified(e: Expr, question: Expr, kept: frozenset[Index]) -> Expr:
    """Two indices that are equal are written as the one to keep, else as the first."""
    if isinstance(question, Cmp) and isinstance(question.left, Index) and isinstance(question.right, Index):
        first, second = sorted((question.left, question.right), key=lambda i: (i not in kept, i.name))
        return E.substitute(e, {second: first})
    return e


def case_latex(e: Expr, w: Writer, kept: frozenset[Index] = frozenset()) -> str:
    """A term, its cases in a brace; of two letters that are equal there, the one to keep is written."""
    found = cases(e, kept)
    if len(found) == 1:
        return w.term(found[0][1])
    merged: dict[Expr, list[str]] = {}
    for conditions, value in found:
        merged.setdefault(value, []).append(r",\; ".join(_equated(c, w, kept) for c in conditions))
    rows = [(w.term(v), c[0] if len(c) == 1 else r"\text{otherwise}") for v, c in merged.items()]
    rows.sort(key=lambda r: r[1].startswith(r"\text"))
    if len(rows) == 1:
        return rows[0][0]
    return r"\begin{cases} " + r" \\ ".join(f"{v} & {c}" for v, c in rows) + r" \end{cases}"


def _equated(c: Expr, w: Writer, kept: frozenset[Index]) -> str:
    """A condition; of an equation, the letter that is kept stands on the right."""
    if isinstance(c, Cmp) and c.op in ("==", "!=") and c.left in kept and c.right not in kept:
        return f"{w.term(c.right)} {'=' if c.op == '==' else chr(92) + 'ne'} {w.term(c.left)}"
    return w.condition(c)


# ---------------------------------------------------------------------------------------- matrices with dots

def dotted(entry: Callable[[Expr, Expr], str], rows: Index | None, columns: Index) -> str:
    """First, second and last entries of a matrix, dots between."""
    def ends(i: Index) -> list[Expr]:
        return [E.ONE, E.num(2), Index(LAST + i.extent, i.extent)]

    across = ends(columns)
    if rows is None:
        cells = [entry(E.ZERO, c) for c in across]
        return r"\begin{bmatrix} " + " & ".join([*cells[:2], r"\cdots", cells[2]]) + r" \end{bmatrix}"
    lines = []
    for r in ends(rows):
        cells = [entry(r, c) for c in across]
        lines.append(" & ".join([*cells[:2], r"\cdots", cells[2]]))
    dots = r"\vdots & \vdots & \ddots & \vdots"
    return r"\begin{bmatrix} " + r" \\ ".join([*lines[:2], dots, lines[2]]) + r" \end{bmatrix}"


def last_named(code: str, w: Writer) -> str:
    """The last value of an extent by its size."""
    import re
    return re.sub(r"\\mathit\{'last ([^}]*)\}", lambda m: w.printer.size(m[1]), code)


def placed(e: Expr, values: dict[Expr, Expr]) -> Expr:
    """`e` at given index values; the first, the second and the last value of an index are taken for different."""
    def step(x: Expr) -> Expr:
        if isinstance(x, Cmp) and x.op in ("==", "!=") and _literal(x.left) and _literal(x.right):
            return E.Truth((x.left is x.right) == (x.op == "=="))
        return x
    return E.transform(E.substitute(e, values), step)


def _literal(e: Expr) -> bool:
    return isinstance(e, E.Num) or (isinstance(e, Index) and e.name.startswith(LAST))
