"""Attention as people write it: the formulas that the tests of the fused plan share."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from derive.validate.formula import read, shapes

Array = Any


@dataclass(frozen=True)
class Variant:
    """A formula; `heads` are the sizes of its small axes, `d` and `v` those of queries and values."""

    text: str
    sizes: dict[str, int] = field(default_factory=dict)
    square: bool = False  # queries and keys are of one length
    fixed: tuple[str, ...] = ()  # inputs whose gradient is not compared
    pairs: tuple[str, ...] = ()  # inputs with an entry for each pair

    def arrays(self, queries: int, keys: int, seed: int = 0, scale: float = 1.0) -> dict[str, Array]:
        """Random inputs at the given lengths; `scale` multiplies the queries."""
        rng = np.random.default_rng([seed, queries, keys])
        formula = read(self.text)
        known = {"d": 16, "v": 24, **self.sizes, "t": queries, "s": keys}
        known = {x: n for x, n in known.items() if x in formula.letters}
        made = {}
        for name, shape in shapes(formula, known).items():
            if name == "lengths":
                made[name] = rng.integers(0, keys + 1, shape)
            elif name == "mask":
                made[name] = np.where(rng.uniform(size=shape) < 0.3, -1e30, 0.0)
            else:
                made[name] = rng.standard_normal(shape) * (scale if name in ("Q", "X") else 1)
        return made


VARIANTS = {
    "plain": Variant("""
S[t,s] = sum(d, Q[t,d]*K[s,d])/sqrt(size(d))
P[t,s] = softmax(s, S[t,s])
O[t,v] = sum(s, P[t,s]*V[s,v])"""),
    "causal": Variant(
        """
S[h,t,s] = sum(d, Q[h,t,d]*K[h,s,d])/sqrt(size(d))
P[h,t,s] = softmax(s, where(s <= t, S[h,t,s], -1e30))
O[h,t,v] = sum(s, P[h,t,s]*V[h,s,v])""",
        {"h": 2},
    ),
    "multihead": Variant(
        """
S[b,h,t,s] = sum(d, Q[b,t,h,d]*K[b,s,h,d])*scale
P[b,h,t,s] = softmax(s, where(s <= t, S[b,h,t,s], -1e30))
O[b,t,h,d] = sum(s, P[b,h,t,s]*V[b,s,h,d])""",
        {"b": 2, "h": 3, "d": 7},
    ),
    "time_first": Variant(
        """
P[h,s,t] = softmax(s, sum(d, Q[t,h,d]*K[s,h,d])*0.3)
O[t,h,v] = sum(s, P[h,s,t]*V[s,h,v])""",
        {"h": 2, "d": 5, "v": 3},
    ),
    "grouped": Variant(
        """
input K[b,g,s,d]
input V[b,g,s,v]
S[b,h,t,s] = sum(d, Q[b,h,t,d]*K[b,h//2,s,d])/sqrt(size(d))
P[b,h,t,s] = softmax(s, where(s <= t, S[b,h,t,s], -1e30))
O[b,h,t,v] = sum(s, P[b,h,t,s]*V[b,h//2,s,v])""",
        {"b": 2, "h": 3, "g": 2},
    ),
    "grouped_axes": Variant(
        """
S[g,r,t,s] = sum(d, Q[g,r,t,d]*K[g,s,d])*0.4
P[g,r,t,s] = softmax(s, where(s <= t, S[g,r,t,s], -1e30))
O[g,r,t,d] = sum(s, P[g,r,t,s]*V[g,s,d])""",
        {"g": 2, "r": 3},
    ),
    "soft_cap": Variant("""
S[t,s] = 5*tanh(sum(d, Q[t,d]*K[s,d])/5)
P[t,s] = softmax(s, where(s <= t, S[t,s], -1e30))
O[t,v] = sum(s, P[t,s]*V[s,v])"""),
    "alibi": Variant(
        """
S[h,t,s] = sum(d, Q[h,t,d]*K[h,s,d])/sqrt(size(d)) - slope[h]*(t - s)
P[h,t,s] = softmax(s, where(s <= t, S[h,t,s], -1e30))
O[h,t,v] = sum(s, P[h,t,s]*V[h,s,v])""",
        {"h": 2},
    ),
    "window": Variant("""
S[t,s] = sum(d, Q[t,d]*K[s,d])*0.3
P[t,s] = softmax(s, where(s <= t and t - s < 20, S[t,s], -1e30))
O[t,v] = sum(s, P[t,s]*V[s,v])"""),
    "padding": Variant(
        """
S[b,t,s] = sum(d, Q[b,t,d]*K[b,s,d])*0.3
P[b,t,s] = softmax(s, where(s < lengths[b], S[b,t,s], -1e30))
O[b,t,v] = sum(s, P[b,t,s]*V[b,s,v])""",
        {"b": 3},
    ),
    "padding_declared": Variant(
        """
input lengths[b]: int
S[b,t,s] = sum(d, Q[b,t,d]*K[b,s,d])*0.3
P[b,t,s] = softmax(s, where(s < lengths[b] and t < lengths[b], S[b,t,s], -1e30))
O[b,t,v] = sum(s, P[b,t,s]*V[b,s,v])""",
        {"b": 3},
    ),
    "key_bias": Variant(
        """
P[h,t,s] = softmax(s, sum(d, Q[h,t,d]*K[h,s,d])*0.3 + B[h,s])
O[h,t,v] = sum(s, P[h,t,s]*V[h,s,v])""",
        {"h": 2},
    ),
    "additive_mask": Variant(
        """
S[h,t,s] = sum(d, Q[h,t,d]*K[h,s,d])/sqrt(size(d)) + mask[t,s]
P[h,t,s] = softmax(s, S[h,t,s])
O[h,t,v] = sum(s, P[h,t,s]*V[h,s,v])""",
        {"h": 2},
        fixed=("mask",),
        pairs=("mask",),
    ),
    "shared_bias": Variant(
        """
S[b,h,t,s] = sum(d, Q[b,h,t,d]*K[b,h,s,d])*0.3 + B[h,t,s]
P[b,h,t,s] = softmax(s, where(s <= t, S[b,h,t,s], -1e30))
O[b,h,t,v] = sum(s, P[b,h,t,s]*V[b,h,s,v])""",
        {"b": 3, "h": 2},
        pairs=("B",),
    ),
    "bias": Variant(
        """
P[t,s] = softmax(s, sum(d, Q[t,d]*K[s,d])*0.3 + B[t,s])
O[t,v] = sum(s, P[t,s]*V[s,v])""",
        pairs=("B",),
    ),
    "not_later": Variant("""
P[t,s] = softmax(s, where(s > t, -1e30, sum(d, Q[t,d]*K[s,d])*0.3))
O[t,v] = sum(s, P[t,s]*V[s,v])"""),
    "exponentials": Variant("""
E[t,s] = exp(sum(d, Q[t,d]*K[s,d])*0.2)
O[t,v] = sum(s, E[t,s]*V[s,v])/sum(s, E[t,s])"""),
    "one_input": Variant(
        """
P[t,s] = softmax(s, sum(d, X[t,d]*X[s,d])*0.1)
Y[t,d] = sum(s, P[t,s]*X[s,d]) + X[t,d]""",
        square=True,
    ),
    "projected": Variant(
        """
Q[t,d] = sum(c, X[t,c]*Wq[c,d])
K[t,d] = sum(c, X[t,c]*Wk[c,d])
V[t,d] = sum(c, X[t,c]*Wv[c,d])
P[t,s] = softmax(s, where(s <= t, sum(d, Q[t,d]*K[s,d])*0.05, -1e30))
Y[t,c] = sum(d, sum(s, P[t,s]*V[s,d])*Wo[d,c])""",
        {"c": 6, "d": 5},
        square=True,
    ),
    "gated": Variant(
        """
P[h,t,s] = softmax(s, where(s <= t, sum(d, Q[h,t,d]*K[h,s,d])*0.3, -1e30))
O[h,t,v] = sum(s, P[h,t,s]*G[h,s]*V[h,s,v])""",
        {"h": 2},
    ),
    "two_terms": Variant(
        """
S[t,s] = sum(d, Q[t,d]*K[s,d]) + sum(c, A[t,c]*B[s,c])
P[t,s] = softmax(s, 0.2*S[t,s])
O[t,v] = sum(s, P[t,s]*V[s,v])""",
        {"c": 9},
    ),
}
