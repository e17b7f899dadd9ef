"""`derive export`: the derivation as a document."""

from __future__ import annotations

from pathlib import Path

import click

from derive.commands.source import Source, find
from derive.export import LANGUAGES, Measured, document, write


@click.command("export", short_help="Write the derivation of OP: LaTeX, Markdown, HTML or PDF.")
@click.argument("op")
@click.option("-o", "--output", "path", required=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Ends in .tex, .md, .html or .pdf.")
@click.option("--lang", type=click.Choice(LANGUAGES), default="en", show_default=True)
@click.option("--validate/--no-validate", "validated", default=True, show_default=True,
              help="Whether to run the validation whose figures the document shows.")
def command(op: str, path: Path, lang: str, validated: bool) -> None:
    """Write the derivation of OP: formulas, every step with its reason, the rule, cost, kernels, validation."""
    found = find(op)
    write(document(found.op, title=found.title, sentence=found.sentence, title_zh=found.title_zh,
                   sentence_zh=found.sentence_zh, origin=found.origin,
                   validation=_measured(found) if validated else ()), path, lang)


def _measured(found: Source) -> tuple[Measured, ...]:
    from derive.validate.report import measured  # loads the emulator

    return measured(found.op, found.data)
