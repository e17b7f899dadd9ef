"""Costs against counts by hand, at the sizes of GPT-2."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import derive
from derive import catalog
from derive.commands.cost import command
from derive.cost import Report, report
from derive.cost.counts import evaluate
from derive.emit import sources
from derive.errors import FileError

B, S, D, H, V = 4, 1024, 768, 12, 50257
MIB = 1 << 20


def cost(name: str, dtype: str = "float32", **sizes: int) -> Report:
    return report(derive.parse(catalog.load(name).text, name), sizes, dtype)


def test_a_linear_layer_by_hand() -> None:
    n = B * S
    found = report(derive.parse("Y[n,o] = sum(i, X[n,i]*W[i,o]) + b[o]"), {"n": n, "i": D, "o": 3 * D}).json()
    assert found["flops"]["forward"] == 2 * n * D * 3 * D + n * 3 * D
    assert found["flops"]["backward"] == 2 * 2 * n * D * 3 * D + n * 3 * D
    assert found["minimum_bytes"]["forward"] == 4 * (n * D + D * 3 * D + 3 * D + n * 3 * D)
    assert found["saved_bytes"] == 0
    assert found["jacobian_bytes"] == 4 * (n * 3 * D) * (n * D + D * 3 * D + 3 * D)


def test_a_matrix_product_is_2mnk() -> None:
    found = cost("matmul")
    assert found.symbolic()["flops"]["forward"].startswith("2*")
    assert found.symbolic()["flops"]["backward"].startswith("4*")
    assert found.json()["flops"] == {"forward": None, "backward": None}


def exact(found: Report) -> tuple[int, int]:
    flops = found.json()["flops"]
    return flops["forward"], flops["backward"]


def test_flops_by_hand() -> None:
    """Counts with pencil and paper, in rows n = B S."""
    n = B * S
    # Y = X W + b: a product, and b added; dX = dY Wᵀ, dW = Xᵀ dY, and the columns of dY added up.
    assert exact(cost("linear", n=n, i=D, o=3*D)) == (2*n*D*3*D + n*3*D, 4*n*D*3*D + n*3*D)
    # Two products; on the hidden layer b1 and GELU, X/2 (1 + tanh(c (X + a X³))): cube, times a, plus X, times √2 over
    # √π (2), tanh, plus 1, times X, over 2, nine in all; b2 on the output.  Backward twice the products; 13 for GELU's
    # derivative, which reads that tanh, times dG and the column sum db1, and db2.  Constants are computed once.
    products = 2 * 2*n*D*4*D
    assert exact(cost("feed_forward", n=n, i=D, h=4*D, o=D)) == (products + 10*n*4*D + n*D + 1,
                                                                2*products + 14*n*4*D + n*D + 1)
    # An element: Σ x; x − m, its square, Σ; x − m, times rstd, times γ, plus β.  A row: two means, + eps, rsqrt.
    # Backward: g = γ dY, Σ g, g x̂ and Σ; g − mean − x̂ mean(g x̂) times rstd (two differences, a product, a quotient, a
    # product); dγ (a product and a sum), dβ (a sum).  A row: one mean.
    assert exact(cost("layernorm", b=B, s=S, d=D)) == (8*n*D + 4*n, 12*n*D + n)
    # Maximum, difference, exponential, sum; a row: less the label's score, the sum over rows; the mean over B and S.
    # Backward: score less log-sum-exp, exponential, less the indicator, times dL, over B, over S.
    assert exact(cost("cross_entropy", b=B, s=S, v=V)) == (4*n*V + 2*n + 2, 6*n*V)
    # Two products; of each score the scale and the five of a softmax.  Backward four products; the row term Σ O dO; of
    # each score dP − D, times P, times the scale.
    d, scores = D // H, B*H*S*S
    assert exact(cost("attention", b=B, h=H, t=S, s=S, d=d)) == (2 * 2*scores*d + 6*scores,
                                                               4 * 2*scores*d + 2*B*H*S*d + 3*scores)


def test_saved_tensors_of_the_table() -> None:
    """What other tools keep at these sizes, in MiB: linear 0, GELU 0, GELU MLP 96, layer norm 0.03 at best,
    cross-entropy 0.03 with the logits overwritten (785 else), attention 0.19 and the output fused, 193 and more else.
    """
    n = B * S

    def mib(found: Report) -> float:
        return found.json()["saved_bytes"] / MIB

    assert mib(cost("linear", n=n, i=D, o=3*D)) == 0
    assert mib(cost("gelu_tanh", i=n, j=4*D)) == 0
    assert mib(cost("swiglu", n=n, h=2048)) == 0
    assert mib(cost("feed_forward", n=n, i=D, h=4*D, o=D)) <= 96  # the hidden layer before GELU is 48
    assert mib(cost("layernorm", b=B, s=S, d=D)) == pytest.approx(2 * 4*n/MIB)  # two numbers a row
    assert mib(cost("cross_entropy", b=B, s=S, v=V)) == pytest.approx(4*n/MIB)  # one
    fused = cost("attention", b=B, h=H, t=S, s=S, d=D // H)
    assert mib(fused) == pytest.approx(12 + 4*B*H*S/MIB)  # the output, and one number a row
    assert fused.unfused is not None
    assert mib(fused.unfused) == pytest.approx(12 + 192)  # the output, and every probability


def test_traffic_by_hand() -> None:
    """Operations that wait for memory, in passes over their largest tensor."""
    n = B * S
    for found, forward, backward in (
            (cost("cross_entropy", b=B, s=S, v=V), 1, 2), (cost("layernorm", b=B, s=S, d=D), 2, 3),
            (cost("gelu_tanh", i=n, j=D), 2, 3), (cost("softmax", i=n, j=D), 2, 3)):
        whole = 4 * (n*V if found.sizes and "v" in found.sizes else n*D)
        moved = found.json()["bytes"]
        assert moved["forward"] == pytest.approx(forward * whole, rel=0.01)
        assert moved["backward"] == pytest.approx(backward * whole, rel=0.06)


def test_the_jacobian_of_the_token_losses() -> None:
    op = derive.parse("L[b,s] = logsumexp(v, X[b,s,v]) - X[b,s,labels[b,s]]")
    found = report(op, {"b": B, "s": S, "v": V}).json()
    assert found["jacobian_bytes"] == 4 * (B * S * V) * (B * S)


def test_every_operation_of_the_catalogue_has_symbolic_costs() -> None:
    for name in catalog.names():
        found = cost(name)
        s = found.symbolic()
        assert "?" not in json.dumps(s), name
        assert s["bytes"]["forward"] != "0", name


def test_kernels_know_their_flops() -> None:
    """A rotation does three operations an element and a pooling four, though no letter counts pairs or places."""
    counts = {
        ("rope", "forward_Y"): 3 * 2 * (3 * 5 * 7 * 11), ("max_pool", "forward_Y"): 4 * (3 * 5 * 7 * 11),
        ("softplus", "forward_Y"): 3 * (3 * 5), ("linear", "forward_Y"): 2 * (3 * 5 * 7) + 3 * 7,
    }  # fmt: skip
    sizes = {"rope": {"b": 3, "s": 5, "h": 7, "i": 11}, "max_pool": {"b": 3, "c": 5, "y": 7, "x": 11},
             "softplus": {"i": 3, "j": 5}, "linear": {"n": 3, "i": 5, "o": 7}}  # fmt: skip
    for (name, kernel), flops in counts.items():
        found = {k["name"]: k["flops"] for k in cost(name, **sizes[name]).json()["kernels"]}
        assert found[kernel] == flops, name


def test_half_precision_halves_the_bytes() -> None:
    single, half = (cost("relu", dtype, i=64, j=32).json()["bytes"]["forward"] for dtype in ("float32", "float16"))
    assert single is None or single == 2 * half


def test_launches_are_counted_as_the_emitted_wrapper_makes_them() -> None:
    """The wrapper's own text, run, gives the chunks of rows that the report counts partial sums for."""
    op = derive.parse("R[n] = mean(o, X[n,o]**2)\nY[n,o] = X[n,o]*rsqrt(R[n] + 1e-5)*w[o]")
    d = op.derivation
    from derive.plan import make_plan
    text = sources("op", make_plan(d.forward, d.backward))["op.py"]
    start = text.index("def blocks")
    space: dict[str, Any] = {}
    exec(text[start:text.index("class Kernels")], space)
    for rows in (1, 255, 256, 257, 4096, 10**6):
        for count in (1, 31, 33, 768, 50257):
            code = "row_chunks(n, o, 17)"
            assert evaluate(code, {"n": rows, "o": count}) == eval(code, space, {"n": rows, "o": count})


def test_the_command_prints_a_table_and_json() -> None:
    args = ["Y[m,n] = sum(k, A[m,k]*B[k,n])", "--size", "m=64", "--size", "n=32", "--size", "k=16", "--gpu", "h100"]
    done = CliRunner().invoke(command, args)
    assert done.exit_code == 0, done.output
    assert "estimate" in done.output
    assert "2*" in done.output
    found = json.loads(CliRunner().invoke(command, [*args, "--json"]).output)
    assert found["flops"]["forward"] == 2 * 64 * 32 * 16
    assert found["estimate"]["source"]
    assert sum(k["flops"] for k in found["kernels"]) == 3 * 2 * 64 * 32 * 16


COUNTED = {  # sizes at which the emulator is quick
    "softmax": "i=512 j=96", "layernorm": "b=8 s=64 d=64", "gelu": "i=256 j=64", "cross_entropy": "b=4 s=64 v=128",
    "batchnorm": "b=8 c=32 t=32", "swiglu": "n=128 h=64", "embedding": "v=128 d=64 b=4 s=64",
}
SLOWLY = {
    "linear": "n=256 i=64 o=128", "feed_forward": "n=64 i=64 h=64 o=64", "attention": "b=1 h=2 t=64 s=64 d=32",
    "rmsnorm": "b=4 s=128 d=64", "conv1d": "b=2 o=8 c=8 r=3 t=32", "adamw": "i=4096", "rope": "b=2 s=32 h=4 i=16",
    "bilinear": "n=16 i=32 j=32 o=16", "max": "i=256 j=64", "positional_embedding": "b=16 s=64 d=64 v=128",
}


@pytest.mark.parametrize("name", [*COUNTED, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOWLY)])
def test_bytes_are_those_that_the_emulator_counts(name: str) -> None:
    """Device bytes of all launches, each sector once.

    A gather touches a sector of 32 bytes for an element of 4, and of a table or a sort's scratch only the part that the
    labels ask for: there the cost is a bound.
    """
    from derive.profile import profile

    e = catalog.load(name)
    op = derive.parse(e.text, name)
    sizes = {n: int(v) for n, v in (x.split("=") for x in {**COUNTED, **SLOWLY}[name].split())}
    passes = profile(op, sizes, direction="both", data=e.data).json()["total"]["passes"]
    moved = report(op, sizes).json()["bytes"]
    gathers = any(t.integer for t in op.program.inputs)
    for d in ("forward", "backward"):
        ratio = moved[d] / passes[d]["device_bytes"]
        assert (0.9 if gathers else 0.99) <= ratio <= (2 if gathers else 1.15), (d, ratio)
        assert moved[d] <= passes[d]["requested_bytes"] * (2 if gathers else 1.02)


def test_a_scatter_adds_each_element_once() -> None:
    found = cost("embedding", v=V, d=D, b=B, s=S)
    assert found.json()["flops"] == {"forward": 0, "backward": B * S * D}


def test_the_plan_is_the_one_asked_for() -> None:
    """By atomics the gradient is set to zero and then added to; without tiles, no kernel is fused attention."""
    def kernels(*words: str) -> list[dict[str, Any]]:
        done = CliRunner().invoke(command, [*words, "--json"])
        assert done.exit_code == 0, done.output
        found: list[dict[str, Any]] = json.loads(done.output)["kernels"]
        return [k for k in found if k["direction"] == "backward"]

    assert [k["name"] for k in kernels("embedding", "--scatter", "atomic")] == ["backward_dE_zeros", "backward_dE"]
    assert [k["name"] for k in kernels("embedding")] == ["backward_dE_order", "backward_dE_parts", "backward_dE"]
    assert "attention" in {k["plan"] for k in kernels("attention")}
    assert "attention" not in {k["plan"] for k in kernels("attention", "--plan", "unfused")}


def test_a_gather_reads_what_it_gathers() -> None:
    op = derive.parse("input X[b,s,v]\nY[b,s] = X[b,s,labels[b,s]]")
    assert report(op, {"b": B, "s": S, "v": V}).json()["bytes"]["forward"] == B * S * (4 + 8 + 4)


def test_the_roofline_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra")
    args = ["feed_forward", "--size", "n=64", "--size", "i=64", "--size", "h=64", "--size", "o=64"]
    path = tmp_path / "roofline.png"
    done = CliRunner().invoke(command, [*args, "--gpu", "a100", "--plot", str(path)])
    assert done.exit_code == 0, done.output
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_plot_needs_matplotlib_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from derive.cost.plot import roofline

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(FileError, match=r"plot"):
        roofline(report(derive.parse("Y[i] = X[i]**2"), {"i": 8}, gpu="h100"), tmp_path / "x.png")
