"""Bad text: whatever is written, a command answers or refuses in a bounded time; it never fails itself."""

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import derive
from derive.errors import DeriveError
from tests.drive import command
from tests.formulas import ENTRIES
from tests.fuzz.test_formulas import QUICK

SECONDS = 10  # far above what any of these needs
X = "Y[i] = "

REFUSED = {
    # numbers
    "tower": X + "9**9**9*X[i]",
    "exponent tower": X + "X[i]**(9**9**9)",
    "tiny tower": X + "9**-9**9*X[i]",
    "chain of powers": X + "X[i]" + "**2"*200,
    "power of a near-one": X + "(1 + 1e-9)**(10**9)*X[i]",
    "power of a third": X + "(1/3)**(10**7)*X[i]",
    "large power": X + "2**99999*X[i]",
    "power of a product": X + "(2*X[i])**99999999",
    "large integer": X + "9"*5000 + "*X[i]",
    "large hexadecimal": X + "0x" + "f"*500 + "*X[i]",
    "large float": X + "1e999*X[i]",
    "small float": X + "1e-999*X[i]",
    "overflow of constants": X + "1e200*1e200*X[i]",
    "underflow of constants": X + "1e-200*1e-200*X[i]",
    "overflow of exp": X + "exp(1000)*X[i]",
    "exp of a googol": X + "exp(10**400)*X[i]",
    "logarithm of -1": X + "log(-1)*X[i]",
    "logarithm of 0": X + "X[i] + log(1 - 1)",
    "log1p of -1": X + "X[i]*log1p(-1)",
    "root of -1": X + "sqrt(-1)*X[i]",
    "root of a negative parameter": "param a = -2\nY[i] = X[i]*a**0.5",
    "division by nothing": X + "X[i]/(2 - 2)",
    "complex": X + "1j*X[i]",
    "size beyond memory": "size p = 99999999999999999999\nY[p] = X[p]",
    "subscript beyond memory": X + "X[10**30]",
    # depth and length
    "deep brackets": X + "("*5000 + "X[i]" + ")"*5000,
    "deep subscripts": X + "X["*300 + "i" + "]"*300,
    "deep negation": X + "-"*30000 + "X[i]",
    "long text": X + "X[i] + "*40000 + "X[i]",
    "long name": "A"*20000 + "[i] = X[i]",
    "long index": "Y[" + "i"*20000 + "] = X[" + "i"*20000 + "]",
    "many axes": "Y[{0}] = X[{0}]".format(",".join(f"i{n}" for n in range(100))),
    # characters
    "null": "Y[i] = X[i]\x00",
    "nothing but null": "\x00",
    "escape": "Y[i] = X[i]\x1b[31m",
    "quotation marks": "Y[i] = “X”[i]",
    "minus sign": "Y[i] = X[i]−1",
    "times sign": "Y[i] = X[i] × 2",
    "superscript": "Y[i] = X[i]²",
    "back quotes": "Y[i] = `X`",
    # Python that is no formula
    "keyword as a tensor": "class[i] = X[i]",
    "keyword as an index": "Y[lambda] = X[lambda]",
    "None": "None[i] = X[i]",
    "__debug__": "__debug__ = X",
    "walrus": "Y[i] = (Z := X[i])",
    "comprehension": "Y[i] = [X[i] for i in X]",
    "yield": "Y = (yield)",
    "f-string": "Y[i] = f'{X[i]}'",
    "string": "Y[i] = 'a'*10**9",
    "ellipsis": "Y[...] = X",
    "slice": "Y[i] = X[::2]",
    "statement": "for i in X: pass",
    "continuation": "Y[i] = \\",
}  # fmt: skip

TAKEN = {
    "brackets": X + "("*50 + "X[i]" + ")"*50,
    "long sum": X + " + ".join(f"X{n}[i]" for n in range(300)),
    "many factors": X + "*".join(f"X{n}[i]" for n in range(30)),
    "nested functions": X + "tanh("*30 + "X[i]*W[i]" + ")"*30,
    "tower of values": X + "**".join(["X[i]"]*8),
    "letters of other alphabets": "Ω[ι] = ξ[ι]**2",
    "CRLF": "A[i] = X[i]**2\r\nY[i] = A[i]*2\r\n",
    "byte order mark": "\ufeffY[i] = X[i]",
    "tabs": "\tY[i]\t=\tX[i]",
    "form feed": "A[i] = X[i]\x0cY[i] = A[i]",
    "comment": "Y[i] = X[i]  # = ; ) \x7f",
    "decimal bias": X + "X[i]*(1 - 0.999**1000)",
    "soft keywords": "match[i] = case[i]*type[i]*_[i]",
    "trailing comma": "Y = X\noutput Y,",
}


def judged(text: str, *arguments: str) -> Any:
    start = time.monotonic()
    done = command(*arguments, text=text)
    assert time.monotonic() - start < SECONDS
    assert "Traceback" not in done.output
    assert "derive itself failed" not in done.output, done.output
    return done


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    done = judged(REFUSED[name], "rule", "-")
    assert done.exit_code == 2, done.output
    assert done.output.startswith("error: ")
    assert len(done.output) < 1500


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name: str) -> None:
    assert judged(TAKEN[name], "rule", "-", "--format", "json").exit_code == 0


@pytest.mark.parametrize("arguments", [("emit", "-", "-o"), ("cost", "-"), ("check", "-", "--claim", "dX = dY")])
def test_other_commands(arguments: tuple[str, ...], tmp_path: Any) -> None:
    more = (str(tmp_path),) if arguments[-1] == "-o" else ()
    for name in ("tower", "deep brackets", "null", "many axes", "string"):
        assert judged(REFUSED[name], *arguments, *more).exit_code == 2
    for name in ("nested functions", "tower of values", "CRLF", "letters of other alphabets"):
        assert judged(TAKEN[name], *arguments, *more).exit_code in (0, 1, 2)  # 1: a claim is refuted


PIECES = ["(", ")", "[", "]", ",", "=", "+", "-", "*", "**", "/", "//", "%", "<", ">", "==", ":", ";", ".", "#", "@",
          "~", "0", "1", "-1", "1e30", "1e400", "0.5", "i", "j", "k", "X", "Y", "dY", "pi", "sum(", "max(", "softmax(",
          "where(", "exp(", "size(", "not ", " and ", " or ", " if ", " in ", "lambda", "param ", "output ", "input ",
          "size ", "\n", "\\", "\t", " ", "\x00", "\r", "\ufeff", "é", "'", '"', "{", "}", "$",
          "None", "True"]  # fmt: skip


@st.composite
def mutated(draw: Any) -> str:
    """A formula of the corpus with up to five places changed."""
    text = draw(st.sampled_from([e.text for e in ENTRIES if len(e.text) < 250]))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(text)))
        stop = draw(st.integers(at, min(at + 6, len(text))))
        more = draw(st.one_of(st.just(""), st.sampled_from(PIECES), st.just(text[stop: stop + 9])))
        text = text[:at] + more + text[stop:]
    return str(text)


def derived(text: str) -> None:
    start = time.monotonic()
    with suppress(DeriveError):
        derive.parse(text).json()
    assert time.monotonic() - start < SECONDS


@settings(QUICK, max_examples=250)
@given(mutated())
def test_mutated(text: str) -> None:
    derived(text)


@settings(QUICK, max_examples=100)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_random(text: str) -> None:
    derived(text)
