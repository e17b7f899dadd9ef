"""Level 3: every emitted kernel compiled for GPUs by NVRTC, which needs no GPU; registers and spills are read."""

from __future__ import annotations

import json
import re
import sysconfig
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from derive.emit import sources
from derive.emulator import cache as disk
from derive.errors import RunError
from derive.operation import Operation
from derive.plan import Plan
from derive.plan.names import clean
from derive.validate.records import FAIL, NOT_RUN, PASS, Count, Result, Said, spoken

ARCHITECTURES = ("sm_80", "sm_90")


@dataclass(frozen=True)
class Usage:
    """What ptxas says of one kernel on one architecture."""

    kernel: str
    architecture: str
    registers: int
    spilled: int  # bytes of spill stores and loads


class NoNvrtcError(Exception):
    """NVRTC cannot be loaded, and why: nothing means that it is not installed."""

    def __init__(self, why: str = ""):
        self.said: Said = ("broken nvrtc", {"why": why}) if why else ("no nvrtc", {})
        super().__init__(spoken((self.said,)))


@cache
def nvrtc() -> Any:
    """CuPy's binding of NVRTC, with a version read to see that the library itself is there."""
    try:
        from cupy.cuda import nvrtc as found

        found.getVersion()
    except ImportError as e:
        raise NoNvrtcError from e
    except Exception as e:  # whatever a broken installation raises
        raise NoNvrtcError(_first(e)) from e
    return found


def _first(e: Exception) -> str:
    return (str(e).splitlines() or [type(e).__name__])[0]


def _refused(e: Exception) -> str:
    """The first error of NVRTC's log."""
    return next((line for line in str(e).splitlines() if "error" in line), _first(e))


@cache
def include_folders() -> tuple[str, ...]:
    """CUDA's own headers, from the wheels or from a toolkit."""
    site = Path(sysconfig.get_path("purelib")) / "nvidia"
    roots = [*sorted(site.glob("cu1*/include")), *sorted(site.glob("*/include")), Path("/usr/local/cuda/include")]
    found = [p for p in roots if p.is_dir()]
    return tuple(str(p) for r in found for p in (r, r / "cccl") if p.is_dir())


def compile_text(code: str, architecture: str, defines: tuple[str, ...] = ()) -> tuple[Usage, ...]:
    """Compile CUDA text for one architecture.

    Raises:
        NoNvrtcError: there is no NVRTC.
        ValueError: it refuses the text; with its log.
    """
    lib = nvrtc()
    program = lib.createProgram(code, "kernels.cu", (), ())
    options = [f"--gpu-architecture={architecture}", "--std=c++17", "--ptxas-options=-v",
               *(f"-I{f}" for f in include_folders()), *(f"-D{d}" for d in defines)]
    try:
        lib.compileProgram(program, options)
        return tuple(_usage(lib.getProgramLog(program), architecture))
    except Exception as e:
        log = lib.getProgramLog(program)
        raise ValueError(log if isinstance(log, str) and log.strip() else str(e)) from e
    finally:
        lib.destroyProgram(program)


def by_kernel(code: str) -> dict[str, list[Usage]]:
    """What each kernel of a text takes, one for each architecture.

    Raises:
        NoNvrtcError: NVRTC cannot be loaded.
        RunError: NVRTC refuses the text.
    """
    found: dict[str, list[Usage]] = {}
    try:
        for architecture in ARCHITECTURES:
            for u in compile_once(code, architecture):
                found.setdefault(u.kernel, []).append(u)
    except ValueError as e:
        raise RunError("NVRTC refuses the kernels", value=_refused(e)) from e
    return found


def compile_once(code: str, architecture: str, defines: tuple[str, ...] = ()) -> tuple[Usage, ...]:
    """As `compile_text`, and kept on disk: the same text gives the same code under the same NVRTC."""
    made_by = (*map(str, nvrtc().getVersion()), *include_folders())

    def build(target: Path) -> None:
        target.write_text(json.dumps([asdict(u) for u in compile_text(code, architecture, defines)]), encoding="utf-8")

    name = disk.key("nvrtc", code, architecture, *defines, *made_by) + ".json"
    return tuple(Usage(**u) for u in json.loads(disk.get_or_build(name, build).read_text(encoding="utf-8")))


def _usage(log: str, architecture: str) -> list[Usage]:
    found = []
    for part in log.split("Compiling entry function '")[1:]:
        spills = sum(int(n) for n in re.findall(r"(\d+) bytes spill", part))
        registers = re.search(r"Used (\d+) registers", part)
        found.append(Usage(part.partition("'")[0], architecture, int(registers[1]) if registers else 0, spills))
    return found


def compiled(op: Operation, plan: Plan) -> Result:
    """Level 3: for sm_80 with 32-bit sizes, for sm_90 with 64-bit ones."""
    code = sources(op.name, plan)[f"{clean(op.name)}.cu"]
    usages: list[Usage] = []
    try:
        for architecture, defines in zip(ARCHITECTURES, ((), ("INDEX=long long",))):
            usages += compile_once(code, architecture, defines)
    except NoNvrtcError as e:
        return Result.of("compile", NOT_RUN, e.said)
    except ValueError as e:
        return Result("compile", FAIL, _refused(e))
    wanted = {k.name for p in plan.passes for k in p.kernels}
    missing = sorted(wanted - {u.kernel for u in usages})
    if missing:
        return Result("compile", FAIL, f"no code for {', '.join(missing)}", len(usages))
    spills = [u for u in usages if u.spilled]
    most = max((u.registers for u in usages), default=0)
    said: Said = ("compiled", {"n": Count(len(wanted)), "architectures": ARCHITECTURES, "registers": most})
    worst: Said = ("no spills", {})
    if spills:
        worst = ("spills", {"kernel": spills[0].kernel, "n": Count(spills[0].spilled)})
    return Result.of("compile", PASS, said, worst, cases=len(usages))
