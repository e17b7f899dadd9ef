"""Which arrays an earlier launch in check mode could write: what one kernel leaves, the next may read.

`uninitialized` names parameters of a whole module; without this, a scratch array that one kernel fills would count as
empty again in the kernel that reads it.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

_outputs: dict[int, weakref.ref[Any]] = {}


def _owner(array: np.ndarray[Any, Any]) -> Any:
    """The object that keeps the memory: the arena's block, or the array that owns it."""
    owner: Any = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    try:
        weakref.ref(owner)
    except TypeError:  # bytes, a foreign buffer: the array stands for it
        return array
    return owner


def add_output(array: np.ndarray[Any, Any]) -> None:
    """A kernel took this array as a pointer to non-const."""
    owner = _owner(array)
    key = id(owner)
    _outputs[key] = weakref.ref(owner, lambda _: _outputs.pop(key, None))


def has_output(array: np.ndarray[Any, Any]) -> bool:
    """Whether an earlier kernel did."""
    owner = _owner(array)
    known = _outputs.get(id(owner))
    return known is not None and known() is owner
