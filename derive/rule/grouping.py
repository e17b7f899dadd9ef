"""Letters for matrix reading: those that always stand side by side become one, those in front of all a batch."""

from __future__ import annotations

from dataclasses import dataclass

from derive import expr as E
from derive.expr import Add, Cmp, Expr, Get, Index, Mul, Reduce
from derive.program import Statement


class NoMatrixError(Exception):
    """The term has no matrix form."""


@dataclass(frozen=True)
class Layout:
    """How a tensor is read as a matrix: `batch` axes in front, then groups of so many axes each."""

    batch: int
    groups: tuple[int, ...]


def layouts(s: Statement) -> dict[str, Layout]:
    """How a rule's own letters read the tensors in it; of two axes or fewer, one tensor may be missing.

    Raises:
        NoMatrixError: they give no matrices.
    """
    e = _distinct(s.expr, s.indices)
    every = [s.target, *(x for x in E.subterms(e) if isinstance(x, Get))]
    letters = [tuple(i for i in g.subs if isinstance(i, Index)) for g in every]
    if any(len(a) != len(g.subs) for a, g in zip(letters, every, strict=True)):
        raise NoMatrixError
    groups = _groups(letters, _binders(e))
    target = _regroup(s.target, groups)
    rest = [x for x in E.subterms(_rewrite(e, groups)) if isinstance(x, Get)]
    front = _batch(tuple(i for i in target.subs if isinstance(i, Index)), [target, *rest])
    found: dict[str, Layout] = {}
    for g, subs in zip(every, letters, strict=True):
        batch, sizes, n = 0, [], 0
        while n < len(subs):
            group = next(q for q in groups if subs[n] in q)
            if group[0] in front:
                batch += len(group)
            else:
                sizes.append(len(group))
            n += len(group)
        found.setdefault(g.tensor, Layout(batch, tuple(sizes)))
    return found


def grouped(s: Statement) -> tuple[tuple[Index, ...], Expr, set[Index]]:
    """The target's axes and the right side, in letters that stand for groups, without the batch; the groups of many."""
    e = _distinct(s.expr, s.indices)
    every = [s.target, *(x for x in E.subterms(e) if isinstance(x, Get))]
    if any(not all(isinstance(i, Index) for i in g.subs) or len(set(g.subs)) != len(g.subs) for g in every):
        raise NoMatrixError
    if any(isinstance(x, Index) for x in _values(e)):
        raise NoMatrixError
    groups = _groups([tuple(i for i in g.subs if isinstance(i, Index)) for g in every], _binders(e))
    target = _regroup(s.target, groups).subs
    e = _rewrite(e, groups)
    every = [Get(s.name, target), *(x for x in E.subterms(e) if isinstance(x, Get))]
    batch = _batch(target, every)  # type: ignore[arg-type]
    if batch:
        target = target[len(batch):]
        e = _unbatched(e, set(batch))
    return tuple(i for i in target if isinstance(i, Index)), e, {g[0] for g in groups if len(g) > 1}


def _distinct(e: Expr, scope: tuple[Index, ...]) -> Expr:
    """Every bound index under a name of its own, so that groups can be read off the accesses."""
    count = 0

    def walk(x: Expr) -> Expr:
        nonlocal count
        if isinstance(x, Reduce):
            fresh = []
            for i in x.indices:
                count += 1
                fresh.append(Index(f"'{count}", i.extent))
            body = E.substitute(x.body, dict(zip(x.indices, fresh, strict=True)))
            return Reduce(x.op, tuple(fresh), walk(body))
        if isinstance(x, E.Softmax):
            raise NoMatrixError
        if not x.children or x._height == 0:
            return x
        kids = tuple(walk(c) for c in x.children)
        if isinstance(x, (Add, Mul)):
            return type(x)(kids)
        return E.rebuild(x, kids)

    return walk(e)


def _values(e: Expr) -> list[Expr]:
    """Sub-terms outside subscripts, binders and comparisons, where an index may stand by its name."""
    found: list[Expr] = []

    def walk(x: Expr) -> None:
        found.append(x)
        if not isinstance(x, (Get, Cmp)):
            for c in x.children:
                walk(c)

    walk(e)
    return found


def _binders(e: Expr) -> list[tuple[Index, ...]]:
    return [x.indices for x in E.subterms(e) if isinstance(x, Reduce)]


def _groups(accesses: list[tuple[Index, ...]], binders: list[tuple[Index, ...]]) -> list[tuple[Index, ...]]:
    """Runs of letters that stand side by side, in one order, wherever one of them stands."""
    runs: list[tuple[Index, ...]] = [(i,) for i in dict.fromkeys(i for a in accesses for i in a)]
    merged = True
    while merged:
        merged = False
        for left in runs:
            for right in runs:
                if left is not right and _together(left, right, accesses, binders):
                    runs = [r for r in runs if r is not left and r is not right] + [left + right]
                    merged = True
                    break
            if merged:
                break
    return runs


def _together(left: tuple[Index, ...], right: tuple[Index, ...], accesses: list[tuple[Index, ...]],
              binders: list[tuple[Index, ...]]) -> bool:
    whole = left + right
    for a in accesses:
        touched = left[0] in a or right[0] in a
        if touched and (left[0] not in a or a[a.index(left[0]):a.index(left[0]) + len(whole)] != whole):
            return False
    return all((left[0] in b) == (right[0] in b) for b in binders)


def _stand_in(i: Index, groups: list[tuple[Index, ...]]) -> Index | None:
    """The group of a letter, shown once for its first letter."""
    for g in groups:
        if i in g:
            return i if g[0] is i else None
    return i


def _regroup(g: Get, groups: list[tuple[Index, ...]]) -> Get:
    subs = [_stand_in(i, groups) for i in g.subs if isinstance(i, Index)]
    return Get(g.tensor, tuple(i for i in subs if i is not None))


def _rewrite(e: Expr, groups: list[tuple[Index, ...]]) -> Expr:
    if isinstance(e, Get):
        return _regroup(e, groups)
    if isinstance(e, Reduce):
        kept = tuple(i for i in e.indices if _stand_in(i, groups) is not None)
        return Reduce(e.op, kept, _rewrite(e.body, groups))
    if not e.children:
        return e
    kids = tuple(_rewrite(c, groups) for c in e.children)
    return type(e)(kids) if isinstance(e, (Add, Mul)) else E.rebuild(e, kids)


def _batch(target: tuple[Index, ...], every: list[Get]) -> tuple[Index, ...]:
    if len(target) <= 2:
        return ()
    prefix = target[:len(target) - 2]
    if all(g.subs[:len(prefix)] == prefix or not set(g.subs) & set(prefix) for g in every):
        return prefix
    raise NoMatrixError


def _unbatched(e: Expr, batch: set[Index]) -> Expr:
    if isinstance(e, Get):
        return Get(e.tensor, tuple(i for i in e.subs if i not in batch))
    if isinstance(e, Reduce):
        return Reduce(e.op, e.indices, _unbatched(e.body, batch))
    if not e.children:
        return e
    kids = tuple(_unbatched(c, batch) for c in e.children)
    return type(e)(kids) if isinstance(e, (Add, Mul)) else E.rebuild(e, kids)
