"""A rule laid out for people: plain text, LaTeX, Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from derive.commands.source import Source
from derive.operation import Operation
from derive.rule.latex import statement_latex
from derive.rule.letters import Letters

Style = Callable[[str], str]

SIGNS = {  # as patterns; a 1 that is added or subtracted is a number, not a vector
    "∘": "∘ product by elements", "ᵀ": "ᵀ transpose", r"[\w)ᵀ∘] 1(?![\w.])": "1 a vector of ones",
    r"diag\(": "diag(v) a diagonal matrix", r"\|": "|d| the length of axis d", r"\[": "[c] 1 where c holds, else 0",
    "σ": "σ sigmoid", "⁻¹": "⁻¹ by elements",
}


def text(source: Source, heading: Style = str, steps: bool = False) -> str:
    """The rule as a terminal shows it.

    Args:
        heading: how headings are marked, as by colour.
        steps: whether to show the chain rule and every rewrite.
    """
    op = source.op
    blocks = [_block(heading(f"{op.name}{': ' + source.title if source.title else ''}"),
                     [source.sentence] if source.sentence else [], indent="")]
    blocks.append(_block(heading("Formula"), _formula(op)))
    gradients = list(op.gradients.values())
    rules = [g.matrix for g in gradients]
    blocks.append(_block(heading("Gradients"), [*rules, *_signs(rules)]))
    if (index := [g.index for g in gradients]) != rules:
        blocks.append(_block(heading("In indices"), index))
    if sizes := {f"size {n} = {size}": None for g in gradients for n, size in g.sizes.items()}:
        blocks.append(_block(heading("Letters with extents of their own"), list(sizes)))
    if defined := list(dict.fromkeys(d for g in gradients for d in g.definitions)):
        blocks.append(_block(heading("Where"), defined))
    blocks.append(_block(heading("Saved for the backward"), _saved(op)))
    if steps:
        blocks.append(_block(heading("Steps"), _steps(op)))
    blocks.append(_block(heading("NumPy"), ["# forward", *op.forward_numpy, "# backward", *op.backward_numpy]))
    return "\n\n".join(blocks)


def latex(source: Source, steps: bool = False) -> str:
    """The formula, its gradients and the names they use as one `align*`."""
    rows = list(_latex_rows(source.op))
    if steps:
        letters = Letters(source.op.derivation.backward)
        rows += [statement_latex(a.statement, letters) for a in source.op.derivation.chain.adjoints]
    body = " \\\\\n".join("  " + r.replace(" = ", " &= ", 1) for r in rows)
    return f"\\begin{{align*}}\n{body}\n\\end{{align*}}"


def markdown(source: Source, steps: bool = False) -> str:
    """The rule as a Markdown page: formula, gradients with LaTeX, names, the NumPy program."""
    op = source.op
    parts = [f"# {source.title or op.name}"]
    if source.sentence:
        parts.append(source.sentence + (f" ({source.origin})" if source.origin else ""))
    parts += ["## Formula", _code(_formula(op)), "## Gradients"]
    for g in op.gradients.values():
        parts += [f"`{g.matrix}`", f"$$\n{g.latex}\n$$"]
    if defined := list(dict.fromkeys(d for g in op.gradients.values() for d in g.definitions)):
        parts += ["where", _code(defined)]
    parts.append(f"Saved for the backward: {' '.join(_saved(op))}.")
    if steps:
        parts += ["## Steps", _code(_steps(op))]
    parts += ["## NumPy", _code(["# forward", *op.forward_numpy, "# backward", *op.backward_numpy], "python")]
    return "\n\n".join(parts)


def _block(title: str, lines: list[str], indent: str = "  ") -> str:
    return "\n".join([title, *((indent + line).rstrip() for line in lines)])


def _code(lines: list[str], language: str = "") -> str:
    return "\n".join([f"```{language}", *lines, "```"])


def _formula(op: Operation) -> list[str]:
    return [line.rstrip() for line in op.text.strip().splitlines() if line.strip()]


def _signs(rules: list[str]) -> list[str]:
    """A legend of the signs that these rules use."""
    used = [said for sign, said in SIGNS.items() if any(
        re.search(sign, r.partition("=")[2]) and "sum(" not in r for r in rules)]
    return [f"({'; '.join(used)})"] if used else []


def _saved(op: Operation) -> list[str]:
    """What the rule reads of the forward; kernels are planned only when they are asked for."""
    if not op.derivation.saved:
        return ["nothing beyond the inputs"]
    return [", ".join(op.derivation.saved), "(what this rule reads; `derive cost` says what the kernels keep)"]


def _steps(op: Operation) -> list[str]:
    """The chain rule with its deltas, then each rewrite."""
    from derive.export import steps_text  # loads the planner, which a plain rule does not need

    return steps_text(op.derivation).splitlines()


def _latex_rows(op: Operation) -> Iterator[str]:
    letters = Letters(op.program)
    yield from (statement_latex(s, letters) for s in op.program.statements)
    own = {s.name for s in op.program.statements}
    derived = Letters(op.derivation.backward)
    seen: set[str] = set()
    for g in op.gradients.values():
        for s in (*g.forward_statements, *g.statements):
            if s.name not in own and s.name not in seen:
                seen.add(s.name)
                yield statement_latex(s, derived)
