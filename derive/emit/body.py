"""What a function of the wrapper does: it allocates, launches and releases."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping

from derive.plan.lifetimes import Step, steps
from derive.plan.records import Buffer, Kernel, Pass, Text

Counts = Mapping[Text, str]

WIDTH = 98  # columns of a line, beside the 12 that a body is indented by


def body(p: Pass) -> list[str]:
    """The lines of a pass, below its checks."""
    counts = _counts(p)
    out = [f"{name} = {text}" for text, name in counts.items()]
    out += _launcher(p, counts)
    out += _given_out(p) if p.name == "backward" else [_empty(b) for b in p.results]
    same, every = dict(p.aliases), steps(p)
    for before, step in zip((None, *every), every, strict=False):
        made = [line for b in step.made for line in wrapped(_named(_empty(b), counts))]
        launch = list(_launch(step.kernel, counts))
        if any(b.name in same for b in step.kernel.writes):
            launch = _under("if out is not None:", launch)
        out += ["", *made, *launch] if _apart(before, step) and len(every) > 2 else [*made, *launch]
        if step.released and step is not every[-1]:
            out.append(f"del {', '.join(b.name for b in step.released)}")
    for b in p.results:
        if b.name in p.added:
            add = f'launch("add_into", (blocks({b.count}, 256),), (256,), ({b.name}, given_{b.name}), ({b.count},))'
            out += _under("if accumulate:", [*wrapped(add, WIDTH - 4), f"{b.name} = given_{b.name}"])
    return out


def _apart(before: Step | None, step: Step) -> bool:
    """Whether a step stands apart from the one before it: unless it uses up what that has made."""
    return before is None or not set(before.made) & set(step.released)


def _counts(p: Pass) -> dict[Text, str]:
    """In how many parts sums are taken: each expression for it, and a name."""
    found: dict[Text, str] = {}
    for b in p.temporaries:
        for text in (text for axis in b.axes for text in _chunks(axis)):
            found.setdefault(text, f"{b.name.removesuffix('_partial')}_chunks")
    if len(found) == 1:
        found = dict.fromkeys(found, "chunks")
    taken = {b.name for b in (*p.arguments, *p.results, *p.temporaries)} | {r.name for r in p.sizes}
    return {text: name + "_" * (name in taken) for text, name in found.items()}


def _named(text: Text, counts: Counts) -> Text:
    for expression, name in counts.items():
        text = text.replace(expression, name)
    return text


def _chunks(text: Text) -> Iterator[Text]:
    """The calls in a size expression that say in how many parts a sum is taken."""
    for node in ast.walk(ast.parse(text, mode="eval")):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("_chunks"):
            yield ast.get_source_segment(text, node) or ""


def _launcher(p: Pass, counts: Counts) -> list[str]:
    """`launch`, of the module whose INDEX holds the count of the largest array."""
    texts = sorted({b.count for b in (*p.arguments, *p.results, *p.temporaries)} | {_count(k) for k in p.kernels})
    # A count is named once, in whatever order its factors stand.
    several = {"*".join(sorted(t.split("*"))): _named(t, counts) for t in texts if not t.isdigit()}
    largest = f"max{listed(several.values())}" if len(several) > 1 else next(iter(several.values()), "1")
    ids = [f'("{b.name}", {b.name})' for b in p.arguments if b.dtype == "ids"]
    named = "count" if len(several) > 1 else largest
    launch = f"launch = partial(self.launch, *self.module({named}, {listed(ids)}))"
    return [*wrapped(f"count = {largest}"), launch] if len(several) > 1 else [launch]


def _count(k: Kernel) -> str:
    count = str(getattr(k.shape, "count", "1"))
    return "1" if count == "chunks" else count


def _given_out(p: Pass) -> list[str]:
    """Gradient arrays: new ones, or those given."""
    names = ", ".join(b.name for b in p.results)
    same = dict(p.aliases)
    new = ["if accumulate:", '    raise ValueError("accumulate=True needs out=: the arrays to add to")']
    new += [f"{b.name} = {same[b.name]}" if b.name in same else _empty(b) for b in p.results]
    comma = "," * (len(p.results) == 1)
    given = wrapped(f"({names}) = out" if len(names) > WIDTH - 10 else f"{names}{comma} = out")
    given += [f'self.check("{b.name}", {b.name}, "{b.dtype}", {listed(b.axes)})' for b in p.results]
    lines = [*_under("if out is None:", new), *_under("else:", given)]
    for b in p.results:
        if b.name in p.added:  # kernels to come read this gradient alone: the sum is made at the end
            lines += _under("if accumulate:", [f"given_{b.name} = {b.name}", _empty(b)])
    return lines


def _empty(b: Buffer) -> str:
    return f'{b.name} = cp.empty({listed(b.axes)}, dtypes["{b.dtype}"])'


def _launch(k: Kernel, counts: Counts) -> Iterator[str]:
    shared = k.launch.shared
    if shared != "0":
        yield f"shared = {shared}"
    grid, block = (_dimensions(_named(x, counts) for x in t) for t in (k.launch.grid, k.launch.block))
    sizes = [_named(s.split("=", 1)[-1], counts) for s in k.sizes]
    arrays = [b.name for b in (*k.reads, *k.writes)]
    more = ["accumulate=accumulate"] * k.accumulates
    if shared != "0":
        sizes, more = ["shared" if s == shared else s for s in sizes], ["shared", *more]
    width = WIDTH - 4 if k.launch.needed else WIDTH
    lines = wrapped(f'launch("{k.name}", {", ".join([grid, block, listed(arrays), listed(sizes), *more])})', width)
    if k.launch.needed:
        lines = _under(f"if {_named(k.launch.needed, counts)}:  # the sum was split: add up its parts", lines)
    yield from lines


def _dimensions(texts: Iterable[str]) -> str:
    """Of a grid or a block, without ones at its end."""
    given = [t for t in texts if t]
    while len(given) > 1 and given[-1] == "1":
        given.pop()
    return given[0][1:] if len(given) == 1 and given[0].startswith("*") else listed(given)


def _under(head: str, lines: Iterable[str]) -> list[str]:
    return [head, *("    " + line for line in lines)]


def listed(items: Iterable[str]) -> str:
    """A tuple."""
    given = [_bare(x) for x in items]
    return f"({', '.join(given)}{',' if len(given) == 1 else ''})"


def _bare(text: Text) -> Text:
    """Without brackets around the whole of it."""
    bracketed = re.fullmatch(r"\(([^()]*)\)", text)
    return bracketed[1] if bracketed and "," not in text else text


def wrapped(line: str, width: int = WIDTH) -> list[str]:
    """A statement in lines of at most `width` columns, as far as that goes: broken behind a comma where the fewest
    brackets are open, and continued below the innermost of these."""
    found, indents = [], [len(line) - len(line.lstrip())]
    while len(line) > width:
        breaks = list(_breaks(line, indents))
        fitting = [b for b in breaks if b[1] < width] or breaks[:1]
        if not fitting:
            break
        _, at, open_ = min(fitting, key=lambda b: (b[0], -b[1]))
        found.append(line[:at])
        indents = open_
        line = " " * open_[-1] + line[at:].lstrip()
    return [*found, line]


def _breaks(line: str, indents: list[int]) -> Iterator[tuple[int, int, list[int]]]:
    """Each comma that a line may be broken behind: how many brackets are open, where it is, the columns inside them.

    Args:
        indents: columns inside the brackets that are open where the line begins.
    """
    open_ = list(indents)
    for at, c in enumerate(line):
        if c in "([":
            open_ = [*open_, at + 1]
        elif c in ")]":
            open_ = open_[:-1]
        elif c == "," and len(open_) > 1 and line[at + 1 : at + 2] == " ":
            yield len(open_), at + 1, open_
