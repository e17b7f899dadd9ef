"""`generated/`: each folder's own test, driven against the emulator as it would be against CuPy."""

import importlib.util
from pathlib import Path

import pytest

import derive.emulator

FOLDERS = sorted(p for p in (Path(__file__).parent.parent / "generated").iterdir() if p.is_dir())


def test_there_are_folders() -> None:
    assert len(FOLDERS) > 40


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_its_own_test_passes(folder: Path) -> None:
    spec = importlib.util.spec_from_file_location(f"test_{folder.name}", folder / f"test_{folder.name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    getattr(module, f"test_{folder.name}")(derive.emulator)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_it_needs_nothing_of_derive(folder: Path) -> None:
    for file in folder.glob("*.py"):
        text = file.read_text()
        assert "import derive" not in text
        assert "from derive" not in text
