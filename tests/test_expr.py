"""Terms: equality is identity, constructors canonicalise what is always true, binders never capture."""

import pytest

import derive
from derive import expr as E
from derive.expr import Get, Index

i, j, k, m = (Index(x, x) for x in "ijkm")


def A(*subs: E.Expr) -> Get:
    return Get("A", subs)


def B(*subs: E.Expr) -> Get:
    return Get("B", subs)


def test_equal_terms_are_one_object() -> None:
    assert E.add(A(i), B(j)) is E.add(B(j), A(i))
    assert E.mul(A(i), A(i)) is E.power(A(i), E.num(2))


@pytest.mark.parametrize(
    ("term", "canonical"),
    [
        (E.add(A(i), E.ZERO), A(i)),
        (E.sub(A(i), A(i)), E.ZERO),
        (E.mul(A(i), E.ZERO), E.ZERO),
        (E.div(A(i), A(i)), E.ONE),
        (E.power(E.power(A(i), E.num(2)), E.num(3)), E.power(A(i), E.num(6))),
        (E.where(E.TRUE, A(i), B(i)), A(i)),
        (E.where(E.compare("<", i, j), A(i), A(i)), A(i)),
        (E.compare("<", E.num(1), E.num(2)), E.TRUE),
        (E.negate(E.negate(E.compare("<", i, j))), E.compare("<", i, j)),
        (E.logic("and", E.compare("==", i, j), E.compare("!=", i, j)), E.FALSE),
    ],
)
def test_canonical(term: E.Expr, canonical: E.Expr) -> None:
    assert term is canonical


def test_a_root_of_a_square_is_not_merged() -> None:
    assert E.power(E.power(A(i), E.num(2)), E.HALF) is not A(i)


def test_sums_that_differ_by_their_letter_are_one_object() -> None:
    k2 = Index("k2", "k")
    assert E.summation([k], E.mul(A(i, k), B(k, j))) is E.summation([k2], E.mul(A(i, k2), B(k2, j)))


def test_a_sum_takes_out_what_does_not_depend_on_it() -> None:
    assert E.summation([k], E.mul(A(i), B(k))) is E.mul(A(i), E.summation([k], B(k)))
    assert E.summation([k], A(i)) is E.mul(E.Size("k"), A(i))
    assert E.summation([j, k], E.mul(A(j), B(k))) is E.mul(E.summation([j], A(j)), E.summation([k], B(k)))
    assert E.summation([j], E.summation([k], A(j, k))) is E.summation([j, k], A(j, k))


def test_substitution_does_not_capture() -> None:
    inner = E.summation([k], E.mul(A(i, k), B(k, j)))
    replaced = E.substitute(inner, {i: E.add(k, E.ONE)})
    assert replaced.free == {k, j}
    bound, body = E.open_binder(replaced)  # type: ignore[arg-type]
    assert bound[0] is not k
    assert k in body.free


def test_nested_binders_with_one_letter_stay_apart() -> None:
    nested = E.reduction("max", [k], E.add(A(k), E.reduction("max", [k], E.add(B(k), A(i)))))
    assert nested.free == {i}


def test_free_indices_of_a_softmax_are_those_of_its_place() -> None:
    p = E.softmax([k], A(i, k), [j])
    assert p.free == {i, j}
    assert E.substitute(p, {j: m}).free == {i, m}


def test_order_does_not_depend_on_identity() -> None:
    one = E.add(B(j), A(i), E.mul(E.num(2), A(j)))
    assert [t.key for t in one.args] == sorted(t.key for t in one.args)  # type: ignore[attr-defined]


N, M, TWO = E.Size("i"), E.Size("j"), E.num(2)


@pytest.mark.parametrize(("left", "op", "right", "holds"), [
    (E.ZERO, "<=", i, True), (i, "<", N, True), (E.add(i, E.ONE), "<=", N, True), (E.MINUS_ONE, "<", E.add(i, j), True),
    (E.mul(i, j), ">=", E.ZERO, True), (E.sub(i, E.mul(TWO, N)), "<", E.ZERO, True), (i, "!=", E.MINUS_ONE, True),
    (E.mul(TWO, i), "<=", E.sub(E.mul(TWO, N), TWO), True), (i, "<", E.ZERO, False), (i, "==", N, False),
    (i, ">=", N, False), (E.sub(N, i), "<=", E.ZERO, False), (E.sub(i, N), ">", E.sub(N, i), False),
    (E.ZERO, "<=", E.sub(i, j), None), (i, "<", M, None), (E.add(i, j), "<", N, None), (E.mul(TWO, i), "<", N, None),
    (i, "==", E.ZERO, None), (i, "<", E.sub(N, E.ONE), None), (E.ZERO, "<", i, None), (A(i), ">=", E.ZERO, None),
    (E.add(i, A(i)), ">=", E.ZERO, None), (E.mul(i, A(i)), "<", N, None),
])
def test_a_condition_that_always_or_never_holds_is_decided(left: E.Expr, op: str, right: E.Expr,
                                                           holds: bool | None) -> None:
    """With an index at least 0 and less than its extent, and nothing known of values."""
    found = E.decide(E.compare(op, left, right))
    assert (found.value if isinstance(found, E.Truth) else None) == holds


def test_a_root_of_a_positive_power_is_one_power() -> None:
    """√(2/π) is one term however it is made, so that tanh in GELU's gradient is the forward's own."""
    pi = E.Const("pi")
    assert E.power(E.power(pi, E.MINUS_ONE), E.HALF) is E.power(pi, E.neg(E.HALF))
    x = Get("X", ())
    assert E.power(E.power(x, E.num(2)), E.HALF) is not x  # √x² is |x|
    text = "Y[i] = 0.5*X[i]*(1 + tanh(sqrt(2/pi)*(X[i] + 0.044715*X[i]**3)))"
    assert derive.parse(text).derivation.saved == ("t",)
