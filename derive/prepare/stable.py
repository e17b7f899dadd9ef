"""Stable forms across statements: a softmax written in named exponentials is still a softmax.

A statement is respelled with the definitions of earlier ones in place of their names; the result is kept if fewer
exponentials and logarithms are left than before, and then written in the remaining names again.
"""

from __future__ import annotations

from derive import expr as E
from derive.expr import Call, Expr, Get, Pow, Reduce, Softmax
from derive.patterns import Names
from derive.prepare.spellings import respell
from derive.program import Program, Statement, alive


def stabilise(program: Program) -> Program:
    """The same formula, finite and exact in float32 for inputs up to ±200 where the function is."""
    if not any(_exposed(s.expr) for s in program.statements):
        return program
    done: dict[str, Statement] = {}
    names = Names()
    for s in program.statements:
        new = Statement(s.name, s.indices, _respelled(s, done, names, program), s.line)
        if isinstance(new.expr, (Softmax, Reduce)):
            names.define(new.expr, s.name, s.indices)
        done[s.name] = new
    kept = tuple(alive(tuple(done.values()), program.outputs))
    return Program(program.text, program.params, program.inputs, kept, program.outputs, program.letters)


def _respelled(s: Statement, done: dict[str, Statement], names: Names, program: Program) -> Expr:
    plain = respell(s.expr)
    opened = _opened(s.expr, done, program)
    if opened is s.expr:
        return plain
    respelled = respell(opened)
    if respelled is opened or danger(respelled) >= danger(opened):
        return plain
    return _renamed(respelled, names)


def _opened(e: Expr, done: dict[str, Statement], program: Program) -> Expr:
    """`e` with every name that stands for exponentials replaced by its definition."""
    def step(x: Expr) -> Expr:
        if isinstance(x, Get) and x.tensor in done and _matters(done[x.tensor].expr, done):
            s = done[x.tensor]
            opened = E.substitute(s.expr, dict(zip(s.indices, x.subs, strict=True)))
            return x if program.reads_a_part(opened) else _opened(opened, done, program)
        return x
    return E.transform(e, step)


def _matters(e: Expr, done: dict[str, Statement]) -> bool:
    return _exposed(e) or any(x.tensor in done and _matters(done[x.tensor].expr, done)
                              for x in E.subterms(e) if isinstance(x, Get) and not _is_contraction(e))


def _is_contraction(e: Expr) -> bool:
    return any(isinstance(x, Reduce) and x.op == "sum" and isinstance(x.body, E.Mul) for x in E.subterms(e))


def _exposed(e: Expr) -> bool:
    """Whether a right side has something that respelling may want to see."""
    for x in E.subterms(e):
        if isinstance(x, Call) and x.fn in ("exp", "expm1", "log", "log1p", "sigmoid", "softplus"):
            return True
        if isinstance(x, Softmax) or (isinstance(x, Reduce) and x.op in ("logsumexp", "max")):
            return True
    return False


def danger(e: Expr) -> int:
    """How many exponentials, logarithms and quotients by sums of them are left in the open."""
    return sum(_dangerous(x) for x in E.subterms(e))


def _dangerous(x: Expr) -> bool:
    if isinstance(x, Call):
        return x.fn in ("exp", "log", "log1p")
    if isinstance(x, Pow):
        return isinstance(x.base, (Reduce, E.Add)) and any(
            isinstance(y, Call) and y.fn == "exp" for y in E.subterms(x.base))
    return isinstance(x, Reduce) and x.op == "max"


def _renamed(e: Expr, names: Names) -> Expr:
    """Composites that an earlier statement defines, by its name."""
    def step(x: Expr) -> Expr:
        hit = names.find(x) if isinstance(x, (Softmax, Reduce)) else None
        return hit if hit is not None else x
    return E.transform(e, step)
