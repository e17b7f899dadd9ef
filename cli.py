"""The command line: reads arguments, calls the package, prints. No mathematics is done here."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import click

import derive
from derive.commands import options
from derive.errors import DeriveError, FileError

# As the work goes: what there is, what follows from it, what it costs, the kernels, whether they are right, the text.
ORDER = ("ops", "rule", "check", "cost", "emit", "run", "validate", "profile", "sanitize", "export", "doctor")
LATER = ("check", "cost", "profile", "sanitize", "export")  # each `derive/commands/<name>.py`, loaded when asked for


class Commands(click.Group):
    """A group whose commands end an error as a message and an exit status, never as a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(ORDER)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in LATER:
            command: click.Command = import_module(f"derive.commands.{cmd_name}").command
            return command
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a terminal without ᵀ and ∘ still shows the rest
        try:
            return super().invoke(ctx)
        except DeriveError as error:
            click.echo(error.render(), err=True)
            sys.exit(error.status)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except MemoryError as error:
            click.echo(f"error: this needs more memory than there is\n  value: {error}", err=True)
            sys.exit(2)
        except Exception as error:
            if os.environ.get("DERIVE_TRACEBACK"):
                raise
            click.echo(f"error: derive itself failed: {type(error).__name__}: {error}\n  hint: this is a defect; "
                       "DERIVE_TRACEBACK=1 shows where", err=True)
            sys.exit(3)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(derive.__version__, prog_name="derive")
def main() -> None:
    """From the forward formula of a tensor operation to its gradient, its CUDA kernels, and their proof.

    OP is a name of the catalogue (see `derive ops`), a path to an .op file, a formula such as
    "Y[i] = sum(k, A[i,k]*x[k])", or - for standard input.
    """


def heading(text: str) -> str:
    return click.style(text, bold=True)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def ops(as_json: bool) -> None:
    """List the catalogue."""
    from derive import catalog

    entries = [catalog.load(n) for n in catalog.names()]
    if as_json:
        click.echo(json.dumps([{"name": e.name, "title": e.title, "description": e.sentence, "source": e.source,
                                "formula": e.text} for e in entries], indent=2, ensure_ascii=False))
        return
    width = max(len(e.name) for e in entries)
    for e in entries:
        click.echo(f"{click.style(e.name.ljust(width), bold=True)}  {e.title}")


@main.command()
@click.argument("op")
@click.option("--wrt", multiple=True, metavar="X", help="Input to differentiate by; all if none is given.")
@click.option("--steps", is_flag=True, help="Show the chain rule and every rewrite.")
@click.option("--format", "form", type=click.Choice(["text", "latex", "markdown", "json"]), default="text",
              show_default=True)
def rule(op: str, wrt: tuple[str, ...], steps: bool, form: str) -> None:
    """Print the gradients of OP as matrix and index rules."""
    from derive.commands import source

    found = source.find(op, wrt or None)
    if form == "json":
        click.echo(json.dumps(found.op.json(), indent=2, ensure_ascii=False))
        return
    from derive.commands import show

    if form == "text":
        click.echo(show.text(found, heading, steps))
    else:
        click.echo((show.latex if form == "latex" else show.markdown)(found, steps))


@main.command()
@click.argument("op", nargs=-1, required=True)
@click.option("-o", "--output", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Where the operations' folders go.")
@options.dtype
@options.plan
@options.scatter
@click.option("--nvrtc", is_flag=True, help="Compile too, and keep registers and spills in contract.json.")
def emit(op: tuple[str, ...], folder: Path, dtype: str, plan: str, scatter: str, nvrtc: bool) -> None:
    """Write CUDA kernels and a CuPy wrapper for each OP.

    Each gets a folder DIR/OP that needs derive no more.
    """
    from derive.commands import figures, source, write

    progress = Progress()
    texts = {}
    for n, argument in enumerate(op):
        progress.show(f"emit {n + 1} of {len(op)}: {argument}")
        name, files = write.folder_of(source.find(argument), dtype, plan, scatter)
        if name in texts:
            raise FileError(f"two operations are called {name}", value=argument,
                            hint="they would share a folder: emit one of them into another, or name them by .op files")
        texts[name] = figures.compiled(files) if nvrtc else figures.kept(files, folder / name)
    progress.clear()
    for path in write.write(folder, texts):
        click.echo(path)


@main.command()
@click.argument("op")
@click.option("--inputs", required=True, type=click.Path(path_type=Path), metavar="IN.npz",
              help="Each input by name; cotangents as dY.")
@click.option("--output", required=True, type=click.Path(path_type=Path), metavar="OUT.npz",
              help="Each output by name; gradients as dX.")
@options.dtype
@click.option("--executor", type=click.Choice(["auto", "cupy", "emulator"]), default="auto", show_default=True)
@options.size
@options.plan
@options.scatter
def run(op: str, inputs: Path, output: Path, dtype: str, executor: str, size: tuple[str, ...], plan: str,
        scatter: str) -> None:
    """Run the emitted kernels of OP on given arrays.

    IN.npz holds each input by name and, to run the backward too, the cotangent of an output Y as dY.
    """
    from derive.commands import source
    from derive.run import run_files

    found = source.find(op)
    results = run_files(found.op, inputs, output, dtype, source.sizes(size), executor, plan, scatter)
    if sys.stdout.isatty():
        click.echo(f"{output}: " + ", ".join(f"{n} {list(a.shape)}" for n, a in results.items()))


@main.command()
@click.argument("op", nargs=-1)
@click.option("--all", "every", is_flag=True, help="The whole catalogue.")
@options.dtype
@options.size
@click.option("--check", is_flag=True, help="Run check mode too: bounds, races, uninitialised reads (slow).")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random data.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def validate(op: tuple[str, ...], every: bool, dtype: str, size: tuple[str, ...], check: bool, seed: int,
             as_json: bool) -> None:
    """Judge rules and kernels of each OP by the formula itself.

    Six levels: the rewrites of the derivation, the rule against differences of the formula, compilation for a GPU,
    the kernels on the emulator, check mode, and the kernels on a GPU. One that cannot be run here is said to be
    'not run' and counts for nothing. The exit status is 1 if any failed.
    """
    from derive import catalog
    from derive.commands import source

    if every == bool(op):
        raise click.UsageError("name operations, or give --all")
    sizes = source.sizes(size)
    found = [source.find(o) for o in (catalog.names() if every else op)]
    from derive.validate import report

    progress, reports = Progress(), []
    for n, s in enumerate(found, 1):
        place = f"{n} of {len(found)}: {s.op.name}"
        done = report.validate(s.op, dtype, sizes, check, seed, s.data, progress=partial(progress.below, place))
        progress.clear()
        reports.append(done)
        if not as_json:
            click.echo(report.table(done, paint))
    passed = all(r.passed for r in reports)
    if as_json:
        answer = {"passed": passed, "operations": [r.json() for r in reports]}
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    elif len(reports) > 1:
        click.echo(report.summary(reports))
    sys.exit(0 if passed else 1)


@main.command()
def doctor() -> None:
    """Say what this machine has: compiler, NVRTC, CuPy, GPU, TeX."""
    from derive import doctor as look

    findings = look.examine()
    click.echo(look.text(findings, paint))
    sys.exit(0 if all(f.found for f in findings if f.needed) else 1)


def paint(text: str, colour: str) -> str:
    return click.style(text, fg=colour)


class Progress:
    """One line that is written over, on a terminal; nothing in a pipe."""

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()

    def show(self, text: str) -> None:
        if self.shown:
            click.echo(f"\r\033[K{text}", nl=False, err=True)

    def below(self, place: str, what: str) -> None:
        self.show(f"{place}, {what}")

    def clear(self) -> None:
        self.show("")


if __name__ == "__main__":
    main()
