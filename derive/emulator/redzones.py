"""Unused bytes around the variables of kernels, so that one step past an array meets no other array.

Works on the compiler's assembly: an array's size in the language, and in the symbol table, stays what it was.
"""

from __future__ import annotations

import re

SIZE = 16384  # DERIVE_REDZONE of include/derive/abi.h

# `.local x` and `.comm x,1024,32`: zeroed memory that the linker lays out.
_COMMON = re.compile(r"^\s*\.comm\s+(?P<name>[\w$.]+),\s*(?P<size>\d+)(?:,\s*(?P<align>\d+))?.*$", re.MULTILINE)
# A label and its data. (A redzone is a multiple of every alignment, so it does not move it off.)
_DATA = r"\.(?:zero|byte|value|short|hword|word|[248]byte|long|quad|xword|string|ascii|asciz)\b"
_LABEL = re.compile(rf"^(?P<name>[\w$.]+):.*\n(?P<data>(?:\s*{_DATA}.*\n)+)", re.MULTILINE)


def _is_ours(name: str) -> bool:
    """Whether the emulator itself, or the C++ language, made this variable."""
    if name == "derive_dynamic_shared":
        return False
    return name.startswith(("derive_", "_ZGV", "_ZTI", "_ZTS", ".L"))


def add(assembly: str) -> str:
    """The assembly with a redzone before and after each variable of the kernels."""

    def common(match: re.Match[str]) -> str:
        name = match["name"]
        if _is_ours(name):
            return match.group()
        return (
            f"\t.pushsection .bss\n\t.zero {SIZE}\n\t.balign {max(256, int(match['align'] or 1))}\n"
            f"\t.type {name},@object\n{name}:\n\t.zero {match['size']}\n\t.size {name}, {match['size']}\n"
            f"\t.zero {SIZE}\n\t.popsection"
        )

    def label(match: re.Match[str]) -> str:
        if _is_ours(match["name"]):
            return match.group()
        return f"\t.zero {SIZE}\n{match['name']}:\n{match['data']}\t.zero {SIZE}\n"

    return _COMMON.sub(common, _LABEL.sub(label, assembly))
