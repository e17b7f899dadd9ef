"""What can go wrong when CUDA text runs on the CPU."""

from __future__ import annotations

from derive.errors import DeriveError


class EmulatorError(DeriveError):
    """Base of everything the emulator raises on purpose; the message says what, where and what to do."""


class NoCompilerError(EmulatorError):
    """No C++ compiler was found."""


class CompileError(EmulatorError):
    """The compiler refused the text. Line numbers in the message count from 1 in the given source."""


class LaunchError(EmulatorError):
    """A launch that cannot start, or whose threads cannot go on.

    `lines` holds the source lines where threads wait, if that is the reason.
    """

    def __init__(self, message: str, lines: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.lines = lines


class CrashError(EmulatorError):
    """The kernel crashed. It ran in a process of its own; the next launch starts another one.

    `signal` is the name of the signal, for instance "Segmentation fault".
    """

    def __init__(self, message: str, signal: str = "") -> None:
        super().__init__(message)
        self.signal = signal
