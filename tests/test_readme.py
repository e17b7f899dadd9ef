"""The README shows what the commands print."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from derive.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text()
SHOWN = {  # a block's first line, and what it shows below it
    block.split("\n")[0].removeprefix("$ derive "): block.split("\n", 1)[1].strip()
    for block in re.findall(r"^```\n(.*?)^```", README, re.M | re.S)
    if block.startswith("$ derive ") and block.count("$ derive ") == 1
}


def plain(text: str) -> list[str]:
    """Lines without figures, which may differ, and without what depends on the machine."""
    lines = [re.sub(r"\d+(\.\d+)?(e-?\d+)?", "0", line).rstrip() for line in text.strip().splitlines()]
    return [line for line in lines if not line.startswith(("  0 compile", "  0 gpu"))]


def test_there_are_such_blocks() -> None:
    assert {command.split()[0] for command in SHOWN} == {"rule", "validate"}


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_prints_what_the_readme_shows(command: str) -> None:
    done = CliRunner().invoke(main, shlex.split(command))
    assert done.exit_code == 0, done.output
    if command.startswith("rule"):
        assert done.output.strip() == SHOWN[command]
    assert plain(done.output) == plain(SHOWN[command])


def test_every_command_is_named() -> None:
    names = set(main.list_commands(None))  # type: ignore[arg-type]
    assert {n for n in names if not re.search(rf"derive {n}\b", README)} == set()
