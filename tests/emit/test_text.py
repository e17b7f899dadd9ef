"""Emitted text: literals, names, determinism, nothing unused."""

import json
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from derive import emulator
from derive.catalog import load
from derive.emit import emit, sources
from derive.emit.cuda import literal
from derive.errors import FileError
from derive.operation import parse
from derive.pipeline import derive_text
from derive.plan import make_plan
from derive.plan.names import Namer, clean
from derive.run import compile
from derive.validate.comparison import plan_of
from derive.validate.data import Drawer
from derive.validate.formula import read
from derive.validate.kernels import kernels as judge
from derive.validate.records import PASS
from tests.emit.shadows import shadows


@pytest.mark.parametrize(
    "text", ["0.1", "1e-5", "-1e30", "0.044715", "0.79788456", "16777217", "1/3", "3e38", "1e-45", "2"]
)
def test_literals_round_to_the_nearest_float(text: str) -> None:
    value = Fraction(text)
    single = literal(value, "float")
    assert single.endswith("f")
    got = np.float32(single[:-1])
    nearest = min(
        (np.nextafter(got, np.float32(d)) for d in (-np.inf, np.inf)), key=lambda v: abs(Fraction(float(v)) - value)
    )
    assert abs(Fraction(float(got)) - value) <= abs(Fraction(float(nearest)) - value)
    assert float(literal(value, "double")) == float(value)


def test_names_that_others_have_taken_are_changed() -> None:
    namer = Namer()
    assert namer.fresh("X") == "X"
    assert namer.fresh("X") == "X_"
    for word in ("float", "lambda", "threadIdx", "INFINITY", "row_sum", "expf", "print", "INDEX"):
        assert namer.fresh(word) != word
    assert clean("__a__b") == "a_b"
    assert clean("γ") == "u03b3"


def test_formulas_with_words_of_cuda_and_python_run() -> None:
    text = "total[row,col] = sum(stop, int_[row,stop]*float_[stop,col]) + thread[col]*acc"
    rng = np.random.default_rng(0)
    arrays = {"int_": rng.standard_normal((3, 4)), "float_": rng.standard_normal((4, 5)),
              "thread": rng.standard_normal(5), "acc": rng.standard_normal(())}  # fmt: skip
    found = compile(text, "float64", "emulator").run(arrays)["total"]
    np.testing.assert_allclose(found, arrays["int_"] @ arrays["float_"] + arrays["thread"] * arrays["acc"])


SCRIPT = """
from derive.emit import sources
from derive.operation import parse
from derive.pipeline import derive_text
from derive.plan import make_plan
d = derive_text("S[i,j] = sum(k, Q[i,k]*K[j,k])\\nP[i,j] = softmax(j, S[i,j])\\nO[i,e] = sum(j, P[i,j]*V[j,e])")
for name, text in sources("attention", make_plan(d.forward, d.backward)).items():
    print(name, text)
"""


def test_the_same_bytes_under_any_hash_seed() -> None:
    runs = [subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True,
                           env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."}).stdout for seed in ("1", "2")]  # fmt: skip
    assert runs[0] == runs[1]


def test_no_helper_is_emitted_unused() -> None:
    d = derive_text("Y[i] = sigmoid(X[i])")
    text = sources("s", make_plan(d.forward, d.backward))["s.cu"]
    for helper in re.findall(r"__device__ inline \w+ (\w+)\(", text):
        assert len(re.findall(rf"\b{helper}(?:<\w+>)?\(", text)) > 1
    assert "struct Sum" not in text


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    d = derive_text("Y[i] = X[i]")
    with pytest.raises(FileError, match="cannot write"):
        emit("op", make_plan(d.forward, d.backward), tmp_path / "taken")


def test_every_word_of_the_kernel_templates_is_reserved() -> None:
    """A tensor may be called anything, so no template may use a local that a tensor's name could be."""
    folder = Path(__file__).resolve().parents[2] / "templates" / "cuda"
    for path in folder.glob("*.cu.j2"):
        text = re.sub(r"\{[%{#].*?[%}#]\}", " ", path.read_text(), flags=re.S)
        text = re.sub(r"//.*|^#.*$|\"[^\"]*\"", " ", text, flags=re.M)
        if path.name == "helpers.cu.j2":  # functions of their own: only their names are seen by kernels
            text = " ".join(re.findall(r"(\w+)\(", text))
        if path.name == "tiles.cu.j2":  # likewise, and structs
            text = " ".join(re.findall(r"(?:inline [\w<>]+|struct(?: alignas\(16\))?) (\w+)", text))
        words = set(re.findall(r"(?<![.\w])[A-Za-z_]\w*", text)) - {"__global__", "C", "f", "blockIdx", "row_", "_fast"}
        free = {w for w in words if not w.startswith("__") and Namer().fresh(w) == w}
        assert not free - {"i", "z", "add", "pragma", "unroll", "syncthreads"}, (path.name, free)


@pytest.mark.parametrize("name", ["max_pool", "avg_pool", "attention_grouped"])
def test_comments_name_every_index(name: str) -> None:
    """An axis whose length is a number has no letter of its own; the comment gives it one."""
    d = derive_text(load(name).text)
    plan = make_plan(d.forward, d.backward)
    assert plan.backward is not None
    lines = [c for p in plan.passes for k in p.kernels for c in k.computes]
    assert lines
    assert not any(re.search(r"(?<![<>=!] )=\d", c) for c in lines)


def test_no_name_hides_another() -> None:
    text = "void f() { float c = 1; for (int i = 0; i < 9; ++i) { const float c = 2; } }"
    assert shadows(text) == ["1: c"]
    assert shadows("struct S {\n  template <bool wide>\n  void f(int n) { int wide; }\n};") == ["3: wide"]
    assert not shadows("struct S {\n  template <bool wide> void f() {}\n  template <bool wide> void g() {}\n};")
    assert not shadows("void f() { { int c = 1; } { float c = 2; } }\nvoid g(int c) { { int d = c; } }")
    kernels = sorted(Path(__file__).parents[2].glob("generated/*/*.cu"))
    assert len(kernels) > 50
    assert not [f"{k.name}:{x}" for k in kernels for x in shadows(k.read_text(encoding="utf-8"))]


CALLED_AS_LETTERS = """
Y[j] = sum(i, A[i,j]*exp(I*J*A[i,j]))
Y[i,j] = softmax(j, A[i,j]*I + J)*tanh(A[i,j]*I)
Y[i,j] = A[i,j]*rsqrt(1 + mean(k, A[i,k]**2))*G[j]*J*K
Y[i,k] = sum(j, A[i,j]*B[j,k]*J)*exp(K*I)
Y[i] = max(j, A[i,j]*J)*I
Y[i,j] = sum(k, A[i,j+k]*W[k]*K)*I*J
L = mean(i, j, (A[i,j]*I - J)**2)*I
""".split("\n")[1:-1]


@pytest.mark.parametrize("text", CALLED_AS_LETTERS)
def test_a_scalar_called_as_a_letter_does_not_hide_its_index(text: str) -> None:
    """`I` is `i` in a kernel, but for one that has an index i: there it is `i_`."""
    op = parse(text, "op")
    kernels = [t for name, t in sources("op", plan_of(op, "float32")).items() if name.endswith(".cu")]
    assert kernels
    assert not [x for k in kernels for x in shadows(k)]
    drawer = Drawer(read(op.text), {}, {})
    assert judge(op, drawer, "float32", emulator).status == PASS


def test_the_contract_says_what_its_types_are() -> None:
    op = parse("Y[t,c] = E[ids[t],c]*w[c]", "op")
    contract = json.loads(sources("op", plan_of(op, "bfloat16"))["contract.json"])
    buffers = [b for p in contract["passes"] for what in ("arguments", "results", "temporaries") for b in p[what]]
    assert {b["dtype"] for b in buffers} == set(contract["types"])
    assert {"T": "bfloat16", "compute": "float32", "ids": "int32 or int64"}.items() <= contract["types"].items()
    assert "4*size_t*size_c + 4*size_t*size_c" not in contract["bytes_backward"]


def test_a_constant_is_one_number() -> None:
    """√(2/π) is a number in a kernel, rounded once from its exact value, and no two roots to take in each thread."""
    op = parse("Y[i] = 0.5*X[i]*(1 + tanh(sqrt(2/pi)*(X[i] + 0.044715*X[i]**3)))", "op")
    for dtype, factor in (("float32", "0.7978846f"), ("float64", "0.7978845608028654")):
        text = sources("op", plan_of(op, dtype))["op.cu"]
        assert text.count(f"tanh{'f' if factor[-1] == 'f' else ''}({factor}*(x + ") == 2
        assert "sqrt(" not in text.split('extern "C"', 1)[1]
        assert "sqrtf(" not in text
