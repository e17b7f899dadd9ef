"""`derive sanitize`: other people's kernels, checked from the command line."""

import json
from pathlib import Path

import pytest

from tests.drive import command

SUM = """\
extern "C" __global__ void total(const float* x, float* out, float scale, int n) {
    extern __shared__ float s[];
    int t = threadIdx.x, i = blockIdx.x*blockDim.x + t;
    s[t] = i < n ? x[i] : 0;
    __syncthreads();
    for (int k = blockDim.x/2; k > 0; k /= 2) {
        if (t < k) s[t] += s[t + k];
        __syncthreads();
    }
    if (t == 0) out[blockIdx.x] = scale*s[0];
}
"""
LAUNCH = ["--kernel", "total", "--grid", "4", "--block", "64", "--shared", "256", "--arg", "x=float32[250]",
          "--arg", "out=float32[4]:uninitialized", "--arg", "n=250", "--arg", "scale=2"]  # fmt: skip


def sanitize(folder: Path, code: str, *more: str):  # type: ignore[no-untyped-def]
    path = folder / "sum.cu"
    path.write_text(code)
    return command("sanitize", path, *LAUNCH, *more)


def test_a_right_kernel_has_no_findings(tmp_path: Path) -> None:
    done = sanitize(tmp_path, SUM)
    assert (done.exit_code, done.output) == (0, "total: no findings\n")


@pytest.mark.parametrize(
    ("old", "new", "kind", "line"),
    [
        ("i < n ? x[i] : 0", "x[i]", "out-of-bounds", 4),
        ("        __syncthreads();\n    }", "    }", "race", 7),
        ("if (t == 0) out", "if (t < 0) out", None, 0),
        ("    s[t] = i < n", "    if (t > 0) s[t] = i < n", "uninitialized", 7),
    ],
)
def test_seeded_faults_are_found(tmp_path: Path, old: str, new: str, kind: str | None, line: int) -> None:
    assert old in SUM
    done = sanitize(tmp_path, SUM.replace(old, new), "--json")
    reports = json.loads(done.stdout)["reports"]
    assert done.exit_code == (1 if kind else 0)
    assert not kind or (kind, line) in {(r["kind"], r["line"]) for r in reports}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--arg", "y=float32[3]"], ["y", "no parameter"]),
        (["--arg", "x=floaty[3]"], ["x", "float32"]),
        (["--arg", "n=many"], ["n", "number", "many"]),
        (["--arg", "oops"], ["NAME=VALUE", "oops"]),
        (["--grid", "a"], ["--grid", "a"]),
        (["--kernel", "nope"], ["nope", "total"]),
    ],
)
def test_bad_arguments(tmp_path: Path, more: list[str], words: list[str]) -> None:
    done = sanitize(tmp_path, SUM, *more)
    assert done.exit_code == 2
    assert all(w in done.output for w in words), done.output


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = command("sanitize", tmp_path / "no.cu", *LAUNCH)
    assert done.exit_code == 2
    assert "no.cu" in done.output


LARGE = """\
extern "C" __global__ void swap(const double* x, double* out, int n) {
    __shared__ double half[256];
    extern __shared__ double all[];
    int t = threadIdx.x;
    for (int i = t; i < n; i += 256) all[i] = x[i];
    half[t] = x[t];
    __syncthreads();
    for (int i = t; i < n; i += 256) out[i] = all[n - 1 - i] + half[255 - t];
}
"""


@pytest.mark.parametrize(
    ("doubles", "status", "said"),
    [
        (6144 - 256, 0, "no findings"),  # 48 KiB with what is static
        (6144, 0, "no findings"),
        (227 * 128 - 256, 0, "no findings"),  # all that a block of the hardware has
        (227 * 128 - 255, 1, "launch-limit"),
        (10**6, 1, "launch-limit"),
    ],
)
def test_dynamic_shared_memory_up_to_the_limit_of_the_hardware(
    tmp_path: Path, doubles: int, status: int, said: str
) -> None:
    path = tmp_path / "swap.cu"
    path.write_text(LARGE)
    done = command("sanitize", path, "--kernel", "swap", "--grid", "1", "--block", "256", "--shared", 8 * doubles,
                   "--arg", f"x=float64[{doubles}]", "--arg", f"out=float64[{doubles}]:uninitialized",
                   "--arg", f"n={doubles}")  # fmt: skip
    assert (done.exit_code, said in done.output) == (status, True), done.output


def test_an_access_past_large_dynamic_shared_memory_is_found(tmp_path: Path) -> None:
    path = tmp_path / "swap.cu"
    path.write_text(LARGE)
    done = command("sanitize", path, "--kernel", "swap", "--grid", "1", "--block", "256", "--shared", 8 * 7999,
                   "--arg", "x=float64[8000]", "--arg", "out=float64[8000]:uninitialized", "--arg", "n=8000",
                   "--json")  # fmt: skip
    reports = json.loads(done.output)["reports"]
    assert done.exit_code == 1
    assert "out-of-bounds" in {r["kind"] for r in reports}
    assert {r["line"] for r in reports} <= {5, 8}


OPTIONAL = """\
template <typename T> __global__ void add(const T* x, const T* bias, T* y) {
    y[threadIdx.x] = x[threadIdx.x] + (bias != nullptr ? bias[threadIdx.x] : T(0));
}
"""


@pytest.mark.parametrize(("bias", "status"), [("null", 0), ("float32[8]", 0), ("float32[7]", 1)])
def test_a_pointer_to_nothing(tmp_path: Path, bias: str, status: int) -> None:
    path = tmp_path / "add.cu"
    path.write_text(OPTIONAL)
    launch = ["--grid", "1", "--block", "8", "--arg", "x=float32[8]", "--arg", f"bias={bias}", "--arg", "y=float32[8]"]
    assert command("sanitize", path, "--kernel", "add<float>", *launch).exit_code == status
    unnamed = command("sanitize", path, "--kernel", "add", *launch)
    assert unnamed.exit_code == 2
    assert "as in add<float>" in unnamed.output
