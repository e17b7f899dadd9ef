"""Numbers for one array: normal ones, and those that find bugs."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

KINDS = ("positive", "unit", "negative")
HARDLY = "every second row or element hardly different from 0, one label in range"
NAMED = {
    "logits": "logits ±200",
    "below": "all of one sign but one input, far below 0",
    "masked": "some entries masked by -1e30",
    "nothing": "some entries masked by -1e30, and a whole row",
    "heavy": "heavy tails",
    "rows": "rows far apart, some constant, few labels",
    "one-hot": "one-hot rows, one label",
    "subnormal": "subnormal numbers, no label in range",
    "sparse": "every second entry 0, or hardly more where it must be positive",
    "least": HARDLY,
    "none": "no label in range",
    "ties": "small whole numbers, many alike",
}  # what `scale` may be besides a factor
LEAST = 2.0**-23  # a number that is hardly positive, in each type


def draw(rng: np.random.Generator, shape: tuple[int, ...], scale: str, kind: str) -> Array:
    """Random reals. `scale` is a factor or one of `NAMED`; of one of `KINDS` they stay in its domain."""
    if kind == "negative":
        return -draw(rng, shape, scale, "positive")
    x = rng.standard_normal(shape)
    rows = rng.uniform(-150, 150, (*shape[:-1], 1)) if shape else np.zeros(())
    if scale == "ties":
        low, top, part = {"unit": (1, 4, 4), "positive": (1, 4, 1)}.get(kind, (-1, 2, 1))
        return rng.integers(low, top, shape) / part
    if kind == "unit":
        return rng.uniform(0.05, 0.95, shape)
    if kind == "positive":
        if scale == "sparse":  # what a formula adds to keep a divisor from 0 then shows
            return np.where(rng.integers(2, size=shape) > 0, np.exp(0.5 * x), LEAST)
        if scale == "least":
            return np.exp(0.5 * x) * hardly(shape)
        if scale in NAMED or scale == "above":  # positive it is
            return np.exp({"heavy": 1.5 * x, "rows": 0.5 * x + rows / 50}.get(scale, 0.5 * x))
        return np.exp(0.5 * x) * float(scale)
    match scale:
        case "logits":
            x = rng.uniform(-200, 200, shape)
            x.flat[:2] = (200.0, -200.0)[: x.size]
        case "below":
            x = rng.uniform(-200, -100, shape)
        case "above":
            x = np.abs(x)
        case "masked" | "nothing":
            odd = np.indices(shape).sum(0) % 2 == 1  # each row and column keeps every second entry
            if min(shape, default=0) > 1:
                x = np.where(odd & (rng.integers(3, size=shape) > 0), -1e30, x)
                if scale == "nothing":
                    x[(0,) * (x.ndim - 1)] = -1e30
        case "heavy":
            x = np.clip(x * np.exp(2.5 * rng.standard_normal(shape)), -99, 99)
            if x.size:  # the ends of each row lie all over it: evenly, by the golden ratio
                n = x.shape[-1] if shape else 1
                lines, at = x.reshape(-1, n), np.arange(x.size // n) * 0.618 % 1
                lines[np.arange(len(at)), (at * n).astype(int)] += 250
                lines[np.arange(len(at)), ((at + 0.5) % 1 * n).astype(int)] -= 250
        case "rows":
            x = np.where(rng.integers(3, size=rows.shape) == 0, rows, x + rows)
        case "one-hot":
            x = np.where(np.arange(x.size).reshape(shape) % 5 == 3, 3.0, 0.0)
        case "subnormal":
            x = x * 1e-40
        case "sparse":
            x = np.where(rng.integers(2, size=shape) > 0, x, 0.0)
        case "least":
            x = x * hardly(shape)
        case "none":
            pass
        case _:
            x = x * float(scale)
    return x


def hardly(shape: tuple[int, ...]) -> Array:
    """1 and `LEAST` in turn, row by row, or element by element of what has no rows."""
    lines = np.indices(shape[:-1] if len(shape) > 1 else shape).sum(0)
    return np.broadcast_to(np.where(lines % 2 == 1, LEAST, 1.0)[(..., None) if len(shape) > 1 else ...], shape)


def draw_labels(rng: np.random.Generator, shape: tuple[int, ...], scale: str, low: int, top: int) -> Array:
    """Random integers from `low` on below `top`: the greatest is among them, and one stands twice."""
    match scale:
        case "rows":
            x = rng.integers(max(low, top - 2), top, shape)  # few, often repeated
        case "one-hot":
            x = np.full(shape, top - 1)
        case "subnormal" | "none" | "least":
            x = np.full(shape, low)  # where a guard allows it, none is in range
            x.flat[: scale == "least"] = top - 1  # or one
        case _:
            x = rng.integers(low, top, shape)
            x.flat[:2] = top - 1
    return x
