"""Peak rates of some GPUs, from their data sheets, for a roofline estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """Peaks without sparsity.

    Attributes:
        flops: peak by dtype, FLOP/s; 16-bit types on tensor cores with float32 accumulation, the others on CUDA cores.
        bandwidth: of device memory, bytes/s.
        source: where the figures stand.
    """

    name: str
    flops: Mapping[str, float]
    bandwidth: float
    source: str


GPUS = {
    "a100": Gpu("A100 SXM 80 GB", {"float64": 9.7e12, "float32": 19.5e12, "float16": 312e12, "bfloat16": 312e12},
                2.039e12, "NVIDIA A100 Tensor Core GPU data sheet"),
    "h100": Gpu("H100 SXM", {"float64": 34e12, "float32": 67e12, "float16": 989.4e12, "bfloat16": 989.4e12},
                3.35e12, "NVIDIA H100 Tensor Core GPU data sheet"),
    "h200": Gpu("H200 SXM", {"float64": 34e12, "float32": 67e12, "float16": 989.4e12, "bfloat16": 989.4e12},
                4.8e12, "NVIDIA H200 Tensor Core GPU data sheet"),
    "rtx4090": Gpu("GeForce RTX 4090", {"float64": 1.29e12, "float32": 82.6e12, "float16": 165.2e12,
                                        "bfloat16": 165.2e12},
                   1.008e12, "NVIDIA Ada GPU architecture white paper"),
}


def seconds(flops: int, moved: int, dtype: str, gpu: Gpu) -> float:
    """The roofline: the longer of computing at the peak and moving at the bandwidth."""
    return max(flops / gpu.flops[dtype], moved / gpu.bandwidth)
