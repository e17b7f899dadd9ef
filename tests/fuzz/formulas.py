"""Random formulas of the notation, as a hypothesis strategy: text, sizes, and arrays that suit them.

Every formula it makes is one that derive has to take: accesses in range (or guarded), integer tensors within their
axis, functions inside their domain. So a refusal is a finding, as a wrong number is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

LETTERS = "ijklmn"
SMOOTH = ("tanh({})", "sin({})", "cos({})", "sigmoid({})", "exp(tanh({}))", "log(1 + ({})**2)", "sqrt(1 + ({})**2)",
          "erf({})", "({})**2", "({})**3", "1/(1 + ({})**2)", "log(1 + exp({}))", "expm1(tanh({}))", "-({})",
          "rsqrt(0.5 + ({})**2)", "log1p(({})**2)", "(1.5 + sin({}))**-1.5", "(1 + abs({}))**p", "2**tanh({})")
KINKED = ("relu({})", "abs({})", "relu({})**2", "maximum({}, 0)", "minimum({}, 0.3)")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")

WORD = re.compile(r"[^\W\d]\w*")
ODD = """np erf float int len print out cp self stream tid idx threadIdx template double restrict count element
accumulate match type row total I E S N Q beta gamma sum_ exp_ t1 rstd g r dtypes Kernels batch lane _t1 d dd""".split()

# What people write, as statements over named tensors: letter -> extent, then the lines and what they define.
IDIOMS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("ik", "N[i] = mean(k, A[i,k])\nW[i] = mean(k, (A[i,k] - N[i])**2)\nZ[i,k] = (A[i,k] - N[i])*rsqrt(W[i] + 0.1)",
     {"A": "ik", "N": "i", "W": "i", "Z": "ik"}),
    ("ijk", "Z[i,j] = sum(k, A[i,k]*B[j,k])\nW[i,j] = softmax(j, where(j <= i, Z[i,j], -1e30))",
     {"A": "ik", "B": "jk", "Z": "ij", "W": "ij"}),
    ("ijk", "Z[i,j] = sum(k, A[i,k]*B[k,j])", {"A": "ik", "B": "kj", "Z": "ij"}),
    ("ijkl", "Z[i,j] = softmax(j, sum(k, A[i,k]*B[j,k]))\nW[i,l] = sum(j, Z[i,j]*C[j,l])",
     {"A": "ik", "B": "jk", "C": "jl", "Z": "ij", "W": "il"}),
    ("ij", "Z[i] = logsumexp(j, A[i,j])\nW[i,j] = exp(A[i,j] - Z[i])", {"A": "ij", "Z": "i", "W": "ij"}),
    ("ij", "Z = mean(i, j, A[i,j]*B[j])\nW[j] = B[j] - sum(i, A[i,j])/size(i)",
     {"A": "ij", "B": "j", "Z": "", "W": "j"}),
)  # fmt: skip


@dataclass
class Sample:
    """A formula with everything needed to judge it."""

    text: str
    sizes: dict[str, int]
    arrays: dict[str, Any]
    cotangents: dict[str, Any]
    wrt: list[str]

    def __repr__(self) -> str:
        shapes = {n: a.shape for n, a in self.arrays.items()}
        return f"Sample({self.text!r}, sizes={self.sizes}, shapes={shapes})"


@dataclass
class _Writer:
    """Draws one formula."""

    draw: Any
    sizes: dict[str, int]
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)  # inputs: axis lengths
    integers: dict[str, tuple[tuple[int, ...], int]] = field(default_factory=dict)  # index inputs: shape, top
    made: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def pick(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def chance(self, percent: int) -> bool:
        return bool(self.draw(st.integers(0, 99)) < percent)

    def whole(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

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
                self.tensors[name] = tuple(
                    self.sizes[self.pick(scope)] if self.chance(75) else self.whole(1, 6) for _ in range(rank))
            axes = self.tensors[name]
        return self.addressed(name, axes, scope)

    def addressed(self, name: str, axes: tuple[int, ...], scope: list[str]) -> str:
        subs: list[str] = []
        guards: list[str] = []
        for length in axes:
            fitting = [x for x in scope if self.sizes[x] == length]
            if fitting and self.chance(80):
                subs.append(self.pick(fitting))
            elif length and scope and self.chance(25):
                subs.append(self.gathered(length, scope))
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
        kind = self.whole(0, 8)
        options = [(f"{x} + {c}", c, n - 1 + c), (f"{c + 1}*{x}", 0, (c + 1)*(n - 1)), (f"{x} + {y}", 0, n + m - 2),
                   (f"2*{x} + {y}", 0, 2*n + m - 3), (f"{x}//2", 0, (n - 1)//2), (f"{x} - {c}", -c, n - 1 - c),
                   (f"{length} - 1 - {x}", length - n, length - 1), (f"{x} - {y}", 1 - m, n - 1),
                   (f"size({x}) - 1 - {x}", 0, n - 1)]  # fmt: skip
        code, low, high = options[kind]
        if length and self.chance(8):
            return f"({x} + {c}) % {length}"
        if low < 0:
            guards.append(f"{code} >= 0")
        if high >= length:
            guards.append(f"{code} < {length}")
        return code

    def gathered(self, length: int, scope: list[str]) -> str:
        return f"{self.identifiers(length, scope)}" if self.chance(90) else f"{self.identifiers(length, scope)} // 1"

    def identifiers(self, length: int, scope: list[str]) -> str:
        """An entry of an integer tensor, each in 0 .. length-1."""
        if self.chance(25) and len(scope) > 1:
            x, y = self.pick(scope), self.pick(scope)
            name = f"ids{length}{self.sizes[x]}{self.sizes[y]}"
            self.integers[name] = ((self.sizes[x], self.sizes[y]), length)
            return f"{name}[{x},{y}]"
        x = self.pick(scope)
        name = f"ids{length}{self.sizes[x]}"
        self.integers[name] = ((self.sizes[x],), length)
        return f"{name}[{x}]"

    # --------------------------------------------------------------------------------------------- expressions

    def condition(self, scope: list[str], depth: int) -> str:
        kind = self.whole(0, 99)
        if kind < 12 and depth > 0:
            joint = self.pick(("and", "or"))
            return f"({self.condition(scope, depth - 1)} {joint} {self.condition(scope, depth - 1)})"
        if kind < 18:
            return f"not {self.condition(scope, depth - 1)}"
        if scope and kind < 60:
            a, b = self.pick(scope), self.pick(scope)
            right = b if self.chance(60) else str(self.whole(0, 3))
            return f"{a} {self.pick(COMPARISONS)} {right}"
        if scope and kind < 68:
            return f"{self.identifiers(3, scope)} {self.pick(COMPARISONS)} {self.whole(0, 2)}"
        if scope and kind < 72:
            return f"0 < {self.pick(scope)} <= {self.whole(1, 3)}"
        return f"{self.expression(scope, depth - 1)} > {self.pick(('0.2571', '-0.5123'))}"

    def expression(self, scope: list[str], depth: int) -> str:
        if depth <= 0:
            return self.access(scope) if self.chance(85) else self.pick(("2", "0.5", "-1.5", "3", "p", "1"))
        kind = self.whole(0, 99)
        if kind < 22:
            return self.access(scope)
        if kind < 44:
            a, b = self.expression(scope, depth - 1), self.expression(scope, depth - 1)
            return f"({a} {self.pick('+-**')} {b})"
        if kind < 57:
            return str(self.pick(SMOOTH).format(self.expression(scope, depth - 1)))
        if kind < 61:
            return str(self.pick(KINKED).format(self.expression(scope, depth - 1)))
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
            return f"({self.expression(scope, depth - 1)} * {self.pick(scope)})"
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

    def idiom(self) -> list[str]:
        letters, text, axes = self.pick(IDIOMS)
        lengths = dict(zip(letters, (self.sizes[x] or 1 for x in letters)))
        for x, n in lengths.items():
            self.sizes[x] = n
        for name, where in axes.items():
            shape = tuple(lengths[x] for x in where)
            (self.made if name in "NWZ" else self.tensors)[name] = shape
        return str(text).splitlines()


@st.composite
def samples(draw: Any, statements: int = 3, depth: int = 4) -> Sample:
    """Formulas of up to `statements` statements and nesting `depth`, with float64 arrays and cotangents."""
    sizes = {x: draw(st.sampled_from((1, 2, 3, 4, 3, 2, 5))) for x in LETTERS}
    w = _Writer(draw, sizes)
    if w.chance(8):
        sizes[w.pick(LETTERS)] = 0
    lines = w.idiom() if w.chance(20) else []
    for n in range(draw(st.integers(1, statements))):
        letters = draw(st.lists(st.sampled_from(LETTERS[:4]), max_size=3 if w.chance(20) else 2, unique=True))
        body = w.expression(list(letters), depth)
        name = f"Y{n}"
        lines.append(f"{name}[{','.join(letters)}] = {body}" if letters else f"{name} = {body}")
        w.made[name] = tuple(sizes[x] for x in letters)
    outputs = list(w.made)[-1:]
    if len(w.made) > 1 and draw(st.booleans()):
        outputs = list(dict.fromkeys([*outputs, *draw(st.lists(st.sampled_from(sorted(w.made)), max_size=2))]))
        lines.append("output " + ", ".join(outputs))
    return finished(w, lines, outputs, draw(st.integers(0, 2**32 - 1)))


def finished(w: _Writer, lines: list[str], outputs: list[str], seed: int) -> Sample:
    """The formula with arrays drawn for what it reads; in one of ten the names are words of Python and C++."""
    rng = np.random.default_rng(seed)
    text = "\n".join(lines)
    words = dict.fromkeys(WORD.findall(text))
    if "p" in words:
        text = "param p = 0.7\n" + text
    called = {n: n for n in (*w.tensors, *w.integers, *w.made, *LETTERS)}
    if w.chance(10):
        odd = w.draw(st.lists(st.sampled_from(ODD), min_size=3, max_size=6, unique=True))
        odd = [x for x in odd if not (x[0] == "d" and x[1:] in odd)]  # the name of a gradient is refused
        called |= dict(zip(w.draw(st.permutations([n for n in words if n in called])), odd))
        text = WORD.sub(lambda m: called.get(m[0], m[0]), text)
    arrays: dict[str, Any] = {called[n]: rng.standard_normal(s) for n, s in w.tensors.items() if n in words}
    arrays |= {called[n]: rng.integers(0, top, s) for n, (s, top) in w.integers.items() if n in words}
    cotangents = {called[o]: rng.standard_normal(w.made[o]) for o in outputs}
    sizes = {called[x]: n for x, n in w.sizes.items()}
    return Sample(text, sizes, arrays, cotangents, [called[n] for n in w.tensors if n in words])
