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
from derive.rule.grouping import NoMatrixError, grouped
from derive.rule.letters import Letters

SUM, PRODUCT, FACTOR, UNIT = range(4)


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


def matrix_rule(s: Statement, letters: Letters, glyphs: Glyphs, as_shown: Statement | None = None) -> str:
    """`dX = dY Wᵀ`, or an einsum, or the index rule, whichever is the first that exists.

    Args:
        as_shown: the rule as its matrix form is to show it, if that is another.
    """
    head = glyphs.name(s.name)
    if letters.in_part(s.expr):
        return glyphs.statement(s, letters)
    try:
        target, e, many = grouped(as_shown or s)
        if len(target) > 2:
            raise NoMatrixError
        rows = target[0] if target else None
        columns = target[1] if len(target) == 2 else None
        printer = _MatrixPrinter(glyphs, letters, many)
        block = printer.broadcast(printer.block(e, rows, columns), bool(rows), bool(columns))
        return f"{head} = {printer.at(block, SUM)}"
    except NoMatrixError:
        return _einsum(s, glyphs) or glyphs.statement(s, letters)


# ------------------------------------------------------------------------------------------------- printing

class _MatrixPrinter:
    def __init__(self, glyphs: Glyphs, letters: Letters, many: set[Index]):
        self.g, self.letters, self.many = glyphs, letters, many

    def block(self, e: Expr, rows: Index | None, columns: Index | None) -> Block:
        """`e` as a matrix with the given row and column letters; it lacks an axis that it does not depend on."""
        if e.free - {i for i in (rows, columns) if i is not None}:
            raise NoMatrixError
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
        raise NoMatrixError

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
        raise NoMatrixError

    def broadcast(self, b: Block, rows: bool, columns: bool) -> Block:
        """`b` repeated along the axes that it lacks."""
        if (b.rows == rows and b.columns == columns) or b.scalar:
            return b
        top = self.at(replace(b, below=()), PRODUCT)
        if rows and columns and b.rows:
            return Block(f"{top} {self.g.transpose(self.g.ones)}", True, True, PRODUCT, b.below)
        if rows and columns and b.columns:
            return Block(f"{self.g.ones} {top}", True, True, PRODUCT, b.below)
        raise NoMatrixError

    def at(self, b: Block, level: int) -> str:
        """The code of a block, with its divisors, in brackets unless it binds as tightly as `level`."""
        if b.below:
            code = self.g.fraction(b.code, list(b.below), b.level)
            return code if level <= PRODUCT else self.g.bracket(code)
        return b.code if b.level >= level else self.g.bracket(b.code)

    def _sum(self, e: Add, rows: Index | None, columns: Index | None) -> Block:
        has_rows, has_columns = rows in e.free, columns in e.free
        signed = sorted(((_negative(t), t) for t in e.args), key=lambda st: (st[0], isinstance(st[1], Num)))
        out = ""
        for negative, t in signed:
            b = self.broadcast(self.block(_negated(t) if negative else t, rows, columns), has_rows, has_columns)
            code = self.at(b, PRODUCT if negative else SUM)
            sign = self.g.minus if negative else "+"
            out = f"{out} {sign} {code}" if out else (sign + code if negative else code)
        return Block(out, has_rows, has_columns, SUM)

    def _product(self, parts: list[Expr], rows: Index | None, columns: Index | None) -> Block:
        number = parts[0].value if isinstance(parts[0], Num) else None
        rest = parts[1:] if number is not None else parts
        scalars: list[str] = []
        below: list[str] = []
        whole: list[Block] = []
        left: list[Block] = []
        right: list[Block] = []
        upright: list[Block] = []  # those on the right as columns
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
            elif b.rows:
                left.append(b)
            else:
                right.append(b)
                upright.append(replace(self.block(f, columns, None), below=()))
        core = self._core(whole, left, right, upright)
        code = " ".join([*scalars, core.code if not scalars else self.at(core, PRODUCT)] if core else scalars)
        code = code or "1"
        if number is not None and number < 0:
            code = self.g.minus + code
        has = (core.rows, core.columns) if core else (False, False)
        level = core.level if core and not scalars else PRODUCT
        return Block(code, *has, min(level, PRODUCT) if number is not None and number < 0 else level, tuple(below))

    def _core(self, whole: list[Block], left: list[Block], right: list[Block], upright: list[Block]) -> Block | None:
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
            core = Block(f"{self.at(core, PRODUCT)} {self.g.diag(self._hadamard(upright).code)}", True, True, PRODUCT)
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
            raise NoMatrixError
        return Block(self.g.power(self.at(base, UNIT), e.exponent, self.at(exponent, SUM), bool(e.base.free)), r, c)

    def _where(self, e: Where, rows: Index | None, columns: Index | None, r: bool, c: bool) -> Block:
        if e.other is E.ZERO and not _guards_a_pole(e):
            cond = self.g.bracketed(self._condition(e.cond, rows, columns))
            if e.then is E.ONE:
                return Block(cond, r, c)
            then = self.broadcast(self.block(e.then, rows, columns), r, c)
            if then.scalar:
                return Block(f"{self.at(then, FACTOR)} {cond}", r, c, PRODUCT)
            return Block(f"{self.at(then, PRODUCT)} {self.g.circle} {cond}", r, c, SUM)
        then, other = (self.broadcast(self.block(x, rows, columns), r, c) for x in (e.then, e.other))
        cond = self._condition(e.cond, rows, columns)
        return Block(self.g.cases(cond, self.at(then, SUM), self.at(other, SUM)), r, c)

    def _condition(self, e: Expr, rows: Index | None, columns: Index | None) -> str:
        if isinstance(e, Cmp):
            before, op, after = e.sides
            if any(isinstance(x, Index) and not x.name.isidentifier() for x in (before, after)):
                raise NoMatrixError  # the value of a bound index has no sign in matrix notation
            left, right = (x.name if isinstance(x, Index) else self.at(self.block(x, rows, columns), SUM)
                           for x in (before, after))
            return f"{left} {self.g.relation(op)} {right}"
        if isinstance(e, Logic) and e.op in ("and", "or"):
            return self.g.logic(e.op).join(self._condition(a, rows, columns) for a in e.args)
        raise NoMatrixError

    def _reduce(self, e: Reduce, rows: Index | None, columns: Index | None) -> Block:
        """A sum over one index: a product of what has it on the right with what has it on the left."""
        if len(e.indices) == 2 and not e.free:
            inner = self.block(e.body, *e.indices)
            return Block(self.g.total(self.at(inner, SUM)), False, False)
        if len(e.indices) != 1:
            raise NoMatrixError
        k = e.indices[0]
        left: list[Expr] = []
        right: list[Expr] = []
        both: list[Expr] = []
        for f in E.factors(e.body):
            if not f.free <= {i for i in (rows, columns, k) if i is not None}:
                raise NoMatrixError
            if rows is not None and rows in f.free:
                left.append(f)
                if columns is not None and columns in f.free:
                    raise NoMatrixError
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
        elif len(both) == 2 and k not in self.many:
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
        if (len(parts) == 1 and not isinstance(e, (Add, Mul))) or not (plain.rows and plain.columns):
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


def _guards_a_pole(e: Where) -> bool:
    """Whether the condition looks at what a logarithm or a power is taken of: where it fails, 0 times that is no 0."""
    looked_at = {x for x in E.subterms(e.cond) if isinstance(x, Get)}
    poles = [x.base for x in E.subterms(e.then) if isinstance(x, Pow) and not _whole(x.exponent)]
    poles += [x.args[0] for x in E.subterms(e.then) if isinstance(x, Call) and x.fn in ("log", "log1p")]
    return any(x in looked_at for p in poles for x in E.subterms(p))


def _whole(e: Expr) -> bool:
    """Whether a power with this exponent is finite everywhere."""
    return isinstance(e, Num) and e.value > 0


def _negative(t: Expr) -> bool:
    """Whether a term is written with a minus before it; the sign of a guarded term stands before the guard."""
    if isinstance(t, Where) and t.other is E.ZERO:
        return E.coefficient(t.then)[0] < 0
    return E.coefficient(t)[0] < 0


def _negated(t: Expr) -> Expr:
    if isinstance(t, Where) and t.other is E.ZERO:
        return E.where(t.cond, _negated(t.then), E.ZERO)
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
    front = glyphs.minus*(c < 0) + ("" if abs(c) == 1 else glyphs.scalar(E.num(abs(c)), None) + " ")
    return f"{glyphs.name(s.name)} = {front}{code}"

