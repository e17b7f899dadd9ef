"""A rule as a matrix form shows it: exponentials of log-probabilities by the name that a reader has for them.

    exp(X[b,s,v] − L[b,s])  ->  softmax(X)[b,s,v]      L = logsumexp over X's last axis
                            ->  P[b,s,v]               where the formula itself says P = softmax(v, X[b,s,v])
"""

from __future__ import annotations

from collections.abc import Iterable

from derive import expr as E
from derive.expr import Add, Call, Expr, Get, Index, Reduce, Softmax
from derive.program import Statement


def shown(s: Statement, formula: Iterable[Statement], forward: Iterable[Statement]) -> Statement:
    """The rule with probabilities in place of exponentials; for the eye only, `softmax(X)` is no tensor's name."""
    named = [t for t in formula if isinstance(t.expr, Softmax)]
    scales = {t.name: t for t in forward if isinstance(t.expr, Reduce) and t.expr.op == "logsumexp"}

    def step(x: Expr) -> Expr:
        if not (isinstance(x, Call) and x.fn == "exp" and isinstance(x.args[0], Add) and len(x.args[0].args) == 2):
            return x
        for minus in x.args[0].args:
            factor, scale = E.coefficient(minus)
            score = E.add(x.args[0], E.neg(minus))
            if factor == -1 and isinstance(scale, Get) and scale.tensor in scales and isinstance(score, Get):
                return _probability(score, scale, scales[scale.tensor], named) or x
        return x

    return Statement(s.name, s.indices, E.transform(s.expr, step), s.line)


def _probability(score: Get, scale: Get, made: Statement, named: list[Statement]) -> Expr | None:
    """The softmax of `score` along its last axis, if `scale` is the log-sum-exp of the same row."""
    last = score.subs[-1] if score.subs else None
    reduced = made.expr
    if not (isinstance(last, Index) and isinstance(reduced, Reduce) and len(reduced.indices) == 1):
        return None
    here: dict[Expr, Expr] = dict(zip(made.indices, scale.subs, strict=True))
    _, body = E.open_binder(reduced, avoid=score.free)
    bound = next(iter(body.free - set(made.indices)), None)
    if bound is None or E.substitute(body, {**here, bound: last}) is not score or last in scale.free:
        return None
    for t in named:
        if isinstance(t.expr, Softmax) and t.expr.at and len(t.indices) == len(score.subs):
            at: dict[Expr, Expr] = dict(zip(t.indices, score.subs, strict=True))
            own = E.substitute(t.expr.body, dict(zip(t.expr.indices, t.expr.at, strict=True)))
            if t.expr.at == t.indices[-1:] and E.substitute(own, at) is score:
                return Get(t.name, score.subs)
    return Get(f"softmax({score.tensor})", score.subs)
