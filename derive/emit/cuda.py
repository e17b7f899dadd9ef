"""Scalars and statements of `derive.plan.ir` as CUDA text."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from derive.errors import EmitError
from derive.plan import ir
from derive.plan.ir import INT, REAL, Scalar, Stmt
from derive.plan.records import Buffer, Kernel, Packed

#: Storage and compute type of each dtype.
STORAGE = {"float32": "float", "float64": "double", "float16": "__half", "bfloat16": "__nv_bfloat16"}
WIDEN = {"float16": "__half2float", "bfloat16": "__bfloat162float"}
NARROW = {"float16": "__float2half", "bfloat16": "__float2bfloat16"}
#: Functions whose float version ends in f; the others are ours or the same for both types.
LIBM = frozenset("exp log log1p expm1 tanh sqrt rsqrt erf sin cos pow fmax ceil".split())
_LEVEL = {"||": 1, "&&": 2, "==": 3, "!=": 3, "<": 4, "<=": 4, ">": 4, ">=": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
_UNARY, _ATOM = 7, 8


@dataclass(frozen=True)
class Printer:
    """Prints for one dtype; `buffers` tells the type of each array by name, `shares` which may be one array.

    An element of a buffer at an offset that is one of `packs` is a lane of a local.
    """

    dtype: str
    buffers: dict[str, Buffer]
    packs: Mapping[tuple[str, Scalar], str] = field(default_factory=dict)
    shares: frozenset[str] = frozenset()

    @property
    def compute(self) -> str:
        return "double" if self.dtype == "float64" else "float"

    def packed(self, packs: tuple[Packed, ...]) -> Printer:
        """One for a loop that has runs of some buffers in locals."""
        return replace(self, packs={(x.buffer.name, x.offset): x.local for x in packs})

    def start(self, x: Packed) -> str:
        """Where the row begins that a loop has runs of."""
        return x.buffer.name if x.start == ir.integer(0) else f"{x.buffer.name} + {self.scalar(x.start, 5)}"

    def gap(self, lanes: int) -> int:
        """How far apart runs must begin in shared memory for a warp's accesses across them to fall in as many banks."""
        return (16 if self.compute == "double" else 32) // lanes

    # ------------------------------------------------------------------------------------------ types

    def element(self, b: Buffer) -> str:
        """The element type of a buffer."""
        if b.dtype == "ids":
            return f"{b.name}_t"
        return {"T": STORAGE[self.dtype], "compute": self.compute, "short": "unsigned short"}[b.dtype]

    def parameter(self, b: Buffer, const: bool) -> str:
        alone = "" if b.name in self.shares else " __restrict__"
        return f"{'const ' if const else ''}{self.element(b)}*{alone} {b.name}"

    # ------------------------------------------------------------------------------------------ scalars

    def scalar(self, s: Scalar, tight: int = 0) -> str:
        text, level = self._scalar(s)
        return f"({text})" if level < tight else text

    def _scalar(self, s: Scalar) -> tuple[str, int]:
        match s:
            case ir.Literal(kind="int"):
                return str(int(s.value)), _ATOM if s.value >= 0 else _UNARY
            case ir.Literal(kind="bool"):
                return ("true" if s.value else "false"), _ATOM
            case ir.Literal():
                text = literal(s.value, self.compute)
                return text, _UNARY if text.startswith("-") else _ATOM
            case ir.Local():
                return s.name, _ATOM
            case ir.Load():
                return self._load(s), _ATOM
            case ir.Unary():
                return f"{s.op}{self.scalar(s.value, _UNARY + (s.op == '-'))}", _UNARY
            case ir.Binary():
                level = _LEVEL[s.op]
                right = level + (s.op not in ("&&", "||") and not (s.op == "+" and s.kind == INT))
                if s.op == "||":  # compilers warn about && among || without parentheses
                    return (
                        f"{self.scalar(s.left, level + (_op(s.left) == '&&') * 2)} || "
                        f"{self.scalar(s.right, level + (_op(s.right) == '&&') * 2)}",
                        level,
                    )
                gap = "" if s.op == "*" or (s.kind == INT and level == 6) else " "
                if s.op == "/" and s.kind == REAL:
                    gap = " "
                return f"{self.scalar(s.left, level)}{gap}{s.op}{gap}{self.scalar(s.right, right)}", level
            case ir.Apply():
                return self._apply(s), _ATOM
            case ir.Choose():
                return f"{self.scalar(s.cond, 1)} ? {self.scalar(s.then, 1)} : {self.scalar(s.other)}", 0
        raise EmitError(f"cannot print {type(s).__name__}")

    def element_at(self, buffer: str, offset: Scalar) -> str:
        if (buffer, offset) in self.packs:
            return f"{self.packs[buffer, offset]}.lane[lane]"
        return f"{buffer}[{self.scalar(offset)}]"

    def _load(self, s: ir.Load) -> str:
        text = self.element_at(s.buffer, s.offset)
        b = self.buffers.get(s.buffer)
        if b is not None and b.dtype == "T" and self.dtype in WIDEN:
            return f"{WIDEN[self.dtype]}({text})"
        return text

    def _apply(self, s: ir.Apply) -> str:
        args = ", ".join(self.scalar(a) for a in s.args)
        if s.fn == "real":
            return f"({self.compute}){self.scalar(s.args[0], _ATOM)}"
        if s.fn == "index":
            return f"(INDEX){self.scalar(s.args[0], _ATOM)}"
        if s.fn == "total":
            return f"{args}.value()"
        if s.fn == "abs":
            return f"fabs{'f' if self.compute == 'float' else ''}({args})"
        if s.fn in LIBM:
            return f"{s.fn}{'f' if self.compute == 'float' else ''}({args})"
        return f"{s.fn}({args})"

    # ------------------------------------------------------------------------------------------ statements

    def block(self, stmts: tuple[Stmt, ...], indent: int) -> str:
        """The statements, each line indented by `indent` spaces."""
        lines = [line for s in stmts for line in self.statement(s)]
        return "\n".join(" " * indent + line if line else line for line in lines)

    def statement(self, s: Stmt) -> list[str]:
        match s:
            case ir.Let():
                return [f"const {self.type(s.value.kind)} {s.name} = {self.scalar(s.value)};"]
            case ir.Declare():
                start = "" if s.value is None else f" = {self.scalar(s.value)}"
                return [f"{self.type(s.kind)} {s.name}{start};"]
            case ir.Assign(value=ir.Binary(op="+", left=ir.Local(name=running), right=more)) if running == s.name:
                return [f"{s.name} += {self.scalar(more)};"]
            case ir.Assign():
                return [f"{s.name} = {self.scalar(s.value)};"]
            case ir.Accumulator():
                return ["Sum " + s.name + ";" if s.op == "sum" else f"{self.compute} {s.name} = {neutral(s.op)};"]
            case ir.Accumulate():
                if s.op == "sum":
                    return [f"{s.name}.add({self.scalar(s.value)});"]
                return [f"{s.name} = {ir.EXTREMUM[s.op]}({s.name}, {self.scalar(s.value)});"]
            case ir.For():
                i, one = s.index, s.step == ir.integer(1)
                step = f"++{i}" if one else f"{i} += {self.scalar(s.step)}"
                return self._braces(
                    f"for (INDEX {i} = {self.scalar(s.start)}; {i} < {self.scalar(s.stop)}; {step})", s.body
                )
            case ir.If():
                lines = self._braces(f"if ({self.scalar(s.cond)})", s.then)
                if len(lines) == 3 and isinstance(s.then[0], (ir.Assign, ir.Store)) and not s.other:
                    return [f"{lines[0][:-2]} {lines[1].strip()}"]
                return lines[:-1] + self._braces("} else", s.other) if s.other else lines
            case ir.Store():
                place = self.element_at(s.buffer, s.offset)
                text = self.scalar(s.value)
                if s.accumulate:
                    old = self.scalar(ir.Load(REAL, s.buffer, s.offset))
                    text = f"accumulate ? {old} + {self.scalar(s.value, 6)} : {text}"
                return [f"{place} = {self._narrow(s.buffer, text)};"]
            case ir.AtomicAdd():
                return [f"atomicAdd(&{s.buffer}[{self.scalar(s.offset)}], {self.scalar(s.value)});"]
        raise EmitError(f"cannot print {type(s).__name__}")

    def _narrow(self, buffer: str, text: str) -> str:
        b = self.buffers.get(buffer)  # none: an array in shared memory
        if b is not None and b.dtype == "T" and self.dtype in NARROW:
            return f"{NARROW[self.dtype]}({text})"
        return text

    def _braces(self, head: str, body: tuple[Stmt, ...]) -> list[str]:
        lines = [line for s in body for line in self.statement(s)]
        return [f"{head} {{", *("    " + line for line in lines), "}"]

    def type(self, kind: str) -> str:
        return {"int": "INDEX", "bool": "bool"}.get(kind, self.compute)

    def join(self, op: str, left: str, right: str) -> str:
        """The statement that adds `right` to a running value."""
        return f"{left} += {right}" if op == "sum" else f"{left} = {ir.EXTREMUM[op]}({left}, {right})"

    def signature(self, k: Kernel) -> list[str]:
        """The parameters, one a line with its comment apart."""
        names = [self.parameter(b, True) for b in k.reads] + [self.parameter(b, False) for b in k.writes]
        names += [f"INDEX {s.split('=')[0]}" for s in k.sizes] + (["int accumulate"] if k.accumulates else [])
        return names


def _op(s: Scalar) -> str:
    return s.op if isinstance(s, ir.Binary) else ""


def neutral(op: str) -> str:
    return {"sum": "0", "max": "-INFINITY", "min": "INFINITY"}[op]


def literal(value: Fraction, compute: str) -> str:
    """The shortest decimal that reads back as the number of the compute type nearest to `value`.

    >>> literal(Fraction(1, 10), "float")
    '0.1f'
    """
    if compute == "double":
        return _shorten(repr(float(value)))
    near = _nearest_single(value)
    if near in (float("inf"), float("-inf")):
        return "INFINITY" if near > 0 else "-INFINITY"
    for digits in range(1, 10):
        text = f"{near:.{digits}g}"
        if _single(float(text)) == near:
            return _shorten(repr(float(text))) + "f"
    raise EmitError("a literal does not round to itself", value=value)


def _single(x: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", x))[0])
    except OverflowError:
        return float("inf") if x > 0 else float("-inf")


def _nearest_single(value: Fraction) -> float:
    """Rounded once: going through float64 can be wrong by one place when that lands on a tie."""
    guess = _single(float(value))
    if guess in (float("inf"), float("-inf")) or guess == 0:
        return guess
    bits = struct.unpack("i", struct.pack("f", guess))[0]
    near = [struct.unpack("f", struct.pack("i", bits + d))[0] for d in (-1, 0, 1)]
    return float(
        min(
            (n for n in near if n == n and abs(n) != float("inf")), key=lambda n: (abs(Fraction(n) - value), n != guess)
        )
    )


def _shorten(text: str) -> str:
    mantissa, _, power = text.partition("e")
    if power:
        return f"{mantissa}e{int(power)}"
    return text
