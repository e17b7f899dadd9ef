"""What the plan of an attention keeps, skips and promises; which formulas keep their n x n tensors, and why."""

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from derive import emulator
from derive.cost.counts import evaluate
from derive.emit import sources
from derive.operation import parse
from derive.plan import Plan, make_plan
from derive.run import _import, compile
from tests.attention.spellings import SPELLINGS
from tests.attention.variants import VARIANTS

ALL = {**VARIANTS, **SPELLINGS}


def plan_of(text: str, **options: Any) -> Plan:
    d = parse(text).derivation
    return make_plan(d.forward, d.backward if d.backward.outputs else None, **options)


def over_pairs(plan: Plan, given: tuple[str, ...] = ()) -> list[str]:
    """Buffers with an axis of queries and one of keys, other than those the user gave."""
    allowed = {*given, *(f"d{g}" for g in given)}
    found = []
    for p in plan.passes:
        for b in (*p.arguments, *p.results, *p.temporaries):
            sequence = [a for a in b.axes if a in ("size_t", "size_s")]
            if len(sequence) > 1 and b.tensor not in allowed:
                found.append(b.name)
    return found


@pytest.mark.parametrize("name", ALL)
def test_no_buffer_has_two_sequence_axes(name: str) -> None:
    variant = ALL[name]
    plan = plan_of(variant.text)
    assert over_pairs(plan, variant.pairs) == []
    assert not any("keeps its" in note for note in plan.contract.notes)
    assert over_pairs(plan_of(variant.text, attention="unfused"), variant.pairs) != []


def test_memory_grows_with_the_length() -> None:
    plan = plan_of(VARIANTS["multihead"].text)
    assert plan.backward is not None

    def count(n: int) -> int:
        sizes = {"size_b": 1, "size_h": 16, "size_t": n, "size_s": n, "size_d": 64}
        buffers = {b.name: b for p in plan.passes for b in (*p.arguments, *p.results, *p.temporaries)}
        return sum(evaluate(b.count, sizes) for b in buffers.values())

    assert count(2048) < 2.01 * count(1024)


def test_only_the_output_and_a_number_a_row_are_saved() -> None:
    plan = plan_of(VARIANTS["causal"].text)
    saved = [b for b in plan.forward.results if b.role == "saved"]
    assert [b.axes for b in saved] == [("size_h", "size_t")]
    assert plan.backward is not None
    assert [(k.plan, [b.name for b in k.writes]) for k in plan.backward.kernels] == [
        ("row", ["P_row"]),
        ("attention", ["dQ"]),
        ("attention", ["dK", "dV"]),
    ]


def backward_writes(name: str) -> list[list[str]]:
    backward = plan_of(ALL[name].text).backward
    assert backward is not None
    return [[b.name for b in k.writes] for k in backward.kernels if k.plan == "attention"]


def test_groups_of_axes_that_nothing_ties_share_a_kernel() -> None:
    """`K[h//2]` and `V[h//2]` may have different lengths; dK and dV still take the weights once."""
    assert sorted(backward_writes("grouped_undeclared")) == [["dK", "dV"], ["dQ"]]


def test_sums_over_other_heads_have_other_kernels() -> None:
    """dV sums over the first head only, dK and dU over both of a group."""
    assert sorted(backward_writes("some_heads"))[:3] == [["P_sum3"], ["dK", "dU"], ["dQ"]]


def test_sides_that_are_saved_are_read() -> None:
    """Rotated queries and keys are kept for the scores; the products of the gradients read them too."""
    plan = plan_of(ALL["rotary"].text)
    assert plan.backward is not None
    tiles = [k for k in plan.backward.kernels if k.plan == "attention"]
    assert [{b.tensor for b in k.reads} for k in tiles] == [{"R", "T", "V", "P_lse", "dO", "P_row"}]*2
    assert not {"R", "T"} & set(plan.contract.recomputed)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_row_term_is_a_product_of_the_output(name: str) -> None:
    """No kernel has to sum P*dP over the keys: one for the rows and one for the keys are enough for the backward."""
    plan = plan_of(VARIANTS[name].text)
    assert plan.backward is not None
    tiles = [k for k in plan.backward.kernels if k.plan == "attention"]
    assert (
        sum(not any(g in [b.tensor for b in k.writes] for g in ("dmask", "dB")) or len(k.writes) > 1 for k in tiles)
        == 2
    )
    term = next(k for k in plan.backward.kernels if any(b.tensor.endswith("_row") for b in k.writes))
    assert term.plan != "attention"


@pytest.mark.parametrize(
    ("name", "narrowed"),
    [
        *(("plain", 0), ("causal", 3), ("not_later", 3), ("window", 6), ("padding", 3), ("padding_declared", 6)),
        *(("last_queries", 3), ("either_side", 6), ("mask_in_a_mask", 6), ("mask_after", 0)),
    ],
)
def test_tiles_that_an_index_condition_masks_are_skipped(name: str, narrowed: int) -> None:
    """A bound for each kernel and condition."""
    text = sources("op", plan_of(ALL[name].text))["op.cu"]
    assert len(re.findall(r"^ +if \(.*limit.*\) (?:{\n +)?(?:stop|begin) = ", text, re.M)) == narrowed


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("P[t,s] = softmax(s, sum(d, Q[t,d]*K[s,d]))\nO[t,v] = sum(s, P[t,s]*V[s,v])\noutput P, O", "P is an output"),
        (
            "S[t,s] = sum(d, Q[t,d]*K[s,d])\nP[t,s] = softmax(s, S[t,s])\nO[t,v] = sum(s, P[t,s]*V[s,v])\noutput S, O",
            "S is an output",
        ),
        ("P[t,s] = softmax(s, sum(d, Q[t,d]*K[s,d]))\nZ[t] = max(s, P[t,s])", "max over P"),
    ],
)
def test_a_formula_that_shows_its_pairs_keeps_them(text: str, why: str) -> None:
    plan = plan_of(text)
    assert not any(k.plan == "attention" for k in plan.forward.kernels)
    assert any(why in note for note in plan.contract.notes)


def test_a_softmax_that_is_no_attention_is_left_alone() -> None:
    plan = plan_of("P[t,s] = softmax(s, S[t,s])\nO[t,v] = sum(s, P[t,s]*V[s,v])")
    assert not any("keeps its" in note for note in plan.contract.notes)
    assert not any(k.plan == "attention" for k in plan.forward.kernels)


# ------------------------------------------------------------------------------------------------- runs


def executor(**options: Any) -> Any:
    """The emulator with options for every module."""
    names = {n: getattr(emulator, n) for n in emulator.__all__ if n != "bfloat16"}
    return SimpleNamespace(**{**names, "RawModule": lambda **k: emulator.RawModule(**k, **options)})


def kernels(text: str, **options: Any) -> Any:
    op = compile(text, "float32", "emulator")
    return _import("op", sources("op", op.plan)).load(executor(**options)), op


def run(loaded: Any, op: Any, arrays: dict[str, Any]) -> list[Any]:
    whole = {t.name for t in op.forward_program.inputs if t.integer}
    device = {n: emulator.asarray(a if n in whole else a.astype(np.float32)) for n, a in arrays.items()}
    made = loaded.op_forward(*(device[b.tensor] for b in op.plan.forward.arguments))
    device |= zip((b.tensor for b in op.plan.forward.results), made, strict=True)
    device |= {f"d{o}": device[o] for o in op.forward_program.outputs}
    back = loaded.op_backward(*(device[b.tensor] for b in op.plan.backward.arguments))
    return [np.array(a) for a in (*made, *back)]


def each(*quick: str) -> Any:
    """Every formula; those that are not named are slow."""
    slow = pytest.mark.slow
    return pytest.mark.parametrize("name", [n if n in quick else pytest.param(n, marks=slow) for n in ALL])


def test_axes_that_a_kernel_shares_may_differ() -> None:
    """The groups that no head reads have no gradient; the others have the same bits whatever there is beside them."""
    loaded, op = kernels(ALL["grouped_undeclared"].text, check=True)
    arrays = ALL["grouped_undeclared"].arrays(9, 11)
    names = [b.tensor for b in (*op.plan.forward.results, *op.plan.backward.results)]
    first = dict(zip(names, run(loaded, op, arrays), strict=True))
    for keys, values in ((2, 5), (6, 2), (3, 4)):
        wider = {n: np.concatenate([arrays[n], np.ones((count - 2, *arrays[n].shape[1:]))])
                 for n, count in (("K", keys), ("V", values))}
        found = dict(zip(names, run(loaded, op, {**arrays, **wider}), strict=True))
        for n, a in found.items():
            count = len(first[n])
            assert a[:count].tobytes() == first[n].tobytes()
            assert not a[count:].any()


@each("causal", "grouped", "alibi")
def test_every_order_of_blocks_and_threads_gives_the_same_bits(name: str) -> None:
    arrays = ALL[name].arrays(129, 129)
    first = run(*kernels(ALL[name].text), arrays)
    for options in ({}, {"order": "random", "seed": 1}, {"order": "random", "seed": 2}):
        for a, b in zip(first, run(*kernels(ALL[name].text, **options), arrays), strict=True):
            assert a.tobytes() == b.tobytes()


@each("causal", "grouped", "padding", "bias")
def test_check_mode_finds_nothing(name: str) -> None:
    loaded, op = kernels(ALL[name].text, check=True)
    for length in (5, 66):
        run(loaded, op, ALL[name].arrays(length, length))


@pytest.mark.parametrize(("dtype", "side"), [("float32", 64), ("bfloat16", 64), ("float64", 32)])
def test_a_tile_is_as_large_as_registers_allow(dtype: str, side: int) -> None:
    """dK and dV in one kernel keep six values of a pair: 96 registers in float32, 192 in float64 with tiles of 64."""
    backward = plan_of(VARIANTS["multihead"].text, dtype=dtype).backward
    assert backward is not None
    assert [k.shape.side for k in backward.kernels if k.name == "backward_dK_dV"] == [side]  # type: ignore[attr-defined]
