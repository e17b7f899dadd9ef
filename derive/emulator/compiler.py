"""The system's C++ compiler: finding it, naming it, and calling it for the runner and for kernels."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from derive.emulator import cache, redzones
from derive.emulator.errors import CompileError, NoCompilerError

HERE = Path(__file__).resolve().parent
INCLUDE = HERE / "include"
RUNTIME = HERE / "runtime"
_INCLUDES = (f"-I{INCLUDE}", f"-I{INCLUDE / 'hosted'}")

_COMMON = ("-std=c++20", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-march=native")
RUNNER_FLAGS = (*_COMMON, "-O2", "-rdynamic")
RUNNER_LIBRARIES = ("-lm", "-ldl", "-lpthread")
# Contraction to fused multiply-adds as nvcc does it, but no -ffast-math: NaN and infinity must mean what they mean.
_KERNEL_COMMON = (
    *_COMMON, "-fPIC", "-fvisibility=hidden", "-fno-plt", "-fno-math-errno", "-fno-trapping-math",
    "-ffp-contract=fast", "-fno-strict-aliasing", "-fstack-clash-protection", "-w",
)  # fmt: skip
LINK_FLAGS = ("-shared", "-Wl,-Bsymbolic")
# -O3 of g++ vectorises register tiles badly: half the speed of -O2.
KERNEL_FLAGS = (*_KERNEL_COMMON, "-O2", "-funroll-loops")
# Line tables in the version that dwarf.py reads; aggregates whole, so that a float4 is one access.
CHECK_FLAGS = (
    *_KERNEL_COMMON, "-O1", "-g1", "-gdwarf-4", "-fsanitize=thread,alignment", "-fsanitize-recover=alignment",
    "-DDERIVE_CHECK",
)  # fmt: skip
# Statics of templates would otherwise be shared by all loaded objects, and a static variable that no kernel writes
# would be known to be zeros, though the host may write it.
_GNU_COMMON = ("-fno-gnu-unique", "-fno-ipa-reference-addressable", "-fno-aggressive-loop-optimizations")
# Zen's tuning avoids multiply-adds.
_GNU_ONLY = (*_GNU_COMMON, "--param=avoid-fma-max-bits=0")
# Invariant motion keeps a place in a register for a whole loop: it reads what only one branch of the loop reads.
_GNU_CHECK = (*_GNU_COMMON, "-fno-tree-sra", "-fno-ipa-sra", "-fno-tree-loop-im")
# Volatile accesses tell themselves apart: a thread that reads so in a loop waits for another. From g++ 11 on.
VOLATILE = "--param=tsan-distinguish-volatile=1"
# A local variable that nothing has set holds no number of use, not what a thread before left in its place.
UNSET = "-ftrivial-auto-var-init=pattern"
# Types too, for a text that has some of its own: which bytes of a struct are padding.
TYPES, _STRUCTS = "-g2", re.compile(r"\b(?:struct|class|union)\b")
# Else a read is forgotten that a write to the same place follows.
_CLANG_CHECK = (
    "-mllvm", "-tsan-instrument-read-before-write=1", "-mllvm", "-tsan-instrument-func-entry-exit=0",
    "-mllvm", "-tsan-distinguish-volatile=1", "-fno-vectorize", "-fno-slp-vectorize",
)  # fmt: skip


@dataclass(frozen=True)
class Compiler:
    """A command that compiles C++, and the text that tells one compiler from another."""

    command: tuple[str, ...]
    identity: str

    @property
    def is_clang(self) -> bool:
        return "clang" in self.identity or "zig" in self.identity

    def run(self, arguments: list[str], what: str) -> None:
        """Compiles, or raises CompileError with the compiler's own words."""
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CompileError(f"{what} does not compile:\n{_shorten(done.stderr or done.stdout)}")


def _shorten(log: str) -> str:
    told, mark, consequences = log.partition("the list of kernels:")  # a kernel that does not compile is none there
    log = told if " error: " in told else told + mark + consequences
    lines = [line for line in log.splitlines() if not line.startswith("In file included from")]
    kept = lines[:40]
    if len(lines) > len(kept):
        kept.append(f"... and {len(lines) - len(kept)} more lines")
    return "\n".join(kept)


def _cpu() -> str:
    """What -march=native depends on: objects in a shared home directory must not meet another processor."""
    wanted = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return platform.processor()
    first = text.split("\n\n", 1)[0]
    return "\n".join(line for line in first.splitlines() if line.startswith(wanted))


def _candidates() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    if os.environ.get("CXX"):
        found.append(tuple(shlex.split(os.environ["CXX"])))
    found += [(name,) for name in ("c++", "g++", "clang++")]
    return [words for words in found if shutil.which(words[0])]


@functools.cache
def _find(cxx: str, path: str) -> Compiler:
    candidates = _candidates()
    if not candidates and importlib.util.find_spec("ziglang"):
        candidates = [(sys.executable, "-m", "ziglang", "c++")]
    for command in candidates:
        asked = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            where = shutil.which(command[0]) or command[0]
            return Compiler(command, f"{where} {' '.join(command[1:])} {asked.stdout.strip()} {platform.machine()}")
    raise NoCompilerError(
        "no C++ compiler found: the emulator compiles kernels with $CXX, c++, g++, clang++ or the ziglang package. "
        "Install one of them, for instance `apt install g++` or `pip install ziglang`."
    )


def find() -> Compiler:
    """The compiler of this machine."""
    return _find(os.environ.get("CXX", ""), os.environ.get("PATH", ""))


@functools.cache
def _takes(compiler: Compiler, flag: str) -> bool:
    """Whether the compiler knows a flag."""
    arguments = [*compiler.command, flag, "-x", "c++", "-fsyntax-only", os.devnull]
    return subprocess.run(arguments, capture_output=True, check=False).returncode == 0


@functools.cache
def _tree_hash(root: Path) -> str:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return cache.key(*(part for path in files for part in (str(path.relative_to(root)), path.read_bytes())))


def _flags(compiler: Compiler, flags: tuple[str, ...]) -> list[str]:
    chosen = list(flags)
    if flags is not RUNNER_FLAGS:
        check = flags is CHECK_FLAGS
        if compiler.is_clang:
            chosen += _CLANG_CHECK if check else ()
        else:
            chosen += _GNU_CHECK if check else _GNU_ONLY
            chosen += [VOLATILE] if check and _takes(compiler, VOLATILE) else []
        chosen += [UNSET] if _takes(compiler, UNSET) else []
    if platform.machine() in ("aarch64", "arm64"):
        chosen = ["-mcpu=native" if flag == "-march=native" else flag for flag in chosen]
    return chosen


def build_runner() -> Path:
    """The runner's executable, built once for this machine and this version of its source."""
    compiler = find()
    flags = _flags(compiler, RUNNER_FLAGS)
    name = "runner-" + cache.key(_tree_hash(RUNTIME), _tree_hash(INCLUDE), compiler.identity, _cpu(), *flags)

    def build(target: Path) -> None:
        sources = [str(path) for path in sorted(RUNTIME.glob("*.cpp"))]
        compiler.run([*flags, *sources, "-o", str(target), *RUNNER_LIBRARIES], "the emulator's runner")

    return cache.get_or_build(name, build)


def build_kernels(translation_unit: str, options: tuple[str, ...], what: str, *, check: bool = False) -> Path:
    """The shared object of a translation unit that includes derive_cuda.h; instrumented for check mode on request."""
    compiler = find()
    flags = [*_flags(compiler, CHECK_FLAGS if check else KERNEL_FLAGS), *options]
    flags += [TYPES] if check and _STRUCTS.search(translation_unit) else []
    after = Path(redzones.__file__).read_bytes() if check else b""
    name = cache.key(translation_unit, _tree_hash(INCLUDE), compiler.identity, _cpu(), after, *flags) + ".so"

    def build(target: Path) -> None:
        source, assembly = target.with_suffix(".cpp"), target.with_suffix(".s")
        try:
            source.write_text(translation_unit, encoding="utf-8")
            if not check:
                arguments = [*flags, *LINK_FLAGS, *_INCLUDES, str(source), "-o", str(target), "-lm"]
                return compiler.run(arguments, what)
            compiler.run([*flags, *_INCLUDES, "-S", str(source), "-o", str(assembly)], what)
            text = assembly.read_text(encoding="latin-1")  # any bytes: literals stand in it as they are
            assembly.write_text(redzones.add(text), encoding="latin-1")
            compiler.run([*LINK_FLAGS, str(assembly), "-o", str(target), "-lm"], what)
        finally:
            source.unlink(missing_ok=True)
            assembly.unlink(missing_ok=True)

    return cache.get_or_build(name, build)


def preprocess(translation_unit: str, options: tuple[str, ...]) -> str:
    """The text after the preprocessor; cached like an object."""
    compiler = find()
    flags = [*_COMMON, *options]
    name = cache.key("preprocess", translation_unit, _tree_hash(INCLUDE), compiler.identity, *flags) + ".ii"

    def build(target: Path) -> None:
        source = target.with_suffix(".cpp")
        source.write_text(translation_unit, encoding="utf-8")
        try:
            compiler.run(
                [*flags, "-E", "-P", *_INCLUDES, str(source), "-o", str(target)],
                "the CUDA source",
            )
        finally:
            source.unlink(missing_ok=True)

    return cache.get_or_build(name, build).read_text(encoding="utf-8")
