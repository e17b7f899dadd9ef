"""`derive profile`: what kernels ask of memory, against sums that a person can do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

import derive
from derive.cli import main
from derive.profile import profile
from derive.profile.drive import default_sizes
from derive.profile.usage import occupancy
from derive.validate.compile import NoNvrtcError, nvrtc
from derive.validate.data import Drawer
from derive.validate.formula import read

KEYS = ("must_bytes", "requested_bytes", "device_bytes", "ratio", "bank_conflicts")


def shown(*words: str) -> Any:
    done = CliRunner().invoke(main, ["profile", *words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


@pytest.mark.parametrize(("dtype", "item"), [("float32", 4), ("float16", 2)])
def test_pointwise(dtype: str, item: int) -> None:
    """dX of a pointwise function: X and dY in, dX out."""
    found = shown("Y[i,j] = tanh(X[i,j])*X[i,j]", "--size", "i=64", "--size", "j=96", "--dtype", dtype)
    n = 64 * 96 * item
    (kernel,) = found["kernels"]
    for row in (kernel, found["total"]):
        assert set(KEYS) <= set(row)
        assert row["must_bytes"] == row["requested_bytes"] == row["device_bytes"] == 3 * n
        assert (row["ratio"], row["coalescing"], row["bank_conflicts"]) == (1.0, 1.0, 0)
    assert found["total"]["why"] == []
    assert found["sizes"] == {"i": 64, "j": 96}


def test_registers_and_spills() -> None:
    (kernel,) = shown("relu", "--size", "i=8", "--size", "j=8")["kernels"]
    try:
        nvrtc()
    except NoNvrtcError:
        assert (kernel["registers"], kernel["spill_bytes"], kernel["targets"]) == (None, None, {})
    else:
        assert kernel["spill_bytes"] == 0
        assert 0 < kernel["registers"] < 256
        assert {t["occupancy"] for t in kernel["targets"].values()} == {1.0}


def test_an_alias_moves_nothing() -> None:
    found = shown("Y[i] = A[i] + B[i]", "--size", "i=64")
    assert found["kernels"] == []
    assert [found["total"][k] for k in KEYS] == [0, 0, 0, 1.0, 0]


def test_what_two_kernels_read_is_said() -> None:
    """A tensor that two kernels of the backward need comes twice, since caches are cold at each launch."""
    found = profile(derive.parse("C[m,n] = sum(k, A[m,k]*B[k,n])"), {"m": 64, "n": 64, "k": 64}).json()
    total = found["total"]
    n = 4 * 64 * 64
    assert (total["must_bytes"], total["device_bytes"]) == (5 * n, 6 * n)
    assert any(w.startswith("dC (16384 bytes) is read by") for w in total["why"])
    assert total["flops"] == 2 * 2 * 64**3


def test_passes() -> None:
    both = shown("softmax", "--size", "i=8", "--size", "j=32", "--pass", "both")
    assert [k["pass"] for k in both["kernels"]] == ["forward", "backward"]
    n = 4 * 8 * 32
    assert [both["total"]["passes"][d]["must_bytes"] for d in ("forward", "backward")] == [2 * n, 3 * n]
    forward = shown("softmax", "--size", "i=8", "--size", "j=32", "--pass", "forward")
    assert forward["kernels"] == both["kernels"][:1]


def test_a_gather_sorts_its_places() -> None:
    """The gradient of a gather: sorted chunks, parts of 64 places that add to one row, sums."""
    found = shown("embedding", "--size", "v=64", "--size", "d=32", "--size", "b=4", "--size", "s=3000")
    assert [k["name"].removeprefix("backward_dE") for k in found["kernels"]] == ["_order", "_parts", ""]
    assert found["total"]["must_bytes"] == 12000 * 8 + 12000 * 32 * 4 + 64 * 32 * 4  # ids, dY, dE


@pytest.mark.parametrize("places", [1024, 4096, 16384])
def test_sorting_takes_five_bytes_a_place(places: int) -> None:
    """Its place in 16 bits, written and read again, and a sector of the parts' beginnings; the index is small."""
    found = shown("embedding", "--size", "v=256", "--size", "d=8", "--size", "b=1", "--size", f"s={places}")
    total = found["total"]
    index = 2 * 2 * -(-places // 4096) * (256 // 8 + 1)
    assert total["device_bytes"] - total["must_bytes"] <= 5 * places + index + 32 * 64


@pytest.mark.parametrize("width", [1, 3, 16, 40])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_narrow_and_odd_rows_have_no_bank_conflicts(width: int, dtype: str) -> None:
    found = shown("embedding", "--size", "v=100", "--size", f"d={width}", "--size", "b=5", "--size", "s=1000",
                  "--dtype", dtype)
    assert found["total"]["bank_conflicts"] == 0


def test_an_operation_without_gradients() -> None:
    assert shown("adamw", "--size", "i=16384", "--pass", "forward")["total"]["ratio"] < 1.001


def test_a_scatter_by_atomics_reads_what_it_adds_to() -> None:
    atomic = shown("embedding", "--size", "v=64", "--size", "d=32", "--size", "b=4", "--size", "s=64",
                   "--scatter", "atomic")
    assert [k["name"] for k in atomic["kernels"]] == ["backward_dE_zeros", "backward_dE"]
    assert "backward_dE both reads and writes dE (8192 bytes)" in atomic["total"]["why"]


@pytest.mark.slow
def test_scores_that_pass_through_memory() -> None:
    unfused = shown("attention", "--size", "b=1", "--size", "h=2", "--size", "t=64", "--size", "s=64", "--size", "d=16",
                    "--plan", "unfused")
    assert "attention" not in {k["plan"] for k in unfused["kernels"]}
    assert f"dP between kernels: {2 * 4 * 2 * 64 * 64} bytes" in unfused["total"]["why"]


def test_table_and_errors() -> None:
    run = CliRunner().invoke
    done = run(main, ["profile", "layernorm", "--size", "b=2", "--size", "s=4", "--size", "d=32"])
    assert done.exit_code == 0
    assert " KiB" in done.output
    assert "is read by backward" in done.output or "ratio" in done.output
    assert run(main, ["profile", "softmax", "--size", "q=4"]).exit_code == 2
    assert run(main, ["profile", "no_such_operation"]).exit_code == 2


@pytest.mark.parametrize("name", ["softmax", "layernorm", "matmul", "embedding"])
def test_default_sizes_are_moderate(name: str) -> None:
    from derive import catalog

    sizes = default_sizes(Drawer(read(catalog.load(name).text), {}, {}))
    assert all(1 <= n <= 512 and n & (n - 1) == 0 for n in sizes.values())
    assert max(sizes.values()) >= 32


def test_occupancy() -> None:
    assert occupancy("sm_80", 32, 256, 0) == 1.0
    assert occupancy("sm_80", 64, 256, 0) == 0.5
    assert occupancy("sm_80", 255, 256, 0) == 0.125
    assert occupancy("sm_80", 32, 256, 48 * 1024) == 0.375
    assert occupancy("sm_90", 32, 256, 48 * 1024) == 0.5
    assert occupancy("sm_90", 16, 32, 0) == 0.5
