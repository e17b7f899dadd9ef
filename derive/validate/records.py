"""What a validation found, level by level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

PASS, FAIL, NOT_RUN = "pass", "fail", "not run"

Said = tuple[str, Mapping[str, Any]]  # a sentence of SENTENCES, and what fills it

# What a level says when all is well or it cannot run, sentence by sentence; a failure is told in its own words. The
# documents' templates hold the same sentences in their languages.
SENTENCES = {
    "no rewrite": "no rewrite was needed",
    "rewrites": "{n} rewrite{n:s} right {how}",
    "more rewrites": ", {n} rewrite{n:s} right {how}",
    "open rewrites": "; {n} not judged: {why}",
    "no gradient": "no input has a gradient",
    "gradients": "{n} gradient{n:s} against central differences, error at most {error} of the largest entry",
    "zero gradients": "; {names} {n:is} 0 wherever tried",
    "compiled": "{n} kernel{n:s} for {architectures}, at most {registers} registers",
    "no spills": ", no spills",
    "spills": ", {kernel} spills {n} byte{n:s}",
    "no nvrtc": "NVRTC is not installed: pip install 'derive-cuda[nvrtc]'",
    "broken nvrtc": "NVRTC cannot be loaded: {why}",
    "no compiler": "no C++ compiler: derive doctor says what to install",
    "arrays": "{n} array{n:s} against the float64 rule, error at most {worst} of what is granted",
    "same bits": ", the same bits in random order",
    "short axes": "; no axis longer than {n}",
    "zeros": "; {names} {n:is} 0 but for rounding wherever tried",
    "too large": "; {n} too large for {dtype} left out",
    "unfit": "; {n} sample{n:s} left out on which the formula itself has no value in {dtype}",
    "lost": "; {n} left out whose digits the formula itself loses in {dtype}",
    "unasked": "derive validate --check runs it",
    "clean": "{n} kernel{n:s} at {sizes} sizes: no access out of bounds or uninitialised, no race, no divergence",
    "no cupy": "CuPy is not installed",
    "no gpu": "CuPy finds no GPU",
}


class Count(int):
    """A number that knows its plural: `{n} row{n:s} {n:is} right`."""

    def __format__(self, spec: str) -> str:
        plural = {"s": ("", "s"), "is": ("is", "are")}.get(spec)
        return plural[self != 1] if plural else super().__format__(spec)


def together(names: tuple[str, ...]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def spoken(said: tuple[Said, ...]) -> str:
    """Sentences in English."""
    return "".join(SENTENCES[key].format(**{k: together(v) if isinstance(v, tuple) else v for k, v in values.items()})
                   for key, values in said)


@dataclass(frozen=True)
class Result:
    """One level of one operation.

    Attributes:
        level: its name.
        status: `pass`, `fail` or `not run`; a level that did not run counts as nothing.
        detail: what was done and found, or why not.
        cases: how many comparisons stand behind it.
        worst: the largest error relative to its bound; above 1 fails.
        said: the sentences of `detail`, for a reader of another language; empty where they are no fixed ones.
    """

    level: str
    status: str
    detail: str
    cases: int = 0
    worst: float | None = None
    said: tuple[Said, ...] = ()

    @classmethod
    def of(cls, level: str, status: str, *said: Said, cases: int = 0, worst: float | None = None) -> Result:
        """A result told in fixed sentences."""
        return cls(level, status, spoken(said), cases, worst, said)

    def json(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k != "said"}


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
        return {"op": self.op, "dtype": self.dtype, "passed": self.passed, "levels": [r.json() for r in self.results]}
