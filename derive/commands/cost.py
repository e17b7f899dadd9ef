"""`derive cost`: FLOPs, bytes, saved tensors, the Jacobian that is never built."""

from __future__ import annotations

import json
from pathlib import Path

import click

from derive.commands import options
from derive.commands.source import find, sizes
from derive.commands.units import iec_bytes
from derive.cost import Report, report
from derive.cost.gpus import GPUS
from derive.cost.report import PASSES
from derive.errors import NotationError


@click.command("cost", short_help="Count FLOPs, bytes, and what is kept, of OP.")
@click.argument("op")
@options.size
@options.dtype
@options.plan
@options.scatter
@click.option("--gpu", type=click.Choice(list(GPUS)), help="Add a roofline estimate from its data sheet.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the roofline (needs matplotlib).")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(op: str, size: tuple[str, ...], dtype: str, plan: str, scatter: str, gpu: str | None, plot: Path | None,
            as_json: bool) -> None:
    """Count what OP costs: symbolic in its index letters, and in numbers when all sizes are given.

    One addition, product, quotient, maximum or function call is one FLOP; a sum over n terms is n additions, so that
    a matrix product is 2*M*N*K. Bytes are each buffer that a kernel reads or writes, once a kernel.
    """
    found = report(find(op).op, sizes(size), dtype, gpu, plan, scatter)
    if gpu is not None and found.sizes is None:
        raise NotationError("an estimate needs every size", value=f"--gpu {gpu}", hint="as in --size m=64 --size n=32")
    if plot is not None:
        if gpu is None or found.sizes is None:
            raise NotationError("a roofline plot needs --gpu and all sizes", hint="as in --gpu h100 --size m=64 ...")
        from derive.cost.plot import roofline

        roofline(found, plot)
    click.echo(json.dumps(found.json(), indent=2, ensure_ascii=False) if as_json else table(found))


def table(r: Report) -> str:
    """The report for people."""
    j, s = r.json(), r.symbolic()
    rows = [("FLOPs forward", _number(j["flops"]["forward"]), s["flops"]["forward"]),
            ("FLOPs backward", _number(j["flops"]["backward"]), s["flops"]["backward"]),
            ("bytes forward", iec_bytes(j["bytes"]["forward"]), s["bytes"]["forward"]),
            ("bytes backward", iec_bytes(j["bytes"]["backward"]), s["bytes"]["backward"]),
            ("kept by the kernels", iec_bytes(j["saved_bytes"]),
             ", ".join(b.tensor for b in r.saved) or "nothing beyond the inputs"),
            ("temporaries", iec_bytes(j["temporary_bytes"]), "at most at once" if r.sizes else "depend on the sizes"),
            ("Jacobian never built", iec_bytes(j["jacobian_bytes"]), s["jacobian_bytes"])]
    out = [f"{name:21}{number:>14}  {symbolic}" for name, number, symbolic in rows]
    for d in PASSES:
        titles = f"{'FLOPs':>14}{'bytes':>14}{'FLOPs/byte':>12}" if r.sizes is not None else ""
        out += ["", f"{d + ' kernels':34}{'plan':12}{titles}".rstrip()]
        for k in j["kernels"]:
            if k["direction"] == d:
                time = f"  {_seconds(k['estimated_seconds'])} (estimate)" if "estimated_seconds" in k else ""
                numbers = f"{_number(k['flops']):>14}{iec_bytes(k['bytes']):>14}"
                numbers += f"{k['intensity'] if k['intensity'] is not None else '':>12}{time}"
                out.append(f"  {k['name']:32}{k['plan']:12}{numbers if r.sizes is not None else ''}".rstrip())
    if r.unfused is not None and r.sizes is not None:
        u = r.unfused.json()
        out += ["", f"without the fused kernels: bytes {iec_bytes(u['bytes']['forward'])} and "
                    f"{iec_bytes(u['bytes']['backward'])}, saved {iec_bytes(u['saved_bytes'])}"]
    if "estimate" in j:
        e = j["estimate"]
        out += ["", f"estimate for {e['gpu']} ({e['source']}): " + ", ".join(
            f"{d} {_seconds(t)}" for d, t in e["seconds"].items()) + "; peak rates, which no kernel reaches"]
    out += ["", "FLOPs of a pass are those of the formula; a kernel's are what it does, with what it computes again"]
    if "_chunks(" in str(s):
        out.append("..._chunks(...): in how many parts that kernels sum apart, as the emitted wrapper defines it")
    if r.sizes is None:
        out += ["", "give every size (--size LETTER=N) for numbers"]
    return "\n".join(out)


def _number(n: int | None) -> str:
    return "" if n is None else f"{n:,}"


def _seconds(t: float) -> str:
    return f"{t * 1e6:.3g} us"
