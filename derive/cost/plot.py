"""The roofline as a picture: each kernel by its arithmetic intensity and what the GPU could do with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from derive.cost.gpus import GPUS
from derive.cost.report import Report
from derive.errors import FileError


def roofline(r: Report, path: Path) -> None:
    """Draw to `path`, in the format that its suffix names.

    Raises:
        FileError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        import matplotlib
    except ImportError as e:
        raise FileError("matplotlib is not installed", hint="pip install 'derive-cuda[plot]'") from e
    matplotlib.use("Agg")
    from matplotlib import pyplot

    assert r.gpu is not None
    gpu, dtype = GPUS[r.gpu], r.plan.dtype
    peak, ridge = gpu.flops[dtype], gpu.flops[dtype] / gpu.bandwidth
    kernels = [k for k in r.json()["kernels"] if k["intensity"]]
    left = min([0.05, *(k["intensity"] / 2 for k in kernels)])
    right = max([ridge * 20, *(k["intensity"] * 2 for k in kernels)])
    figure, axes = pyplot.subplots(figsize=(9, 4.8), layout="constrained")
    axes.loglog([left, ridge, right], [left * gpu.bandwidth, peak, peak], color="0.35")
    axes.axvline(ridge, color="0.8", linewidth=1, zorder=0)
    axes.text(ridge, left * gpu.bandwidth * 1.2, f" {ridge:.0f} FLOP/byte", fontsize=8, color="0.4")
    for d, marker in (("forward", "o"), ("backward", "s")):
        for n, k in enumerate(kernels, 1):
            if k["direction"] == d:
                top = min(peak, k["intensity"] * gpu.bandwidth)
                time = k["estimated_seconds"] * 1e6
                axes.plot(k["intensity"], top, marker, markersize=7, alpha=0.85, linestyle="none",
                          label=f"{n}  {k['name']}, {time:,.1f} µs")
                axes.annotate(str(n), (k["intensity"], top), fontsize=8, ha="center", textcoords="offset points",
                              xytext=(0, 7 + 9 * _under(kernels[:n - 1], k)))
    axes.set_xlim(left, right)
    axes.set_ylim(left * gpu.bandwidth, peak * 6)
    axes.set_xlabel("arithmetic intensity, FLOP / byte")
    axes.set_ylabel("FLOP / s, at most")
    axes.set_title(f"{gpu.name}, {dtype}: estimate from data-sheet peaks", fontsize=11)
    if kernels:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as e:
        raise FileError(f"cannot write {path}", value=e) from e
    finally:
        pyplot.close(figure)


def _under(before: list[dict[str, Any]], k: dict[str, Any]) -> int:
    """How many numbers stand already where this kernel's is to stand."""
    return sum(0.8 < b["intensity"] / k["intensity"] < 1.25 for b in before)
