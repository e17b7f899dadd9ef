"""Blocks in LaTeX, Markdown and HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable

from derive.errors import ExportError
from derive.export.markup import Block, spans

TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
       "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}"}
SECTIONS = {2: "section", 3: "subsection", 4: "subsubsection"}
WIDE = 110  # characters of LaTeX beyond which a formula is scaled to the page
# Signs that code listings hold and the fonts of a plain LaTeX lack.
ASCII = {"∘": ".*", "ᵀ": "^T", "−": "-", "·": "*", "×": "x", "→": "->", "√": "sqrt", "Σ": "sum", "²": "^2", "⁻¹": "^-1",
         "σ": "sigma", "≤": "<=", "≥": ">=", "≠": "!=", "∂": "d", "⁻": "^-", "³": "^3", "π": "pi", "δ": "delta"}


# ------------------------------------------------------------------------------------------------- LaTeX

def latex(found: Iterable[Block]) -> str:
    return "\n\n".join(_latex_block(b) for b in found if not (b.kind == "heading" and b.level == 1))


def tex(text: str) -> str:
    """Plain text for LaTeX."""
    return "".join(TEX.get(c, c) for c in text)


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
            return _latex_math(rf"\boxed{{\displaystyle {b.text}}}")
        case "code":
            return "\\begin{lstlisting}\n" + _ascii(b.text) + "\n\\end{lstlisting}"
        case "list":
            items = "\n".join(rf"  \item {_latex_text(r[0])}" for r in b.rows)
            return "\\begin{itemize}\n" + items + "\n\\end{itemize}"
        case "table":
            head, *rows = b.rows
            body = [" & ".join(_latex_text(c) for c in r) + r" \\" for r in rows]
            top = " & ".join(rf"\textbf{{{_latex_text(c)}}}" for c in head) + r" \\ \midrule"
            spec = "l" * (len(head) - 1) + "X"
            return "\n".join([rf"\noindent\begin{{tabularx}}{{\linewidth}}{{{spec}}}\toprule", top, *body,
                              r"\bottomrule\end{tabularx}"])
    raise ExportError(f"no LaTeX for {b.kind}")


def _latex_math(code: str) -> str:
    if len(code) > WIDE:
        return rf"\begin{{center}}\adjustbox{{max width=\linewidth}}{{$\displaystyle {code}$}}\end{{center}}"
    return f"\\[\n{code}\n\\]"


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

def html_body(found: Iterable[Block]) -> str:
    return "\n".join(_html_block(b) for b in found)


def mathml(code: str, display: bool) -> str:
    """A formula as MathML."""
    try:
        from latex2mathml.converter import convert
    except ImportError as e:
        raise ExportError("latex2mathml is not installed", hint="pip install latex2mathml") from e
    prepared = code.replace(r"\left\lfloor", r"\lfloor").replace(r"\right\rfloor", r"\rfloor")
    try:
        made: str = convert(prepared, display="block" if display else "inline")
    except Exception as e:
        raise ExportError("this formula has no MathML", value=code, hint=str(e)) from e
    return made


def _html_text(text: str) -> str:
    out = []
    for kind, part in spans(text):
        plain = html.escape(part)
        out.append({"math": mathml(part, False) if kind == "math" else "", "code": f"<code>{plain}</code>",
                    "strong": f"<strong>{plain}</strong>"}.get(kind, plain))
    return "".join(out)


def _html_block(b: Block) -> str:
    match b.kind:
        case "heading":
            return f"<h{b.level}>{_html_text(b.text)}</h{b.level}>"
        case "text":
            return f"<p>{_html_text(b.text)}</p>"
        case "math" | "box":
            return f'<div class="{b.kind}" tabindex="0">{mathml(b.text, True)}</div>'
        case "code":
            return f'<pre tabindex="0"><code class="{b.language}">{html.escape(b.text)}</code></pre>'
        case "list":
            return "<ul>" + "".join(f"<li>{_html_text(r[0])}</li>" for r in b.rows) + "</ul>"
        case "table":
            head, *rows = b.rows
            top = "".join(f"<th>{_html_text(c)}</th>" for c in head)
            body = "".join("<tr>" + "".join(f"<td>{_html_text(c)}</td>" for c in r) + "</tr>" for r in rows)
            return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    raise ExportError(f"no HTML for {b.kind}")
