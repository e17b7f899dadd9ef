"""The judge's own reading of a formula: its lines, its tensors, the extents of its letters.

Straight from the text through Python's `ast`. Nothing here is shared with `derive.notation` or the rest of the
compiler, so that a mistake there shows up as a difference. What the notation forbids is refused by the compiler;
here only that is refused which has no meaning.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from derive.errors import NotationError, ShapeError, Where

REDUCTIONS = ("sum", "mean", "max", "min", "logsumexp")
BINDERS = (*REDUCTIONS, "softmax")  # softmax binds nothing, but names its index in the same place


@dataclass(frozen=True)
class Statement:
    """`name[letters] = tree`, and the code it was read from."""

    name: str
    letters: tuple[str, ...]
    tree: ast.expr
    code: str


@dataclass(frozen=True)
class Access:
    """`tensor[subscripts]`, on either side of a statement."""

    tensor: str
    subscripts: tuple[ast.expr, ...]


@dataclass
class Formula:
    """A formula, line by line. `letters` are all index letters, `inputs` all tensors that no statement defines."""

    params: dict[str, ast.expr] = field(default_factory=dict)
    declared: dict[str, tuple[str, ...]] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    outputs: tuple[str, ...] = ()
    letters: set[str] = field(default_factory=set)
    stated: dict[str, int] = field(default_factory=dict)  # letter -> the extent that a `size` line states
    inputs: tuple[str, ...] = ()
    integers: set[str] = field(default_factory=set)

    def accesses(self) -> Iterator[Access]:
        """Every access of every tensor: declarations, left sides, right sides."""
        for name, letters in self.declared.items():
            yield Access(name, tuple(ast.Name(x) for x in letters))
        for s in self.statements:
            yield Access(s.name, tuple(ast.Name(x) for x in s.letters))
            for node in ast.walk(s.tree):
                if isinstance(node, ast.Subscript):
                    yield Access(name_of(node.value, s.code), tuple(subscripts(node)))


def read(text: str) -> Formula:
    """The formula that `text` spells."""
    f = Formula()
    for code in logical_lines(text):
        word, _, rest = code.partition(" ")
        if word == "param" and rest.lstrip()[:1].isidentifier():
            target, value = assignment(rest)
            f.params[name_of(target, code)] = value
        elif word == "size" and rest.lstrip()[:1].isidentifier():
            target, value = assignment(rest)
            f.stated[name_of(target, code)] = whole(value, code)
        elif word == "input" and rest.lstrip()[:1].isidentifier():
            tensor, _, kind = rest.partition(":")
            name, letters = left_side(ast.parse(tensor.strip(), mode="eval").body, code)
            f.declared[name] = letters
            f.letters.update(letters)
            f.integers.update([name] if kind.strip() == "int" else [])
        elif word == "output" and rest.lstrip()[:1].isidentifier():
            f.outputs = tuple(x.strip() for x in rest.split(",") if x.strip())
        else:
            target, value = assignment(code)
            name, letters = left_side(target, code)
            f.statements.append(Statement(name, letters, value, code))
            f.letters.update(letters)
    for s in f.statements:
        for node in ast.walk(s.tree):
            if isinstance(node, ast.Call) and called(node) in BINDERS:
                f.letters.update(name_of(a, s.code) for a in node.args[:-1])
    f.outputs = f.outputs or (f.statements[-1].name,)
    find_inputs(f)
    return f


def logical_lines(text: str) -> Iterator[str]:
    """Lines without comments; one that ends inside brackets goes on in the next."""
    held = ""
    for line in text.splitlines():
        held += line.split("#")[0].rstrip() + " "
        if held.count("(") + held.count("[") <= held.count(")") + held.count("]"):
            yield from (part.strip() for part in held.split(";") if part.strip())
            held = ""
    if held.strip():
        raise NotationError("a bracket is not closed", where=Where(held.strip()))


def assignment(code: str) -> tuple[ast.expr, ast.expr]:
    try:
        (node,) = ast.parse(code.strip()).body
        assert isinstance(node, ast.Assign)
        assert len(node.targets) == 1
    except (SyntaxError, ValueError, AssertionError) as e:
        raise NotationError("this is no statement", where=Where(code), hint="write Y[i] = expression") from e
    return node.targets[0], node.value


def whole(node: ast.expr, code: str) -> int:
    match node:
        case ast.Constant(value=int(n)):
            return n
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return whole(left, code) * whole(right, code)
    raise NotationError("a whole number must stand here", where=Where.of(code, node), value=ast.unparse(node))


def left_side(node: ast.expr, code: str) -> tuple[str, tuple[str, ...]]:
    if isinstance(node, ast.Subscript):
        return name_of(node.value, code), tuple(name_of(x, code) for x in subscripts(node))
    return name_of(node, code), ()


def subscripts(node: ast.Subscript) -> list[ast.expr]:
    return list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]


def name_of(node: ast.expr, code: str) -> str:
    if not isinstance(node, ast.Name):
        raise NotationError("a name must stand here", where=Where.of(code, node), value=ast.unparse(node))
    return node.id


def called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)


def find_inputs(f: Formula) -> None:
    """Inputs in order of appearance, and which of them hold integers: those that stand inside a subscript."""
    defined = {s.name for s in f.statements}
    found: dict[str, None] = dict.fromkeys(f.declared)
    for s in f.statements:
        functions = {id(n.func) for n in ast.walk(s.tree) if isinstance(n, ast.Call)}
        subscripted = {id(n.value) for n in ast.walk(s.tree) if isinstance(n, ast.Subscript)}
        for node in in_order(s.tree):
            if isinstance(node, ast.Name) and id(node) not in functions:
                plain = id(node) not in subscripted and (node.id in f.letters or node.id in f.params)
                if not plain and node.id not in defined and not (node.id == "pi" and id(node) not in subscripted):
                    found.setdefault(node.id)
            if isinstance(node, ast.Subscript):
                for sub in subscripts(node):
                    inner = {name_of(n.value, s.code) for n in ast.walk(sub) if isinstance(n, ast.Subscript)}
                    f.integers.update(inner - defined)
    f.inputs = tuple(found)
    f.integers.update(compared(f) - defined)


def compared(f: Formula) -> set[str]:
    """Tensors that stand nowhere but in comparisons of whole numbers with a letter, as in `s < lengths[b]`."""
    whole: dict[int, str] = {}
    for node in (n for s in f.statements for n in ast.walk(s.tree) if isinstance(n, ast.Compare)):
        sides = [node.left, *node.comparators]
        leaves = [x for side in sides for x in summands(side)]
        letter = any(isinstance(x, ast.Name) and x.id in f.letters for x in leaves)
        if letter and all(is_whole(x, f) for x in leaves):
            names = (x.value if isinstance(x, ast.Subscript) else x for x in leaves)
            whole.update({id(x): x.id for x in names if isinstance(x, ast.Name)})
    every = [n for s in f.statements for n in ast.walk(s.tree) if isinstance(n, ast.Name)]
    return (set(whole.values()) - {n.id for n in every if id(n) not in whole}) & set(f.inputs)


def summands(node: ast.expr) -> list[ast.expr]:
    """What a sum is made of, whole factors and divisors left out."""
    match node:
        case ast.BinOp(left, ast.Add() | ast.Sub(), right):
            return [*summands(left), *summands(right)]
        case ast.BinOp(x, ast.FloorDiv() | ast.Mod(), _):
            return summands(x)
        case ast.BinOp(ast.Constant(int()), ast.Mult(), x) | ast.BinOp(x, ast.Mult(), ast.Constant(int())):
            return summands(x)
        case ast.UnaryOp(ast.USub() | ast.UAdd(), x):
            return summands(x)
    return [node]


def is_whole(node: ast.expr, f: Formula) -> bool:
    """Whether a summand is a whole number if the tensors in it are: a letter, an extent, an integer, an element."""
    match node:
        case ast.Constant(value):
            return isinstance(value, int)
        case ast.Name(name):
            return all(is_whole(x, f) for x in summands(f.params[name])) if name in f.params else name != "pi"
        case ast.Call():
            return called(node) == "size"
    return isinstance(node, ast.Subscript)


def in_order(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes in reading order (`ast.walk` goes level by level)."""
    yield node
    for child in ast.iter_child_nodes(node):
        yield from in_order(child)


# ---- extents


def groups(f: Formula) -> tuple[dict[str, set[str]], dict[tuple[str, int], str]]:
    """Letter -> all letters that share its extent; axis (tensor, position) -> a letter that addresses it."""
    group = {x: {x} for x in f.letters}
    axes: dict[tuple[str, int], str] = {}
    for a in f.accesses():
        for n, sub in enumerate(a.subscripts):
            if isinstance(sub, ast.Name) and sub.id in f.letters:
                other = axes.setdefault((a.tensor, n), sub.id)
                joined = group[other] | group[sub.id]
                for x in joined:
                    group[x] = joined
    return group, axes


def extents(f: Formula, shapes: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int]) -> dict[str, int]:
    """The extent of every letter: from array shapes, from given sizes, else the largest that stays in range.

    Letters that address the same axis of a tensor share one extent. Args: `shapes` of the inputs that are at hand
    (an axis that no letter addresses may matter too), `sizes` by letter.
    """
    group, axes = groups(f)
    known: dict[str, int] = {}

    def fix(letter: str, n: int, why: str) -> None:
        for x in group[letter]:
            if known.setdefault(x, n) != n:
                raise ShapeError(f"index {x} has two extents, {known[x]} and {n}", value=why)

    for letter, n in f.stated.items():
        if letter in f.letters:
            fix(letter, n, f"size {letter} = {n}")
    for letter, n in sizes.items():
        if letter not in f.letters:
            raise ShapeError(f"{letter} is no index of the formula", value=f"{letter}={n}")
        fix(letter, n, f"given {letter}={n}")
    for (tensor, n), letter in axes.items():
        if tensor in shapes:
            if n >= len(shapes[tensor]):
                raise ShapeError(f"{tensor} has too few axes", value=f"shape {shapes[tensor]}")
            fix(letter, shapes[tensor][n], f"{tensor} has shape {shapes[tensor]}")

    lengths = {(t, n): length for t, shape in shapes.items() for n, length in enumerate(shape)}
    tight = [(sub, lengths.get((a.tensor, n)), axes.get((a.tensor, n)))
             for a in f.accesses() for n, sub in enumerate(a.subscripts)]  # fmt: skip
    while missing := [x for x in sorted(f.letters) if x not in known]:
        bounds: dict[str, list[int]] = {}
        for sub, length, axis in tight:
            unknown = {x.id for x in ast.walk(sub) if isinstance(x, ast.Name) and x.id in missing}
            room = length if length is not None else known.get(axis or "")
            if room is not None and len(unknown) == 1:
                (free,) = unknown
                most = largest(sub, free, known, f, room)
                if most is not None:
                    bounds.setdefault(free, []).append(most)
        if not bounds:
            raise ShapeError(f"nothing fixes the extent of {missing[0]}", hint=f"give it: --size {missing[0]}=N")
        first = min(bounds)
        fix(first, min(bounds[first]), "the largest that keeps every access in range")
    return known


def largest(sub: ast.expr, letter: str, known: Mapping[str, int], f: Formula, room: int) -> int | None:
    """The largest extent of `letter` for which the subscript stays below `room`; None if it never grows."""
    n = 0
    while n <= room * 64 + 64:
        top = span(sub, {**known, letter: n + 1}, f)
        if top is None:
            return None
        if top[1] >= room:
            return n
        n += 1
    return None


def span(sub: ast.expr, known: Mapping[str, int], f: Formula) -> tuple[int, int] | None:
    """Least and greatest value of a subscript over its letters; None if it depends on data."""
    match sub:
        case ast.Constant(value=int(value)):
            return value, value
        case ast.Name(id=name) if name in known:
            return 0, known[name] - 1
        case ast.Name(id=name) if name in f.params:
            return span(f.params[name], known, f)
        case ast.Call(func=ast.Name(id="size"), args=[ast.Name(id=letter)]) if letter in known:
            return known[letter], known[letter]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            s = span(inner, known, f)
            return None if s is None else (-s[1], -s[0])
        case ast.BinOp(left=left, op=op, right=right):
            a, b = span(left, known, f), span(right, known, f)
            if a is None or b is None:
                return None
            match op:
                case ast.Add():
                    return a[0] + b[0], a[1] + b[1]
                case ast.Sub():
                    return a[0] - b[1], a[1] - b[0]
                case ast.Mult():
                    corners = [x * y for x in a for y in b]
                    return min(corners), max(corners)
                case ast.FloorDiv() if b[0] > 0:
                    return a[0] // b[0], a[1] // b[0]
                case ast.Mod() if b[0] > 0:
                    return a if a[0] >= 0 and a[1] < b[0] else (0, b[1] - 1)
    return None


def shapes(f: Formula, sizes: Mapping[str, int], default: int = 4) -> dict[str, tuple[int, ...]]:
    """Shapes for the inputs of a formula without arrays: letters as in `sizes` (else `default`), an axis that no
    letter addresses as short as holds every access (`default` where a gather addresses it by data)."""
    group, _ = groups(f)
    known = dict.fromkeys(f.letters, default)
    for letter, n in {**sizes, **{x: n for x, n in f.stated.items() if x in f.letters}}.items():
        known |= dict.fromkeys(group.get(letter, ()), n)
    rank = {a.tensor: len(a.subscripts) for a in f.accesses()}
    found: dict[str, list[int]] = {t: [0] * rank.get(t, 0) for t in f.inputs}
    lettered: dict[tuple[str, int], int] = {}
    for a in f.accesses():
        if a.tensor in found:
            for n, sub in enumerate(a.subscripts):
                if isinstance(sub, ast.Name) and sub.id in f.letters:
                    lettered[a.tensor, n] = known[sub.id]
                reach = span(sub, known, f)
                found[a.tensor][n] = max(found[a.tensor][n], default if reach is None else reach[1] + 1)
    return {t: tuple(lettered.get((t, n), s) for n, s in enumerate(found[t])) for t in f.inputs}
