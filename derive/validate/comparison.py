"""What each array should be, on data that find bugs, and how far from it is still right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from derive.operation import Operation
from derive.plan import Plan, make_plan
from derive.validate.data import FAR, Drawer, Sample, exponentiates, normalised
from derive.validate.invariants import Invariants
from derive.validate.launches import Launches, filling
from derive.validate.losses import Losses
from derive.validate.program import AMPLIFIED, ROUNDOFF, Runnable, cancels, flushed, rounded
from derive.validate.recompute import recomputed
from derive.validate.shaken import shaken

Array = np.ndarray[Any, Any]

LARGEST = {"float64": 1e300, "float32": 1e38, "float16": 6e4, "bfloat16": 1e38}
SMALLEST = {"float64": 1e-300, "float32": 1e-37, "float16": 6e-5, "bfloat16": 1e-37}
TELLING = {"float64": 1e-7, "float32": 2e-3, "float16": 0.1, "bfloat16": 0.3}  # a bound that tells right from wrong
SCALES = ("1e-3", "30", "heavy", "rows", "one-hot", "subnormal", "sparse")  # besides 1
SPARSE = 1 << 14  # terms
FLUSHED = ("float32", "bfloat16")  # what is read as a number of single precision, with its smallest exponents


def plan_of(op: Operation, dtype: str) -> Plan:
    d = op.derivation
    return make_plan(d.forward, d.backward if d.backward.outputs else None, dtype)


@dataclass
class Tally:
    """What comparing has found so far: the worst error over its bound, the longest axis, and what was live once."""

    worst: float = 0.0
    longest: int = 0
    cases: int = 0
    skipped: int = 0
    lost: int = 0
    live: dict[str, bool] = field(default_factory=dict)
    zero: dict[str, bool] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)

    def met(self, name: str, wanted: Wanted, smallest: float) -> None:
        """Keeps whether an array was 0 wherever it, or what cancelled in it, was of a size that its type holds."""
        self.largest[name] = max(self.largest.get(name, 0.0), wanted.largest)
        if max(wanted.largest, wanted.granted - smallest) > smallest:
            self.zero[name] = self.zero.get(name, True) and wanted.cancels

    def is_zero(self, name: str) -> bool:
        """Whether an array was 0 but for rounding wherever that could be told, or exactly 0 in every case."""
        return self.zero.get(name, self.largest.get(name) == 0)


def base_bound(dtype: str, terms: int) -> float:
    """Error that is always granted, of the largest entry: a few roundings, and those of a sum of so many terms."""
    written, summed = ROUNDOFF[dtype], ROUNDOFF["float64" if dtype == "float64" else "float32"]
    roundings = 6 if written > summed else 3  # a 16-bit backward may read rounded outputs where the rule reads none
    return roundings * written + (5 + 2 * math.sqrt(terms)) * summed


@dataclass(frozen=True)
class Wanted:
    """What one array should be.

    Attributes:
        reference: the rule's value in float64.
        largest: its largest entry.
        granted: the error that is.
        cancels: whether it is 0 but for rounding.
    """

    reference: Array
    largest: float
    granted: float
    cancels: bool


@dataclass(frozen=True)
class Case:
    """One sample, and what each output and gradient should be.

    Attributes:
        plain: whether the invariants are to be tried on it too.
        few: whether adding and few blocks are.
        only: whether nothing but few blocks is.
        fits: whether the formula itself, computed in single precision, has a value wherever it has one: where the
            length of a row of subnormal numbers is 0, no kernel can divide by it.
    """

    sample: Sample
    wanted: Mapping[str, Wanted]
    plain: bool = False
    few: bool = False
    only: bool = False
    fits: bool = True


class Comparison:
    """Compares what kernels give with the float64 rule.

    The largest deviation is judged; granted is `base_bound` of the largest entry, and eight times what noise of one
    rounding an operation does to the rule itself on the same data (in 16 bits also what a plain program of that type
    loses, in float64 also what it does to the formula), 32 times for a sum whose terms cancel. Where that is too much
    to tell a right value from a wrong one (a gradient that is 0 but for rounding), or where the formula itself, rounded
    on the way, is as far off (`losses`), the comparison counts for nothing.

    Args:
        base: array module of the wrapper; CuPy compiles every kernel with `-ftz=true`, under which a subnormal number
            of single precision is 0, so there the inputs have none.
        long_axes: whether to try axes so long that a kernel is launched in another way, too.
    """

    def __init__(self, op: Operation, drawer: Drawer, dtype: str, base: Any, long_axes: bool = True):
        self.op, self.drawer, self.dtype, self.long_axes = op, drawer, dtype, long_axes
        self.emulated = hasattr(base, "EmulatorError")
        self.flushes = not self.emulated and dtype in FLUSHED
        self.plan = plan = plan_of(op, dtype)
        masked = normalised(drawer.f)
        self.program = Runnable.of(recomputed(op, (), masked))
        self.rough = Runnable.of(recomputed(op, plan.contract.saved, masked))
        self.tally = Tally()
        self.launches = Launches(op, plan, drawer, base)
        self.invariants = Invariants(drawer)
        self._drawn, self.left_out = self._draw(), 0
        self._cases: list[Case] = []

    def cases(self) -> Iterator[Case]:
        """Every sample that fits, with what is expected; drawn and evaluated once, however often they are asked for."""
        yield from self._cases
        for case in self._drawn:
            if case.fits:
                self._cases.append(case)
                yield case
            else:
                self.left_out += 1

    def _draw(self) -> Iterator[Case]:
        """Every size at scale 1, one or two at the other scales, and logits of ±200 and masks where they are meant."""
        for n, sizes in enumerate(self.launches.plain):
            yield replace(self.case(self.drawer.sample(sizes, "1", n)), plain=True, few=True)
        f, reals = self.drawer.f, self.drawer.reals
        scales = list(enumerate(SCALES))
        scales += [(n, scale) for n in range(len(reals)) if exponentiates(f) for scale in ("logits", "below")]
        scales += [(reals.index(name), "masked") for name in normalised(f)]
        for n, scale in [*scales, *((reals.index(name), "nothing") for name in normalised(f, ["softmax"]))]:
            if scale == "nothing" and not self._has_values(self.drawer.sample(self.drawer.medium(1 << 14), scale, n)):
                continue  # the logarithm of no weight at all
            yield self.case(self.drawer.sample(self.drawer.medium(1 << 14), scale, n))
            if scale in FAR and len(self.launches.plain) > 2:
                yield self.case(self.drawer.sample(self.launches.plain[2], scale, n))  # short rows
        if self.long_axes and self.launches.summed:
            yield replace(self.case(self.drawer.sample(self.launches.summed, "1")), few=True, only=True)
        for sizes in self.launches.gathered if self.long_axes else ():
            yield replace(self.case(self.drawer.sample(sizes, "1")), few=True)
        for n, sizes in enumerate(self.launches.longer if self.long_axes else ()):
            yield replace(self.case(self.drawer.sample(sizes, "1", n)), few=True)
            # What is greatest lies anywhere; and lengths just past powers of two are tried as these, too.
            yield self.case(self.drawer.sample(self.drawer.full(filling(sizes)), "heavy", n))

    def _has_values(self, sample: Sample) -> bool:
        values = self.drawer.interpret(sample)
        return all(bool(np.isfinite(values[o]).all()) for o in self.drawer.f.outputs)

    def case(self, sample: Sample) -> Case:
        """A sample with what the rule and the formula say of it."""
        sample = flushed(sample) if self.flushes else sample
        held = rounded(sample, self.dtype)
        own: Mapping[str, Array] = {}
        if self.dtype == "float64":
            said, own = shaken(self.drawer.f, held.arrays, self.drawer.free(held))
        else:
            said = self.drawer.interpret(held)
        true = self.program.run(held)
        true |= {o: v for o, v in said.items() if o in self.op.derivation.forward.outputs}
        volume = self.drawer.volume(sample.extents)
        draws = 7 if volume < SPARSE else 3  # the worst of a few entries is met by chance, of many surely
        noise = [self.rough.perturbed(held, self.dtype, n + 1, plain=n > 0) for n in range(draws)]
        wanted = {}
        for name, value in true.items():
            reference = np.asarray(value)
            largest = float(np.max(np.abs(reference), initial=0.0))
            spread = max(_off(n[name], reference) for n in noise)
            if self.dtype == "float64":
                spread = max(spread / AMPLIFIED, _off(own[name], reference) if name in own else 0.0)
            terms = max(1, volume // max(1, reference.size))  # that were added up for each entry
            nothing = cancels(reference, spread, self.dtype)
            granted = base_bound(self.dtype, terms) * largest + (32 if nothing else 8) * spread + SMALLEST[self.dtype]
            wanted[name] = Wanted(reference, largest, granted, nothing)
        return Case(sample, wanted, fits=self.dtype == "float64" or self._fits(held, wanted))

    def _fits(self, held: Sample, wanted: Mapping[str, Wanted]) -> bool:
        single = self.rough.single(held)
        return all(bool(np.isfinite(single[o][np.isfinite(wanted[o].reference)]).all())
                   for o in self.op.derivation.forward.outputs if wanted[o].largest < LARGEST["float32"])

    def judge(self, case: Case, got: Mapping[str, Array]) -> str | None:
        """None if all is well, else what is wrong and where."""
        sample = case.sample
        for name, found in got.items():
            wanted = case.wanted[name]
            reference, value = wanted.reference, np.asarray(found).astype(np.float64)
            if value.shape != reference.shape:
                return f"{name} has shape {value.shape}, not {reference.shape}, at {sample.where}"
            if not reference.size:
                continue
            largest, granted = wanted.largest, wanted.granted
            self.tally.met(name, wanted, SMALLEST[self.dtype])
            if not largest < LARGEST[self.dtype]:
                self.tally.skipped += 1  # no number of this type holds it
                continue
            missing = np.flatnonzero(~np.isfinite(value))
            apart = np.abs(value - reference)
            off = math.inf if missing.size else float(np.max(apart))
            error = off / granted
            if error > 1:
                if self._excused(sample, name, off):
                    continue
                if missing.size:
                    return (f"{name}{_at(missing[0], value)} is {value.flat[missing[0]]}, should be "
                            f"{reference.flat[missing[0]]:.6g}, at {sample.where}")
                worst = int(np.argmax(apart))
                return (f"{name}{_at(worst, value)} is {value.flat[worst]:.9g}, should be {reference.flat[worst]:.9g}: "
                        f"off by {off:.1e}, granted {granted:.1e}, at {sample.where}")
            if granted <= TELLING[self.dtype] * largest:  # else rounding may hide a wrong value: it counts for nothing
                self.tally.cases += 1
                self.tally.worst = max(self.tally.worst, error)
                self.tally.live[name] = True
        return None

    def _excused(self, sample: Sample, name: str, off: float) -> bool:
        """Whether the formula itself, rounded on the way, is no nearer to what an array should be on this sample."""
        if not self.losses.excuse(name, rounded(sample, self.dtype), off):
            return False
        self.tally.lost += 1
        return True

    @cached_property
    def losses(self) -> Losses:
        return Losses(self.op, self.drawer, self.dtype)

    def invariant(self, case: Case, got: Mapping[str, Array], every: bool) -> str | None:
        """None if the gradients keep what the formula demands; the quick invariants, or every one."""
        granted = {n: w.granted for n, w in case.wanted.items()}
        wrong = self.invariants.unbalanced(got, granted)
        if every and not wrong:
            held = rounded(case.sample, self.dtype)
            wrong = self.invariants.not_zero(held, got) or self.invariants.adjoint(held, got, granted)
        return f"{wrong}, at {case.sample.where}" if wrong else None


def _off(noisy: Array, reference: Array) -> float:
    """How far noise moves an array; 0 where that is no number."""
    with np.errstate(invalid="ignore"):
        off = float(np.max(np.abs(noisy - reference), initial=0.0))
    return off if math.isfinite(off) else 0.0


def _at(flat: int, array: Array) -> str:
    return str([int(i) for i in np.unravel_index(flat, array.shape)]) if array.shape else ""
