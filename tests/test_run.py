"""`run`: the file contract, cotangents, labels, accumulation, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from derive import emulator
from derive.errors import DeriveError, FileError, RunError, ShapeError
from derive.run import compile, run, run_files

rng = np.random.default_rng(0)
X = rng.standard_normal((3, 4))
LOSS = "L = mean(b, where(labels[b] >= 0, logsumexp(v, X[b,v]) - X[b,labels[b]], 0))"


def emulate(
    text: str, arrays: dict[str, Any], cotangents: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    return run(text, arrays, cotangents, executor="emulator", **options)


def test_without_a_cotangent_only_outputs() -> None:
    assert set(emulate("Y[i,j] = X[i,j]**2", {"X": X})) == {"Y"}


def test_a_scalar_has_cotangent_one() -> None:
    found = emulate("L = sum(i, j, X[i,j]**2)", {"X": X}, dtype="float64")
    np.testing.assert_allclose(found["dX"], 2 * X)


def test_a_missing_cotangent_of_several_is_zero() -> None:
    text = "A[i,j] = 2*X[i,j]\nB[i,j] = X[i,j]**2\noutput A, B"
    found = emulate(text, {"X": X}, {"dA": np.ones((3, 4))}, dtype="float64")
    np.testing.assert_allclose(found["dX"], np.full((3, 4), 2))


@pytest.mark.parametrize("test", [
    "i[t] >= 0 and X[i[t]] > 0", "not (i[t] < 0 or X[i[t]] <= 0)", "0 < t and t <= 2 and X[t-1] > 0"])
def test_the_first_operands_of_and_and_or_guard_the_rest(test: str) -> None:
    arrays = {"X": np.array([1.0, -1]), "Z": np.ones(3), "i": np.array([-1, 0, 1])}
    found = emulate(f"Y[t] = where({test}, Z[t] + 0*i[t], 0) + where(i[t] >= 0, 0*X[i[t]], 0)", arrays)
    assert found["Y"].tolist() == [0, 1, 0]


def test_labels_beyond_int64_do_not_wrap_into_what_a_guard_ignores() -> None:
    with pytest.raises(ShapeError, match="beyond int64"):
        emulate(LOSS, {"X": X, "labels": np.array([1, 2**63, 3], np.uint64)})


def test_guarded_labels_may_be_anything_where_the_guard_fails() -> None:
    found = emulate(LOSS, {"X": X, "labels": np.array([1, -100, 3])}, dtype="float64")
    assert np.isfinite(found["dX"]).all()
    assert not found["dX"][1].any()


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_labels_of_any_integer_type(dtype: str) -> None:
    found = emulate("Y[t,c] = E[ids[t],c]", {"E": X, "ids": np.array([2, 0, 2], dtype)}, {"Y": np.ones((3, 4))})
    np.testing.assert_array_equal(found["dE"][:, 0], [1, 0, 2])


REFUSED = {
    "missing": ("Y[i] = X[i]*w[i]", {"X": np.ones(3)}, "w"),
    "extra": ("Y[i] = X[i]", {"X": np.ones(3), "Z": np.ones(3)}, "no input"),
    "rank": ("Y[i] = X[i]", {"X": X}, "1 axes"),
    "shape": ("Y[i] = X[i]*w[i]", {"X": np.ones(3), "w": np.ones(4)}, "two extents"),
    "words": ("Y[i] = X[i]", {"X": np.array(["a", "b"])}, "real numbers"),
    "real labels": (LOSS, {"X": X, "labels": np.array([0.0, 1.0, 2.0])}, "integer"),
    "label too large": (LOSS, {"X": X, "labels": np.array([0, 1, 4])}, "out of range"),
    "unguarded label": ("Y[t] = E[ids[t]]", {"E": np.ones(3), "ids": np.array([0, -1])}, "out of range"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_arrays_are_refused(name: str) -> None:
    text, arrays, match = REFUSED[name]
    with pytest.raises(ShapeError, match=match):
        emulate(text, arrays)


def test_a_cotangent_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match="dY must have the shape"):
        emulate("Y[i,j] = X[i,j]", {"X": X}, {"Y": np.ones(3)})


def test_unknown_dtype_and_executor_are_refused() -> None:
    with pytest.raises(RunError, match="unknown dtype"):
        emulate("Y[i,j] = X[i,j]", {"X": X}, dtype="int8")
    with pytest.raises(RunError, match="unknown executor"):
        run("Y[i,j] = X[i,j]", {"X": X}, executor="abacus")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_files(tmp_path: Path, dtype: str) -> None:
    source, target = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(source, S=X, dP=np.ones((3, 4)))
    run_files("P[i,j] = softmax(j, S[i,j])", source, target, dtype, executor="emulator")
    with np.load(target) as found:
        assert set(found.files) == {"P", "dS"}
        assert found["P"].dtype == ("float32" if dtype == "bfloat16" else dtype)
        np.testing.assert_allclose(found["P"].astype(float).sum(1), 1, atol=2e-2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.npz", "out.npz"]


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    bad = tmp_path / "in.npz"
    for content in (b"", b"nonsense", b"PK\x03\x04broken"):
        bad.write_bytes(content)
        with pytest.raises(FileError):
            run_files("Y[i] = X[i]", bad, tmp_path / "out.npz", executor="emulator")
    with pytest.raises(FileError, match="no file"):
        run_files("Y[i] = X[i]", tmp_path / "none.npz", tmp_path / "out.npz", executor="emulator")
    np.savez(bad, X=np.array([object()], dtype=object))
    with pytest.raises(FileError):
        run_files("Y[i] = X[i]", bad, tmp_path / "out.npz", executor="emulator")
    assert not (tmp_path / "out.npz").exists()


def test_an_output_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "in.npz"
    np.savez(source, X=np.ones(3))
    for target in (tmp_path / "no" / "out.npz", tmp_path):
        with pytest.raises(FileError):
            run_files("Y[i] = X[i]", source, target, executor="emulator")
    assert [p.name for p in tmp_path.iterdir()] == ["in.npz"]


def test_wrong_input_writes_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(source, X=np.ones(3), Z=np.ones(3))
    with pytest.raises(DeriveError):
        run_files("Y[i] = X[i]", source, target, executor="emulator")
    assert not target.exists()


def test_accumulate_adds_to_given_arrays() -> None:
    operation = compile("Y[i,o] = sum(k, X[i,k]*W[k,o]) + b[o]", executor="emulator")
    dY, W, x = (emulator.asarray(rng.standard_normal(s).astype("float32")) for s in ((3, 5), (4, 5), (3, 4)))
    kernels = operation.module
    once = kernels.op_backward(dY, x, W)
    out = tuple(emulator.full(g.shape, 1, "float32") for g in once)
    kernels.op_backward(dY, x, W, out=out, accumulate=True)
    for total, g in zip(out, once, strict=True):
        np.testing.assert_allclose(total, 1 + g, rtol=1e-5)
    with pytest.raises(ValueError, match="needs out="):
        kernels.op_backward(dY, x, W, accumulate=True)


def test_the_wrapper_refuses_what_a_kernel_cannot_read() -> None:
    kernels = compile("Y[i,j] = X[i,j]*w[j]", executor="emulator").module
    good, w = emulator.zeros((3, 4), "float32"), emulator.zeros(4, "float32")
    for wrong, error in ((emulator.zeros((3, 4), "float64"), TypeError), ([1.0], TypeError),
                         (emulator.zeros((4, 3), "float32"), ValueError), (good.T, ValueError),
                         (emulator.zeros((4, 3), "float32").T, ValueError)):  # fmt: skip
        with pytest.raises(error):
            kernels.op_forward(wrong, w)


def test_lengths_that_are_compared_with_places_are_counted_exactly() -> None:
    """As a bfloat16 number 257 would be 256."""
    kernels = compile("Y[b,s] = where(s < lengths[b], X[b,s], 0)", dtype="bfloat16", executor="emulator")
    X = np.ones((2, 300), np.float32)
    for lengths in (np.array([257, 299]), np.array([257.0, 299.0])):  # whole numbers of any type
        found = kernels.run({"X": X, "lengths": lengths}, {"Y": X})
        assert found["Y"].astype(float).sum(axis=1).tolist() == [257, 299]
        assert found["dX"].astype(float).sum(axis=1).tolist() == [257, 299]
    with pytest.raises(ShapeError, match="must hold whole numbers"):
        kernels.run({"X": X, "lengths": np.array([2.5, 1])})
