"""Scatter: the adjoint of a gather, deterministic by a stable sort of places, or with atomics on request."""
