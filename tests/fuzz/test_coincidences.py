"""The same access, guard or reduction in several places of a formula: what one of them needs must not go missing.

Each was wrong, or read out of range, in its rule or in the rule of its gradient, and is judged in both.
"""

from typing import Any

import numpy as np
import pytest

from derive import expr as E
from derive.expr import Expr, Get, Index
from derive.notation import parse
from derive.prepare.hoist import hoist
from derive.reads import in_order, keepers, presence
from tests.fuzz.formulas import Sample
from tests.fuzz.judge import Judged

SIZES = {"i": 4, "j": 3, "k": 2, "h": 4}
REAL = {"A": (4, 3), "B": (3,), "C": (4,), "D": (3,), "V": (2,), "F": (3, 2)}
WHOLE = {"ids": (4, 0, 3), "lab": (4, -1, 3), "next": (3, 0, 3), "far": (4, 0, 6)}  # length, least, top


def judged(text: str, sizes: dict[str, int] | None = None) -> Judged:
    """The formula with entries of fixed arrays, of shapes that `sizes` changes."""
    rng = np.random.default_rng(0)
    sizes = SIZES | (sizes or {})
    arrays: dict[str, Any] = {n: rng.standard_normal([sizes["ijk"[(4, 3, 2).index(x)]] for x in shape])
                              for n, shape in REAL.items()}
    whole = {n: rng.integers(least, top, length) for n, (length, least, top) in WHOLE.items()}
    mine = {n: a for n, a in (arrays | whole).items() if f"{n}[" in text}
    return Judged(Sample(text, sizes, mine, {"Y": rng.standard_normal(sizes["i"])}, [n for n in mine if n in REAL]))


GUARDED = """
Y[i] = where(i < 3, where(C[i] > 0, D[ids[2 - i]], sin(D[ids[2 - i]])), D[0])
Y[i] = where(i < 3, D[next[next[2 - i]]], 0)*where(i < 3, D[next[2 - i]], 1)
Y[i] = where(lab[i] >= 0 and next[lab[i]] > 0, D[next[lab[i]] - 1], 0) + where(lab[i] >= 0, D[next[lab[i]]], 0)
Y[i] = where(lab[i] >= 0, D[next[lab[i]]], 0) + where(lab[i] >= 0 and C[i] > 0, D[next[lab[i]]]**2, 0)
Y[i] = where(i < 3 and lab[2 - i] >= 0, D[next[lab[2 - i]]], 0) + where(i < 3 and lab[2 - i] >= 0, C[i], D[0])
Y[i] = where(i > 0, logsumexp(j, A[i-1,j]), 0) + where(i > 0 and C[i] > 0, logsumexp(j, A[i-1,j])**2, C[i])
Y[i] = where(i >= 2 or not D[ids[i+1]] > 0, C[i], D[ids[i+1]]) + where(i >= 2 or D[ids[i+1]] > 0, 0, D[ids[i+1]]**2)
Y[i] = sum(k, where(V[k] > 0 and i < 3 and ids[2 - i] + k < 3, D[ids[2 - i] + k]*V[k], 0))
Y[i] = sum(k, where(lab[i] >= 0 and next[lab[i]] + k < 3 and D[next[lab[i]] + k] > 0, D[next[lab[i]] + k]*V[k], C[i]))
Y[i] = sum(h, where(h <= i and C[i - h] > 0 and i == h, C[h], 0))
Y[i] = where(C[i] > 0, sqrt(C[i]), where(C[i] < 0, log(-C[i]), 0))
Y[i] = where(i > 0 and C[i - 1] < 2, relu(where(C[i - 1] > 0, sin(C[i]), B[0]) - C[i - 1]), 0)
Y[i] = where(i > 0 and C[i - 1] < 2, maximum(where(lab[i - 1] >= 0, D[lab[i - 1]], B[0]), C[i - 1])*C[i - 1], 0)
Y[i] = where(size(i) > 4, D[ids[4]]*C[i], 0) + where(size(i) > 4 and C[i] > 0, D[ids[4]]**2, C[i])
Y[i] = sum(j, maximum(where(j == far[i], D[j], C[i]), B[j]))
""".split("\n")[1:-1]


def test_a_softmax_that_is_opened_at_a_computed_place_is_read_there_under_its_guard() -> None:
    found = judged("Z[j] = log1p(sum(k, logsumexp(i, softmax(j, F[j,k]) + C[i])))\n"
                   "Y[i] = where(lab[i] >= 0, Z[lab[i]], 0.5)*log(softmax(i, C[i]))")
    found.check_rule()
    found.check_kernels()


def survives(text: str, sizes: dict[str, int], arrays: dict[str, Any], cotangent: list[Any]) -> None:
    """The rule and the kernels of a formula with these arrays, those of them that it reads."""
    given = {n: a for n, a in arrays.items() if f"{n}[" in text}
    found = Judged(Sample(text, sizes, given, {"Y": np.array(cotangent)}, list(given)))
    found.check_rule()
    found.check_kernels()


def test_a_shorter_tensor_is_not_read_in_packs_beyond_its_end() -> None:
    """dC is made at p = 2k + 1, where B is read under the guard that p is below 2."""
    arrays = {"C": np.arange(16.0)/8, "B": np.array([0.5, -1])}
    survives("Y[k] = sin(C[2*k + 1]*where(2*k + 1 < 2, B[2*k + 1], 0))", {"k": 4}, arrays, [0.7, 2, -1, 0.3])


@pytest.mark.parametrize("read", ["T[3*i,3*i]", "T[3*i,0]*U[3*i]"])
def test_what_a_guard_keeps_in_a_shorter_axis_has_no_name_outside_it(read: str) -> None:
    """dT reads T at p, p in letters of its own axes; p fits the second one under the guard only."""
    arrays = {"T": np.arange(4.0).reshape(4, 1)/4, "U": np.array([0.5])}
    survives(f"Y[i] = where(3*i < 1, exp(tanh({read})), 0.5)", {"i": 2}, arrays, [0.7, 2])


def test_equal_values_are_compared_as_equal_in_each_term() -> None:
    """Z at one place, got in two ways: a name for 1/(2 + s) may not round one side of a comparison in one term only."""
    text = ("Z[i] = minimum(exp(B[i]), B[i])/(2 + sin(minimum(exp(B[i]), B[i])))\n"
            "W[k] = minimum(where(2*k < 16, Z[2*k], 0), Z[2*k % 16])\n"
            "Y[i,k] = where(i == 1, log(softmax(k, W[k])), W[k])")
    cotangent = np.random.default_rng(0).standard_normal((16, 16))
    survives(text, {"i": 16, "k": 16}, {"B": np.linspace(-1.5, 1.5, 16)}, cotangent.tolist())


OUTSIDE = """
Y[i] = where(i == 0 and C[1] > 9, C[i]*sum(j, D[j]/j), 0) + where(i == 1 and C[1] > 9, sin(C[i])*sum(j, D[j]/j), 0)
Y[i] = C[i]*(where(i > 0 and C[1] > 9, sum(j, D[j]*log(j)), 0) - where(C[1] > 9, C[0]*sum(j, D[j]*log(j)), 0))
Y[i] = where(C[1] > 9, C[i]*sum(j, B[j]*rsqrt(j)), 0) + where(i < 2 and C[1] > 9, sum(j, B[j]*rsqrt(j)), C[i])
""".split("\n")[1:-1]


@pytest.mark.parametrize("text", OUTSIDE)
def test_a_sum_under_several_guards_is_infinite_outside_of_them(text: str) -> None:
    """Its slope is a sum of guarded terms: each guard stays around the slope of what is summed."""
    found = judged(text)
    assert found.sound
    found.check_rule()
    found.check_kernels()


@pytest.mark.parametrize("text", GUARDED)
def test_a_condition_stays_behind_what_it_needs(text: str) -> None:
    found = judged(text)
    assert found.sound
    found.check_rule()
    found.check_differences()
    for n, name in enumerate(found.sample.wrt):
        found.sample.wrt = [name, *found.sample.wrt[:n]]
        found.check_second()


APART = """
P[i,j] = softmax(j, where(i + j < 3, A[i,j], -1e30)); Y[i] = sum(j, where(i + j < 3 and B[i+j] > 0, P[i,j]*A[i,j], 0))
Y[i] = sum(k, where(i + k < 3 and C[2 - i] > 0, D[ids[i]]*V[k], 0))
Y[i] = sum(k, where(i > k and C[i - 1] > 0, D[ids[i - 1]]*V[k], 0)) + where(i > 0, D[ids[i - 1]], 0)
Y[i] = sum(j, k, where(j + k < 2 and C[1 - j] > 0, A[i,j]*F[j,k], 0))
""".split("\n")[1:-1]


@pytest.mark.parametrize("text", [GUARDED[4], GUARDED[8], *APART])
def test_kernels_keep_conditions_in_order(text: str) -> None:
    """Those that a mask implies, that choose a row, or that belong to one side of a product, among others."""
    found = judged(text)
    found.check_rule()
    found.check_kernels()
    found.check_single()


EMPTY = {
    "Y[i] = where(lab[i] >= 0, D[lab[i]], C[i])*where(lab[i] >= 0 and C[i] > 0, D[lab[i]], 1)": {"j": 0},
    "Y[i] = where(size(j) > 0, B[0]*C[i], C[i]) + sum(j, B[j])": {"j": 0},
    "Y[i] = where(size(j) > 1, B[1]*C[i], C[i]) + sum(j, B[j])": {"j": 0},
}


@pytest.mark.parametrize("text", EMPTY)
def test_nothing_is_read_of_an_empty_axis(text: str) -> None:
    found = judged(text, EMPTY[text])
    if "lab" in found.sample.arrays:
        found.sample.arrays["lab"][:] = -1
    found = Judged(found.sample)
    found.check_rule()
    found.check_single()


i, j = Index("i", "i"), Index("j", "j")


def at(name: str, place: Expr) -> Get:
    return Get(name, (place,))


SMALL = E.compare("<", i, E.num(3))
INNER = at("ids", E.sub(E.num(2), i))
KNOWN = E.compare("<=", E.ZERO, INNER)
ASIDE = E.compare("<", E.ZERO, at("V", j))
READS = E.compare("<", E.ZERO, at("next", INNER))


def test_conditions_that_keep_reads_in_range() -> None:
    assert keepers((SMALL, ASIDE, KNOWN), READS) == (SMALL, KNOWN)
    assert keepers((ASIDE, SMALL), KNOWN) == (SMALL,)
    assert keepers((SMALL, KNOWN), ASIDE) == ()


def test_the_presence_of_an_atom_keeps_conditions_that_read_behind_what_they_need() -> None:
    atom = at("D", at("next", INNER))
    once = E.where(E.logic("and", SMALL, KNOWN), atom, E.ZERO)
    twice = E.where(E.logic("and", SMALL, ASIDE, KNOWN), E.call("sin", atom), E.ZERO)
    assert presence(E.add(once, twice), atom) is E.logic("and", SMALL, KNOWN)
    assert presence(E.add(once, atom), atom) is E.TRUE


def test_more_conditions_take_their_place() -> None:
    gap = E.sub(j, INNER)
    bound, stands = E.compare("<=", E.ZERO, gap), E.compare("<", E.ZERO, at("B", gap))
    assert in_order([SMALL, stands], [bound]) == [SMALL, bound, stands]
    assert in_order([stands, SMALL], [bound]) == [SMALL, bound, stands]
    assert in_order([ASIDE, SMALL], [bound]) == [ASIDE, SMALL, bound]


def test_what_is_never_reached_has_no_letters() -> None:
    """A branch whose conditions contradict each other is 0 in every statement, whatever it read."""
    text = ("Y[i] = sum(j, where(ids[i] > 1, 0, where(ids[i] > 1, exp(sum(k, A[ids[i],k]*B[k])), C[i])) + "
            "where(next[j] > 1, 0, where(next[j] > 1, exp(sum(k, A[next[j],k]*B[k])), C[i])))")
    named, y = hoist(parse(text)).statements
    reads = [x.subs for x in E.subterms(y.expr) if isinstance(x, Get) and x.tensor == named.name]
    assert (named.indices, named.expr, reads) == ((), E.ZERO, [()])
