"""The chain rule as a reader follows it: what each statement contributes to the gradient by each of its operands."""

from __future__ import annotations

from dataclasses import dataclass

from derive import expr as E
from derive.chain import Adjoint, Contribution
from derive.deltas import Delta
from derive.export.element import Writer, at_letters, case_latex, dotted, last_named, placed, unit_partial
from derive.expr import Expr, Get, Index
from derive.program import Program, Statement
from derive.rule.latex import name_latex, statement_latex
from derive.rule.letters import Letters


@dataclass(frozen=True)
class Elimination:
    """One delta and what became of it: `letter := value`, or a condition that stays."""

    delta: str
    letter: str
    value: str
    kept: bool


@dataclass(frozen=True)
class Share:
    """What one statement contributes to an adjoint; all LaTeX.

    Attributes:
        through: the statement's name.
        formula: the statement.
        head: the gradient's element, in letters of its own.
        partial: the partial derivative by cases.
        jacobian: the same as a matrix with dots: symbols, then entries; empty where it would not be readable.
        chain: the chain rule as a sum.
        inserted: its right side with the partial derivative put in, a term for each place where the operand is read.
        eliminations: what each Kronecker delta does to the sum.
        result: what is left, a term for each place.
        scalar: whether the statement's value is one number.
        whole: whether the inserted term holds the whole partial derivative, with deltas inside its brackets.
    """

    through: str
    formula: str
    head: str
    partial: str
    jacobian: tuple[str, ...]
    chain: str
    inserted: tuple[str, ...]
    eliminations: tuple[Elimination, ...]
    result: tuple[str, ...]
    scalar: bool
    whole: bool


@dataclass(frozen=True)
class AdjointPart:
    """The derivation of one adjoint.

    Attributes:
        of: the tensor.
        of_latex, latex: it and its gradient.
        shares: one for each statement that reads the tensor.
        total: the adjoint in the letters of the formula.
        given: whether the cotangent of an output is added.
        names: values of the forward pass that the total is written in and the shares are not.
    """

    of: str
    of_latex: str
    latex: str
    shares: tuple[Share, ...]
    total: str
    given: bool
    names: tuple[str, ...]


def adjoint_part(a: Adjoint, program: Program) -> AdjointPart:
    by_statement: dict[str, list[Contribution]] = {}
    for c in a.contributions:
        by_statement.setdefault(c.partial.statement.name, []).append(c)
    shares = tuple(_share(parts, program) for parts in by_statement.values())
    total = statement_latex(a.statement, Letters(program))
    plain = {t for c in a.contributions for t in E.tensors(at_letters(c.partial, program)[0].expr)}
    new = [t for t in E.tensors(a.expr) if t not in plain and program.statement(t) is not None]
    given = a.of in program.outputs
    return AdjointPart(a.of, name_latex(a.of), name_latex(a.name), shares, total, given,
                       tuple(name_latex(t) for t in new))


def _share(parts: list[Contribution], program: Program) -> Share:
    w = Writer(program)
    s = parts[0].partial.statement
    element = at_letters(parts[0].partial, program)[1]
    again = [at_letters(c.partial, program)[0] for c in parts]
    x = Get(parts[0].partial.access.tensor, element)
    partial = unit_partial(s, again, element, program)
    fraction = rf"\frac{{\partial {w.term(s.target)}}}{{\partial {w.term(x)}}}"
    head = w.term(Get("d" + x.tensor, element))
    cotangent = w.term(Get("d" + s.name, s.indices))
    under = ",".join(w.printer.latex(i, frozenset()) for i in s.indices)
    total = rf"\sum_{{{under}}} " if under else ""
    whole = isinstance(s.expr, E.Softmax)  # its Jacobian has two terms, and is best read as it stands
    inserted = (rf"{total}{cotangent}\,{w.term(partial, (*s.indices, *element), 1)}",) if whole else tuple(
        _inserted(c, program) for c in again)
    by_cases = case_latex(partial, w, frozenset(s.indices))
    return Share(
        name_latex(s.name), statement_latex(s, w.letters), head, f"{fraction} = {by_cases}",
        _jacobian(s, x, partial, w), rf"{head} = {total}{cotangent}\,{fraction}", inserted,
        tuple(dict.fromkeys(e for c in again for e in _eliminations(c, program, whole))),
        tuple(w.term(c.expr, element) for c in again), not s.indices, whole)


def plain_letters(c: Contribution, letters: Letters) -> dict[Expr, Expr]:
    """The sum's letters under names that a reader knows, apart from the result's."""
    taken = {i.name for i in c.partial.access.free} | {d.left.name for d in c.deltas}
    values: dict[Expr, Expr] = {}
    origin = (*c.partial.statement.indices, *c.partial.bound)
    used = {d.left.name for d in c.deltas}
    for i, o in zip(c.summed, origin, strict=True):
        name = o.name if o.name.isidentifier() and o.name not in used else letters.choose(
            o, frozenset(used | taken | {x.name for x in origin})).name
        used.add(name)
        values[i] = Index(name, i.extent)
    return values


def _inserted(c: Contribution, program: Program) -> str:
    """`Σ body Π δ`, before any delta is eliminated."""
    w = Writer(program)
    values = plain_letters(c, w.letters)
    body = E.substitute(c.body, values)
    deltas = [_delta(Delta(d.left, E.substitute(d.right, values)), w) for d in c.deltas]
    under = ",".join(w.term(values[i]) for i in c.summed)
    head = rf"\sum_{{{under}}} " if under else ""
    scope = tuple(i for i in values.values() if isinstance(i, Index))
    negative = E.coefficient(body)[0] < 0
    factors = [w.term(E.neg(body) if negative else body, scope, 1), *deltas]
    return ("-" if negative else "") + head + r"\,".join(factors)


def _delta(d: Delta, w: Writer) -> str:
    return rf"\delta_{{{w.printer.subscripts((d.left, d.right), frozenset(i.name for i in d.right.free))}}}"


def _eliminations(c: Contribution, program: Program, whole: bool) -> list[Elimination]:
    """What became of each delta, which is written as the inserted term has it."""
    w = Writer(program)
    values = plain_letters(c, w.letters)
    left = set(c.sifted.summed)
    out = []
    for d in sorted(c.deltas, key=lambda d: not isinstance(d.right, Index)):  # the order in which they are solved
        right = E.substitute(d.right, values)
        data = any(isinstance(x, Get) for x in E.subterms(d.right))
        gone = [] if data else [i for i in c.summed if i in d.right.free and i not in left]
        left.update(gone[:1])
        letter = w.term(values[gone[0]]) if gone else ""
        equation = f"{w.term(right)} = {w.term(d.left)}"
        delta = _delta(Delta(d.left, right), w)
        if whole and isinstance(right, Index):
            delta = w.term(E.indicator(E.compare("==", d.left, right)))
        out.append(Elimination(delta, letter, equation, not gone))
    return out


def _jacobian(s: Statement, x: Get, partial: Expr, w: Writer) -> tuple[str, ...]:
    """The Jacobian with dots, symbols first, then entries; for one vector by another, rows held fixed."""
    fixed = [i for i in s.indices if any(i.extent == j.extent for j in x.subs if isinstance(j, Index))]
    free_y = list(s.indices)
    free_x = [i for i in x.subs if isinstance(i, Index)]
    shared: dict[Expr, Expr] = {}
    if len(free_y) > 1 and len(free_y) == len(free_x) and fixed:
        for a, b in list(zip(free_y, free_x, strict=True))[:-1]:
            if a.extent != b.extent:
                return ()
            shared[b] = a
        free_y, free_x = free_y[-1:], free_x[-1:]
    if len(free_y) != 1 or len(free_x) != 1:
        return ()
    e = E.substitute(partial, shared)
    e = E.transform(e, lambda t: E.TRUE if isinstance(t, E.Cmp) and t.op == "==" and t.left is t.right else t)
    target = E.substitute(x, shared)
    if any(isinstance(t, E.Reduce) and t.free & {free_x[0], free_y[0]} for t in E.subterms(e)):
        return ()  # entries too long for a matrix

    def names(r: Expr, c: Expr) -> str:
        return (rf"\frac{{\partial {w.term(E.substitute(s.target, {free_y[0]: c}))}}}"
                rf"{{\partial {w.term(E.substitute(target, {free_x[0]: r}))}}}")

    def entry(r: Expr, c: Expr) -> str:
        return w.term(placed(e, {free_y[0]: c, free_x[0]: r}))

    head = rf"\frac{{\partial {name_latex(s.name)}}}{{\partial {name_latex(x.tensor)}}}"
    found = (f"{head} = {dotted(names, free_x[0], free_y[0])}", f"= {dotted(entry, free_x[0], free_y[0])}")
    return tuple(last_named(f, w) for f in found)
