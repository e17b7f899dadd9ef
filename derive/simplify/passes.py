"""The passes in order, over a whole backward program, with every change recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from derive import expr as E
from derive.chain import Chain, backward_inputs, chain
from derive.expr import Expr, Get
from derive.guards import draw_guards
from derive.program import Program, Statement, alive
from derive.simplify.cost import cost, program_cost
from derive.simplify.factor import factor
from derive.simplify.inline import inlinable, reads, replace_access, uses
from derive.simplify.masks import drop_guards, mask_of
from derive.simplify.names import ForwardNames
from derive.simplify.rowterm import RowTerms
from derive.simplify.share import share
from derive.simplify.sift import sift
from derive.simplify.sums import KnownSums

Pass = tuple[str, Callable[[Expr], Expr]]
ROUNDS = 3  # of the passes over one term, since each may make work for those before it; it ends with the first idle one


@dataclass(frozen=True)
class Step:
    """One rewrite as it was done: `target[indices] = before` became `= after` by the law named `law`."""

    law: str
    target: Get
    before: Expr
    after: Expr


@dataclass(frozen=True)
class Simplified:
    """The gradient program, the forward program with the names it reads, and the steps between.

    `named` is the forward program with every name that any step reads.
    """

    forward: Program
    named: Program
    backward: Program
    chain: Chain
    steps: tuple[Step, ...]
    cost: int


LAWS = {
    "guard": "a guard covers its whole term",
    "sift": "a condition leaves one term of a sum",
    "mask": "P is 0 where the mask is",
    "known-sum": "a sum that the forward has",
    "factor": "common factor",
    "indicator": "a number taken out of an indicator",
    "exchange": "two sums change places",
    "inline": "put in place of its name",
    "multiple": "a multiple of another gradient",
}


def simplify(forward: Program, wrt: tuple[str, ...] | None = None) -> Simplified:
    """The smallest of the gradient programs that the passes find, with and without x̂-like products."""
    best = _attempt(forward, wrt, False)
    if ForwardNames(forward, True).products:
        other = _attempt(forward, wrt, True)
        if other.cost < best.cost:
            best = other
    return best


def _attempt(forward: Program, wrt: tuple[str, ...] | None, products: bool) -> Simplified:
    names = ForwardNames(forward, products)
    derived = chain(forward, wrt, names.rewrite)
    named = names.extended(set(names.definitions))
    known = KnownSums(named)
    masks = mask_of(forward)
    steps: list[Step] = []
    early: list[Pass] = [("guard", draw_guards), ("sift", sift), ("mask", lambda e: drop_guards(e, masks)),
                         ("known-sum", known.fold)]
    late: list[Pass] = [("factor", factor), ("indicator", plain_indicators)]

    def run(s: Statement, passes: list[Pass]) -> Statement:
        e = s.expr
        for _ in range(ROUNDS):
            start = e
            for law, rewrite in passes:
                new = rewrite(e)
                if new is not e:
                    steps.append(Step(law, s.target, e, new))
                    e = new
            if e is start:
                break
        return Statement(s.name, s.indices, e, s.line)

    def tidy(s: Statement) -> Statement:
        return run(s, early)

    outputs = tuple("d" + n for n in derived.wanted)
    statements = [tidy(s) for s in (*derived.counts, *(a.statement for a in derived.adjoints))]
    statements = _inline(alive(statements, outputs), outputs, tidy, steps)
    statements = _multiples([run(s, late) for s in statements], steps)
    statements = _row_terms(_sums_of_sums(statements, KnownSums(named), steps), forward, steps)
    statements = _plain_names(statements, names, tidy, steps)
    kept = {s.name for s in statements}
    axes = {t.name: t.axes for t in forward.inputs}
    shared = share(statements, names.taken | kept, {n for n, _ in forward.letters}, axes)
    shared = alive(_unshared(shared, kept), outputs)
    extended = names.extended({t for s in shared for t in E.tensors(s.expr)})
    backward = Program("", forward.params, backward_inputs(extended), tuple(shared), outputs, forward.letters)
    return Simplified(extended, named, backward, derived, tuple(steps), program_cost(shared))


def _inline(statements: list[Statement], outputs: tuple[str, ...], tidy: Callable[[Statement], Statement],
            steps: list[Step]) -> list[Statement]:
    n = 0
    while n < len(statements):
        s = statements[n]
        rest = statements[n + 1:]
        if s.name not in outputs and inlinable(s, rest):
            new = []
            for t in rest:
                e = replace_access(t.expr, s)
                if e is not t.expr:
                    steps.append(Step("inline", t.target, t.expr, e))
                    t = tidy(Statement(t.name, t.indices, e, t.line))
                new.append(t)
            statements = alive([*statements[:n], *new], outputs)
            n = 0
        else:
            n += 1
    return statements


def _sums_of_sums(statements: list[Statement], known: KnownSums, steps: list[Step]) -> list[Statement]:
    """`Σ_ts B Σ_e dO·V` as `Σ_ts B·dA`, where dA is that inner sum and comes before; `known` learns as it goes."""
    out: list[Statement] = []
    for s in statements:
        e = known.fold(s.expr)
        if e is not s.expr:
            steps.append(Step("known-sum", s.target, s.expr, e))
        out.append(Statement(s.name, s.indices, e, s.line))
        known.learn(out[-1])
    return out


def _row_terms(statements: list[Statement], forward: Program, steps: list[Step]) -> list[Statement]:
    """`Σ_s P·dP` as `Σ_v dO·O`, which the forward has the inner sum of."""
    out: list[Statement] = []
    terms = RowTerms(forward)
    for s in statements:
        found = terms.rewritten(s.expr, out)
        if found is not None:
            steps.append(Step("exchange", s.target, s.expr, found.exchanged))
            steps.append(Step("known-sum", s.target, found.exchanged, found.named))
            s = Statement(s.name, s.indices, found.named, s.line)
        out.append(s)
    return out


def _plain_names(statements: list[Statement], names: ForwardNames, tidy: Callable[[Statement], Statement],
                 steps: list[Step]) -> list[Statement]:
    """Forward names that are read once and cost one operation are written out again."""
    for name, d in reversed(names.definitions.items()):
        found = uses(statements, name)
        if len(found) == 1 and cost(d.expr) <= 1 and reads(statements, name) == 1:
            n, _, _ = found[0]
            t = statements[n]
            e = replace_access(t.expr, d)
            steps.append(Step("inline", t.target, t.expr, e))
            statements[n] = tidy(Statement(t.name, t.indices, e, t.line))
    return statements


def _multiples(statements: list[Statement], steps: list[Step]) -> list[Statement]:
    """`dZ = −dP` where two statements differ by a number only."""
    out: list[Statement] = []
    for s in statements:
        c, rest = E.coefficient(s.expr)
        if cost(s.expr) > 1:
            for o in out:
                k, other = E.coefficient(o.expr)
                if other is rest and o.indices == s.indices and o.expr is not E.ZERO:
                    e = E.mul(E.num(c / k), o.target)
                    steps.append(Step("multiple", s.target, s.expr, e))
                    s = Statement(s.name, s.indices, e, s.line)
                    break
        out.append(s)
    return out


def _unshared(statements: list[Statement], kept: set[str]) -> list[Statement]:
    """Names that `share` gave on the way and that are read once after all are put back."""
    for s in statements[::-1]:
        rest = [t for t in statements if t is not s]
        if s.name not in kept and reads(rest, s.name) == 1:
            statements = [Statement(t.name, t.indices, replace_access(t.expr, s), t.line) for t in rest]
    return statements


def plain_indicators(e: Expr) -> Expr:
    """`where(c, −1, 0) = −[c]`: a number in front of an indicator."""
    def step(x: Expr) -> Expr:
        if isinstance(x, E.Where) and x.other is E.ZERO and isinstance(x.then, E.Num) and x.then is not E.ONE:
            return E.mul(x.then, E.indicator(x.cond))
        return x
    return E.transform(e, step)
