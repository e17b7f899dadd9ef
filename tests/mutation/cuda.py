"""Faults in CUDA text, made by pattern on its tokens; nothing here knows what a kernel is meant to compute.

Each mutator is a generator over the tokens of one function that yields edits; `mutants` applies them one at a time.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.mutation.tokens import TYPES, Piece, Token, pieces, tokens

Edit = tuple[int, int, str]  # the characters from, to, and what takes their place
SUMS, PRODUCTS = ("+", "-"), ("*", "/", "%")
COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
ASSIGNMENTS = ("=", "+=", "-=", "*=", "/=")
# What an operand of + or - ends at, and one of * or /.
ENDS = {";", ",", ")", "]", "}", "(", "[", "{", "?", ":", "return", "&&", "||", "==", "!=", *COMPARISONS, *ASSIGNMENTS}
MATHS = frozenset("exp log log1p expm1 tanh sqrt rsqrt erf sin cos fabs square".split())
BARRIERS = ("__syncthreads", "__syncwarp", "__threadfence")
NARROW = """struct Narrow {
    float value;
    Narrow() = default;
    __device__ explicit Narrow(float x) : value(__int_as_float(__float_as_int(x) & 0xffffe000)) {}
    __device__ Narrow& operator=(float x) { return *this = Narrow(x); }
    __device__ operator float() const { return value; }
    __device__ Narrow& operator+=(float x) { return *this = Narrow(value + x); }
    __device__ Narrow& operator*=(float x) { return *this = Narrow(value * x); }
};
"""


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        kind: of what sort it is.
        function: kernel or device function where it is.
        line: of the original text.
        was, now: the statement or so, before and after.
        code: the whole text with the fault.
    """

    kind: str
    function: str
    line: int
    was: str
    now: str
    code: str

    def __str__(self) -> str:
        return f"{self.function}:{self.line}: {self.kind}: {self.was} -> {self.now or 'nothing'}"


class Body:
    """The tokens of a function's braces."""

    def __init__(self, found: list[Token], piece: Piece):
        self.all, self.piece = found, piece
        self.first, self.last = piece.body

    def __iter__(self) -> Iterator[tuple[int, Token]]:
        return ((n, self.all[n]) for n in range(self.first, self.last))

    def text(self, n: int) -> str:
        return self.all[n].text

    def forward(self, n: int, stops: Iterable[str]) -> int:
        """The last token before one of `stops` at this depth, from n on."""
        stops = set(stops)
        while n < self.last and self.text(n) not in stops:
            n = self.all[n].partner + 1 if self.text(n) in "([{" else n + 1
        return n - 1

    def backward(self, n: int, stops: Iterable[str]) -> int:
        """The first token after one of `stops` at this depth, from n back."""
        stops = set(stops)
        while n >= self.first and (self.text(n) not in stops or self.text(n) in ")]}"):
            if self.text(n) == "}" or (self.text(n) == ")" and self.heads(self.all[n].partner)):
                break
            n = self.all[n].partner - 1 if self.text(n) in ")]" else n - 1
        return n + 1

    def heads(self, opening: int) -> bool:
        """Whether these brackets hold the condition of a statement."""
        return self.text(opening - 1) in ("if", "for", "while")

    def is_binary(self, n: int) -> bool:
        """Whether the sign there stands between two values (no unary minus, no pointer)."""
        before = self.all[n - 1]
        if before.text in ("return", "case") or before.text in TYPES or self.text(n + 1) in ("__restrict__", ">"):
            return False
        if before.text == ")" and not self.all[n].spaced and not self.is_value(before.partner):
            return False
        return before.kind in ("word", "number") or before.text in (")", "]")

    def is_value(self, opening: int) -> bool:
        """Whether a closed bracket holds or gives a value: no cast, no condition."""
        inside = [self.text(k) for k in range(opening + 1, self.all[opening].partner)]
        return not self.heads(opening) and not all(w in TYPES or w == "*" for w in inside)

    def header(self, n: int) -> bool:
        """Whether token n stands in the brackets of a `for`."""
        depth = 0
        while n > self.first:
            n -= 1
            if self.text(n) in ")]}":
                n = self.all[n].partner
            elif self.text(n) == "(":
                if self.text(n - 1) == "for":
                    return True
                depth += 1
            elif self.text(n) == "{":
                return False
        return False

    def loops(self) -> Iterator[tuple[int, int, int, int]]:
        """Of each `for`: the opening bracket, its two semicolons, the closing bracket."""
        for n, t in self:
            if t.text == "for":
                one = self.forward(n + 2, ";") + 1
                two = self.forward(one + 1, ";") + 1
                yield n + 1, one, two, self.all[n + 1].partner

    def stores(self) -> Iterator[tuple[int, int, int]]:
        """Statements that assign to an element: first token, the sign of assignment, the semicolon."""
        for n, t in self:
            if t.text in ASSIGNMENTS and not self.header(n) and self.text(n - 1) == "]":
                first = self.backward(n - 1, {";", "{", "}", "else"})
                if self.text(first) not in TYPES and self.all[first].kind in ("word", "sign"):
                    yield first, n, self.forward(n, ";") + 1

    def cut(self, first: int, last: int, text: str = "") -> Edit:
        return self.all[first].start, self.all[last].end, text


def zeros(b: Body) -> Iterator[Edit]:
    """0 is stored for a value."""
    for _, sign, end in b.stores():
        if b.text(sign) == "=" and [b.text(k) for k in range(sign + 1, end)] != ["0"]:
            yield b.cut(sign + 1, end - 1, "{}")


def stale(b: Body) -> Iterator[Edit]:
    """A value is not stored at all."""
    for first, _, end in b.stores():
        yield b.cut(first, end - 1)


def overwritten(b: Body) -> Iterator[Edit]:
    """= for +=, and += for =."""
    for _, sign, _ in b.stores():
        yield b.cut(sign, sign, {"=": "+="}.get(b.text(sign), "="))
    for n, t in b:
        if t.text == "+=" and not b.header(n) and b.text(n - 1) != "]":
            yield b.cut(n, n, "=")


def dropped_term(b: Body) -> Iterator[Edit]:
    """a + b becomes a, and b."""
    for n, t in b:
        if t.text in SUMS and b.is_binary(n):
            yield b.cut(n, b.forward(n + 1, ENDS | set(SUMS)))
            if t.text == "+":
                yield b.cut(b.backward(n - 1, ENDS | set(SUMS)), n)


def dropped_factor(b: Body) -> Iterator[Edit]:
    """a*b becomes a, and b; a/b and a%b become a."""
    for n, t in b:
        if t.text in PRODUCTS and b.is_binary(n):
            yield b.cut(n, b.forward(n + 1, ENDS | set(SUMS) | set(PRODUCTS)))
            if t.text == "*":
                yield b.cut(b.backward(n - 1, ENDS | set(SUMS) | set(PRODUCTS)), n)


def flipped_sign(b: Body) -> Iterator[Edit]:
    """a + b becomes a - b, a - b a + b, and -a becomes a."""
    for n, t in b:
        if t.text in SUMS and not b.header(n):
            if b.is_binary(n):
                yield b.cut(n, n, "-" if t.text == "+" else "+")
            elif t.text == "-":
                yield b.cut(n, n)


def off_by_one(b: Body) -> Iterator[Edit]:
    """< becomes <= and the like; == becomes !=; a whole number becomes the next one."""
    for n, t in b:
        if t.text in COMPARISONS and t.spaced and b.all[n + 1].spaced:
            yield b.cut(n, n, COMPARISONS[t.text])
        elif t.text in ("==", "!="):
            yield b.cut(n, n, "!=" if t.text == "==" else "==")
        elif t.kind == "number" and t.text.isdigit() and b.text(n - 1) not in ("?", ":", "{"):
            yield b.cut(n, n, str(int(t.text) + 1))
            if int(t.text) > 1:
                yield b.cut(n, n, str(int(t.text) - 1))


def missing_guard(b: Body) -> Iterator[Edit]:
    """A condition always holds, or one side of a choice or of `and`, `or` is taken."""
    for n, t in b:
        if t.text == "if":
            yield b.cut(n + 2, b.all[n + 1].partner - 1, "true")
        elif t.text in ("&&", "||"):
            stops = {";", ",", ")", "]", "}", "(", "[", "{", "?", ":", "return", "&&", "||", *ASSIGNMENTS}
            yield b.cut(n, b.forward(n + 1, stops))
            yield b.cut(b.backward(n - 1, stops), n)
        elif t.text == "?":
            stops = {";", ",", ")", "]", "}", "(", "[", "{", "return", "=", "+=", "?"}
            first = b.backward(n - 1, stops)
            colon = b.forward(n + 1, {":"}) + 1
            end = b.forward(colon + 1, {";", ",", ")", "]", "}", ":"})
            yield first_of(b, first, n), b.all[end].end, code_of(b, n + 1, colon - 1)
            yield first_of(b, first, n), b.all[end].end, code_of(b, colon + 1, end)


def first_of(b: Body, first: int, n: int) -> int:
    """Where the condition of a choice starts: casts before it belong to the whole."""
    return b.all[min(first, n - 1)].start


def code_of(b: Body, first: int, last: int) -> str:
    """The tokens with single spaces: the text between two edits is not at hand here."""
    return "(" + " ".join(b.text(k) for k in range(first, last + 1)) + ")"


def missing_barrier(b: Body) -> Iterator[Edit]:
    """A barrier, a warp's barrier or a fence is left out."""
    for n, t in b:
        if t.text in BARRIERS and b.text(n + 1) == "(":
            yield b.cut(n, b.all[n + 1].partner)


def missing_call(b: Body) -> Iterator[Edit]:
    """f(x) becomes x; f(a, b) becomes a, and b: a maximum, a shuffle, a function of values left out."""
    for n, t in b:
        if t.kind != "word" or b.text(n + 1) != "(" or t.text in ("if", "for", "while", "sizeof", *TYPES, *BARRIERS):
            continue
        if b.all[n - 1].kind == "word" and b.text(n - 1) not in ("return", "else"):
            continue  # a declaration
        opening, closing = n + 1, b.all[n + 1].partner
        if closing == opening + 1:
            continue
        commas = [k for k in range(opening, closing) if b.text(k) == "," and b.backward(k, "(") == opening + 1]
        bounds = [opening, *commas, closing]
        arguments = [(p + 1, q - 1) for p, q in pairwise(bounds)]
        if len(arguments) <= 2 and (t.text.rstrip("f") in MATHS or t.text.startswith("row_") or len(arguments) == 2):
            for first, last in arguments:
                yield b.cut(n, closing, code_of(b, first, last))
        elif t.text.startswith("__shfl"):
            yield b.cut(n, closing, code_of(b, *arguments[1]))


def swapped_indices(b: Body) -> Iterator[Edit]:
    """a[i][j] becomes a[j][i]; in a*n + b the outer two change places; x for y of a thread or block."""
    for n, t in b:
        if t.text == "]" and b.text(n + 1) == "[":
            one, two = t.partner, n + 1
            first, second = code_of(b, one + 1, n - 1), code_of(b, two + 1, b.all[two].partner - 1)
            if first != second and not any(w in TYPES for w in (b.text(one - 2), b.text(one - 1))):
                yield b.cut(one, b.all[two].partner, f"[{second[1:-1]}][{first[1:-1]}]")
        elif t.text == "+" and b.text(n - 2) == "*" and b.all[n - 3].kind == b.all[n + 1].kind == "word":
            yield b.cut(n - 3, n + 1, f"{b.text(n + 1)}*{b.text(n - 1)} + {b.text(n - 3)}")
        elif t.text in ("x", "y") and b.text(n - 1) == "." and b.text(n - 2)[-3:] in ("Idx", "Dim"):
            yield b.cut(n, n, "y" if t.text == "x" else "x")


def part_of_the_data(b: Body) -> Iterator[Edit]:
    """A loop does half of its work: the first half, every second step, or all but the first step."""
    for opening, one, two, closing in b.loops():
        sign = next((k for k in range(one, two) if b.text(k) in ("<", "<=")), None)
        if sign:
            yield b.cut(sign + 1, two - 1, f"({code_of(b, sign + 1, two - 1)} + 1)/2")
        step = code_of(b, two + 1, closing - 1)
        yield b.cut(two + 1, closing - 1, f"{step}, {step}")
        begin = next((k for k in range(opening, one) if b.text(k) == "="), None)
        if begin and "+=" in step:
            yield b.cut(begin + 1, one - 1, f"{code_of(b, begin + 1, one - 1)} + {step.split('+=')[1][:-1]}")


def narrow_sum(b: Body) -> Iterator[Edit]:
    """A sum is kept in fewer bits: float for double, 10 bits of fraction for float."""
    for n, t in b:
        if t.text in ("float", "double") and b.text(n - 1) not in ("const", "(", "<") and b.text(n + 1) != "*":
            end = b.forward(n, ";")
            names = {b.text(k) for k in range(n, end) if b.all[k].kind == "word"}
            changed = {b.text(s) for s in range(n, b.last)
                       if b.all[s].kind == "word" and b.text(s + 1) in ("=", "+=", "[")}
            if names & changed:
                yield b.cut(n, end, narrowed(b, n, end)) if t.text == "float" else b.cut(n, n, "float")


def narrowed(b: Body, n: int, end: int) -> str:
    """The declaration from token n on with its values made narrow: `Narrow` takes no number unasked, since a choice
    between it and a number would have two meanings."""
    words, k = ["Narrow"], n + 1
    while k <= end:
        words.append(b.text(k))
        if b.text(k) == "=" and b.text(k + 1) != "{":
            last = b.forward(k + 1, {",", ";"})
            words.append("Narrow" + code_of(b, k + 1, last))
            k = last
        k += 1
    return " ".join(words)


def wrong_constant(b: Body) -> Iterator[Edit]:
    """A number with a fraction is twice as large; infinity is 0."""
    for n, t in b:
        if t.kind == "number" and not t.text.isdigit() and not t.text.startswith("0x"):
            yield b.cut(n, n, f"(2*{t.text})")
        elif t.text == "INFINITY":
            yield b.cut(n, n, "0")


def plain_atomic(b: Body) -> Iterator[Edit]:
    """An atomic addition becomes one that others can come between."""
    for n, t in b:
        if t.text == "atomicAdd" and b.text(n + 2) == "&":
            comma = b.forward(n + 2, ",") + 1
            place, value = code_of(b, n + 3, comma - 1), code_of(b, comma + 1, b.all[n + 1].partner - 1)
            yield b.cut(n, b.all[n + 1].partner, f"{place} += {value}")


MUTATORS: dict[str, Callable[[Body], Iterator[Edit]]] = {
    f.__name__.replace("_", " "): f
    for f in (zeros, stale, overwritten, dropped_term, dropped_factor, flipped_sign, off_by_one, missing_guard,
              missing_barrier, missing_call, swapped_indices, part_of_the_data, narrow_sum, wrong_constant,
              plain_atomic)
}  # fmt: skip


def mutants(code: str) -> list[Mutant]:
    """Every fault of every sort in every function, each text once."""
    found = tokens(code)
    made: dict[str, Mutant] = {}
    for piece in pieces(code, found):
        for kind, mutator in MUTATORS.items():
            for begin, end, text in mutator(Body(found, piece)):
                changed = code[:begin] + text + code[end:]
                if "Narrow" in text:
                    changed = _with_narrow(changed, pieces(code, found)[0].begin)
                if changed != code and changed not in made:
                    line, short = code.count("\n", 0, begin) + 1, code[:begin] + text + code[end:]
                    was, now = _around(code, begin, end), _around(short, begin, begin + len(text))
                    made[changed] = Mutant(kind, piece.name, line, was, now, changed)
    return list(made.values())


def _with_narrow(code: str, at: int) -> str:
    return code[:at] + " ".join(NARROW.splitlines()) + " " + code[at:]  # one line: the others stay where they are


def _around(code: str, begin: int, end: int) -> str:
    """The lines of an edit, without their indentation."""
    first, last = code.rfind("\n", 0, begin) + 1, code.find("\n", end)
    return " ".join(code[first:last].split())


def sample(found: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """So many of them: every function and kind in turn, the same for the same seed."""
    rng = random.Random(seed)
    groups: dict[tuple[str, str], list[Mutant]] = defaultdict(list)
    for m in found:
        groups[m.function, m.kind].append(m)
    for g in groups.values():
        rng.shuffle(g)
    order = list(groups.values())
    rng.shuffle(order)
    chosen: list[Mutant] = []
    while len(chosen) < min(count, len(found)):
        chosen += [g.pop() for g in order if g]
    return chosen[:count]
