"""`python -m derive.gallery -o DIR`, which `make gallery` runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from derive import catalog
from derive.errors import DeriveError
from derive.gallery.site import build


@click.command("gallery")
@click.argument("names", nargs=-1)
@click.option("-o", "--output", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Where the site goes.")
@click.option("--validate/--no-validate", "validated", default=True, show_default=True,
              help="Whether to validate each operation for its report.")
@click.option("-j", "--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, show_default=True,
              help="Operations at a time.")
@click.option("--again", is_flag=True, help="Make and validate again what has not changed.")
def main(names: tuple[str, ...], folder: Path, validated: bool, jobs: int, again: bool) -> None:
    """Write a site of the catalogue, or of the operations NAMES.

    What stands there and has not changed is left as it is: broken off, it goes on where it was.
    """
    count = len(names or catalog.names())
    try:
        if sys.stderr.isatty():
            with click.progressbar(length=count, label="gallery", file=sys.stderr, show_pos=True,
                                   item_show_func=lambda name: name) as bar:
                made = build(folder, names, validated, jobs, again, lambda name: bar.update(1, name))
        else:
            made = build(folder, names, validated, jobs, again)
    except DeriveError as e:
        click.echo(e.render(), err=True)
        sys.exit(e.status)
    click.echo(f"{len(made)} pages; open {folder / 'index.html'}")


if __name__ == "__main__":
    main()
