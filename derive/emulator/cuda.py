"""Stand-ins for `cupy.cuda`: one device, one stream, and nothing that runs late."""

from __future__ import annotations

from types import TracebackType


class Stream:
    """A stream that is always done: launches end before they return."""

    ptr = 0

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False) -> None:
        del null, non_blocking, ptds

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def use(self) -> Stream:
        """This stream."""
        return self

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


Stream.null = Stream()  # type: ignore[attr-defined]


def get_current_stream() -> Stream:
    """The only stream."""
    return Stream()


class Device:
    """The CPU, as device 0."""

    id = 0
    compute_capability = "80"

    def __init__(self, device: int = 0) -> None:
        del device

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def use(self) -> None:
        """Already in use."""

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
