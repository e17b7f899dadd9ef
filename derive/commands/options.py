"""Options that several commands have."""

from __future__ import annotations

import click

from derive.dtypes import DTYPES

dtype = click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True,
                     help="Type of the real arrays.")
plan = click.option("--plan", type=click.Choice(["fused", "unfused"]), default="fused", show_default=True,
                    help="Attention in tiles, or with its scores in memory.")
scatter = click.option("--scatter", type=click.Choice(["deterministic", "atomic"]), default="deterministic",
                       show_default=True, help="Sums in order, or by atomics: faster, and bits vary.")
size = click.option("--size", "size", multiple=True, metavar="LETTER=N",
                    help="Extent of an index, as t=5; may be repeated.")
