"""Why a claim is wrong, in the order in which an author wants to know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, permutations
from math import prod

import numpy as np

from derive import exact
from derive import expr as E
from derive.claim import repairs
from derive.claim.facts import Facts
from derive.claim.judge import equal, extra
from derive.claim.shaped import Misfit
from derive.claim.source import Claim
from derive.claim.statement import Stated, state
from derive.errors import DeriveError, ShapeError
from derive.exact import DIGITS, TIED, Agreement, Env, Undefined, Unmodelled
from derive.exact.agree import difference
from derive.expr import Expr, Get, Index
from derive.extents import solve
from derive.rule.letters import Letters
from derive.rule.text import TextPrinter


def misfit(claim: Claim, facts: Facts, why: Misfit) -> str:
    """Shapes do not fit; whether a transpose would mend it, and whether it is right on square matrices."""
    parts = [f"shapes do not fit: {why}"]
    axis = _mended((*repairs.axes(claim), *repairs.kept_axes(claim)), facts)
    mended = _mended((*repairs.transposes(claim), *repairs.swapped(claim)), facts)
    if axis is not None:
        parts.append(f"wrong axis: {axis.code} is right")
    elif mended is not None:
        parts.append(f"it is right up to a transpose: {mended.code}")
    elif (shaped := _mended(repairs.reshaped(claim), facts)) is not None:
        parts.append(f"right in another shape: {shaped.code}")
    square = _square(claim, facts)
    if square:
        parts.append(square)
    return "; ".join(parts)


def wrong(claim: Claim, said: Stated, facts: Facts, found: Agreement) -> str:
    """The first of: an axis, a transpose, a sign, a factor, a term; then a counterexample with numbers."""
    if found.how == TIED.name and found.place is not None and found.values is not None:
        got, right = found.values
        return (f"right except where values tie or meet a kink; counterexample: with inputs among -1, 0, 1 and 2, "
                f"{_place(claim, said, found.place)} is {right}, the claim gives {got}")
    first = (_axis(claim, facts) or _transposed(claim, said, facts) or _sign(claim, said, facts)
             or _factor(said, facts) or _term(said, facts))
    example = counterexample(claim, said, facts, found)
    return "; ".join(p for p in (first, example) if p)


# ------------------------------------------------------------------------------------------------- repairs

def _mended(changed: Iterable[Claim], facts: Facts) -> Claim | None:
    seen: set[str] = set()
    for c in changed:
        if c.code in seen:
            continue
        seen.add(c.code)
        try:
            said = state(c, facts)
        except (Misfit, DeriveError):
            continue
        if not said.stretched and equal(said.right, said, facts):
            return c
    return None


def _transposed(claim: Claim, said: Stated, facts: Facts) -> str:
    for n, m in combinations(range(len(said.indices)), 2):
        i, j = said.indices[n], said.indices[m]
        if i.extent == j.extent and equal(_swap(said.right, i, j), said, facts):
            return "right up to a transpose"
    mended = _mended(repairs.transposes(claim), facts)
    return f"right up to a transpose: {mended.code}" if mended else ""


def _swap(e: Expr, i: Index, j: Index) -> Expr:
    return E.substitute(e, {i: j, j: i})


def _sign(claim: Claim, said: Stated, facts: Facts) -> str:
    if equal(E.neg(said.right), said, facts):
        return "wrong sign"
    mended = _mended(repairs.signs(claim), facts)
    return f"wrong sign of one term: {mended.code} is right" if mended else ""


def _axis(claim: Claim, facts: Facts) -> str:
    mended = _mended(repairs.axes(claim), facts)
    return f"wrong axis: {mended.code} is right" if mended else ""


def _square(claim: Claim, facts: Facts) -> str:
    """Whether a claim whose shapes do not fit would be right if the extents in question were equal."""
    try:
        said = state(claim, facts, lenient=True)
    except (Misfit, DeriveError):
        return ""
    if not said.forced:
        return ""
    program = facts.forward
    pairs = " and ".join(dict.fromkeys(" = ".join(sorted((a.lstrip("="), b.lstrip("=")))) for a, b in said.forced))
    for n in (3, 4):
        try:
            letters = {x: n for x, e in program.letters if not e.startswith("=")}
            sizes = solve(program, {}, letters, n)
            env = exact.environment(program, n, sizes, DIGITS).define(extra(said, facts))
            x, y = (exact.evaluate(e, said.indices, env) for e in (said.right, said.truth))
        except (ShapeError, Undefined, Unmodelled, ValueError, IndexError, KeyError):
            return ""
        if x.shape != y.shape or difference(x, y, DIGITS) is not None:
            return f"even where {pairs} it would be wrong"
    return f"it is right only where {pairs}"


# ----------------------------------------------------------------------------------------- factors and terms

def _written(e: Expr, said: Stated, facts: Facts) -> str:
    """A term as the notation writes it, its placeholder indices by the letters of their extents."""
    values: dict[Expr, Expr] = {}
    taken: set[str] = set()
    letters = Letters(facts.program)
    for i in sorted(e.free | set(said.indices), key=lambda i: (i not in said.indices, i.name)):
        name = i.name
        if not name.isidentifier() or name in taken:
            name = letters.choose(i, frozenset(taken)).name
        taken.add(name)
        values[i] = Index(name, i.extent)
    return TextPrinter(letters).text(E.substitute(e, values), frozenset(taken))


def _spellings(said: Stated, facts: Facts) -> Iterator[Expr]:
    """The right rule in the claim's indices: simplified first, then as the chain rule gives it."""
    from derive.claim.judge import canonical
    yield from canonical(said, facts)[:0:-1] or canonical(said, facts)


def _factor(said: Stated, facts: Facts) -> str:
    tried: dict[Expr, None] = {}
    for e in _spellings(said, facts):
        for t in (e, *E.terms(e)):
            tried.update((f, None) for f in E.factors(t) if not isinstance(f, E.Num))
    for f in tried:
        if f.free <= set(said.indices) and equal(E.mul(said.right, f), said, facts):
            return f"missing factor {_written(f, said, facts)}"
    for f in (E.split_power(f)[0] for f in E.factors(said.right)):
        if not isinstance(f, E.Num) and equal(E.div(said.right, f), said, facts):
            return f"a factor too many: {_written(f, said, facts)}"
    ratio = _ratio(said, facts)
    if ratio is not None:
        return f"missing factor {ratio}"
    sizes = dict.fromkeys(E.Size(e) for _, e in facts.program.letters)
    inputs = [Get(t.name, ()) for t in facts.program.inputs if not t.axes]
    scalars: list[Expr] = [*sizes, *inputs, *(E.Param(n) for n, _ in facts.program.params)]
    powers = [E.power(s, E.num(p)) for s in scalars for p in (-1, 1, E.HALF.value, -E.HALF.value, 2, -2)]
    inverse = [E.power(E.mul(*pair), E.num(p)) for p in (-1, 1) for n in (2, 3) for pair in combinations(sizes, n)]
    ratios = [E.div(*pair) for pair in permutations(sizes, 2)]
    for f in (*powers, *inverse, *ratios):
        if equal(E.mul(said.right, f), said, facts):
            return f"missing factor {_written(f, said, facts)}"
    return ""


def _ratio(said: Stated, facts: Facts) -> str | None:
    """A constant that the claim is off by."""
    env = _digits(said, facts)
    if env is None:
        return None
    x, y = (exact.evaluate(e, said.indices, env) for e in (said.right, said.truth))
    found = {str(DIGITS.context.nstr(b / a, 30)) for a, b in zip(x.flat, y.flat, strict=True) if a != 0}
    if len(found) != 1 or any(a == 0 and b != 0 for a, b in zip(x.flat, y.flat, strict=True)):
        return None
    from fractions import Fraction
    value = Fraction(found.pop()).limit_denominator(1000)
    return str(value) if equal(E.mul(said.right, E.num(value)), said, facts) else None


def _term(said: Stated, facts: Facts) -> str:
    for e in _spellings(said, facts):
        found = _missing(expand(e), said, facts)
        if found:
            return "missing term" + "s" * (len(found) > 1) + " " + " and ".join(_written(t, said, facts) for t in found)
    for t in expand(said.right):
        if equal(E.sub(said.right, t), said, facts):
            return f"a term too many: {_written(t, said, facts)}"
    return ""


def _missing(terms: tuple[Expr, ...], said: Stated, facts: Facts) -> tuple[Expr, ...]:
    """Terms of the right rule whose sum is what the claim lacks."""
    if not 1 < len(terms) <= 7:
        return ()
    env = _digits(said, facts)
    if env is None:
        return ()
    values = [exact.evaluate(t, said.indices, env) for t in terms]
    gap = exact.evaluate(said.truth, said.indices, env) - exact.evaluate(said.right, said.indices, env)
    for n in range(1, len(terms)):
        for chosen in combinations(range(len(terms)), n):
            if difference(np.asarray(sum(values[c] for c in chosen)), np.asarray(gap), DIGITS) is None:
                picked = tuple(terms[c] for c in chosen)
                return picked if equal(E.add(said.right, *picked), said, facts) else ()
    return ()


def expand(e: Expr) -> tuple[Expr, ...]:
    """The terms of `e` with products of sums multiplied out; as they are where that would give too many to look at."""
    if sum(_width(t) for t in E.terms(e)) > 64:
        return E.terms(e)
    out: list[Expr] = []
    for t in E.terms(e):
        sums = [f for f in E.factors(t) if isinstance(f, E.Add)]
        if not sums:
            out.append(t)
            continue
        rest = E.mul(*(f for f in E.factors(t) if f is not sums[0]))
        for part in sums[0].args:
            out += expand(E.mul(rest, part))
    return tuple(out)


def _width(t: Expr) -> int:
    """How many terms a product has once it is multiplied out."""
    return prod(sum(_width(a) for a in f.args) for f in E.factors(t) if isinstance(f, E.Add))


# ------------------------------------------------------------------------------------------- counterexample

def _digits(said: Stated, facts: Facts) -> Env | None:
    try:
        env = exact.environment(facts.forward, 1, field=DIGITS).define(extra(said, facts))
        for e in (said.right, said.truth):
            exact.evaluate(e, said.indices, env)
    except (Undefined, Unmodelled):
        return None
    return env


def counterexample(claim: Claim, said: Stated, facts: Facts, found: Agreement) -> str:
    """One element where the claim and the derivative differ, with both values."""
    env = _digits(said, facts)
    if env is None:
        if found.place is None or found.values is None:
            return ""
        got, right = found.values
        return f"counterexample: at {list(found.place)} it gives {got}, right is {right} ({found.how})"
    x, y = (exact.evaluate(e, said.indices, env) for e in (said.right, said.truth))
    place = difference(x, y, DIGITS)
    if place is None:
        return ""
    letters = {e: n for n, e in reversed(facts.program.letters)}
    sizes = ", ".join(f"{letters[e]}={n}" for e, n in env.sizes.items() if e in letters)
    return (f"counterexample: with {sizes + ' and ' if sizes else ''}random numbers, {_place(claim, said, place)} is "
            f"{DIGITS.show(y[place])}, the claim gives {DIGITS.show(x[place])}")


def _place(claim: Claim, said: Stated, place: tuple[int, ...]) -> str:
    """`dX[0,2]`, or the claim's fraction with its letters' values."""
    import ast
    left = ast.unparse(claim.left)
    if said.of is None:
        return left + " with " + ", ".join(f"{i.name}={p}" for i, p in zip(said.indices, place, strict=True))
    return f"{left.partition('[')[0]}[{','.join(map(str, place))}]" if place else left
