"""Compiled objects, kept on disk under a hash of everything that went into them."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def _candidates() -> list[Path]:
    if os.environ.get("DERIVE_CACHE_DIR"):
        return [Path(os.environ["DERIVE_CACHE_DIR"])]
    if os.environ.get("XDG_CACHE_HOME"):
        return [Path(os.environ["XDG_CACHE_HOME"]) / "derive"]
    return [Path.home() / ".cache" / "derive"]


@functools.cache
def _usable(wanted: str) -> Path:
    directory = Path(wanted) / "emulator"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        return directory
    except OSError:
        # Only this user may write here: what lies in it will be executed.
        fallback = tempfile.mkdtemp(prefix="derive-emulator-")
        atexit.register(_remove, fallback, os.getpid())
        return Path(fallback)


def _remove(fallback: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(fallback, ignore_errors=True)


def directory() -> Path:
    """The cache directory; a temporary one, for this process, if the wanted one cannot be written."""
    try:
        wanted = str(_candidates()[0])
    except RuntimeError:  # no home directory
        wanted = os.devnull
    return _usable(wanted)


def key(*parts: str | bytes) -> str:
    """A name for what these parts determine; each part is hashed with its length, so none runs into the next."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:40]


def get_or_build(name: str, build: Callable[[Path], None]) -> Path:
    """The cached file `name`, made by `build(temporary path)` if it is not there.

    Two processes that build it at once both succeed: each renames a complete file into place.
    """
    target = directory() / name
    if target.exists():
        return target
    handle, temporary = tempfile.mkstemp(prefix=target.stem + "-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    try:
        build(Path(temporary))
        os.chmod(temporary, 0o755)
        os.replace(temporary, target)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target
