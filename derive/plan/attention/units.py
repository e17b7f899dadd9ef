"""Which tile sums share a kernel, and the order of everything.

The sums of the forward that are linear in P share one kernel, which also makes what normalises each row.  All
others take `P = exp(S - lse)`: those over keys share kernels, those over queries share others, and one that needs
another's result comes after it.  Results whose leading axes differ in extent only, as those of `K[h//2]` and `V[h//2]`
with axes that nothing ties, share one too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from derive import expr as E
from derive.expr import Expr, Get, Index, Reduce
from derive.plan.attention.site import Site
from derive.plan.attention.sums import KEY, PAIR, ROW, NotFusedError, TileSum, linear_in
from derive.plan.group import Group, Task
from derive.program import Statement

ONLINE = "online"
TURNS = "rqpuwz"  # letters for the heads of a group, which the formula has none for


@dataclass(frozen=True)
class Unit:
    """One kernel's work, in the letters of the site.

    Attributes:
        site: the softmax.
        kind: ONLINE, ROW (over keys, with what normalises it given), KEY (over queries), or PAIR (a value for each
            pair, summed over heads).
        sums: what it makes.
        batch, turns: indices of a block, and of the loop inside it.
        lets: indices of the site that those determine, as `h = j + 2*i`.
        norm: what normalises a row: `lse[...] = logsumexp(s, S[..., s])`.
        twins: indices of results that stand at the place of one of `batch`, but have an extent of their own.
    """

    site: Site
    kind: str
    sums: tuple[TileSum, ...]
    batch: tuple[Index, ...]
    turns: tuple[Index, ...]
    lets: tuple[tuple[Index, Expr], ...]
    norm: Statement
    twins: tuple[tuple[Index, Index], ...] = ()

    @property
    def own(self) -> Index:
        return self.site.key if self.kind == KEY else self.site.query

    @property
    def other(self) -> Index:
        return self.site.query if self.kind == KEY else self.site.key

    def statements(self) -> tuple[Statement, ...]:
        """What it stores, in terms of what it reads."""
        site = self.site
        if self.kind == ONLINE:
            bound = Index("~key", site.key.extent)
            weights = E.softmax((bound,), E.substitute(site.score, {site.key: bound}), (site.key,))
        else:
            weights = self.weights
        out = [self.norm] if self.kind == ONLINE else []
        for c in self.sums:
            mine: dict[Expr, Expr] = {i: twin for twin, i in self.twins if twin in c.stored.indices}
            back: dict[Expr, Expr] = {axis: E.substitute(e, mine) for axis, e in self.lets}
            whole = E.transform(c.whole, lambda x: self._written_out(x, weights))
            out += [Statement(name, c.stored.indices, E.substitute(whole, back)) for name in c.makes]
        return tuple(out)

    @property
    def guards(self) -> tuple[Expr, ...]:
        """What holds for the turns that count, the same for every sum."""
        return self.sums[0].guards if self.sums else ()

    def joined(self, other: Unit) -> Unit | None:
        """Both in one kernel; None where they differ in more than the extents of leading indices."""
        twins = tuple((i, j) for i, j in zip(other.batch, self.batch) if i is not j)
        same: dict[Expr, Expr] = {i: j for i, j in twins}  # noqa: C416
        if (other.kind, len(other.batch), other.turns) != (self.kind, len(self.batch), self.turns):
            return None
        if tuple((axis, E.substitute(e, same)) for axis, e in other.lets) != self.lets:
            return None
        # Places past the shorter extent are those of no row: the guard, which holds for rows only, keeps reads out.
        told = {i for _, e in self.lets for i in e.free}
        if set(other.guards) != set(self.guards) or (twins and not (self.guards and {j for _, j in twins} <= told)):
            return None
        return replace(self, sums=(*self.sums, *other.sums), twins=tuple(dict.fromkeys((*self.twins, *twins))))

    @property
    def weights(self) -> Expr:
        """P from the scores and what normalises their row."""
        return E.call("exp", E.sub(self.site.score, self.norm.target))

    def _written_out(self, x: Expr, weights: Expr) -> Expr:
        if not isinstance(x, Get) or x.tensor != self.site.name:
            return x
        return E.substitute(weights, dict(zip(self.site.weights.indices, x.subs, strict=True)))


@dataclass(frozen=True)
class AttentionGroup(Group):
    """A unit among the groups that a pass is made of."""

    unit: Unit | None = None


def group_of(unit: Unit) -> AttentionGroup:
    return AttentionGroup("attention", (), tuple(Task(s, None, s.expr) for s in unit.statements()), unit=unit)


Item = Statement | TileSum | Unit


def arrange(
    site: Site,
    ahead: list[Statement | TileSum],
    behind: list[Statement | TileSum],
    norm: str,
    results: tuple[str, ...],
) -> tuple[list[Statement], list[Statement], dict[str, Unit]]:
    """Both directions with their units, as statements in order, and the unit of each statement that has one."""
    key = Index("~key", site.key.extent)
    body = E.substitute(site.score, {site.key: key})
    ahead = _copied(ahead)
    total = Statement(norm, site.rows, E.reduction("logsumexp", (key,), body))
    ahead, behind = _absorb(ahead, behind, results)
    first, front = _units(site, ahead, total, True)
    _, back = _units(site, behind, total, False)
    if not any(isinstance(x, TileSum) for x in (*ahead, *behind)):
        raise NotFusedError("nothing sums over it")
    online = first or Unit(site, ONLINE, (), _without(site.rows, site.query), (), (), total)
    units = {s.name: u for u in (online, *front, *back) for s in u.statements()}
    return (
        _order([*(s for s in ahead if isinstance(s, Statement)), online, *front]),
        _order([*(s for s in behind if isinstance(s, Statement)), *back]),
        units,
    )


def _without(indices: tuple[Index, ...], i: Index) -> tuple[Index, ...]:
    return tuple(x for x in indices if x is not i)


# ------------------------------------------------------------------------------------------------ units


def _units(
    site: Site, items: list[Statement | TileSum], norm: Statement, forward: bool
) -> tuple[Unit | None, list[Unit]]:
    online: Unit | None = None
    units: list[Unit] = []
    needs = _needs(items)
    for c in (x for x in items if isinstance(x, TileSum)):
        row = c.kind != KEY
        alone = _lettered(site, c, norm)
        linear = forward and row and c.kind != PAIR and linear_in(c.weight, c.access) is not None
        beside = online.sums if online else ()
        alike = all(set(s.guards) == set(alone.guards) for s in beside)
        if linear and alike and not needs[c.stored.name] & {n for s in beside for n in s.makes}:
            online = Unit(site, ONLINE, (*beside, *alone.sums), alone.batch, (), (), norm)
            continue
        for n, u in enumerate(units):
            both = u.joined(alone)
            if both and not any(needs[c.stored.name] & {x for s in v.sums for x in s.makes} for v in units[n:]):
                units[n] = both
                break
        else:
            units.append(alone)
    return online, units


def _lettered(site: Site, c: TileSum, norm: Statement) -> Unit:
    """A unit of one sum, in the letters of the site."""
    axes = site.weights.indices
    names: dict[Index, Index] = {}
    for axis, sub in zip(axes, c.access.subs, strict=True):
        if isinstance(sub, Index) and names.setdefault(sub, axis) is not axis:
            raise NotFusedError(f"{site.name} is read on a diagonal")
    own = dict.fromkeys(i for x in c.access.subs for i in sorted(x.free, key=lambda i: i.key))
    every = dict.fromkeys((*own, *c.turns, *c.statement.indices))
    taken = {i.name for i in axes}
    given = taken | {i.name for i in every}
    for i in every:
        if i not in names:
            wish = i.name if i.name.isidentifier() else next((x for x in TURNS if x not in given), i.name)
            names[i] = Index(_free_name(wish, taken), i.extent)
            taken.add(names[i].name)
    renaming: dict[Expr, Expr] = {i: j for i, j in names.items()}  # noqa: C416
    lets = tuple(
        (axis, E.substitute(sub, renaming))
        for axis, sub in zip(axes, c.access.subs, strict=True)
        if not isinstance(sub, Index)
    )
    if lets and c.kind != KEY:
        raise NotFusedError(f"{site.name} is read at computed rows")
    new = c.renamed(names, {e: axis for axis, e in lets})
    if new.access is not site.weights.target:
        raise NotFusedError(f"{site.name} is read at places that do not invert")
    order = {i: n for n, i in enumerate(axes)}
    batch = tuple(sorted(new.batch, key=lambda i: order.get(i, len(axes))))
    determined = {axis for axis, _ in lets}
    return Unit(
        site,
        c.kind if c.kind == KEY or (c.kind == PAIR and c.turns) else ROW,
        (new,),
        tuple(i for i in batch if i not in determined),
        new.turns,
        lets,
        norm,
    )


def _free_name(name: str, taken: set[str]) -> str:
    n, found = 1, name
    while found in taken:
        n += 1
        found = f"{name}{n}"
    return found


# ------------------------------------------------------------------------------------------------ absorbing


def _copied(items: list[Statement | TileSum]) -> list[Statement | TileSum]:
    """A copy of a tile sum, as `O_unrounded = O`, is another store of its kernel."""
    for c in [x for x in items if isinstance(x, TileSum)]:
        own = c.statement
        plain = (x for x in items if isinstance(x, Statement) and x.indices == own.indices)
        twin = next((x for x in plain if x.expr is own.target), None)
        if twin is not None:
            items = [replace(c, copy=twin.name) if x is c else x for x in items if x is not twin]
    return items


def _absorb(
    ahead: list[Statement | TileSum], behind: list[Statement | TileSum], results: tuple[str, ...]
) -> tuple[list[Statement | TileSum], list[Statement | TileSum]]:
    """Maps of one tile sum, as `dQ = rsqrt(D)·Σ ...`, are stored in its place when nothing else reads it."""
    out = []
    for items in (ahead, behind):
        for c in [x for x in items if isinstance(x, TileSum)]:
            readers = [x for x in (*ahead, *behind) if x is not c and c.statement.name in _reads(x)]
            if c.statement.name in results or c.kind == PAIR or len(readers) != 1:
                continue
            x = readers[0]
            made = {y.statement.name for y in (*ahead, *behind) if isinstance(y, TileSum)}
            needs = _needs([*ahead, *behind])
            if not isinstance(x, Statement) or x not in items or not _maps(x, c):
                continue
            if (needs[x.name] - {c.statement.name} - needs[c.statement.name]) & made:
                continue
            access = next(g for g in E.subterms(x.expr) if isinstance(g, Get) and g.tensor == c.statement.name)
            moved: dict[Expr, Expr] = dict(zip(access.subs, c.statement.indices, strict=True))
            final = Statement(
                x.name,
                tuple(i for a in x.indices for i in (moved[a],) if isinstance(i, Index)),
                E.substitute(x.expr, moved),
            )
            place = items.index(x)
            items = [replace(c, final=final) if y is c else y for n, y in enumerate(items) if n != place]
        out.append(items)
    return out[0], out[1]


def _maps(x: Statement, c: TileSum) -> bool:
    """Whether `x` is a map whose elements are those of `c`."""
    if any(isinstance(y, (Reduce, E.Softmax)) for y in E.subterms(x.expr)):
        return False
    reads = {y: None for y in E.subterms(x.expr) if isinstance(y, Get) and y.tensor == c.statement.name}
    if len(reads) != 1:
        return False
    subs = next(iter(reads)).subs
    return len(set(subs)) == len(subs) and set(subs) == set(x.indices)


# ------------------------------------------------------------------------------------------------ order


def _reads(x: Item) -> set[str]:
    if isinstance(x, Unit):
        return {t for s in x.statements() for t in E.tensors(s.expr)} - {s.name for s in x.statements()}
    return set(x.reads()) if isinstance(x, TileSum) else set(E.tensors(x.expr))


def _makes(x: Item) -> tuple[str, ...]:
    if isinstance(x, Unit):
        return tuple(s.name for s in x.statements())
    return x.makes if isinstance(x, TileSum) else (x.name,)


def _needs(items: Iterable[Item]) -> dict[str, set[str]]:
    """What each thing that is made needs, directly or not."""
    direct = {n: _reads(x) for x in items for n in _makes(x)}
    found: dict[str, set[str]] = {}
    for n in direct:
        seen: set[str] = set()
        todo = list(direct[n])
        while todo:
            t = todo.pop()
            if t not in seen:
                seen.add(t)
                todo += direct.get(t, ())
        found[n] = seen
    return found


def _order(items: list[Item]) -> list[Statement]:
    """Statements so that each comes after what it reads; those of a unit stand together."""
    left = list(items)
    out: list[Statement] = []
    while left:
        waiting = {n for x in left for n in _makes(x)}
        ready = next((x for x in left if not _reads(x) & (waiting - set(_makes(x)))), None)
        if ready is None:
            raise NotFusedError("its sums need each other")
        left.remove(ready)
        out += ready.statements() if isinstance(ready, Unit) else [ready] if isinstance(ready, Statement) else []
    return out
