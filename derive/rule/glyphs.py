"""How matrix algebra looks: the same tree is written as text with Unicode signs, or as LaTeX."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction

from derive import expr as E
from derive.expr import Expr, Num
from derive.program import Statement
from derive.rule.latex import FUNCTIONS, RELATIONS, LatexPrinter, name_latex, statement_latex
from derive.rule.letters import Letters
from derive.rule.text import TextPrinter, statement_text


class Glyphs(ABC):
    """The signs of one medium."""

    ones: str
    minus: str
    circle: str

    @abstractmethod
    def name(self, name: str) -> str: ...
    @abstractmethod
    def scalar(self, e: Expr, letters: Letters | None) -> str: ...
    @abstractmethod
    def transpose(self, code: str) -> str: ...
    @abstractmethod
    def bracket(self, code: str) -> str: ...
    @abstractmethod
    def bracketed(self, condition: str) -> str: ...
    @abstractmethod
    def diag(self, code: str) -> str: ...
    @abstractmethod
    def total(self, code: str) -> str: ...
    @abstractmethod
    def call(self, fn: str, args: str) -> str: ...
    @abstractmethod
    def power(self, base: str, exponent: Expr, code: str, entrywise: bool) -> str: ...
    @abstractmethod
    def fraction(self, top: str, below: list[str], level: int) -> str: ...
    @abstractmethod
    def cases(self, condition: str, then: str, other: str) -> str: ...
    @abstractmethod
    def relation(self, op: str) -> str: ...
    @abstractmethod
    def logic(self, op: str) -> str: ...
    @abstractmethod
    def einsum(self, specs: list[str], target: str, names: list[str]) -> str: ...
    @abstractmethod
    def statement(self, s: Statement, letters: Letters) -> str: ...


class TextGlyphs(Glyphs):
    """Unicode, for terminals and comments."""

    ones, minus, circle = "1", "−", "∘"

    def name(self, name: str) -> str:
        return name

    def scalar(self, e: Expr, letters: Letters | None) -> str:
        if isinstance(e, E.Size):
            return f"|{letters.of_extent(e.extent)}|" if letters and not e.extent.startswith("=") else e.extent[1:]
        if isinstance(e, E.Const):
            return "π"
        return TextPrinter(letters).text(e, frozenset()) if letters else TextPrinter(_NO_LETTERS).text(e, frozenset())

    def transpose(self, code: str) -> str:
        return code[:-1] if code.endswith("ᵀ") and " " not in code else f"{code}ᵀ"

    def bracket(self, code: str) -> str:
        return f"({code})"

    def bracketed(self, condition: str) -> str:
        return f"[{condition}]"

    def diag(self, code: str) -> str:
        return f"diag({code})"

    def total(self, code: str) -> str:
        return f"sum({code})"

    def call(self, fn: str, args: str) -> str:
        return f"{'σ' if fn == 'sigmoid' else fn}({args})"

    def power(self, base: str, exponent: Expr, code: str, entrywise: bool) -> str:
        if isinstance(exponent, Num):
            if exponent.value == Fraction(1, 2):
                return f"√{base}"
            superscript = str(exponent.value).translate(str.maketrans("0123456789-/", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᐟ"))
            return f"{base}{'∘' if entrywise and base[-1:] == 'ᵀ' else ''}{superscript}"
        return f"{base}^({code})"

    def fraction(self, top: str, below: list[str], level: int) -> str:
        top = top if level else f"({top})"
        return f"{top} / {below[0]}" if len(below) == 1 else f"{top} / ({' '.join(below)})"

    def cases(self, condition: str, then: str, other: str) -> str:
        return f"where({condition}, {then}, {other})"

    def relation(self, op: str) -> str:
        return {"<=": "≤", ">=": "≥", "==": "=", "!=": "≠"}.get(op, op)

    def logic(self, op: str) -> str:
        return f" {op} "

    def einsum(self, specs: list[str], target: str, names: list[str]) -> str:
        return f"einsum({','.join(specs)}->{target}; {', '.join(names)})"

    def statement(self, s: Statement, letters: Letters) -> str:
        return statement_text(s, letters)


class LatexGlyphs(Glyphs):
    """LaTeX, for documents."""

    ones, minus, circle = r"\mathbf{1}", "-", r"\odot"

    def name(self, name: str) -> str:
        return name_latex(name)

    def scalar(self, e: Expr, letters: Letters | None) -> str:
        return LatexPrinter(letters or _NO_LETTERS).latex(e, frozenset())

    def transpose(self, code: str) -> str:
        if code.endswith(r"^{\top}") and " " not in code:
            return code.removesuffix(r"^{\top}")
        return rf"{{{code}}}^{{\top}}" if "^" in code else rf"{code}^{{\top}}"

    def bracket(self, code: str) -> str:
        return rf"\left({code}\right)"

    def bracketed(self, condition: str) -> str:
        return rf"\mathbf{{1}}\left[{condition}\right]"

    def diag(self, code: str) -> str:
        return rf"\operatorname{{diag}}\left({code}\right)"

    def total(self, code: str) -> str:
        return rf"\operatorname{{sum}}\left({code}\right)"

    def call(self, fn: str, args: str) -> str:
        return rf"{FUNCTIONS.get(fn, rf'{chr(92)}operatorname{{{fn}}}')}\left({args}\right)"

    def power(self, base: str, exponent: Expr, code: str, entrywise: bool) -> str:
        if isinstance(exponent, Num) and exponent.value == Fraction(1, 2):
            return rf"\sqrt{{{base}}}"
        return f"{{{base}}}^{{{code}}}"

    def fraction(self, top: str, below: list[str], level: int) -> str:
        return rf"\frac{{{top}}}{{{' '.join(below)}}}"

    def cases(self, condition: str, then: str, other: str) -> str:
        return rf"\begin{{cases}} {then} & {condition} \\ {other} & \text{{otherwise}} \end{{cases}}"

    def relation(self, op: str) -> str:
        return RELATIONS[op]

    def logic(self, op: str) -> str:
        return r" \wedge " if op == "and" else r" \vee "

    def einsum(self, specs: list[str], target: str, names: list[str]) -> str:
        under = rf"\mathrm{{{','.join(specs)} \to {target}}}"
        return rf"\operatorname{{einsum}}_{{{under}}}\left({', '.join(name_latex(n) for n in names)}\right)"

    def statement(self, s: Statement, letters: Letters) -> str:
        return statement_latex(s, letters)


class _NoLetters(Letters):
    def __init__(self) -> None:
        self.letters, self.names, self.own = {}, set(), set()


_NO_LETTERS = _NoLetters()
TEXT, LATEX = TextGlyphs(), LatexGlyphs()
