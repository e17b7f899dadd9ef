"""Gradients by central differences of the forward formula, in float64: the judge of every rule.

The quantity differentiated is `<dY, Y>`, the sum over all outputs of cotangent times value. At small sizes every
element of an input is moved in turn; at large ones the whole input is moved along one random direction.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from derive.validate.formula import Formula, read
from derive.validate.interpret import Array, evaluate

STEP = 1e-5  # near the cube root of float64's precision, which balances truncation and rounding


def pairing(
    formula: str | Formula,
    arrays: Mapping[str, ArrayLike],
    cotangents: Mapping[str, ArrayLike],
    sizes: Mapping[str, int] | None = None,
    held: Sequence[Array] | None = None,
) -> float:
    """`<dY, Y>`: cotangents by the name of their output (an output without one counts as 0)."""
    values = evaluate(formula, arrays, sizes, held)
    return float(sum(np.sum(np.asarray(d, dtype=float) * values[n]) for n, d in cotangents.items()))


def gradient(
    formula: str | Formula,
    arrays: Mapping[str, ArrayLike],
    cotangents: Mapping[str, ArrayLike],
    wrt: str,
    sizes: Mapping[str, int] | None = None,
    step: float = STEP,
    near: bool = False,
    held: Sequence[Array] | None = None,
) -> Array:
    """The gradient with respect to every element of `wrt`, two evaluations an element.

    Args:
        near: whether an element hardly different from 0 is moved by a part of itself.
        held: what comparisons give wherever elements are moved to: the branch that is taken is differentiated.
    """
    f = read(formula) if isinstance(formula, str) else formula
    x = np.array(arrays[wrt], dtype=np.float64)
    result = np.zeros_like(x)
    h = steps(x, step, near)
    for i in np.ndindex(x.shape):
        sides = []
        for y in (x[i] + h[i], x[i] - h[i]):
            moved = x.copy()
            moved[i] = y
            sides.append((float(y), pairing(f, {**arrays, wrt: moved}, cotangents, sizes, held)))
        (right, up), (left, down) = sides
        result[i] = (up - down) / (right - left)
    return result


def steps(x: Array, step: float, near: bool) -> Array:
    """How far each element is moved: by that part of 1, or of itself if it is larger, or if it is `near` 0."""
    size = np.abs(x)
    return step * (np.where(size > 0, size, 1.0) if near else np.maximum(size, 1.0))


def directional(
    formula: str | Formula,
    arrays: Mapping[str, ArrayLike],
    cotangents: Mapping[str, ArrayLike],
    directions: Mapping[str, ArrayLike],
    sizes: Mapping[str, int] | None = None,
    step: float = STEP,
) -> float:
    """The derivative of `<dY, Y>` along `directions` (by input): equals `Σ <gradient, direction>`."""
    f = read(formula) if isinstance(formula, str) else formula

    def at(t: float) -> float:
        moved = {n: np.asarray(arrays[n], dtype=float) + t * np.asarray(d, dtype=float) for n, d in directions.items()}
        return pairing(f, {**arrays, **moved}, cotangents, sizes)

    return (at(step) - at(-step)) / (2 * step)


def direction(shape: tuple[int, ...], seed: int) -> Array:
    """A random direction: each element ±1, so that none is too small to be seen."""
    return np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=shape)
