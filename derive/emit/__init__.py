"""From a plan to the text that a user keeps: a CUDA file, its CuPy wrapper, its test and its contract."""

from derive.emit.folder import emit, sources

__all__ = ["emit", "sources"]
