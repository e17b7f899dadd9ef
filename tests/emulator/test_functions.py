"""CUDA's mathematics by name, against mpmath: special functions, and every rounding that a name asks for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

import derive.emulator as em

MPF = Callable[..., Any]


def evaluate(expressions: list[str], result: type, types: dict[str, str], *arrays: np.ndarray) -> np.ndarray:
    """Each expression of the named parameters, one row each, by one kernel."""
    ctype = {np.float32: "float", np.float64: "double", np.uint32: "unsigned", np.int32: "int"}[result]
    parameters = "".join(f"const {t}* {name}_, " for name, t in types.items())
    loads = " ".join(f"{t} {name} = {name}_[i];" for name, t in types.items())
    rows = "\n".join(f"  out[{k} * n + i] = {e};" for k, e in enumerate(expressions))
    code = f"""
extern "C" __global__ void each({parameters}{ctype}* out, int n) {{
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  {loads}
{rows}
}}
"""
    n = len(arrays[0])
    out = np.empty((len(expressions), n), result)
    em.RawModule(code=code).get_function("each")(((n + 127) // 128,), (128,), (*arrays, out, np.int32(n)))
    return out


def both(*positive: float) -> list[float]:
    return [*positive, *(-x for x in positive)]


TINY = [1e-300, 1e-30, 1e-9, 1e-4, 0.01]
MIDDLE = [0.1, 0.3, 0.4999, 0.5, 0.75, 1.0, 1.5, 2.5, 3.7, 5.0, 8.0]
PROBABILITY = [*TINY, 0.0999, 0.25, 0.4, 0.4999999, 0.5, 0.50001, 0.6, 0.75, 0.9, 0.99, 0.999999]
mp = mpmath.mp


def _erfcinv(y: Any) -> Any:
    start = mpmath.sqrt(-mpmath.log(y)) if y < 0.1 else mpmath.erfinv(1 - y)
    return mpmath.findroot(lambda x: mpmath.log(mpmath.erfc(x)) - mpmath.log(y), start, tol=mp.mpf(2) ** -200)


# Name: the function, where it is asked, and the error in units of the last place that is allowed for double.
SPECIAL: dict[str, tuple[MPF, list[float], int]] = {
    "erfcx": (lambda x: mpmath.exp(x * x) * mpmath.erfc(x), [*both(*TINY, *MIDDLE), 20.0, 24.99, 25.0, 80.0, 1e6], 16),
    "erfinv": (mpmath.erfinv, both(*TINY[2:], 0.1, 0.3, 0.4999, 0.5, 0.500001, 0.75, 0.9, 0.999), 6),
    "erfcinv": (_erfcinv, [*PROBABILITY, 1.0001, 1.3, 1.6, 1.99], 6),
    "normcdf": (mpmath.ncdf, both(*TINY, *MIDDLE, 20.0, 37.0), 16),
    "normcdfinv": (lambda p: -mpmath.sqrt(2) * _erfcinv(2 * p), PROBABILITY, 6),
    "sinpi": (mpmath.sinpi, both(*TINY, *MIDDLE, 0.4999999999, 1e6 + 0.25), 3),
    "cospi": (mpmath.cospi, both(*TINY, *MIDDLE, 0.4999999999, 1e6 + 0.25), 3),
    "rcbrt": (lambda x: mpmath.sign(x) / mpmath.cbrt(abs(x)), both(*TINY, *MIDDLE), 3),
    "exp10": (lambda x: mp.mpf(10) ** x, both(*TINY, *MIDDLE), 3),
    "cyl_bessel_i0": (lambda x: mpmath.besseli(0, x), both(*TINY, *MIDDLE, 29.0, 31.0, 80.0, 600.0), 12),
    "cyl_bessel_i1": (lambda x: mpmath.besseli(1, x), both(*TINY, *MIDDLE, 29.0, 31.0, 80.0, 600.0), 12),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_special_functions(dtype: type) -> None:
    asked = sorted({x for _, points, _ in SPECIAL.values() for x in points})
    x = np.array(asked, dtype)
    names = [name + ("f" if dtype is np.float32 else "") for name in SPECIAL]
    got = evaluate([f"{name}(x)" for name in names], dtype, {"x": "float" if dtype is np.float32 else "double"}, x)
    worst = {}
    with mp.workprec(240):
        for row, (name, (function, points, allowed)) in zip(got, SPECIAL.items(), strict=True):
            limit = 1 if dtype is np.float32 else allowed
            for value, at in zip(row, x, strict=True):
                if dtype(at) not in [dtype(p) for p in points] or (at in (0, 1) and dtype is np.float32):
                    continue
                exact = function(mp.mpf(float(at)))
                with np.errstate(over="ignore", under="ignore"):
                    near = dtype(float(exact))
                if np.isfinite(near) and near != 0:
                    off = float(abs(mp.mpf(float(value)) - exact) / mp.mpf(float(np.spacing(abs(near)))))
                else:
                    off = 0 if value == near else np.inf
                if off > limit:
                    worst[name, float(at)] = (float(value), float(exact), off)
    assert not worst


def test_bessel_functions_of_both_kinds() -> None:
    x = np.array([0.01, 0.5, 1.0, 2.4, 5.5, 13.0, 40.0])
    calls = {
        "j0(x)": (0, "j"),
        "j1(x)": (1, "j"),
        "jn(3, x)": (3, "j"),
        "y0(x)": (0, "y"),
        "y1(x)": (1, "y"),
        "yn(2, x)": (2, "y"),
    }
    got = evaluate(list(calls), np.float64, {"x": "double"}, x)
    single = evaluate([c.replace("(", "f(", 1) for c in calls], np.float32, {"x": "float"}, x.astype(np.float32))
    for row, narrow, (order, kind) in zip(got, single, calls.values(), strict=True):
        want = [float({"j": mpmath.besselj, "y": mpmath.bessely}[kind](order, mp.mpf(v))) for v in x]
        np.testing.assert_allclose(row, want, rtol=2e-14, atol=2e-15)
        np.testing.assert_allclose(narrow, want, rtol=3e-6, atol=1e-7)


def test_edges_of_special_functions() -> None:
    """As the tables of CUDA's mathematical functions have them."""
    inf, nan = "(1.0 / (x - x))", 'nan("")'
    want = {
        f"erfcx({inf})": 0.0,
        f"erfcx(-{inf})": np.inf,
        "erfinv(x)": np.inf,
        "erfinv(-x)": -np.inf,
        "erfinv(x + 1)": np.nan,
        "erfcinv(x - x)": np.inf,
        "erfcinv(x + x)": -np.inf,
        "erfcinv(-x)": np.nan,
        "normcdfinv(x)": np.inf,
        "normcdfinv(x - x)": -np.inf,
        f"normcdf({inf})": 1.0,
        f"normcdf(-{inf})": 0.0,
        "yn(2, -x)": np.nan,
        "jn(-1, x)": np.nan,
        "y0(x - x)": -np.inf,
        f"cyl_bessel_i1(-{inf})": -np.inf,
        "cyl_bessel_i0(x - x)": 1.0,
        "norm3d(3e300, 4e300, 12e300)": 13e300,
        f"norm3d({inf}, {nan}, x)": np.inf,
        "rnorm4d(1.0, 1.0, 1.0, 1.0)": 0.5,
        "rhypot(3.0, 4.0)": 0.2,
        f"rnorm3d({inf}, x, x)": 0.0,
        "norm3df(2e38f, 0.0f, 0.0f)": np.float32(2e38),
        "rnorm4df(2e-30f, 2e-30f, 2e-30f, 2e-30f)": np.float32(2.5e29),
        "scalbln(x, 1000000000000l)": np.inf,
        "scalblnf(3.0f, -2l)": 0.75,
        '__saturatef(nanf(""))': 0.0,
        "fdivide(x, 4.0)": 0.25,
        "__cos2pif(0.25f)": 0.0,
    }
    got = evaluate(list(want), np.float64, {"x": "double"}, np.ones(1))[:, 0]
    np.testing.assert_allclose(got, list(want.values()), rtol=1e-15)


ROUNDINGS = ("rn", "rz", "ru", "rd")


def rounded(near: Any, exact: Fraction | float, dtype: type, mode: str) -> Any:
    """The number of the type next to an exact one, on the side that the mode asks for; `near` is within one of it."""
    if not isinstance(exact, Fraction):
        return dtype(exact)
    top = Fraction(float(np.finfo(dtype).max))
    down = {"rd": True, "ru": False, "rz": exact > 0}[mode]
    if abs(exact) > top:
        return dtype(np.sign(exact) * (np.finfo(dtype).max if down == (exact > 0) else np.inf))
    value = near if np.isfinite(near) else np.sign(near) * np.finfo(dtype).max
    if down and Fraction(float(value)) > exact:
        value = np.nextafter(value, dtype(-np.inf))
    if not down and Fraction(float(value)) < exact:
        value = np.nextafter(value, dtype(np.inf))
    return dtype(value)


OPERATIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add(x, y)": lambda x, y, z: x + y,
    "sub(x, y)": lambda x, y, z: x - y,
    "mul(x, y)": lambda x, y, z: x * y,
    "div(x, y)": lambda x, y, z: x / y,
    "fma(x, y, z)": lambda x, y, z: x * y + z,
    "rcp(y)": lambda x, y, z: 1 / y,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_roundings_by_name(dtype: type) -> None:
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    scales = 10.0 ** rng.integers(-1, 2, size=(3, 60))
    x, y, z = (rng.normal(size=(3, 60)) * scales).astype(dtype)
    edges = np.array([info.max, info.smallest_normal, 3 * info.smallest_subnormal, 1, 1.5], dtype)
    pairs = np.array(list(itertools.product(edges, edges)), dtype)
    x, y = np.concatenate([x, pairs[:, 0]]), np.concatenate([y, pairs[:, 1]])
    z = np.concatenate([z, np.full(len(pairs), info.smallest_subnormal, dtype)])
    letter = "f" if dtype is np.float32 else "d"
    fused = "__fmaf" if letter == "f" else "__fma"
    names = [o.replace("fma", fused) if o.startswith("fma") else f"__{letter}{o}" for o in OPERATIONS]
    calls = [n.replace("(", f"_{mode}(") for n in names for mode in ROUNDINGS]
    ctype = "float" if dtype is np.float32 else "double"
    got = iter(evaluate(calls, dtype, {"x": ctype, "y": ctype, "z": ctype}, x, y, z))
    for what, operation in OPERATIONS.items():
        exact = [operation(*(Fraction(float(v)) for v in values)) for values in zip(x, y, z, strict=True)]
        near = next(got)
        for mode in ROUNDINGS[1:]:
            want = np.array([rounded(n, e, dtype, mode) for n, e in zip(near, exact, strict=True)])
            np.testing.assert_array_equal(next(got), want, err_msg=f"{what} {mode}")
    positive = np.abs(x)
    roots = evaluate([f"__{letter}sqrt_{mode}(x)" for mode in ROUNDINGS], dtype, {"x": ctype}, positive)
    for v, nearest, zero, up, down in zip(positive, *roots, strict=True):
        exact_square = Fraction(float(v))
        assert zero == down <= nearest <= up
        assert Fraction(float(down)) ** 2 <= exact_square <= Fraction(float(up)) ** 2
        assert up == down if Fraction(float(down)) ** 2 == exact_square else up == np.nextafter(down, dtype(np.inf))


def test_conversions_round_as_their_names_say() -> None:
    rng = np.random.default_rng(1)
    big = np.concatenate([rng.integers(-(2**63), 2**63, 60), rng.integers(-(2**31), 2**31, 20), [2**63 - 1, -(2**63)]])
    calls = {
        f"__{source}2{to}_{mode}({cast}v)": (source, dtype, mode)
        for source, cast in (("ll", ""), ("ull", "(unsigned long long)"), ("int", "(int)"), ("uint", "(unsigned)"))
        for to, dtype in (("float", np.float32), ("double", np.float64))
        for mode in ROUNDINGS[1:]
        if to == "float" or "ll" in source
    }
    got = evaluate(list(calls), np.float64, {"v": "long long"}, big)
    for row, (call, (source, dtype, mode)) in zip(got, calls.items(), strict=True):
        given = big.astype({"ll": "i8", "ull": "u8", "int": "i4", "uint": "u4"}[source])
        want = [rounded(dtype(v), Fraction(int(v)), dtype, mode) for v in given]
        np.testing.assert_array_equal(row, np.array(want, float), err_msg=call)
    wide = np.concatenate([rng.normal(size=40) * 10.0 ** rng.integers(-46, 40, 40), [1e-50, -1e-50, 1e39, -1e39]])
    got = evaluate([f"__double2float_{mode}(v)" for mode in ROUNDINGS], np.float64, {"v": "double"}, wide)
    with np.errstate(over="ignore"):
        near = wide.astype(np.float32)
    np.testing.assert_array_equal(got[0], near)
    for row, mode in zip(got[1:], ROUNDINGS[1:], strict=True):
        want = [rounded(n, Fraction(v), np.float32, mode) for n, v in zip(near, wide, strict=True)]
        np.testing.assert_array_equal(row, np.array(want, float), err_msg=mode)


def test_second_results_are_stores_that_check_mode_sees() -> None:
    code = """
extern "C" __global__ void parts(const double* x, double* fraction, int* exponent, double* whole, int* quotient) {
  int i = threadIdx.x;
  fraction[i] = frexp(x[i], &exponent[i]) + 0.0 * modf(x[i], &whole[i]);
  remquo(x[i], 3.0, &quotient[i]);
}
"""
    x = np.array([10.75, -3.5, 0.0, 100.0])
    fraction, exponent, whole, quotient = np.empty(4), np.empty(4, np.int32), np.empty(4), np.empty(3, np.int32)
    names = ("fraction", "exponent", "whole", "quotient")
    kernel = em.RawModule(code=code, check=True, uninitialized=names).get_function("parts")
    with pytest.raises(em.CheckError) as found:
        kernel((1,), (4,), (x, fraction, exponent, whole, quotient))
    assert {(r.kind, r.line) for r in found.value.reports} == {("out-of-bounds", 5)}
    quotient = np.empty(4, np.int32)
    kernel((1,), (4,), (x, fraction, exponent, whole, quotient))
    np.testing.assert_array_equal(fraction, np.frexp(x)[0])
    np.testing.assert_array_equal(exponent, np.frexp(x)[1])
    np.testing.assert_array_equal(whole, np.modf(x)[1])
    np.testing.assert_array_equal(quotient & 7, np.array([4, -1, 0, 33]) & 7)


def test_numbers_of_two_types_meet_as_under_nvrtc() -> None:
    want = {
        "sizeof(pow(k, f))": 4, "sizeof(pow(f, k))": 4, "sizeof(pow(k, d))": 8, "sizeof(fmax(f, k))": 4,
        "sizeof(fmod(k, f))": 4, "sizeof(fdim(f, k))": 4, "sizeof(fmax(k, d))": 8, "sizeof(hypot(d, f))": 8,
        "pow(2, f)": 8, "fmod(7, f)": 1, "fmax(f, 5)": 5, "fdim(f, k)": 1, "pow(k, 10)": 1024, "atan2(0, k)": 0,
    }  # fmt: skip
    types = {"k": "int", "f": "float", "d": "double"}
    numbers = np.array([2], np.int32), np.array([3], np.float32), np.array([4.0])
    got = evaluate(list(want), np.int32, types, *numbers)[:, 0]
    assert dict(zip(want, got.tolist(), strict=True)) == want
