"""Claims in index notation, read by the notation's own reader."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from derive.claim.facts import Facts
from derive.claim.shaped import Algebra, Misfit
from derive.claim.source import Claim, base
from derive.errors import NotationError
from derive.expr import Expr, Get
from derive.notation.letters import Letters
from derive.notation.reader import Scope, elements, read
from derive.notation.source import Line
from derive.program import REDUCTIONS


class _Known(Letters):
    """Letters whose extents are decided."""

    extents: dict[str, str]

    def extent(self, letter: str) -> str:
        if letter not in self.extents:
            raise NotationError(f"nothing fixes the extent of index {letter}", value=letter,
                                hint=f"let it address an axis of a tensor by itself, or say size {letter} = 2; before "
                                     "the claim")
        return self.extents[letter]


@dataclass
class IndexReader:
    """Reads terms in index notation; letters are the claim's own, their extents come from what they address."""

    claim: Claim
    facts: Facts
    algebra: Algebra
    names: dict[str, str]

    def read(self, node: ast.expr, heads: list[ast.expr]) -> tuple[Expr, list[Get]]:
        """The right side, and the elements on the left.

        Args:
            node: the right side.
            heads: elements `dB[k,n]` of the left side.

        Raises:
            Misfit: a letter addresses axes of different extents.
        """
        tree = ast.fix_missing_locations(_renamed(node, self.names))
        tops = [ast.fix_missing_locations(_renamed(h, self.names)) for h in heads]
        extents = self._extents([*tops, tree])
        letters = _Known(order=dict.fromkeys(extents))
        letters.extents = extents
        line = Line("statement", self.claim.code, self.claim.number or 1, ast.Pass())
        for name, axes in self.facts.tensors.items():
            letters.rank[name] = (len(axes), line, node)
        bound = frozenset(s.id for h in tops for s in _subs(h) if isinstance(s, ast.Name))
        scope = Scope(line, letters, dict(self.facts.program.params), bound)
        left = [Get(base(h), tuple(read(s, scope) for s in _subs(h))) for h in tops]
        right = read(tree, scope)
        letters.check_divided([t.name for t in self.facts.program.inputs if t.integer], ())
        return right, left

    def _extents(self, trees: list[ast.expr]) -> dict[str, str]:
        """Letter -> extent."""
        found: dict[str, tuple[str, str]] = {}
        letters = {s.id for t in trees for s in _subs(t) if isinstance(s, ast.Name)} | _binders(trees)
        program = dict(self.facts.program.letters)
        for node in (n for t in trees for n in ast.walk(t)):
            if not (isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)):
                continue
            axes = self.facts.tensors.get(node.value.id)
            if axes is None:
                raise self.claim.unknown(node.value, self.facts)
            subs = elements(node.slice)
            if len(subs) != len(axes):
                raise Misfit(f"{ast.unparse(node)} has {len(subs)} indices, {node.value.id} {len(axes)} axes")
            for s, axis in zip(subs, axes, strict=True):
                if isinstance(s, ast.Name) and s.id in letters:
                    extent, where = found.setdefault(s.id, (axis, ast.unparse(node)))
                    if not self.algebra.fits(extent, axis):
                        here = ast.unparse(node)
                        raise Misfit(f"index {s.id} runs over {extent} in {where} and over {axis} in {here}")
        out = {n: e for n, (e, _) in found.items()}
        for n in letters:
            if n not in out and n in program:
                out[n] = program[n]
        return {**program, **{n: f"={size}" for n, size in self.claim.sizes}, **out}


def is_indexed(node: ast.expr, facts: Facts) -> bool:
    """Whether a side is in index notation: it reads elements, or binds letters."""
    letters = {n for n, _ in facts.program.letters}
    tensors = set(facts.tensors)
    bound = _binders([node])
    for n in ast.walk(node):
        if isinstance(n, ast.Subscript) and isinstance(n.value, ast.Name) and any(
                isinstance(s, ast.Name) and s.id not in tensors and (s.id in letters | bound or len(s.id) == 1)
                for s in elements(n.slice)):
            return True
    return bool(bound - tensors)


def _subs(node: ast.expr) -> list[ast.expr]:
    return elements(node.slice) if isinstance(node, ast.Subscript) else []


def _binders(trees: list[ast.expr]) -> set[str]:
    found: set[str] = set()
    for n in (n for t in trees for n in ast.walk(t)):
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in (*REDUCTIONS, "softmax"):
            found |= {a.id for a in n.args[:-1] if isinstance(a, ast.Name)}
    return found


def _renamed(node: ast.expr, names: dict[str, str]) -> ast.expr:
    """Derivatives under their names here; columns stay those of the claim."""
    class Rename(ast.NodeTransformer):
        def visit_Name(self, n: ast.Name) -> ast.AST:
            return ast.copy_location(ast.Name(names[n.id], n.ctx), n) if n.id in names else n

    import copy
    found = Rename().visit(copy.deepcopy(node))
    assert isinstance(found, ast.expr)
    return found

