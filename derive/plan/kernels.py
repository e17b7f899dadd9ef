"""From a group to its kernels: which module of the menu builds it, and what the kernels are called."""

from __future__ import annotations

from dataclasses import replace

from derive.errors import PlanError
from derive.plan.attention.kernels import attention_kernels
from derive.plan.column import column_kernels
from derive.plan.context import Context
from derive.plan.contraction import contraction_kernels
from derive.plan.group import Group
from derive.plan.nest import nest_kernels
from derive.plan.records import Kernel
from derive.plan.row import row_kernels
from derive.plan.scatter.atomic import atomic_kernels
from derive.plan.scatter.kernels import scatter_kernels
from derive.plan.total import total_kernels


def build(group: Group, context: Context, stored: set[str], direction: str, gradients: set[str]) -> list[Kernel]:
    """Kernels of a group, named after what they store."""
    names = [context.buffers[s.name].name for s in group.statements if s.name in stored]
    name = context.namer.fresh("_".join([direction, *(n for n in names)][:4]))
    builders = {
        "nest": nest_kernels,
        "pointwise": nest_kernels,
        "row": row_kernels,
        "column": column_kernels,
        "total": total_kernels,
        "contraction": contraction_kernels,
        "scatter": atomic_kernels if context.scatter == "atomic" else scatter_kernels,
        "attention": attention_kernels,
    }
    if group.keys is not None and any(context.buffers[t].dtype != "ids" for t in group.keys.integers):
        group = replace(group, plan="nest")  # real numbers compared with an index: they need be no places
    if group.plan not in builders:
        raise PlanError(f"no plan called {group.plan}")
    return builders[group.plan](group, context, stored, name, gradients & stored)
