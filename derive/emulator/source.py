"""CUDA text to a translation unit: lines stay where they are, kernels are found and named at the end."""

from __future__ import annotations

import re
from dataclasses import dataclass

from derive.emulator import compiler

FILE_NAME = "kernel.cu"

# Comments and literals: looked past when searching, never changed.
_OPAQUE = re.compile(
    r'//(?:\\\n|[^\n])*|/\*.*?\*/|R"(?P<delim>[^()\\\s]{0,16})\(.*?\)(?P=delim)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'',
    re.DOTALL,
)
_EXTERN_SHARED = re.compile(
    r"\bextern\b(?P<before>[\w\s]*?)\b__shared__\b(?P<type>(?:[^;{}=]|\{[^{}=]*\})*?)(?P<name>\b[A-Za-z_]\w*)"
    r"\s*\[\s*\](?P<rest>(?:\s*\[[^\];]*\])*)"
)
_STATIC_SHARED = re.compile(r"\bstatic(\s+(?:\w+\s+)*?)__shared__\b|\b__shared__(\s+)static\b")
# g++ gives an array of a struct that the kernel declares C linkage too, and then takes no tag from `__shared__`.
_C_LINKAGE = re.compile(r'(?P<extern>\bextern\s*)"C"(?=\s*(?:\w|\{|$))')
# "__shared__ alignas(16) T": standard attributes stand first in g++.
_SHARED_ALIGNAS = re.compile(r"\b(__shared__)(\s+)((?:alignas\s*\((?:[^()]|\([^()]*\))*\)\s*)+)")
_ATTRIBUTE = re.compile(
    r"\b(?:__align__|alignas|__builtin_align__)\s*\((?:[^()]|\([^()]*\))*\)"
    r"|__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)"
)
_KERNEL = re.compile(r"\b__global__\b")
_BOUNDS = re.compile(r"\b(?:__launch_bounds__|__cluster_dims__|__attribute__|__block_size__|alignas)\s*$")


@dataclass(frozen=True)
class KernelText:
    """A `__global__` function as its text shows it."""

    name: str
    parameters: tuple[str, ...]
    is_plain: bool  # no template and in no namespace: its name alone tells which function is meant
    line: int
    template: str = ""  # "template <int N>"
    namespace: str = ""  # "a::b"
    bounds: str = ""  # threads of a block that `__launch_bounds__` allows, as it is written


def blank(text: str) -> str:
    """The text with comments and literals replaced by spaces; every character stays at its place."""
    return _OPAQUE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def for_host(text: str) -> str:
    """The text as a host compiler takes it, on the same lines: shared arrays, and kernels of C++ linkage."""
    return _C_LINKAGE.sub(r'\g<extern>"C++"', _rewrite_shared(text))


def _rewrite_shared(text: str) -> str:
    """`extern __shared__ T name[]` as a pointer into the launch's dynamic shared memory."""
    seen = blank(text)
    out: list[str] = []
    last = 0
    for match in _EXTERN_SHARED.finditer(seen):
        kind = _ATTRIBUTE.sub(" ", match["before"] + match["type"])
        newlines = match.group().count("\n")
        base = " ".join(kind.split())
        if match["rest"]:
            dims = "".join(match["rest"].split())
            pointer = f"(*{match['name']}){dims}"
        else:
            pointer = f"* {match['name']}"
        element = f"{base} {pointer} = reinterpret_cast<decltype({match['name']})>(DERIVE_DYNAMIC)"
        out += [text[last : match.start()], element, "\n" * newlines]
        last = match.end()
    out.append(text[last:])
    static = _STATIC_SHARED.sub(lambda m: (m[1] or m[2] or " ") + "__shared__", "".join(out))
    return _SHARED_ALIGNAS.sub(r"\3\1\2", static)


def _closing(text: str, start: int, pair: str) -> int:
    """Index of the bracket that closes the one at `start`, or -1."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] == pair[0]:
            depth += 1
        elif text[i] == pair[1]:
            depth -= 1
            if depth == 0:
                return i
    return -1


def _split_commas(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        if c in "([{<":
            depth += 1
        elif c in ")]}>":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip() and part.strip() != "void"]


def _parameter_name(declaration: str) -> str:
    declaration = declaration.split("=", 1)[0]
    pointer = re.search(r"\(\s*[*&]\s*(\w+)\s*\)", declaration)
    if pointer:
        return pointer[1]
    words = re.findall(r"[A-Za-z_]\w*", re.sub(r"\[[^\]]*\]", " ", declaration))
    return words[-1] if words else ""


def find_kernels(text: str) -> list[KernelText]:
    """The `__global__` functions of preprocessed or plain CUDA text, in order."""
    seen = blank(text)
    found = []
    for match in _KERNEL.finditer(seen):
        opening = seen.find("(", match.end())
        while opening >= 0 and _BOUNDS.search(seen[match.end() : opening]):
            opening = seen.find("(", max(_closing(seen, opening, "()"), opening + 1))
        closing = _closing(seen, opening, "()") if opening >= 0 else -1
        name = re.search(r"([A-Za-z_]\w*)\s*$", seen[match.end() : max(opening, 0)])
        if name is None or closing < 0:
            continue
        head = re.split(r"[;{}]|^\s*#.*$", seen[: match.start()], flags=re.MULTILINE)[-1]
        parameters = tuple(_parameter_name(p) for p in _split_commas(seen[opening + 1 : closing]))
        is_template = re.match(r"\s*template\b", head) is not None
        template = " ".join(head[: head.rfind(">") + 1].split()) if is_template else ""
        namespace = _namespace(seen, match.start())
        bounds = "" if namespace is None else _launch_bounds(head + seen[match.end() : opening])
        line = seen.count("\n", 0, match.start()) + 1
        is_plain = namespace == "" and not is_template
        found.append(KernelText(name[1], parameters, is_plain, line, template, namespace or "", bounds))
    return found


def _launch_bounds(declaration: str) -> str:
    """The first argument of `__launch_bounds__`, if there is one."""
    found = re.search(r"\b__launch_bounds__\s*(?=\()", declaration)
    if found is None:
        return ""
    return _split_commas(declaration[found.end() + 1 : _closing(declaration, found.end(), "()")])[0]


def _namespace(seen: str, position: int) -> str | None:
    """ "a::b" where these namespaces are open, "" at file scope, where `extern "C" {` may be (the literal is blank in
    `seen`), None in a class or an unnamed namespace."""
    open_braces: list[int] = []
    for brace in re.finditer("[{}]", seen[:position]):
        if brace[0] == "{":
            open_braces.append(brace.start())
        elif open_braces:
            open_braces.pop()
    names = []
    for i in open_braces:
        before = re.search(r"(?:\bextern|\bnamespace\s+(?P<name>\w+(?:\s*::\s*\w+)*))\s*$", seen[:i])
        if before is None:
            return None
        names += [before["name"]] if before["name"] else []
    return "::".join(names)


_IGNORED_GUARD = re.compile(r"#\s*ifndef\s+DYN_SHARED\b.*?#\s*endif", re.DOTALL)
_CONDITIONAL = re.compile(
    r"^\s*#\s*(?:if|ifdef|ifndef)\b|^\s*#\s*define\b(?:[^\n]|\\\n)*__global__|\b__launch_bounds__\s*\([^)]*[A-Za-z_]",
    re.MULTILINE,
)


def host_options(options: tuple[str, ...]) -> tuple[str, ...]:
    """Of NVRTC's options, those that mean something to a host compiler: definitions and include directories."""
    kept: list[str] = []
    words = iter(options)
    for word in words:
        if word in ("-D", "-U", "-I", "--define-macro", "--include-path", "--undefine-macro"):
            kept.append(_SHORT.get(word, word) + next(words, ""))
        elif word[:2] in ("-D", "-U", "-I"):
            kept.append(word)
        elif "=" in word and word.split("=", 1)[0] in _SHORT:
            name, value = word.split("=", 1)
            kept.append(_SHORT[name] + value)
    return tuple(kept)


_SHORT = {"--define-macro": "-D", "--undefine-macro": "-U", "--include-path": "-I"}


def translation_unit(code: str, options: tuple[str, ...], name_expressions: tuple[str, ...]) -> str:
    """What the compiler sees: the header, the text with its own line numbers, and the table of kernels."""
    kernels = find_kernels(preprocessed(code, options) if _needs_preprocessing(code) else code)
    by_name = {kernel.name: kernel for kernel in kernels}
    names = [kernel.name for kernel in kernels if kernel.is_plain]
    entries, bounds = [], {}
    variables = tuple(e for e in name_expressions if e.startswith("&") and _base_name(e[1:]) not in by_name)
    for expression in dict.fromkeys((*names, *(e for e in name_expressions if e not in variables))):
        base = _base_name(expression)
        found = by_name.get(base, KernelText(base, (), False, 0))
        limit = "0"
        if found.bounds:
            bound = f"{found.template} constexpr unsigned derive_bounds_{base} = ({found.bounds});"
            bounds[base] = f"namespace {found.namespace} {{ {bound} }}\n" if found.namespace else f"{bound}\n"
            limit = re.sub(rf"\b{base}(?=\s*(?:<|$))", f"derive_bounds_{base}", expression, count=1)
        entries.append(f'DERIVE_KERNEL("{expression}", "{",".join(found.parameters)}", ({limit}), {expression})')
    table = ",\n  ".join(entries)
    # That a variable's address is wanted makes it of its template.
    made = f"DERIVE_VARIABLES({', '.join(variables)})\n" if variables else ""
    tables = f"{''.join(bounds.values())}{made}DERIVE_MODULE({table})\n"
    return (
        f'#include "derive_cuda.h"\n#line 1 "{FILE_NAME}"\n{for_host(code)}\n'
        f'#line 1 "the list of kernels"\n#include "derive/export.h"\n{tables}'
    )


def _base_name(expression: str) -> str:
    """ "scale" of "ns::scale<float>"."""
    return re.sub(r"<.*", "", expression, flags=re.DOTALL).split("::")[-1].strip()


def _needs_preprocessing(code: str) -> bool:
    return _CONDITIONAL.search(_IGNORED_GUARD.sub("", blank(code))) is not None


def preprocessed(code: str, options: tuple[str, ...]) -> str:
    """The text after conditional compilation and macros, what marks a kernel kept."""
    kept = "#undef __global__\n#undef __launch_bounds__\n"
    unit = f'#include "derive_cuda.h"\n{kept}#line 1 "{FILE_NAME}"\n{for_host(code)}\n'
    return compiler.preprocess(unit, host_options(options))


def line_of(code: str, kernel: str) -> int:
    """The line in which this kernel, or the template that its name expression instantiates, begins; 0 if unseen."""
    base = _base_name(kernel)
    return next((found.line for found in find_kernels(code) if found.name == base), 0)


# What a compiler's errors are about, if it stands in the text: what it is called, its place, and what to do.
_UNKNOWN = (
    ("Inline PTX (asm)", r"\b(?:asm|__asm__)\b", "use an intrinsic, or #ifndef DERIVE_EMULATOR around it"),
    ("Cooperative groups", r"\bcooperative_groups\b", "use __syncthreads, __syncwarp and the *_sync shuffles"),
    ("Dynamic parallelism (<<<...>>>)", r"<<<", "launch each kernel from Python"),
    ("Textures and surfaces", r"\b(?:cuda(?:Texture|Surface)Object_t|texture\s*<|tex[123]D\w*|surf[123]D\w*)",
     "read the array through a pointer"),
    ("Asynchronous copies", r"\b(?:cuda_pipeline\w*|__pipeline_\w+|memcpy_async)\b", "copy by assignment"),
    ("Device-side libraries", r"#\s*include\s*<(?:cuda/|cub/|thrust/|cutlass/|cute/|curand|cupy/)[^>]*>",
     "write out what the kernel needs of it"),
    ("Host code", r"\b(?:int\s+main\s*\(|cuda(?:Malloc|Memcpy|Free|Memset|DeviceSynchronize|Stream\w*)\b)",
     "leave only the kernels, as for NVRTC"),
    ("Warp operations without _sync", r"\b__(?:shfl(?:_up|_down|_xor)?|ballot|any|all)(?=\s*\()",
     "no GPU since Volta has them: name the lanes in a mask"),
)  # fmt: skip


def hint(code: str) -> str:
    """What in this text cannot run on a CPU, and where, for a compiler's message; empty if nothing is known."""
    seen = blank(code)
    found = []
    for what, pattern, advice in _UNKNOWN:
        if place := re.search(pattern, seen):
            line = seen.count("\n", 0, place.start()) + 1
            found.append(f"{FILE_NAME}:{line}: {what} cannot run in the emulator: {advice}.")
    return "\n".join(found)
