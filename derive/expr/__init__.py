"""The expression language: immutable, hash-consed terms of index notation.

Two equal terms are one object, so `is` decides equality and every memo is a plain dict.  The constructors (`add`,
`mul`, `power`, `where`, `summation`, ...) canonicalise what is always true and nothing else: `x + 0 = x`,
`x·x⁻¹ = 1`, `Σ_k c·f(k) = c·Σ_k f(k)`, `Σ_k Σ_l = Σ_kl`, `Σ_kl f(k)·g(l) = Σ_k f · Σ_l g`.  Everything debatable is
a named pass in `derive.simplify`.

Bound indices are renamed by `close` to `%1`, `%2`, ... by nesting height, so that two reductions which differ only
in the letter they bind are the same object; printers give the letters back.
"""

from derive.expr.build import (
    FALSE,
    HALF,
    MINUS_ONE,
    ONE,
    TRUE,
    ZERO,
    add,
    call,
    close,
    coefficient,
    compare,
    conjuncts,
    div,
    factors,
    fresh,
    indicator,
    logic,
    mul,
    neg,
    negate,
    num,
    open_binder,
    power,
    rebuild,
    reduction,
    softmax,
    split_power,
    sub,
    substitute,
    summation,
    terms,
    where,
)
from derive.expr.nodes import (
    MASKED,
    NEGATIVE_INFINITY,
    Add,
    Call,
    Cmp,
    Const,
    Expr,
    Get,
    Index,
    Logic,
    Mul,
    Num,
    Param,
    Pow,
    Reduce,
    Size,
    Softmax,
    Truth,
    Where,
)
from derive.expr.ranges import decide
from derive.expr.walk import subterms, tensors, transform

__all__ = [
    "FALSE", "HALF", "MASKED", "MINUS_ONE", "NEGATIVE_INFINITY", "ONE", "TRUE", "ZERO", "Add", "Call", "Cmp", "Const",
    "Expr", "Get", "Index", "Logic", "Mul", "Num", "Param", "Pow", "Reduce", "Size", "Softmax", "Truth", "Where", "add",
    "call", "close", "coefficient", "compare", "conjuncts", "decide", "div", "factors", "fresh", "indicator", "logic",
    "mul", "neg", "negate", "num", "open_binder", "power", "rebuild", "reduction", "softmax", "split_power", "sub",
    "substitute", "subterms", "summation", "tensors", "terms", "transform", "where",
]
