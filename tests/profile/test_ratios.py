"""Operations that wait for memory move at most 1.05 of the bytes that they must, forward and backward."""

import pytest

import derive
from derive import catalog
from derive.profile import profile

MOST = 1.05

# Operation or formula, and sizes with a thousand rows or more: few elements a row, so that the emulator is quick.
SIZES = {
    "layernorm": "b=8 s=256 d=64",
    "rmsnorm": "b=4 s=509 d=65",
    "adamw": "i=65537",
    "rope": "b=4 s=32 h=8 i=16",
    "kl_div": "n=2048 v=64",
    "embedding": "v=1000 d=64 b=4 s=1024",
    "Y[n,d] = X[n,d]*w[d]": "n=2048 d=40",
    "P[i,j] = softmax(j, S[i,j]/T)": "i=2048 j=48",
}
MORE = {
    "relu": "i=512 j=64",
    "leaky_relu": "i=512 j=64",
    "sigmoid": "i=512 j=64",
    "tanh": "i=512 j=64",
    "silu": "i=512 j=64",
    "softplus": "i=512 j=64",
    "gelu": "i=512 j=64",
    "gelu_tanh": "i=512 j=64",
    "swiglu": "n=512 h=64",
    "residual": "i=512 j=64",
    "sgd": "i=65536",
    "momentum": "i=65536",
    "softmax": "i=1024 j=80",
    "log_softmax": "i=1024 j=80",
    "logsumexp": "i=1024 j=80",
    "variance": "i=1024 j=80",
    "cross_entropy": "b=4 s=256 v=256",
    "cross_entropy_ignore": "b=4 s=256 v=256",
    "cross_entropy_smoothing": "b=4 s=256 v=256",
    "mse": "n=512 o=64",
    "huber": "n=512 o=64",
    "bce_logits": "n=512 o=64",
    "batchnorm": "b=16 c=64 t=64",
    "sum": "i=1024 j=80",
    "mean": "i=1024 j=80",
    "max": "i=1024 j=80",
    "Y[n,o] = X[n,o] + b[o]": "n=4096 o=48",
    "U[n,h] = X[n,h] + b[h]\nY[n,h] = 0.5*U[n,h]*(1 + erf(U[n,h]/sqrt(2)))": "n=2048 h=48",
    """H[b,d] = X[b,d] + Z[b,d]
R[b] = rsqrt(mean(d, H[b,d]**2) + 1e-6)
Y[b,d] = H[b,d]*R[b]*g[d]
output Y, H""": "b=4096 d=64",
    "Y[n,d] = X[n,d]*w[n]": "n=2048 d=48",
    "Y[t,h,d] = X[t,h,d]*C[t,d]": "t=128 h=8 d=32",
    "Y[n,d] = X[n,d]*a + c": "n=1024 d=48",
    "Y[n,d] = (X[n,d]*a + b[d])*w[d]": "n=2048 d=48",
}


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("op", [*SIZES, *(pytest.param(op, marks=pytest.mark.slow) for op in MORE)])
def test_device_bytes_over_must_bytes(op: str, direction: str) -> None:
    _judge(op, "float32", direction)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("op", ["layernorm", *(pytest.param(op, marks=pytest.mark.slow) for op in [*SIZES, *MORE][1:])])
def test_in_other_types(op: str, dtype: str) -> None:
    _judge(op, dtype, "backward")


@pytest.mark.parametrize(("rows", "width", "places"), [
    (1000, 32, 4096),
    *(pytest.param(*sizes, marks=pytest.mark.slow) for sizes in [
        (1000, 64, 8192), (1000, 32, 65536), (1000, 64, 65536), (50257, 32, 4096), (50257, 64, 65536)]),
])
def test_the_gradient_of_a_gather(rows: int, width: int, places: int) -> None:
    """Narrow rows, where sorting their places weighs most: few and many of them, in one chunk and in several."""
    _judge("embedding", "float32", "backward", f"v={rows} d={width} b=4 s={places // 4}")


@pytest.mark.parametrize(("dtype", "most"), [("float32", 1.5), ("bfloat16", 1.6)])
def test_rows_of_few_places_are_written_without_ado(dtype: str, most: float) -> None:
    """A long table's gradient is mostly zeros: what its threads ask of memory is little beside what they write, and
    its blocks meet at one barrier."""
    entry = catalog.load("embedding")
    sizes = {"v": 2000, "d": 256, "b": 2, "s": 160}
    found = profile(derive.parse(entry.text), sizes, dtype, "backward", entry.data).json()["kernels"][-1]
    assert found["name"] == "backward_dE"
    assert found["requested_bytes"] < most * found["must_bytes"]
    assert found["barriers"] == found["grid"][0]


def _judge(op: str, dtype: str, direction: str, given: str | None = None) -> None:
    sizes = {letter: int(n) for letter, n in (s.split("=") for s in (given or {**SIZES, **MORE}[op]).split())}
    entry = catalog.load(op) if op.isidentifier() else None
    found = profile(derive.parse(entry.text if entry else op), sizes, dtype, direction, entry.data if entry else None)
    total = found.json()["total"]
    assert total["ratio"] <= MOST, total["why"]
    assert not any(k["bank_conflicts"] for k in found.json()["kernels"])
    assert all(not k["spill_bytes"] for k in found.json()["kernels"])
