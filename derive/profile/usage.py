"""What NVRTC says of each kernel, and how many of its warps a multiprocessor can hold."""

from __future__ import annotations

from dataclasses import dataclass

from derive.emit import sources
from derive.plan import Plan
from derive.plan.names import clean
from derive.validate.compile import NoNvrtcError, Usage, by_kernel

REGISTERS, THREADS, BLOCKS, WARP = 65536, 2048, 32, 32
REGISTER_UNIT = 256  # a warp's registers come in these
SHARED = {"sm_80": 164 * 1024, "sm_90": 228 * 1024}  # of a multiprocessor
RESERVED = 1024  # of it, by each block


@dataclass(frozen=True)
class Target:
    """One kernel on one architecture."""

    registers: int
    spill_bytes: int
    occupancy: float  # warps that fit, over those that a multiprocessor can have


def usages(name: str, plan: Plan) -> dict[str, list[Usage]] | None:
    """By kernel, one for each architecture; None without NVRTC.

    Raises:
        RunError: NVRTC refuses the text.
    """
    try:
        return by_kernel(sources(name, plan)[f"{clean(name)}.cu"])
    except NoNvrtcError:
        return None


def target(usage: Usage, threads: int, shared: int) -> Target:
    return Target(usage.registers, usage.spilled, occupancy(usage.architecture, usage.registers, threads, shared))


def occupancy(architecture: str, registers: int, threads: int, shared: int) -> float:
    """Of a kernel with blocks of so many threads, each with so many registers, and bytes of shared memory."""
    warps = -(-threads // WARP)
    of_warp = -(-max(registers, 1) * WARP // REGISTER_UNIT) * REGISTER_UNIT
    blocks = min(BLOCKS, THREADS // WARP // warps, REGISTERS // of_warp // warps,
                 SHARED[architecture] // (shared + RESERVED))
    return round(blocks * warps / (THREADS // WARP), 3)
