"""`derive profile`: what an operation's kernels ask of memory, counted on the CPU."""

from __future__ import annotations

import json

import click

from derive.commands import options
from derive.commands.source import find, sizes
from derive.commands.units import iec_bytes
from derive.profile import Profile, profile


@click.command("profile", short_help="Count what OP's kernels ask of memory.")
@click.argument("op")
@options.size
@options.dtype
@options.plan
@options.scatter
@click.option("--pass", "direction", type=click.Choice(["backward", "forward", "both"]), default="backward",
              show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(op: str, size: tuple[str, ...], dtype: str, plan: str, scatter: str, direction: str, as_json: bool) -> None:
    """Count what OP's kernels ask of memory, without a GPU.

    Each kernel runs on the emulator. `must` is each of its buffers once; `requested` what its threads load and store;
    `device` the distinct 32-byte sectors that it reads and writes, caches cold at each launch; `ratio` is device over
    must. Bank conflicts are extra cycles. Registers and spills come from NVRTC, where it is installed.
    """
    source = find(op)
    found = profile(source.op, sizes(size), dtype, direction, source.data, attention=plan, scatter=scatter)
    click.echo(json.dumps(found.json(), indent=2, ensure_ascii=False) if as_json else table(found))


def table(p: Profile) -> str:
    """The counters for people."""
    j = p.json()
    letters = ", ".join(f"{x}={n}" for x, n in p.sizes.items())
    out = [f"{p.op}, {p.dtype}{', ' + letters if letters else ''}", "",
           f"{'':34}{'must':>12}{'requested':>12}{'device':>12}{'ratio':>8}{'coalesced':>11}{'conflicts':>11}"
           f"{'barriers':>10}{'registers':>11}{'spills':>8}"]
    for row in [*j["kernels"], {"name": "total", **j["total"]}]:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.3f}"
        used = ["" if row.get(n) is None else str(row[n]) for n in ("registers", "spill_bytes")]
        out.append(f"{row['name']:34}{iec_bytes(row['must_bytes']):>12}{iec_bytes(row['requested_bytes']):>12}"
                   f"{iec_bytes(row['device_bytes']):>12}{ratio:>8}{row['coalescing']:>11.1%}{row['bank_conflicts']:>11,}"
                   f"{row['barriers']:>10,}{used[0]:>11}{used[1]:>8}")
    if p.why:
        out += ["", *(f"  {w}" for w in p.why)]
    return "\n".join(out)
