"""What a published derivation holds, medium and language apart: formulas in LaTeX, facts as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from derive import expr as E
from derive.cost import Report, report
from derive.emit import sources
from derive.export.element import Writer
from derive.export.result import PARTIAL, TIMES, Rule, count_latex, definitions, notation, rule, shape
from derive.export.shares import AdjointPart, adjoint_part
from derive.expr import Expr, Index, Reduce
from derive.operation import Operation
from derive.plan.records import Buffer
from derive.program import Program, Statement, alive
from derive.rule.latex import name_latex, number_latex, statement_latex
from derive.rule.letters import Letters
from derive.simplify import Step

CORE = 90  # lines of a kernel that a document still shows


@dataclass(frozen=True)
class Tensor:
    """A row of the table of tensors; `shape` in LaTeX, empty for a scalar.

    `role` is one of input, integer, parameter, value, output.
    """

    latex: str
    shape: str
    role: str
    value: str = ""


@dataclass(frozen=True)
class Rewrite:
    """One recorded simplification: its law, what it concerns, and the term after it.

    Attributes:
        names: tensors that the rewrite brought in, or, for an inlined name, the one that it took out.
    """

    law: str
    names: tuple[str, ...]
    after: str


@dataclass(frozen=True)
class Simplification:
    """Successive rewrites of one gradient: the term that they start from, then one after another."""

    target: str
    before: str
    rewrites: tuple[Rewrite, ...]


@dataclass(frozen=True)
class Core:
    """An emitted kernel: what it computes, and its text if it is short enough to read."""

    name: str
    computes: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Cost:
    """Counts in LaTeX; `unfused` holds the same of the plan without fused attention, where there is one."""

    flops: tuple[str, str]
    moved: tuple[str, str]
    saved: str
    jacobian: str
    chunks: bool
    unfused: tuple[str, str, str] | None


@dataclass(frozen=True)
class Measured:
    """A level of validation as it was run; `status` is pass, fail or not run.

    Attributes:
        detail: what was found, in English.
        said: the same as sentences by name, each with what fills it; empty where `detail` says what no template knows.
    """

    level: str
    status: str
    detail: str
    said: tuple[tuple[str, Mapping[str, Any]], ...] = ()


@dataclass(frozen=True)
class Document:
    """Everything that a template writes about one operation."""

    name: str
    title: str
    sentence: str
    title_zh: str
    sentence_zh: str
    origin: str
    text: str
    forward: tuple[str, ...]
    prepared: tuple[str, ...]
    tensors: tuple[Tensor, ...]
    extent: tuple[str, str]
    adjoints: tuple[AdjointPart, ...]
    simplifications: tuple[Simplification, ...]
    forward_names: tuple[str, ...]
    backward_names: tuple[str, ...]
    rules: tuple[Rule, ...]
    notation: tuple[str, ...]
    numpy: tuple[str, ...]
    saved: tuple[tuple[str, str], ...]
    again: tuple[str, ...]
    cost: Cost
    kernels: tuple[Core, ...]
    validation: tuple[Measured, ...]


def document(op: Operation, *, title: str = "", sentence: str = "", title_zh: str = "", sentence_zh: str = "",
             origin: str = "", validation: Sequence[Measured] = (), costs: Report | None = None) -> Document:
    """Collect what was recorded about an operation.

    Args:
        op: the formula; its derivation is read, nothing is derived anew.
        title, sentence, title_zh, sentence_zh, origin: what the catalogue says of it.
        validation: figures of a run that the caller made; empty means not run.
        costs: with sizes, if the caller has them.
    """
    d = op.derivation
    program = d.named
    w = Writer(program)
    costs = costs or report(op)
    forward = _forward(op)
    changed = forward != tuple(d.source.statements)
    gradients = list(op.gradients.values())
    forward_names, backward_names = definitions(gradients)
    return Document(
        op.name, title or op.name, sentence, title_zh or title or op.name, sentence_zh, origin, d.source.text.strip(),
        tuple(statement_latex(s, Letters(d.source)) for s in d.source.statements),
        tuple(statement_latex(s, w.letters) for s in forward) if changed else (),
        _tensors(op, w), _extent(op, w), tuple(adjoint_part(a, program) for a in d.chain.adjoints),
        _simplifications(d.steps, program), forward_names, backward_names, tuple(rule(g, program) for g in gradients),
        notation(op),
        ("# forward", *op.forward_numpy, "# backward", *op.backward_numpy),
        tuple((name_latex(b.tensor), _kept(b, program, w)) for b in costs.saved),
        tuple(name_latex(n) for n in d.saved if n not in {b.tensor for b in costs.saved}), _cost(costs, w, program),
        _cores(costs, op.name), tuple(validation))


def _kept(b: Buffer, program: Program, w: Writer) -> str:
    """The shape of a buffer; one that only the plan knows has its sizes in the plan's words."""
    if b.tensor in program.names:
        return shape(program.axes(b.tensor), w)
    return TIMES.join(f"N_{{{a.removeprefix('size_')}}}" for a in b.axes)


def _forward(op: Operation) -> tuple[Statement, ...]:
    """The forward pass that the derivation reads: as it is computed, with the names that the chain rule uses."""
    d = op.derivation
    computed = {s.name: s for s in d.forward.statements}
    needed = {t for a in d.chain.adjoints for t in E.tensors(a.expr)} | computed.keys()
    return tuple(alive([computed.get(s.name, s) for s in d.named.statements], needed))


def _tensors(op: Operation, w: Writer) -> tuple[Tensor, ...]:
    d = op.derivation
    rows = [Tensor(name_latex(t.name), shape(t.axes, w), "integer" if t.integer else "input") for t in d.source.inputs]
    rows += [Tensor(name_latex(n), "", "parameter", number_latex(E.num(v))) for n, v in d.source.params]
    for s in d.source.statements:
        role = "output" if s.name in d.source.outputs else "value"
        rows.append(Tensor(name_latex(s.name), shape(d.source.axes(s.name), w), role))
    return tuple(rows)


def _extent(op: Operation, w: Writer) -> tuple[str, str]:
    """(N_n, n) of an index of the formula, to explain the sign by."""
    letter, extent = next(((n, e) for n, e in op.program.letters if not e.startswith("=")), ("", ""))
    return (w.printer.size(extent), w.letters.of_extent(extent)) if letter else ("", "")


# ------------------------------------------------------------------------------------------------- rewrites

def _simplifications(steps: Sequence[Step], program: Program) -> tuple[Simplification, ...]:
    """The rewrites of each gradient, in order; where a term went on changing, one chain."""
    chains: list[list[Step]] = []
    for s in steps:
        last = next((c for c in chains if c[-1].target is s.target and c[-1].after is s.before), None)
        if last is not None:
            last.append(s)
        else:
            chains.append([s])
    found = []
    for chain in chains:
        w = Writer(program)
        indices = tuple(i for i in chain[0].target.subs if isinstance(i, Index))
        before = w.term(chain[0].before, indices)
        rewrites: list[Rewrite] = []
        for s in chain:
            after = w.term(s.after, indices)
            if after != (rewrites[-1].after if rewrites else before):  # else it is written alike
                rewrites.append(Rewrite(_law(s), _concerned(s), after))
        if rewrites:
            found.append(Simplification(w.term(chain[0].target), before, tuple(rewrites)))
    return tuple(found)


def _law(s: Step) -> str:
    """The law of a step; of known sums, whether the value has a name or is a number."""
    if s.law == "known-sum" and not _concerned(s):
        return "known-number"
    return s.law


def _concerned(s: Step) -> tuple[str, ...]:
    before, after = E.tensors(s.before), E.tensors(s.after)
    if s.law == "inline":
        return tuple(name_latex(t) for t in before if t not in after)
    if s.law == "multiple":
        return tuple(name_latex(t) for t in after)
    if s.law == "known-sum":
        return tuple(name_latex(t) for t in after if t not in before or _bare(t, s.after) > _bare(t, s.before))
    return ()


def _bare(tensor: str, e: Expr) -> int:
    """How often a tensor is read outside sums."""
    own = int(isinstance(e, E.Get) and e.tensor == tensor)
    return own + sum(_bare(tensor, c) for c in e.children if not isinstance(e, Reduce))


# ------------------------------------------------------------------------------------------ costs and kernels

def _cost(r: Report, w: Writer, program: Program) -> Cost:
    s = r.symbolic()
    classes = dict(program.letters)  # what counts call an extent -> the extent
    for p in r.plan.passes:
        classes.update((rule.name.removeprefix("size_"), rule.letter) for rule in p.sizes)

    def size(name: str) -> str:
        return w.printer.size(classes.get(name, name))

    def pair(of: dict[str, str]) -> tuple[str, str]:
        return count_latex(of["forward"], size), count_latex(of["backward"], size)

    unfused = None
    if r.unfused is not None:
        u = r.unfused.symbolic()
        unfused = (*pair(u["bytes"]), count_latex(u["saved_bytes"], size))
    return Cost(pair(s["flops"]), pair(s["bytes"]), count_latex(s["saved_bytes"], size),
                count_latex(s["jacobian_bytes"], size), PARTIAL in " + ".join(pair(s["bytes"])).split(" + "), unfused)


def _cores(costs: Report, name: str) -> tuple[Core, ...]:
    """The backward kernels; the text of the first of each kind, as it is emitted, without the file around it."""
    text = next(t for n, t in sources(name, costs.plan).items() if n.endswith(".cu"))
    found = []
    shown: set[str] = set()
    for k in costs.kernels:
        if k.direction == "backward":
            code = _function(text, k.name) if k.plan not in shown else ""
            if code and code.count("\n") < CORE:
                shown.add(k.plan)
            else:
                code = ""
            found.append(Core(k.name, k.computes, code))
    return tuple(found)


def _function(text: str, name: str) -> str:
    """One kernel of an emitted file."""
    lines = text.splitlines()
    start = next((n for n, x in enumerate(lines) if "__global__" in x and f" {name}(" in x), None)
    if start is None:
        return ""
    stop = next(n for n in range(start, len(lines)) if lines[n].startswith("}"))
    return "\n".join(lines[start:stop + 1])
