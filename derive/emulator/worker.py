"""The process that runs kernels: started on the first launch, replaced when a kernel has crashed it."""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from derive.emulator import arena, compiler, signature
from derive.emulator.errors import EmulatorError, LaunchError

_GRACE = 2.0  # seconds
_LATE = "the kernel ran for more than {:g} s and was stopped (DERIVE_EMULATOR_TIMEOUT)"
OK, LAUNCH_ERROR, CRASH, FINDINGS, PROTOCOL_ERROR, LAST_FINDINGS = range(6)


@dataclass(frozen=True)
class Answer:
    """What the runner said: how it ended, what the kernel printed, and a text."""

    status: int
    printed: str
    text: str


def timeout() -> float | None:
    """Seconds that a launch may take (`DERIVE_EMULATOR_TIMEOUT`); None is for ever."""
    value = os.environ.get("DERIVE_EMULATOR_TIMEOUT", "")
    try:
        return float(value) if value else None
    except ValueError:
        raise EmulatorError(f"DERIVE_EMULATOR_TIMEOUT must be a number of seconds, not {value!r}") from None


@dataclass(frozen=True)
class Variable:
    """A `__device__` or `__constant__` variable of a library: its mangled name, and its size in bytes."""

    symbol: str
    size: int


@dataclass(frozen=True)
class Library:
    """A shared object in a runner: its number there, its kernels by name with theirs, and its variables in order."""

    number: int
    kernels: dict[str, tuple[int, signature.Signature]]
    variables: tuple[Variable, ...]


def _read_library(text: str) -> Library:
    head, *lines = text.splitlines()
    number, count = (int(n) for n in head.split("\t"))
    kernels = {s.name: (i, s) for i, s in enumerate(signature.parse(line) for line in lines[:count])}
    listed = (line.split("\t") for line in lines[count:])
    return Library(number, kernels, tuple(Variable(symbol, int(size)) for symbol, size in listed))


class Worker:
    """One runner process, the pipes to it, and the libraries it has loaded."""

    def __init__(self) -> None:
        self.arena = arena.current()
        self.pid = os.getpid()
        request_read, self._request = os.pipe()
        self._reply, reply_write = os.pipe()
        self._pipes = [self._request, self._reply]
        numbers = (self.arena.fd, self.arena.size, request_read, reply_write)
        command = [str(compiler.build_runner()), *map(str, numbers)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=(self.arena.fd, request_read, reply_write)
        )
        os.close(request_read)
        os.close(reply_write)
        self._libraries: dict[Path, Library] = {}

    def load(self, path: Path) -> Library:
        """A shared object in this runner."""
        if path not in self._libraries:
            answer = self.ask(struct.pack("=I", 1) + os.fsencode(path), None)
            if answer.status != OK:
                raise EmulatorError(f"cannot load compiled kernels: {answer.text.strip()}")
            self._libraries[path] = _read_library(answer.text)
        return self._libraries[path]

    def ask(self, request: bytes, limit: float | None) -> Answer:
        """Sends a request and waits for the answer. A runner that dies without a word answers CRASH."""
        try:
            try:
                _write(self._request, struct.pack("=I", len(request)) + request)
                late = limit is not None and not self._answers(limit)
                if late:
                    self._process.terminate()  # it may yet tell what check mode has found
                if late and not self._answers(_GRACE):
                    raise LaunchError(_LATE.format(limit))
                size, status, printed = struct.unpack("=III", _read(self._reply, 12))
                body = _read(self._reply, size - 8)
            except (EOFError, BrokenPipeError):
                self.stop()
                return Answer(CRASH, "", f"exit status {self._process.returncode}\n")
        except BaseException:
            self.stop()  # the answer of an interrupted launch must not be taken for the next one's
            raise
        if late and status != LAST_FINDINGS:
            self.stop()
            raise LaunchError(_LATE.format(limit))
        if status in (CRASH, LAST_FINDINGS):  # it ends; whoever asks next must not ask it
            self.stop()
            status = FINDINGS if status == LAST_FINDINGS else status
        return Answer(status, body[:printed].decode(errors="replace"), body[printed:].decode(errors="replace"))

    def _answers(self, limit: float) -> bool:
        return bool(select.select([self._reply], [], [], limit)[0])

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends the process; the arrays stay, they are the arena's."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        while self._pipes:
            with contextlib.suppress(OSError):
                os.close(self._pipes.pop())


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _read(fd: int, size: int) -> bytes:
    parts = []
    while size > 0:
        part = os.read(fd, min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


_worker: Worker | None = None
lock = threading.RLock()  # one launch at a time


def current() -> Worker:
    """The live runner of this process. Call with `lock` held."""
    global _worker
    if _worker is not None and (_worker.pid != os.getpid() or not _worker.alive):
        if _worker.pid == os.getpid():
            _worker.stop()
        _worker = None
    if _worker is None:
        _worker = Worker()
    return _worker


@atexit.register
def _stop_at_exit() -> None:
    if _worker is not None and _worker.pid == os.getpid():
        _worker.stop()


def show(printed: str) -> None:
    """What a kernel printed, where the caller's own output goes."""
    if printed:
        sys.stdout.write(printed)
        sys.stdout.flush()
