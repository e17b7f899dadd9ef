"""Exact evaluation: fields, environments, and that a corrupted rewrite is seen."""

from fractions import Fraction

import numpy as np
import pytest

from derive import exact
from derive import expr as E
from derive.chain import chain
from derive.exact.agree import difference
from derive.expr import Expr, Get
from derive.notation import parse
from derive.pipeline import derive_program
from derive.prepare import hoist, stabilise
from derive.program import Statement
from tests.formulas import ENTRIES

SOFTMAX = "P[i,j] = softmax(j, S[i,j])"
LAYERNORM = next(e.text for e in ENTRIES if e.name == "layernorm")


def compared(text: str, wrong: float = 0, seeds: tuple[int, ...] = (1,)) -> list[exact.Agreement]:
    """Every gradient as the chain rule gives it against the simplified one, `wrong` times itself off."""
    program = parse(text)
    done, plain = derive_program(program), chain(hoist(stabilise(program)))
    mine = {s.name: f"simplified_{s.name}" for s in done.backward.statements}

    def renamed(x: Expr) -> Expr:
        return Get(mine[x.tensor], x.subs) if isinstance(x, Get) and x.tensor in mine else x

    back = [Statement(mine[s.name], s.indices, E.transform(s.expr, renamed)) for s in done.backward.statements]
    extra = [s for s in done.forward.statements if s.name not in {x.name for x in plain.forward.statements}]
    extra += [*plain.counts, *(a.statement for a in plain.adjoints), *back]
    found = []
    for a in plain.adjoints:
        if a.of in plain.wanted:
            other = E.mul(E.num(1 + Fraction(wrong)), Get(mine["d" + a.of], a.indices))
            found.append(exact.same(Get(a.name, a.indices), other, a.indices, plain.forward, extra, seeds))
    return found


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_simplified_gradients_equal_the_chain_rule(entry: object) -> None:
    for found in compared(entry.text):  # type: ignore[attr-defined]
        assert found.equal, found


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_stable_spellings_equal_the_formula(entry: object) -> None:
    program = parse(entry.text)  # type: ignore[attr-defined]
    stable = hoist(stabilise(program))
    new = {s.name: f"stable_{s.name}" for s in stable.statements}

    def renamed(x: Expr) -> Expr:
        return Get(new[x.tensor], x.subs) if isinstance(x, Get) and x.tensor in new else x

    extra = [Statement(new[s.name], s.indices, E.transform(s.expr, renamed)) for s in stable.statements]
    for o in program.outputs:
        indices = next(s.indices for s in program.statements if s.name == o)
        found = exact.same(Get(o, indices), Get(new[o], indices), indices, program, extra, seeds=(1,))
        assert found.equal, found


@pytest.mark.parametrize("text", [SOFTMAX, LAYERNORM, "Y[i] = relu(X[i])", "Y[m,n] = sum(k, A[m,k]*B[k,n])"])
def test_a_gradient_off_by_a_millionth_is_seen(text: str) -> None:
    assert all(f.equal is False and f.values is not None for f in compared(text, wrong=1e-6))


def test_polynomials_are_compared_modulo_a_prime() -> None:
    (a, b) = compared("Y[m,n] = sum(k, A[m,k]*B[k,n])")
    assert "prime" in a.how + b.how or a.how == "the same canonical form"


def test_roots_and_order_are_compared_at_fifty_digits() -> None:
    assert all("50 digits" in f.how for f in compared(LAYERNORM))
    program = parse("Y[i] = maximum(X[i], 0)")
    (y,) = program.statements
    other = E.where(E.compare("<", E.ZERO, Get("X", y.indices)), Get("X", y.indices), E.ZERO)
    found = exact.same(y.expr, other, y.indices, program)
    assert found.equal
    assert "50 digits" in found.how


def test_sizes_are_pairwise_different() -> None:
    program = parse("Y[b,m,n] = sum(k, A[b,m,k]*B[b,k,n])")
    for seed in range(20):
        sizes = exact.random_sizes(program, seed)
        assert len(set(sizes.values())) == 4


def test_a_masked_row_has_probability_zero() -> None:
    program = parse("P[i,j] = softmax(j, where(keep[i] > 0, S[i,j], -1e30))")
    env = exact.environment(program, 1, field=exact.DIGITS)
    for i, keep in enumerate(env.values["keep"]):
        total = sum(env.values["P"][i])
        assert total == 0 if keep < 0 else abs(total - 1) < 1e-40


def test_guards_are_lazy() -> None:
    program = parse("Y[t] = where(t >= 1, X[t-1]/(t*1.0), 0)")
    env = exact.environment(program, 1, {"t": 4, **dict.fromkeys(program.input("X").axes, 4)})  # type: ignore[union-attr]
    assert env.values["Y"][0] == 0


def test_what_is_not_there_is_undefined() -> None:
    program = parse("Y[t] = X[t]")
    env = exact.environment(program, 1)
    t = program.statements[0].indices[0]
    with pytest.raises(exact.Undefined):
        exact.evaluate(Get("X", (E.add(t, E.ONE),)), (t,), env)


def before(x: Expr) -> Expr:
    """X[t] -> X[t-1]"""
    return Get("X", (E.add(x.subs[0], E.num(-1)),)) if isinstance(x, Get) else x


@pytest.mark.parametrize("text", [
    "Y[t] = where(X[t-1] > 0, 1, X[t])",
    "Y[t] = where(not (X[t-1] > 0), 1, X[t])",
    "Y[t] = where(t >= 0 and X[t-1] > 0, 1, X[t])",
    "Y[t] = sum(s, where(X[s-1] > 0, X[t], 0))",
    "Y[t] = sum(s, where(X[s-1] > 0, X[t], 1))",
    "Y[t] = softmax(t, where(X[t-1] > 0, X[t], -1e30))",
])
def test_what_a_condition_cannot_tell_is_undefined(text: str) -> None:
    """A value that does not exist is neither above zero nor not."""
    whole = parse(text.replace("-1]", "]"))
    e, (t,) = whole.statements[0].expr, whole.statements[0].indices
    env = exact.environment(whole, 1, field=exact.DIGITS)
    exact.evaluate(e, (t,), env)
    shifted = E.transform(e, lambda x: E.transform(x, before) if isinstance(x, E.Cmp) else x)
    assert shifted is not e
    with pytest.raises(exact.Undefined):
        exact.evaluate(shifted, (t,), env)


def test_a_condition_needs_not_all_its_parts() -> None:
    """No is the answer to `no and unknown`, yes that to `yes or unknown` (Kleene)."""
    program = parse("Y[t] = where(t >= 1 and X[t-1] > 0, 1, 0) + where(t < 1 or X[t-1] > 0, 2, 0)")
    env = exact.environment(program, 1, {"t": 4, **dict.fromkeys(program.input("X").axes, 4)},  # type: ignore[union-attr]
                            exact.DIGITS)
    assert env.values["Y"][0] == 2
    assert [y in (0, 3) for y in env.values["Y"][1:]] == [True]*3


def test_same_seed_same_environment() -> None:
    a, b = (exact.environment(parse(SOFTMAX), 5) for _ in range(2))
    assert a.sizes == b.sizes
    assert np.array_equal(a.values["S"], b.values["S"])


def test_what_cancels_keeps_the_rounding_of_what_it_came_from() -> None:
    """A difference of 1e-45 is nothing beside values of 1e34, of 64 digits."""
    program = parse("B[i] = exp(78 + X[i])\nZ[i] = (B[i] + X[i]) - B[i]\nY[i] = Z[i]*B[i]")
    env = exact.environment(program, 1, field=exact.DIGITS)
    i = program.statements[0].indices[0]
    assert env.largest > 10**33
    z = exact.evaluate(Get("Z", (i,)), (i,), env)
    for off, limit in (("1e-45", True), ("1e-20", False)):
        term = E.add(Get("Z", (i,)), E.num(Fraction(off)))
        other = exact.evaluate(term, (i,), env)
        assert (difference(z, other, exact.DIGITS, env.largest) is None) == limit
    assert difference(z, z + env.field.number(Fraction("1e-45")), exact.DIGITS) is not None
