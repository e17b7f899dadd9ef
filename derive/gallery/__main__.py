"""`python -m derive.gallery -o DIR`, which `make gallery` runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from derive.errors import DeriveError
from derive.gallery.site import build


@click.command("gallery")
@click.argument("names", nargs=-1)
@click.option("-o", "--output", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Where the site goes.")
@click.option("--validate/--no-validate", "validated", default=True, show_default=True,
              help="Whether to validate each operation for its report.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True)
def main(names: tuple[str, ...], folder: Path, validated: bool, jobs: int) -> None:
    """Write a site of the catalogue, or of the operations NAMES."""
    seen = 0

    def progress(name: str) -> None:
        nonlocal seen
        seen += 1
        if sys.stderr.isatty():
            click.echo(f"\r{seen} {name:40}", nl=False, err=True)

    try:
        made = build(folder, names, validated, jobs, progress)
    except DeriveError as e:
        click.echo(str(e), err=True)
        sys.exit(2)
    if sys.stderr.isatty():
        click.echo(err=True)
    click.echo(f"{len(made)} files; open {folder / 'index.html'}")


if __name__ == "__main__":
    main()
