"""What one random formula must survive: derivation, its rule and its kernels, each against an independent judge.

    rewrites    every recorded rewrite, in exact arithmetic
    rule        the NumPy program in the contract's namespace, against the autodiff of tests/oracle.py
    kernels     the emitted wrapper in check mode, float64, against the same; the same bits in another order
    differences the autodiff itself, against central differences of the forward formula
"""

from __future__ import annotations

from typing import Any

import numpy as np

import derive
from derive import emulator
from derive.emit import sources
from derive.operation import Operation
from derive.simplify.check import check_steps
from derive.validate.data import Sample as Data
from derive.validate.differences import direction, directional
from derive.validate.drive import Emitted, Poisoned
from derive.validate.kernels import Unpoisoned, plan_of
from derive.validate.program import Runnable, rounded
from tests.drive import run_program
from tests.emit.shadows import shadows
from tests.fuzz.formulas import Sample
from tests.oracle import Result, differentiate

TOLERANCE = 1e-9  # of the largest entry
MOVED = 1e-13  # how far inputs are moved to see what rounding may do to a formula


class Judged:
    """One sample with what the oracle says of it; each `check_` method raises AssertionError where derive differs."""

    def __init__(self, sample: Sample):
        self.sample = sample
        self.op: Operation = derive.parse(sample.text)
        letters = dict(self.op.program.letters)
        self.sizes = {x: n for x, n in sample.sizes.items() if x in letters}
        self.expected = self._differentiate(sample.arrays)
        rng = np.random.default_rng(1)
        moved = {n: a*(1 + MOVED*rng.choice((-1, 1), a.shape)) if a.dtype.kind == "f" else a
                 for n, a in sample.arrays.items()}
        self.noise = self._differentiate(moved)

    def _differentiate(self, arrays: dict[str, Any]) -> Result:
        s = self.sample
        return differentiate(s.text, arrays, s.cotangents, s.wrt, self.sizes)

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
            got = run_program(program, s.arrays, s.cotangents, s.sizes, params)
        except IndexError:  # NumPy can read nothing of an empty axis, not even what a guard throws away
            if 0 not in self.sizes.values():
                raise
            got = Runnable.of(self.op).run(Data(s.arrays, s.cotangents, {**s.sizes, **self.sizes}, "fuzz"))
        self._compare(got, "rule " + "; ".join(program["forward"] + program["backward"]))

    def check_kernels(self, dtype: str = "float64") -> None:
        op, s = self.op, self.sample
        plan = plan_of(op, dtype)
        hidden = [x for name, text in sources(op.name, plan).items() if name.endswith(".cu") for x in shadows(text)]
        assert not hidden, f"kernels: names hide others, line and name {', '.join(hidden)}"
        made = {b.name for p in (plan.forward, plan.backward) if p for b in (*p.results, *p.temporaries)}
        data = Data(s.arrays, s.cotangents, self.sizes, "fuzz")
        orders = ("sequential", "random") if plan.contract.deterministic else ("sequential",)
        runs = []
        for order in orders:
            cp = Unpoisoned(emulator, check=True, uninitialized=tuple(sorted(made)), order=order, seed=1)
            runs.append(Emitted(op.name, op.derivation.forward, plan, cp).run(data))
        self._compare(runs[0], "kernels")
        for name, value in runs[0].items():
            assert value.tobytes() == runs[-1][name].tobytes(), f"kernels: {name} has other bits in another order"

    def check_single(self) -> None:
        """The kernels in float32, in fast mode; granted is what roundoff in each operation does to the rule."""
        s, op = self.sample, self.op
        data = rounded(Data(s.arrays, s.cotangents, {**s.sizes, **self.sizes}, "fuzz"), "float32")
        plan, program = plan_of(op, "float32"), Runnable.of(op)
        got = Emitted(op.name, op.derivation.forward, plan, Poisoned(emulator)).run(data)
        noise = [program.perturbed(data, "float32", n) for n in range(1, 6)]
        for name, true in program.run(data).items():
            off, largest = (np.max(np.abs(x), initial=0) for x in (got[name].astype(float) - true, true))
            spread = max(np.max(np.abs(x[name] - true), initial=0) for x in noise)
            assert off <= 1e-5*largest + 32*spread + 1e-30, f"float32: {name} is off by {off:.1e} of {largest:.1e}"

    def check_differences(self) -> None:
        """Along one random direction; where two steps disagree a kink is near, and they say nothing."""
        s = self.sample
        along = {n: direction(s.arrays[n].shape, k) for k, n in enumerate(s.wrt)}
        slope = sum(float(np.sum(self.expected.gradients[n]*v)) for n, v in along.items())
        steps = [directional(s.text, s.arrays, s.cotangents, along, self.sizes, step) for step in (1e-5, 3e-6)]
        scale = sum(float(np.sum(np.abs(g))) for g in self.expected.gradients.values()) + 1e-3
        if abs(steps[0] - steps[1]) < 1e-6*scale:
            assert abs(slope - steps[0]) < 1e-4*scale, f"oracle: slope {slope:.6g}, differences {steps[0]:.6g}"
