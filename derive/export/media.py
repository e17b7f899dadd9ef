"""Blocks in LaTeX, Markdown and HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable

from derive.errors import ExportError
from derive.export.fit import broken
from derive.export.markup import Block, spans
from derive.export.mathml import mathml

TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
       "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}
SECTIONS = {2: "section*", 3: "subsection*", 4: "subsubsection*"}
# Signs that code listings hold and the fonts of a plain LaTeX lack.
ASCII = {"∘": ".*", "ᵀ": "^T", "−": "-", "·": "*", "×": "x", "→": "->", "√": "sqrt", "Σ": "sum", "²": "^2", "⁻¹": "^-1",
         "σ": "sigma", "≤": "<=", "≥": ">=", "≠": "!=", "∂": "d", "⁻": "^-", "³": "^3", "π": "pi", "δ": "delta"}


# ------------------------------------------------------------------------------------------------- LaTeX

def latex(found: Iterable[Block]) -> str:
    return "\n\n".join(_latex_block(b) for b in found if not (b.kind == "heading" and b.level == 1))


def tex(text: str) -> str:
    """Plain text for LaTeX: hyphens make no dashes, and a dotted name may break after its dots and low lines."""
    plain = "".join(TEX.get(c, c) for c in text).replace("--", "-{}-")
    return re.sub(r"(?<=[A-Za-z])(\.|\\_)(?=[A-Za-z])", r"\1\\allowbreak{}", plain)


def _latex_text(text: str) -> str:
    out = []
    for kind, part in spans(text):
        code = rf"\texttt{{{tex(_ascii(part))}}}"
        out.append({"math": f"${part}$", "code": code, "strong": rf"\textbf{{{tex(part)}}}"}.get(kind, tex(part)))
    return "".join(out)


def _latex_block(b: Block) -> str:
    match b.kind:
        case "heading":
            return rf"\{SECTIONS.get(b.level, 'paragraph')}{{{_latex_text(b.text)}}}"
        case "text":
            return _latex_text(b.text)
        case "math":
            return _latex_math(b.text)
        case "box":
            return rf"\formula{{\boxed{{\displaystyle {b.text}}}}}"
        case "code":
            return "\\begin{lstlisting}\n" + _ascii(b.text) + "\n\\end{lstlisting}"
        case "list":
            items = "\n".join(rf"  \item {_latex_text(r[0])}" for r in b.rows)
            return "\\begin{itemize}\n" + items + "\n\\end{itemize}"
        case "table":
            head, *rows = b.rows
            body = [" & ".join(_latex_text(c) for c in r) + r" \\" for r in rows]
            top = " & ".join(rf"\textbf{{{_latex_text(c)}}}" for c in head) + r" \\ \midrule"
            long = max((len(r[-1]) for r in rows), default=0) > 60  # a column of prose is a paragraph
            last = r">{\raggedright\arraybackslash}p{.62\linewidth}" if long else "l"
            spec = "l" * (len(head) - 1) + last
            return "\n".join([rf"\begin{{center}}\begin{{tabular}}{{{spec}}}\toprule", top, *body,
                              r"\bottomrule\end{tabular}\end{center}"])
    raise ExportError(f"no LaTeX for {b.kind}")


def _latex_math(code: str) -> str:
    """A display, in lines if it is long; the frame's `\\formula` scales what is wider than the page."""
    lines = broken(code)
    if len(lines) > 1:
        first, *rest = lines
        head, equals, tail = first.partition(" = ")
        first = f"{head} ={{}}& {tail}" if equals else f"& {first}"
        code = r"\begin{aligned} " + r" \\ ".join([first, *(rf"& {x.strip()}" for x in rest)]) + r" \end{aligned}"
    return f"\\formula{{{code}}}"


def _ascii(text: str) -> str:
    for sign, plain in ASCII.items():
        text = text.replace(sign, plain)
    return "".join(c if ord(c) < 128 or ord(c) > 0x2E80 else "?" for c in text)


# ---------------------------------------------------------------------------------------------- Markdown

def markdown(found: Iterable[Block]) -> str:
    """Markdown for Hexo and Hugo: `$$` blocks, line ends of matrices doubled, since the renderer eats a backslash."""
    return "\n\n".join(_markdown_block(b) for b in found if not (b.kind == "heading" and b.level == 1)) + "\n"


def _markdown_block(b: Block) -> str:
    match b.kind:
        case "heading":
            return f"{'#' * b.level} {b.text}"
        case "text":
            return b.text
        case "math" | "box":
            code = rf"\boxed{{\displaystyle {b.text}}}" if b.kind == "box" else b.text
            return "$$\n" + code.replace("\\\\", "\\\\\\\\") + "\n$$"
        case "code":
            return f"```{b.language}\n{b.text}\n```"
        case "list":
            return "\n".join(f"- {r[0]}" for r in b.rows)
        case "table":
            lines = ["| " + " | ".join(r) + " |" for r in b.rows]
            return "\n".join([lines[0], "|" + " --- |" * len(b.rows[0]), *lines[1:]])
    raise ExportError(f"no Markdown for {b.kind}")


# ---------------------------------------------------------------------------------------------------- HTML

Paint = Callable[[str, str], str]


def html_body(found: Iterable[Block], paint: Paint = lambda code, language: html.escape(code)) -> str:
    """Blocks as HTML; sections get the names s1, s2, ... to link to.

    Args:
        paint: code in a language as HTML.
    """
    out, sections = [], 0
    for b in found:
        if b.kind == "heading" and b.level == 2:
            sections += 1
            out.append(f'<h2 id="s{sections}">{_html_text(b.text)}</h2>')
        else:
            out.append(_html_block(b, paint))
    return "\n".join(out)


def _html_text(text: str) -> str:
    out = []
    for kind, part in spans(text):
        plain = html.escape(part)
        out.append({"math": mathml(part, False) if kind == "math" else "", "code": f"<code>{plain}</code>",
                    "strong": f"<strong>{plain}</strong>"}.get(kind, plain))
    return "".join(out)


def _html_block(b: Block, paint: Paint) -> str:
    match b.kind:
        case "heading":
            return f"<h{b.level}>{_html_text(b.text)}</h{b.level}>"
        case "text":
            return f"<p>{_html_text(b.text)}</p>"
        case "math" | "box":
            return f'<div class="{b.kind}" tabindex="0">{mathml(b.text, True)}</div>'
        case "code":
            return f'<pre tabindex="0"><code class="{b.language}">{paint(b.text, b.language)}</code></pre>'
        case "list":
            return "<ul>" + "".join(f"<li>{_html_text(r[0])}</li>" for r in b.rows) + "</ul>"
        case "table":
            head, *rows = b.rows
            top = "".join(f"<th>{_html_text(c)}</th>" for c in head)
            body = "".join("<tr>" + "".join(f"<td>{_html_text(c)}</td>" for c in r) + "</tr>" for r in rows)
            return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    raise ExportError(f"no HTML for {b.kind}")
