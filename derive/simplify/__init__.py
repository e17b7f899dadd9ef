"""Rewrites of derived gradients: one file a pass, each a formula with its conditions and why it ends."""
