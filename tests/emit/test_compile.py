"""Emitted kernels compiled for GPUs by NVRTC, where it is installed: a few of every kind, all with --corpus all."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from derive.catalog import load, names
from derive.commands import figures
from derive.dtypes import DTYPES
from derive.emit import sources
from derive.operation import parse
from derive.validate.comparison import plan_of
from derive.validate.compile import ARCHITECTURES, NoNvrtcError, compile_text, compiled, include_folders, nvrtc
from derive.validate.records import PASS
from tests.drive import command, succeed

FEW = (
    *(("linear", "float16"), ("bilinear", "bfloat16"), ("attention", "float16"), ("softmax", "float64")),
    *(("layernorm", "bfloat16"), ("cross_entropy", "float16"), ("embedding", "float32"), ("mse", "float64")),
)
GENERATED = Path(__file__).resolve().parents[2] / "generated"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "op" in metafunc.fixturenames:
        every = metafunc.config.getoption("--corpus") == "all"
        metafunc.parametrize(("op", "dtype"), [(n, t) for n in names() for t in DTYPES] if every else FEW)


@pytest.fixture
def compiler() -> str:
    """NVRTC's version."""
    try:
        return ".".join(map(str, nvrtc().getVersion()))
    except NoNvrtcError as e:
        pytest.skip(str(e))


def test_kernels_compile_and_spill_nothing(op: str, dtype: str, compiler: str) -> None:
    made = parse(load(op).text, op)
    found = compiled(made, plan_of(made, dtype))
    assert found.status == PASS, found.detail
    assert "no spills" in found.detail


def test_tiles_of_attention_spill_nothing_where_registers_are_fewest(compiler: str) -> None:
    """64-bit sizes and values, and a cap on the scores: before tiles were chosen by what a thread keeps, 32 bytes."""
    formula = """
        S[b,h,t,s] = tanh(sum(d, Q[b,h,t,d]*K[b,h,s,d])/sqrt(size(d)))
        P[b,h,t,s] = softmax(s, where(s <= t and t - s < 100, S[b,h,t,s], -1e30))
        O[b,h,t,d] = sum(s, P[b,h,t,s]*V[b,h,s,d])
    """
    made = parse(formula)
    code = sources("op", plan_of(made, "float64"))["op.cu"]
    assert all(u.spilled == 0 for u in compile_text(code, "sm_80", ("INDEX=long long",)))


def test_products_fall_back_without_the_headers_of_tensor_cores(compiler: str, tmp_path: Path) -> None:
    made = parse("Y[m,n] = sum(k, A[m,k]*B[k,n])")
    code = sources("op", plan_of(made, "float16"))["op.cu"]
    assert all(u.spilled == 0 for u in compile_text(code, "sm_75"))  # no bfloat16 there: none may be asked for
    for folder in reversed(include_folders()):  # as CuPy sees them without nvidia-cuda-crt
        for file in Path(folder).iterdir():
            if file.name != "crt" and not (tmp_path / file.name).exists():
                (tmp_path / file.name).symlink_to(file)
    lib = nvrtc()
    program = lib.createProgram(code, "op.cu", (), ())
    lib.compileProgram(program, ["--gpu-architecture=compute_80", "--std=c++17", f"-I{tmp_path}"])
    assert "wmma" not in str(lib.getPTX(program))
    lib.destroyProgram(program)


def test_figures_stay_while_the_text_stays(compiler: str, tmp_path: Path) -> None:
    succeed("emit", "relu", "-o", tmp_path, "--nvrtc")
    contract = tmp_path / "relu" / "contract.json"
    first = contract.read_text()
    section = json.loads(first)["compiled"]
    assert section["nvrtc"] == compiler
    assert section["source"] == sha256((tmp_path / "relu" / "relu.cu").read_bytes()).hexdigest()
    assert {k: sorted(v) for k, v in section["kernels"].items()} == {
        n: sorted(ARCHITECTURES) for n in ("forward_Y", "backward_dX")}  # fmt: skip
    assert all(u["spill_bytes"] == 0 < u["registers"] for k in section["kernels"].values() for u in k.values())
    succeed("emit", "relu", "-o", tmp_path)
    assert contract.read_text() == first
    succeed("emit", "relu", "-o", tmp_path, "--dtype", "float16")
    assert "compiled" not in json.loads(contract.read_text())


def test_nvrtc_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none() -> None:
        raise NoNvrtcError("NVRTC is not installed: pip install 'derive-cuda[nvrtc]'")

    monkeypatch.setattr(figures, "nvrtc", none)
    done = command("emit", "relu", "-o", tmp_path, "--nvrtc")
    assert done.exit_code == 2
    assert "NVRTC is not installed" in done.output
    assert not list(tmp_path.iterdir())


def test_generated_contracts_have_figures_of_their_text(compiler: str) -> None:
    """`make generated EMIT=--nvrtc` writes them; without NVRTC they are kept while the text is the same."""
    wrong = []
    for folder in sorted(p for p in GENERATED.iterdir() if p.is_dir()):
        section = json.loads((folder / "contract.json").read_text()).get("compiled")
        text = sha256((folder / f"{folder.name}.cu").read_bytes()).hexdigest()
        spills = [u["spill_bytes"] for k in (section or {}).get("kernels", {}).values() for u in k.values()]
        if section is None or section["source"] != text or any(spills) or not spills:
            wrong.append(folder.name)
    assert not wrong, "make generated EMIT=--nvrtc"
