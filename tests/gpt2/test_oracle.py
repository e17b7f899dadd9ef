"""The oracle's gradients are those of its own forward."""

import numpy as np
import pytest

from tests.gpt2 import oracle


@pytest.mark.parametrize("name", ["wte", "wpe", *oracle.LAYER, "lnfw", "lnfb"])
def test_gradient_is_the_slope_of_the_loss(name: str) -> None:
    rng = np.random.default_rng(5)
    p = oracle.parameters(rng, 2, 12, 11, 7)
    tokens, targets = (rng.integers(0, 11, (2, 6)) for _ in range(2))
    gradient = oracle.backward(p, tokens, targets, oracle.forward(p, 3, tokens, targets)[2])[name]
    direction, step = rng.normal(size=p[name].shape), 1e-5
    up, down = (oracle.forward({**p, name: p[name] + s*direction}, 3, tokens, targets)[0] for s in (step, -step))
    assert (up - down)/(2*step) == pytest.approx((gradient*direction).sum(), rel=1e-6, abs=1e-9)
