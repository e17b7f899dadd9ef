"""Rewrites of derived gradients: one file a pass, each a formula with its conditions and why it ends."""

from derive.simplify.passes import Simplified, Step, simplify

__all__ = ["Simplified", "Step", "simplify"]
