"""What becomes of each mutant of an operation's kernels: which level of the validator finds it, or why none can.

A mutant that no level finds is run against the original on the validator's data and on more. If every array has the
same bits, the fault cannot be seen (a barrier too many, a bound that nothing reaches); if they differ by rounding
alone, it is another order of the same sum. Everything else is a survivor: a hole in the validator.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from derive import emulator
from derive.emit import sources
from derive.operation import Operation
from derive.plan.names import clean
from derive.validate.comparison import Case, Comparison, Wanted, plan_of
from derive.validate.data import Drawer, Sample, normalised
from derive.validate.drive import Emitted, Poisoned
from derive.validate.formula import read
from derive.validate.kernels import checked, kernels
from derive.validate.launches import FEW
from derive.validate.program import Runnable
from derive.validate.records import PASS
from derive.validate.rule import rule
from derive.validate.truth import Truth
from tests.mutation import cuda, rules
from tests.mutation.apart import Apart
from tests.mutation.cuda import Mutant
from tests.mutation.rules import Fault
from tests.mutation.tokens import only, pieces, tokens

Array = np.ndarray[Any, Any]
SECONDS = "5"  # that a launch may take: a mutant may never end
QUICK = 3  # cases that tell of most mutants
ROUNDING = 20.0  # times the original's own error: a sum in another order, a maximum that only shifts

MORE = ("heavy", "one-hot", "sparse", "least", "none")  # scales on which what survives is run once more

RULE, KERNEL, CHECK, BROKEN = "rule level", "kernel level", "check level", "does not compile"
SAME, ROUNDED, SURVIVED = "same bits", "rounding only", "SURVIVED"
KILLED = (KERNEL, CHECK)


@dataclass(frozen=True)
class Fate:
    """What became of a mutant, and what was said."""

    mutant: Mutant
    how: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.how:16} {self.mutant}" + (f"  ({self.detail})" if self.detail else "")


@contextmanager
def workshop() -> Iterator[None]:
    """A place for thousands of small objects that goes away afterwards, and a limit on the time of a launch."""
    before = {n: os.environ.get(n) for n in ("DERIVE_CACHE_DIR", "DERIVE_EMULATOR_TIMEOUT")}
    folder = tempfile.mkdtemp(prefix="derive-mutants-")
    os.environ |= {"DERIVE_CACHE_DIR": folder, "DERIVE_EMULATOR_TIMEOUT": SECONDS}
    try:
        yield
    finally:
        for n, value in before.items():
            os.environ.pop(n) if value is None else os.environ.update({n: value})
        shutil.rmtree(folder, ignore_errors=True)


class Gate:
    """Judges mutants of one operation's kernels.

    Args:
        op: the operation.
        data: input -> kind of numbers, as the catalogue says.
        dtype: of the kernels.
    """

    def __init__(self, op: Operation, data: Mapping[str, str], dtype: str):
        self.op, self.dtype = op, dtype
        self.drawer = Drawer(read(op.text), data, {})
        self.compare = Comparison(op, self.drawer, dtype, emulator)
        self.plan = plan_of(op, dtype)
        self.texts = sources(op.name, self.plan)
        self.file = f"{clean(op.name)}.cu"
        code = self.texts[self.file]
        self.apart = Apart([only(code, p.name) for p in pieces(code, tokens(code)) if p.kernel])
        self._originals: list[tuple[Case, list[dict[str, Array]]]] | None = None

    def mutants(self) -> list[Mutant]:
        return cuda.mutants(self.texts[self.file])

    def fate(self, mutant: Mutant) -> Fate:
        """The validator's own verdict, what is quick first: few small cases, check mode, then everything."""
        texts = {**self.texts, self.file: mutant.code}
        self.apart.forget()
        if wrong := self.at_once(texts):
            return Fate(mutant, *wrong)
        found = checked(self.op, self.drawer, self.dtype, self.apart, texts, self.compare.launches)
        if found.status != PASS:
            return Fate(mutant, CHECK, found.detail)
        found = kernels(self.op, self.drawer, self.dtype, self.apart, texts=texts, compare=self.compare)
        if found.status != PASS:
            return Fate(mutant, KERNEL, found.detail)
        return Fate(mutant, *self.difference(texts))

    def at_once(self, texts: Mapping[str, str]) -> tuple[str, str] | None:
        """What the first of the cases show of a mutant, as the kernel level judges them too."""
        try:
            run = Emitted(self.op.name, self.op.derivation.forward, self.plan, Poisoned(self.apart), texts)
            for case in islice(self.compare.cases(), QUICK):
                if wrong := self.compare.judge(case, run.run(case.sample)):
                    return KERNEL, wrong
        except emulator.EmulatorError as e:
            return (BROKEN if isinstance(e, emulator.CompileError) else KERNEL), str(e).splitlines()[0]
        return None

    def difference(self, texts: Mapping[str, str]) -> tuple[str, str]:
        """How far the mutant's results are from the original's and from the truth, on the validator's data and more."""
        runs = self.emitted(texts)
        worst, where = 0.0, ""
        for case, originals in self.originals():
            for run, original in zip(runs, originals, strict=True):
                try:
                    got = run.run(case.sample)
                except emulator.EmulatorError as e:
                    return SURVIVED, f"on more data: {str(e).splitlines()[0]}"
                for name, value in original.items():
                    if got[name].tobytes() != value.tobytes():
                        error = self.error(case.wanted[name], got[name], value)
                        if not error <= worst or not where:
                            worst, where = error, f"{name} at {case.sample.where}"
        if not where:
            return SAME, ""
        return (ROUNDED if worst <= ROUNDING else SURVIVED), f"{worst:.1f} times as far from the truth, {where}"

    def error(self, wanted: Wanted, got: Array, original: Array) -> float:
        """How many times as far from the truth as the original, or as one unit in the last place, if that is more."""
        bits = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}[self.dtype]
        with np.errstate(invalid="ignore"):
            off, before = (np.max(np.abs(a.astype(np.float64) - wanted.reference), initial=0) for a in (got, original))
        if not np.isfinite(off) and np.isfinite(before):
            return float("inf")
        return float(off / max(before, wanted.largest * 2.0**-bits, 1e-300)) if np.isfinite(before) else 0.0

    def emitted(self, texts: Mapping[str, str]) -> list[Emitted]:
        """As many blocks as on a GPU, and few."""
        forward = self.op.derivation.forward
        return [Emitted(self.op.name, forward, self.plan, Poisoned(self.apart), texts, most) for most in (None, FEW)]

    def originals(self) -> list[tuple[Case, list[dict[str, Array]]]]:
        if self._originals is None:
            other = Drawer(read(self.op.text), self.drawer.kinds, {}, seed=11)
            cases = [*self.compare.cases(), *Comparison(self.op, other, self.dtype, emulator, long_axes=False).cases()]
            runs = self.emitted(self.texts)
            self._originals = [(c, [r.run(c.sample) for r in runs]) for c in cases]
        return self._originals


def table(fates: list[Fate]) -> str:
    """How many of each kind came to which end."""
    ends = [KERNEL, CHECK, BROKEN, SAME, ROUNDED, SURVIVED]
    counts = Counter((f.mutant.kind, f.how) for f in fates)
    lines = [" " * 20 + "".join(f"{e:>18}" for e in ends)]
    for kind in [*sorted({f.mutant.kind for f in fates}), ""]:
        row = [sum(n for (k, h), n in counts.items() if h == e and kind in (k, "")) for e in ends]
        lines.append(f"{kind or 'all':20}" + "".join(f"{n:18}" for n in row))
    return "\n".join(lines)


def off(got: Array, true: Array) -> float:
    """The largest difference that is a number."""
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.nan_to_num(np.abs(got - true), posinf=0.0), initial=0.0))


class RuleGate:
    """Judges mutants of one operation's rule, forward and backward, by level 2."""

    def __init__(self, op: Operation, data: Mapping[str, str]):
        self.op = op
        self.drawer = Drawer(read(op.text), data, {})
        self.truth = Truth(self.drawer)
        self.texts = {n: list(getattr(op, n)) for n in ("forward_numpy", "backward_numpy")}

    def mutants(self) -> list[tuple[str, Fault]]:
        return [(n, f) for n, lines in self.texts.items() for f in rules.faults(lines)]

    def with_lines(self, which: str, lines: list[str]) -> Operation:
        """The operation with other NumPy text."""
        op = copy.copy(self.op)
        op.__dict__.update({**self.texts, which: lines})
        return op

    def fate(self, which: str, fault: Fault) -> str:
        op = self.with_lines(which, list(fault.lines))
        try:
            if rule(op, self.drawer, self.truth).status != PASS:
                return RULE
        except (ValueError, IndexError, TypeError, NameError, ZeroDivisionError, AttributeError, KeyError):
            return RULE  # shapes that do not fit: the text does not run
        program = Runnable.of(op)
        for sample, true, noise in self.samples:
            got = program.run(sample)
            if not all(np.allclose(got[x], true[x], 1e-9, 1e-12 + noise[x], equal_nan=True) for x in true):
                return SURVIVED
        return SAME

    @cached_property
    def samples(self) -> list[tuple[Sample, dict[str, Array], dict[str, float]]]:
        """More data than the validator's, what the rule gives on them, and how far rounding may move it."""
        program, found = Runnable.of(self.op), []
        for seed in (11, 12):
            other = Drawer(read(self.op.text), self.drawer.kinds, {}, seed)
            found += [other.sample(sizes, "1", n) for n, sizes in enumerate(other.sweep())]
            scales = [(s, n) for s in MORE for n in range(max(1, len(other.reals)))]
            scales += [("masked", other.reals.index(name)) for name in normalised(other.f)]
            found += [other.sample(other.small(), s, n) for s, n in scales]
        return [(s, true := program.run(s), {n: off(v, true[n]) for n, v in program.perturbed(s, "float64", 1).items()})
                for s in found]
