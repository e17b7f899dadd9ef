"""What the notation means: letters, extents, inputs, outputs, integers, constants."""

from fractions import Fraction

import pytest

from derive import expr as E
from derive.errors import NotationError, ShapeError
from derive.expr import Get, Index, Param
from derive.extents import solve
from derive.notation import parse
from derive.notation.words import SPELLED
from derive.validate.formula import read


def test_inputs_stand_in_order_of_appearance() -> None:
    p = parse("Y[m,n] = sum(k, A[m,k]*B[k,n]) + alpha*c[n]")
    assert [t.name for t in p.inputs] == ["A", "B", "alpha", "c"]
    assert [t.axes for t in p.inputs] == [("m", "k"), ("k", "n"), (), ("n",)]


def test_letters_of_one_axis_share_an_extent() -> None:
    p = parse("S[t,s] = X[t]*X[s]")
    assert dict(p.letters) == {"t": "t", "s": "t"}


def test_sharing_reaches_through_intermediates() -> None:
    p = parse("A[i] = X[i]\nB[j] = A[j]*Z[j]")
    assert dict(p.letters)["j"] == "i"


def test_an_axis_without_a_letter_is_named_after_its_place() -> None:
    assert parse("Y[c,t] = X[c,t+1]").inputs[0].axes == ("c", "X.1")
    assert parse("Y[c,t] = X[c,t+1]").inputs[0].letters() == ("c", None)


def test_a_declaration_may_say_that_a_tensor_holds_whole_numbers() -> None:
    text = "input n[b]: int\nY[b,s] = where(s < n[b], X[b,s], 0)/n[b]"
    assert {t.name: t.integer for t in parse(text).inputs} == {"n": True, "X": False}
    assert {t.name: t.integer for t in parse(text.replace(": int", "")).inputs} == {"n": False, "X": False}


@pytest.mark.parametrize("kind", [": float", ": int = 3", ": 'int'"])
def test_a_declaration_says_nothing_else(kind: str) -> None:
    with pytest.raises(NotationError, match="input lengths\\[b\\]: int"):
        parse(f"input n[b]{kind}\nY[b,s] = where(s < n[b], X[b,s], 0)")


def test_a_declaration_names_an_axis() -> None:
    p = parse("input X[c,u]\nY[c,t] = X[c,t+1]")
    assert p.inputs[0].axes == ("c", "u")
    assert solve(p, {}, {"u": 7, "c": 2}, default=4)["t"] == 6


def test_a_size_line_states_an_extent() -> None:
    p = parse("size p = 2\nY[t,p] = where(p == 0, X[t,0], X[t,1])")
    assert solve(p, {"X": (3, 2)}) == {"=2": 2, "t": 3, "X.1": 2}


def test_index_tensors_are_inferred() -> None:
    p = parse("Y[t,c] = E[ids[t],c]*m[t]")
    assert {t.name: t.integer for t in p.inputs} == {"E": False, "ids": True, "m": False}


def test_a_tensor_and_an_index_may_share_a_name() -> None:
    p = parse("Y[b,o] = sum(i, X[b,i]*W[o,i]) + b[o]")
    assert p.input("b") is not None
    assert p.input("b").axes == ("o",)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("literal", "value"),
    [("0.1", Fraction(1, 10)), ("1e-5", Fraction(1, 100000)), ("-1e30", -Fraction(10) ** 30), ("1_000", Fraction(1000)),
     ("0.044715", Fraction(44715, 10**6))],
)  # fmt: skip
def test_decimals_are_exact(literal: str, value: Fraction) -> None:
    s = parse(f"Y[i] = {literal} + 0*X[i]").statements[0]
    assert s.expr is E.num(value)


def test_an_input_that_cancels_is_still_an_input() -> None:
    assert [t.name for t in parse("Y[i] = X[i]*0 + Z[i]").inputs] == ["X", "Z"]


def test_params_in_subscripts_are_numbers_and_elsewhere_names() -> None:
    s = parse("param k = 2\nY[i] = k*X[i+k]").statements[0]
    assert Param("k") in E.subterms(s.expr)
    assert Get("X", (E.add(Index("i", "i"), E.num(2)),)) in E.subterms(s.expr)


def test_comments_continuations_and_semicolons() -> None:
    p = parse("# a title\nY[i] = (X[i]   # one\n        + Z[i])\n\nW[i] = Y[i]; V[i] = W[i]")
    assert [s.name for s in p.statements] == ["Y", "W", "V"]
    assert p.outputs == ("V",)


def test_outputs_are_asked_for() -> None:
    assert parse("output A, B\nA[i] = X[i]\nB[i] = A[i]\nC[i] = B[i]").outputs == ("A", "B")


def test_keywords_are_names_too() -> None:
    p = parse("param[i] = X[i]*size[i] + output[i]")
    assert {t.name for t in p.inputs} == {"X", "size", "output"}


def test_chained_comparisons_and_conditions_as_numbers() -> None:
    p = parse("Y[i] = where(0 <= i < size(i) and not X[i] > 0, X[i], 0) + (X[i] > 1)*X[i]")
    assert p.statements[0].expr.free == {Index("i", "i")}


@pytest.mark.parametrize(
    ("text", "shapes", "given", "expected"),
    [
        ("Y[c,t] = sum(r, X[c,t+r]*W[r])", {"X": (2, 7), "W": (3,)}, {}, {"t": 5}),
        ("Y[c,t] = sum(r, X[c,2*t+r]*W[r])", {"X": (2, 8), "W": (3,)}, {}, {"t": 3}),
        ("Y[c,t] = sum(r, where(t-r >= 0, X[c,t-r]*W[r], 0))", {"X": (2, 7), "W": (3,)}, {}, {"t": 7}),
        ("Y[h,s] = K[h//4,s]", {"K": (2, 3)}, {}, {"h": 8}),
        ("Y[t] = X[t+1]", {"X": (5,)}, {"t": 2}, {"t": 2}),
    ],
)
def test_free_extents_are_the_largest_in_range(text, shapes, given, expected) -> None:  # type: ignore[no-untyped-def]
    assert expected.items() <= solve(parse(text), shapes, given).items()


def refusal(text: str) -> NotationError | None:
    """The error of a text, or None if it is read."""
    try:
        parse(text)
    except NotationError as error:
        return error
    return None


@pytest.mark.parametrize("depth", [50, 5000])
def test_deep_nesting_is_an_error_or_works(depth: int) -> None:
    found = refusal("Y[i] = " + "(" * depth + "X[i]" + ")" * depth)
    assert found is None or found.hint


@pytest.mark.parametrize(
    "text", ["Y[i] = 9**9**9", "Y[i] = X[i]**(2**5000)", "Y[i] = 1e400*X[i]", "Y[i] = X[i]*10**400"]
)
def test_numbers_out_of_proportion_do_not_hang(text: str) -> None:
    found = refusal(text)
    assert found is None or found.what


def test_the_place_of_an_error_is_marked() -> None:
    with pytest.raises(NotationError) as caught:
        parse("A[i] = X[i]\nY[i] = A[i] + foo(X[i])")
    assert caught.value.where is not None
    assert caught.value.where.line[caught.value.where.start:caught.value.where.stop] == "foo"


def test_contradicting_sizes_name_both() -> None:
    with pytest.raises(ShapeError, match="k has two extents, 3 and 4"):
        solve(parse("Y[m,n] = sum(k, A[m,k]*B[k,n])"), {"A": (2, 3), "B": (4, 5)})


@pytest.mark.parametrize(
    ("formula", "integers"),
    [
        ("Y[b,s] = where(s < lengths[b], X[b,s], 0)", {"lengths"}),
        ("Y[b,s] = where(s < lengths[ids[b]] and s >= first, X[b,s], 0)", {"lengths", "ids", "first"}),
        ("param w = 3\nY[b,s] = where(2*s - size(s) < lengths[b] + w, X[b,s], 0)", {"lengths"}),
        ("Y[s] = sum(k, where(abs(k - s) < 2 and not k == gap[s], X[k], 0))", {"gap"}),
        ("param w = 0.5\nY[b,s] = where(s < lengths[b] + w, X[b,s], 0)", set()),
        ("Y[b,s] = where(s < lengths[b]/2, X[b,s], 0)", set()),
        ("Y[b,s] = where(s < lengths[b]//2 or s//3 == gap[b]%4, X[b,s], 0)", {"lengths", "gap"}),
        ("Y[b,s] = where(2*(s - ids[b])%size(s) <= 3, X[ids[b],s], 0)", {"ids"}),
        ("Y[b,s] = where(s < lengths[b], X[b,s], 0)/lengths[b]", set()),
        ("Y[s] = where(s < X[s], X[s], 0)", set()),
        ("Y[s] = where(mask[s] != 0, X[s], 0)", set()),
        ("L[b] = size(s)*x[b]\nY[b,s] = where(s < L[b], X[b,s], 0)", set()),
    ],
)
def test_what_is_only_compared_with_places_is_integer(formula: str, integers: set[str]) -> None:
    assert {x.name for x in parse(formula).inputs if x.integer} == integers
    assert read(formula).integers == integers  # the validator's own reader


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("Y[i] = X[i]%3", "if X holds integers, declare it, as in input lengths\\[b\\]: int"),
        ("Y[i] = where(i < n[i]//2, n[i]*X[i], 0)", "if n holds integers, declare it"),
        ("H[i] = 2*X[i]\nY[i] = H[i]//2", "H holds real numbers"),
        ("input n[i]: int\nY[i] = sin(n[i])//2", "// and % are for indices and whole numbers"),
        ("input n[i]: int\nY[i] = X[i]//n[i]", "// and % are for indices and whole numbers"),
        ("input n[i]: int\nY[i] = n[i]%-2*X[i]", "the divisor of an index must be positive"),
    ],
)
def test_what_holds_real_numbers_has_no_remainder(formula: str, said: str) -> None:
    with pytest.raises(NotationError, match=said):
        parse(formula)


def test_a_size_in_a_subscript_is_an_unknown_too() -> None:
    """Of l//size(i), neither extent says anything before the other is known."""
    program = parse("Y[l] = sum(i, A[l//size(i)]*i)")
    assert solve(program, {"A": (4,)}, {"i": 3})["l"] == 12
    with pytest.raises(ShapeError, match="no array fixes the extents of"):
        solve(program, {"A": (4,)})
    assert solve(program, {}, {}, default=3)


@pytest.mark.parametrize("spelled", sorted(set(SPELLED.values())))
def test_what_an_error_suggests_can_be_read(spelled: str) -> None:
    """x, y, low and high are scalars of some statement; mask and X are tensors."""
    value, _, other = spelled.partition(", M[i] = ")
    value = value.removesuffix(", mask an input")
    two = "softmax" in value or "[j,i]" in value or "[k,j]" in value
    left = "Y[i,j]" if two else "Y[t]" if "X[s]" in value else "Y[i]" if "[i" in value else "Y"
    parse((f"M[i] = {other}; " if other else "") + f"{left} = {value}")
