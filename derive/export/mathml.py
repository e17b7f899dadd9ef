"""Formulas as MathML: latex2mathml translates, and what it leaves to a browser's goodwill is put right here.

Browsers set MathML Core: no `mathvariant` but `normal`, no styles of their own for operators that are words, limits
below a sum only where the tree says so.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from functools import lru_cache

from derive.errors import ExportError

SPACE = "http://www.w3.org/1998/Math/MathML"
UPRIGHT = re.compile(r"\\mathrm\{((?:[A-Za-z0-9]|\\_)+)\}")
BELOW = {"\u2211", "max", "min"}  # they carry their index below them


@lru_cache(maxsize=4096)
def mathml(code: str, display: bool) -> str:
    """A formula as MathML; kept, since both languages and a gallery's pages have the same ones.

    Raises:
        ExportError: latex2mathml is missing, or does not know something in the formula.
    """
    try:
        from latex2mathml.converter import convert
    except ImportError as e:
        raise ExportError("latex2mathml is not installed", hint="pip install latex2mathml") from e
    prepared = code.replace(r"\left\lfloor", r"\lfloor").replace(r"\right\rfloor", r"\rfloor")
    prepared = UPRIGHT.sub(lambda m: r"\text{" + m[1].replace(r"\_", "_") + "}", prepared)
    try:
        made = convert(prepared, display="block" if display else "inline")
        root = ET.fromstring(re.sub(r"&(?!#|amp;|lt;|gt;)", "&amp;", made).replace(f'xmlns="{SPACE}"', ""))
    except Exception as e:
        raise ExportError("this formula has no MathML", value=code, hint=str(e)) from e
    _mend(root)
    root.set("xmlns", SPACE)
    return ET.tostring(root, encoding="unicode")


def _mend(node: ET.Element) -> None:
    for child in node:
        _mend(child)
    if node.tag == "mtext" and re.fullmatch(r"[A-Za-z0-9_]+", node.text or ""):
        node.tag = "mi"  # a name of several letters is an identifier
        node.set("mathvariant", "normal")
    if node.get("mathvariant") == "bold" and (node.text or "").isdigit():
        node.text = "".join(chr(0x1D7CE + int(c)) for c in node.text or "")
        del node.attrib["mathvariant"]
    if node.tag == "mo" and node.text == "\u2202":
        node.tag = "mi"
    if node.tag == "mo" and node.text == "/":
        node.set("lspace", "0")
        node.set("rspace", "0")
    if node.tag == "mo" and node.text == "\u23df":
        node.set("stretchy", "true")
    if node.tag == "msub" and len(node) and node[0].tag in ("mo", "mi") and (node[0].text or "") in BELOW:
        node.tag = "munder"
    _space(node)


def _space(row: ET.Element) -> None:
    """A function's name stands close to its bracket, and a thin space before any other argument."""
    children = list(row)
    for n, child in enumerate(children):
        name = child if child.tag == "mo" else child[0] if len(child) and child.tag in ("msub", "munder") else None
        if name is None or name.tag != "mo" or not (name.text or "").isalpha() or len(name.text or "") < 2:
            continue
        following = children[n + 1] if n + 1 < len(children) else None
        bracket = following is not None and next(iter(following.itertext()), "") in "([|"
        name.set("lspace", "0.167em" if n else "0")
        name.set("rspace", "0" if bracket else "0.167em")
