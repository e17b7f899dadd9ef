"""Names of emitted CUDA that hide a name of an enclosing block."""

from __future__ import annotations

import re

DECLARED = re.compile(
    r"\b(?:float|double|INDEX|int|bool|unsigned|size_t|long long|__half|__nv_bfloat16|T|Real|Pack|real)\s+"
    r"(?:\*\s*(?:__restrict__)?\s*)?(?P<name>[A-Za-z_]\w*)\s*(?:=|;|\[|,\s|\)|:|>)"
)


def shadows(text: str) -> list[str]:
    """`line: name` of each declaration that hides another of the same function."""
    found: list[str] = []
    open_: list[set[str]] = [set()]
    held: set[str] = set()  # declared in brackets, or for a template: they belong to the block that follows
    depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        code = line.split("//")[0]
        if code.lstrip().startswith("#"):
            continue
        template = code.lstrip().startswith("template")
        names = [(m.start("name"), m["name"]) for m in DECLARED.finditer(code)]
        for at, c in enumerate(code):
            for where, name in names:
                if where == at:
                    if any(name in block for block in (*open_[1:], held)):
                        found.append(f"{number}: {name}")
                    (held if depth or template else open_[-1]).add(name)
            if c == "(":
                depth += 1
            elif c == ")":
                depth -= 1
            elif c == "{":
                open_.append(held)
                held = set()
            elif c == "}":
                open_.pop()
            elif c == ";" and not depth:
                held = set()
    return found
