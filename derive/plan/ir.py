"""What is left after the freeze: scalars, statements and loops made of ints and strings.

Nothing here knows an index class, a derivation or SymPy.  `derive.plan.lower` writes these records,
`derive.emit.cuda` prints them.  Integer scalars are of type INDEX (int, or long long for huge tensors), real ones
of the compute type (float, or double for float64).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

INT, REAL, BOOL = "int", "real", "bool"


@dataclass(frozen=True)
class Scalar:
    """A value inside a kernel; `kind` is int, real or bool."""

    kind: str


@dataclass(frozen=True)
class Literal(Scalar):
    value: Fraction


@dataclass(frozen=True)
class Local(Scalar):
    """A local variable, a size or a scalar parameter of the kernel."""

    name: str


@dataclass(frozen=True)
class Load(Scalar):
    """`buffer[offset]`; a real element of a narrower type is widened."""

    buffer: str
    offset: Scalar


@dataclass(frozen=True)
class Binary(Scalar):
    """`left op right` for `+ - * / % < <= == != && ||`; `/` and `%` of ints truncate (operands are not negative)."""

    op: str
    left: Scalar
    right: Scalar


@dataclass(frozen=True)
class Unary(Scalar):
    """`-x` or `!x`."""

    op: str
    value: Scalar


@dataclass(frozen=True)
class Apply(Scalar):
    """A scalar function: `exp`, `rsqrt`, `square`, `floordiv`, `real` (int to real), ..."""

    fn: str
    args: tuple[Scalar, ...]


@dataclass(frozen=True)
class Choose(Scalar):
    """`cond ? then : other`; only the chosen side is evaluated."""

    cond: Scalar
    then: Scalar
    other: Scalar


@dataclass(frozen=True)
class Stmt:
    """A statement of a kernel's body."""


@dataclass(frozen=True)
class Let(Stmt):
    """`const T name = value;`"""

    name: str
    value: Scalar


@dataclass(frozen=True)
class Declare(Stmt):
    """`T name = value;`, a variable that branches or loops assign."""

    name: str
    value: Scalar | None
    kind: str = REAL


@dataclass(frozen=True)
class Assign(Stmt):
    name: str
    value: Scalar


@dataclass(frozen=True)
class Accumulator(Stmt):
    """A running reduction; `op` is sum, max or min.  A sum adds up in two levels, so that long ones stay accurate."""

    name: str
    op: str


@dataclass(frozen=True)
class Accumulate(Stmt):
    name: str
    op: str
    value: Scalar


@dataclass(frozen=True)
class For(Stmt):
    """`for (index = start; index < stop; index += step)`."""

    index: str
    stop: Scalar
    body: tuple[Stmt, ...]
    start: Scalar = Literal(INT, Fraction(0))
    step: Scalar = Literal(INT, Fraction(1))


@dataclass(frozen=True)
class If(Stmt):
    cond: Scalar
    then: tuple[Stmt, ...]
    other: tuple[Stmt, ...] = ()


@dataclass(frozen=True)
class Store(Stmt):
    """`buffer[offset] = value`, or added to what is there when the kernel's `accumulate` says so."""

    buffer: str
    offset: Scalar
    value: Scalar
    accumulate: bool = False


@dataclass(frozen=True)
class AtomicAdd(Stmt):
    """`atomicAdd(&buffer[offset], value)`."""

    buffer: str
    offset: Scalar
    value: Scalar


Block = tuple[Stmt, ...]


def integer(n: int) -> Literal:
    return Literal(INT, Fraction(n))


def scalars(s: Stmt | Scalar) -> list[Scalar]:
    """The scalars directly under a statement or a scalar."""
    return [v for v in vars(s).values() if isinstance(v, Scalar)] + [
        a for v in vars(s).values() if isinstance(v, tuple) for a in v if isinstance(a, Scalar)
    ]


def blocks(s: Stmt) -> list[Block]:
    """The blocks directly under a statement."""
    if isinstance(s, For):
        return [s.body]
    return [s.then, s.other] if isinstance(s, If) else []


def names_in(node: Stmt | Scalar | Block) -> set[str]:
    """Every local and buffer that a node reads."""
    if isinstance(node, tuple):
        return set().union(*(names_in(s) for s in node)) if node else set()
    found = (
        {node.name}
        if isinstance(node, Local)
        else {node.buffer}
        if isinstance(node, Load)
        else set()
    )
    for v in scalars(node):
        found |= names_in(v)
    if isinstance(node, Stmt):
        for b in blocks(node):
            found |= names_in(b)
    return found


def accesses(block: Block) -> dict[str, set[Scalar]]:
    """The offsets at which each buffer is read or written."""
    found: dict[str, set[Scalar]] = {}

    def walk(node: Stmt | Scalar) -> None:
        if isinstance(node, (Load, Store, AtomicAdd)):
            found.setdefault(node.buffer, set()).add(node.offset)
        for v in scalars(node):
            walk(v)
        for b in blocks(node) if isinstance(node, Stmt) else ():
            for s in b:
                walk(s)

    for s in block:
        walk(s)
    return found


def always(node: Stmt | Scalar, unless: str = "") -> Iterator[Load | Store]:
    """The loads and stores that a node makes whatever its conditions say, or wherever the local `unless` is false."""
    if isinstance(node, (Load, Store)):
        yield node
    parts = scalars(node)
    if isinstance(node, Choose) and node.cond == Local(BOOL, unless):
        parts = [node.other]
    elif isinstance(node, Choose) or (isinstance(node, Binary) and node.op in ("&&", "||")):
        parts = parts[:1]
    for v in parts:
        yield from always(v, unless)


def before(offset: Scalar, element: Local) -> Scalar | None:
    """`x` of an offset `x + element`; None when it is not of that form."""
    if offset == element:
        return integer(0)
    if isinstance(offset, Binary) and offset.op == "+" and offset.right == element:
        return offset.left
    return None


#: The function that joins two values of an extremum: NaN if one of them is.
EXTREMUM = {"max": "greater", "min": "lesser"}


def applied(node: Stmt | Scalar | Block) -> set[str]:
    """Every function that a node applies, and what joins the values of its running reductions."""
    if isinstance(node, tuple):
        return set().union(*(applied(s) for s in node)) if node else set()
    found = (
        {node.fn}
        if isinstance(node, Apply)
        else {EXTREMUM.get(node.op, "Sum")}
        if isinstance(node, Accumulator)
        else set()
    )
    for v in scalars(node):
        found |= applied(v)
    if isinstance(node, Stmt):
        for b in blocks(node):
            found |= applied(b)
    return found


def prune(block: Block, live: frozenset[str] = frozenset()) -> Block:
    """Drop every `Let` that nothing reads; ends because each is visited once, last first."""
    kept: list[Stmt] = []
    used = set(live)
    for s in reversed(block):
        if isinstance(s, Let) and s.name not in used:
            continue
        if isinstance(s, For):
            s = For(s.index, s.stop, prune(s.body, frozenset(used)), s.start, s.step)
        elif isinstance(s, If):
            s = If(s.cond, prune(s.then, frozenset(used)), prune(s.other, frozenset(used)))
        kept.append(s)
        used |= names_in(s)
    return tuple(reversed(kept))


def blocks_in(record: object) -> list[Block]:
    """Every block that a record of a plan holds, in its tuples of records, or of names and blocks, too."""
    found: list[Block] = []
    for value in record if isinstance(record, tuple) else vars(record).values():
        if isinstance(value, tuple) and value and all(isinstance(v, Stmt) for v in value):
            found.append(value)
        elif isinstance(value, tuple):
            inside = (v for v in value if isinstance(v, tuple) or hasattr(v, "__dict__"))
            found += [b for v in inside if not isinstance(v, (Stmt, Scalar)) for b in blocks_in(v)]
    return found
