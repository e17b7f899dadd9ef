"""Tensors whose names the NumPy rule needs for itself: `np`, `erf`, `float`, `int`.

A rule runs in a namespace that holds `np`, `erf` and the tensors. A tensor that is called `np` takes that name there,
so the rule starts by moving it aside:

    np_ = np
    import numpy as np

and ends with `np = np_`. Only what the rule uses is moved. `size_i`, the extent of `i`, comes from
outside and cannot be told from a tensor of that name: that is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from derive import expr as E
from derive.errors import DerivationError
from derive.expr import Expr, Get, Param
from derive.program import Program, Statement, Tensor

#: What the rule's own words mean, in the order in which they are defined.
WORDS = {
    "np": ["import numpy as np"],
    "erf": ["from math import erf", "erf = np.vectorize(erf, otypes=[float])"],
    "float": ["float = np.float64"],
    "int": ["int = np.int64"],
}

Printer = Callable[[Program, Program | None, dict[str, str]], list[str]]


def apart(program: Program, given: Program | None, printed: Printer) -> list[str]:
    """What `printed` makes of `program`, with tensors that take the rule's own words moved aside.

    Args:
        program: forward or backward.
        given: the forward program, when `program` is the backward one.
        printed: prints the two under the new names of tensors.

    Raises:
        DerivationError: a tensor is called as the extent of an index that the rule needs.
    """
    names = program.names | (given.names if given else set())
    moved = {w: _unused(w, names) for w in WORDS if w in names}
    lines = printed(_renamed(program, moved), given and _renamed(given, moved), moved)
    _check_sizes(lines, names, {f"size_{e}" for e in program.extents})
    if not moved:
        return lines
    words = _words(lines)
    if "erf" in words:
        words.add("np")
    moved = {w: new for w, new in moved.items() if w in words}
    lines = printed(_renamed(program, moved), given and _renamed(given, moved), moved)
    there = {t.name for t in program.inputs} | dict(program.params).keys()
    before = [f"{new} = {w}" for w, new in moved.items() if w in there]
    before += [line for w in WORDS if w in moved for line in WORDS[w]]
    return [*before, *lines, *(f"{w} = {new}" for w, new in moved.items())]


def _words(lines: Iterable[str]) -> set[str]:
    return {w for line in lines for w in re.findall(r"(?<![.\w])[^\W\d]\w*", line)}


def _check_sizes(lines: list[str], names: set[str], sizes: set[str]) -> None:
    for word in sorted(_words(lines) & names & sizes):
        raise DerivationError(f"{word} is what the rule calls the extent of {word[5:]}", value=word,
                              hint="rename the tensor, or the index")


def _renamed(p: Program, names: dict[str, str]) -> Program:
    def step(x: Expr) -> Expr:
        if isinstance(x, Get) and x.tensor in names:
            return Get(names[x.tensor], x.subs)
        return Param(names[x.name]) if isinstance(x, Param) and x.name in names else x

    if not names:
        return p
    return replace(
        p,
        params=tuple((names.get(n, n), v) for n, v in p.params),
        inputs=tuple(Tensor(names.get(t.name, t.name), t.axes, t.integer) for t in p.inputs),
        statements=tuple(Statement(names.get(s.name, s.name), s.indices, E.transform(s.expr, step), s.line)
                         for s in p.statements),
        outputs=tuple(names.get(o, o) for o in p.outputs),
    )


def _unused(name: str, names: set[str]) -> str:
    while name in names:
        name += "_"
    return name
