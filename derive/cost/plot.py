"""The roofline as a picture: each kernel by its arithmetic intensity and what the GPU could do with it."""

from __future__ import annotations

from pathlib import Path

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
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    axes.loglog([1e-2, ridge, ridge * 100], [1e-2 * gpu.bandwidth, peak, peak], color="0.4")
    for k in r.json()["kernels"]:
        if k["intensity"]:
            top = min(peak, k["intensity"] * gpu.bandwidth)
            axes.plot(k["intensity"], top, "o")
            axes.annotate(k["name"], (k["intensity"], top), fontsize=7, rotation=30, xytext=(3, 3),
                          textcoords="offset points")
    axes.set_xlabel("FLOP / byte")
    axes.set_ylabel("FLOP / s, at most")
    axes.set_title(f"{gpu.name}, {dtype}: estimate from data-sheet peaks")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as e:
        raise FileError(f"cannot write {path}", value=e) from e
    finally:
        pyplot.close(figure)
