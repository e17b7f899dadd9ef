"""What the model is made of, and that its kernels give the same bits in any order."""

import ast
import json
from pathlib import Path

import check
import model
import numpy as np
import operations
import pytest

from derive import emulator

TINY = Path(__file__).parent / "data" / "tiny.npz"


def test_the_model_computes_nothing_itself() -> None:
    """Of NumPy, the model's path makes and joins arrays; it has no arithmetic of its own but on sizes and scalars."""
    for module in (model, operations):
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)
                and n.value.id in ("np", "cp")}
        used |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Attribute)
                 and n.value.attr == "cp"}
        assert used <= {"Any", "array", "asarray", "asnumpy", "concatenate", "dtype", "empty", "full", "ndarray",
                        "ones", "zeros"}
        assert not any(isinstance(n, ast.MatMult) for n in ast.walk(tree))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_block_keeps_no_scores(dtype: str) -> None:
    """Attention is planned whole: no array of the block has two axes along the sequence."""
    contract = json.loads((operations.emitted("gpt2_block", dtype) / "contract.json").read_text(encoding="utf-8"))
    buffers = [b for p in contract["passes"] for b in (*p["arguments"], *p["results"], *p["temporaries"])]
    assert any(b["axes"].count("size_t") == 1 for b in buffers)
    assert [b["name"] for b in buffers if b["axes"].count("size_t") > 1 or "size_s" in b["axes"]] == []


def test_any_order_of_threads_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    config, held = check.read(TINY)
    plain, options = emulator.RawModule, {}

    class Shuffled(plain):
        def __init__(self, **given: object) -> None:
            super().__init__(**given, **options)

    monkeypatch.setattr(emulator, "RawModule", Shuffled)
    found = []
    for options in ({}, {"order": "random", "seed": 3}):  # noqa: B007
        m = model.GPT2(config, {n: held[f"param/{n}"] for n in config.shapes()}, "float32", "emulator")
        logits, loss = m.forward(*(m.cp.asarray(held[n]) for n in ("tokens", "targets")))
        m.backward()
        m.update(1e-3)
        found.append(m.host({"logits": logits, "loss": loss, "gradients": m.flat_gradient, "updated": m.flat}))
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name])
