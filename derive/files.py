"""Files put in place whole: made beside their place, then renamed, so that a failure leaves what was there before."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from derive.errors import FileError


@contextmanager
def placed(path: Path, hint: str) -> Iterator[IO[bytes]]:
    """A file to write into, which is `path` at the end, with the rights of any new file.

    Args:
        hint: what to do when it cannot be written.

    Raises:
        FileError: it cannot be written; nothing is left behind.
    """
    made = None
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            yield file
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(made, 0o666 & ~mask)
        os.replace(made, path)
    except OSError as e:
        raise FileError(f"cannot write {path}", value=e.strerror or e, hint=hint) from e
    finally:
        if made is not None and os.path.exists(made):
            os.unlink(made)


def place_all(folder: Path, texts: Mapping[str, str]) -> None:
    """Write texts into a folder, by their paths in it: all beside their places first, then renamed.

    Raises:
        FileError: the folder cannot be written.
    """
    made = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".derive-", dir=folder))
        for name, text in texts.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_text(text, encoding="utf-8")
        for name in texts:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(made / name, folder / name)
    except OSError as e:
        raise FileError(f"cannot write to {folder}", value=e.strerror or e,
                        hint="give a folder that you may write to: -o DIR") from e
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
