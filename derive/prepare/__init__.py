"""The forward formula made ready for differentiation: stable spellings first, then one reduction a statement."""

from derive.prepare.hoist import hoist
from derive.prepare.stable import stabilise

__all__ = ["hoist", "stabilise"]
