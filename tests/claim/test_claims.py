"""Claims files: every line with its verdict and, where it is refuted, the right reason."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import derive
from derive.claim import check
from derive.claim.facts import Facts
from derive.commands.check import command
from derive.errors import DerivationError, NotationError

HERE = Path(__file__).parent
REASONS = {  # word in a claims file -> what the reason says
    "shapes": "shapes do not fit", "transpose": "up to a transpose", "sign": "wrong sign", "axis": "wrong axis",
    "factor": "factor", "term": "term", "refuted": "",
}


def claims(name: str) -> list[tuple[str, str, str]]:
    """(formula, expected, claim) of each line."""
    formula, found = "", []
    for line in (HERE / name).read_text().splitlines():
        word, _, rest = line.partition(" ")
        if word == "formula":
            formula = rest.strip()
        elif word and word != "#":
            found.append((formula, word, rest.strip()))
    return found


FACTS: dict[str, Facts] = {}


FILES = ("articles.claims", "more.claims", "unusual.claims", "flattened.claims")


@pytest.mark.parametrize(("formula", "expected", "claim"), [c for f in FILES for c in claims(f)],
                         ids=lambda x: str(x)[-60:])
def test_claim(formula: str, expected: str, claim: str) -> None:
    op = derive.parse(formula)
    found = check(op, claim, FACTS.setdefault(formula, Facts(op)))
    if expected == "proved":
        assert found.verdict == "proved", found
        assert found.reason.startswith(("the same canonical form", "equal modulo", "equal to 50 digits"))
    else:
        assert found.verdict == "refuted", found
        assert REASONS[expected] in found.reason, found.reason
        if expected == "refuted":
            assert "counterexample" in found.reason or "shapes" in found.reason
    assert found.rule


def test_right_only_on_square_matrices() -> None:
    op = derive.parse("Y[i,j] = A[i,j]*x[j]")
    found = check(op, "dx = (dY*A) @ x * 0 + (dY*A).T @ ones(j)")
    assert found.verdict == "refuted"
    assert "right only where i = j" in found.reason


def test_a_total_derivative_of_an_output_that_is_read_again() -> None:
    op = derive.parse("c[i] = a[i]*b[i]\nh[i] = c[i]**2\noutput h, c")
    assert check(op, "da = dc*b").verdict == "proved"
    assert check(op, "da = (dc + 2*c*dh)*b").verdict == "proved"  # dc as the given cotangent
    assert check(op, "da = 2*c*dh*b").verdict == "refuted"


def test_undecided_says_so() -> None:
    op = derive.parse("Y[i] = log(-1 - X[i]**2)*Z[i]")
    found = check(op, "dZ = dY*log(-1 - X**2) + 0*X")
    assert found.verdict in ("undecided", "proved")
    assert check(op, "dZ = dY*log(-2 - X**2)").verdict == "undecided"


def run(*args: str) -> tuple[int, str]:
    done = CliRunner().invoke(click.Group(commands={"check": command}), ["check", *args])
    return done.exit_code, done.stdout


def test_the_verdict_stands_first() -> None:
    status, out = run("Y[m,n] = sum(k, A[m,k]*B[k,n])", "--claim", "dB = dY.T @ A")
    assert status == 1
    first, reason, rule = out.splitlines()
    assert first.startswith("refuted")
    assert "shapes" in reason
    assert "dB = Aᵀ dY" in rule


def test_json_has_verdict_reason_and_rule() -> None:
    status, out = run("Y[m,n] = sum(k, A[m,k]*B[k,n])", "--claim", "dB = A.T @ dY", "--json")
    assert status == 0
    assert json.loads(out) == {"verdict": "proved", "reason": "the same canonical form", "rule": "dB = Aᵀ dY"}


def test_a_file_of_claims_is_a_table(tmp_path: Path) -> None:
    path = tmp_path / "rules"
    path.write_text("# two rules\ndA = dY @ B.T\n\ndB = dY.T @ A  # transposed\n")
    status, out = run("Y[m,n] = sum(k, A[m,k]*B[k,n])", "--claims", str(path))
    assert status == 1
    assert "1 proved, 1 refuted" in out
    path.write_text("dA = dY @ B.T\n")
    assert run("Y[m,n] = sum(k, A[m,k]*B[k,n])", "--claims", str(path))[0] == 0


@pytest.mark.parametrize(("claim", "value", "caret"), [
    ("dB = dQ @ A", "dQ", "dQ"),
    ("dB = A.T @", "invalid syntax", None),
    ("dB", "dB", None),
    ("B = A", "B", "B"),
    ("dB = frob(A)", "frob", None),
    ("dB = __import__('os')", "__import__", None),
    ("dB = A.T @ (lambda: 1)", "lambda: 1", None),
])
def test_bad_claims_are_errors_with_a_place(claim: str, value: str, caret: str | None) -> None:
    with pytest.raises(NotationError) as caught:
        check(derive.parse("Y[m,n] = sum(k, A[m,k]*B[k,n])"), claim)
    assert caught.value.where is not None
    assert value in str(caught.value)
    if caret:
        where = caught.value.where
        assert where.line[where.start:where.stop] == caret


def test_integers_have_no_gradient() -> None:
    with pytest.raises(DerivationError, match="holds integers"):
        check(derive.parse("Y[t] = E[ids[t]]"), "dids = dY")
