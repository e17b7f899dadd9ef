"""Levels 4 to 6: emitted kernels against the float64 rule, in check mode, and on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from derive.errors import DeriveError
from derive.operation import Operation
from derive.plan import Plan
from derive.validate.comparison import LARGEST, SMALLEST, Array, Comparison, Tally, base_bound, plan_of
from derive.validate.data import Drawer, Sample
from derive.validate.drive import Askew, Emitted, Poisoned
from derive.validate.launches import FEW, Launches
from derive.validate.nans import lost
from derive.validate.records import FAIL, NOT_RUN, PASS, Count, Result, Said, spoken

NO_COMPILER: Said = ("no compiler", {})


def kernels(op: Operation, drawer: Drawer, dtype: str, base: Any, level: str = "kernel",
            texts: Mapping[str, str] | None = None, compare: Comparison | None = None) -> Result:
    """Level 4, and 6 where `base` is CuPy: every sample, poisoned memory, once more in random order, at one scale
    with few blocks, into given arrays, with none aligned, and adding to what is there.

    Args:
        base: the emulator, or CuPy.
        texts: files to judge instead of the plan's own.
        compare: of an earlier call for the same operation and type, to draw and evaluate nothing again.
    """
    compare = compare or Comparison(op, drawer, dtype, base)
    compare.tally, plan = Tally(), compare.plan
    forward = op.derivation.forward
    emulated = compare.emulated
    shuffled = Poisoned(base, order="random", seed=1) if emulated else Poisoned(base)
    try:
        first = Emitted(op.name, forward, plan, Poisoned(base), texts)
        again = Emitted(op.name, forward, plan, shuffled, texts)
        few = Emitted(op.name, forward, plan, Poisoned(base), texts, most=FEW)
        askew = Emitted(op.name, forward, plan, Askew(base), texts)
        for n, case in enumerate(compare.cases()):
            sample, got = case.sample, {} if case.only else first.run(case.sample)
            compare.tally.longest = max([compare.tally.longest, *sample.extents.values()])
            if wrong := compare.judge(case, got):
                return Result(level, FAIL, wrong, compare.tally.cases + 1, compare.tally.worst)
            if plan.contract.deterministic and not case.only:
                for name, value in again.run(sample).items():
                    if value.tobytes() != got[name].tobytes():
                        how = "in another order of blocks and threads" if emulated else "at a second run"
                        wrong = f"{name} has other bits {how}, at {sample.where}"
                        return Result(level, FAIL, wrong, compare.tally.cases)
            if case.few:
                spread = few.run(sample)
                if wrong := compare.judge(case, spread):
                    wrong = f"with {FEW} blocks, {wrong}"
                    return Result(level, FAIL, wrong, compare.tally.cases + 1, compare.tally.worst)
            if case.plain:
                given = {n: np.full_like(v, np.nan) for n, v in got.items()} if askew.accumulates else None
                if wrong := compare.judge(case, askew.run(sample, given, accumulate=False)):
                    return Result(level, FAIL, f"with given arrays, not aligned, {wrong}", compare.tally.cases + 1)
            if case.plain and (wrong := compare.invariant(case, got, n == 0)):
                return Result(level, FAIL, wrong, compare.tally.cases, compare.tally.worst)
            if case.few and first.accumulates and not case.only:
                way, before = (few, spread) if n % 2 else (first, got)  # sums in parts are added by other kernels
                if wrong := _adding(way, sample, before, compare, dtype):
                    return Result(level, FAIL, wrong, compare.tally.cases)
        if wrong := lost(drawer, first):
            return Result(level, FAIL, wrong, compare.tally.cases)
    except Exception as e:  # whatever the kernels do, it is a finding about them
        if isinstance(e, DeriveError) and not (emulated and isinstance(e, base.EmulatorError)):
            raise
        if emulated and isinstance(e, base.NoCompilerError):
            return Result.of(level, NOT_RUN, NO_COMPILER)
        return Result(level, FAIL, f"{type(e).__name__}: {_short(str(e))}", compare.tally.cases)
    return _verdict(level, compare, plan, emulated)


def _verdict(level: str, compare: Comparison, plan: Plan, emulated: bool) -> Result:
    tally = compare.tally
    names = list(plan.forward.results) + (list(plan.backward.results) if plan.backward else [])
    wanted = [b.tensor for b in names if b.role in ("output", "gradient")]
    dead = [n for n in wanted if not tally.live.get(n) and not tally.is_zero(n)]
    if dead:
        return Result(level, FAIL, f"nothing tried says anything about {', '.join(dead)}: too small or too large "
                      f"for {plan.dtype} everywhere", tally.cases, tally.worst)
    zeros = tuple(n for n in wanted if tally.is_zero(n))
    said: list[Said] = [("arrays", {"n": Count(tally.cases), "worst": f"{tally.worst:.2f}"})]
    if plan.contract.deterministic and emulated:
        said.append(("same bits", {}))
    if not compare.long_axes:
        said.append(("short axes", {"n": tally.longest}))
    if zeros:
        said.append(("zeros", {"names": zeros, "n": Count(len(zeros))}))
    if tally.skipped:
        said.append(("too large", {"n": Count(tally.skipped), "dtype": plan.dtype}))
    if compare.left_out:
        said.append(("unfit", {"n": Count(compare.left_out), "dtype": plan.dtype}))
    if tally.lost:
        said.append(("lost", {"n": Count(tally.lost), "dtype": plan.dtype}))
    return Result.of(level, PASS, *said, cases=tally.cases, worst=tally.worst)


def _adding(emitted: Emitted, sample: Sample, got: Mapping[str, Array], compare: Comparison, dtype: str) -> str | None:
    """`accumulate=True` gives what was there plus the gradient."""
    assert emitted.plan.backward is not None
    rng = np.random.default_rng(1)
    held = {}
    for b in emitted.plan.backward.results:
        a = got[b.tensor]
        big = np.abs(a.astype(float))
        size = min(1 + np.max(big, initial=0, where=big < LARGEST[dtype]), LARGEST[dtype] / 16)
        held[b.tensor] = (rng.standard_normal(a.shape) * size).astype(a.dtype)
    for name, value in emitted.run(sample, held).items():
        if name in held:
            before, gradient = held[name].astype(np.float64), got[name].astype(np.float64)
            whole = np.abs(before) + np.abs(gradient)
            fits = whole < LARGEST[dtype]  # what is too large for the type has no sum in it
            off = np.max(np.abs(value.astype(np.float64)[fits] - before[fits] - gradient[fits]), initial=0.0)
            granted = base_bound(dtype, 1) * np.max(whole[fits], initial=SMALLEST[dtype])
            if not off <= granted:
                return f"{name} with accumulate=True is off by {off:.1e}, granted {granted:.1e}, at {sample.where}"
    return None


def checked(op: Operation, drawer: Drawer, dtype: str, base: Any, texts: Mapping[str, str] | None = None,
            launches: Launches | None = None) -> Result:
    """Level 5: bounds, uninitialised reads, races, divergence, at small, awkward sizes.

    Args:
        base: the emulator.
        texts: files to judge instead of the plan's own.
        launches: of an earlier call for the same operation and type, to look for sizes no second time.
    """
    launches = launches or Launches(op, plan_of(op, dtype), drawer, base)
    plan = launches.plan
    modules = checking(plan, base)
    plain, adding, askew = (Emitted(op.name, op.derivation.forward, plan, module, texts) for module in modules)
    few = Emitted(op.name, op.derivation.forward, plan, modules[0], texts, most=FEW)  # blocks go on to further elements
    runs = 0
    try:
        for sample in launches.checked:
            got = plain.run(sample)
            if sample is launches.checked[0] or sample is launches.largest:
                held = None
                if plan.backward is not None and plain.accumulates:
                    held = {b.tensor: got[b.tensor] for b in plan.backward.results}
                    adding.run(sample, held)
                askew.run(sample, held, accumulate=False)
            runs += 1
        for sample in launches.striding:
            few.run(sample)
    except base.CheckError as e:
        first = f"{e.reports[0].kind} at line {e.reports[0].line}: {e.reports[0].what}"
        return Result("check", FAIL, f"{len(e.reports)} findings, the first: {first}", runs)
    except base.NoCompilerError:
        return Result.of("check", NOT_RUN, NO_COMPILER)
    except base.EmulatorError as e:
        return Result("check", FAIL, f"{type(e).__name__}: {_short(str(e))}", runs)
    count = sum(len(p.kernels) for p in plan.passes)
    return Result.of("check", PASS, ("clean", {"n": Count(count), "sizes": runs}), cases=runs)


def checking(plan: Plan, base: Any, **options: Any) -> tuple[Poisoned, Poisoned, Poisoned]:
    """The emulator's check mode for a plan: with results that hold nothing yet, with results that are added to, and
    with given arrays that hold nothing and are not aligned; `options` as of `Poisoned`."""
    scratch = {b.name for p in plan.passes for b in p.temporaries}
    made = {b.name for p in plan.passes for b in p.results} | scratch
    empty, full = ({**options, "check": True, "uninitialized": tuple(sorted(blank))} for blank in (made, scratch))
    return Unpoisoned(base, **empty), Unpoisoned(base, **full), AskewUnpoisoned(base, **empty)


class Unpoisoned(Poisoned):
    """As `Poisoned`, with memory left as it comes: check mode knows by itself what holds nothing yet."""

    def empty(self, shape: Any, dtype: Any = np.float64) -> Any:
        return self.base.empty(shape, dtype)


class AskewUnpoisoned(Unpoisoned, Askew):
    """Both."""


def gpu(op: Operation, drawer: Drawer, dtype: str) -> Result:
    """Level 6: the same as level 4 through CuPy, where a GPU is."""
    from derive.errors import RunError
    from derive.run import array_module

    try:
        cupy = array_module("cupy")
    except RunError as e:
        sentences: tuple[Said, ...] = (("no cupy", {}), ("no gpu", {}))
        absent = {spoken((said,)): said for said in sentences}
        return Result.of("gpu", NOT_RUN, absent[e.what]) if e.what in absent else Result("gpu", NOT_RUN, e.what)
    return kernels(op, drawer, dtype, cupy, "gpu")


def _short(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return " / ".join(lines[:3])
