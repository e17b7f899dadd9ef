"""What a published derivation holds, medium and language apart: formulas in LaTeX, facts as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from derive import expr as E
from derive.chain import Adjoint, Contribution
from derive.cost import Report, report
from derive.deltas import Delta
from derive.emit import sources
from derive.export.element import Writer, at_letters, case_latex, dotted, last_named, placed, unit_partial
from derive.expr import Expr, Get, Index
from derive.operation import Gradient, Operation
from derive.program import Program, Statement
from derive.rule.latex import name_latex, statement_latex
from derive.rule.letters import Letters


@dataclass(frozen=True)
class Tensor:
    """A row of the table of tensors; `shape` in LaTeX, `role` one of input, integer, parameter, value, output."""

    name: str
    latex: str
    shape: str
    role: str
    value: str = ""


@dataclass(frozen=True)
class Elimination:
    """One delta and what became of it: `letter := value`, or a condition that stays."""

    delta: str
    letter: str
    value: str
    kept: bool


@dataclass(frozen=True)
class Share:
    """What one statement contributes to an adjoint: partial derivative, chain rule, deltas, result; all LaTeX."""

    statement: str
    formula: str
    partial: str
    jacobian: tuple[str, ...]
    chain: str
    inserted: tuple[str, ...]
    eliminations: tuple[Elimination, ...]
    result: tuple[str, ...]


@dataclass(frozen=True)
class AdjointPart:
    """The derivation of one adjoint."""

    of: str
    of_latex: str
    latex: str
    shares: tuple[Share, ...]
    total: str
    given: bool


@dataclass(frozen=True)
class Rewrite:
    """One recorded simplification: its law, before and after in LaTeX."""

    law: str
    target: str
    before: str
    after: str


@dataclass(frozen=True)
class Rule:
    """A finished gradient: matrix and index form, what its names stand for, the shapes of its factors."""

    name: str
    matrix: str
    index_latex: str
    index: str
    definitions: tuple[str, ...]
    shapes: tuple[tuple[str, str], ...]
    shape: str
    explicit: str


@dataclass(frozen=True)
class Measured:
    """A level of validation as it was run; `status` is pass, fail or not run."""

    level: str
    status: str
    detail: str


@dataclass(frozen=True)
class Document:
    """Everything that a template writes about one operation."""

    name: str
    title: str
    sentence: str
    origin: str
    text: str
    forward: tuple[str, ...]
    prepared: tuple[str, ...]
    tensors: tuple[Tensor, ...]
    adjoints: tuple[AdjointPart, ...]
    rewrites: tuple[Rewrite, ...]
    rules: tuple[Rule, ...]
    numpy: tuple[str, ...]
    saved: tuple[tuple[str, str], ...]
    cost: dict[str, object]
    kernels: tuple[str, ...]
    validation: tuple[Measured, ...]


def document(op: Operation, *, title: str = "", sentence: str = "", origin: str = "",
             validation: Sequence[Measured] = (), costs: Report | None = None) -> Document:
    """Collect what was recorded about an operation.

    Args:
        op: the formula; its derivation is read, nothing is derived anew.
        title, sentence, origin: what the catalogue says of it.
        validation: figures of a run that the caller made; empty means not run.
        costs: with sizes, if the caller has them.
    """
    d = op.derivation
    program = d.named
    w = Writer(program)
    costs = costs or report(op)
    own = {s.name for s in d.source.statements}
    rules = tuple(_rule(g, program) for g in op.gradients.values())
    read = {t for a in d.chain.adjoints for t in E.tensors(a.expr)} | {s.name for s in d.forward.statements}
    prepared = tuple(statement_latex(s, w.letters) for s in program.statements
                     if s.name in read and (s.name not in own or s not in d.source.statements))
    code = sources(op.name, costs.plan)
    return Document(
        op.name, title or op.name, sentence, origin, d.source.text.strip(),
        tuple(statement_latex(s, Letters(d.source)) for s in d.source.statements), prepared,
        _tensors(op, w), tuple(_adjoint(a, program, w) for a in d.chain.adjoints),
        tuple(_rewrite(s.law, s.target, s.before, s.after, program) for s in d.steps), rules,
        ("# forward", *op.forward_numpy, "# backward", *op.backward_numpy),
        tuple((name_latex(n), _shape(program.axes(n), w)) for n in d.saved), costs.json(),
        _cores(next(t for n, t in code.items() if n.endswith(".cu"))), tuple(validation))


def _shape(axes: tuple[str, ...], w: Writer) -> str:
    return r" \times ".join(w.printer.size(a) for a in axes) or r"\text{1}"


def _tensors(op: Operation, w: Writer) -> tuple[Tensor, ...]:
    d = op.derivation
    rows = [Tensor(t.name, name_latex(t.name), _shape(t.axes, w), "integer" if t.integer else "input")
            for t in d.source.inputs]
    rows += [Tensor(n, name_latex(n), r"\text{1}", "parameter", str(float(v))) for n, v in d.source.params]
    for s in d.source.statements:
        role = "output" if s.name in d.source.outputs else "value"
        rows.append(Tensor(s.name, name_latex(s.name), _shape(d.source.axes(s.name), w), role))
    return tuple(rows)


# --------------------------------------------------------------------------------------------- the chain rule

def _adjoint(a: Adjoint, program: Program, w: Writer) -> AdjointPart:
    by_statement: dict[str, list[Contribution]] = {}
    for c in a.contributions:
        by_statement.setdefault(c.partial.statement.name, []).append(c)
    shares = tuple(_share(parts, program) for parts in by_statement.values())
    total = statement_latex(a.statement, Letters(program))
    return AdjointPart(a.of, name_latex(a.of), name_latex(a.name), shares, total, a.of in program.outputs)


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
    chain = rf"{head} = " + (rf"\sum_{{{under}}} " if under else "") + rf"{cotangent}\,{fraction}"
    return Share(
        s.name, statement_latex(s, w.letters), f"{fraction} = {case_latex(partial, w)}", _jacobian(s, x, partial, w),
        chain, tuple(_inserted(c, program) for c in again), tuple(e for c in again for e in _eliminations(c, program)),
        tuple(f"{head} = {w.term(c.expr, element)}" for c in again))


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
    return rf"\delta_{{{w.term(d.left)},\,{w.term(d.right)}}}"


def _eliminations(c: Contribution, program: Program) -> list[Elimination]:
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
        out.append(Elimination(_delta(Delta(d.left, right), w), letter, equation, not gone))
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


# ----------------------------------------------------------------------------------- rewrites, rules, kernels

def _rewrite(law: str, target: Get, before: Expr, after: Expr, program: Program) -> Rewrite:
    indices = tuple(i for i in target.subs if isinstance(i, Index))
    w = Writer(program)
    return Rewrite(law, w.term(target), w.term(before, indices), w.term(after, indices))


def _rule(g: Gradient, program: Program) -> Rule:
    w = Writer(program)
    own = {s.name for s in g.of.program.statements}
    aside = [s for s in (*g.forward_statements, *g.statements[:-1]) if s.name not in own]
    axes = {s.name: tuple(i.extent for i in s.indices) for s in g.statements}

    def extents(name: str) -> tuple[str, ...]:
        if name in axes:
            return axes[name]
        return g.of.derivation.backward.axes(name)

    read = E.tensors(g.rule.expr)
    shapes = tuple((name_latex(n), _shape(extents(n), w)) for n in read)
    return Rule(g.name, g.matrix_latex, g.latex, g.index, tuple(statement_latex(s, g.letters) for s in aside), shapes,
                _shape(extents("d" + g.name), w), _explicit(g.rule, w))


def _explicit(s: Statement, w: Writer) -> str:
    """The gradient written out with dots, for at most two axes and short entries."""
    if not 1 <= len(s.indices) <= 2 or any(isinstance(x, E.Where) for x in E.subterms(s.expr)):
        return ""
    rows, columns = (s.indices[0], s.indices[1]) if len(s.indices) == 2 else (None, s.indices[0])

    def entry(r: Expr, c: Expr) -> str:
        values: dict[Expr, Expr] = {columns: c} if rows is None else {rows: r, columns: c}
        return w.term(placed(s.expr, values))

    found = last_named(f"{name_latex(s.name)} = {dotted(entry, rows, columns)}", w)
    return found if len(found) < 900 else ""


def _cores(code: str) -> tuple[str, ...]:
    """The backward kernels as they are emitted, without the file around them."""
    found, lines, inside = [], [], False
    for line in code.splitlines():
        inside = inside or ("__global__" in line and "backward" in line)
        if inside:
            lines.append(line)
            if line.startswith("}"):
                found.append("\n".join(lines))
                lines, inside = [], False
    return tuple(f for f in found if f.count("\n") < 90)[:3]
