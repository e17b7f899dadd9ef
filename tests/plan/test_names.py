"""Words of the kernels' templates are taken: a tensor of that name gets another one."""

import re
from pathlib import Path

import pytest

from derive.plan.names import RESERVED

TEMPLATES = Path(__file__).parents[2] / "templates" / "cuda"
# Text outside of kernels, whose words have a scope of their own.
APART = {"helpers.cu.j2", "tiles.cu.j2", "module.cu.j2", "head.cu.j2"}


def words(template: str) -> set[str]:
    """Identifiers that a template writes itself, members and CUDA's own `__names` left out."""
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}", " ", template, flags=re.S)
    text = re.sub(r"\w*\{\{.*?\}\}\w*", " ", text, flags=re.S)  # a name that is filled in, or part of one
    text = re.sub(r'//[^\n]*|"[^"\n]*"|^#.*$', " ", text, flags=re.M)
    text = re.sub(r"(\.|->)\s*[A-Za-z_]\w*", " ", text)
    return {w for w in re.findall(r"(?<!\w)[A-Za-z_]\w*", text) if not w.startswith("__")}


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("**/*.j2")), ids=lambda p: p.name)
def test_words_of_templates_are_reserved(path: Path) -> None:
    found = words(path.read_text())
    assert found
    if path.name not in APART:
        assert found <= RESERVED, sorted(found - RESERVED)
