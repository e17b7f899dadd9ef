"""The adjoint of a gather against `np.add.at`: long, hot, batched, several axes, windows, empty; bits that stay."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from derive import emulator
from derive.arrays import storage
from derive.emit import sources
from derive.errors import DeriveError
from derive.operation import parse
from derive.plan import Plan, make_plan
from derive.plan.scatter.shape import BLOCKS, TILE
from derive.run import compile
from derive.validate.data import Sample
from derive.validate.drive import Emitted, Poisoned

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)


def plan(text: str, dtype: str = "float64", scatter: str = "deterministic") -> Plan:
    d = parse(text).derivation
    return make_plan(d.forward, d.backward, dtype, scatter=scatter)


def gradient(text: str, arrays: dict[str, Array], dy: Array, wrt: str, dtype: str = "float64", **options: Any) -> Array:
    return compile(text, dtype, "emulator", **options).run(arrays, {"Y": dy})[f"d{wrt}"]


def added(shape: tuple[int, ...], place: Any, values: Array) -> Array:
    total = np.zeros(shape)
    np.add.at(total, place, values)
    return total


Case = tuple[str, dict[str, tuple[int, ...]], dict[str, tuple[int, ...]], Callable[..., Any]]
CASES: dict[str, Case] = {  # formula, real arrays, index arrays, where dY goes
    "rows": ("Y[t,c] = X[p[t],c]", {"X": (5, 3)}, {"p": (40,)}, lambda p: p),
    "elements": ("Y[t] = X[p[t]]", {"X": (7,)}, {"p": (40,)}, lambda p: p),
    "two axes of places": ("Y[b,t,c] = X[p[b,t],c]", {"X": (5, 3)}, {"p": (4, 9)}, lambda p: p),
    "batched": ("Y[b,t,c] = X[b,p[b,t],c]", {"X": (4, 5, 3)}, {"p": (4, 9)}, lambda p: (np.arange(4)[:, None], p)),
    "batched, turned": ("Y[b,t,c] = X[b,p[t,b],c]", {"X": (4, 5, 3)}, {"p": (9, 4)},
                        lambda p: (np.arange(4)[:, None], p.T)),
    "batch in front only": ("Y[b,t,c] = X[b,p[t],c]", {"X": (4, 5, 3)}, {"p": (9,)},
                            lambda p: (np.arange(4)[:, None], p[None])),
    "heads between": ("Y[b,h,t,c] = X[b,p[b,t],h,c]", {"X": (2, 5, 3, 2)}, {"p": (2, 9)},
                      lambda p: (np.arange(2)[:, None, None], p[:, None], np.arange(3)[None, :, None])),
    "last axis": ("Y[c,t] = X[c,p[t]]", {"X": (3, 5)}, {"p": (9,)}, lambda p: (np.arange(3)[:, None], p[None])),
    "two gathered axes": ("Y[t,c] = X[p[t],q[t],c]", {"X": (4, 3, 2)}, {"p": (20,), "q": (20,)}, lambda p, q: (p, q)),
    "outer product of places": ("Y[t,u] = X[p[t],q[u]]", {"X": (4, 3)}, {"p": (9,), "q": (8,)},
                                lambda p, q: (p[:, None], q[None])),
    "the row before": ("Y[t,c] = X[p[t]-1,c]", {"X": (5, 3)}, {"p": (9,)}, lambda p: p - 1),
    "every second row": ("Y[t,c] = X[2*p[t],c]", {"X": (9, 3)}, {"p": (9,)}, lambda p: 2 * p),
    "window": ("Y[t,r] = X[p[t]+r]", {"X": (9,)}, {"p": (30,)}, lambda p: p[:, None] + np.arange(3)),
    "window, backwards": ("Y[t,r,c] = X[p[t]-r+2,c]", {"X": (9, 2)}, {"p": (30,)},
                          lambda p: p[:, None] + 2 - np.arange(3)),
    "affine neighbour": ("Y[t,r] = X[p[t],t+r]", {"X": (5, 11)}, {"p": (9,)},
                         lambda p: (p[:, None], np.arange(9)[:, None] + np.arange(3))),
    "place of places": ("Y[t,c] = X[p[q[t]],c]", {"X": (5, 3)}, {"p": (4,), "q": (9,)}, lambda p, q: p[q]),
}


@pytest.mark.parametrize("scatter", ["deterministic", "atomic"])
@pytest.mark.parametrize("name", CASES)
def test_against_add_at(name: str, scatter: str) -> None:
    text, reals, places, where = CASES[name]
    rng = np.random.default_rng(len(name))
    arrays: dict[str, Array] = {n: rng.standard_normal(s) for n, s in reals.items()}
    ids = {n: rng.integers(1, 4 if n == "p" else 3, s) for n, s in places.items()}
    forward = arrays["X"][where(**ids)]
    dy = rng.standard_normal(forward.shape)
    sizes = {"r": 3} if "+r" in text or "-r" in text else None
    found = compile(text, "float64", "emulator", scatter=scatter).run({**arrays, **ids}, {"Y": dy}, sizes)
    np.testing.assert_array_equal(found["Y"], forward)
    np.testing.assert_allclose(found["dX"], added(reals["X"], where(**ids), dy), atol=1e-13)
    kernels = plan(text).backward
    assert kernels is not None
    assert {k.plan for k in kernels.kernels} == {"scatter"}


@pytest.mark.parametrize("length", [0, 1, 2, 255, 4095, 4096, 4097, 8193, 20000])
@pytest.mark.parametrize("kind", ["spread", "hot", "one", "rising", "falling"])
def test_long_rows(length: int, kind: str) -> None:
    """One chunk that a block sorts, several, the last of them short; rows of more than one part."""
    rows = 50
    spread = RNG.integers(0, rows, length)
    hot = np.where(RNG.uniform(size=length) < 0.7, 3, spread)
    ids = {"spread": spread, "hot": hot, "one": np.full(length, rows - 1), "rising": np.sort(spread),
           "falling": -np.sort(-spread)}[kind].astype(np.int32)
    dy = RNG.standard_normal((length, 2))
    found = gradient("Y[t,c] = E[ids[t],c]", {"E": np.zeros((rows, 2)), "ids": ids}, dy, "E")
    np.testing.assert_allclose(found, added((rows, 2), ids, dy), atol=1e-11)


@pytest.mark.parametrize("rows", [13, 1903])
@pytest.mark.parametrize("width", [1, 2, 5, 31, 33, 70, 140])
def test_rows_of_any_width(rows: int, width: int) -> None:
    """Lines of 1 to 32 threads a row, and rows that several blocks share; tiles that the last row does not fill.

    Of 13 rows, every tile has many places; of 1903, some have more than a line of threads adds up, and most fewer.
    """
    ids = np.where(RNG.uniform(size=9000) < 0.3, 12, RNG.integers(0, rows, 9000))
    dy = RNG.standard_normal((9000, width))
    found = gradient("Y[t,c] = E[ids[t],c]", {"E": np.zeros((rows, width)), "ids": ids}, dy, "E")
    np.testing.assert_allclose(found, added((rows, width), ids, dy), atol=1e-11)


def test_more_tiles_than_blocks() -> None:
    """A block has several tiles, of which it looks for those of many places: the first, one in between and the last."""
    rows = BLOCKS * TILE + 100
    ids = np.concatenate([np.repeat([0, BLOCKS * TILE - 1, rows - 1], 100), RNG.integers(0, rows, 500)])
    dy = RNG.standard_normal(len(ids))
    found = gradient("Y[t] = E[ids[t]]", {"E": np.zeros(rows), "ids": ids}, dy, "E")
    np.testing.assert_allclose(found, added((rows,), ids, dy), atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_short_rows_added_to_what_is_there(dtype: str) -> None:
    """Of a width that packs divide, and one that they do not."""
    for width in (24, 27):
        text = "Y[t,c] = E[ids[t],c]"
        ids, rows = RNG.integers(0, 60, 90), 60
        held, dy = RNG.integers(-4, 5, (rows, width)), RNG.integers(-4, 5, (90, width))
        sample = Sample({"E": np.zeros((rows, width)), "ids": ids}, {"Y": dy.astype(float)},
                        {"t": 90, "c": width, "E.0": rows}, "")
        module = Poisoned(emulator, check=True)
        run = Emitted("op", parse(text).derivation.forward, plan(text, dtype), module).run(
            sample, {"dE": held.astype(storage(dtype))})
        np.testing.assert_array_equal(run["dE"].astype(float), held + added((rows, width), ids, dy))


def test_more_chunks_than_a_block_has_lines() -> None:
    """A line of threads takes several chunks: there are 10, and 8 lines of 32 threads; an id below 0 adds to no row."""
    ids = np.where(RNG.uniform(size=40000) < 0.2, 17, RNG.integers(-10, 90, 40000))
    dy = RNG.standard_normal((40000, 20))
    found = gradient("Y[t,c] = where(ids[t] >= 0, E[ids[t],c], 0)", {"E": np.zeros((90, 20)), "ids": ids}, dy, "E")
    np.testing.assert_allclose(found, added((90, 20), ids[ids >= 0], dy[ids >= 0]), atol=1e-10)


@pytest.mark.parametrize("text", ["Y[t,c] = X[p[t],c]**3", "Y[b,t,c] = X[b,p[b,t],c]**3"])
def test_values_that_depend_on_the_row(text: str) -> None:
    """A part reads its row from the ids of its places; a single place, from where it stands in the order."""
    batches = (2,) if "b" in text else ()
    x, p = RNG.standard_normal((*batches, 3, 4)), RNG.integers(0, 3, (*batches, 700))
    at = (np.arange(2)[:, None], p) if batches else p
    dy = RNG.standard_normal((*batches, 700, 4))
    np.testing.assert_allclose(gradient(text, {"X": x, "p": p}, dy, "X"), added(x.shape, at, 3 * x[at] ** 2 * dy),
                               atol=1e-10)


def test_rows_that_nobody_addresses_and_tables_of_no_rows() -> None:
    found = gradient("Y[t,c] = E[ids[t],c]", {"E": np.zeros((9, 2)), "ids": np.array([4])}, np.ones((1, 2)), "E")
    assert found.tolist() == [[0, 0]] * 4 + [[1, 1]] + [[0, 0]] * 4
    empty = {"E": np.zeros((0, 2)), "ids": np.zeros(0, np.int64)}
    assert gradient("Y[t,c] = E[ids[t],c]", empty, np.zeros((0, 2)), "E").shape == (0, 2)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_same_bits_in_any_order(dtype: str) -> None:
    op = parse("Y[t,c] = E[ids[t],c]")
    made = plan(op.text, dtype)
    assert made.contract.deterministic
    ids = np.where(RNG.uniform(size=5000) < 0.5, 7, RNG.integers(0, 100, 5000))
    sample = Sample({"E": np.zeros((100, 3)), "ids": ids}, {"Y": RNG.standard_normal((5000, 3))},
                    {"t": 5000, "c": 3, "E.0": 100}, "")
    bits = set()
    for seed in range(3):
        run = Emitted("op", op.derivation.forward, made, Poisoned(emulator, order="random", seed=seed)).run(sample)
        bits.add(run["dE"].tobytes())
    assert len(bits) == 1


def test_adding_leaves_other_rows_alone() -> None:
    op = parse("Y[t,c] = E[ids[t],c]")
    held = RNG.standard_normal((6, 2))
    sample = Sample({"E": np.zeros((6, 2)), "ids": np.array([2, 2])}, {"Y": np.ones((2, 2))},
                    {"t": 2, "c": 2, "E.0": 6}, "")
    found = Emitted("op", op.derivation.forward, plan(op.text), emulator).run(sample, {"dE": held})["dE"]
    np.testing.assert_array_equal(np.delete(found, 2, 0), np.delete(held, 2, 0))
    np.testing.assert_allclose(found[2], held[2] + 2)


@pytest.mark.parametrize("text", ["Y[t,c] = where(t+1 < size(t), E[ids[t+1],c], 0)",
                                  "Y[t,c] = where(t+1 < size(t), sum(r, E[ids[t+1],c]*w[r]), 0)"])
def test_a_guard_stands_before_the_reads_of_an_index_tensor(text: str) -> None:
    op = parse(text)
    arrays = {"E": np.ones((4, 2)), "ids": np.array([3, 1, 2]), "w": np.ones(2)}
    sample = Sample({n: a for n, a in arrays.items() if f"{n}[" in text}, {"Y": np.ones((3, 2))},
                    {"t": 3, "c": 2, "E.0": 4, "ids.0": 3, "r": 2}, "")
    for menu in ((), None):
        d = op.derivation
        made = make_plan(d.forward, d.backward, "float64", **({} if menu is None else {"menu": menu}))
        run = Emitted("op", d.forward, made, Poisoned(emulator, check=True)).run(sample)
        assert run["dE"][:, 0].tolist() == [0, 1, 1, 0] if "w[" not in text else [0, 2, 2, 0]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_atomics_add_in_the_compute_type_and_say_so(dtype: str) -> None:
    text = "Y[t,c] = E[ids[t],c]*F[ids[t],c]"
    op = parse(text)
    made = plan(text, dtype, "atomic")
    assert not made.contract.deterministic
    assert set(made.contract.atomics) == {"dE", "dF"}
    added_to = {b.dtype for k in made.backward.kernels if "by atomics" in k.computes[0] for b in k.writes}
    assert added_to == {"compute" if dtype in ("float16", "bfloat16") else "T"}
    rng = np.random.default_rng(1)
    arrays = {"E": rng.standard_normal((5, 3)), "F": rng.standard_normal((5, 3)), "ids": rng.integers(0, 5, 300)}
    sample = Sample(arrays, {"Y": rng.standard_normal((300, 3))}, {"t": 300, "c": 3, "E.0": 5}, "")
    held = {"dE": np.zeros((5, 3), storage(dtype)), "dF": np.ones((5, 3), storage(dtype))}
    checked = Poisoned(emulator, check=True)
    got = Emitted("op", op.derivation.forward, made, checked).run(sample, held)
    plain = Emitted("op", op.derivation.forward, plan(text, dtype), emulator).run(sample, held)
    for name in ("dE", "dF"):
        np.testing.assert_allclose(got[name].astype(float), plain[name].astype(float), rtol=0.02, atol=1e-4)


def test_the_header_and_the_contract_name_the_atomics() -> None:
    made = plan("Y[t,c] = E[ids[t],c]", "float32", "atomic")
    texts = sources("op", made)
    for file in ("op.cu", "op.py"):
        assert "dE by atomics in no fixed order" in texts[file]
    assert json.loads(texts["contract.json"])["deterministic"] is False
    assert "atomics" not in sources("op", plan("Y[t,c] = E[ids[t],c]", "float32"))["op.cu"]


def test_an_unknown_scatter_is_an_error() -> None:
    with pytest.raises(DeriveError, match="scatter"):
        compile("Y[t] = E[ids[t]]", scatter="sorted")
