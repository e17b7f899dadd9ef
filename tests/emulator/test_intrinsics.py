"""CUDA's integer, SIMD and 16-bit floating-point intrinsics, against NumPy."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

import derive.emulator as em
from tests.emulator.test_functions import ROUNDINGS, evaluate

Words = np.ndarray
WIDE = np.int64
EDGES = np.array([0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7F80FF01, 0x80808080, 0x80007FFF, 0x7FFFFFFF, 0x80000000, 2**32 - 1])


def words(count: int) -> list[Words]:
    """Random words, and every pair of edges."""
    rng = np.random.default_rng(0)
    random = rng.integers(0, 2**32, size=(3, count))
    a, b = (m.ravel() for m in np.meshgrid(EDGES, EDGES))
    return [
        np.concatenate([random[0], a]).astype(np.uint32),
        np.concatenate([random[1], b]).astype(np.uint32),
        np.concatenate([random[2], a[::-1]]).astype(np.uint32),
    ]


def distance(x: Words, y: Words) -> Words:
    return np.abs(x - y)


def average(x: Words, y: Words) -> Words:
    return (x + y + (x + y >= 0)) >> 1


# Of parts: signed and unsigned where both have the stem, by the letter that its name ends in.
PARTS: dict[str, Callable[[Words, Words], Words]] = {
    "vavgs": average,
    "vavgu": average,
    "vabsdiffs": distance,
    "vabsdiffu": distance,
    "vmaxs": np.maximum,
    "vmaxu": np.maximum,
    "vmins": np.minimum,
    "vminu": np.minimum,
    "vaddu": np.add,
    "vsubu": np.subtract,
    "vhaddu": lambda x, y: (x + y) >> 1,
    "vaddsss": np.add,
    "vaddusu": np.add,
    "vsubsss": np.subtract,
    "vsubusu": np.subtract,
    **{
        f"{kind}{name}{sign}": compare
        for kind in ("vset", "vcmp")
        for sign in "su"
        for name, compare in {"ge": np.greater_equal, "gt": np.greater, "le": np.less_equal, "lt": np.less}.items()
    },
    **{
        f"{kind}{name}u": compare
        for kind in ("vset", "vcmp")
        for name, compare in {"eq": np.equal, "ne": np.not_equal}.items()
    },
}
SIGNLESS = ("vaddu", "vsubu", *(f"{kind}{name}u" for kind in ("vset", "vcmp") for name in ("eq", "ne")))
SATURATING = ("vaddsss", "vaddusu", "vsubsss", "vsubusu")


def test_parts_of_words() -> None:
    a, b, c = words(64)
    calls: dict[str, Words] = {}
    for parts in (2, 4):
        bits = 32 // parts
        for name, function in PARTS.items():
            dtype = np.dtype(f"{'i' if name.endswith('s') else 'u'}{bits // 8}")
            x, y = (w.view(dtype).astype(WIDE) for w in (a, b))
            value = function(x, y).astype(WIDE)
            if name.startswith("vcmp"):
                value = -value
            if name in SATURATING:
                value = np.clip(value, np.iinfo(dtype).min, np.iinfo(dtype).max)
            plain = name[:-1] if name in SIGNLESS or name in SATURATING else name
            calls[f"__{plain}{parts}(a, b)"] = value.astype(f"u{bits // 8}").view(np.uint32)
        signed = a.view(f"i{bits // 8}").astype(WIDE)
        top = (1 << (bits - 1)) - 1
        for name, value in {
            "vabs": abs(signed),
            "vneg": -signed,
            "vabsss": np.minimum(abs(signed), top),
            "vnegss": np.minimum(-signed, top),
        }.items():
            calls[f"__{name}{parts}(a)"] = value.astype(f"u{bits // 8}").view(np.uint32)
        for sign in "su":
            x, y = (w.view(f"{'i' if sign == 's' else 'u'}{bits // 8}").astype(WIDE) for w in (a, b))
            calls[f"__vsad{sign}{parts}(a, b)"] = abs(x - y).reshape(-1, parts).sum(1).astype(np.uint32)
    for suffix, dtype in {"s32": "i4", "u32": "u4", "s16x2": "i2", "u16x2": "u2"}.items():
        x, y, z = (w.view(dtype).astype(WIDE) for w in (a, b, c))
        wrapped = (x + y).astype(dtype).astype(WIDE)
        for name, value in {
            "viaddmax": np.maximum(wrapped, z),
            "viaddmin": np.minimum(wrapped, z),
            "vimax3": np.maximum(np.maximum(x, y), z),
            "vimin3": np.minimum(np.minimum(x, y), z),
        }.items():
            calls[f"__{name}_{suffix}(a, b, c)"] = value.astype(dtype).view(np.uint32)
            if suffix[0] == "s":
                calls[f"__{name}_{suffix}_relu(a, b, c)"] = np.maximum(value, 0).astype(dtype).view(np.uint32)
        if suffix[0] == "s":
            calls[f"__vimax_{suffix}_relu(a, b)"] = np.maximum(np.maximum(x, y), 0).astype(dtype).view(np.uint32)
            calls[f"__vimin_{suffix}_relu(a, b)"] = np.maximum(np.minimum(x, y), 0).astype(dtype).view(np.uint32)
        halves = suffix.endswith("x2")
        for name, best, holds in (("max", np.maximum, x >= y), ("min", np.minimum, x <= y)):
            flags = holds.astype(np.uint32)
            flags = flags.reshape(-1, 2)[:, 1] * 2 + flags.reshape(-1, 2)[:, 0] if halves else flags
            given, packed = ("&p, &q", "2 * p + q") if halves else ("&p", "p")
            body = f"bool p, q; unsigned r = __vib{name}_{suffix}(a, b, {given}); return r ^ 0x9e3779b9u * ({packed});"
            call = f"[&] {{ {body} }}()"
            value = best(x, y).astype(dtype).view(np.uint32)
            calls[call] = value ^ (np.uint32(0x9E3779B9) * flags.astype(np.uint32))
    got = evaluate(list(calls), np.uint32, {"a": "unsigned", "b": "unsigned", "c": "unsigned"}, a, b, c)
    wrong = [call for row, (call, want) in zip(got, calls.items(), strict=True) if not np.array_equal(row, want)]
    assert not wrong


def found_bit(mask: int, base: int, offset: int) -> int:
    step = 1 if offset >= 0 else -1
    places = range(base, 32) if step > 0 else range(base, -1, -1)
    found = [p for p in places if mask >> p & 1]
    if offset == 0:
        return base if mask >> base & 1 else 2**32 - 1
    return found[abs(offset) - 1] if len(found) >= abs(offset) else 2**32 - 1


def test_whole_words() -> None:
    a, b, c = words(64)
    signed = [w.view(np.int32).astype(WIDE) for w in (a, b)]
    x, y = (w.astype(WIDE) for w in (a, b))

    def dot(sign: str, wide: int, first: int) -> Words:
        left = a.view(f"{sign}{wide}").astype(WIDE).reshape(len(a), -1)
        right = b.view(f"{sign}1").astype(WIDE).reshape(len(a), -1)[:, first : first + left.shape[1]]
        return (c.astype(WIDE) + (left * right).sum(1)).astype(np.uint32)

    shift = (c % 64).astype(WIDE)
    offset = (c % 7).astype(WIDE) - 3
    calls = {
        "__hadd((int)a, (int)b)": (signed[0] + signed[1]) >> 1,
        "__rhadd((int)a, (int)b)": (signed[0] + signed[1] + 1) >> 1,
        "__uhadd(a, b)": (x + y) >> 1,
        "__urhadd(a, b)": (x + y + 1) >> 1,
        "__dp4a(a, b, c)": dot("u", 1, 0),
        "__dp4a((int)a, (int)b, (int)c)": dot("i", 1, 0),
        "__dp2a_lo(a, b, c)": dot("u", 2, 0),
        "__dp2a_lo((int)a, (int)b, (int)c)": dot("i", 2, 0),
        "__dp2a_hi(a, b, c)": dot("u", 2, 2),
        "__dp2a_hi((int)a, (int)b, (int)c)": dot("i", 2, 2),
        "__dp2a_hi(*(short2*)&a, *(char4*)&b, (int)c)": dot("i", 2, 2),
        "__dp4a(*(uchar4*)&a, *(uchar4*)&b, c)": dot("u", 1, 0),
        "__fns(a, b % 32, (int)(c % 7) - 3)": [found_bit(*map(int, v)) for v in zip(a, b % 32, offset, strict=True)],
        "umin(a, b)": np.minimum(a, b),
        "(unsigned)llmax((int)a, (int)b)": np.maximum(*signed),
        "__brev(a)": np.array([int(f"{v:032b}"[::-1], 2) for v in a]),
        "(unsigned)__brevll(a)": np.zeros(len(a), int),
        "__clz((int)a)": np.array([32 - int(v).bit_length() for v in a]),
        "__ffsll((long long)b << 32)": np.array([(int(v) & -int(v)).bit_length() + 32 if v else 0 for v in b]),
        "__mulhi((int)a, (int)b)": signed[0] * signed[1] >> 32,
        "__umulhi(a, b)": (a.astype(object) * b) // 2**32,
        "__mul24((int)a, (int)b)": ((signed[0] << 40) >> 40) * ((signed[1] << 40) >> 40),
        "__usad(a, b, c)": abs(x - y) + c,
        "__sad((int)a, (int)b, c)": abs(signed[0] - signed[1]) + c,
        "__funnelshift_lc(a, b, c % 64)": [
            (int(h) << 32 | int(l)) << min(int(s), 32) >> 32 & 0xFFFFFFFF for l, h, s in zip(a, b, shift, strict=True)
        ],
    }
    got = evaluate(list(calls), np.uint32, {"a": "unsigned", "b": "unsigned", "c": "unsigned"}, a, b, c)
    for row, (call, want) in zip(got, calls.items(), strict=True):
        np.testing.assert_array_equal(row, np.array([int(v) & 0xFFFFFFFF for v in want], np.uint32), err_msg=call)


SMALL = r"""
#include <cuda_fp16.h>
#include <cuda_bf16.h>
typedef FLOAT F;
typedef FLOAT2 F2;
extern "C" __global__ void pairs(const F* a_, const F* b_, const F* c_, F* out, unsigned* masks, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  F a = a_[i], b = b_[i], c = c_[i];
  F2 p(a, b), q(b, c), r(c, a);
  F2 got[] = { PAIRS };
  for (int k = 0; k < sizeof(got) / sizeof(F2); ++k) out[(2*k) * n + i] = got[k].x, out[(2*k + 1) * n + i] = got[k].y;
  unsigned mask[] = { MASKS };
  for (int k = 0; k < sizeof(mask) / sizeof(unsigned); ++k) masks[k * n + i] = mask[k];
}
extern "C" __global__ void integers(const long long* v_, float* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  long long v = v_[i];
  F got[] = { CONVERSIONS };
  for (int k = 0; k < sizeof(got) / sizeof(F); ++k) out[k * n + i] = float(got[k]);
}
"""
COMPARE = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
FORMATS = {
    "half": ("__half", "__half2", np.float16),
    "bfloat16": ("__nv_bfloat16", "__nv_bfloat162", ml_dtypes.bfloat16),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_small_floats(name: str) -> None:
    ctype, pair, dtype = FORMATS[name]
    rng = np.random.default_rng(0)
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, 0.25, -0.5])
    a, b, c = (
        np.concatenate([rng.normal(size=60), m.ravel()]).astype(dtype)
        for m in np.meshgrid(special, special, special[:3])
    )
    wide = [v.astype(float) for v in (a, b, c)]
    lows, highs = wide, [wide[1], wide[2], wide[0]]

    def saturated(v: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(v), 0, np.clip(v, 0, 1))

    def relu(v: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(v), v, np.maximum(v, 0))

    def least(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where((x == 0) & (y == 0), np.where(np.signbit(x), x, y), np.fmin(x, y))

    def unless_nan(f: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        return lambda x, y, z: np.where(np.isnan(x) | np.isnan(y), np.nan, f(x, y))

    def most(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return -least(-x, -y)

    pairs: dict[str, Callable[..., np.ndarray]] = {
        "__hadd2_sat(p, q)": lambda x, y, z: saturated(x + y),
        "__hsub2_sat(p, q)": lambda x, y, z: saturated(x - y),
        "__hmul2_sat(p, q)": lambda x, y, z: saturated(x * y),
        "__hfma2_sat(p, q, r)": lambda x, y, z: saturated(x * y + z),
        "__hfma2_relu(p, q, r)": lambda x, y, z: relu(x * y + z),
        "__hsub2_rn(p, q)": lambda x, y, z: x - y,
        "__hmax2(p, q)": lambda x, y, z: most(x, y),
        "__hmin2(p, q)": lambda x, y, z: least(x, y),
        "__hmax2_nan(p, q)": unless_nan(most),
        "__hmin2_nan(p, q)": unless_nan(least),
        "-p": lambda x, y, z: -x,
        "__hisnan2(p)": lambda x, y, z: np.isnan(x).astype(float),
        "h2tanh_approx(p)": lambda x, y, z: np.tanh(x),
    }
    masks: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for stem, compare in COMPARE.items():
        for suffix in ("", "u"):
            both = []
            for x, y, _ in (lows, highs):
                nan = np.isnan(x) | np.isnan(y)
                both.append(nan | compare(x, y) if suffix else ~nan & compare(x, y))
            low, high = both
            pairs[f"__h{stem}{suffix}2(p, q)"] = lambda x, y, z, low=low, high=high: (
                (low if x is lows[0] else high) * 1.0
            )
            masks[f"__h{stem}{suffix}2_mask(p, q)"] = low * 0xFFFF + high * 0xFFFF0000
            masks[f"__hb{stem}{suffix}2(p, q)"] = low & high
            masks[f"__h{stem}{suffix}(a, b)"] = low
    masks["p == q"], masks["p != q"] = masks["__hbeq2(p, q)"], masks["__hbneu2(p, q)"]
    masks["a != b"] = wide[0] != wide[1]
    masks[f"(unsigned char)__{name}2char_rz(a)"] = [
        int(np.clip(np.trunc(np.nan_to_num(v, nan=0.0)), -128, 127)) & 255 for v in wide[0]
    ]
    v = np.concatenate([rng.integers(-(2**63), 2**63, 60) >> rng.integers(0, 60, 60), [2**62 + 2**54 + 1, 2**63 - 1]])
    conversions = {
        (m, s): f"__{s}2{name}_{m}({'' if s == 'll' else '(int)'}v)" for m in ROUNDINGS for s in ("ll", "int")
    }
    code = SMALL.replace("CONVERSIONS", ", ".join(conversions.values())).replace("PAIRS", ", ".join(pairs))
    code = (
        code.replace("MASKS", ", ".join(f"unsigned({m})" for m in masks))
        .replace("FLOAT2", pair)
        .replace("FLOAT", ctype)
    )
    module, n = em.RawModule(code=code), len(a)
    out, seen = np.zeros((len(pairs), 2, n), dtype), np.zeros((len(masks), n), np.uint32)
    module.get_function("pairs")(((n + 63) // 64,), (64,), (a, b, c, out, seen, np.int32(n)))
    for got, (call, function) in zip(out, pairs.items(), strict=True):
        for part, side in zip(got, (lows, highs), strict=True):
            want = function(*side).astype(dtype)
            np.testing.assert_allclose(part.astype(float), want.astype(float), rtol=0, err_msg=call)
            if "max" in call or "min" in call:
                np.testing.assert_array_equal(np.signbit(part), np.signbit(want) & ~np.isnan(want), err_msg=call)
    for row, (call, expected) in zip(seen, masks.items(), strict=True):
        np.testing.assert_array_equal(row, np.asarray(expected).astype(np.uint32), err_msg=call)
    numbers = np.zeros((len(conversions), len(v)), np.float32)
    module.get_function("integers")((1,), (64,), (v, numbers, np.int32(len(v))))
    for row, ((mode, source), call) in zip(numbers, conversions.items(), strict=True):
        exact = [int(n) for n in (v if source == "ll" else v.astype(np.int32))]
        values = [nearest(n, dtype) if mode == "rn" else directed(n, dtype, mode) for n in exact]
        np.testing.assert_array_equal(row, np.array(values, np.float32), err_msg=call)


@functools.cache
def values_of(dtype: type) -> list[float]:
    every = np.arange(65536, dtype=np.uint16).view(dtype).astype(np.float64)
    return [float(v) for v in np.unique(every[~np.isnan(every)])]


def neighbours(number: int, dtype: type) -> tuple[float, float]:
    """The values of the format on both sides of an integer (Python compares them exactly); equal if it is one."""
    every = values_of(dtype)
    return every[bisect.bisect_right(every, number) - 1], every[bisect.bisect_left(every, number)]


def directed(number: int, dtype: type, mode: str) -> float:
    down, up = neighbours(number, dtype)
    return down if mode == "rd" or (mode == "rz" and number > 0) else up


def nearest(number: int, dtype: type) -> float:
    down, up = neighbours(number, dtype)
    if np.isinf(down) or np.isinf(up):
        top = float(ml_dtypes.finfo(dtype).max)
        half_step = (top - float(np.nextafter(dtype(top), dtype(0)))) / 2
        return float(np.sign(number) * (np.inf if abs(number) >= top + half_step else top))
    if number - int(down) != int(up) - number:
        return down if number - int(down) < int(up) - number else up
    return down if int(np.array(down, dtype).view(np.uint16)) % 2 == 0 else up


def test_small_floats_count_convert_and_show_their_bits() -> None:
    code = """
#include <cuda_fp16.h>
#include <cuda_bf16.h>
extern "C" __global__ void k(float* out) {
  __half h = 1.5f;
  __half2 pair(h, h);
  out[0] = h++, out[1] = h, out[2] = h--, out[3] = h;
  out[4] = (pair++).x, out[5] = pair.y, out[6] = (++pair).x, out[7] = (--pair).y;
  out[8] = static_cast<__half>(__nv_bfloat16(1.0078125f)), out[9] = float(__nv_bfloat16(__half(1.001f)));
  __half_raw raw = h;
  out[10] = raw.x, raw.x = 0x4000, out[11] = __half(raw), out[12] = (long)__half(-2.5f), out[13] = __half{} == h;
}
"""
    out = np.empty(14, np.float32)
    em.RawModule(code=code).get_function("k")((1,), (1,), (out,))
    want = [1.5, 2.5, 2.5, 1.5, 1.5, 2.5, 3.5, 2.5, 1.0078125, 1.0, 0x3E00, 2.0, -2, 0]
    np.testing.assert_array_equal(out, np.array(want, np.float32))
