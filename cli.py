"""The command line: reads arguments, calls the package, prints. No mathematics is done here."""

import sys
from typing import Any

import click

import derive
from derive.errors import DeriveError


class Commands(click.Group):
    """A group whose commands end a DeriveError as a message and an exit status, never as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DeriveError as error:
            click.echo(error.render(), err=True)
            sys.exit(error.status)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(derive.__version__, prog_name="derive")
def main() -> None:
    """From the forward formula of a tensor operation to its gradient, its CUDA kernels, and their proof."""


if __name__ == "__main__":
    main()
