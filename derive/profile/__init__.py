"""What emitted kernels ask of memory, counted on the emulator: bytes, sectors, conflicts, registers.

    found = profile(derive.parse(text), {"m": 512}, "float32")
    found.json()

The memory that a kernel must move is each of its buffers once.  What reaches device memory is counted as the distinct
32-byte sectors that a launch reads, and those that it writes: caches are cold at each launch and hold all it touches.
"""

from derive.profile.report import Profile, profile

__all__ = ["Profile", "profile"]
