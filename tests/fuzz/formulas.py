"""Random formulas of the notation, as a hypothesis strategy: text, sizes, and arrays that suit them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

LETTERS = "ijklmn"
SMOOTH = ("tanh({})", "sin({})", "cos({})", "sigmoid({})", "exp(tanh({}))", "log(1 + ({})**2)", "sqrt(1 + ({})**2)",
          "erf({})", "({})**2", "({})**3", "1/(1 + ({})**2)", "log(1 + exp({}))", "expm1(tanh({}))")
KINKED = ("relu({})", "abs({})")


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

    def access(self, scope: list[str]) -> str:
        """An element of an input or of an earlier statement, addressed by letters in scope."""
        if self.made and self.chance(40):
            name = self.pick(sorted(self.made))
            axes = self.made[name]
        else:
            name = self.pick("ABCD")
            if name not in self.tensors:
                rank = self.draw(st.integers(0, 2)) if scope else 0
                self.tensors[name] = tuple(self.sizes[self.pick(scope)] for _ in range(rank))
            axes = self.tensors[name]
        return self.addressed(name, axes, scope)

    def addressed(self, name: str, axes: tuple[int, ...], scope: list[str]) -> str:
        subs, guards = [], []
        for length in axes:
            fitting = [x for x in scope if self.sizes[x] == length]
            if fitting and self.chance(85):
                x = self.pick(fitting)
                if self.chance(10):
                    guards.append(f"{x} - 1 >= 0")
                    x = f"{x} - 1"
                subs.append(x)
            elif scope and self.chance(30):
                subs.append(self.gathered(length, scope))
            else:
                subs.append(str(self.draw(st.integers(0, length - 1))))
        code = f"{name}[{','.join(subs)}]" if subs else name
        return f"where({' and '.join(guards)}, {code}, 0)" if guards else code

    def gathered(self, length: int, scope: list[str]) -> str:
        x = self.pick(scope)
        name = f"ids{length}{self.sizes[x]}"
        self.integers[name] = ((self.sizes[x],), length)
        return f"{name}[{x}]"

    def condition(self, scope: list[str], depth: int) -> str:
        if scope and self.chance(60):
            a, b = self.pick(scope), self.pick(scope)
            right = b if self.chance(60) else str(self.draw(st.integers(0, 3)))
            return f"{a} {self.pick(('<', '<=', '>', '>=', '==', '!='))} {right}"
        return f"{self.expression(scope, depth - 1)} > {self.pick(('0.25', '-0.5'))}"

    def expression(self, scope: list[str], depth: int) -> str:
        if depth <= 0:
            return self.access(scope) if self.chance(85) else self.pick(("2", "0.5", "-1.5", "3"))
        kind = self.draw(st.integers(0, 99))
        if kind < 22:
            return self.access(scope)
        if kind < 46:
            a, b = self.expression(scope, depth - 1), self.expression(scope, depth - 1)
            return f"({a} {self.pick('+-**')} {b})"
        if kind < 58:
            return self.pick(SMOOTH).format(self.expression(scope, depth - 1))
        if kind < 62:
            return self.pick(KINKED).format(self.expression(scope, depth - 1))
        if kind < 78:
            return self.reduction(scope, depth)
        if kind < 84 and scope:
            return f"softmax({self.pick(scope)}, {self.expression(scope, depth - 1)})"
        if kind < 92:
            then, other = self.expression(scope, depth - 1), self.expression(scope, depth - 1)
            return f"where({self.condition(scope, depth)}, {then}, {other})"
        if kind < 95:
            a, b = self.expression(scope, depth - 1), self.expression(scope, depth - 1)
            return f"{self.pick(('maximum', 'minimum'))}({a}, {b})"
        if kind < 98 and scope:
            return f"({self.expression(scope, depth - 1)} * {self.pick(scope)})"
        return f"({self.expression(scope, depth - 1)} / (2 + sin({self.expression(scope, depth - 1)})))"

    def reduction(self, scope: list[str], depth: int) -> str:
        free = [x for x in LETTERS if x not in scope]
        if not free:
            return self.access(scope)
        x = self.pick(free)
        inner = self.expression([*scope, x], depth - 1)
        op = self.pick(("sum", "sum", "sum", "mean", "max", "min", "logsumexp"))
        if op in ("max", "min", "logsumexp") or x not in inner:
            inner = f"({inner} + 0.25*{x})"
        return f"{op}({x}, {inner})"


@st.composite
def samples(draw: Any, statements: int = 3, depth: int = 4) -> Sample:
    """Formulas of up to `statements` statements and nesting `depth`, with float64 arrays and cotangents."""
    sizes = {x: draw(st.sampled_from((1, 2, 3, 4))) for x in LETTERS}
    w = _Writer(draw, sizes)
    lines = []
    for n in range(draw(st.integers(1, statements))):
        letters = draw(st.lists(st.sampled_from(LETTERS[:4]), max_size=2, unique=True))
        body = w.expression(list(letters), depth)
        name = f"Y{n}"
        lines.append(f"{name}[{','.join(letters)}] = {body}" if letters else f"{name} = {body}")
        w.made[name] = tuple(sizes[x] for x in letters)
    outputs = list(w.made)[-1:]
    if len(w.made) > 1 and draw(st.booleans()):
        outputs = list(w.made)[-2:]
        lines.append("output " + ", ".join(outputs))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    text = "\n".join(lines)
    arrays: dict[str, Any] = {n: rng.standard_normal(s) for n, s in w.tensors.items() if n in text}
    arrays |= {n: rng.integers(0, top, shape) for n, (shape, top) in w.integers.items() if n in text}
    cotangents = {o: rng.standard_normal(w.made[o]) for o in outputs}
    return Sample(text, sizes, arrays, cotangents, [n for n in w.tensors if n in text])
