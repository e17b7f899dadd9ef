"""Exact evaluation of terms: what a rewrite or a claimed rule is judged by.

    env = exact.environment(program, seed=1)             # sizes, inputs, forward values, cotangents
    exact.evaluate(expr, indices, env)                   # an array of exact values
    exact.same(before, after, indices, program)          # an Agreement: equal or not, and how that was found

Values are residues modulo the prime 2^61 − 1 where that models a term (sums, products, quotients, whole powers;
exp, log, tanh, ... as random values, one for each distinct argument), else real numbers of 50 digits.
"""

from derive.exact.agree import Agreement, same, same_at_ties
from derive.exact.environment import Env, environment, random_sizes
from derive.exact.evaluate import evaluate
from derive.exact.fields import DIGITS, MODULAR, TIED, UNDEFINED, Field, Undefined, Unmodelled

__all__ = ["DIGITS", "MODULAR", "TIED", "UNDEFINED", "Agreement", "Env", "Field", "Undefined", "Unmodelled",
           "environment", "evaluate", "random_sizes", "same", "same_at_ties"]
