"""All levels of one operation, and the table that a person reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from derive import emulator
from derive.export import Measured
from derive.operation import Operation
from derive.validate.comparison import Comparison, plan_of
from derive.validate.compile import compiled
from derive.validate.data import Drawer
from derive.validate.formula import read
from derive.validate.kernels import checked, gpu, kernels
from derive.validate.records import FAIL, NOT_RUN, PASS, Report, Result
from derive.validate.rule import rewrites, rule

LEVELS = ("rewrite", "rule", "compile", "kernel", "check", "gpu")
MARKS = {PASS: "green", FAIL: "red", NOT_RUN: "yellow"}


def validate(op: Operation, dtype: str = "float32", sizes: Mapping[str, int] | None = None, check: bool = False,
             seed: int = 0, data: Mapping[str, str] | None = None, long_axes: bool = True,
             progress: Callable[[str], None] = lambda level: None) -> Report:
    """Every level that this machine has.

    Args:
        op: a formula that was read.
        dtype: of the kernels.
        sizes: extents to keep to, by letter; awkward ones are chosen for the others.
        check: whether to run the emulator's check mode, which is slow.
        seed: of the random data.
        data: input -> `positive`, `unit` or `negative`, where normal numbers would not do.
        long_axes: whether to try axes so long that a kernel is launched in another way; most of the time goes there.
        progress: told each level's name before it runs.

    Raises:
        DeriveError: the formula has no gradients, plan or sizes to try.
    """
    drawer = Drawer(read(op.text), data or {}, sizes or {}, seed)
    plan = plan_of(op, dtype)
    unasked = Result.of("check", NOT_RUN, ("unasked", {}))
    levels: dict[str, Callable[[], Result]] = {
        "rewrite": lambda: rewrites(op),
        "rule": lambda: rule(op, drawer),
        "compile": lambda: compiled(op, plan),
        "kernel": lambda: kernels(op, drawer, dtype, emulator,
                                  compare=Comparison(op, drawer, dtype, emulator, long_axes)),
        "check": lambda: checked(op, drawer, dtype, emulator) if check else unasked,
        "gpu": lambda: gpu(op, drawer, dtype),
    }
    results = []
    for level in LEVELS:
        progress(level)
        results.append(levels[level]())
    return Report(op.name, dtype, tuple(results))


def measured(op: Operation, data: Mapping[str, str] | None = None) -> tuple[Measured, ...]:
    """The levels as a document shows them, from a run now, which keeps to short axes."""
    found = validate(op, data=data, long_axes=False).results
    return tuple(Measured(r.level, r.status, r.detail, r.said) for r in found)


def table(report: Report, paint: Callable[[str, str], str] = lambda text, colour: text) -> str:
    """One line a level."""
    lines = [f"{report.op}, {report.dtype}"]
    for n, r in enumerate(report.results, 1):
        lines.append(f"  {n} {r.level:8} {paint(f'{r.status:8}', MARKS[r.status])} {r.detail}")
    return "\n".join(lines)


def summary(reports: Iterable[Report]) -> str:
    """How many passed, and what was not run anywhere."""
    reports = list(reports)
    passed = sum(r.passed for r in reports)
    missing = [level for level in LEVELS if all(
        r.status == NOT_RUN for report in reports for r in report.results if r.level == level)]
    said = f"{passed} of {len(reports)} passed"
    return said + (f"; not run: {', '.join(missing)}" if missing else "")
