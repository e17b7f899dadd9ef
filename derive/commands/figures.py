"""What NVRTC says of emitted kernels, kept in contract.json.

    "compiled": {"nvrtc": "13.5", "source": <sha256 of OP.cu>, "kernels": {<name>: {"sm_80": {"registers": 64, ...}}}}

`derive emit --nvrtc` writes the section.  Without it, emitting the same CUDA text over a folder keeps the section that
stands there, and another text drops it, so that the bytes of a folder depend neither on NVRTC being installed nor on
its version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from derive.errors import RunError
from derive.validate.compile import NoNvrtcError, by_kernel, nvrtc

Files = Mapping[str, str]
CONTRACT = "contract.json"


def compiled(files: Files) -> Files:
    """`files` with the registers and spills of every kernel in the contract.

    Raises:
        RunError: there is no NVRTC, or it refuses the text.
    """
    code = _cuda(files)
    try:
        version = ".".join(map(str, nvrtc().getVersion()))
        kernels = {name: {u.architecture: {"registers": u.registers, "spill_bytes": u.spilled} for u in found}
                   for name, found in by_kernel(code).items()}
    except NoNvrtcError as e:
        raise RunError("the kernels cannot be compiled", value=str(e), hint="leave out --nvrtc") from e
    return _with(files, {"nvrtc": version, "source": _hash(code), "kernels": dict(sorted(kernels.items()))})


def kept(files: Files, folder: Path) -> Files:
    """`files` with the section that stands in `folder`, if it is about the same text."""
    try:
        section = json.loads((folder / CONTRACT).read_text(encoding="utf-8"))["compiled"]
        same = section["source"] == _hash(_cuda(files))
    except (OSError, ValueError, KeyError, TypeError):
        return files
    return _with(files, section) if same else files


def _with(files: Files, section: Mapping[str, Any]) -> Files:
    contract = {**json.loads(files[CONTRACT]), "compiled": section}
    return {**files, CONTRACT: json.dumps(contract, indent=2, ensure_ascii=False) + "\n"}


def _cuda(files: Files) -> str:
    return next(text for name, text in files.items() if name.endswith(".cu"))


def _hash(code: str) -> str:
    return sha256(code.encode()).hexdigest()
