"""FLOPs of statements, as polynomials in the extents."""

from __future__ import annotations

from collections.abc import Iterable

from derive import expr as E
from derive.expr import Expr, Index, Size
from derive.program import Statement

WHOLE = ("floordiv", "mod")  # index arithmetic


def flops(statements: Iterable[Statement], together: bool = False) -> Expr:
    """Operations that the statements carry out, each distinct term of one statement once.

    Args:
        together: whether they are one kernel, which computes a term that several of them have once.
    """
    counted: dict[Expr, Expr] = {}
    return E.add(*(_term_flops(s.expr, counted if together else {}) for s in statements))


def _term_flops(e: Expr, counted: dict[Expr, Expr]) -> Expr:
    before = set(counted)

    def walk(x: Expr) -> None:
        if x in counted or not _real(x):
            return
        counted[x] = E.mul(E.num(_operations(x)), _places(x)) if _operations(x) else E.ZERO
        for c in _values(x):
            walk(c)

    walk(e)
    return E.add(*(n for x, n in counted.items() if x not in before))


def _real(x: Expr) -> bool:
    """Whether computing `x` is arithmetic on values; leaves and index arithmetic are not."""
    def holds(y: Expr) -> bool:
        return isinstance(y, (E.Get, E.Param, E.Const)) or (isinstance(y, E.Call) and y.fn not in WHOLE)

    return bool(x.children) and not isinstance(x, E.Get) and any(holds(y) for y in E.subterms(x))


def _values(x: Expr) -> tuple[Expr, ...]:
    if isinstance(x, E.Where):
        return (x.then, x.other)
    return (x.body,) if isinstance(x, E.Softmax) else x.children


def _places(x: Expr) -> Expr:
    """How many values `x` has; for a reduction, how many terms it runs over.

    Of `Σ_t where(v == ids[t], g, 0)` each g is added at one v, not at all of them: a scatter, and v does not count.
    """
    indices: set[Index] = set(x.free)
    if isinstance(x, (E.Reduce, E.Softmax)):
        indices = set(x.body.free) | set(x.indices)
        if isinstance(x.body, E.Where) and x.body.other is E.ZERO:
            indices -= {i for i in x.free for c in E.conjuncts(x.body.cond) if _told(i, c)}
    return E.mul(*(_size(i) for i in sorted(indices, key=lambda i: i.key)))


def _told(i: Index, c: Expr) -> bool:
    """Whether the equation `c` says which one value `i` has, by the entry of a tensor."""
    sides = (c.left, c.right) if isinstance(c, E.Cmp) and c.op == "==" else ()
    return i in sides and any(isinstance(x, E.Get) for x in sides)


def _size(i: Index) -> Expr:
    return E.num(int(i.extent[1:])) if i.extent.startswith("=") else Size(i.extent)


def _operations(x: Expr) -> int:
    """Operations at one node, for each of its places."""
    match x:
        case E.Add():
            return len(x.args) - 1
        case E.Mul():
            signed = isinstance(x.args[0], E.Num) and x.args[0].value == -1
            return len(x.args) - 1 - signed
        case E.Pow(exponent=E.Num() as q):
            if q.value == -1:
                return 0  # the product it stands in divides
            return 1
        case E.Pow():
            return 1
        case E.Call():
            return 0 if x.fn in WHOLE else {"sigmoid": 3, "softplus": 3, "relu": 1}.get(x.fn, 1)
        case E.Reduce(op="logsumexp"):
            return 4  # maximum, difference, exponential, sum
        case E.Reduce():
            return 1
        case E.Softmax():
            return 5  # maximum, difference, exponential, sum, quotient
    return 0
