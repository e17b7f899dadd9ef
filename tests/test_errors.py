"""Bad input: each gives an error that names the matter, exit status 2, no traceback, and writes nothing."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from tests.drive import command

# formula -> words that the message must hold
FORMULAS = [
    # syntax and the whitelist
    ("Y[i] = (X[i]", ["X[i]"]),
    ("Y[i] = X[i] +", ["X[i] +"]),
    ("Y[i] == X[i]", ["Y[i]"]),
    ("Y[i] += X[i]", ["Y[i]"]),
    ("# nothing", ["no statement"]),
    ("Y[i] = foo(X[i])", ["foo"]),
    ("Y[i] = X.T[i]", ["X.T"]),
    ("Y[i] = np.exp(X[i])", ["np.exp"]),
    ("Y[i] = (lambda x: x)(X[i])", ["lambda"]),
    ("Y[i] = __import__('os')", ["__import__"]),
    ("import os", ["import os"]),
    ("Y[i] = 'text'", ["text"]),
    ("Y[i] = X[i] if X[i] > 0 else 0", ["where"]),
    ("Y[i] = [X[i]]", ["[X[i]]"]),
    ("Y[i] = X[i:2]", ["i:2"]),
    ("Y[i] = X[i] @ Z[i]", ["@"]),
    ("Y[i] = X[i] & Z[i]", ["&"]),
    ("Y[i] = True", ["True"]),
    ("Y[i] = 1j*X[i]", ["1j"]),
    ("Y[i] = exp(X[i], X[i])", ["exp"]),
    ("Y[i] = exp(x=X[i])", ["exp"]),
    ("Y[i] = sum(*X)", ["sum"]),
    # indices
    ("Y[i] = X[i,k]", ["k"]),
    ("Y[i] = sum(k, X[i,k])*k", ["k"]),
    ("Y[i] = sum(k, sum(k, X[i,k]))", ["k", "bound"]),
    ("Y[n,d] = X[n,d]/sqrt(sum(d, X[n,d]**2))", ["own: sum(a, X[n, a] ** 2)"]),
    ("Y[i] = a[i]*sum(i, X[i])", ["own: sum(b, X[b])"]),
    ("Y[i] = clamp(X[i], 0, 6)", ["clamp", "write minimum(maximum(x, low), high)"]),
    ("Y[i] = ReLU(X[i])", ["ReLU", "write relu"]),
    ("Y[i] = Mish(X[i])", ["Mish", "tanh(log(1 + exp(x)))"]),
    ("Y[i,j] = torch.softmax(X[i,j], dim=-1)", ["dim=-1", "softmax(k, X[i,k])"]),
    ("Y[i] = sqrt(X[i], eps=1)", ["eps=1", "without names"]),
    ("Y[i,j] = X[i][j]", ["X[i][j]", "one bracket", "write X[i,j]"]),
    ("Y[c,u] = where(u < size(t), X[c,u], 0)", ["size(t)", "input X[c,t]"]),
    ("Y[i,k] = sum(k, X[i,k])", ["k"]),
    ("Y[i,i] = X[i]", ["i", "repeated"]),
    ("Y[i+1] = X[i]", ["i + 1"]),
    ("Y[i] = softmax(k, X[i])", ["k"]),
    ("Y[i] = X[i,i,i] + X[i,i]", ["X"]),
    ("Y[i] = X[i/2]", ["integer"]),
    ("Y[i] = X[2.5*i]", ["integer"]),
    ("Y[i] = X[i,-1]", ["-1", "count from 0"]),
    ("Y[i] = max(0, X[i])", ["maximum"]),
    ("Y[i] = min(X[i], 1)", ["minimum"]),
    ("Y[i] = sum(X[i])", ["sum"]),
    ("Y[i] = X[i]*size(q)", ["q"]),
    # names
    ("Y[i] = X[i]\nY[i] = 2*X[i]", ["Y", "twice"]),
    ("A[i] = B[i]\nB[i] = X[i]", ["B"]),
    ("Y[i] = Y[i]*X[i]", ["Y"]),
    ("param eps = 1\nparam eps = 2\nY[i] = X[i]*eps", ["eps"]),
    ("param eps = X[i]\nY[i] = X[i]*eps", ["param"]),
    ("Y[i] = X[i]*dX[i]", ["dX"]),
    ("output Z\nY[i] = X[i]", ["Z"]),
    ("input Y[i]\nY[i] = X[i]", ["Y"]),
    ("Y[i] = 0**X[i]", ["0 ** X[i]"]),
    # later stages
    ("Y[i,j] = inv(A)[i,j]", ["inv"]),
    ("Y[i] = X[i]//2", ["//"]),
]


@pytest.mark.parametrize(("formula", "words"), FORMULAS, ids=[f.replace("\n", "; ") for f, _ in FORMULAS])
def test_bad_formula(formula: str, words: list[str]) -> None:
    done = command("rule", "-", text=formula)
    assert done.exit_code == 2, done.output or repr(done.exception)
    assert "Traceback" not in done.output
    assert done.output.startswith("error: ")
    for word in words:
        assert word in done.output


def test_the_caret_stands_under_the_place() -> None:
    done = command("rule", "-", text="A[i] = X[i]\nY[i] = A[i] + foo(X[i])")
    line, carets = done.output.splitlines()[1:3]
    assert line.endswith("Y[i] = A[i] + foo(X[i])")
    assert line[carets.index("^") :].startswith("foo")


def test_the_caret_stands_under_a_statement_between_semicolons() -> None:
    for text, place in (("A[i] = X[i]; γ[i] = A[i] + foo(X[i])", "foo"),
                        ("A[i] = sum(k,\n X[i,k]); Y[i] = A[q]", "q]"),
                        ("param a = 1; Y[i] = X[i] @ X[i]; Z[i] = a", "X[i] @"),
                        ("A[i] = X[i]; param p = A", "param p = A"),
                        ("A[i] = X[i]; Y[i] = A[i] +; Z[i] = Y[i]", "+")):
        line, carets = command("rule", "-", text=text).output.splitlines()[1:3]
        assert line.endswith(text.splitlines()[-1])
        assert line[carets.index("^") - (place == "+"):].startswith(place), (line, carets)


def test_an_index_that_is_computed_is_named_where_it_is() -> None:
    shown = command("rule", "-", text="A[i] = X[i]; j[t] = X[t]*2; Y[t] = A[j[t]]").output
    assert "j is computed and used as an index" in shown
    line, carets = shown.splitlines()[1:3]
    assert line[carets.index("^"):].startswith("j[t] = X[t]*2")


@pytest.mark.parametrize("piece", [
    "X[i] if X[i] else 0", "X[i] @ X[i]", "X[i] & X[i]", "X[i] << 2", "~X[i]", "[X[i]]", "{X[i]}", "{0: X[i]}",
    "(X[i], X[i])", "X.T[i]", "(lambda: 1)()", "X[i] in Z", "X[i] is 0", "[a for a in X]", "sum(a for a in X)",
    "f'{X}'", "(a := X[i])", "X[i:2]"])  # fmt: skip
def test_errors_speak_no_python(piece: str) -> None:
    """No class name of Python's syntax trees is shown, in formulas and in claims."""
    kinds = re.compile(r"\b(?:" + "|".join(n for n in dir(ast) if n[0].isupper() and len(n) > 2) + r")\b")
    for done in (command("rule", "-", text=f"Y[i] = {piece}"),
                 command("check", "Y[i] = X[i]", "--claim", f"dX = {piece.replace('[i]', '')}")):
        assert done.exit_code in (1, 2), done.output
        assert not kinds.search(done.output), done.output


def test_gradient_of_an_integer_tensor() -> None:
    done = command("rule", "-", "--wrt", "ids", text="Y[t,c] = E[ids[t],c]")
    assert done.exit_code == 2
    assert "ids" in done.output
    assert "integer" in done.output


def test_gradient_of_an_unknown_tensor() -> None:
    done = command("rule", "-", "--wrt", "Z", text="Y[t] = X[t]**2")
    assert done.exit_code == 2
    assert "Z" in done.output


def test_unknown_operation() -> None:
    done = command("rule", "sofmax")
    assert done.exit_code == 2
    assert "softmax" in done.output  # did you mean


MATMUL = "Y[m,n] = sum(k, A[m,k]*B[k,n])"
GATHER = "Y[t,c] = E[ids[t],c]"
GUARDED = "Y[t,c] = where(ids[t] >= 0, E[ids[t],c], 0)"
A, B, E = np.ones((3, 2)), np.ones((2, 5)), np.ones((4, 3))
IDS = np.array([0, 3, 1])

# formula, arrays, further arguments, words
ARRAYS = {
    "missing": (MATMUL, {"A": A}, [], ["B", "missing"]),
    "extra": (MATMUL, {"A": A, "B": B, "C": B}, [], ["C"]),
    "misshapen": (MATMUL, {"A": A, "B": B.T}, [], ["k", "2", "5"]),
    "wrong rank": (MATMUL, {"A": A, "B": B[0]}, [], ["B", "(5,)"]),
    "misshapen cotangent": (MATMUL, {"A": A, "B": B, "dY": A}, [], ["dY", "(3, 2)", "(3, 5)"]),
    "complex": (MATMUL, {"A": A * 1j, "B": B}, [], ["A", "complex"]),
    "text": (MATMUL, {"A": np.full((3, 2), "x"), "B": B}, [], ["A"]),
    "objects": (MATMUL, {"A": np.full((3, 2), None), "B": B}, [], ["A"]),
    "two extents": ("Y[i,j] = X[i,j]*Z[j,i]", {"X": A, "Z": A}, [], ["i", "2", "3"]),
    "repeated index": ("Y[i] = X[i,i]", {"X": A}, [], ["i", "2", "3"]),
    "label no integer": (GATHER, {"E": E, "ids": IDS + 0.5}, [], ["ids", "integer"]),
    "label too large": (GATHER, {"E": E, "ids": IDS + 1}, [], ["ids", "4"]),
    "label negative": (GATHER, {"E": E, "ids": IDS - 1}, [], ["ids", "-1"]),
    "label too large where it counts": (GUARDED, {"E": E, "ids": IDS + 1}, [], ["ids", "4"]),
    "size against array": (MATMUL, {"A": A, "B": B}, ["--size", "k=7"], ["k", "7", "2"]),
    "size of no index": (MATMUL, {"A": A, "B": B}, ["--size", "q=7"], ["q"]),
    "two sizes": (MATMUL, {"A": A, "B": B}, ["--size", "k=2", "--size", "k=3"], ["k", "2", "3"]),
    "size no number": (MATMUL, {"A": A, "B": B}, ["--size", "k=x"], ["k=x"]),
    "size negative": ("Y[t] = X[t+1]", {"X": A[:, 0]}, ["--size", "t=-1"], ["t"]),
    "size too large": ("Y[t] = X[t+1]", {"X": A[:, 0]}, ["--size", "t=3"], ["X", "range"]),
    "two free extents": ("Y[t,r] = X[t+r]", {"X": A[:, 0]}, [], ["--size"]),
    "free extent": ("Y[t,p] = where(p == 0, X[t,0], X[t,1])", {"X": A}, [], ["p", "--size"]),
    "out of range": ("Y[t] = X[t+1] - X[t]", {"X": A[:, 0]}, [], ["X", "range"]),
    "nothing left": ("Y[t] = sum(r, X[t+r]*W[r])", {"X": A[:, 0], "W": np.ones(5)}, [], ["t", "X", "3", "5"]),
    "unknown type": (MATMUL, {"A": A, "B": B}, ["--dtype", "float8"], ["float8"]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_bad_arrays(name: str, tmp_path: Path) -> None:
    formula, arrays, more, words = ARRAYS[name]
    np.savez(tmp_path / "in.npz", **arrays)  # type: ignore[arg-type]
    target = tmp_path / "out.npz"
    done = command("run", "-", "--inputs", tmp_path / "in.npz", "--output", target, *more, text=formula)
    assert done.exit_code == 2, done.output or repr(done.exception)
    assert "Traceback" not in done.output
    for word in words:
        assert word in done.output, done.output
    assert not target.exists()


def test_a_label_out_of_range_is_fine_where_it_does_not_count(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", E=E, ids=IDS - 2, dY=np.ones((3, 3)))
    done = command("run", "-", "--inputs", tmp_path / "in.npz", "--output", tmp_path / "out.npz", text=GUARDED)
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "out.npz") as found:
        assert found["Y"].tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
        assert found["dE"].tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("content", [b"", b"not an archive", None])
def test_a_file_that_is_no_npz(content: bytes | None, tmp_path: Path) -> None:
    source = tmp_path / "in.npz"
    if content is not None:
        source.write_bytes(content)
    done = command("run", "-", "--inputs", source, "--output", tmp_path / "out.npz", text=MATMUL)
    assert done.exit_code == 2, done.output or repr(done.exception)
    assert "in.npz" in done.output
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("where", ["missing/out.npz", "."])
def test_unwritable_output(where: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", A=A, B=B)
    done = command("run", "-", "--inputs", tmp_path / "in.npz", "--output", tmp_path / where, text=MATMUL)
    assert done.exit_code == 2, done.output or repr(done.exception)
    assert str(tmp_path) in done.output.replace("\n", "")


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # nothing compiled earlier
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "in.npz", A=A, B=B)
    arguments = ["--inputs", tmp_path / "in.npz", "--output", tmp_path / "out.npz", "--executor", "emulator"]
    done = command("run", "-", *arguments, text="Y[m,n] = 1.25*sum(k, A[m,k]*B[k,n])")
    assert done.exit_code == 2, done.output or repr(done.exception)
    assert "compiler" in done.output
    assert not (tmp_path / "out.npz").exists()
