"""Costs against counts by hand, at the sizes of GPT-2."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

import derive
from derive import catalog
from derive.commands.cost import command
from derive.cost import Report, report
from derive.cost.counts import evaluate
from derive.emit import sources

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


def test_saved_tensors_of_the_table() -> None:
    n = B * S
    assert cost("gelu_tanh", i=n, j=D).json()["saved_bytes"] in (0, None)
    assert cost("layernorm", b=B, s=S, d=D).json()["saved_bytes"] / MIB == pytest.approx(0.03, abs=0.005)
    assert cost("cross_entropy", b=B, s=S, v=V).json()["saved_bytes"] / MIB < 0.03
    mlp = cost("feed_forward", n=n, i=D, h=4 * D, o=D).json()
    assert mlp["saved_bytes"] / MIB in (48, 96)  # the hidden layer before the activation, and after it if kept


def test_attention_by_hand() -> None:
    d = D // H
    found = cost("attention", b=B, h=H, t=S, s=S, d=d).json()
    products = 2 * B * H * S * S * d
    assert found["flops"]["forward"] == pytest.approx(2 * products, rel=0.03)
    assert found["flops"]["backward"] == pytest.approx(4 * products, rel=0.03)
    explicit = found.get("unfused", found)
    assert explicit["saved_bytes"] / MIB == pytest.approx(192, abs=1)
    if "unfused" in found:
        assert found["saved_bytes"] / MIB == pytest.approx(12.19, abs=0.05)


def test_layernorm_traffic_by_hand() -> None:
    found = cost("layernorm", b=B, s=S, d=D).json()
    rows = 4 * B * S * D
    assert found["bytes"]["forward"] == pytest.approx(2 * rows, rel=0.01)
    assert found["bytes"]["backward"] <= 5.2 * rows


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
    for name in ("layernorm", "linear", "softmax", "attention", "gelu", "cross_entropy"):
        for k in cost(name).kernels:
            assert k.flops is not None, (name, k.name, k.computes)


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
