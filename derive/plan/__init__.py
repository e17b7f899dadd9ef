"""From programs to kernels: `make_plan` lowers a forward and a backward program once, to ints and strings.

prepare   every reduction in a statement of its own, stable composites spelled out
saved     which forward values the backward reads, which it computes again
fuse      statements grouped into kernels of the menu
nest, row, column, contraction, scatter   one module an entry of the menu: a group becomes kernels
lower     terms become scalars, loops and stores
"""

from derive.plan.make import make_plan
from derive.plan.records import Buffer, Contract, Kernel, Launch, Pass, Plan

__all__ = ["Buffer", "Contract", "Kernel", "Launch", "Pass", "Plan", "make_plan"]
