"""The shape of the package: imports point one way, `import derive` is light, files stay short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The stages in order. A module may import from its own stage and from those before it, never from a later one.
STAGES = [
    "errors",
    "dtypes",
    "files",
    "expr",
    "program",
    "notation",
    "extents",
    "reads",
    "guards",
    "calculus",
    "deltas",
    "patterns",
    "exact",
    "partials",
    "chain",
    "simplify",
    "prepare",
    "rule",
    "catalog",
    "pipeline",
    "operation",
    "plan",
    "emit",
    "emulator",
    "arrays",
    "run",
    "cost",
    "claim",
    "export",
    "validate",
    "gallery",
    "profile",
    "doctor",
    "commands",
    "cli",
]

# Stages that may see only these others (and themselves), whatever stands before them.
ONLY = {
    "emulator": {"errors"},  # runs anybody's CUDA text
    "validate.formula": {"errors"},  # the judge shares no code with what it judges
    "validate.interpret": {"errors", "validate.formula"},
    "validate.differences": {"errors", "validate.formula", "validate.interpret"},
    "validate.tangents": {"errors", "validate.formula", "validate.interpret"},
}

FORBIDDEN = {"cupy", "torch", "jax"}  # never imported when a module is: only inside the function that needs it

LIMIT = 420


def modules() -> dict[str, Path]:
    """Dotted name below `derive` -> file."""
    found = {}
    for path in sorted((ROOT / "derive").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / "derive").with_suffix("").parts)
        if not name.startswith("templates."):
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(name: str, path: Path) -> set[str]:
    """Every `derive` module that this one imports, at the top or inside a function, as dotted names below derive."""
    package = ["derive", *name.split(".")]
    if path.name != "__init__.py":
        package.pop()
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for a in node.names:
                full = f"{module}.{a.name}"
                found.add(full if full.removeprefix("derive.") in MODULES else module)
    return {m.removeprefix("derive.") for m in found if m.startswith("derive.")}


@pytest.mark.parametrize("name", [n for n in MODULES if n != "__init__"])
def test_imports_point_to_earlier_stages(name: str) -> None:
    stage = name.split(".")[0]
    assert stage in STAGES, f"derive/{stage} has no place in STAGES: give it one"
    for other in sorted(imports(name, MODULES[name])):
        below = other.split(".")[0]
        assert STAGES.index(below) <= STAGES.index(stage), f"derive.{name} imports {other} of a later stage"
        for key, allowed in ONLY.items():
            if name == key or name.startswith(key + "."):
                inside = other == key or other.startswith(key + ".")
                assert inside or other in allowed, f"derive.{name} may import only {sorted(allowed)}, not {other}"


@pytest.mark.parametrize("name", list(MODULES))
def test_gpu_libraries_are_imported_where_they_are_used(name: str) -> None:
    for node in ast.parse(MODULES[name].read_text()).body:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for n in names:
            assert n.split(".")[0] not in FORBIDDEN, f"derive.{name} imports {n} at its top"


def test_import_derive_loads_next_to_nothing() -> None:
    heavy = ["cupy", "sympy", "numpy", "torch", "jinja2", "rich", "subprocess", "derive.emulator"]
    code = f"import sys; old = set(sys.modules); import derive; print(*(set({heavy}) & (set(sys.modules) - old)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def files() -> list[Path]:
    found = [ROOT / "cli.py"]
    for folder in (ROOT / "derive", ROOT / "templates"):
        found += [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink() and "__pycache__" not in p.parts]
    return sorted(p for p in found if p.relative_to(ROOT).parts[:2] != ("derive", "templates"))


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines < LIMIT, f"{path.name} has {lines} lines: split it"
