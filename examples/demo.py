"""Three layers of GPT-2, from their formulas to judged backward kernels: what `make demo` runs.

For each: the gradients are derived, CUDA kernels are emitted into build/demo, run on arrays of the layer's own shape
(on a GPU if there is one, else on the CPU emulator), and validated at awkward sizes and at that shape.
"""

import sys
import time
from pathlib import Path

import numpy as np

import derive
from derive import catalog, doctor
from derive.commands import show, write
from derive.commands.source import find
from derive.run import array_module
from derive.validate.report import table, validate

FOLDER = Path(__file__).parent.parent / "build" / "demo"
TOKENS = 16
LAYERS = {
    "linear": ("feed-forward layer, 768 to 3072", {"n": TOKENS, "i": 768, "o": 3072}),
    "layernorm": ("layer normalisation over 768 features", {"b": 1, "s": TOKENS, "d": 768}),
    "cross_entropy": ("softmax with cross-entropy over 50,257 words", {"b": 1, "s": TOKENS, "v": 50257}),
}
TERMINAL = sys.stdout.isatty()


def colour(text: str, code: str) -> str:
    return f"\033[{code}m{text}\033[0m" if TERMINAL else text


def paint(text: str, name: str) -> str:
    return colour(text, {"green": "32", "red": "31", "yellow": "33"}[name])


def progress(text: str) -> None:
    if TERMINAL:
        print(f"\r\033[K{text}", end="", flush=True)


def inputs(op: derive.operation.Operation, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Random arrays of the layer's shapes: normal numbers, and words for labels."""
    rng = np.random.default_rng(0)
    words = sizes.get("v", 1)
    return {t.name: rng.integers(0, words, [sizes[a] for a in t.axes]) if t.integer
            else rng.standard_normal([sizes[a] for a in t.axes]).astype(np.float32) for t in op.program.inputs}


def run(op: derive.operation.Operation, sizes: dict[str, int]) -> str:
    """Forward and backward at the layer's shape; what came out and how long it took."""
    arrays = inputs(op, sizes)
    rng = np.random.default_rng(1)
    program = op.derivation.forward
    shapes = {o: [sizes[a] for a in program.axes(o)] for o in program.outputs}
    cotangents = {o: rng.standard_normal(shape).astype(np.float32) for o, shape in shapes.items()}
    kernels = derive.compile(op, dtype="float32")
    kernels.run(arrays, cotangents)  # compiles
    start = time.perf_counter()
    found = kernels.run(arrays, cotangents)
    took = time.perf_counter() - start
    said = ", ".join(f"{n} {'x'.join(map(str, a.shape)) or 'scalar'}" for n, a in found.items())
    return f"{said}: {took:.2f} s {'on a GPU' if array_module().__name__ == 'cupy' else 'on the CPU emulator'}"


def main() -> int:
    start, failed = time.perf_counter(), []
    print(doctor.text(doctor.examine(), paint))
    for name, (what, sizes) in LAYERS.items():
        source = find(name)
        title = f"GPT-2's {what}"
        print(f"\n{colour(title, '1')}\n{'-' * len(title)}\n")
        print(show.text(source, lambda text: colour(text, "1")))
        progress("emit ...")
        (folder,) = write.write(FOLDER, dict([write.folder_of(source, "float32")]))
        progress("run ...")
        ran = run(source.op, sizes)
        progress("")
        print(f"\n{colour('Emitted', '1')}\n  {folder.relative_to(FOLDER.parent.parent)}")
        print(f"\n{colour('Ran', '1')}\n  {ran}\n")
        for where, given in (("awkward sizes", {}), ("the layer's own shape", sizes)):
            report = validate(source.op, "float32", given, data=catalog.load(name).data,
                              progress=lambda level: progress(f"validate: {level} ..."))
            progress("")
            print(f"{colour(f'Validated at {where}', '1')}: " + table(report, paint))
            if not report.passed:
                failed.append(f"{name} at {where}")
    print(f"\n{'FAILED: ' + ', '.join(failed) if failed else 'all passed'}, {time.perf_counter() - start:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
