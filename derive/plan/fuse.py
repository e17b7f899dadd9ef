"""Statements grouped into kernels of the menu.

Statements are taken in order.  One joins the kernel that makes what it reads when it can do so element by element:
a map joins anything whose elements are its own, a reduction joins a row kernel over the same rows.  A row kernel also
takes over the map before it.  Everything else starts a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from derive import expr as E
from derive.expr import Get, Index
from derive.plan.again import Again
from derive.plan.classify import classify
from derive.plan.group import Group, Task, opened, renamed, unify
from derive.program import Statement, alive

MENU = ("pointwise", "row", "column", "contraction", "scatter")


def fuse(
    statements: list[Statement],
    results: tuple[str, ...],
    menu: tuple[str, ...],
    planned: Mapping[str, Group] | None = None,
    again: Again | None = None,
) -> list[Group]:
    """Groups in an order in which they can run.  Statements that no result needs are dropped.

    `planned` are groups made before, by each statement that they carry out; their statements stand together.
    `again` are the maps that statements may read by name.
    """
    again = again or Again()
    groups: list[Group] = []
    for s in alive(statements, results):
        group = (planned or {}).get(s.name)
        if group is None:
            _place(s, classify(s, menu), groups, menu, again)
        elif group not in groups:
            groups.append(group)
    return groups


def _place(s: Statement, alone: Group, groups: list[Group], menu: tuple[str, ...], again: Again) -> None:
    reads = set(E.tensors(again.out(s.expr)))
    after = max((n for n, g in enumerate(groups) if g.made & reads), default=-1)
    if menu:
        for n in range(len(groups) - 1, max(after, 0) - 1, -1):
            if n == after or groups[n].made & reads or again.seen(groups[n]).reads & reads:
                joined = _join(s, alone, groups[n], again)
                if joined is not None:
                    groups[n] = joined
                    return
        if after >= 0 and alone.plan == "row" and groups[after].plan == "pointwise":
            taken = _take_over(alone, groups[after])
            if taken is not None:
                groups[after] = taken
                return
        if not s.indices and alone.plan == "pointwise":  # early, so that it keeps no two others apart
            groups.insert(after + 1, alone)
            return
    groups.append(alone)


def _join(s: Statement, alone: Group, group: Group, again: Again) -> Group | None:
    """`group` with `s` in it, if its kernel can compute `s` on the way."""
    inner, body, op = opened(s)
    if group.plan == "attention":
        return None
    if alone.plan == "nest" and not (group.plan == "nest" and len(s.indices) == len(group.domain)):
        return None
    if alone.plan in ("contraction", "scatter") or (op is not None and alone.plan not in ("row", "column", "nest")):
        return None
    if alone.plan == "nest":
        inner, body, op = (), s.expr, None
    if op is not None and (
        group.plan != alone.plan or len(inner) != len(group.inner) or len(s.indices) != len(group.domain)
    ):
        return None
    if op is not None and group.plan == "column" and set(E.tensors(body)) & group.made:
        return None
    if op is None and len(s.indices) not in (
        len(group.domain),
        len(group.domain) + len(group.inner) * (group.plan == "row"),
    ):
        return None
    places = unify(s, again.out(body), again.seen(group), inner)
    if places is None:
        return None
    task = renamed(s, body, op, places, inner)
    landed = set(task.statement.indices)
    whole = set(group.domain) | (set(group.inner) if group.plan == "row" else set())
    if op is not None and (landed != set(group.domain) or {places[i] for i in inner} != set(group.inner)):
        return None
    if op is None and landed != set(group.domain) and landed != whole:
        return None
    targets = {t.name: t.statement.target for t in group.tasks}
    if any(x is not targets[x.tensor] for x in E.subterms(task.body) if isinstance(x, Get) and x.tensor in targets):
        return None
    if landed == set(group.domain) and group.plan == "row" and op is None and _per_element(task, group):
        return None
    return group.joined(task)


def _per_element(task: Task, group: Group) -> bool:
    """Whether a map over rows reads what exists only element by element."""
    inside = set(group.inner)
    return any(i in inside for x in E.subterms(task.body) for i in x.free)


def _take_over(alone: Group, before: Group) -> Group | None:
    """A row kernel that first computes the map whose elements it reduces."""
    s, inner = alone.tasks[0].statement, alone.inner
    if len(before.domain) != len(s.indices) + len(inner):
        return None
    made = {t.name: t.statement.target for t in before.tasks}
    places: dict[Index, Index] = {}
    for x in E.subterms(alone.tasks[0].body):
        if isinstance(x, Get) and x.tensor in made:
            for a, b in zip(x.subs, made[x.tensor].subs, strict=True):
                if not isinstance(a, Index) or not isinstance(b, Index) or places.setdefault(a, b) is not b:
                    return None
    if set(places) != {*s.indices, *inner} or len(set(places.values())) != len(places):
        return None
    task = renamed(s, alone.tasks[0].body, alone.tasks[0].op, places, inner)
    if any(x is not made[x.tensor] for x in E.subterms(task.body) if isinstance(x, Get) and x.tensor in made):
        return None
    return replace(
        alone,
        domain=tuple(places[i] for i in s.indices),
        inner=tuple(places[i] for i in inner),
        tasks=(*before.tasks, task),
    )
