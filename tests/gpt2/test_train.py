"""`examples/gpt2/train.py`: the course of training, checkpoints, samples, errors."""

import math
import os
import pty
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import checkpoint
import numpy as np
import pytest
import train
from click.testing import CliRunner

from tests.gpt2 import oracle

PROSE = Path(__file__).parent / "data" / "prose.txt"
SMALL = ("--channels", 16, "--heads", 2, "--context", 16, "--batch", 2)


def run(*args: object, text: Path = PROSE) -> tuple[int, str, str]:
    found = CliRunner().invoke(train.main, [str(a) for a in ("--text", text, *args)])
    assert found.exception is None or isinstance(found.exception, SystemExit)
    return found.exit_code, found.stdout, found.stderr


def losses(out: str) -> dict[int, float]:
    return {int(n): float(x) for n, x in re.findall(r"^step (\d+) loss (\d+\.\d{4})$", out, re.M)}


def test_the_losses_follow_the_oracle(tmp_path: Path) -> None:
    shape = ("--channels", 32, "--heads", 4, "--context", 32, "--batch", 4)
    assert run("--steps", 0, "--checkpoint", tmp_path / "start.npz", *shape)[:2] == (0, "")
    start = checkpoint.load(tmp_path / "start.npz")
    status, out, _ = run("--steps", 20, "--every", 1, *shape)
    assert status == 0
    p = {n: a.astype(np.float64) for n, a in start.group("param").items()}
    text = PROSE.read_text(encoding="utf-8")
    tokens = np.array([start.alphabet.index(c) for c in text])
    optimiser = oracle.AdamW(p, rate=3e-3, decay=0.1)
    expected = {}
    for step in range(20):
        given = train.batch_of(tokens, step, 1, 4, 32)
        expected[step + 1], _, kept = oracle.forward(p, 4, *given)
        optimiser.update(p, oracle.backward(p, *given, kept))
    assert losses(out) == pytest.approx(expected, abs=1e-4)


def test_a_resumed_run_is_the_run_itself(tmp_path: Path) -> None:
    whole, half, path = tmp_path / "whole.npz", tmp_path / "half.npz", tmp_path / "rest.npz"
    _, out, _ = run("--steps", 8, "--every", 1, "--checkpoint", whole, "--seed", 3, "--sample", 9, *SMALL)
    run("--steps", 5, "--checkpoint", half, "--seed", 3, *SMALL)
    path.write_bytes(half.read_bytes())
    status, rest, _ = run("--steps", 8, "--every", 1, "--checkpoint", path, "--resume", "--sample", 9)
    assert status == 0
    assert losses(rest) == {n: x for n, x in losses(out).items() if n > 5}
    assert rest.splitlines()[3:] == out.splitlines()[8:]  # the sample
    first, second = checkpoint.load(whole), checkpoint.load(path)
    assert (first.step, first.alphabet, first.settings) == (second.step, second.alphabet, second.settings)
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[name], strict=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["half.npz", "rest.npz", "whole.npz"]


def test_lines_come_every_ten_steps_and_at_the_last() -> None:
    _, out, _ = run("--steps", 23, *SMALL)
    assert list(losses(out)) == [10, 20, 23]
    assert len(out.splitlines()) == 3


def test_a_sample_is_of_the_length_and_letters_of_the_text() -> None:
    _, out, _ = run("--steps", 0, "--sample", 40, *SMALL)
    assert len(out) == 41
    assert set(out) <= set(PROSE.read_text(encoding="utf-8"))


def test_a_terminal_gets_a_bar() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, train.__file__, "--text", PROSE, "--steps", 2, *SMALL]
    with subprocess.Popen([str(a) for a in command], stdout=theirs, stderr=subprocess.PIPE) as process:
        _, err = process.communicate()
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert (process.returncode, err) == (0, b"")
    assert "training" in shown
    assert "2/2" in shown
    assert re.search(r"loss 3\.\d{4}", shown)
    assert "step" not in shown


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("data", "message"), [
    (None, "No such file"), (b"", "is empty"), (b"caf\xe9 au lait", "no UTF-8 text: byte 3 is 0xe9"),
    (b"too short", "the text has 9 characters"),
])
def test_bad_texts(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "text" if data is None else _write(tmp_path / "text", data)
    status, out, err = run("--steps", 1, text=path)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err


@pytest.mark.parametrize(("args", "message"), [
    (("--resume",), "--resume needs --checkpoint"),
    (("--heads", 3), "C = 64, H = 3"),
    (("--checkpoint", "nowhere/at/all.npz"), "no checkpoint can be written into nowhere/at"),
    (("--checkpoint", PROSE.parent), "is a folder, not a checkpoint"),
])
def test_bad_options(args: tuple[object, ...], message: str) -> None:
    status, _, err = run("--steps", 1, *args)
    assert status == 2
    assert message in err


def test_bad_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    assert "there is no checkpoint" in run("--steps", 1, "--checkpoint", path, "--resume")[2]
    path.write_bytes(b"not one")
    assert "is no npz file" in run("--steps", 1, "--checkpoint", path, "--resume")[2]
    np.savez(path, config=np.ones(5, np.int64), step=3, alphabet="a")
    assert "it lacks dtype" in run("--steps", 1, "--checkpoint", path, "--resume")[2]
    run("--steps", 0, "--checkpoint", path, *SMALL)
    strange = _write(tmp_path / "strange", "αβγ".encode()*50)
    status, _, err = run("--steps", 1, "--checkpoint", path, "--resume", text=strange)
    assert status == 2
    assert "trained without the characters 'α' 'β' 'γ'" in err


@pytest.mark.slow
def test_three_hundred_steps_learn_the_text() -> None:
    status, out, _ = run("--steps", 300)
    text = PROSE.read_text(encoding="utf-8")
    entropy = -sum(n/len(text)*math.log(n/len(text)) for n in Counter(text).values())
    assert status == 0
    assert losses(out)[300] < 0.75*entropy
