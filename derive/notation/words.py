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

# Functions that other libraries have, in the notation.
SPELLED = {
    "softplus": "log(1 + exp(x))", "silu": "x*sigmoid(x)", "swish": "x*sigmoid(x)", "logit": "log(x/(1 - x))",
    "gelu": "0.5*x*(1 + erf(x/sqrt(2)))", "elu": "where(x > 0, x, expm1(x))", "square": "x**2", "pow": "x**y",
    "log_softmax": "log(softmax(j, X[i,j]))", "log_sigmoid": "log(sigmoid(x))", "logsigmoid": "log(sigmoid(x))",
    "clamp": "minimum(maximum(x, low), high)", "clip": "minimum(maximum(x, low), high)", "log2": "log(x)/log(2)",
    "sign": "where(x > 0, 1, where(x < 0, -1, 0))", "var": "mean(j, (X[i,j] - M[i])**2), M[i] = mean(j, X[i,j])",
    "norm": "sqrt(sum(j, X[i,j]**2))", "sinh": "(exp(x) - exp(-x))/2", "cosh": "(exp(x) + exp(-x))/2",
    "tan": "sin(x)/cos(x)", "cumsum": "sum(s, where(s <= t, X[s], 0))",
    "dropout": "X[i]*mask[i]/(1 - p), mask an input", "mish": "x*tanh(log(1 + exp(x)))",
    "leaky_relu": "where(x > 0, x, 0.01*x)", "std": "sqrt(mean(j, (X[i,j] - M[i])**2)), M[i] = mean(j, X[i,j])",
    "einsum": "sum(k, A[i,k]*B[k,j])", "matmul": "sum(k, A[i,k]*B[k,j])", "dot": "sum(k, a[k]*b[k])",
    "transpose": "X[j,i]", "Σ": "sum(k, X[i,k])",
}  # fmt: skip


def foreign(node: ast.AST) -> tuple[str, str | None]:
    """What an error calls syntax that is not in the notation, and what to write instead, if that is known."""
    return FOREIGN.get(type(node), ("this", None))
