"""Attention without its n x n tensors: recognised in the formula, planned as tiles.

    site      a softmax over keys of scores that are products of queries and keys
    pairs     what is known of each pair, written out
    rewrite   every sum over the weights P as a sum over tiles: of rows (O, dQ) or of keys (dK, dV)
    units     which of those sums share a kernel
    bounds    which tiles a mask leaves
    kernels   the freeze: a unit becomes a kernel

The forward keeps a running maximum and a running sum a row and saves their log-sum-exp; the backward computes
`P = exp(S - lse)` again, tile by tile, and takes `Σ_s P·dP` as `Σ_v dO·O`.  No atomics: each result has one owner.
"""

from derive.plan.attention.rewrite import Fused, fuse_attention
from derive.plan.attention.site import scored

__all__ = ["Fused", "fuse_attention", "scored"]
