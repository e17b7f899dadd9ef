"""What a formula's own evaluation in float64 loses: a simpler rule, and kernels made of it, may lose less."""

from __future__ import annotations

import ast
from collections.abc import Mapping

import numpy as np

from derive.validate.formula import Formula
from derive.validate.interpret import Array, Interpreter, Scope, typed
from derive.validate.program import ROUNDOFF, moved


class Shaken(Interpreter):
    """An evaluation in which every value is moved by about a roundoff."""

    def value(self, node: ast.expr, scope: Scope) -> Array:
        return np.asarray(moved(super().value(node, scope), ROUNDOFF["float64"], 1))


def shaken(f: Formula, arrays: Mapping[str, Array], sizes: Mapping[str, int]
           ) -> tuple[dict[str, Array], dict[str, Array]]:
    """The value of every statement, and the same with each operation's result moved by about a roundoff, where
    comparisons give what they give without that."""
    given = {n: typed(a) for n, a in arrays.items()}
    plain = Interpreter(f, given, sizes)
    return plain.run(), Shaken(f, given, sizes, plain.found).run()
