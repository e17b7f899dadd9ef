"""Claims in the matrix notation that derive prints: `dX = P ∘ (dP − (P ∘ dP) 1 1ᵀ)`.

Every name is a matrix, a column vector or a number; side by side they multiply, `∘` is entry by entry, powers,
quotients and functions are too, `1` beside something is a vector of ones of the length that fits, `[c]` is 1 where c
holds, `|n|` the length of an axis.  A tensor of more axes is read as the rule's own letters read it: batch axes in
front are left out, axes that always stand side by side count as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

from derive import expr as E
from derive.claim.layout import SUPERSCRIPTS, Group, layout_of, target_groups
from derive.claim.shaped import Algebra, Misfit, condition
from derive.errors import NotationError, Where
from derive.expr import Expr
from derive.program import FUNCTIONS
from derive.rule.grouping import Layout

TOKEN = re.compile(rf"\s*([0-9]+\.?[0-9]*(?:e-?[0-9]+)?|[A-Za-z_][A-Za-z_0-9]*|[{SUPERSCRIPTS}]+|\*\*|[<>!=]=|\S)")
RELATIONS = {"<": "<", "≤": "<=", "<=": "<=", "=": "==", "==": "==", "≠": "!=", "!=": "!=", ">": ">", "≥": ">="}


@dataclass(frozen=True)
class Mat:
    """A term with a group of rows, a group of columns, both or neither; `ones` marks the vector of ones."""

    rows: Group | None
    columns: Group | None
    expr: Expr
    ones: bool = False

    @property
    def scalar(self) -> bool:
        return self.rows is None and self.columns is None and not self.ones


@dataclass
class MatrixReader:
    """Reads one right side.

    Attributes:
        code: the text.
        tensors: extents of each tensor's axes.
        layouts: of the tensors of more than two axes.
        target: the derivative's own indices: batch, rows, columns.
        letters: extents of index letters.
    """

    code: str
    tensors: Mapping[str, tuple[str, ...]]
    layouts: Mapping[str, Layout]
    target: tuple[Group, Group | None, Group | None]
    letters: Mapping[str, str]
    params: frozenset[str] = frozenset()
    algebra: Algebra | None = None

    def __post_init__(self) -> None:
        self.tokens = [(m[1], m.start(1)) for m in TOKEN.finditer(self.code)]
        self.at = 0
        self.algebra = self.algebra or Algebra()

    # ------------------------------------------------------------------------------------------------- tokens

    def peek(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        found = self.peek()
        if (wanted and found != wanted) or not found:
            place = self.tokens[self.at][1] if self.at < len(self.tokens) else len(self.code)
            raise NotationError(f"expected {wanted or 'more'} here", where=Where(self.code, place, place + 1),
                                value=found or "the end")
        self.at += 1
        return found

    # ------------------------------------------------------------------------------------------------ grammar

    def read(self) -> Expr:
        """The whole right side, in the target's indices."""
        found = self.sum()
        if self.peek():
            self.take("the end")
        _, rows, columns = self.target
        if (found.rows and not rows) or (found.columns and not columns):
            raise Misfit("the right side has an axis that the derivative has not")
        whole = self.together(found, Mat(rows, columns, E.ZERO))[0]
        return whole.expr

    def sum(self) -> Mat:
        total = self.signed()
        while self.peek() in ("+", "−", "-"):
            minus = self.take() != "+"
            total = self.pointwise(total, self.signed(), E.sub if minus else E.add)
        return total

    def signed(self) -> Mat:
        negative = self.peek() in ("−", "-")
        if negative:
            self.take()
        total = self.hadamard()
        return replace(total, expr=E.neg(total.expr), ones=False) if negative else total

    def hadamard(self) -> Mat:
        total = self.product()
        while self.peek() == "∘" and not self.powered():
            self.take()
            total = self.pointwise(total, self.product(), E.mul)
        return total

    def powered(self) -> bool:
        """`ᵀ∘²`: the circle belongs to the power."""
        after = self.tokens[self.at + 1][0] if self.at + 1 < len(self.tokens) else ""
        return after[:1] in SUPERSCRIPTS if after else False

    def product(self) -> Mat:
        factors, signs = [self.factor()], ["*"]
        while True:
            if self.peek() == "/":
                self.take()
                signs.append("/")
            elif self.peek() == "*":
                self.take()
                signs.append("*")
            elif self.starts():
                signs.append(" ")
            else:
                break
            factors.append(self.factor())
        total: Mat | None = None
        beside = sum(s != "/" for s in signs) > 1
        for sign, f in zip(signs, factors, strict=True):
            f = f if beside and sign != "/" else replace(f, ones=False) if f.rows is None and f.columns is None else f
            if total is None:
                total = f
            elif sign == "/":
                total = self.pointwise(total, f, E.div)
            else:
                total = self.times(total, f)
        assert total is not None
        return total

    def starts(self) -> bool:
        t = self.peek()
        return bool(t) and (t[0].isalnum() or t[0] in "([|√σπ_" ) and t not in ("and", "or")

    def factor(self) -> Mat:
        if self.peek() == "√":
            self.take()
            inner = self.factor()
            return replace(inner, expr=E.power(inner.expr, E.HALF))
        value = self.unit()
        while self.peek():
            t = self.peek()
            if t == "ᵀ":
                self.take()
                value = replace(value, rows=value.columns, columns=value.rows) if not value.ones else Mat(
                    None, (), E.ONE, True)
            elif t == "∘" and self.powered():
                self.take()
            elif t[0] in SUPERSCRIPTS:
                text = self.take().translate(str.maketrans(SUPERSCRIPTS, "0123456789-/"))
                value = replace(value, expr=E.power(value.expr, E.num(Fraction(text))), ones=False)
            elif t in ("^", "**"):
                self.take()
                value = self.pointwise(value, self.unit(), E.power)
            else:
                break
        return value

    def unit(self) -> Mat:
        t = self.take()
        if t == "(":
            inner = self.sum()
            self.take(")")
            return replace(inner, ones=False) if inner.scalar else inner
        if t == "[":
            cond = self.condition()
            self.take("]")
            return cond
        if t == "|":
            name = self.take()
            self.take("|")
            return Mat(None, None, E.Size(self.letters[name]))
        if t[0].isdigit():
            return Mat(None, None, E.num(Fraction(t)), ones=t == "1")
        if t == "π":
            return Mat(None, None, E.Const("pi"))
        if self.peek() == "(" and t not in self.tensors and t not in self.params:
            return self.call("sigmoid" if t == "σ" else t)
        return self.name(t)

    def name(self, t: str) -> Mat:
        if t in self.params:
            return Mat(None, None, E.Param(t))
        if t not in self.tensors:
            place = self.tokens[self.at - 1][1]
            where = Where(self.code, place, place + len(t))
            raise NotationError(f"{t} is nothing in the formula", where=where, value=t)
        axes = self.tensors[t]
        layout = layout_of(t, self.tensors, self.layouts)
        if layout.batch + sum(layout.groups) != len(axes) or len(layout.groups) > 2:
            raise Misfit(f"{t} is no matrix")
        assert self.algebra is not None
        batch = self.target[0][:layout.batch]
        own = tuple(self.algebra.index(e) for e in axes[layout.batch:])
        _, rows, columns = target_groups(own, Layout(0, layout.groups))
        return Mat(rows, columns, E.Get(t, (*batch, *own)))

    def call(self, fn: str) -> Mat:
        self.take("(")
        if fn == "where":
            cond = self.condition()
            self.take(",")
        args = [self.sum()]
        while self.peek() == ",":
            self.take()
            args.append(self.sum())
        self.take(")")
        if fn == "where":
            return self.choose(cond, *args)
        if fn == "diag":
            (v,) = args
            return self.diagonal(v)
        if fn == "softmax":
            (m,) = args
            group = m.columns or m.rows or ()
            return replace(m, expr=E.softmax(group, m.expr, group), ones=False)
        if fn == "sum":
            (m,) = args
            return Mat(None, None, E.summation((*(m.rows or ()), *(m.columns or ())), m.expr))
        if fn not in FUNCTIONS and fn not in ("sign", "softplus"):
            raise NotationError(f"unknown function {fn}", value=fn)
        if len(args) == 1:
            return replace(args[0], expr=E.call(fn, args[0].expr), ones=False)
        return self.pointwise(args[0], args[1], lambda a, b: E.call(fn, *sorted((a, b), key=lambda x: x.key)))

    def diagonal(self, v: Mat) -> Mat:
        group = v.rows or v.columns
        if group is None or (v.rows and v.columns):
            raise Misfit("diag of what is no vector")
        assert self.algebra is not None
        other = tuple(self.algebra.index(i.extent) for i in group)
        same = E.logic("and", *(E.compare("==", a, b) for a, b in zip(group, other, strict=True)))
        return Mat(group, other, E.where(same, v.expr, E.ZERO))

    def condition(self) -> Mat:
        total = self.comparison()
        while self.peek() in ("and", "or"):
            joined = partial(_joined, self.take())
            total = self.pointwise(total, self.comparison(), joined)
        return total

    def comparison(self) -> Mat:
        left = self.side()
        sign = RELATIONS[self.take()]
        return self.pointwise(left, self.side(), lambda a, b: E.indicator(E.compare(sign, a, b)))

    def side(self) -> Mat:
        """An index letter of the target stands for its value."""
        t = self.peek()
        after = self.tokens[self.at + 1][0] if self.at + 1 < len(self.tokens) else ""
        own = {i.name for group in self.target[1:] for i in group or ()}
        if t in own | set(self.letters) and t not in self.tensors and after in (*RELATIONS, "]", ",", "and", "or"):
            self.take()
            for n, group in enumerate(self.target[1:]):
                if group is not None and len(group) == 1 and group[0].name == t:
                    i = group[0]
                    return Mat((i,), None, i) if n == 0 else Mat(None, (i,), i)
            raise Misfit(f"index {t} is neither rows nor columns")
        return self.sum()

    def choose(self, cond: Mat, then: Mat, other: Mat) -> Mat:
        first = self.pointwise(cond, then, lambda c, a: E.where(condition(c), a, E.ZERO))
        rest = self.pointwise(cond, other, lambda c, b: E.where(condition(c), E.ZERO, b))
        return self.pointwise(first, rest, E.add)

    # ------------------------------------------------------------------------------------------------ algebra

    def same(self, a: Group, b: Group, e: Expr) -> Expr:
        """`e`, which runs over `b`, over `a`."""
        if tuple(i.extent for i in a) != tuple(i.extent for i in b):
            one, other = (",".join(i.extent for i in g) for g in (a, b))
            raise Misfit(f"an axis of {one} meets one of {other}")
        return E.substitute(e, dict(zip(b, a, strict=True)))

    def together(self, a: Mat, b: Mat) -> tuple[Mat, Mat]:
        """Both over the second's rows and columns where it has them."""
        e = a.expr
        rows, columns = b.rows or a.rows, b.columns or a.columns
        if a.rows and b.rows:
            e = self.same(b.rows, a.rows, e)
        if a.columns and b.columns:
            e = self.same(b.columns, a.columns, e)
        return Mat(rows, columns, e), replace(b, rows=rows, columns=columns)

    def pointwise(self, a: Mat, b: Mat, f: Callable[[Expr, Expr], Expr]) -> Mat:
        x, y = self.together(a, b)
        return Mat(x.rows, x.columns, f(x.expr, y.expr))

    def times(self, a: Mat, b: Mat) -> Mat:
        """The matrix product; numbers scale."""
        if a.scalar or b.scalar:
            keep = b if a.scalar else a
            return Mat(keep.rows, keep.columns, E.mul(a.expr, b.expr))
        if a.ones and b.ones:
            return Mat((), (), E.ONE, True)  # 1 1ᵀ, all ones
        if b.ones:
            if b.columns is not None:  # v 1ᵀ repeats along columns
                return Mat(a.rows, None, a.expr)
            return Mat(a.rows, None, E.summation(a.columns or (), a.expr))
        if a.ones:
            if a.columns is not None:  # 1ᵀ A and 1 1ᵀ A add up the rows
                return Mat(None, b.columns, E.summation(b.rows or (), b.expr))
            return Mat(None, b.columns, b.expr)
        if a.columns is not None and b.rows is not None:
            e = self.same(a.columns, b.rows, b.expr)
            return Mat(a.rows, b.columns, E.summation(a.columns, E.mul(a.expr, e)))
        if a.columns is None and b.rows is None:
            return Mat(a.rows, b.columns, E.mul(a.expr, b.expr))
        raise Misfit("a product of what does not meet")


def _joined(word: str, a: Expr, b: Expr) -> Expr:
    return E.indicator(E.logic(word, condition(a), condition(b)))
