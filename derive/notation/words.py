"""Python's syntax in the words of the notation, for what a formula or a claim may not hold."""

from __future__ import annotations

import ast

FOREIGN: dict[type[ast.AST], tuple[str, str]] = {  # node -> what an error calls it, and what to do
    ast.IfExp: ("`a if c else b`", "write where(c, a, b)"),
    ast.Attribute: ("a name after a dot", "functions stand alone, as exp(X[i]); a transpose is X[j,i]"),
    ast.Lambda: ("a function of one's own", "write each value as a statement of its own"),
    ast.Call: ("a call of a call", "a function is called by its name"),
    ast.MatMult: ("the product @", "write sum(k, A[i,k]*B[k,j])"),
    ast.BitAnd: ("&", "write `and`"),
    ast.BitOr: ("|", "write `or`"),
    ast.BitXor: ("^", "powers are written **"),
    ast.Invert: ("~", "write `not`"),
    ast.LShift: ("<<", "multiply by a power of 2"),
    ast.RShift: (">>", "divide by a power of 2"),
    ast.Is: ("`is`", "write =="),
    ast.IsNot: ("`is not`", "write !="),
    ast.In: ("`in`", "compare with each value: a == b or a == c"),
    ast.NotIn: ("`not in`", "compare with each value: a != b and a != c"),
    ast.List: ("a list", "a tensor is given as an input, or computed element by element"),
    ast.Tuple: ("a row of values", "write a statement for each"),
    ast.Set: ("a set", "a tensor is given as an input, or computed element by element"),
    ast.Dict: ("a dictionary", "a tensor is given as an input, or computed element by element"),
    ast.ListComp: ("a comprehension", "a letter on the left side runs over its axis by itself"),
    ast.SetComp: ("a comprehension", "a letter on the left side runs over its axis by itself"),
    ast.DictComp: ("a comprehension", "a letter on the left side runs over its axis by itself"),
    ast.GeneratorExp: ("a comprehension", "a reduction names its letter first: sum(k, X[i,k])"),
    ast.JoinedStr: ("text", "values are numbers"),
    ast.NamedExpr: ("`:=`", "write a statement of its own"),
    ast.Starred: ("*", "name every argument"),
    ast.Slice: ("a slice", "name the axis by a letter: X[i, j]"),
    ast.BoolOp: ("`and` or `or`", "write & or |"),
}


def foreign(node: ast.AST) -> tuple[str, str | None]:
    """What an error calls syntax that is not in the notation, and what to write instead, if that is known."""
    return FOREIGN.get(type(node), ("this", None))
