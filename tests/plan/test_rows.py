"""Row, column and total kernels: rows of a warp, of a block, and longer than shared memory; sums beside them."""

import pytest

import derive
from derive import emulator
from derive.emit import sources
from derive.operation import Operation
from derive.plan.launches import row_chunks, row_shared, row_threads
from derive.plan.row import TEAM
from derive.validate.comparison import plan_of
from derive.validate.data import Drawer
from derive.validate.formula import read
from derive.validate.kernels import checked, kernels
from derive.validate.records import PASS

LAYERNORM = """
M[b,d] = mean(j, X[b,d,j])
V[b,d] = mean(j, (X[b,d,j] - M[b,d])**2)
Y[b,d,j] = (X[b,d,j] - M[b,d]) / sqrt(V[b,d] + 1e-2) * g[j] + h[j]
"""
MASKED = "P[t,s] = softmax(s, where(s <= t, S[t,s]*a, -1e30))"
TEMPERATURE = "P[i,j] = softmax(j, S[i,j]/T)"
COLUMN_MAX = "R[i] = sum(j, X[i,j]**2)\nY[i,j] = X[i,j]/sqrt(R[i] + 1)\nZ[j] = max(i, X[i,j])\noutput Y, Z"
MANY = f"X[b,d,j] = {' + '.join(f'A{n}[b,d,j]' for n in range(14))}{LAYERNORM}"
WHOLE = "L = sum(i, j, (X[i,j]*a - B[j])**2)"
SUMS = [
    (LAYERNORM, {"b": 3, "d": 31, "j": 20}),  # a warp a row, several rows a block
    (LAYERNORM, {"b": 2, "d": 5, "j": 300}),  # a block a row
    (LAYERNORM, {"b": 1, "d": 3, "j": 3100}),  # in float64 too long for shared memory
    (MANY, {"b": 1, "d": 5, "j": 256}),  # in float64 four rows of a warp do not fit together
    (MASKED, {"t": 9, "s": 65}),
    (TEMPERATURE, {"i": 65, "j": 33}),
    (COLUMN_MAX, {"i": 65, "j": 257}),
    (WHOLE, {"i": 97, "j": 129}),
    ("Y[i,j] = X[i,j]*w[j] + X[i,j]*c", {"i": 300, "j": 3}),
    ("Y[t,h,d] = X[t,h,d]*C[t,d]", {"t": 3, "h": 300, "d": 5}),
    ("Y[t,h,d] = X[t,h,d]*C[t,d]", {"t": 33, "h": 1, "d": 3}),  # one chunk: no second kernel
]


def plans(op: Operation, direction: str = "backward") -> list[str]:
    p = getattr(plan_of(op, "float32"), direction)
    return [k.plan for k in p.kernels]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("text", "sizes"), SUMS, ids=lambda x: x.strip()[:30] if isinstance(x, str) else str(x))
def test_values_bits_and_accesses(text: str, sizes: dict[str, int], dtype: str) -> None:
    """Against the float64 rule; the same bits in any order of blocks; added to given arrays; nothing out of bounds."""
    op = derive.parse(text)
    drawer = Drawer(read(op.text), {}, sizes)
    for result in (kernels(op, drawer, dtype, emulator), checked(op, drawer, dtype, emulator)):
        assert result.status == PASS, result.detail


@pytest.mark.parametrize(
    ("text", "backward"),
    [
        (LAYERNORM, ["row", "column"]),
        (TEMPERATURE, ["row", "total", "total"]),
        (WHOLE, ["column", "column", "total", "total"]),
        ("Y[i,j] = X[i,j]*a", ["total", "total"]),
        ("Y[i,j] = X[i,j]*w[i]", ["row"]),
        ("Y[i,j] = X[i,j]*w[j]", ["column", "column"]),
        ("Y[i,j] = X[i,j]*w[j]*u[i]", ["row", "column"]),
    ],
)
def test_what_reads_the_same_memory_is_one_pass(text: str, backward: list[str]) -> None:
    assert plans(derive.parse(text)) == backward


def test_a_sum_of_a_row_kernels_rows_is_no_second_pass() -> None:
    op = derive.parse("Z[n] = logsumexp(v, X[n,v])\nL = mean(n, sum(v, P[n,v]*(Z[n] - X[n,v])))")
    assert plans(op, "forward") == ["row", "total", "total"]


def test_what_the_forward_names_is_named_again() -> None:
    text = sources("op", plan_of(derive.parse(LAYERNORM), "float32"))["op.cu"]
    backward = text[text.index("void backward") :]
    assert "const float xhat = rstd*(x - m);" in backward
    assert backward.count("rsqrtf") == 1


@pytest.mark.parametrize("more", [(), TEAM])
def test_threads_of_a_row(more: tuple[int, ...]) -> None:
    for count in (1, 2, 3, 31, 32, 33, 256, 257, 768, 4096, 50257):
        for lanes in (1, 4, 8):
            along, rows = row_threads(count, 0, lanes, *more)
            assert along * rows <= 512
            assert along <= 32 or along % 32 == 0  # rows of several warps meet in places of their own
            for kept in (4, 8, 60, 128, 1024, 10**5):  # a row that is not kept has a block to itself
                assert row_shared(count, kept, lanes, *more) or row_threads(count, kept, lanes, *more)[1] == 1
    assert row_shared(768, 4 * 4) == 2 * 4 * 768 * 4
    assert row_shared(50257, 4) == 0
    assert row_chunks(4096, 768, 34) >= 100  # blocks enough for a GPU


@pytest.mark.parametrize("j", [4050, 4090, 4096])
def test_shared_memory_around_48_kib(j: int) -> None:
    """Dynamic and static shared memory together pass what a kernel gets unasked."""
    op = derive.parse("R[i] = sum(j, X[i,j]**2)\nY[i,j] = X[i,j]*rsqrt(R[i] + 1)*g[j]")
    drawer = Drawer(read(op.text), {}, {"i": 2, "j": j})
    result = kernels(op, drawer, "float32", emulator)
    assert result.status == PASS, result.detail
