"""The memory that kernels see in a run of attention: as many arrays of n x d as it has, and none of n x n."""

import subprocess
import sys

import pytest

# The kernels' memory is a sparse file: its blocks are what was ever touched.
MEASURE = """
import os
import sys

import numpy as np

from derive import catalog
from derive.emulator import arena
from derive.run import compile

plan, heads, length, width = sys.argv[1], *map(int, sys.argv[2:])
op = compile(catalog.load("attention").text, "float32", "emulator", attention=plan)
draw = np.random.default_rng(0).standard_normal
arrays = {n: draw((1, heads, length, width), np.float32) for n in "QKVO"}
cotangent = arrays.pop("O")
assert all(np.isfinite(a).all() for a in op.run(arrays, {"O": cotangent}).values())
print(512*os.fstat(arena.current().fd).st_blocks)
"""


def touched(plan: str, heads: int, length: int, width: int) -> int:
    """Bytes that a forward and a backward touch."""
    command = [sys.executable, "-c", MEASURE, plan, *(str(n) for n in (heads, length, width))]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(
    ("heads", "length", "width"),
    [(4, 512, 16), pytest.param(16, 1024, 64, marks=pytest.mark.slow)],
)
def test_memory_is_that_of_the_rows(heads: int, length: int, width: int) -> None:
    one, many = (touched("fused", h, length, width) for h in (1, heads))
    row = 4 * length * width
    assert one < 9 * row + (1 << 16)  # Q, K, V, O and their gradients, and two numbers a row
    assert many < heads * one
    square = 4 * length * length
    assert one < square
    assert touched("unfused", 1, length, width) > 2 * square
