"""What a validation found, level by level."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PASS, FAIL, NOT_RUN = "pass", "fail", "not run"


@dataclass(frozen=True)
class Result:
    """One level of one operation.

    Attributes:
        level: its name.
        status: `pass`, `fail` or `not run`; a level that did not run counts as nothing.
        detail: what was done and found, or why not.
        cases: how many comparisons stand behind it.
        worst: the largest error relative to its bound; above 1 fails.
    """

    level: str
    status: str
    detail: str
    cases: int = 0
    worst: float | None = None


@dataclass(frozen=True)
class Report:
    """One operation in one type."""

    op: str
    dtype: str
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """No level failed, and at least one ran."""
        states = {r.status for r in self.results}
        return FAIL not in states and PASS in states

    def json(self) -> dict[str, Any]:
        return {"op": self.op, "dtype": self.dtype, "passed": self.passed, "levels": [asdict(r) for r in self.results]}
