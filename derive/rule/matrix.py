"""Index rules read as matrix rules: `dX[m,k] = Σ_n dY[m,n] W[k,n]` is `dX = dY Wᵀ`.

Letters that always stand side by side are one index (`b,s` of a linear layer over [B,S,D]); letters that stand in
front of every tensor that has them are a batch and are left out.  What is left has at most two axes, rows and columns:

    two-axis terms     matrices, `∘` entry by entry, `A B` for a sum over a shared index, `Aᵀ`
    one-axis terms     column vectors; `diag(v) A` scales rows, `A diag(v)` columns, `A 1` row sums, `Aᵀ 1` column sums
    no axis            numbers

Where a term does not fit, the rule is written as an einsum, and else in indices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from derive import expr as E
from derive.expr import Add, Call, Cmp, Expr, Get, Index, Logic, Mul, Num, Param, Pow, Reduce, Size, Where
from derive.program import Statement
from derive.rule.glyphs import Glyphs
from derive.rule.letters import Letters

SUM, PRODUCT, FACTOR, UNIT = range(4)


class NoMatrix(Exception):
    """The term has no matrix form."""


@dataclass(frozen=True)
class Block:
    """A written matrix, vector or number: which of rows and columns it has, and how tightly it binds."""

    code: str
    rows: bool
    columns: bool
    level: int = UNIT
    below: tuple[str, ...] = ()  # scalar divisors, written last

    @property
    def scalar(self) -> bool:
        return not self.rows and not self.columns


def matrix_rule(s: Statement, letters: Letters, glyphs: Glyphs) -> str:
    """`dX = dY Wᵀ`, or an einsum, or the index rule, whichever is the first that exists."""
    head = glyphs.name(s.name)
    try:
        target, e, grouped = _grouped(s)
        if len(target) > 2:
            raise NoMatrix
        rows = target[0] if target else None
        columns = target[1] if len(target) == 2 else None
        printer = _MatrixPrinter(glyphs, letters, grouped)
        block = printer.broadcast(printer.block(e, rows, columns), bool(rows), bool(columns))
        return f"{head} = {printer.at(block, SUM)}"
    except NoMatrix:
        return _einsum(s, glyphs) or glyphs.statement(s, letters)


# ------------------------------------------------------------------------------------------------- grouping

def _grouped(s: Statement) -> tuple[tuple[Index, ...], Expr, set[Index]]:
    """The target's axes and the right side, in letters that stand for groups, without the batch; the groups of many."""
    e = _distinct(s.expr, s.indices)
    every = [s.target, *(x for x in E.subterms(e) if isinstance(x, Get))]
    if any(not all(isinstance(i, Index) for i in g.subs) or len(set(g.subs)) != len(g.subs) for g in every):
        raise NoMatrix
    if any(isinstance(x, Index) for x in _values(e)):
        raise NoMatrix
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
            raise NoMatrix
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
    runs = [(i,) for i in dict.fromkeys(i for a in accesses for i in a)]
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
        if left[0] in a or right[0] in a:
            if left[0] not in a or a[a.index(left[0]):a.index(left[0]) + len(whole)] != whole:
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
    raise NoMatrix


def _unbatched(e: Expr, batch: set[Index]) -> Expr:
    if isinstance(e, Get):
        return Get(e.tensor, tuple(i for i in e.subs if i not in batch))
    if isinstance(e, Reduce):
        return Reduce(e.op, e.indices, _unbatched(e.body, batch))
    if not e.children:
        return e
    kids = tuple(_unbatched(c, batch) for c in e.children)
    return type(e)(kids) if isinstance(e, (Add, Mul)) else E.rebuild(e, kids)


# ------------------------------------------------------------------------------------------------- printing

class _MatrixPrinter:
    def __init__(self, glyphs: Glyphs, letters: Letters, grouped: set[Index]):
        self.g, self.letters, self.grouped = glyphs, letters, grouped

    def block(self, e: Expr, rows: Index | None, columns: Index | None) -> Block:
        """`e` as a matrix with the given row and column letters; it lacks an axis that it does not depend on."""
        if e.free - {i for i in (rows, columns) if i is not None}:
            raise NoMatrix
        has_rows, has_columns = rows is not None and rows in e.free, columns is not None and columns in e.free
        match e:
            case Num() | Param() | E.Const() | Size():
                return Block(self.g.scalar(e, self.letters), False, False)
            case Get():
                return self._tensor(e, rows, columns)
            case Add():
                return self._sum(e, rows, columns)
            case Mul():
                return self._product(list(e.args), rows, columns)
            case Pow():
                return self._power(e, rows, columns, has_rows, has_columns)
            case Call() if len(e.args) == 1:
                inner = self.block(e.args[0], rows, columns)
                return Block(self.g.call(e.fn, self.at(inner, SUM)), has_rows, has_columns)
            case Call():
                parts = [self.at(self.broadcast(self.block(a, rows, columns), has_rows, has_columns), SUM)
                         for a in e.args]
                return Block(self.g.call(e.fn, ", ".join(parts)), has_rows, has_columns)
            case Where():
                return self._where(e, rows, columns, has_rows, has_columns)
            case Reduce(op="sum"):
                return self._reduce(e, rows, columns)
        raise NoMatrix

    def _tensor(self, e: Get, rows: Index | None, columns: Index | None) -> Block:
        name = self.g.name(e.tensor)
        if e.subs == ():
            return Block(name, False, False)
        if e.subs == (rows, columns):
            return Block(name, True, True)
        if e.subs == (columns, rows):
            return Block(self.g.transpose(name), True, True)
        if e.subs == (rows,):
            return Block(name, True, False)
        if e.subs == (columns,):
            return Block(self.g.transpose(name), False, True)
        raise NoMatrix

    def broadcast(self, b: Block, rows: bool, columns: bool) -> Block:
        """`b` repeated along the axes that it lacks."""
        if b.rows == rows and b.columns == columns or b.scalar:
            return b
        top = self.at(replace(b, below=()), PRODUCT)
        if rows and columns and b.rows:
            return Block(f"{top} {self.g.transpose(self.g.ones)}", True, True, PRODUCT, b.below)
        if rows and columns and b.columns:
            return Block(f"{self.g.ones} {top}", True, True, PRODUCT, b.below)
        raise NoMatrix

    def at(self, b: Block, level: int) -> str:
        """The code of a block, with its divisors, in brackets unless it binds as tightly as `level`."""
        if b.below:
            code = self.g.fraction(b.code, list(b.below), b.level)
            return code if level <= PRODUCT else self.g.bracket(code)
        return b.code if b.level >= level else self.g.bracket(b.code)

    def _sum(self, e: Add, rows: Index | None, columns: Index | None) -> Block:
        has_rows, has_columns = rows in e.free, columns in e.free
        signed = sorted(((E.coefficient(t)[0] < 0, t) for t in e.args), key=lambda st: (st[0], isinstance(st[1], Num)))
        out = ""
        for negative, t in signed:
            b = self.broadcast(self.block(_negated(t) if negative else t, rows, columns), has_rows, has_columns)
            code = self.at(b, PRODUCT if negative else SUM)
            out += f" {self.g.minus if negative else '+'} {code}" if out else (f"{self.g.minus}{code}" if negative else code)
        return Block(out, has_rows, has_columns, SUM)

    def _product(self, parts: list[Expr], rows: Index | None, columns: Index | None) -> Block:
        number = parts[0].value if isinstance(parts[0], Num) else None
        rest = parts[1:] if number is not None else parts
        scalars: list[str] = []
        below: list[str] = []
        whole, left, right = [], [], []
        if number is not None and abs(number) != 1:
            scalars.append(self.g.scalar(E.num(abs(number)), self.letters))
        for f in rest:
            base, exponent = E.split_power(f)
            if not f.free and isinstance(exponent, Num) and exponent.value < 0:
                below.append(self.at(self.block(E.power(base, E.neg(exponent)), rows, columns), FACTOR))
                continue
            b = self.block(f, rows, columns)
            below += b.below
            b = replace(b, below=())
            if b.scalar:
                scalars.append(self.at(b, FACTOR))
            elif b.rows and b.columns:
                whole.append(b)
            else:
                (left if b.rows else right).append(b)
        core = self._core(whole, left, right)
        code = " ".join([*scalars, core.code if not scalars else self.at(core, PRODUCT)] if core else scalars)
        code = code or "1"
        if number is not None and number < 0:
            code = self.g.minus + code
        has = (core.rows, core.columns) if core else (False, False)
        plain = not scalars and (number is None or number > 0)
        return Block(code, *has, core.level if core and plain else PRODUCT, tuple(below))

    def _core(self, whole: list[Block], left: list[Block], right: list[Block]) -> Block | None:
        """Hadamard product of the matrices, scaled by the vectors on either side."""
        if not whole and left and right:
            a = self._hadamard(left)
            b = self._hadamard(right)
            return Block(f"{self.at(a, FACTOR)} {self.at(b, FACTOR)}", True, True, PRODUCT)
        if not whole:
            return self._hadamard(left or right) if left or right else None
        core = self._hadamard(whole)
        if left:
            core = Block(f"{self.g.diag(self._hadamard(left).code)} {self.at(core, FACTOR)}", True, True, PRODUCT)
        if right:
            vectors = self._hadamard([Block(self.g.transpose(self.at(b, UNIT)), True, False) for b in right])
            core = Block(f"{self.at(core, PRODUCT)} {self.g.diag(vectors.code)}", True, True, PRODUCT)
        return core

    def _hadamard(self, blocks: list[Block]) -> Block:
        if len(blocks) == 1:
            return blocks[0]
        code = f" {self.g.circle} ".join(self.at(b, PRODUCT) for b in blocks)
        return Block(code, blocks[0].rows, blocks[0].columns, SUM)

    def _power(self, e: Pow, rows: Index | None, columns: Index | None, r: bool, c: bool) -> Block:
        base = self.block(e.base, rows, columns)
        exponent = self.block(e.exponent, rows, columns)
        if not exponent.scalar:
            raise NoMatrix
        return Block(self.g.power(self.at(base, UNIT), e.exponent, self.at(exponent, SUM), bool(e.base.free)), r, c)

    def _where(self, e: Where, rows: Index | None, columns: Index | None, r: bool, c: bool) -> Block:
        cond = self.g.bracketed(self._condition(e.cond, rows, columns))
        if e.other is E.ZERO:
            if e.then is E.ONE:
                return Block(cond, r, c)
            then = self.broadcast(self.block(e.then, rows, columns), r, c)
            if then.scalar:
                return Block(f"{self.at(then, FACTOR)} {cond}", r, c, PRODUCT)
            return Block(f"{self.at(then, PRODUCT)} {self.g.circle} {cond}", r, c, SUM)
        then, other = (self.broadcast(self.block(x, rows, columns), r, c) for x in (e.then, e.other))
        return Block(self.g.cases(self._condition(e.cond, rows, columns), self.at(then, SUM), self.at(other, SUM)), r, c)

    def _condition(self, e: Expr, rows: Index | None, columns: Index | None) -> str:
        if isinstance(e, Cmp):
            left, right = (x.name if isinstance(x, Index) else self.at(self.block(x, rows, columns), SUM)
                           for x in (e.left, e.right))
            return f"{left} {self.g.relation(e.op)} {right}"
        if isinstance(e, Logic) and e.op in ("and", "or"):
            return self.g.logic(e.op).join(self._condition(a, rows, columns) for a in e.args)
        raise NoMatrix

    def _reduce(self, e: Reduce, rows: Index | None, columns: Index | None) -> Block:
        """A sum over one index: a product of what has it on the right with what has it on the left."""
        if len(e.indices) == 2 and not e.free:
            inner = self.block(e.body, *e.indices)
            return Block(self.g.total(self.at(inner, SUM)), False, False)
        if len(e.indices) != 1:
            raise NoMatrix
        k = e.indices[0]
        left, right, both = [], [], []
        for f in E.factors(e.body):
            if not f.free <= {i for i in (rows, columns, k) if i is not None}:
                raise NoMatrix
            if rows is not None and rows in f.free:
                left.append(f)
                if columns is not None and columns in f.free:
                    raise NoMatrix
            elif columns is not None and columns in f.free:
                right.append(f)
            else:
                both.append(f)
        ones = Block(self.g.ones, True, False)
        if left and (right or not columns or columns not in e.free):
            a = self._upright(left, rows, k)
            b = self.block(_times([*both, *right]), k, columns) if both or right else ones
        elif right:
            a = self._row(both, k) if both else Block(self.g.transpose(self.g.ones), False, True)
            b = self._upright(right, k, columns)
        elif len(both) == 2 and k not in self.grouped:
            a, b = self._row(both[:1], k), self.block(both[1], k, None)
        else:
            return Block(self.g.total(self.at(self.block(_times(both), k, None), SUM)), False, False)
        top = f"{self.at(replace(a, below=()), PRODUCT)} {self.at(replace(b, below=()), PRODUCT)}"
        return Block(top, rows in e.free if rows else False, columns in e.free if columns else False, PRODUCT,
                     a.below + b.below)

    def _upright(self, parts: list[Expr], rows: Index | None, columns: Index | None) -> Block:
        """A product of matrices, or the transpose of the other way round if that has fewer transposes inside."""
        e = _times(parts)
        plain = self.block(e, rows, columns)
        if len(parts) == 1 and not isinstance(e, (Add, Mul)) or not (plain.rows and plain.columns):
            return plain
        turned = self.block(e, columns, rows)
        sign = self.g.transpose("")
        if turned.code.count(sign) + 1 < plain.code.count(sign):
            return Block(self.g.transpose(self.at(replace(turned, below=()), UNIT)), True, True, UNIT, turned.below)
        return plain

    def _row(self, parts: list[Expr], k: Index) -> Block:
        return self.block(_times(parts), None, k)


def _times(parts: list[Expr]) -> Expr:
    return parts[0] if len(parts) == 1 else Mul(tuple(parts))


def _negated(t: Expr) -> Expr:
    if isinstance(t, Mul) and isinstance(t.args[0], Num):
        rest = t.args[1:]
        value = -t.args[0].value
        return _times(list(rest)) if value == 1 else Mul((E.num(value), *rest))
    return E.neg(t)


def _einsum(s: Statement, glyphs: Glyphs) -> str | None:
    """`dX = einsum(bso,bsi->oi; dY, X)` for one sum of products of plain accesses."""
    c, e = E.coefficient(s.expr)
    if not isinstance(e, Reduce) or e.op != "sum":
        return None
    inner, body = E.open_binder(e, avoid=s.indices)
    parts = E.factors(body)
    if not all(isinstance(f, Get) and all(isinstance(i, Index) for i in f.subs) for f in parts):
        return None
    names: dict[Index, str] = {}
    for i in [*s.indices, *inner]:
        wish = i.name if len(i.name) == 1 else i.extent
        names[i] = wish if len(wish) == 1 and wish not in names.values() else next(
            x for x in "abcdefghijklmnopqrstuvwxyz" if x not in names.values())
    specs = ["".join(names[i] for i in f.subs if isinstance(i, Index)) for f in parts if isinstance(f, Get)]
    code = glyphs.einsum(specs, "".join(names[i] for i in s.indices), [f.tensor for f in parts if isinstance(f, Get)])
    front = "" if c == 1 else glyphs.scalar(E.num(c), None) + " "
    return f"{glyphs.name(s.name)} = {front}{code}"

