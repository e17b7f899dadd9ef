"""`examples/gpt2/check.py` on reference files, good and bad."""

import subprocess
import sys
from pathlib import Path

import check
import numpy as np
import pytest
from click.testing import CliRunner

from tests.gpt2 import oracle

TINY = Path(__file__).parent / "data" / "tiny.npz"
NAMES = ("loss", "logits", "wte", "wpe", *oracle.LAYER, "lnfw", "lnfb")


def run(*args: object) -> tuple[int, str, str]:
    found = CliRunner().invoke(check.main, [str(a) for a in args])
    assert found.exception is None or isinstance(found.exception, SystemExit)
    return found.exit_code, found.stdout, found.stderr


def changed(path: Path, drop: str = "", **arrays: object) -> Path:
    """The tiny reference with other arrays."""
    held = {n.replace("__", "/"): a for n, a in arrays.items()}
    with np.load(TINY) as f:
        np.savez(path, **{n: a for n, a in {**f, **held}.items() if n != drop})
    return path


def test_the_script_agrees_with_the_reference() -> None:
    script = Path(check.__file__)
    done = subprocess.run([sys.executable, script, TINY, "--dtype", "float64"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0].removeprefix("grad/") for line in lines[:-1]] == list(NAMES)
    assert max(float(line[1]) for line in lines[:-1]) < 1e-13
    assert lines[-1][0] == "ok:"


def test_float32_agrees() -> None:
    status, out, _ = run(TINY)
    assert status == 0, out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [
    (3, 5, 35, 101, 17, 2, 19),  # multiples of nothing
    (1, 1, 3, 2, 1, 1, 1),  # next to nothing
    (1, 2, 6, 300, 70, 1, 70),  # the longest sequence, more than one tile of it
], ids=str)
def test_other_sizes(tmp_path: Path, sizes: tuple[int, ...], dtype: str) -> None:
    oracle.write(tmp_path / "other.npz", sizes, seed=sum(sizes))
    status, out, _ = run(tmp_path / "other.npz", "--dtype", dtype)
    assert status == 0, out


def test_int64_tokens(tmp_path: Path) -> None:
    with np.load(TINY) as f:
        wide = {n: f[n].astype(np.int64) for n in ("tokens", "targets")}
    assert run(changed(tmp_path / "wide.npz", **wide))[0] == 0


@pytest.mark.parametrize("name", ["loss", "logits", "grad/wte", "grad/qkvb", "grad/fcprojw"])
def test_a_wrong_reference_fails(tmp_path: Path, name: str) -> None:
    with np.load(TINY) as f:
        wrong = f[name].copy()
    wrong.reshape(-1)[-1] += 2e-5*np.abs(wrong).max()
    status, out, _ = run(changed(tmp_path / "wrong.npz", **{name.replace("/", "__"): wrong}))
    assert status == 1
    assert [line.split()[0] for line in out.splitlines() if "beyond" in line] == [name]
    assert "FAILED: 17 of 18" in out


def test_the_tolerance_can_be_given(tmp_path: Path) -> None:
    assert run(TINY, "--tolerance", "1e-9")[0] == 1
    assert run(TINY, "--tolerance", "1e-3")[0] == 0


@pytest.mark.parametrize(("make", "message"), [
    (lambda p: p, "there is no file"),
    (lambda p: (p.touch(), p)[1], "is no npz file"),
    (lambda p: p.write_bytes(TINY.read_bytes()[:5000]) and p, "is no npz file"),
    (lambda p: changed(p, drop="grad/qkvw"), "grad/qkvw is missing"),
    (lambda p: changed(p, drop="config"), "config is missing"),
    (lambda p: changed(p, config=np.arange(3)), "config must be seven integers"),
    (lambda p: changed(p, config=np.array([2, 3, 16, 37, 9, 3, 12])), "C = 16, H = 3"),
    (lambda p: changed(p, config=np.array([2, 2, 16, 37, 13, 3, 12])), "1 <= T <= maxT"),
    (lambda p: changed(p, param__wte=np.zeros((36, 16))), "param/wte must have shape (37, 16), not (36, 16)"),
    (lambda p: changed(p, tokens=np.full((3, 9), 37)), "tokens must lie between 0 and V - 1 = 36"),
    (lambda p: changed(p, targets=np.zeros((3, 9))), "targets must hold integers"),
    (lambda p: changed(p, grad__lnfb=np.full(16, np.nan)), "grad/lnfb holds entries that are not finite"),
])
def test_bad_files(tmp_path: Path, make: object, message: str) -> None:
    path = tmp_path / "bad.npz"
    status, out, err = run(make(path))  # type: ignore[operator]
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err


def test_one_array_is_no_reference(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    assert run(tmp_path / "one.npy")[0] == 2
