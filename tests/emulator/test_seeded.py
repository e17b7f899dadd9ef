"""Kernels of many sorts: right ones give no report, and each seeded bug is found with its line, in both interfaces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import derive.emulator as em
from tests.drive import command
from tests.emulator.seeded import Case
from tests.emulator.seeded_blocks import BLOCKS
from tests.emulator.seeded_lanes import LANES
from tests.emulator.seeded_locks import LOCKS
from tests.emulator.seeded_more import MORE
from tests.emulator.seeded_sync import SYNC

CASES = [*BLOCKS, *LANES, *LOCKS, *MORE, *SYNC]

# What a bug of one kind may bring with it: a value that another thread has yet to write, a meeting that fell apart.
ALSO = {
    "race": {"uninitialized"},
    "barrier-divergence": {"race", "uninitialized"},
    "warp-divergence": {"race", "uninitialized", "out-of-bounds"},
    "misaligned": {"out-of-bounds"},
    "out-of-bounds": {"uninitialized"},
}


def marked(code: str, word: str) -> set[int]:
    return {n for n, line in enumerate(code.splitlines(), 1) if word in line.partition("//")[2]}


def launch(case: Case, code: str, order: str, check: bool = True) -> tuple[list[Any], tuple[em.Report, ...]]:
    expressions = (case.kernel,) if "<" in case.kernel else ()
    module = em.RawModule(code=code, name_expressions=expressions, check=check, order=order,
                          uninitialized=case.uninitialized)  # fmt: skip
    args = case.args()
    try:
        module.get_function(case.kernel)(case.grid, case.block, args, shared_mem=case.shared)
    except em.CheckError as error:
        return args, error.reports
    return args, ()


SORTS = list({c.code: c for c in CASES}.values())


@pytest.mark.parametrize("case", SORTS, ids=lambda c: c.kernel)
def test_right_kernels_give_no_report(case: Case) -> None:
    for order in ("sequential", "random"):
        args, reports = launch(case, case.code, order)
        assert reports == ()
        assert case.holds(args)
    if not case.waits:
        args, _ = launch(case, case.code, "random", check=False)
        assert case.holds(args)


@pytest.mark.parametrize("order", ["sequential", "random"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.kernel}: {c.name}")
def test_seeded_bugs_are_found(case: Case, order: str) -> None:
    _, reports = launch(case, case.broken, order)
    mine = [r for r in reports if r.kind == case.kind]
    bugs, others = marked(case.broken, "BUG"), marked(case.broken, "OTHER")
    said = [str(r) for r in reports]
    assert mine, said
    if "divergence" in case.kind:  # threads that parted meet at the next places too
        assert any(bugs & {r.line, r.other_line} for r in mine), said
    else:
        assert {r.line for r in mine} <= bugs | others, said
    if others:
        pairs = {(r.line, r.other_line) for r in mine} | {(r.other_line, r.line) for r in mine}
        assert any(a in bugs and b in others for a, b in pairs), said
    assert {r.kind for r in reports} <= {case.kind} | ALSO.get(case.kind, set()), said
    assert all(r.variable or "divergence" in r.kind for r in mine[:1]), said


LIMITED = """
extern "C" __global__ void fill(float* y, int n)
{
    __shared__ float s[%d];
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    s[threadIdx.x %% 8] = 1;
    if (i < n) y[i] = 1;
}
"""


@pytest.mark.parametrize(
    ("floats", "grid", "block", "shared"),
    [(8, 1, 1056, 0), (8, 1, (32, 4, 65), 0), (8, (1, 70_000), 32, 0), (8, 0, 32, 0), (12_289, 1, 32, 0),
     (8, 1, 32, 48 * 1024), (8, 1, 32, -4)],
)  # fmt: skip
def test_launches_that_no_gpu_takes(floats: int, grid: Any, block: Any, shared: int) -> None:
    with pytest.raises(em.CheckError) as caught:
        em.RawModule(code=LIMITED % floats, check=True).get_function("fill")(
            grid, block, (np.zeros(4, np.float32), np.int32(4)), shared_mem=shared)  # fmt: skip
    assert {(r.kind, r.line) for r in caught.value.reports} == {("launch-limit", 2)}


def test_shared_memory_up_to_what_is_asked_for() -> None:
    kernel = em.RawModule(code=LIMITED % 8, check=True).get_function("fill")
    kernel.max_dynamic_shared_size_bytes = 100_000
    y = np.zeros(4, np.float32)
    kernel(1, 32, (y, np.int32(4)), shared_mem=100_000)
    assert (y == 1).all()
    with pytest.raises(em.CheckError, match="100001 bytes"):
        kernel(1, 32, (y, np.int32(4)), shared_mem=100_001)


def given(case: Case, name: str, value: Any, folder: Path) -> list[str]:
    if isinstance(value, np.ndarray):
        if name in case.uninitialized:
            return ["--arg", f"{name}={value.dtype}[{value.size}]:uninitialized"]
        np.save(folder / f"{name}.npy", value)
        return ["--arg", f"{name}={folder / name}.npy"]
    return ["--arg", f"{name}={value}"]


@pytest.mark.parametrize("case", [c for c in CASES if c.kernel != "heat"][::4], ids=lambda c: f"{c.kernel}: {c.name}")
def test_from_the_command_line(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "mine.cu"
    extents = [",".join(map(str, n if isinstance(n, tuple) else (n,))) for n in (case.grid, case.block)]
    expressions = (case.kernel,) if "<" in case.kernel else ()
    names = em.RawModule(code=case.code, name_expressions=expressions).get_function(case.kernel).signature.parameters
    args = [w for p, v in zip(names, case.args(), strict=True) for w in given(case, p.name, v, tmp_path)]
    words = ["--kernel", case.kernel, "--grid", extents[0], "--block", extents[1], "--shared", case.shared, *args]
    for code, status in ((case.code, 0), (case.broken, 1)):
        file.write_text(code)
        done = command("sanitize", file, *map(str, words), "--json")
        assert done.exit_code == status, done.output
        reports = json.loads(done.stdout)["reports"]
        assert bool(reports) == bool(status)
        if status:
            assert case.kind in {r["kind"] for r in reports}
            lines = {r["line"] for r in reports if r["kind"] == case.kind}
            assert lines & (marked(code, "BUG") | marked(code, "OTHER"))
