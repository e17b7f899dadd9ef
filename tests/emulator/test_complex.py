"""`<cuComplex.h>`: the documented functions against NumPy's complex numbers, in both precisions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import derive.emulator as em

CODE = r"""
#include <cuComplex.h>
extern "C" __global__ void each(const COMPLEX* x, const COMPLEX* y, COMPLEX z, COMPLEX* out, REAL* length, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  COMPLEX a = x[i], b = y[i];
  out[i] = cuCadd$(a, b);
  out[n + i] = cuCsub$(a, b);
  out[2 * n + i] = cuCmul$(a, b);
  out[3 * n + i] = cuCdiv$(a, b);
  out[4 * n + i] = cuCfma$(a, b, z);
  out[5 * n + i] = make_COMPLEX(cuCimag$(cuConj$(a)), cuCreal$(a));
  length[i] = cuCabs$(a);
}
"""
TEXTS = {
    np.complex64: CODE.replace("COMPLEX", "cuFloatComplex").replace("REAL", "float").replace("$", "f"),
    np.complex128: CODE.replace("COMPLEX", "cuDoubleComplex").replace("REAL", "double").replace("$", ""),
}


def run(kind: Any, x: Any, y: Any, z: complex, check: bool = False) -> tuple[Any, Any]:
    out, length = np.zeros((6, len(x)), kind), np.zeros(len(x), kind(0).real.dtype)
    kernel = em.RawModule(code=TEXTS[kind], check=check).get_function("each")
    kernel((len(x) // 64 + 1,), (64,), (x, y, kind(z), out, length, np.int32(len(x))))
    return out, length


@pytest.mark.parametrize("check", [False, True], ids=["fast", "check"])
@pytest.mark.parametrize("kind", list(TEXTS))
def test_functions(kind: Any, check: bool) -> None:
    rng = np.random.default_rng(3)
    x, y = (rng.normal(size=(2, 100)) + 1j * rng.normal(size=(2, 100))).astype(kind)
    out, length = run(kind, x, y, 1 - 2j, check)
    expected = np.stack([x + y, x - y, x * y, x / y, x * y + kind(1 - 2j), -x.imag + 1j * x.real])
    near = 8 * np.finfo(kind).eps
    assert (np.abs(out - expected) <= near * (1 + np.abs(expected) + np.abs(x * y))).all()
    np.testing.assert_allclose(length, np.abs(x), rtol=near)


@pytest.mark.parametrize("kind", list(TEXTS))
@pytest.mark.parametrize("power", [-0.9, 0.9])
def test_a_quotient_is_right_where_squares_are_out_of_range(kind: Any, power: float) -> None:
    size = kind(2.0 ** int(np.finfo(kind).maxexp * power))
    x, y = np.array([3 + 4j, -1 + 2j, 5], kind) * size, np.array([4 - 3j, 1 + 1j, 2j], kind) * size
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        out, length = run(kind, x, y, 0)
    np.testing.assert_allclose(out[3], [1j, 0.5 + 1.5j, -2.5j], rtol=0, atol=8 * np.finfo(kind).eps)
    np.testing.assert_allclose(length / size.real, [5, np.sqrt(5), 5], rtol=8 * np.finfo(kind).eps)


def test_precisions_are_converted() -> None:
    code = r"""
    #include <cuComplex.h>
    extern "C" __global__ void k(cuComplex* x, cuDoubleComplex* y) {
      y[0] = cuComplexFloatToDouble(x[0]);
      x[0] = cuComplexDoubleToFloat(y[1]);
      x[1] = make_cuComplex(1, 2);
    }
    """
    x, y = np.array([0.5 - 3j, 0], np.complex64), np.array([0, 0.1 + 0.2j])
    em.RawKernel(code, "k")((1,), (1,), (x, y))
    np.testing.assert_array_equal(x, np.array([0.1 + 0.2j, 1 + 2j], np.complex64))
    assert y[0] == 0.5 - 3j
