"""The site on a disk: operations made side by side, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from derive import catalog
from derive.emit.templates import render
from derive.export import LANGUAGES, Measured
from derive.files import place_all
from derive.gallery import record
from derive.gallery.pages import entry, index, page, page_name
from derive.gallery.paint import style
from derive.gallery.record import Record
from derive.operation import parse


def build(folder: Path, names: Sequence[str] = (), validated: bool = True, jobs: int = 1, again: bool = False,
          progress: Callable[[str], None] = lambda name: None) -> list[Path]:
    """Write the gallery of the catalogue, or of some of its operations.

    An operation that stands there and has not changed since is left as it is, so that a build that was broken off goes
    on where it was. Its validation is run once for both languages, and not again when only the pages have changed.

    Args:
        folder: where; made if missing.
        names: operations; none means all.
        validated: whether each is validated, which takes seconds an operation.
        jobs: how many are worked on at a time.
        again: whether to make and validate everything again.
        progress: told each name when it is done.

    Returns:
        The pages.

    Raises:
        FileError: no such operation, Pygments is missing, or the folder cannot be written.
    """
    colours = style()  # first, so that a missing library is not found out after an hour
    chosen = list(names) or catalog.names()
    for name in chosen:
        catalog.load(name)
    sides = zip(chosen, [None, *chosen[:-1]], [*chosen[1:], None], strict=True)
    tasks = {name: partial(_made, folder, name, before, after, validated, again) for name, before, after in sides}
    made = {}
    for name, found in _run(tasks, jobs):
        made[name] = found
        progress(name)
    cards = [made[name].card for name in chosen]
    texts = {page_name("index", lang): index(cards, lang) for lang in LANGUAGES}
    place_all(folder, {**texts, "style.css": render("document/page.css") + render("gallery/site.css") + colours})
    return [folder / page_name(n, lang) for lang in LANGUAGES for n in ("index", *chosen)]


def _run(tasks: dict[str, partial[Record]], jobs: int) -> Iterator[tuple[str, Record]]:
    """Each task's result as it comes; the longest formulas first, so that none is left to wait for alone."""
    order = sorted(tasks, key=lambda name: -len(catalog.load(name).text))
    if jobs == 1 or len(order) == 1:
        for name in order:
            yield name, tasks[name]()
        return
    with ProcessPoolExecutor(jobs) as pool:
        waiting = {pool.submit(tasks[name]): name for name in order}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _made(folder: Path, name: str, before: str | None, after: str | None, validated: bool, again: bool) -> Record:
    """The record of one operation, whose pages are written now unless they stand there unchanged."""
    sides = tuple(catalog.load(n) if n else None for n in (before, after))
    judged = record.key(name, shown=False) if validated else ""
    made = record.key(name, repr(sides), judged, shown=True)
    held = None if again else record.read(folder, name)
    pages = [page_name(name, lang) for lang in LANGUAGES]
    if held is not None and held.made == made and all((folder / p).is_file() for p in pages):
        return held
    known = held is not None and held.judged == judged
    validation = held.validation if held is not None and known else _measured(name) if validated else ()
    e = entry(name, validation)
    found = Record(made, judged, validation, e.card)
    texts = {page_name(name, lang): page(e, lang, *sides) for lang in LANGUAGES}
    place_all(folder, {**texts, record.place(name): found.text()})  # the record last: it vouches for the pages
    return found


def _measured(name: str) -> tuple[Measured, ...]:
    from derive.validate.report import measured  # loads the emulator

    e = catalog.load(name)
    return measured(parse(e.text, e.name), e.data)
