"""Random formulas of the notation, as a hypothesis strategy: text, sizes, and arrays that suit them.

Every formula it makes is one that derive has to take: accesses in range (or guarded), integer tensors within their
axis, functions inside their domain. So a refusal is a finding, as a wrong number is.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.idioms import IDIOMS, KINKED, NUMBERS, PARAMS, SMOOTH

LETTERS = "ijklmn"
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")

WORD = re.compile(r"[^\W\d]\w*")
ODD = """np erf float int len print out cp self stream tid idx threadIdx template double restrict count element
accumulate match type row total I E S N Q beta gamma sum_ exp_ t1 rstd g r dtypes Kernels batch lane _t1 d dd""".split()

LONG = (17, 33, 40, 65, 130)  # beyond a vector, a warp, a tile


@dataclass
class Sample:
    """A formula with everything needed to judge it; `ties` where its numbers are few, so that many are equal."""

    text: str
    sizes: dict[str, int]
    arrays: dict[str, Any]
    cotangents: dict[str, Any]
    wrt: list[str]
    ties: bool = False

    @property
    def number(self) -> int:
        """A number that its text alone decides."""
        return zlib.crc32(self.text.encode())

    def __repr__(self) -> str:
        shapes = {n: a.shape for n, a in self.arrays.items()}
        return f"Sample({self.text!r}, sizes={self.sizes}, shapes={shapes})"


@dataclass
class _Writer:
    """Draws one formula; `choose` gives a whole number between two, the simplest being the first."""

    choose: Callable[[int, int], int]
    sizes: dict[str, int]
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)  # inputs: axis lengths
    integers: dict[str, tuple[tuple[int, ...], int, int]] = field(default_factory=dict)  # shape, least, top
    made: dict[str, tuple[int, ...]] = field(default_factory=dict)

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

    # ------------------------------------------------------------------------------------------------ accesses

    def access(self, scope: list[str]) -> str:
        """An element of an input or of an earlier statement, addressed by letters in scope."""
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
            if fitting and self.chance(80):
                subs.append(self.pick(fitting))
            elif length and scope and self.chance(25):
                subs.append(self.gathered(length, scope, guards))
            elif scope and self.chance(75):
                subs.append(self.affine(length, scope, guards))
            elif length:
                subs.append(str(self.whole(0, length - 1)))
            else:
                return "0.5"  # no number can address an empty axis
        code = f"{name}[{','.join(subs)}]" if subs else name
        return f"where({' and '.join(guards)}, {code}, {self.pick(('0', '0', '0.5'))})" if guards else code

    def affine(self, length: int, scope: list[str], guards: list[str]) -> str:
        """A subscript of letters on an axis of some length; what may fall outside is guarded."""
        x, y = self.pick(scope), self.pick(scope)
        n, m = self.sizes[x], self.sizes[y]
        c = self.whole(1, 3)
        a, b = self.whole(1, 3), self.whole(1, 2)
        options = [(f"{x} + {c}", c, n - 1 + c), (f"{c + 1}*{x}", 0, (c + 1)*(n - 1)), (f"{x} + {y}", 0, n + m - 2),
                   (f"2*{x} + {y}", 0, 2*n + m - 3), (f"{x}//2", 0, (n - 1)//2), (f"{x} - {c}", -c, n - 1 - c),
                   (f"{length} - 1 - {x}", length - n, length - 1), (f"{x} - {y}", 1 - m, n - 1),
                   (f"size({x}) - 1 - {x}", 0, n - 1), (f"2*{x} + 1", 1, 2*n - 1),
                   (f"{a}*{x} + {b}*{y} - {c}", -c, a*(n - 1) + b*(m - 1) - c), (f"{x} % 2", 0, min(n - 1, 1)),
                   (f"({x} + {y})//2", 0, (n + m - 2)//2), (f"{x}//{a + 1} + {y}", 0, (n - 1)//(a + 1) + m - 1),
                   (f"{x} - {y} + {c}", 1 - m + c, n - 1 + c)]  # fmt: skip
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
            return self.identifiers(length, scope)
        if kind < 75:  # none where it is negative
            guards.append(f"{(code := self.identifiers(length, scope, least=-1))} >= 0")
            return code
        if kind < 85:
            code = f"{self.identifiers(length, scope)} + {self.whole(1, 2)}"
            guards.append(f"{code} < {length}")
            return code
        if kind < 93:  # an id of ids
            top = self.whole(1, 3)
            self.integers[name := f"ids{length}_{top}"] = ((top,), 0, length)
            return f"{name}[{self.identifiers(top, scope)}]"
        return f"{self.identifiers(length, scope)} {self.pick(('// 1', '// 2', f'% {length}'))}"

    def identifiers(self, length: int, scope: list[str], least: int = 0) -> str:
        """An entry of an integer tensor, each in least .. length-1."""
        letters = [self.pick(scope), *([self.pick(scope)] if self.chance(25) and len(scope) > 1 else [])]
        shape = tuple(self.sizes[x] for x in letters)
        name = "_".join(["ids" if not least else "labels", str(length), *map(str, shape)])
        self.integers[name] = (shape, least, length)
        return f"{name}[{','.join(letters)}]"

    # --------------------------------------------------------------------------------------------- expressions

    def condition(self, scope: list[str], depth: int) -> str:
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
        return str(self.pick((
            f"{x} % 2 == 0", f"{x}//2 == {y}", f"{x} - {y} < 2", f"{x} + 1 <= {y}", f"{y} < {lens}", f"{y} == {lens}",
            f"{lens} - {y} > 1", f"{x} % 2", f"abs({x} - {y}) <= 1", f"{y} < size({x})", f"2*{x} > {y} + 1",
            f"{lens}", f"{x} != size({x}) - 1", f"{y} >= {lens} or {x} > {y}", f"{x}*size({y}) + {y} < 4")))

    def factor(self, scope: list[str]) -> str:
        """A number made of places and extents."""
        x, y = self.pick(scope), self.pick(scope)
        return str(self.pick((x, f"({x} - {y})", f"({x} % 2)", f"({x}//2)", f"size({x})", f"(size({x}) - 1 - {x})",
                              f"(1 + {x})**-1", f"sqrt(1 + {x})", f"cos({x})", f"0.5**{x}", f"({x}*{y})", f"-{x}",
                              f"{self.identifiers(3, scope)}", f"exp(-0.3*abs({x} - {y}))", f"p**{x}")))

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
        """Lines that say what would be found anyway: axes by names of their own, extents, integers."""
        lines = []
        for name, shape, whole in [*((n, s, False) for n, s in self.tensors.items()),
                                   *((n, s, True) for n, (s, _, _) in self.integers.items())]:
            if name in words and self.chance(6):
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


@st.composite
def samples(draw: Any, statements: int = 3, depth: int = 4) -> Sample:
    """Formulas of up to `statements` statements and nesting `depth`, with float64 arrays and cotangents."""
    return sample(lambda low, high: int(draw(st.integers(low, high))), statements, depth)


def sample(choose: Callable[[int, int], int], statements: int = 3, depth: int = 4) -> Sample:
    """The formula that a row of choices makes."""
    w = _Writer(choose, {})
    sizes = w.sizes
    sizes |= {x: w.pick((1, 2, 3, 4, 3, 2, 5)) for x in LETTERS}
    if w.chance(8):
        sizes[w.pick(LETTERS)] = 0
    elif w.chance(12):  # a long axis among short ones
        sizes |= {x: min(n, 3) for x, n in sizes.items()}
        sizes[w.pick(LETTERS)] = w.pick(LONG)
        if w.chance(25):
            sizes[w.pick(LETTERS)] = w.pick(LONG[:2])
    lines = w.idiom() if w.chance(25) else []
    for n in range(w.whole(1, statements)):
        letters = w.some(LETTERS[:4], 0, 3 if w.chance(20) else 2)
        body = w.expression(list(letters), depth, 0 if w.chance(10) else 22)
        name = f"Y{n}"
        lines.append(f"{name}[{','.join(letters)}] = {body}" if letters else f"{name} = {body}")
        w.made[name] = tuple(sizes[x] for x in letters)
    outputs = list(w.made)[-1:]
    if len(w.made) > 1 and w.chance(50):
        outputs = list(dict.fromkeys([*outputs, *w.some(sorted(w.made), 0, 2)]))
        lines.append("output " + ", ".join(outputs))
    return finished(w, lines, outputs, w.whole(0, 2**32 - 1))


def finished(w: _Writer, lines: list[str], outputs: list[str], seed: int) -> Sample:
    """The formula with arrays drawn for what it reads; in one of ten the names are words of Python and C++."""
    rng = np.random.default_rng(seed)
    text = (w.pick(("\n", "\n", "\n", "; ")) if len(lines) > 1 else "").join(lines)
    words = dict.fromkeys(WORD.findall(text))
    text = "".join(f"param {n} = {v}\n" for n, v in PARAMS.items() if n in words) + w.declared(words) + text
    words = dict.fromkeys(WORD.findall(text))
    called = {n: n for n in (*w.tensors, *w.integers, *w.made, *LETTERS)}
    if w.chance(10):
        odd = w.some(ODD, 3, 6)
        odd = [x for x in odd if not (x[0] == "d" and x[1:] in odd)]  # the name of a gradient is refused
        called |= dict(zip(w.some(found := [n for n in words if n in called], len(found), len(found)), odd))
        text = WORD.sub(lambda m: called.get(m[0], m[0]), text)
    ties, scale = w.chance(10), 10.0 if w.chance(8) else 1.0

    def real(shape: tuple[int, ...]) -> Any:
        x = scale*rng.standard_normal(shape)
        return np.asarray(np.round(2*x)/2 if ties else x)

    whole = w.pick((np.int64, np.int64, np.int32))
    arrays: dict[str, Any] = {called[n]: real(s) for n, s in w.tensors.items() if n in words}
    arrays |= {called[n]: np.asarray(rng.integers(least, top, s)).astype(whole)
               for n, (s, least, top) in w.integers.items() if n in words}
    cotangents = {called[o]: rng.standard_normal(w.made[o]) for o in outputs}
    sizes = {called[x]: n for x, n in w.sizes.items()}
    return Sample(text, sizes, arrays, cotangents, [called[n] for n in w.tensors if n in words], ties)


@dataclass
class Choices:
    """A row of choices: drawn as they are asked for, or given, with the simplest beyond their end."""

    seed: int | None = None
    made: list[int] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def __call__(self, low: int, high: int) -> int:
        if self.seed is not None:
            self.made.append(self.random.randint(low, high))
            return self.made[-1]
        self.asked += 1
        return low if self.asked > len(self.made) else min(max(self.made[self.asked - 1], low), high)


def shrunk(made: list[int], fails: Callable[[Sample], bool], tries: int = 300) -> Sample:
    """The simplest formula found that fails too: choices left out, or made the simplest, many at a time at first."""
    best, size = made, len(made)
    while size and tries > 0:
        for start in range(0, len(best), size):
            for shorter in (best[:start] + best[start + size:], best[:start] + [0]*size + best[start + size:]):
                if shorter != best and tries > 0:
                    tries -= 1
                    if fails(sample(Choices(made=shorter))):
                        best = shorter
        size //= 2
    return sample(Choices(made=best))
