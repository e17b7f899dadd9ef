"""What was made of an operation, and from what: what has not changed is not made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import derive
from derive import catalog
from derive.export import Measured
from derive.gallery.pages import Card

FOLDER = ".made"  # in the site
PACKAGE = Path(derive.__file__).parent
SHOWN = ("export", "gallery", "commands", "claim", "cost", "profile", "templates/document", "templates/gallery",
         "cli.py", "doctor.py")  # parts of the package that show a validation: it does not depend on them


@dataclass(frozen=True)
class Record:
    """One operation of a site.

    Attributes:
        made: key of everything that its pages depend on.
        judged: key of everything that its validation depends on, or nothing where none was run.
        validation: figures of that run.
        card: its place in the index.
    """

    made: str
    judged: str
    validation: tuple[Measured, ...]
    card: Card

    def text(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)


def place(name: str) -> str:
    return f"{FOLDER}/{name}.json"


def read(folder: Path, name: str) -> Record | None:
    """The record of an operation; None if there is none that can be read."""
    try:
        held = json.loads((folder / place(name)).read_text(encoding="utf-8"))
        measured = tuple(Measured(**{**m, "said": tuple((k, v) for k, v in m["said"])}) for m in held["validation"])
        card = Card(**{**held["card"], "rules": tuple(held["card"]["rules"])})
        return Record(held["made"], held["judged"], measured, card)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def key(name: str, *parts: str, shown: bool) -> str:
    """A name for an operation as this version of derive knows it.

    Args:
        parts: what else counts.
        shown: whether the templates and all that only shows a result count.
    """
    e = catalog.load(name)
    return _hash(source(shown), name, e.text, repr(sorted(e.data.items())), *parts)


@cache
def source(shown: bool) -> str:
    """A name for this version of derive."""
    return _hash(*(part for p, here in _files() if shown or not here.startswith(SHOWN)
                   for part in (here, p.read_text(encoding="utf-8"))))


def _files() -> Iterator[tuple[Path, str]]:
    roots = (PACKAGE, PACKAGE / "templates")  # the second may be a link, which no walk follows
    kinds = {".py", ".j2", ".css", ".op", ".h", ".cpp"}
    found = {str(p.relative_to(PACKAGE)): p for root in roots for p in root.rglob("*") if p.suffix in kinds}
    yield from ((found[here], here) for here in sorted(found))


def _hash(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()[:32]
