"""Element-wise partial derivatives: SymPy differentiates a statement's right side by one element of an operand.

For `Y[m] = f(X[e1(m,k)], ...)` the result is a list of `Partial`s, one for each access: the coefficient
dY[m] · ∂f/∂X[e] in the statement's own letters, the letters `k` that reductions bind around it, and the subscripts
`e`, so that

    dY[m] · ∂Y[m]/∂X[i] = Σ_k coefficient(m, k) · Π_a δ(i_a, e_a(m, k))

Summations stay outside SymPy: it sees scalars only, each access and each sum as an opaque real symbol.  The
composites are differentiated from their definitions:

    softmax    P_j = exp(u_j)/Z,  Z = Σ_l exp(u_l)   ∂P_j/∂u_l = P_j (δ_jl − P_l)
    logsumexp  L = log Z                             ∂L/∂u_l  = exp(u_l − L)
    max, min   M                                     ∂M/∂u_l  = [u_l = M] / number of ties
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from derive import expr as E
from derive.calculus import differentiate, softmax_slopes
from derive.expr import Call, Expr, Get, Index, Num, Pow, Reduce, Softmax
from derive.guards import branches, within
from derive.program import Program, Statement
from derive.reads import presence, steady


@dataclass(frozen=True)
class Partial:
    """One term of `dY[m] · ∂Y[m]/∂X[i]`, for the statement `Y[m] = ...` and one access to `X` in it.

    Attributes:
        statement: whose right side was differentiated.
        access: the operand's element, with subscripts in the letters of `statement.indices` and `bound`.
        bound: letters summed over besides the statement's own.
        coefficient: the cotangent dY[m] times ∂(right side)/∂(access). Through a softmax, whose elements all depend on
            the access, it is the sum over them: dP contracted with the two-term Jacobian.
    """

    statement: Statement
    access: Get
    bound: tuple[Index, ...]
    coefficient: Expr


def ties(statement: Statement) -> str:
    """Name of the statement that counts the ties of an extremum."""
    return statement.name + "_ties"


def partials(statement: Statement, cotangent: str, wanted: Callable[[str], bool], program: Program) -> list[Partial]:
    """Terms of `dY[m] · ∂Y[m]/∂X[i]` for every operand X with `wanted(X)`, in order of appearance.

    Args:
        statement: `Y[m] = ...`.
        cotangent: the name of dY, the derivative of the scalar loss by the statement's value.
        wanted: whether a name's gradient is asked for or leads to one that is.
        program: the forward program, for the composites that it has named.
    """
    found: list[Partial] = []
    walk = _Pull(statement, wanted, found, _softmaxes(program))
    walk.pull(statement.expr, Get(cotangent, statement.indices), ())
    return found


def _singular(e: Expr) -> bool:
    """Whether the value or a slope of `e` may be infinite somewhere."""
    return any((isinstance(x, Pow) and not (isinstance(x.exponent, Num) and x.exponent.value >= 1))
               or (isinstance(x, Call) and x.fn in ("log", "log1p")) for x in E.subterms(e))


Softmaxes = dict[tuple[Expr, tuple[str, ...]], Statement]


@dataclass(frozen=True)
class _Pull:
    """Pushes cotangents inwards through one statement's right side, down to the accesses."""

    statement: Statement
    wanted: Callable[[str], bool]
    found: list[Partial]
    softmaxes: Softmaxes

    def pull(self, e: Expr, bar: Expr, bound: tuple[Index, ...]) -> None:
        s = self.statement
        if isinstance(e, Softmax):
            body, inward = _through_softmax(s, e, bar)
            self._scalar(body, inward, bound)
        elif isinstance(e, Reduce) and e.op != "sum":
            inner, body = E.open_binder(e, avoid=(*s.indices, *bound))
            self._scalar(body, self._through_reduction(e, inner, body, bar), (*bound, *inner))
        else:
            self._scalar(e, bar, bound)

    def _scalar(self, e: Expr, bar: Expr, bound: tuple[Index, ...]) -> None:
        s = self.statement
        atoms = [a for a in _atoms(e) if any(self.wanted(t) for t in E.tensors(a))]
        for atom, slope in zip(atoms, differentiate(e, atoms), strict=True):
            if slope is E.ZERO:
                continue
            if not steady(atom):
                slope = E.where(presence(e, atom), slope, E.ZERO)
            inward = within(bar, slope)
            if isinstance(atom, Get):
                self.found.append(Partial(s, atom, bound, inward))
            elif isinstance(atom, Reduce) and atom.op == "sum":
                inner, body = E.open_binder(atom, avoid=(*s.indices, *bound, *inward.free))
                parts = [within(bar, p) for p in branches(slope)] if _singular(body) else [inward]
                for part in parts:  # each guard stays around what needs it
                    self.pull(body, part, (*bound, *inner))
            else:  # `hoist` leaves no other reduction inside an expression
                raise AssertionError(f"unexpected {type(atom).__name__} inside {s.name}")

    def _through_reduction(self, e: Reduce, inner: tuple[Index, ...], body: Expr, bar: Expr) -> Expr:
        s = self.statement
        if e.op != "logsumexp":
            return E.where(E.compare("==", body, s.target), E.div(bar, Get(ties(s), s.indices)), E.ZERO)
        named = self.softmaxes.get((e.body, extents(e)))
        if named is not None and isinstance(named.expr, Softmax) and set(named.indices) == {*s.indices, *named.expr.at}:
            here = dict(zip(named.expr.at, inner, strict=True))
            return E.mul(bar, Get(named.name, tuple(here.get(i, i) for i in named.indices)))
        return E.mul(bar, E.call("exp", E.sub(body, s.target)))


def _softmaxes(program: Program) -> Softmaxes:
    """Softmax statements by their body and what it runs over, of which a constant body says nothing:
    exp(u − logsumexp u) is the softmax that the forward has."""
    return {(s.expr.body, extents(s.expr)): s for s in program.statements if isinstance(s.expr, Softmax)}


def extents(e: Reduce | Softmax) -> tuple[str, ...]:
    """What the indices of a reduction run over."""
    return tuple(i.extent for i in e.indices)


def _atoms(e: Expr) -> list[Expr]:
    """Accesses and reductions that `e` reads as values: not in conditions, subscripts or inside reductions."""
    seen: dict[Expr, None] = {}

    def walk(x: Expr) -> None:
        if isinstance(x, (Get, Reduce, Softmax)):
            seen.setdefault(x)
        elif isinstance(x, E.Where):
            walk(x.then)
            walk(x.other)
        elif not isinstance(x, (E.Cmp, E.Logic)):
            for c in x.children:
                walk(c)

    walk(e)
    return list(seen)


def _through_softmax(s: Statement, e: Softmax, bar: Expr) -> tuple[Expr, Expr]:
    """du_l = Σ_j dP_j · ∂P_j/∂u_l = P_l (dP_l − Σ_j P_j dP_j), with P named by the statement."""
    over = tuple(a for a in e.at if isinstance(a, Index))
    body = E.substitute(e.body, dict(zip(e.indices, over, strict=True)))  # l is written with the letters of P
    diagonal, rest = softmax_slopes(s.target)
    return body, E.mul(diagonal, E.add(bar, E.summation(over, E.mul(rest, bar))))


def tie_count(s: Statement) -> Statement | None:
    """`M_ties[m] = Σ_k [u_k = M]`, for an extremum `M[m] = max(k, u_k)`."""
    e = s.expr
    if not (isinstance(e, Reduce) and e.op in ("max", "min")):
        return None
    inner, body = E.open_binder(e, avoid=s.indices)
    count = E.summation(inner, E.indicator(E.compare("==", body, s.target)))
    return Statement(ties(s), s.indices, count)
