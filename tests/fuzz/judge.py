"""What one random formula must survive: derivation, its rule and its kernels, each against an independent judge.

    rewrites    every recorded rewrite, in exact arithmetic
    rule        the NumPy program in the contract's namespace, against the autodiff of tests/oracle.py
    kernels     the emitted wrapper in check mode, float64, against the same; the same bits in another order
    single      the same in float32, with few blocks and adding to what is there too
    more        what a user may ask for besides: 16 bits, atomics, plain kernels
    second      the gradient as a formula: its value, and its own rule
    differences the autodiff itself, against central differences of the forward formula

The judge refuses where the formula itself says nothing: the autodiff is evaluated again with every operation moved by
a rounding, or rounded to the type that is judged. What that makes infinite, or moves as far as a kernel is off, and
the NumPy rule in that type as well, as the square of -1e30 in float32 or its sine in any type, no kernel can be asked
for. What a formula that stays in range gives wrongly is a finding, however derive spells it; so is what leaves it,
where the rule has a stable form.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import derive
from derive import emulator
from derive.emit import sources
from derive.operation import Operation
from derive.plan import Plan, make_plan
from derive.simplify.check import check_steps
from derive.validate.comparison import LARGEST, SMALLEST, plan_of
from derive.validate.data import Sample as Data
from derive.validate.differences import direction, directional
from derive.validate.drive import Emitted, Poisoned
from derive.validate.formula import extents, read
from derive.validate.kernels import checking
from derive.validate.launches import FEW
from derive.validate.program import Runnable, moved, rounded
from tests.drive import run_program
from tests.emit.shadows import shadows
from tests.fuzz.formulas import Sample
from tests.oracle import Result, Rounding, differentiate

TOLERANCE = 1e-9  # of the largest entry
MOVED = 1e-13  # how far inputs and operations are moved to see what rounding may do to a formula
GRANTED = {"float32": 1e-5, "float16": 6e-3, "bfloat16": 5e-2}  # of the largest entry
RANGE = 2.0**120  # beyond this float32 has room for no sum: kernels may scale or add up before they divide


def single(v: Any, seed: int) -> Any:
    """A value as an operation in float32 gives it, up or down; infinite near the end of its range."""
    with np.errstate(all="ignore"):
        near = np.asarray(moved(v, 2.0**-24, seed, masks=True)).astype(np.float32).astype(float)
        return np.where(np.abs(near) < RANGE, near, near*np.inf)


class Judged:
    """One sample with what the oracle says of it; each `check_` method raises AssertionError where derive differs."""

    def __init__(self, sample: Sample):
        self.sample = sample
        self.op: Operation = derive.parse(sample.text)
        letters = dict(self.op.program.letters)
        self.sizes = {x: n for x, n in sample.sizes.items() if x in letters}
        shapes = {n: a.shape for n, a in sample.arrays.items()}
        self.extents = {**sample.sizes, **extents(read(sample.text), shapes, self.sizes)}
        self.expected = self._differentiate(sample.arrays)
        self.noise = self._differentiate({n: moved(a, MOVED, 1, masks=True) for n, a in sample.arrays.items()},
                                         lambda v: moved(v, MOVED, 1, masks=True))
        self.refused: list[str] = []
        self.kernels = 0

    def _differentiate(self, arrays: dict[str, Any], rounding: Rounding | None = None) -> Result:
        s = self.sample
        return differentiate(s.text, arrays, s.cotangents, s.wrt, self.sizes, rounding)

    @property
    def sound(self) -> bool:
        """Whether float64 can tell right from wrong here: everything finite, and rounding does not move it far."""
        for name, true in self._named(self.expected).items():
            other = self._named(self.noise)[name]
            if not (np.isfinite(true).all() and np.isfinite(other).all()):
                return False
            if np.max(np.abs(true), initial=0) > 1e12:
                return False
            if np.max(np.abs(true - other), initial=0) > 1e-6*np.max(np.abs(true), initial=1e-3):
                return False
        return True

    def _named(self, found: Result) -> dict[str, Any]:
        return {**{o: found.values[o] for o in self.sample.cotangents},
                **{f"d{n}": g for n, g in found.gradients.items()}}

    def _compare(self, got: dict[str, Any], what: str) -> None:
        noise = self._named(self.noise)
        for name, true in self._named(self.expected).items():
            found = np.asarray(got[name], dtype=float)
            assert found.shape == true.shape, f"{what}: {name} has shape {found.shape}, not {true.shape}"
            granted = TOLERANCE*np.max(np.abs(true), initial=1e-3)
            granted += 1e3*np.max(np.abs(true - noise[name]), initial=0)
            off = np.max(np.abs(found - true), initial=0)
            assert off <= granted, f"{what}: {name} is off by {off:.2e} of {np.max(np.abs(true), initial=0):.2e}"

    def check_rewrites(self) -> None:
        for c in check_steps(self.op.derivation):
            assert c.right is not False, f"{c.law} changes {c.target}: {c.how}"

    def check_rule(self) -> None:
        rule = self.op.json()
        params = {n: float(v) for n, v in self.op.program.params}
        program, s = rule["program"], self.sample
        try:
            got = run_program(program, s.arrays, s.cotangents, self.extents, params)
        except IndexError:  # NumPy can read nothing of an empty axis, not even what a guard throws away
            if all(self.extents.values()):
                raise
            got = Runnable.of(self.op).run(Data(s.arrays, s.cotangents, self.extents, "fuzz"))
        self._compare(got, "rule " + "; ".join(program["forward"] + program["backward"]))

    def check_kernels(self, dtype: str = "float64") -> None:
        op, s = self.op, self.sample
        plan = plan_of(op, dtype)
        hidden = [x for name, text in sources(op.name, plan).items() if name.endswith(".cu") for x in shadows(text)]
        assert not hidden, f"kernels: names hide others, line and name {', '.join(hidden)}"
        self.kernels += sum(len(p.kernels) for p in plan.passes)
        data = Data(s.arrays, s.cotangents, self.extents, "fuzz")
        orders = ("sequential", "random") if plan.contract.deterministic else ("sequential",)
        runs = []
        for order in orders:
            cp, *_ = checking(plan, emulator, order=order, seed=1)
            runs.append(Emitted(op.name, op.derivation.forward, plan, cp).run(data))
        self._compare(runs[0], "kernels")
        for name, value in runs[0].items():
            assert value.tobytes() == runs[-1][name].tobytes(), f"kernels: {name} has other bits in another order"

    def check_single(self) -> None:
        """The kernels in float32, in fast mode; granted is what roundoff in each operation does to the rule."""
        plan = plan_of(self.op, "float32")
        data = self._rounded("float32")
        got = self._emitted(plan).run(data)
        self._check_rounded(got, data, "float32")
        few = self._emitted(plan, most=FEW)
        once = few.run(data)
        self._check_rounded(once, data, f"float32 with {FEW} blocks")
        if few.accumulates and plan.backward is not None:
            held = {b.tensor: np.ones_like(once[b.tensor]) for b in plan.backward.results}
            sums = few.run(data, held)
            for name in held:
                with np.errstate(all="ignore"):
                    off = np.abs(sums[name].astype(float) - 1 - once[name])
                    granted = 1e-6*(1 + np.max(np.abs(once[name]), initial=0))
                assert np.all((off <= granted) | ~np.isfinite(once[name])), f"float32: {name} is not added to"

    def check_more(self) -> None:
        """One thing more that may be asked for, by the formula's text."""
        checks: tuple[Callable[[], None], ...] = (
            lambda: self.check_half("float16"), lambda: self.check_half("bfloat16"),
            lambda: self.check_plan(menu=()), lambda: self.check_plan(scatter="atomic", attention="unfused"))
        checks[self.sample.number % len(checks)]()

    def check_half(self, dtype: str) -> None:
        data = self._rounded(dtype)
        self._check_rounded(self._emitted(plan_of(self.op, dtype)).run(data), data, dtype)

    def check_plan(self, **options: Any) -> None:
        """Kernels of another plan, in float64."""
        d, s = self.op.derivation, self.sample
        plan = make_plan(d.forward, d.backward if d.backward.outputs else None, "float64", **options)
        data = Data(s.arrays, s.cotangents, self.extents, "fuzz")
        self._compare(self._emitted(plan).run(data), f"kernels with {options}")

    def check_second(self) -> None:
        """A gradient is a formula: its value is the gradient, and its own rule is right."""
        s = self.sample
        for name in s.wrt[:1]:
            again = self.op.gradients[name].op
            known = {x for x, _ in self.op.program.letters}
            if any(x not in known and not any(e in t.axes for t in again.program.inputs)
                   for x, e in again.program.letters):
                continue  # a second letter of an extent that no array has: text has no word for that
            true = self.expected.gradients[name]
            rng = np.random.default_rng(0)
            arrays = {n: a for n, a in s.arrays.items() if again.program.input(n)}
            for t in again.program.inputs:
                if t.name not in arrays:
                    called = t.name.rstrip("_")
                    arrays[t.name] = next(g for o, g in s.cotangents.items() if called == f"g{o}".rstrip("_"))
            arrays |= {t.name: np.asarray(arrays[t.name], float) for t in again.program.inputs if not t.integer}
            out, = again.program.outputs
            wrt = [t.name for t in again.program.inputs if not t.integer]
            inner = Judged(Sample(again.text, self.sizes, arrays,
                                  {out: rng.standard_normal(true.shape)}, wrt))
            if inner.sound:
                off = np.max(np.abs(inner.expected.values[out] - true), initial=0)
                assert off <= 1e-6*np.max(np.abs(true), initial=1e-3), f"the formula of d{name}: {again.text}"
                inner.check_rule()

    def _emitted(self, plan: Plan, most: int | None = None) -> Emitted:
        self.kernels += sum(len(p.kernels) for p in plan.passes)
        return Emitted(self.op.name, self.op.derivation.forward, plan, Poisoned(emulator), most=most)

    def _rounded(self, dtype: str) -> Data:
        s = self.sample
        return rounded(Data(s.arrays, s.cotangents, self.extents, "fuzz"), dtype)

    def _check_rounded(self, got: dict[str, Any], data: Data, dtype: str) -> None:
        kind = dtype.split()[0]
        program = Runnable.of(self.op)
        noise = [program.perturbed(data, kind, n, plain=n > 1) for n in range(1, 6)]
        for name, true in program.run(data).items():
            with np.errstate(all="ignore"):
                off, largest = (float(np.max(np.abs(x), initial=0)) for x in (got[name].astype(float) - true, true))
                spread = max(float(np.max(np.abs(x[name] - true), initial=0)) for x in noise)
            granted = GRANTED[kind]*largest + 32*spread + SMALLEST[kind]
            if not off <= granted and self._says_nothing(name, true, off, data, kind):
                self.refused.append(f"{dtype}: {name}")
            else:
                assert off <= granted, f"{dtype}: {name} is off by {off:.1e} of {largest:.1e}"

    def _says_nothing(self, name: str, true: Any, off: float, data: Data, dtype: str) -> bool:
        """Whether the formula itself, each operation rounded as in kernels of that type, is infinite or as far off,
        and so is the rule, which may have a stable form of it."""
        s = self.sample
        if np.max(np.abs(true), initial=0) >= LARGEST[dtype]:
            return True
        with np.errstate(all="ignore"):
            found = [Runnable.of(self.op).single(data)[name]]
            for n in range(3):
                rounding = partial(single, seed=n)
                one = differentiate(s.text, data.arrays, data.cotangents, s.wrt, self.sizes, rounding)
                found.append(self._named(one)[name])
            return not any(np.max(np.abs(x - true), initial=0) < off/32 for x in found)

    def check_differences(self) -> None:
        """Along one random direction; where two steps disagree a kink is near, and they say nothing."""
        s = self.sample
        if s.ties:
            return  # right on a kink two steps agree
        along = {n: direction(s.arrays[n].shape, k) for k, n in enumerate(s.wrt)}
        slope = sum(float(np.sum(self.expected.gradients[n]*v)) for n, v in along.items())
        steps = [directional(s.text, s.arrays, s.cotangents, along, self.sizes, step) for step in (1e-5, 3e-6)]
        scale = sum(float(np.sum(np.abs(g))) for g in self.expected.gradients.values()) + 1e-3
        if abs(steps[0] - steps[1]) < 1e-6*scale:
            assert abs(slope - steps[0]) < 1e-4*scale, f"oracle: slope {slope:.6g}, differences {steps[0]:.6g}"
