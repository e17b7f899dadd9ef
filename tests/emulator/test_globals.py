"""`get_global`: variables of kernels, filled and read by the host as CuPy does it."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

import derive.emulator as cp

both = pytest.mark.parametrize("check", [False, True], ids=["fast", "check"])

KINDS = r"""
__constant__ float coef[4];
static __constant__ float hidden[4];
static __device__ int table[4];
__constant__ int scale = 3;
namespace ns { __device__ double offset[2] = {10, 20}; }
template <class T> __constant__ T power[2];
__device__ float total;
extern "C" __global__ void polynomial(float* x) {
  int i = threadIdx.x;
  x[i] = scale * coef[i] + hidden[i] * table[i] + (float)ns::offset[i % 2] * power<float>[i / 2];
  atomicAdd(&total, 1.0f);
}
extern "C" __global__ void count_up(float* at, int n) { if (threadIdx.x < n) at[threadIdx.x] += threadIdx.x; }
"""


def array(module: cp.RawModule, name: str, shape: Any, dtype: Any = np.float32) -> Any:
    return cp.ndarray(shape, dtype, module.get_global(name))


def run(module: cp.RawModule, name: str, threads: int, *args: Any) -> None:
    module.get_function(name)((1,), (threads,), args)


@both
def test_what_the_host_writes_is_read_and_what_kernels_write_is_seen(check: bool) -> None:
    # options: a module of its own, whose variables no other test has filled
    module = cp.RawModule(code=KINDS, options=("-DFIRST",), check=check)
    cp.ndarray((4,), cp.float32, memptr=module.get_global("coef"))[...] = [1, 2, 3, 4]
    array(module, "hidden", 4)[:] = [5, 6, 7, 8]  # nothing but the host writes these two: they are no zeros to fold
    array(module, "table", 4, np.int32)[:] = [1, 10, 100, 1000]
    scale, offset = array(module, "scale", (), np.int32), array(module, "_ZN2ns6offsetE", 2, np.float64)
    assert scale == 3
    np.testing.assert_array_equal(offset, [10, 20])
    offset[1] = 30
    array(module, "_Z5powerIfE", 2)[:] = [0.5, 0.25]
    total = array(module, "total", ())
    x, expected = np.zeros(4, np.float32), [3 + 5 + 5, 6 + 60 + 15, 9 + 700 + 2.5, 12 + 8000 + 7.5]
    run(module, "polynomial", 4, x)
    np.testing.assert_array_equal(x, expected)
    assert total == 4
    scale[...] = 0
    total += 100
    run(module, "polynomial", 4, x)
    np.testing.assert_array_equal(x, expected - 3 * np.arange(1, 5))
    assert total == 108


@both
def test_a_variable_is_an_argument_too(check: bool) -> None:
    module = cp.RawModule(code=KINDS, options=("-DSECOND",), check=check)
    coef, x = array(module, "coef", 4), np.zeros(4, np.float32)
    run(module, "count_up", 4, coef[1:], np.int32(3))
    np.testing.assert_array_equal(coef, [0, 0, 1, 2])
    run(module, "polynomial", 4, x)
    np.testing.assert_array_equal(x, [0, 0, 3, 6])
    other = cp.RawModule(code=KINDS, options=("-DTHIRD",), check=check)
    run(other, "count_up", 4, coef, np.int32(4))  # of another module: an array like any other
    np.testing.assert_array_equal(coef, [0, 1, 3, 5])
    run(module, "polynomial", 4, x)
    np.testing.assert_array_equal(x, [0, 3, 9, 15])


def test_an_access_past_the_end_is_found() -> None:
    module = cp.RawModule(code=KINDS, options=("-DFOURTH",), check=True)
    coef = array(module, "coef", 4)
    coef[...] = 1
    with pytest.raises(cp.CheckError, match=r"'coef': reads 4 bytes at byte 16, but it has 16 bytes") as error:
        run(module, "count_up", 8, coef, np.int32(5))
    assert {report.kind for report in error.value.reports} == {"out-of-bounds"}
    np.testing.assert_array_equal(coef, [1, 2, 3, 4])  # what was right has happened, as with any array


def test_what_the_host_wrote_outlives_a_crash() -> None:
    code = KINDS + 'extern "C" __global__ void crash() { *(volatile int*)8 = 1; }'
    module = cp.RawModule(code=code)
    array(module, "coef", 4)[...] = 2
    with pytest.raises(cp.CrashError):
        run(module, "crash", 1)
    x = np.zeros(4, np.float32)
    run(module, "polynomial", 4, x)
    np.testing.assert_array_equal(x, 6)


def test_a_variable_named_as_nvrtc_wants_it_is_made_of_its_template() -> None:
    code = 'template <class T> __device__ T one = 1; extern "C" __global__ void k() {}'
    module = cp.RawModule(code=code, name_expressions=["&one<double>"])
    assert array(module, "_Z3oneIdE", (), np.float64) == 1


def test_pointers_copy_and_fill() -> None:
    module = cp.RawModule(code=KINDS, options=("-DFIFTH",))
    pointer, coef = module.get_global("coef"), array(module, "coef", 4)
    given = np.array([1, 2, 3, 4], np.float32)
    pointer.copy_from_host(given.ctypes.data_as(ctypes.c_void_p), given.nbytes)
    np.testing.assert_array_equal(coef, given)
    (pointer + 8).memset(0, 8)
    pointer.copy_to_host(given.ctypes.data, given.nbytes)
    np.testing.assert_array_equal(given, [1, 2, 0, 0])
    (pointer + 12 - 4).copy_from(pointer, 8)
    np.testing.assert_array_equal(coef, [1, 2, 1, 2])
    assert int(pointer + 4) == pointer.ptr + 4


def test_what_does_not_exist_or_fit_is_said() -> None:
    module = cp.RawModule(code=KINDS, options=("-DSIXTH",))
    with pytest.raises(cp.EmulatorError, match=r"no variable 'coeff'.*\bhidden\b.*mangled name"):
        module.get_global("coeff")
    with pytest.raises(cp.EmulatorError, match="20 bytes of the memory are asked for, but there are 16"):
        array(module, "coef", 5)
    with pytest.raises(cp.EmulatorError, match=r"16 bytes .* 16, and it begins at byte 4"):
        cp.ndarray(4, np.float32, module.get_global("coef") + 4)
    with pytest.raises(cp.EmulatorError, match="memptr must be a MemoryPointer"):
        cp.ndarray(4, np.float32, np.zeros(4))  # type: ignore[arg-type]


def test_without_a_pointer_it_is_new_memory_and_every_array_is_one() -> None:
    made = cp.ndarray((2, 3), np.int16)
    assert made.shape == (2, 3)
    assert made.dtype == np.int16
    assert [isinstance(value, cp.ndarray) for value in (made, np.zeros(3), [1])] == [True, True, False]
