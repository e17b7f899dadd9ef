"""The command line: what it prints, what it exits with, how fast it starts, and that it writes all or nothing."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.drive import command, succeed

FORMULA = "Y[i,j] = sum(k, X[i,k]*W[k,j])"


def test_rule_by_name_path_text_and_input(tmp_path: Path) -> None:
    file = tmp_path / "mine.op"
    file.write_text(f"# My product\n# Rows times columns.\n\n{FORMULA}\n")
    by_file, by_text, by_input = succeed("rule", file), succeed("rule", FORMULA), succeed("rule", "-", text=FORMULA)
    for text in (by_file, by_text, by_input, succeed("rule", "matmul")):
        assert "Gradients" in text
        assert " dY" in text
    assert by_file.startswith("mine: My product\nRows times columns.\n")
    assert by_text == by_input
    assert by_text.startswith("Y\n")
    for line in ("dX = dY Wᵀ", "dX[i,k] = sum(j, W[k,j]*dY[i,j])", "dW = X.T @ dY", "nothing beyond the inputs"):
        assert line in by_text


def test_an_error_in_a_file_has_the_line_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.op"
    file.write_text("# Title\n# Sentence.\nA[i] = X[i]\nY[i] = foo(A[i])\n")
    assert "line 4:" in command("rule", file).output


def test_rule_json_says_how_far_letters_of_a_number_of_values_run() -> None:
    found = json.loads(succeed("rule", "size p = 2; Y[h] = sum(p, s, K[h//4,s]*X[p,s])", "--format", "json"))
    assert found["sizes"] == {"p": 2}
    rule = found["gradients"]["K"]
    (letter,) = rule["sizes"]
    assert f" {letter}, " in rule["index"]
    assert rule["sizes"][letter] == 4
    assert found["gradients"]["X"]["sizes"] == {}


def test_rule_json_is_the_contract() -> None:
    found = json.loads(succeed("rule", "softmax", "--format", "json"))
    assert found["op"] == "softmax"
    assert found["formula"] == "P[i,j] = softmax(j, S[i,j])"
    assert found["inputs"] == {"S": {"axes": ["i", "j"], "dtype": "real"}}
    assert found["outputs"] == {"P": {"axes": ["i", "j"]}}
    assert set(found["program"]) == {"forward", "backward"}
    assert found["gradients"]["S"]["axes"] == ["i", "j"]
    assert {"matrix", "index", "latex", "nodes"} <= set(found["gradients"]["S"])
    assert found["gradients"]["S"]["nodes"] == 4
    assert found["saved"] == ["P"]


def test_rule_of_some_inputs() -> None:
    found = json.loads(succeed("rule", "linear", "--wrt", "W", "--wrt", "b", "--format", "json"))
    assert set(found["gradients"]) == {"W", "b"}


def test_steps_and_formats() -> None:
    text = succeed("rule", "layernorm", "--steps")
    assert "Steps" in text
    assert "the derivative of the loss by" in text
    assert "common factor" in text
    latex = succeed("rule", "softmax", "--format", "latex")
    assert latex.startswith("\\begin{align*}\n")
    assert latex.endswith("\\end{align*}\n")
    markdown = succeed("rule", "softmax", "--format", "markdown")
    assert markdown.startswith("# Softmax\n")
    assert markdown.count("$$") == 2
    assert markdown.count("```") % 2 == 0


def test_ops() -> None:
    assert "softmax" in succeed("ops")
    entries = json.loads(succeed("ops", "--json"))
    assert {"name", "title", "description", "source", "formula"} == set(entries[0])


@pytest.mark.parametrize("arguments", ["validate", "validate relu --all", "rule", "emit relu", "nonsense"])
def test_wrong_usage(arguments: str) -> None:
    assert command(*arguments.split()).exit_code == 2


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    assert command("rule", tmp_path / "none.op").exit_code == 2
    (tmp_path / "bytes.op").write_bytes(b"\xff\xfe\x00")
    done = command("rule", tmp_path / "bytes.op")
    assert done.exit_code == 2
    assert "no text" in done.output


def test_a_defect_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("derive.commands.source.find", lambda *_: 1 // 0)
    done = command("rule", "relu")
    assert done.exit_code == 3
    assert "ZeroDivisionError" in done.output
    assert "Traceback" not in done.output


# ---------------------------------------------------------------------------------------------------- emit


def test_emit(tmp_path: Path) -> None:
    succeed("emit", "relu", FORMULA, "-o", tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"relu", "Y"}
    made = {p.name for p in (tmp_path / "out/relu").iterdir()}
    assert {"relu.cu", "relu.py", "contract.json", "derivation.md"} <= made
    assert json.loads((tmp_path / "out/relu/contract.json").read_text())["op"] == "relu"
    compile((tmp_path / "out/relu/relu.py").read_text(), "relu.py", "exec")


def test_emit_writes_nothing_when_one_is_wrong(tmp_path: Path) -> None:
    assert command("emit", "relu", "Y[i] = foo(X[i])", "-o", tmp_path / "out").exit_code == 2
    assert not (tmp_path / "out").exists()


def test_emit_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "relu").mkdir()
    (tmp_path / "relu/notes.txt").write_text("mine")
    succeed("emit", "relu", "-o", tmp_path)
    assert (tmp_path / "relu/notes.txt").read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir()} == {"relu"}


def test_emit_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = command("emit", "relu", "-o", tmp_path / "file")
    assert done.exit_code == 2
    assert "cannot write" in done.output


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    line = [sys.executable, "-m", "derive.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env={**os.environ, **environment}, check=True)


# --------------------------------------------------------------------------------------------------- start


def test_cold_rule_is_quick() -> None:
    """In processor time, so that a busy machine does not matter."""
    run("rule", "linear")
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run("rule", "linear")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 1.0


def test_rule_loads_little() -> None:
    heavy = ["numpy", "cupy", "jinja2", "rich", "derive.emulator", "derive.emit", "derive.validate"]
    code = ("import sys; from derive.cli import main\ntry: main(['rule', 'linear'])\nexcept SystemExit: pass\n"
            f"print(*(set({heavy}) & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_output_in_a_terminal_that_knows_ascii_only() -> None:
    assert "dX" in run("rule", "matmul", "--wrt", "A", PYTHONIOENCODING="ascii").stdout.replace("dA", "dX")


# ------------------------------------------------------------------------------------------ validate, doctor


def test_validate(tmp_path: Path) -> None:
    done = command("validate", "relu", "--json")
    found = json.loads(done.stdout)
    levels = {r["level"]: r["status"] for r in found["operations"][0]["levels"]}
    assert list(levels) == ["rewrite", "rule", "compile", "kernel", "check", "gpu"]
    assert levels["rule"] == levels["kernel"] == "pass"
    assert levels["check"] == "not run"
    assert done.exit_code == (0 if found["passed"] else 1)


def test_validate_says_what_was_not_run() -> None:
    text = command("validate", "relu", "Y[i] = 2*X[i]").output
    assert "not run" in text
    assert "of 2 passed" in text


def test_validate_at_given_sizes() -> None:
    assert command("validate", "relu", "--size", "i=7", "--size", "j=1").exit_code == 0
    assert command("validate", "relu", "--size", "q=7").exit_code == 2
    for number in ("²", "-1", "1e3", str(2**63), "1"*5000):
        assert command("cost", "relu", "--size", f"i={number}").exit_code == 2
    assert command("cost", "relu", "--size", f"i={2**63 - 1}", "--size", "j=1").exit_code == 0


def test_doctor() -> None:
    text = succeed("doctor")
    for word in ("Python", "C++ compiler", "NVRTC", "CuPy", "GPU", "TeX", "cache"):
        assert word in text


def test_attention_can_be_kept_unfused(tmp_path: Path) -> None:
    for plan, tiles in (("fused", True), ("unfused", False)):
        done = command("emit", "attention", "-o", tmp_path / plan, "--plan", plan)
        assert done.exit_code == 0, done.output
        text = (tmp_path / plan / "attention" / "attention.cu").read_text()
        assert ("forward_P_lse_O" in text) is tiles


def test_scatter_by_atomics_is_asked_for_by_name(tmp_path: Path) -> None:
    assert command("emit", "embedding", "-o", tmp_path, "--scatter", "atomic").exit_code == 0
    folder = tmp_path / "embedding"
    assert "`derive emit embedding -o DIR --scatter atomic`" in (folder / "embedding.cu").read_text()
    assert json.loads((folder / "contract.json").read_text())["atomics"] == ["dE"]
    ids = np.array([[0, 2, 2]])
    np.savez(tmp_path / "in.npz", E=np.zeros((3, 2)), ids=ids, dY=np.ones((1, 3, 2)))
    done = command("run", "embedding", "--inputs", tmp_path / "in.npz", "--output", tmp_path / "out.npz",
                   "--scatter", "atomic", "--executor", "emulator")
    assert done.exit_code == 0, done.output
    assert np.load(tmp_path / "out.npz")["dE"].tolist() == [[1, 1], [0, 0], [2, 2]]
