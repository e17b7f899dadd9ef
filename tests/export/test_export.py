"""Documents of the catalogue: every format, both languages, complete formulas, the index rule read back."""

import html
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

import derive
from derive import catalog
from derive.commands.export import command
from derive.errors import ExportError
from derive.export import FORMATS, LANGUAGES, Document, Measured, document, rendered, steps_text, write
from derive.export.markup import blocks
from derive.export.result import notation
from derive.export.write import tex_engine
from derive.extents import small, solve
from derive.operation import Operation
from derive.validate.records import SENTENCES, Count, spoken
from tests.corpus import draw
from tests.drive import run_program

TEXTS = [f for f in FORMATS if f != "pdf"]
MADE: dict[str, Document] = {}


def made(name: str) -> Document:
    if name not in MADE:
        e = catalog.load(name)
        MADE[name] = document(derive.parse(e.text, name), title=e.title, sentence=e.sentence, title_zh=e.title_zh,
                              sentence_zh=e.sentence_zh, origin=e.source)
    return MADE[name]


@pytest.mark.parametrize("name", catalog.names())
def test_every_operation_in_every_format_and_language(name: str) -> None:
    texts = []
    for lang in LANGUAGES:
        tex, md, page = (rendered(made(name), form, lang) for form in TEXTS)
        texts += [tex, md, page]
        assert_latex(tex)
        assert md.startswith("---\n")
        assert md.count("$$") % 2 == 0
        formulas = re.findall(r"<math.*?</math>", page, re.S)
        for f in formulas:
            ET.fromstring(re.sub(r"&(?!amp;|lt;|gt;|#)", "&amp;", f))
            assert not re.search(r"\\[a-zA-Z]+", f), "a LaTeX command is left in the MathML"
        assert len(formulas) >= tex.count("\\formula{")
        assert "http" not in re.sub(r'xmlns="[^"]*"', "", page.split("<body>")[0])
    assert_reads_back(name, texts)


def assert_latex(tex: str) -> None:
    """Brackets, environments and `\\left`/`\\right` pair up; no formula has two superscripts on one base."""
    assert tex.startswith("% ")
    listing = re.compile(r"\\begin\{lstlisting\}.*?\\end\{lstlisting\}", re.S)
    code = listing.sub("", tex)
    assert re.search(r"\\end\{document\}\s*$", code)
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", code):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    formulas = re.findall(r"^\\formula\{(.*)\}$", code, re.M)
    assert formulas
    for formula in formulas:
        bare = formula.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}"), formula
        assert formula.count(r"\left") == formula.count(r"\right"), formula
        assert not re.search(r"\^\{(?:[^{}]|\{[^{}]*\})*\}\^", formula), formula
        assert "..." not in formula
        assert "\n\n" not in formula


def assert_reads_back(name: str, texts: list[str]) -> None:
    """What stands in each file in the notation, formula and backward pass, is read as one formula and run."""
    e = catalog.load(name)
    op = derive.parse(e.text, name)
    (written,) = {in_notation(text, op) for text in texts}
    d = op.derivation
    again = derive.parse(written)
    sizes = small(d.forward)
    sizes |= {x: 2 for _, x in d.forward.letters if x not in sizes and not x.startswith("=")}
    rng = np.random.default_rng(1)
    arrays: dict[str, Any] = {}
    for t in d.forward.inputs:
        shape = tuple(int(a[1:]) if a.startswith("=") else sizes[a] for a in t.axes)
        arrays[t.name] = rng.integers(0, 2, shape) if t.integer else draw(e.data.get(t.name, "normal"), shape, rng)
    given = {"d" + o: rng.standard_normal([sizes[a] for a in d.forward.axes(o)]) for o in d.forward.outputs}
    params = {n: float(v) for n, v in d.forward.params}
    extents = {n: int(x[1:]) if x.startswith("=") else sizes[x] for n, x in d.forward.letters}
    right = run_program({"forward": op.forward_numpy, "backward": op.backward_numpy}, arrays,
                        {n[1:]: g for n, g in given.items()}, extents, params)
    arrays |= {other_name(n): g for n, g in given.items()}
    read = solve(again.program, {n: a.shape for n, a in arrays.items()}, {n: extents[n] for n, _ in d.source.letters})
    found = run_program({"forward": again.forward_numpy, "backward": []}, arrays, {},
                        {n: read[x] for n, x in again.program.letters}, params)
    for n in op.gradients:
        np.testing.assert_allclose(found[other_name("d" + n)], right["d" + n], rtol=1e-9, atol=1e-12)


def other_name(derivative: str) -> str:
    return "grad_" + derivative[1:]


def in_notation(text: str, op: Operation) -> str:
    """Formula and backward pass as the document has them, the gradients' names such that they are formulas too."""
    text = html.unescape(re.sub(r"</?(?:pre|code)[^>]*>", "\n", text))
    lines = [x.rstrip() for x in text.splitlines()]
    formula, backward = op.text.splitlines(), list(notation(op))
    pieces = []
    for block in (formula, backward):
        starts = [n for n in range(len(lines)) if lines[n:n + len(block)] == [x.rstrip() for x in block]]
        assert starts, f"not in the document: {block}"
        pieces += [x for x in lines[starts[0]:starts[0] + len(block)] if not x.startswith("output ")]
    names = "|".join("d" + n for n in op.derivation.backward.names if n[0] != "d")
    outputs = ", ".join(other_name("d" + n) for n in op.gradients)
    made = {s.name for s in op.derivation.backward.statements if s.name[0] == "d"}
    known = re.compile(rf"\b(?:{'|'.join(sorted({*names.split('|'), *made}, key=len, reverse=True))})\b")
    return "\n".join([known.sub(lambda m: other_name(m[0]), p) for p in pieces] + [f"output {outputs}"])


def test_softmax_shows_its_jacobian_by_cases() -> None:
    d = made("softmax")
    (share,) = d.adjoints[0].shares
    assert r"\begin{cases}" in share.partial
    assert r"\left(1 - " in share.partial
    symbols, entries = share.jacobian
    assert r"\ddots" in symbols
    assert entries.count(r"\left(1 - ") == 3


def test_a_linear_layer_as_the_article_has_it() -> None:
    d = document(derive.parse("Y[m,n] = sum(k, X[m,k]*W[k,n]) + B[n]"))
    by = {a.of: a for a in d.adjoints}
    (share,) = by["X"].shares
    assert share.partial.endswith(r"\begin{cases} W_{jn} & i = m \\ 0 & i \ne m \end{cases}")
    assert [e.letter for e in share.eliminations] == ["m", "k"]
    assert [r.matrix for r in d.rules] == [r"\mathrm{d}X = \mathrm{d}Y W^{\top}", r"\mathrm{d}W = X^{\top} \mathrm{d}Y",
                                           r"\mathrm{d}B = \mathrm{d}Y^{\top} \mathbf{1}"]
    assert all(r.explicit for r in d.rules)


def test_an_index_tensor_keeps_its_delta() -> None:
    d = document(derive.parse("Y[t,c] = E[ids[t],c]"))
    kept = [e.kept for e in d.adjoints[0].shares[0].eliminations]
    assert sorted(kept) == [False, True]


def test_both_languages_say_the_same() -> None:
    for name in ("softmax", "layernorm", "attention"):
        kinds = [[(b.kind, b.level, re.sub(r"\\text\{.*?\}", "", b.text) if b.kind in ("math", "box") else "")
                  for b in blocks(source(name, lang))] for lang in LANGUAGES]
        assert [k for k in kinds[0] if k[0] != "text"] == [k for k in kinds[1] if k[0] != "text"]
    assert "链式法则" in rendered(made("softmax"), "md", "zh")
    assert not re.search(r"[\u4e00-\u9fff]", rendered(made("softmax"), "md", "en"))


def source(name: str, lang: str) -> str:
    from derive.emit.templates import render
    return render(f"document/{lang}.j2", doc=made(name))


def test_not_run_is_said_plainly() -> None:
    assert "Not run." in rendered(made("relu"), "md")
    assert "未运行" in rendered(made("relu"), "md", "zh")


def test_steps_in_the_terminal() -> None:
    text = steps_text(derive.parse("Y[m,n] = sum(k, A[m,k]*B[k,n])").derivation)
    assert "δ(" in text
    assert "so dA[m,k] = sum(n, B[k,n]*dY[m,n])" in text


def test_the_command_writes_files(tmp_path: Path) -> None:
    group = click.Group(commands={"export": command})
    for form in TEXTS:
        path = tmp_path / f"softmax.{form}"
        done = CliRunner().invoke(group, ["export", "softmax", "-o", str(path), "--no-validate"])
        assert done.exit_code == 0, done.output
        assert path.stat().st_size > 2000
    with pytest.raises(ExportError, match="no format"):
        write(made("relu"), tmp_path / "relu.doc")


def test_pdf_without_tex_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ExportError, match="no TeX"):
        write(made("relu"), tmp_path / "relu.pdf")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(tex_engine() is None, reason="there is no TeX here")
def test_a_tex_that_fails_is_an_error_with_its_reason(tmp_path: Path) -> None:
    broken = replace(made("relu"), forward=(r"\nosuchcommand",))
    with pytest.raises(ExportError, match=r"(?s)failed.*Undefined control sequence"):
        write(broken, tmp_path / "relu.pdf")
    assert not list(tmp_path.iterdir())


def compiles(name: str, lang: str, folder: Path) -> None:
    """The PDF is made, and nothing in it is cut off: no line is wider than the page."""
    import subprocess

    (folder / "d.tex").write_text(rendered(made(name), "tex", lang))
    done = subprocess.run([str(tex_engine()), "-interaction=nonstopmode", "-halt-on-error", "d.tex"], cwd=folder,
                          capture_output=True, text=True, errors="replace", check=False)
    if "ctexart.cls' not found" in done.stdout:
        pytest.skip("this TeX has no Chinese (texlive-lang-chinese)")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout, re.findall("Overfull.*", done.stdout)
    assert "Missing character" not in done.stdout
    assert (folder / "d.pdf").read_bytes().startswith(b"%PDF")


needs_tex = pytest.mark.skipif(tex_engine() in (None, "tectonic", "pdflatex"), reason="no xelatex or lualatex here")


@needs_tex
@pytest.mark.parametrize(("name", "lang"), [("softmax", "en"), ("adamw", "en"), ("attention", "zh"),
                                            ("cross_entropy", "zh")])
def test_latex_compiles(name: str, lang: str, tmp_path: Path) -> None:
    compiles(name, lang, tmp_path)


@needs_tex
@pytest.mark.slow
@pytest.mark.parametrize("name", catalog.names())
def test_all_latex_compiles(name: str, tmp_path: Path) -> None:
    for lang in LANGUAGES:
        compiles(name, lang, tmp_path)


@pytest.mark.skipif(tex_engine() is None, reason="there is no TeX here")
def test_pdf(tmp_path: Path) -> None:
    write(made("softmax"), tmp_path / "d.pdf")
    assert (tmp_path / "d.pdf").read_bytes().startswith(b"%PDF")
    assert [p.name for p in tmp_path.iterdir()] == ["d.pdf"]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_front_matter_is_what_blogs_read(lang: str) -> None:
    """YAML that Hexo and Hugo take, whatever the title; row ends doubled, since Markdown eats one backslash."""
    page = rendered(replace(made("softmax"), title='A "quoted": title\\n', title_zh='A "quoted": title\\n'), "md", lang)
    head, body = page.removeprefix("---\n").split("\n---\n", 1)
    fields = dict(x.split(": ", 1) for x in head.splitlines() if ": " in x)
    assert json.loads(fields["title"]).startswith('A "quoted": title\\n')  # a JSON string is a YAML string
    assert fields["mathjax"] == fields["math"] == "true"
    assert body.count("$$") % 2 == 0
    display = body.split("$$")[1::2]
    assert any("\\\\\\\\" in d for d in display)
    assert not any(re.search(r"(?<!\\)(?:\\\\)(?!\\)", d) for d in display), "a row would end in one backslash only"


def test_a_partial_keeps_to_the_letters_of_its_statement() -> None:
    """Not X[b,j,d] where b = i and j = s: of two letters that are equal, the result's own is written."""
    shown = rendered(made("layernorm"), "md", "en")
    assert r"\left(X_{bsd} - M_{bs}\right)}{2\,\left(\varepsilon + V_{bs}\right)^{3/2}} & i = b,\; j = s" in shown
    assert "X_{bjd}" not in shown


def test_a_rule_of_batches_says_so() -> None:
    assert "for each $b$ and $h$" in rendered(made("attention"), "md", "en")
    assert "（对每一组 $b$ 和 $h$，" in rendered(made("attention"), "md", "zh")
    assert "for each $" not in rendered(made("linear"), "md", "en")


# What may stand in a sentence of any language: names of tools, options, types and kernels.
NAMES = r"derive(?: doctor| validate)?|--check|NVRTC|CuPy|GPU|pip install '.*?'|float\d+|sm_\d+|d?[A-Z]\b|kernel_1"
EXAMPLES = {"n": Count(3), "how": "to 50 digits", "why": "float32", "error": "1.0e-10", "names": ("dX", "dW"),
            "architectures": ("sm_80", "sm_90"), "registers": 32, "kernel": "kernel_1", "worst": "0.10",
            "dtype": "float32", "sizes": 4}


def test_validation_speaks_each_language() -> None:
    """Every sentence of the validator is filled in, and a Chinese page has no English in it."""
    for key, sentence in SENTENCES.items():
        values = {name: EXAMPLES[name] for name in re.findall(r"\{(\w+)", sentence)}
        assert "{" not in spoken(((key, values),))
        for how in ("to 50 digits", "modulo the prime 2^61 - 1", "the same canonical form"):
            said = ((key, {**values, "how": how} if "how" in values else values),)
            level = Measured("rule", "pass", spoken(said), said)
            shown = rendered(replace(made("relu"), validation=(level,)), "md", "zh")
            row = next(x for x in shown.splitlines() if x.startswith("| 规则"))
            assert "{" not in row
            assert not re.search("[a-z]{2}", re.sub(NAMES, "", row)), row
            for value in values.values():
                assert isinstance(value, (str, int)) or all(v in row for v in value)


def test_an_option_keeps_its_hyphens_in_latex() -> None:
    said = (("unasked", {}),)
    shown = rendered(replace(made("relu"), validation=(Measured("check", "not run", spoken(said), said),)), "tex", "en")
    assert "derive validate -{}-check" in shown


def test_a_failure_is_told_in_its_own_words() -> None:
    shown = rendered(replace(made("relu"), validation=(Measured("rule", "fail", "dX is off by 3"),)), "md", "zh")
    assert "| 规则 | **未通过** | dX is off by 3 |" in shown


def test_the_cases_of_a_sum_stay_under_it() -> None:
    """Σ_l Y[k,l]·([j = l] − Y[k,j]) is no question of the reader's letters: `l` means nothing outside."""
    doc = document(derive.parse("Y[k,j] = softmax(j, sum(n, D[k] + 0.25*n))"))
    text = rendered(doc, "tex")
    assert "%1" not in text
    assert r"\sum_{l} Y_{kl}\,\left(\delta_{jl} - Y_{kj}\right) & i = k" in text
    rendered(doc, "html")
