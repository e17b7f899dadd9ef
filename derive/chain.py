"""The chain rule: `dX[i] = Σ_m dY[m] · ∂Y[m]/∂X[i]`, statements walked in reverse, contributions added up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from derive import expr as E
from derive.deltas import Delta, Sifted, eliminate
from derive.errors import DerivationError
from derive.expr import Expr, Get, Index
from derive.guards import draw_guards
from derive.partials import Partial, partials, tie_count
from derive.program import Program, Statement, Tensor


@dataclass(frozen=True)
class Contribution:
    """One access's share of an adjoint: `Σ_summed Π deltas · body`, and the same with its deltas gone."""

    partial: Partial
    summed: tuple[Index, ...]
    deltas: tuple[Delta, ...]
    body: Expr
    sifted: Sifted
    expr: Expr


@dataclass(frozen=True)
class Adjoint:
    """`name[indices] = Σ contributions`, the derivative of the loss by the tensor `of`.

    The name is `d<of>`; for an output that later statements read it is `d<of>_total`, the given `d<of>` plus theirs.
    """

    of: str
    name: str
    indices: tuple[Index, ...]
    contributions: tuple[Contribution, ...]
    expr: Expr

    @property
    def statement(self) -> Statement:
        return Statement(self.name, self.indices, self.expr)


@dataclass(frozen=True)
class Chain:
    """The backward pass before simplification: counts of ties, then adjoints in the order they are computed."""

    forward: Program
    wanted: tuple[str, ...]
    counts: tuple[Statement, ...]
    adjoints: tuple[Adjoint, ...]


def differentiable(program: Program) -> tuple[str, ...]:
    """Names of the inputs that have a gradient."""
    return tuple(t.name for t in program.inputs if not t.integer)


Rewrite = Callable[[Statement, Expr], Expr]


def _as_it_is(statement: Statement, e: Expr) -> Expr:
    return e


def chain(program: Program, wrt: tuple[str, ...] | None = None, rewrite: Rewrite = _as_it_is) -> Chain:
    """The adjoint of every statement that lies between the outputs and the inputs asked for.

    Args:
        program: a prepared formula.
        wrt: inputs; None for every differentiable one.
        rewrite: applied to each coefficient, in the letters of its statement, before deltas are eliminated.

    Raises:
        DerivationError: an input that does not exist or holds integers.
    """
    wanted = differentiable(program) if wrt is None else wrt
    for name in wanted:
        tensor = program.input(name)
        if tensor is None:
            raise DerivationError(f"{name} is no input of the formula", value=name,
                                  hint="its inputs are " + ", ".join(t.name for t in program.inputs))
        if tensor.integer:
            raise DerivationError(f"{name} holds integers, its gradient does not exist", value=name,
                                  hint="ask for one of " + (", ".join(differentiable(program)) or "no input at all"))
    active = _active(program, wanted)
    found: dict[str, list[Partial]] = {}
    counts: list[Statement] = []
    reached = set(program.outputs) & active
    for s in reversed(program.statements):
        if s.name not in reached:
            continue
        count = tie_count(s)
        if count is not None:
            counts.append(count)
        name = adjoint_name(program, s.name, s.name in found)
        for p in partials(s, name, active.__contains__, program):
            found.setdefault(p.access.tensor, []).append(p)
            reached.add(p.access.tensor)
    order = [s.name for s in reversed(program.statements) if s.name in reached] + list(wanted)
    adjoints = [_adjoint(program, n, found.get(n, []), rewrite) for n in order if n in found or n in wanted]
    return Chain(program, wanted, tuple(counts), tuple(adjoints))


def _active(program: Program, wanted: tuple[str, ...]) -> set[str]:
    """Names whose value depends on a wanted input."""
    active = set(wanted)
    for s in program.statements:
        if any(t in active for t in E.tensors(s.expr)):
            active.add(s.name)
    return active


def axis_letters(program: Program, tensor: str) -> tuple[Index, ...]:
    """An index for each axis of a tensor: its own letter where that is free, else another."""
    made = program.statement(tensor)
    if made is not None:
        return made.indices
    out: list[Index] = []
    for extent in program.axes(tensor):
        name = next((n for n, e in program.letters if e == extent and not any(o.name == n for o in out)), None)
        if name is None:
            taken = {*dict(program.letters), *program.names, *(o.name for o in out)}
            name = next(c for c in _spare_letters() if c not in taken)
        out.append(Index(name, extent))
    return tuple(out)


def _spare_letters() -> list[str]:
    return [*"ijklmnpquvwxyzabcdefghorst", *(f"i{n}" for n in range(1, 100))]


def _adjoint(program: Program, name: str, parts: list[Partial], rewrite: Rewrite) -> Adjoint:
    indices = axis_letters(program, name)
    contributions = tuple(contribution(p, indices, rewrite) for p in parts)
    terms = [c.expr for c in contributions]
    if name in program.outputs:
        seed = Get("d" + name, indices)
        terms.append(seed)
    return Adjoint(name, adjoint_name(program, name, bool(parts)), indices, contributions, draw_guards(E.add(*terms)))


def adjoint_name(program: Program, name: str, read_later: bool) -> str:
    """What the adjoint of a tensor is called."""
    if name not in program.outputs or not read_later:
        return "d" + name
    total, n = f"d{name}_total", 1
    while total in program.names:
        n, total = n + 1, f"d{name}_total{n}"
    return total


def contribution(p: Partial, indices: tuple[Index, ...], rewrite: Rewrite = _as_it_is) -> Contribution:
    """`Σ dY[m] · ∂Y[m]/∂X[i]` of one access, its deltas eliminated."""
    letters = (*p.statement.indices, *p.bound)
    apart: dict[Expr, Expr] = {}
    taken = [*letters, *indices]
    for i in letters:  # the result keeps the plain letters, the sum takes others
        apart[i] = E.fresh(i, taken, stem="'")
        taken.append(apart[i])  # type: ignore[arg-type]
    summed = tuple(apart[i] for i in letters)
    assert all(isinstance(i, Index) for i in summed)
    own = tuple(apart[i] for i in p.statement.indices)
    body = E.substitute(rewrite(p.statement, draw_guards(p.coefficient)), apart)
    deltas = tuple(Delta(i, E.substitute(sub, apart)) for i, sub in zip(indices, p.access.subs, strict=True))
    sifted = eliminate(summed, deltas, body, prefer=own)  # type: ignore[arg-type]
    return Contribution(p, summed, deltas, body, sifted, draw_guards(sifted.expr()))  # type: ignore[arg-type]


def backward_inputs(forward: Program) -> tuple[Tensor, ...]:
    """What a backward program may read: inputs, every forward value, and the cotangents of the outputs."""
    made = tuple(Tensor(s.name, tuple(i.extent for i in s.indices)) for s in forward.statements)
    seeds = tuple(Tensor("d" + o, forward.axes(o)) for o in forward.outputs)
    return (*forward.inputs, *made, *seeds)
