"""Code in colours, through Pygments."""

from __future__ import annotations

import html
from functools import cache

from derive.errors import FileError

LEXERS = {"cuda": "cuda", "python": "python", "json": "json"}


def painted(code: str, language: str) -> str:
    """Code as HTML; a language without a lexer stays plain.

    Raises:
        FileError: Pygments is not installed.
    """
    if language not in LEXERS:
        return html.escape(code)
    pygments, formatters, lexers = _pygments()
    made: str = pygments.highlight(code, lexers.get_lexer_by_name(LEXERS[language]),
                                   formatters.HtmlFormatter(nowrap=True))
    return made.rstrip("\n")


def style() -> str:
    """The colours, for light and dark."""
    _, formatters, _ = _pygments()

    def rules(name: str) -> str:
        made = formatters.HtmlFormatter(style=name).get_style_defs("pre")
        kept = [x for x in made.splitlines() if x.startswith("pre .")]  # no background: the page has its own
        return "\n".join(kept)

    return f"{rules('friendly')}\n@media screen and (prefers-color-scheme: dark) {{\n{rules('github-dark')}\n}}\n"


@cache
def _pygments():  # type: ignore[no-untyped-def]
    try:
        import pygments
        from pygments import formatters, lexers
    except ImportError as e:
        raise FileError("Pygments is not installed", hint="pip install 'derive-cuda[gallery]'") from e
    return pygments, formatters, lexers
