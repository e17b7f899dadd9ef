"""One static site of many operations: an index with a search, each derivation in both languages, its kernels.

    python -m derive.gallery -o site -j 2           # the whole catalogue, validated; broken off, it goes on
    python -m derive.gallery -o site softmax linear --no-validate

The site needs no network and no server: its pages open from a disk.
"""

from derive.gallery.pages import entry
from derive.gallery.site import build

__all__ = ["build", "entry"]
