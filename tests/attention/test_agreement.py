"""Attention in tiles against the independent autodiff and against the plan that keeps its n x n tensors."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from ml_dtypes import bfloat16

from derive.run import Compiled, compile
from tests.attention.spellings import SPELLINGS
from tests.attention.variants import VARIANTS, Variant
from tests.corpus import error
from tests.oracle import differentiate

LENGTHS = (1, 2, 17, 63, 64, 65, 129, 257)
QUICK = (1, 17, 64, 129)
CORE = ("causal", "multihead", "grouped", "alibi", "window", "shared_bias", "projected")
ALL = {**VARIANTS, **SPELLINGS}
ALIKE = (  # they come to the plan of another one
    *("scaled_by_size", "scaled_by_root", "scaled_by_power", "scaled_by_param", "scaled_inside", "scaled_sides"),
    *("mask_in_place", "added_mask", "prefix", "blocks", "strided", "clamped", "one_line", "explicit", "other_letters"),
)
BOUND = {"float64": (2e-12, 1e-3), "float32": (2e-5, 0.1)}  # of the largest entry, and the least that counts as large


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    every = metafunc.config.getoption("--corpus") == "all"
    if "length" in metafunc.fixturenames:
        metafunc.parametrize("length", LENGTHS if every else QUICK)
    if "variant" in metafunc.fixturenames:
        metafunc.parametrize("variant", VARIANTS if every else CORE)


@cache
def operation(name: str, dtype: str, attention: str = "fused") -> Compiled:
    return compile(ALL[name].text, dtype, "emulator", attention=attention)


def cotangents(name: str, arrays: dict[str, Any]) -> dict[str, Any]:
    op = operation(name, "float64")
    sizes = {e: n for t in op.forward_program.inputs for e, n in zip(t.axes, arrays[t.name].shape, strict=True)}
    rng = np.random.default_rng(5)
    return {o: rng.standard_normal([sizes[e] for e in op.forward_program.axes(o)]) for o in op.forward_program.outputs}


def compare(name: str, dtype: str, arrays: dict[str, Any], bound: float, floor: float) -> dict[str, Any]:
    variant = ALL[name]
    given = cotangents(name, arrays)
    wrt = [n for n, a in arrays.items() if a.dtype.kind == "f" and n not in variant.fixed]
    expected = differentiate(variant.text, arrays, given, wrt, {})
    found = operation(name, dtype).run(arrays, given)
    for o in given:
        assert error(found[o], expected.values[o], floor) < bound, o
    for n in wrt:
        off, granted = error(found["d" + n], expected.gradients[n], floor), bound
        if off >= bound:  # a sum whose terms cancel, as a scalar's over all pairs, loses as much without tiles
            plain = operation(name, dtype, "unfused").run(arrays, given)
            granted += 2*error(plain["d" + n], expected.gradients[n], floor)
        assert off < granted, "d" + n
    return found


def lengths(variant: Variant, length: int) -> tuple[int, int]:
    """Queries and keys: as many of both where the formula asks for it, else different ones."""
    return length, length if variant.square else max(1, length - 3 if length % 2 else length + 5)


@pytest.mark.parametrize("dtype", BOUND)
def test_tiles_agree_with_an_independent_autodiff(variant: str, dtype: str, length: int) -> None:
    compare(variant, dtype, VARIANTS[variant].arrays(*lengths(VARIANTS[variant], length)), *BOUND[dtype])


@pytest.mark.parametrize("name", [n for n in VARIANTS if n not in CORE])
def test_the_other_variants(name: str) -> None:
    compare(name, "float32", VARIANTS[name].arrays(65, 65), *BOUND["float32"])


@pytest.mark.parametrize("name", [n for n in SPELLINGS if n not in ALIKE])
def test_the_same_in_other_words(name: str) -> None:
    compare(name, "float64", SPELLINGS[name].arrays(*lengths(SPELLINGS[name], 67)), *BOUND["float64"])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [*BOUND, "float16", "bfloat16"])
@pytest.mark.parametrize("name", ALL)
def test_everything_at_every_length(name: str, dtype: str) -> None:
    for length in LENGTHS:
        arrays = ALL[name].arrays(*lengths(ALL[name], length))
        if dtype in BOUND:
            compare(name, dtype, arrays, BOUND[dtype][0], 0.1)
        else:
            narrow(name, dtype, arrays)


def test_tiles_agree_with_the_unfused_plan(variant: str) -> None:
    arrays = VARIANTS[variant].arrays(66, 66)
    given = cotangents(variant, arrays)
    fused, unfused = (operation(variant, "float64", a).run(arrays, given) for a in ("fused", "unfused"))
    for key in unfused:
        assert error(fused[key], unfused[key]) < 1e-11, key


@pytest.mark.parametrize("name", ["plain", "causal", "window", "alibi"])
def test_scores_of_two_hundred_stay_finite_and_right(name: str) -> None:
    variant = VARIANTS[name]
    arrays = variant.arrays(65, 65, seed=3)
    top = np.abs(np.einsum("...td,...sd->...ts", arrays["Q"], arrays["K"])).max()
    factor = 0.3 if name == "window" else 0.25
    arrays["Q"] *= 200 / factor / top
    compare(name, "float64", arrays, 1e-11, 1e-3)
    compare(name, "float32", arrays, 1e-4, 0.1)  # scores of 200 are rounded to 1e-5 before they are exponentiated


@pytest.mark.parametrize(("d", "v"), [(16, 16), (33, 17), (64, 64), (80, 96), (128, 128), (1, 130)])
def test_heads_of_every_size(d: int, v: int) -> None:
    variant = Variant(VARIANTS["causal"].text, {"h": 2, "d": d, "v": v})
    for dtype, (bound, floor) in BOUND.items():
        compare("causal", dtype, variant.arrays(70, 67), bound, floor)


@pytest.mark.parametrize("dtype", BOUND)
def test_a_row_that_is_masked_whole_gives_zeros(dtype: str) -> None:
    arrays = VARIANTS["padding"].arrays(65, 70)
    arrays["lengths"] = np.array([0, 70, 1])
    found = compare("padding", dtype, arrays, *BOUND[dtype])
    for name in ("O", "dQ", "dK", "dV"):
        assert not found[name][0].any(), name
    assert not found["dK"][2, 1:].any()


NARROW = {"float16": 1e-3, "bfloat16": 8e-3}  # two roundings of what is written


def narrow(name: str, dtype: str, arrays: dict[str, Any]) -> None:
    """16-bit kernels against float64 ones of the same rounded inputs."""
    given = cotangents(name, arrays)
    fixed = ALL[name].fixed  # masks of 0 and -1e30
    arrays, given = ({n: a if n in fixed else rounded(a, dtype) for n, a in x.items()} for x in (arrays, given))
    expected = operation(name, "float64").run(arrays, given)
    found = operation(name, dtype).run(arrays, given)
    for key, value in expected.items():
        assert error(found[key].astype(float), value, 0.1) < NARROW[dtype], key


def rounded(a: Any, dtype: str) -> Any:
    """What storage in 16 bits leaves of an array."""
    return a.astype(bfloat16 if dtype == "bfloat16" else dtype).astype(float) if a.dtype.kind == "f" else a


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_storage(dtype: str, n: int) -> None:
    narrow("causal", dtype, VARIANTS["causal"].arrays(n, n))


@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_storage_where_few_keys_count(dtype: str) -> None:
    """Gradients of scores that nearly cancel: the row term is taken of the output as it was before rounding."""
    narrow("scaled_by_scalar", dtype, SPELLINGS["scaled_by_scalar"].arrays(5, 5, scale=3))
