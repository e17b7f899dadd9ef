"""The emulator for mutants: each kernel compiled alone, and no launch run twice.

A mutant differs from the original in one function. A kernel that does not reach that function has the text it had,
and on the bits it was given before it leaves the bits it left before: these are put in place, nothing runs. Only a
launch that raised nothing is known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from derive import emulator
from derive.emulator import history
from tests.mutation.tokens import only

Array = np.ndarray[Any, Any]
MOST = 1 << 30  # bytes that are kept


class Known:
    """What launches left in their arrays, by all that determines it."""

    def __init__(self) -> None:
        self.left: dict[bytes, tuple[dict[int, bytes], list[int]]] = {}
        self.held: dict[bytes, bytes] = {}  # each content once: runs in another order leave the same
        self.size = 0

    def launch(self, key: bytes, arrays: list[Array], run: Callable[[], None]) -> None:
        """Runs, or puts what an equal launch has left in place; check mode is told what has been written."""
        if key not in self.left:
            before = [a.tobytes() for a in arrays]
            run()
            after = {n: a.tobytes() for n, a in enumerate(arrays)}
            changed = {n: b for n, b in after.items() if b != before[n]}
            if self.size < MOST:
                written = [n for n, a in enumerate(arrays) if history.has_output(a)]
                self.left[key] = ({n: self._kept(b) for n, b in changed.items()}, written)
            return
        contents, written = self.left[key]
        for n, content in contents.items():
            arrays[n].reshape(-1).view(np.uint8)[:] = np.frombuffer(content, np.uint8)
        for n in written:
            history.add_output(arrays[n])

    def _kept(self, content: bytes) -> bytes:
        name = hashlib.blake2b(content).digest()
        self.size += len(content) * (name not in self.held)
        return self.held.setdefault(name, content)


class Apart:
    """The emulator as the validator sees it.

    Args:
        originals: texts of kernels that are launched for one mutant after another.
    """

    def __init__(self, originals: Collection[str]):
        self.originals, self.lasting, self.passing = tuple(originals), Known(), Known()

    def forget(self) -> None:
        """What other kernels have left is needed no more: the next mutant comes."""
        self.passing = Known()

    def known(self, code: str) -> Known:
        """Where launches of a kernel are kept; the wrapper may have put definitions before its text."""
        return self.lasting if code.endswith(self.originals) else self.passing

    def __getattr__(self, name: str) -> Any:
        return getattr(emulator, name)

    def empty(self, shape: Any, dtype: Any = np.float64) -> Array:
        """Zeros, where chance would make one launch differ from the next; check mode knows what holds nothing."""
        return emulator.zeros(shape, dtype)

    def RawModule(self, *, code: str, **options: Any) -> Any:
        return _Module(self, code, options)


class _Module:
    def __init__(self, home: Apart, code: str, options: Mapping[str, Any]):
        self.home, self.code, self.options = home, code, options
        self.found: dict[str, _Kernel] = {}

    def get_function(self, name: str) -> _Kernel:
        if name not in self.found:
            code = only(self.code, name)
            blank = tuple(n for n in self.options.get("uninitialized", ()) if n in code)
            self.found[name] = _Kernel(self.home.known(code), name, code, {**self.options, "uninitialized": blank})
        return self.found[name]


class _Kernel:
    max_dynamic_shared_size_bytes = 48 * 1024

    def __init__(self, known: Known, name: str, code: str, options: Mapping[str, Any]):
        self.known, self.name, self.code, self.options = known, name, code, options
        self.compiled: Any = None

    def __call__(self, grid: Any, block: Any, args: tuple[Any, ...], shared_mem: int = 0) -> None:
        def run() -> None:
            if self.compiled is None:
                self.compiled = emulator.RawModule(code=self.code, **self.options).get_function(self.name)
            if self.max_dynamic_shared_size_bytes != _Kernel.max_dynamic_shared_size_bytes:
                self.compiled.max_dynamic_shared_size_bytes = self.max_dynamic_shared_size_bytes
            self.compiled(grid, block, args, shared_mem=shared_mem)

        arrays = [a for a in args if isinstance(a, np.ndarray)]
        places = [a.ctypes.data for a in arrays]
        numbers = [(type(a), str(a)) for a in args if not isinstance(a, np.ndarray)]
        given = [(a.dtype, a.shape, p % 256, places.index(p), history.has_output(a))
                 for a, p in zip(arrays, places, strict=True)]
        how = (sorted(self.options.items()), grid, block, shared_mem, self.max_dynamic_shared_size_bytes)
        said = hashlib.blake2b(repr((self.code, how, numbers, given)).encode())
        for a in arrays:
            said.update(a.tobytes())
        self.known.launch(said.digest(), arrays, run)
