"""Emitted folders: made whole in memory, then put in place file by file, so that nothing is left half written."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from derive.commands.source import Source
from derive.cost import report
from derive.emit import sources
from derive.export import document, rendered
from derive.extents import small
from derive.files import place_all
from derive.plan import make_plan
from derive.plan.names import clean
from derive.rule.numpy import value_of

Files = Mapping[str, str]


def folder_of(
    source: Source, dtype: str, attention: str = "fused", scatter: str = "deterministic"
) -> tuple[str, Files]:
    """The folder's name and its files' texts."""
    op = source.op
    derivation = op.derivation
    plan = make_plan(derivation.forward, derivation.backward if derivation.backward.outputs else None, dtype,
                     attention=attention, scatter=scatter)
    command = f"derive emit {shlex.quote(source.argument) if '=' not in source.argument else '-'} -o DIR"
    if dtype != "float32":
        command += f" --dtype {dtype}"
    if attention != "fused":
        command += f" --plan {attention}"
    if scatter != "deterministic":
        command += f" --scatter {scatter}"
    constants = [f"{n} = {value_of(v)!r}" for n, v in derivation.forward.params]
    return clean(op.name), sources(op.name, plan, rules=op.rules, numpy_forward=[*constants, *op.forward_numpy],
                                   sizes=small(derivation.forward), derivation=_derivation(source, dtype),
                                   command=command)


def _derivation(source: Source, dtype: str) -> str:
    """The whole derivation as Markdown, with the kernels of this type."""
    page = document(source.op, title=source.title, sentence=source.sentence, origin=source.origin,
                    costs=report(source.op, dtype=dtype))
    return rendered(page, "md")


def write(folder: Path, texts: Mapping[str, Files]) -> list[Path]:
    """Write each operation's files into `folder/name`; the folders.

    Raises:
        FileError: the folder cannot be written; what was there before is as it was.
    """
    place_all(folder, {f"{name}/{file}": text for name, files in texts.items() for file, text in files.items()})
    return [folder / name for name in texts]
