"""Levels 1 and 2: every recorded rewrite, and the rule as NumPy against differences of the forward formula."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from derive.operation import Operation
from derive.simplify.check import check_steps
from derive.validate.comparison import LARGEST, SMALLEST
from derive.validate.data import Drawer, Sample, Sizes, exponentiates
from derive.validate.losses import Losses
from derive.validate.program import CANCELLED, Runnable, cancels, rounded
from derive.validate.records import FAIL, NOT_RUN, PASS, Count, Result, Said
from derive.validate.tangents import has_kinks, tangents
from derive.validate.truth import RELATIVE, Truth, chooses, compared

OTHER = 0.75  # times its value: what a constant of the formula is once, too
CONVENED = 1e-8  # of the terms of an exact slope: what rounding leaves
ROUGH = 0.05  # of the largest entry: what a rule in float32 may lose at logits of ±200
FAINT = 1e-4  # of the largest entry at scale 1: what noise may leave of a gradient that all but vanishes there


def rewrites(op: Operation) -> Result:
    """Level 1: both sides of each rewrite, as the derivation recorded them."""
    found = check_steps(op.derivation)
    wrong = [r for r in found if r.right is False]
    open_ = [r for r in found if r.right is None]
    if wrong:
        return Result("rewrite", FAIL, f"{wrong[0].law} changes {wrong[0].target}: {wrong[0].how}", len(found))
    if not found:
        return Result.of("rewrite", PASS, ("no rewrite", {}))
    ways: dict[str, int] = {}
    for r in found:
        if r.right:
            how = r.how.partition(" at ")[0]
            ways[how] = ways.get(how, 0) + 1
    said: list[Said] = [("more " * (n > 0) + "rewrites", {"n": Count(ways[how]), "how": how})
                        for n, how in enumerate(sorted(ways, key=lambda how: -ways[how]))]
    if open_:
        said.append(("open rewrites", {"n": Count(len(open_)), "why": open_[0].how}))
    return Result.of("rewrite", PASS if ways else NOT_RUN, *said, cases=len(found) - len(open_))


def rule(op: Operation, drawer: Drawer, truth: Truth | None = None) -> Result:
    """Level 2: each gradient, every element at a small size, one random direction at a larger one.

    Args:
        truth: of an earlier call with the same drawer, to evaluate the formula no second time.
    """
    if not op.gradients:
        return Result.of("rule", NOT_RUN, ("no gradient", {}))
    truth = truth or Truth(drawer)
    program = Runnable.of(op)
    worst, cases, place, empty = 0.0, 0, "", dict.fromkeys(op.gradients, True)
    for (tried, says), sizes, scale in _tries(op, program, truth):
        error, said_of = np.inf, ""
        for number in range(3):  # beside a kink differences mean nothing: a wrong rule is wrong elsewhere too
            error, said_of, live = _compare(op, tried, says, says.sample(sizes, scale, number))
            empty = {n: empty[n] and n not in live for n in empty}
            if error <= 1:
                break
        cases += len(op.gradients)
        if not error <= worst:
            worst, place = error, said_of
        if not worst <= 1:
            return Result("rule", FAIL, place, cases, worst)
    if has_kinks(drawer.f):
        for sizes, number in product((drawer.small(), drawer.medium(1 << 12)), range(3)):
            wrong, judged = _by_convention(op, program, truth, truth.sample(sizes, "ties", number))
            cases += judged
            if wrong:
                return Result("rule", FAIL, wrong, cases, worst)
    if exponentiates(drawer.f):
        for number in range(len(drawer.reals)):
            if wrong := _unstable(program, truth, number):
                return Result("rule", FAIL, wrong, cases, worst)
    said: list[Said] = [("gradients", {"n": Count(len(op.gradients)), "error": f"{worst * RELATIVE:.1e}"})]
    if nothing := tuple("d" + n for n, e in empty.items() if e):
        said.append(("zero gradients", {"names": nothing, "n": Count(len(nothing))}))
    return Result.of("rule", PASS, *said, cases=cases, worst=worst)


def _tries(op: Operation, program: Runnable, truth: Truth) -> Iterator[tuple[tuple[Runnable, Truth], Sizes, str]]:
    """Which program is to be judged by which truth, at which sizes and scale."""
    drawer = truth.drawer
    small, here = drawer.small(), (program, truth)
    yield from ((here, sizes, scale) for sizes in (small, drawer.medium(1 << 16)) for scale in ("1", "0.1"))
    if (far := compared(drawer.f)) > max(drawer.medium(1 << 16).values(), default=0):  # as a window's width
        yield from ((here, s, "1") for s in drawer.sweep() if max(s.values()) > far)
    if drawer.f.integers:
        yield here, small, "none"
    if truth.every(truth.sample(small, "least", 0), op.gradients):  # a step beside each element is no direction
        yield from ((here, small, scale) for scale in ("least", "sparse")[: 1 + chooses(drawer.f)])
    if params := {n: OTHER * v for n, v in program.params.items() if n in program.words}:
        other = truth.with_params(params)  # a constant of 1 hides where it stands
        if all(np.isfinite(v).all() for v in other.values(other.sample(small, "1", 0)).values()):
            yield (replace(program, params={**program.params, **params}), other), small, "1"


def _compare(op: Operation, program: Runnable, truth: Truth, sample: Sample) -> tuple[float, str, set[str]]:
    """The largest error over its bound, where it is, and which gradients are not 0."""
    values = program.run(sample)
    worst, place = 0.0, ""
    live: set[str] = set()
    if wrong := _forward(values, truth.values(sample), sample):
        return np.inf, wrong, live
    for n in op.gradients:
        full, x = values["d" + n], sample.arrays[n]
        if full.shape != x.shape or not np.isfinite(full).all():
            return np.inf, f"d{n} is not finite or of the wrong shape at {sample.where}", live
    for n, slopes in truth.slopes(sample, op.gradients).items():
        full, x = values["d" + n], sample.arrays[n]
        got, spread = (full, 1.0) if slopes.along is None else (np.asarray(np.sum(full * slopes.along)), x.size ** 0.5)
        size = float(np.max(np.abs(full), initial=0.0)) * spread
        size = max(size, float(np.max(np.abs(slopes.value), initial=0.0)))
        bound = RELATIVE * size + slopes.noise
        if size > 10 * np.min(bound, initial=np.inf):
            live.add(n)
        off = np.abs(got - slopes.value)
        error = _largest(off, bound)
        if error > 1:
            error = _largest(off, bound + truth.bent(sample, n, slopes))
        if not error <= worst:
            worst = error
            off_by = float(np.max(off, initial=0.0))
            place = f"d{n} is {off_by:.1e} of {size:.1e} away from differences of the formula, at {sample.where}"
    return worst, place, live


def _largest(off: Any, bound: Any) -> float:
    """The largest error over its bound; of what is off where nothing is granted, 1 or more."""
    return float(np.max(np.where(bound > 0, off / np.where(bound > 0, bound, 1.0), off > 0), initial=0.0))


def _by_convention(op: Operation, program: Runnable, truth: Truth, sample: Sample) -> tuple[str | None, int]:
    """What is wrong where maxima tie and values lie on a border, and how many gradients that says anything about."""
    judged = 0
    free, outputs = truth.drawer.free(sample), truth.values(sample)
    if not all(np.isfinite(v).all() for v in outputs.values()):  # a division by 0: any slope times nothing is no number
        return None, judged
    values = program.run(sample)
    weight = sum(float(np.sum(np.abs(d * outputs[o]))) for o, d in sample.cotangents.items())
    for k, n in enumerate(op.gradients):
        full, along = values["d" + n], np.asarray(np.random.default_rng(k).standard_normal(sample.arrays[n].shape))
        slope, size, decided = tangents(truth.drawer.f, sample.arrays, {n: along}, sample.cotangents, free)
        if not decided or not np.isfinite(size):  # rounding chooses, or the formula has no slope there
            continue
        judged += 1
        if not np.isfinite(full).all():
            return f"d{n} is not finite at {sample.where}", judged
        off, size = abs(float(np.sum(full * along)) - slope), size + float(np.sum(np.abs(full * along)))
        if off > CONVENED * size + CANCELLED * weight:
            return (f"d{n} is {off:.1e} of {size:.1e} away from slopes by convention (ties share, relu'(0) = abs'(0) = "
                    f"0), at {sample.where}"), judged
    return None, judged


def _forward(values: Mapping[str, Any], expected: Mapping[str, Any], sample: Sample) -> str | None:
    """Which output is not what the formula gives."""
    for o in sample.cotangents:
        off, largest = _apart(values[o], expected[o])
        if not off <= 1e-9 * (largest or 1.0):
            return f"{o} is not what the formula gives, off by {off:.1e} of {largest:.1e} at {sample.where}"
    return None


def _unstable(program: Runnable, truth: Truth, number: int) -> str | None:
    """Where the rule in float32 is not finite, or far from the rule in float64, though that fits into float32; with
    that input at logits of ±200.

    A gradient that is 0 but for rounding has nothing to be far from, and one that all but vanishes may drown in what
    rounding leaves of its terms; and no rule need be better than the formula itself is in float32.
    """
    drawer = truth.drawer
    sample = truth.sample(drawer.small(), "logits", number)
    held = rounded(sample, "float32")
    true, got = program.run(held), program.single(held)
    for name, value in true.items():
        off, largest = _apart(got[name], value)
        fits = np.max(np.abs(value), initial=0.0) < LARGEST["float32"]
        if fits and not off <= ROUGH * largest + SMALLEST["float32"]:
            spread = float(np.max(np.abs(program.perturbed(held, "float32", 1)[name] - value), initial=0.0))
            usual = program.run(truth.sample(drawer.small(), "1", 0))[name]
            faint = off <= min(8 * spread, FAINT * float(np.max(np.abs(usual), initial=0.0)))
            nothing = math.isfinite(off) and cancels(value, spread, "float32")
            if not (faint or nothing or Losses(program.op, drawer).excuse(name, held, off)):
                return f"{name} of the rule in float32 is not stable at {sample.where}"
    return None


def _apart(got: Any, true: Any) -> tuple[float, float]:
    """(how far an array is off, infinitely if it lacks a number or has another shape; the largest entry)."""
    fine = np.isfinite(true)
    if got.shape != true.shape or not np.isfinite(got[fine]).all():
        return float("inf"), 0.0
    largest = float(np.max(np.abs(true[fine]), initial=0.0))
    return float(np.max(np.abs(got[fine] - true[fine]), initial=0.0)), largest
