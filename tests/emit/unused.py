"""What an emitted text defines and never uses: functions, macros, parameters, local variables."""

import ast
import re
from collections.abc import Iterator

TYPE = r"(?:INDEX|int|bool|float|double|auto|Sum|Tile|unsigned short|__half|__nv_bfloat16|Pack<[^>]*>|\w+_t)"
FLAT = r"[^;{}()]*"
STATEMENT = re.compile(rf"(?P<const>const |constexpr )?(?<!\w){TYPE} (?P<rest>{FLAT}(?:\([^;]*?\){FLAT})*)[;)]")
DECLARED = re.compile(r"(?:^|,\s*)[&*(]*(\w+)\)?(?=\s*(?:=|\[|,|$))")
HELPER = re.compile(r"__device__ inline [\w<>, &*]+?\b(\w+)\(|struct (?:alignas\(16\) )?(\w+)(?!\w*<)")
KERNEL = re.compile(r"__global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\((.*?)\)\s*\{(.*?)^\}", re.S | re.M)


def unused_cuda(source: str) -> list[str]:
    """Names that a CUDA file defines and does not use, each with where it stands."""
    code = re.sub(r"//[^\n]*", "", source)
    names = set(re.findall(r"#define (\w+)", code))
    plain = re.sub(r"^\s*#(?:ifndef|define) \w+", "", code, flags=re.M)
    found = [f"macro {n}" for n in sorted(names) if not re.search(rf"\b{n}\b", plain)]
    helpers = {m[1] or m[2] for m in HELPER.finditer(code)}
    found += [f"helper {n}" for n in sorted(helpers) if _count(n, code) < 2 + code.count(f"struct {n}<")]
    for kernel, parameters, body in kernels(code):
        found += [f"{kernel}: parameter {n}" for n in parameters if not re.search(rf"\b{n}\b", body)]
        found += [f"{kernel}: {x}" for x in unused_locals(body)]
    return found


def kernels(code: str) -> Iterator[tuple[str, list[str], str]]:
    """Name, parameters and body of each kernel."""
    for m in KERNEL.finditer(code):
        yield m[1], [p.split()[-1].lstrip("*") for p in m[2].split(",")], m[3]


def unused_locals(body: str) -> Iterator[str]:
    """Variables that are never read, and some that never change though they are not const."""
    for statement in STATEMENT.finditer(body):
        for name in DECLARED.findall(_flat(statement["rest"])):
            after = re.findall(rf"(?<![\w.])(?<!->)\b{name}\b(?:\[[^=;]*?\])*\s*(\S{{0,2}})", body)
            written = sum(bool(re.match(r"=(?!=)|[-+*/]=$", x)) for x in after)
            given = bool(re.search(rf"\b{name}\b(?:\[[^=;]*?\])* = ", statement["rest"]))
            changed = rf"(?:\+\+|--|&)\(?{name}\b|\b{name}(?:\[[^=;]*\])?(?:\+\+|--| ?(?:[-+*/<>|&]|<<|>>)=)"
            if len(after) - written == (not given):  # but for its declaration
                yield f"variable {name}"
            elif not statement["const"] and given and written == 1 and not re.search(changed, body):
                yield f"variable {name} never changes"


def _count(name: str, code: str) -> int:
    return len(re.findall(rf"\b{name}\b", code))


def _flat(text: str) -> str:
    """Without what stands in brackets."""
    while (shorter := re.sub(r"\([^()]*\)|\{[^{}]*\}", "", text)) != text:
        text = shorter
    return text


def unused_python(source: str) -> list[str]:
    """Names that a Python file defines or imports and does not use."""
    tree = ast.parse(source)
    read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    read |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    functions = [f.name for f in tree.body if isinstance(f, ast.FunctionDef)]
    public = {n for n in functions if re.search("_(forward|backward)$|^load$", n)}
    found = [f"function {n}" for n in functions if n not in read | public]
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found += [f"import {a.name}" for a in node.names if (a.asname or a.name).split(".")[0] not in read]
    for f in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
        names = [n for n in ast.walk(f) if isinstance(n, ast.Name)]
        loaded = {n.id for n in names if isinstance(n.ctx, ast.Load)}
        stored = {n.id for n in names if isinstance(n.ctx, ast.Store)}
        stored |= {a.arg for a in (*f.args.args, *f.args.kwonlyargs)}
        found += [f"{f.name}: variable {n}" for n in sorted(stored - loaded - {"_", "self"})]
    return found
