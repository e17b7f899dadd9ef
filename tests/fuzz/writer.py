"""Draws the text of one formula, choice by choice; see `tests.fuzz.formulas` for what is done with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz.idioms import IDIOMS, KINKED, NUMBERS, SMOOTH

LETTERS = "ijklmn"
LETTER = re.compile(rf"\b[{LETTERS}]\b")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


@dataclass(frozen=True)
class Drawn:
    """A part of a statement: its code, what keeps it in range, the letters that it reads and those that it binds."""

    code: str
    guards: tuple[str, ...]
    free: set[str]
    bound: set[str]


def where(guards: Sequence[str], code: str, other: str) -> str:
    return f"where({' and '.join(guards)}, {code}, {other})" if guards else code


@dataclass
class Writer:
    """Draws one formula; `choose` gives a whole number between two, the simplest being the first.

    What a statement holds may come again in it: places, accesses, conditions and values are remembered as they are
    drawn, and sometimes taken once more, under another guard or beside another access.
    """

    choose: Callable[[int, int], int]
    sizes: dict[str, int]
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)  # inputs: axis lengths
    integers: dict[str, tuple[tuple[int, ...], int, int]] = field(default_factory=dict)  # shape, least, top
    divided: set[str] = field(default_factory=set)  # integers under // and % outside of subscripts
    made: dict[str, tuple[int, ...]] = field(default_factory=dict)
    drawn: dict[str, list[Drawn]] = field(default_factory=dict)  # by what it is: a place, an access, ...

    def begin(self) -> None:
        """A new statement, with nothing to come again."""
        self.drawn = {}

    def pick(self, options: Any) -> Any:
        held = list(options)
        return held[self.choose(0, len(held) - 1)]

    def some(self, options: Any, least: int, most: int) -> list[Any]:
        """Several of the options, none twice, in any order."""
        left, found = list(options), []
        for _ in range(self.choose(least, most)):
            found.append(left.pop(self.choose(0, len(left) - 1)))
        return found

    def chance(self, percent: int) -> bool:
        return self.choose(0, 99) < percent

    def whole(self, low: int, high: int) -> int:
        return self.choose(low, high)

    # ------------------------------------------------------------------------------------------- coincidences

    def keep(self, what: str, code: str, scope: list[str], guards: Sequence[str] = ()) -> str:
        """The code, remembered with the letters that it reads and those that it binds."""
        used = {x for text in (code, *guards) for x in LETTER.findall(text)}
        self.drawn.setdefault(what, []).append(Drawn(code, tuple(guards), used & {*scope}, used - {*scope}))
        return code

    def again(self, what: str, scope: list[str], percent: int) -> Drawn | None:
        """Something of that sort drawn before that can stand here too; the simplest choice is none."""
        fitting = [d for d in self.drawn.get(what, []) if d.free <= {*scope} and not d.bound & {*scope}]
        return self.pick(fitting) if fitting and self.choose(0, 99) >= 100 - percent else None

    def guarded_again(self, d: Drawn, scope: list[str]) -> str:
        """An access drawn before, under its guards and others."""
        other = self.pick(("0", "0.5", "0", self.pick(NUMBERS)))
        if self.chance(30):
            return where(d.guards, d.code, other)
        value = self.pick((d.code, f"({d.code})**2", f"sin({d.code})", f"exp(tanh({d.code}))"))
        more = self.condition(scope, 0)
        return str(self.pick((
            where((*d.guards, more), value, other), where((more, *d.guards), value, other),
            f"where({more}, {where(d.guards, value, other)}, {where(d.guards, d.code, '0')})",
            where(d.guards, f"where({more}, {value}, {d.code})", other),
            f"where(not ({' and '.join((*d.guards, more))}), {other}, {value})",
            f"where({' or '.join((*(f'not {g}' for g in d.guards), more))}, {other}, {value})")))

    # ------------------------------------------------------------------------------------------------ accesses

    def access(self, scope: list[str]) -> str:
        """An element of an input or of an earlier statement, addressed by letters in scope."""
        before = self.again("access", scope, 15)
        if before is not None:
            return self.guarded_again(before, scope)
        if self.made and self.chance(40):
            name = self.pick(sorted(self.made))
            axes = self.made[name]
        else:
            name = self.pick("ABCD")
            if name not in self.tensors:
                rank = self.whole(0, 3 if self.chance(15) else 2) if scope else 0
                self.tensors[name] = tuple(self.length(scope) for _ in range(rank))
            axes = self.tensors[name]
        return self.addressed(name, axes, scope)

    def length(self, scope: list[str]) -> int:
        n = self.sizes[self.pick(scope)]
        kind = self.whole(0, 99)
        if kind < 70:
            return n
        longer = (2*n, 2*n + 1, n*min(self.sizes[self.pick(scope)], 6))
        return self.whole(1, 6) if kind < 90 or n > 6 else self.pick(longer)

    def addressed(self, name: str, axes: tuple[int, ...], scope: list[str]) -> str:
        subs: list[str] = []
        guards: list[str] = []
        for length in axes:
            fitting = [x for x in scope if self.sizes[x] == length]
            before = self.again(f"place of {length}", scope, 25)
            if before is not None:
                subs.append(before.code)
                guards += [g for g in before.guards if g not in guards]
            elif fitting and self.chance(80):
                subs.append(self.pick(fitting))
            elif length and scope and self.chance(25):
                subs.append(self.placed(self.gathered, length, scope, guards))
            elif scope and self.chance(75):
                subs.append(self.placed(self.affine, length, scope, guards))
            elif length:
                subs.append(str(self.whole(0, length - 1)))
            else:
                return "0.5"  # no number can address an empty axis
        code = self.keep("access", f"{name}[{','.join(subs)}]" if subs else name, scope, guards)
        return where(guards, code, self.pick(("0", "0", "0.5")))

    def placed(self, draw: Callable[[int, list[str], list[str]], str], length: int, scope: list[str],
               guards: list[str]) -> str:
        """A place that `draw` makes, remembered with the guards that it needs."""
        own: list[str] = []
        code = self.keep(f"place of {length}", draw(length, scope, own), scope, own)
        guards += [g for g in own if g not in guards]
        return code

    def affine(self, length: int, scope: list[str], guards: list[str]) -> str:
        """A subscript of letters on an axis of some length; what may fall outside is guarded."""
        x, y = self.pick(scope), self.pick(scope)
        n, m = self.sizes[x], self.sizes[y]
        c = self.whole(1, 3)
        a, b = self.whole(1, 3), self.whole(1, 2)
        options = [(f"{x} + {c}", c, n - 1 + c), (f"{c + 1}*{x}", 0, (c + 1)*(n - 1)), (f"{x} + {y}", 0, n + m - 2),
                   (f"2*{x} + {y}", 0, 2*n + m - 3), (f"{x}//2", 0, (n - 1)//2), (f"{x} - {c}", -c, n - 1 - c),
                   (f"{length} - 1 - {x}", length - n, length - 1),
                   (f"size({x}) - 1 - {x}", 0, n - 1), (f"2*{x} + 1", 1, 2*n - 1),
                   (f"{a}*{x} + {b}*{y} - {c}", -c, a*(n - 1) + b*(m - 1) - c), (f"{x} % 2", 0, min(n - 1, 1)),
                   (f"({x} + {y})//2", 0, (n + m - 2)//2),
                   (f"{x}//{a + 1} + {y}", 0, (n - 1)//(a + 1) + m - 1)]  # fmt: skip
        if x != y:  # x - x is a place without an index, read where x has no value too
            options += [(f"{x} - {y}", 1 - m, n - 1), (f"{x} - {y} + {c}", 1 - m + c, n - 1 + c)]
        if m and x != y:
            options += [(f"size({y})*{x} + {y}", 0, n*m - 1), (f"{x}//size({y})", 0, (n - 1)//m),
                        (f"{x} % size({y})", 0, min(n, m) - 1)]  # fmt: skip
        code, low, high = self.pick(options)
        if length and self.chance(8):
            return self.pick((f"({x} + {c}) % {length}", f"({c}*{x} + {y}) % {length}", f"{x} % {length}"))
        if low < 0:
            guards.append(f"{code} >= 0")
        if high >= length:
            guards.append(f"{code} < {length}")
        return code

    def gathered(self, length: int, scope: list[str], guards: list[str]) -> str:
        kind = self.whole(0, 99)
        if kind < 60:
            return self.identifiers(length, scope, guards=guards)
        if kind < 75:  # none where it is negative
            guards.append(f"{(code := self.identifiers(length, scope, -1, guards))} >= 0")
            return code
        if kind < 85:
            code = f"{self.identifiers(length, scope, guards=guards)} + {self.whole(1, 2)}"
            guards.append(f"{code} < {length}")
            return code
        if kind < 93:  # an id of ids
            top = self.whole(1, 3)
            self.integers[name := f"ids{length}_{top}"] = ((top,), 0, length)
            return f"{name}[{self.identifiers(top, scope, guards=guards)}]"
        return f"{self.identifiers(length, scope)} {self.pick(('// 1', '// 2', f'% {length}'))}"

    def identifiers(self, length: int, scope: list[str], least: int = 0, guards: list[str] | None = None) -> str:
        """An entry of an integer tensor, each in least .. length-1; with `guards` its place may need some."""
        letters = [self.pick(scope), *([self.pick(scope)] if self.chance(25) and len(scope) > 1 else [])]
        shape = tuple(self.sizes[x] for x in letters)
        name = "_".join(["ids" if not least else "labels", str(length), *map(str, shape)])
        self.integers[name] = (shape, least, length)
        shifted = guards is not None and self.choose(0, 99) >= 75
        subs = [self.affine(n, scope, guards) for n in shape] if guards is not None and shifted else letters
        return f"{name}[{','.join(subs)}]"

    # --------------------------------------------------------------------------------------------- expressions

    def condition(self, scope: list[str], depth: int) -> str:
        before = self.again("condition", scope, 25)
        if before is not None:
            return before.code if self.chance(60) else f"not {before.code}"
        code = self.new_condition(scope, depth)
        return self.keep("condition", f"({code})" if " and " in code or " or " in code else code, scope)

    def new_condition(self, scope: list[str], depth: int) -> str:
        kind = self.whole(0, 99)
        if kind < 12 and depth > 0:
            joint = self.pick(("and", "or"))
            return f"({self.condition(scope, depth - 1)} {joint} {self.condition(scope, depth - 1)})"
        if kind < 18 and depth >= 0:
            return f"not {self.condition(scope, depth - 1)}"
        if scope and kind < 60:
            a, b = self.pick(scope), self.pick(scope)
            right = b if self.chance(60) else str(self.whole(0, 3))
            return f"{a} {self.pick(COMPARISONS)} {right}"
        if scope and kind < 68:
            return f"{self.identifiers(3, scope)} {self.pick(COMPARISONS)} {self.whole(0, 2)}"
        if scope and kind < 72:
            return f"0 < {self.pick(scope)} <= {self.whole(1, 3)}"
        if scope and kind < 84:
            return self.place(scope)
        if kind < 88:
            return f"{self.expression(scope, depth - 1)} < {self.expression(scope, depth - 1)}*1.01 + 0.0123"
        return f"{self.expression(scope, depth - 1)} > {self.pick(('0.2571', '-0.5123'))}"

    def place(self, scope: list[str]) -> str:
        """A condition on places: parity, bands, lengths, labels."""
        x, y = self.pick(scope), self.pick(scope)
        n = self.sizes[y]
        self.integers[name := f"lens_{self.sizes[x]}_{n}"] = ((self.sizes[x],), 0, n + 1)
        lens = f"{name}[{x}]"
        code = str(self.pick((
            f"{x} % 2 == 0", f"{x}//2 == {y}", f"{x} - {y} < 2", f"{x} + 1 <= {y}", f"{y} < {lens}", f"{y} == {lens}",
            f"{lens} - {y} > 1", f"{x} % 2", f"abs({x} - {y}) <= 1", f"{y} < size({x})", f"2*{x} > {y} + 1",
            f"{lens}", f"{y} <= {lens}//2", f"{self.quotient(scope)} == {y}", f"{x} != size({x}) - 1",
            f"{y} >= {lens} or {x} > {y}", f"{x}*size({y}) + {y} < 4")))
        if f"{lens}//" in code:  # a comparison that nothing can reach tells nothing of it
            self.divided.add(name)
        return code

    def quotient(self, scope: list[str]) -> str:
        """What // or % makes of an entry of an integer tensor, which may be negative."""
        code = self.identifiers(3, scope, self.pick((0, -1)))
        self.divided.add(code.partition("[")[0])
        x, n = self.pick(scope), self.whole(2, 3)
        top = self.pick((code, f"({code} + {x})", f"({code} - 2*{x})", f"(1 - {code})"))
        return f"({top}{self.pick(('//', '%'))}{self.pick((n, n, f'size({x})') if self.sizes[x] else (n,))})"

    def factor(self, scope: list[str]) -> str:
        """A number made of places and extents."""
        x, y = self.pick(scope), self.pick(scope)
        return str(self.pick((x, f"({x} - {y})", f"({x} % 2)", f"({x}//2)", f"size({x})", f"(size({x}) - 1 - {x})",
                              f"(1 + {x})**-1", f"sqrt(1 + {x})", f"cos({x})", f"0.5**{x}", f"({x}*{y})", f"-{x}",
                              f"{self.identifiers(3, scope)}", self.quotient(scope),
                              f"exp(-0.3*abs({x} - {y}))", f"p**{x}")))

    def contraction(self, scope: list[str]) -> str:
        """A sum of products of tensors as they stand."""
        free = [x for x in LETTERS if x not in scope]
        bound = [self.pick(free)]
        if len(free) > 1 and self.chance(25):
            bound.append(self.pick([x for x in free if x not in bound]))
        parts = []
        for n in range(self.whole(2, 3)):
            letters = [bound[n % len(bound)], *([self.pick([*scope, *bound])] if self.chance(75) else [])]
            letters = list(dict.fromkeys(letters if self.chance(50) else letters[::-1]))
            name = self.pick("ABCD")
            shape = tuple(self.sizes[x] for x in letters)
            parts.append(f"{name}[{','.join(letters)}]" if self.tensors.setdefault(name, shape) == shape
                         else self.addressed(name, self.tensors[name], [*scope, *bound]))
        return f"sum({', '.join(bound)}, {'*'.join(parts)})"

    def expression(self, scope: list[str], depth: int, least: int = 0) -> str:
        """A value; `least` leaves out the simplest sorts."""
        if depth <= 0:
            return self.access(scope) if self.chance(85) else self.pick(NUMBERS)
        before = self.again("value", scope, 15)
        return before.code if before is not None else self.keep("value", self.new_value(scope, depth, least), scope)

    def new_value(self, scope: list[str], depth: int, least: int) -> str:
        kind = self.whole(least, 99)
        if kind < 22:
            return self.access(scope)
        if kind < 44:
            a, b = self.expression(scope, depth - 1), self.expression(scope, depth - 1)
            return f"({a} {self.pick('+-**')} {b})"
        if kind < 57:
            return str(self.pick(SMOOTH).format(self.expression(scope, depth - 1)))
        if kind < 61:
            return str(self.pick(KINKED).format(self.expression(scope, depth - 1)))
        if kind < 64 and len(scope) < len(LETTERS):
            return self.contraction(scope)
        if kind < 77:
            return self.reduction(scope, depth)
        if kind < 83 and scope:
            return self.softmax(scope, depth)
        if kind < 91:
            then, other = self.expression(scope, depth - 1), self.expression(scope, depth - 1)
            return f"where({self.condition(scope, depth)}, {then}, {other})"
        if kind < 94:
            a, b = self.expression(scope, depth - 1), self.expression(scope, depth - 1)
            return f"{self.pick(('maximum', 'minimum'))}({a}, {b})"
        if kind < 96 and scope:
            return f"({self.expression(scope, depth - 1)} * {self.factor(scope)})"
        if kind < 97 and scope:
            return f"({self.expression(scope, depth - 1)} / (1 + size({self.pick(scope)})))"
        if kind < 98 and scope:
            return f"({self.expression(scope, depth - 1)} * ({self.condition(scope, depth - 1)}))"
        return f"({self.expression(scope, depth - 1)} / (2 + sin({self.expression(scope, depth - 1)})))"

    def softmax(self, scope: list[str], depth: int) -> str:
        letters = list(dict.fromkeys([self.pick(scope), *([self.pick(scope)] if self.chance(20) else [])]))
        body = self.expression(scope, depth - 1)
        if not all(self.sizes[x] for x in letters):
            return body
        if self.chance(20):
            body = f"where({self.condition(scope, 0)}, {body}, -1e30)"
        elif self.chance(15):
            return f"log(softmax({', '.join(letters)}, {body}))"
        return f"softmax({', '.join(letters)}, {body})"

    def reduction(self, scope: list[str], depth: int) -> str:
        free = [x for x in LETTERS if x not in scope]
        if not free:
            return self.access(scope)
        letters = [self.pick(free)]
        if self.chance(20) and len(free) > 1:
            letters.append(self.pick([x for x in free if x not in letters]))
        inner = self.expression([*scope, *letters], depth - 1)
        whole = all(self.sizes[x] for x in letters)  # an empty axis has no mean and no maximum
        op = self.pick(("sum", "sum", "sum", "mean", "max", "min", "logsumexp") if whole else ("sum",))
        if op in ("max", "min", "logsumexp") or any(x not in inner for x in letters):
            inner = "(" + " + ".join([inner, *(f"0.25*{x}" for x in letters)]) + ")"
        if op == "logsumexp" and self.chance(20):
            inner = f"where({self.condition([*scope, *letters], 0)}, {inner}, -1e30)"
        return f"{op}({', '.join(letters)}, {inner})"

    def declared(self, words: Any) -> str:
        """Lines that say what would be found anyway: axes by names of their own, extents, integers; and integers of
        which // or % alone would not tell."""
        lines = []
        for name, shape, whole in [*((n, s, False) for n, s in self.tensors.items()),
                                   *((n, s, True) for n, (s, _, _) in self.integers.items())]:
            if name in words and (self.chance(6) or name in self.divided):
                letters = [f"{name.lower()}_{n}" for n in range(len(shape))]
                lines.append(f"input {name}[{','.join(letters)}]" if shape else f"input {name}")
                lines[-1] += ": int\n" if whole else "\n"
        return "".join(lines)

    def idiom(self) -> list[str]:
        idiom = self.pick(IDIOMS)
        for x in idiom.letters:
            self.sizes[x] = self.sizes[x] or 1
        for x in idiom.same:
            self.sizes[x] = self.sizes[idiom.same[-1]]

        def shape(text: str) -> tuple[int, ...]:
            return tuple(int(eval(part, {}, self.sizes)) for part in text.split())  # of the table

        self.tensors |= {n: shape(s) for n, s in idiom.inputs.items()}
        self.made |= {n: shape(s) for n, s in idiom.made.items()}
        for name, (where, top) in idiom.integers.items():
            self.integers[name] = (shape(where), -1 if top[0] == "-" else 0, *shape(top.lstrip("-")))
        return idiom.text.splitlines()
