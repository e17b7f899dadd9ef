"""The rule as kernels run it that keep a softmax's log-sum-exp and compute its weights again.

`P = exp(S - lse)` is right to the rounding of `lse`: of scores near 200 about 1e-5 of each weight, where weights that
are divided by their sum keep 1e-7.  Noise of one rounding an operation tells how far such kernels may be off only if
the program it is added to takes the same way.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import replace

from derive import expr as E
from derive.expr import Get, Index, Softmax
from derive.operation import Operation
from derive.program import Statement
from derive.rule.numpy import numpy_program


def recomputed(op: Operation, saved: Collection[str], masked: Collection[str] = ()) -> Operation:
    """`op` with `P = exp(S - P_lse)` in its NumPy forward wherever `P_lse` is saved; `op` itself if nothing changes.

    Args:
        masked: inputs that hold the -1e30 of a mask, so that a row may be masked whole.
    """
    forward = op.derivation.forward
    lines = [new for s in forward.statements for new in _apart(s, saved)]
    if len(lines) == len(forward.statements) and not masked:
        return op
    other = copy.copy(op)
    other.__dict__["forward_numpy"] = numpy_program(replace(forward, statements=tuple(lines)), masked=masked)
    return other


def _apart(s: Statement, saved: Collection[str]) -> list[Statement]:
    e, norm = s.expr, f"{s.name}_lse"
    if not isinstance(e, Softmax) or norm not in saved or not all(isinstance(a, Index) for a in e.at):
        return [s]
    keys, score = E.open_binder(e)
    here = E.substitute(score, dict(zip(keys, e.at, strict=True)))
    rows = tuple(i for i in s.indices if i not in e.at)
    weight = E.call("exp", E.sub(here, Get(norm, rows)))
    return [Statement(norm, rows, E.reduction("logsumexp", keys, score), s.line),
            replace(s, expr=E.where(E.compare("<", E.num(E.MASKED), here), weight, E.ZERO))]
