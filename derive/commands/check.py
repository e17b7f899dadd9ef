"""`derive check`: claims, proved or refuted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from derive.claim import Verdict, check, check_all
from derive.commands.source import find
from derive.errors import FileError, NotationError

COLOURS = {"proved": "green", "refuted": "red", "undecided": "yellow"}


@click.command("check", short_help="Prove or refute claimed rules of OP.")
@click.argument("op")
@click.option("--claim", "claims", multiple=True, metavar="RULE", help='As "dB = A.T @ dY"; may be repeated.')
@click.option("--claims", "path", type=click.Path(path_type=Path), metavar="FILE", help="A file of claims, one a line.")
@click.option("--json", "as_json", is_flag=True, help="For machines: an object for one --claim, else a list.")
def command(op: str, claims: tuple[str, ...], path: Path | None, as_json: bool) -> None:
    """Prove or refute claimed rules of OP.

    A claim is in matrix syntax (dB = A.T @ dY), in indices (dB[k,n] = sum(m, A[m,k]*dY[m,n])), or about an element:
    d(P[i])/d(S[j]) = where(i == j, P[i]*(1 - P[i]), -P[i]*P[j]).  Exit status 1 if one is refuted or undecided.

    With --json, one --claim gives {"verdict", "reason", "rule"}; several, or a file, a list of these with "claim".
    """
    if not claims and path is None:
        raise NotationError("there is no claim", hint='give --claim "dB = A.T @ dY", or --claims FILE')
    operation = find(op).op
    found = [check(operation, c) for c in claims]
    if path is not None:
        found += check_all(operation, _lines(path))
    if as_json:
        rows = [v.json() for v in found]
        alone = len(claims) == 1 and path is None
        click.echo(json.dumps(rows[0] if alone else [{"claim": v.claim, **v.json()} for v in found], indent=2,
                              ensure_ascii=False))
    elif path is None:
        click.echo("\n\n".join(_one(v) for v in found))
    else:
        click.echo("\n".join(_table(found)))
    if any(v.verdict != "proved" for v in found):
        sys.exit(1)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise FileError(f"cannot read {path}", value=getattr(e, "strerror", None) or e) from e


def _one(v: Verdict) -> str:
    return "\n".join([f"{_word(v)}: {v.claim}", f"  {v.reason}", *([f"  right: {v.rule}"] if v.rule else [])])


def _word(v: Verdict) -> str:
    return click.style(v.verdict, fg=COLOURS[v.verdict], bold=True)


def _table(found: list[Verdict]) -> list[str]:
    """A row a claim; under a refuted one its reason and the right rule."""
    rows = []
    for v in found:
        rows.append(f"{_word(v)}{' ' * (10 - len(v.verdict))} {v.claim}")
        rows.append(f"{' ' * 11}  {v.reason}")
        if v.verdict != "proved":
            rows.append(f"{' ' * 11}  right: {v.rule}")
    total = {w: sum(v.verdict == w for v in found) for w in COLOURS}
    rows.append(", ".join(f"{n} {w}" for w, n in total.items() if n) or "no claim")
    return rows
