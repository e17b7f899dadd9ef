"""The site on a disk: entries made side by side, pages written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from derive import catalog
from derive.emit.templates import render
from derive.files import place_all
from derive.gallery.pages import Entry, entry, pages
from derive.gallery.paint import style


def build(folder: Path, names: Sequence[str] = (), validated: bool = True, jobs: int = 1,
          progress: Callable[[str], None] = lambda name: None) -> list[Path]:
    """Write the gallery of the catalogue, or of some of its operations.

    Args:
        folder: where; made if missing.
        names: operations; none means all.
        validated: whether each is validated now, which takes seconds an operation.
        jobs: how many are worked on at a time.
        progress: told each name when it is done.

    Raises:
        FileError: no such operation, Pygments is missing, or the folder cannot be written.
    """
    colours = style()  # first, so that a missing library is not found out after an hour
    chosen = list(names) or catalog.names()
    for name in chosen:
        catalog.load(name)
    made = {}
    if jobs > 1 and len(chosen) > 1:
        with ProcessPoolExecutor(jobs) as pool:
            waiting = {pool.submit(entry, n, validated): n for n in chosen}
            for done in as_completed(waiting):
                made[waiting[done]] = done.result()
                progress(waiting[done])
    else:
        for n in chosen:
            made[n] = entry(n, validated)
            progress(n)
    entries: list[Entry] = [made[n] for n in chosen]
    texts = {**pages(entries), "style.css": render("document/page.css") + render("gallery/site.css") + colours}
    place_all(folder, texts)
    return [folder / n for n in texts]
