"""`derive export`: the derivation as a document."""

from __future__ import annotations

from pathlib import Path

import click

from derive.commands.source import Source, find
from derive.export import LANGUAGES, Measured, document, write


@click.command("export")
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
                   validation=measure(found) if validated else ()), path, lang)


def measure(found: Source) -> tuple[Measured, ...]:
    """A validation run now, level by level."""
    from derive.validate.report import validate

    report = validate(found.op, data=found.data)
    return tuple(Measured(r.level, r.status, r.detail) for r in report.results)
