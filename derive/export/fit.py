"""Long formulas in lines: how wide a formula is, about, and where it may be broken.

A formula breaks before a plus or minus that stands in no bracket, fraction or matrix.  What is still too wide then is
scaled to the page by the LaTeX frame; nothing is ever left out.
"""

from __future__ import annotations

import re
from itertools import pairwise

TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}_^&]|\s+|.", re.S)
SPACED = set("=+-<>") | {r"\le", r"\ne", r"\odot", r"\wedge", r"\vee", r"\times", r"\cdot"}
FREE = {r"\left", r"\right", r"\displaystyle", r"\mathrm", r"\mathit", r"\mathbf", r"\operatorname", r"\text", r"\,",
        r"\;", "&", r"\begin", r"\end", r"\boxed", r"\hat", r"\lfloor", r"\rfloor"}
LINE = 78.0  # letters that fit the text of a page


def width(code: str) -> float:
    """About how many letters wide a formula is."""
    tokens = TOKEN.findall(code)
    total, at = 0.0, 0

    def group(n: int) -> tuple[str, int]:
        """The text of the argument at token n, and the token behind it."""
        while n < len(tokens) and tokens[n].isspace():
            n += 1
        if n >= len(tokens) or tokens[n] != "{":
            return (tokens[n] if n < len(tokens) else ""), n + 1
        depth, m = 1, n + 1
        while m < len(tokens) and depth:
            depth += (tokens[m] == "{") - (tokens[m] == "}")
            m += 1
        return "".join(tokens[n + 1:m - 1]), m

    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token == r"\frac":
            top, at = group(at)
            bottom, at = group(at)
            total += max(width(top), width(bottom)) + 0.5
        elif token in ("_", "^"):
            script, at = group(at)
            total += 0.7 * width(script)
        elif token == r"\begin" or token == r"\end":
            _, at = group(at)
            total += 1
        elif token in SPACED:
            total += 2.6
        elif token in (r"\sum", r"\max", r"\min"):
            total += 2.5
        elif token in (r"\exp", r"\log", r"\tanh", r"\sin", r"\cos"):
            total += len(token)
        elif token not in FREE and token not in "{}" and not token.isspace():
            total += 1
    return total


def broken(code: str, line: float = LINE) -> list[str]:
    """The formula in lines; the first holds what stands before its equals sign."""
    if width(code) <= line:
        return [code]
    head, equals, rest = _cut(code, re.compile(r" = "))
    terms = _terms(rest if equals else code)
    lines: list[str] = []
    now, used = (f"{head} = ", width(head)) if equals else ("", 0.0)
    for t in terms:
        if used + width(t) > line and now.strip() and (lines or now != f"{head} = "):
            lines.append(now)
            now, used = "", 4.0
        now += t
        used += width(t)
    return [*lines, now]


def _cut(code: str, sign: re.Pattern[str]) -> tuple[str, str, str]:
    for m in sign.finditer(code):
        if _depth(code[:m.start()]) == 0:
            return code[:m.start()], m[0], code[m.end():]
    return "", "", code


def _terms(code: str) -> list[str]:
    cuts = [0] + [m.start() for m in re.finditer(r" [+-] ", code) if _depth(code[:m.start()]) == 0] + [len(code)]
    return [code[a:b] for a, b in pairwise(cuts)]


def _depth(code: str) -> int:
    plain = code.replace(r"\{", "").replace(r"\}", "")
    return (plain.count("{") - plain.count("}") + len(re.findall(r"\\left(?![a-z])", plain))
            - len(re.findall(r"\\right(?![a-z])", plain)) + plain.count(r"\begin") - plain.count(r"\end"))
