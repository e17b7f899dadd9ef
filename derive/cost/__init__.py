"""What an operation costs: FLOPs, bytes over device memory, saved tensors, and the Jacobian that is never built.

    found = cost.report(derive.parse(text), {"m": 64, "k": 32, "n": 16}, "float32")
    found.json()

A FLOP is one addition, subtraction, multiplication, division, comparison of two values by max or min, or one call of
a function (exp, tanh, sqrt, ...).  A term is computed once for each value of the indices that it depends on; a sum
over n terms is n additions, so a matrix product is 2·M·N·K.  A change of sign, a choice and index arithmetic are free.
"""

from derive.cost.report import Report, report

__all__ = ["Report", "report"]
