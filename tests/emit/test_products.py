"""Contractions as they are emitted: tiles, tensor cores, 16-byte accesses, split sums; against NumPy in float64."""

import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from derive import emulator
from derive.dtypes import DTYPES
from derive.emit import sources
from derive.pipeline import derive_text
from derive.plan import Plan, make_plan
from derive.run import compile, storage
from tests.drive import succeed

BOUND = {"float64": 1e-12, "float32": 3e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
TRANSPOSES = {"nn": "A[m,k]*B[k,n]", "nt": "A[m,k]*B[n,k]", "tn": "A[k,m]*B[k,n]", "tt": "A[k,m]*B[n,k]"}
SHAPES = ((1, 1, 1), (16, 17, 15), (33, 31, 129), (127, 1, 33), (64, 132, 68), (15, 129, 17))

Array = np.ndarray[Any, Any]


def drawn(shape: tuple[int, ...], seed: int, dtype: str) -> Array:
    """Normal numbers that the dtype holds exactly."""
    x = np.random.default_rng(seed).standard_normal(shape)
    return x.astype(storage(dtype)).astype(np.float64)


def close(got: Array, want: Array, dtype: str) -> None:
    error = np.max(np.abs(np.asarray(got, np.float64) - want), initial=0.0)
    assert error <= BOUND[dtype] * np.max(np.abs(want), initial=1e-30), (error, np.max(np.abs(want)))


def plan(text: str, dtype: str) -> Plan:
    d = derive_text(text)
    return make_plan(d.forward, d.backward, dtype)


def cuda(text: str, dtype: str) -> str:
    return sources("op", plan(text, dtype))["op.cu"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", TRANSPOSES)
def test_products_of_matrices(order: str, dtype: str) -> None:
    op = compile(f"Y[m,n] = sum(k, {TRANSPOSES[order]})", dtype, "emulator")
    for m, n, k in SHAPES:
        a, b, dy = drawn((m, k), 0, dtype), drawn((k, n), 1, dtype), drawn((m, n), 2, dtype)
        swapped = [np.ascontiguousarray(x.T) if t == "t" else x for x, t in zip((a, b), order, strict=True)]
        got = op.run({"A": swapped[0], "B": swapped[1]}, {"Y": dy})
        close(got["Y"], a @ b, dtype)
        for name, want, t in (("dA", dy @ b.T, order[0]), ("dB", a.T @ dy, order[1])):
            close(got[name], want.T if t == "t" else want, dtype)


LAYERS = """
A[b,t,h] = sum(c, X[b,t,c]*W[c,h]) + g[h]
Y[b,t,o] = sum(h, A[b,t,h]*sigmoid(A[b,t,h])*V[o,h]) + R[b,t,o]
"""


def layers(x: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    """LAYERS and its gradients, in float64."""
    a = x["X"] @ x["W"] + x["g"]
    s = 1 / (1 + np.exp(-a))
    h = a * s
    dh = x["dY"] @ x["V"]
    da = dh * (s + h * (1 - s))
    flat = (-1, da.shape[-1])
    return h @ x["V"].T + x["R"], {
        "dX": da @ x["W"].T, "dW": x["X"].reshape(-1, x["W"].shape[0]).T @ da.reshape(flat),
        "dg": da.sum(axis=(0, 1)), "dV": x["dY"].reshape(-1, x["V"].shape[0]).T @ h.reshape(flat), "dR": x["dY"],
    }  # fmt: skip


def layer_arrays(sizes: tuple[int, ...], dtype: str) -> dict[str, Array]:
    b, t, c, h, o = sizes
    shapes = {"X": (b, t, c), "W": (c, h), "g": (h,), "V": (o, h), "R": (b, t, o), "dY": (b, t, o)}
    return {n: drawn(s, i, dtype) for i, (n, s) in enumerate(shapes.items())}


@pytest.mark.parametrize("dtype", DTYPES)
def test_batches_epilogues_and_computed_sides(dtype: str) -> None:
    """In 16 bits the hidden layer is kept in float32: its products lose no more than those of 16-bit tensors."""
    op = compile(LAYERS, dtype, "emulator")
    for sizes in ((2, 17, 33, 16, 31), (1, 1, 1, 129, 15), (3, 0, 4, 5, 2)):
        x = layer_arrays(sizes, dtype)
        y, gradients = layers(x)
        got = op.run({n: x[n] for n in ("X", "W", "g", "V", "R")}, {"Y": x["dY"]})
        close(got["Y"], y, dtype)
        for name, want in gradients.items():
            close(got[name], want, dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_batched_products_of_heads(dtype: str) -> None:
    op = compile("Y[b,t,h,e] = sum(s, P[b,h,t,s]*V[b,s,h,e])", dtype, "emulator")
    p, v, dy = drawn((2, 3, 17, 33), 0, dtype), drawn((2, 33, 3, 16), 1, dtype), drawn((2, 17, 3, 16), 2, dtype)
    got = op.run({"P": p, "V": v}, {"Y": dy})
    close(got["Y"], np.einsum("bhts,bshe->bthe", p, v), dtype)
    close(got["dP"], np.einsum("bthe,bshe->bhts", dy, v), dtype)
    close(got["dV"], np.einsum("bthe,bhts->bshe", dy, p), dtype)


# ------------------------------------------------------------------------------------------------ how they run


def loaded(text: str, dtype: str, **options: Any) -> Any:
    """The emitted wrapper's kernels on the emulator, compiled with options of its RawModule."""

    class Base:
        def __getattr__(self, name: str) -> Any:
            return getattr(emulator, name)

        def RawModule(self, **given: Any) -> Any:
            return emulator.RawModule(**given, **options)

    space: dict[str, Any] = {"__name__": "emitted", "__file__": "op.py"}
    files = sources("op", plan(text, dtype))
    exec(files["op.py"], space)
    space["SOURCE"] = Text(files["op.cu"])
    return space["load"](Base())


class Text(str):
    def read_text(self) -> str:
        return str(self)


def shifted(x: Array, dtype: str, by: int) -> Array:
    """The same numbers `by` elements into a flat array, as parameters lie that share one."""
    flat = np.zeros(x.size + by, storage(dtype))
    flat[by:] = x.ravel()
    return flat[by:].reshape(x.shape)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("order", ["nn", "tt"])
def test_rows_that_are_not_aligned(order: str, dtype: str) -> None:
    """Check mode sees a 16-byte access at an address that is no multiple of 16."""
    kernels = loaded(f"Y[m,n] = sum(k, {TRANSPOSES[order]})", dtype, check=True)
    for (m, n, k), by in itertools.product(((17, 16, 32), (16, 31, 24), (8, 24, 33)), (0, 1)):
        a, b = drawn((m, k), 0, dtype), drawn((k, n), 1, dtype)
        swapped = [np.ascontiguousarray(x.T) if t == "t" else x for x, t in zip((a, b), order, strict=True)]
        close(kernels.op_forward(*(shifted(x, dtype, by) for x in swapped)), a @ b, dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_accumulate_adds_to_what_is_there(dtype: str) -> None:
    kernels = loaded("Y[m,n] = sum(k, A[m,k]*B[k,n])", dtype)
    for m, n, k in ((17, 5, 33), (2100, 3, 4)):  # the second splits the sum of dB
        a, b, dy = (drawn(s, i, dtype) for i, s in enumerate(((m, k), (k, n), (m, n))))
        held = [drawn(s, 7, dtype).astype(storage(dtype)) for s in ((m, k), (k, n))]
        into = tuple(h.copy() for h in held)
        kernels.op_backward(*(x.astype(storage(dtype)) for x in (dy, a, b)), out=into, accumulate=True)
        for got, before, want in zip(into, held, (dy @ b.T, a.T @ dy), strict=True):
            close(got, before.astype(float) + want, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_long_sums_of_few_results_are_split_and_keep_their_bits(dtype: str) -> None:
    text = "Y[m,n] = relu(sum(k, A[m,k]*B[k,n]) + c[n])"
    a, b, c = drawn((5, 5000), 0, dtype), drawn((5000, 7), 1, dtype), drawn((7,), 2, dtype)
    forward = plan(text, dtype).forward
    made = tuple(x.name for x in (*forward.results, *forward.temporaries))
    found = []
    for options in ({}, {"order": "random", "seed": 3}, {"check": True, "uninitialized": made}):
        kernels = loaded(text, dtype, **options)
        launched: list[tuple[Any, ...]] = []
        plainly = kernels.launch

        def noted(module: Any, index: Any, name: str, grid: Any, *rest: Any, **options: Any) -> None:
            launched.append((name, grid))  # noqa: B023
            plainly(module, index, name, grid, *rest, **options)  # noqa: B023

        kernels.launch = noted
        y, _ = kernels.op_forward(*(x.astype(storage(dtype)) for x in (a, b, c)))
        close(y, np.maximum(a @ b + c, 0), dtype)
        found.append(y.tobytes())
        assert [(n.endswith("_chunks"), g[1:]) for n, g in launched] == [(False, (19,)), (True, ())]
    assert found[0] == found[1]  # check mode is another compilation: it may round a product otherwise


@pytest.mark.parametrize(("release", "found"), [(13000, True), (12080, False), (None, False)])
def test_headers_of_tensor_cores_are_looked_for_in_a_toolkit(
    release: int | None, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    include = tmp_path / "include"
    (include / "crt").mkdir(parents=True)
    (include / "crt/mma.h").touch()
    if release is not None:
        (include / "cuda.h").write_text(f"#define CUDA_VERSION {release}\n")
    monkeypatch.setenv("CUDA_PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", "")
    space: dict[str, Any] = {"__file__": "op.py"}
    exec(sources("op", plan("Y[m,n] = sum(k, A[m,k]*B[k,n])", "float16"))["op.py"], space)
    cupy = SimpleNamespace(cuda=SimpleNamespace(nvrtc=SimpleNamespace(getVersion=lambda: (13, 0))))
    assert (f"-I{include}" in space["toolkit"](cupy)) == found  # another is taken if there is one
    assert space["toolkit"](emulator) == ()


def test_short_sums_have_no_second_kernel() -> None:
    split, short = "Y[m,n] = sum(k, A[m,k]*B[k,n])", "size k = 64\nY[m,n] = sum(k, A[m,k]*B[k,n])"
    assert "gridDim.y" in str(cuda(split, "float32"))
    forward = plan(short, "float32").forward
    assert [k.name for k in forward.kernels] == ["forward_Y"]
    assert forward.temporaries == ()


# --------------------------------------------------------------------------------------------- what is emitted


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("op", ["matmul", "matmul_tt"])
def test_tiles_have_no_bank_conflicts(op: str, dtype: str) -> None:
    sizes = [x for n in "mnk" for x in ("--size", f"{n}=128")]
    found = json.loads(succeed("profile", op, "--dtype", dtype, "--pass", "both", "--json", *sizes))
    assert [k["bank_conflicts"] for k in found["kernels"]] == [0, 0, 0]


def test_tensor_cores_take_16_bits_and_no_others() -> None:
    text = "Y[m,n] = sum(k, A[m,k]*B[k,n])"
    for dtype in DTYPES:
        code = cuda(text, dtype)
        assert ("mma_sync" in code) == (dtype in ("float16", "bfloat16"))
        assert "*(const Pack<T>*)from" in code
    # A side that is computed, or kept in float32, is two bfloat16 numbers; three products keep 16 bits of each.
    computed = cuda("Y[m,n] = sum(k, exp(A[m,k])*B[k,n])", "float16")
    assert computed.count("results.add<") > 3
    assert "__nv_bfloat16 tiles[4][64][72]" in computed
    assert "__nv_bfloat16 tiles[3][64][72]" in cuda("Y[m,n] = sum(k, exp(A[m,k])*B[k,n])", "bfloat16")


def test_without_tensor_cores_the_same_text_runs() -> None:
    """Before sm_80, or without <mma.h>, a tile's products are taken by plain code."""
    for dtype, text in itertools.product(("float16", "bfloat16"), TRANSPOSES.values()):
        code = "#undef __CUDA_ARCH__\n#define __CUDA_ARCH__ 700\n" + cuda(f"Y[m,n] = sum(k, {text})", dtype)
        a, b = drawn((33, 17), 0, dtype).astype(storage(dtype)), drawn((17, 31), 1, dtype).astype(storage(dtype))
        at, bt = (np.ascontiguousarray(x.T) for x in (a, b))
        y = np.zeros((33, 31), a.dtype)
        spent = np.zeros(0, np.float32)
        named = {"size_m": 33, "size_k": 17, "size_n": 31}
        order = re.findall(r"INDEX (size_\w)", code.split("void forward_Y(")[1].split(")")[0])
        args = (at if "A[k" in text else a, bt if "B[n" in text else b, y, spent, *(np.int32(named[s]) for s in order))
        emulator.RawModule(code=code).get_function("forward_Y")((1, 1), (128,), args)
        close(y, a.astype(float) @ b.astype(float), dtype)
