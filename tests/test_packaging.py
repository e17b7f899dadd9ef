"""What lands on a user's machine: the package `derive` and the command, from a wheel and from an editable install."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import derive

ROOT = Path(__file__).parent.parent
DATA = ("templates/**/*", "derive/emulator/include/**/*", "derive/emulator/runtime/**/*", "derive/catalog/*.op")
ALONE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # it would put a checkout in reach

pytest.importorskip("hatchling", reason="the build backend is in the dev extra")
pytest.importorskip("editables", reason="the dev extra again")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, links kept as links, so that building leaves nothing behind here."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("derive", "templates", "cli.py", "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    return copy


def pip(command: str, *args: object, python: Path | None = None) -> None:
    """Run pip offline, with this environment's build backend, for this environment or for that of `python`."""
    target = ["--python", str(python)] if python else []
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    line = [sys.executable, "-m", "pip", *target, command, *options, *map(str, args)]
    done = subprocess.run(line, capture_output=True, text=True, env=ALONE)
    assert done.returncode == 0, done.stderr


def environment(folder: Path) -> Path:
    """A fresh environment that sees this one's libraries but not its editable derive; its site-packages."""
    venv.create(folder, with_pip=False)
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return site


def answer(folder: Path) -> str:
    """What the installed command says, run from a folder where no checkout is in reach."""
    command = [folder / "bin" / "derive", "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=ALONE).stdout


def data_files() -> set[str]:
    found = {p for pattern in DATA for p in ROOT.glob(pattern) if p.is_file() and "__pycache__" not in p.parts}
    names = {str(p.relative_to(ROOT)) for p in found}
    return {n if n.startswith("derive/") else f"derive/{n}" for n in names}


@pytest.mark.parametrize(("link", "target"), [("derive/cli.py", "../cli.py"), ("derive/templates", "../templates")])
def test_links_are_relative_links(link: str, target: str) -> None:
    assert (ROOT / link).is_symlink(), f"{link} must be a link to {target}: ln -sfn {target} {link}"
    assert str((ROOT / link).readlink()) == target


def test_wheel(checkout: Path, tmp_path: Path) -> None:
    pip("wheel", checkout, "--wheel-dir", tmp_path)
    (wheel,) = tmp_path.glob("derive_cuda-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"derive_cuda-{derive.__version__}.dist-info"
    assert {n.split("/")[0] for n in names} == {"derive", info}
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "derive").rglob("*.py")}
    assert modules | data_files() | {"derive/py.typed"} <= names

    site = environment(tmp_path / "env")
    pip("install", wheel, python=tmp_path / "env/bin/python")
    assert answer(tmp_path / "env") == f"derive, version {derive.__version__}\n"
    new = {p.name for p in site.iterdir()} - {"__pycache__", "libraries.pth"}
    assert new == {"derive", info}


def test_editable_install(checkout: Path, tmp_path: Path) -> None:
    environment(tmp_path / "env")
    pip("install", "--editable", checkout, python=tmp_path / "env/bin/python")
    assert answer(tmp_path / "env") == f"derive, version {derive.__version__}\n"
    code = "import derive, derive.cli, pathlib; print(pathlib.Path(derive.__file__).parent / 'templates')"
    command = [tmp_path / "env/bin/python", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=ALONE)
    templates = Path(done.stdout.strip())
    assert templates.is_relative_to(checkout)
    assert {p.name for p in templates.iterdir()} == {p.name for p in (ROOT / "templates").iterdir()}
