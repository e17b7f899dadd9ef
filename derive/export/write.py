"""From a document to a file: the language's template gives the prose, the medium's frame the rest."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from derive.emit.templates import render
from derive.errors import ExportError
from derive.export import media
from derive.export.document import Document
from derive.export.markup import Block, blocks
from derive.files import placed

TEX_SECONDS = 300
FORMATS = ("tex", "md", "html", "pdf")
LANGUAGES = ("en", "zh")
WORDS = {"zh": {"otherwise": "其他", "true": "真", "false": "假"}}  # words inside formulas
FRAMES = {"tex": "document/frame.tex.j2", "md": "document/frame.md.j2", "html": "document/frame.html.j2"}


def rendered(doc: Document, form: str, lang: str = "en") -> str:
    """A document as text.

    Args:
        form: tex, md or html.
        lang: en or zh.

    Raises:
        ExportError: an unknown format or language.
    """
    if form not in FRAMES:
        raise ExportError(f"no text in the format {form}", value=form, hint="one of " + ", ".join(FRAMES))
    if lang not in LANGUAGES:
        raise ExportError(f"no prose in the language {lang}", value=lang, hint="one of " + ", ".join(LANGUAGES))
    found = list(read_blocks(doc, lang))
    title = next(b.text for b in found if b.kind == "heading" and b.level == 1)
    body = {"tex": media.latex, "md": media.markdown, "html": media.html_body}[form](found)
    quoted = json.dumps(title, ensure_ascii=False)  # YAML reads it as it stands
    return render(FRAMES[form], title=title, quoted=quoted, tex_title=media.tex(title), body=body, lang=lang, doc=doc)


def read_blocks(doc: Document, lang: str) -> Iterator[Block]:
    """The language's template, filled in and read."""
    text = render(f"document/{lang}.j2", doc=doc)
    for word, here in WORDS.get(lang, {}).items():
        text = text.replace(rf"\text{{{word}}}", rf"\text{{{here}}}")
    return blocks(text)


def write(doc: Document, path: Path, lang: str = "en") -> None:
    """Write a document in the format that the file's suffix names.

    Raises:
        ExportError: an unknown suffix, or PDF without TeX.
        FileError: the file cannot be written.
    """
    path = Path(path)
    form = path.suffix.lstrip(".").lower()
    if form not in FORMATS:
        raise ExportError(f"no format is called {path.suffix or 'nothing'}", value=path,
                          hint="end the file in " + ", ".join("." + f for f in FORMATS))
    data = pdf(rendered(doc, "tex", lang)) if form == "pdf" else rendered(doc, form, lang).encode()
    with placed(path, "give another -o FILE") as file:
        file.write(data)


def tex_engine() -> str | None:
    """A TeX that can set this machine's documents."""
    return next((e for e in ("tectonic", "xelatex", "lualatex", "pdflatex") if shutil.which(e)), None)


def pdf(text: str) -> bytes:
    """LaTeX set as PDF.

    Raises:
        ExportError: there is no TeX here, or it refuses.
    """
    engine = tex_engine()
    if engine is None:
        raise ExportError("there is no TeX on this machine",
                          hint="write .tex, .md or .html, or install TeX Live or tectonic")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "document.tex").write_text(text, encoding="utf-8")
        options = [] if engine == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
        try:
            for _ in range(1 if engine == "tectonic" else 2):
                done = subprocess.run([engine, *options, "document.tex"], cwd=folder, capture_output=True,
                                      timeout=TEX_SECONDS, check=False)
        except subprocess.TimeoutExpired as e:
            raise ExportError(f"{engine} takes too long", value=f"{TEX_SECONDS} s",
                              hint="write .tex and set it yourself") from e
        made = Path(folder) / "document.pdf"
        if done.returncode or not made.exists():
            log = done.stdout.decode(errors="replace").splitlines()
            raise ExportError(f"{engine} failed", value=next((x for x in log if x.startswith("!")), "no reason given"),
                              hint="the .tex says in its first lines what it needs; write that and set it yourself")
        return made.read_bytes()
