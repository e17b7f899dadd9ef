"""What this machine has: what derive needs, what it can use, and what to install for what is missing."""

from __future__ import annotations

import platform
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

KERNEL = """
extern "C" __global__ void sum(const float* x, float* y, int n)
{
    __shared__ float part[32];
    float s = 0;
    for (int i = threadIdx.x; i < n; i += 32) s += x[i];
    part[threadIdx.x] = s;
    __syncthreads();
    if (threadIdx.x == 0) { s = 0; for (int i = 0; i < 32; ++i) s += part[i]; *y = s; }
}
"""


@dataclass(frozen=True)
class Finding:
    """One thing looked for. `needed` ones make `derive doctor` fail when they are missing."""

    what: str
    found: bool
    detail: str
    install: str = ""
    needed: bool = False


def examine() -> list[Finding]:
    """Everything, in the order of need."""
    return [look() for look in (_python, _compiler, _cache, _nvrtc, _cupy, _gpu, _tex)]


def _python() -> Finding:
    fine = sys.version_info >= (3, 10)
    return Finding("Python", fine, f"{platform.python_version()} on {platform.system()} {platform.machine()}",
                   "Python 3.10 or newer", needed=True)


def _compiler() -> Finding:
    """The C++ compiler, and whether a kernel compiled by it gives the right number."""
    from derive import emulator
    from derive.emulator import compiler

    advice = "apt install g++, or pip install ziglang; the emulator runs kernels with it"
    try:
        command = " ".join(compiler.find().command)
        start = time.perf_counter()
        x, y = np.arange(100, dtype=np.float32), np.zeros(1, np.float32)
        emulator.RawKernel(KERNEL, "sum")((1,), (32,), (x, y, np.int32(100)))
        took = time.perf_counter() - start
    except emulator.EmulatorError as e:
        return Finding("C++ compiler", False, str(e).splitlines()[0], advice)
    if y[0] != 4950:
        return Finding("C++ compiler", False, f"{command} compiles a kernel that gives {y[0]:g} for 4950", advice)
    return Finding("C++ compiler", True, f"{command}; a kernel compiled and ran in {took:.1f} s")


def _cache() -> Finding:
    from derive.emulator import cache

    folder = cache.directory()
    size = sum(f.stat().st_size for f in folder.iterdir() if f.is_file())
    return Finding("cache folder", True, f"{folder}, {size / 2**20:.0f} MiB; DERIVE_CACHE_DIR moves it")


def _nvrtc() -> Finding:
    from derive.validate.compile import NoNvrtcError, compile_text, nvrtc

    advice = "pip install 'derive-cuda[nvrtc]'; it compiles for a GPU without one"
    try:
        version = ".".join(map(str, nvrtc().getVersion()))
        compile_text(KERNEL, "sm_80")
    except NoNvrtcError as e:
        return Finding("NVRTC", False, str(e).partition(":")[0], advice)
    except ValueError as e:
        return Finding("NVRTC", False, f"it refuses a kernel: {str(e).splitlines()[0]}", advice)
    return Finding("NVRTC", True, f"version {version}, compiles for sm_80")


def _cupy() -> Finding:
    try:
        import cupy
    except ImportError:
        return Finding("CuPy", False, "not installed", "pip install 'derive-cuda[cuda13]' (or cuda12), with a GPU")
    return Finding("CuPy", True, f"version {cupy.__version__}")


def _gpu() -> Finding:
    from derive.errors import RunError
    from derive.run import array_module

    try:
        cp = array_module("cupy")
        name = cp.cuda.runtime.getDeviceProperties(0)["name"].decode()
    except RunError as e:
        return Finding("GPU", False, e.what, "a GPU with its driver; without one the emulator runs the same kernels")
    return Finding("GPU", True, str(name))


def _tex() -> Finding:
    found = next((t for t in ("tectonic", "lualatex", "xelatex", "pdflatex") if shutil.which(t)), None)
    if found is None:
        return Finding("TeX", False, "no tectonic, lualatex, xelatex or pdflatex", "apt install texlive-xetex, for PDF")
    return Finding("TeX", True, str(shutil.which(found)))


def text(findings: list[Finding], paint: Callable[[str, str], str] = lambda text, colour: text) -> str:
    """One line a finding; what to install under those that are missing."""
    lines = []
    for f in findings:
        mark = paint("yes", "green") + "    " if f.found else paint("missing", "red" if f.needed else "yellow")
        lines.append(f"{f.what:13} {mark} {f.detail}")
        if not f.found and f.install:
            lines.append(f"{'':21} {f.install}")
    return "\n".join(lines)
