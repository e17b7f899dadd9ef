"""What an emitted wrapper checks of integer tensors before they address anything: `where(guard, E[ids[t]], ...)`
wants 0 <= ids < size wherever the guard holds.

A term that is made of integer tensors at the same place, element by element, is checked; one that needs an index's
own number, another place or a real tensor is not, and must be right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from derive import expr as E
from derive.expr import Expr, Get, Index
from derive.plan.prepare import numbers
from derive.plan.records import Buffer, Label
from derive.program import Program


def labels(program: Program, buffers: Mapping[str, Buffer], sizes: Mapping[str, str]) -> tuple[Label, ...]:
    """Every check of a formula, once.

    Args:
        program: the forward.
        buffers: of each tensor.
        sizes: name of the size of each extent class.
    """
    found: dict[Label, None] = {}
    params = dict(program.params)
    for s in program.statements:
        for guards, g in accesses(numbers(s.expr, params)):
            for n, (sub, axis) in enumerate(zip(g.subs, program.axes(g.tensor), strict=True)):
                terms = (sub, *guards)
                held = {x for t in terms for x in E.subterms(t) if isinstance(x, Get)}
                if _side_by_side(held, buffers) and any(isinstance(x, Get) for x in E.subterms(sub)):
                    spell = _Speller({x.tensor: buffers[x.tensor].name for x in held}, sizes)
                    try:
                        mask = " & ".join(spell.term(c) for c in guards)
                        names = tuple(sorted(spell.names.values()))
                        found[Label(names, spell.term(sub), mask, sizes[axis], f"axis {n} of {g.tensor}")] = None
                    except _NotCheckedError:
                        continue
    return tuple(found)


def _side_by_side(held: set[Get], buffers: Mapping[str, Buffer]) -> bool:
    """Whether every access is to an integer tensor and all are at one place, at bare indices."""
    subs = {x.subs for x in held}
    if len(subs) != 1 or any(x.tensor not in buffers or buffers[x.tensor].dtype != "ids" for x in held):
        return False
    place = next(iter(subs))
    return all(isinstance(i, Index) for i in place) and len(set(place)) == len(place)


class _NotCheckedError(Exception):
    """A term that is not made of integer tensors, element by element."""


@dataclass(frozen=True)
class _Speller:
    """Terms as expressions over the wrapper's arrays."""

    names: Mapping[str, str]
    sizes: Mapping[str, str]

    def term(self, e: Expr) -> str:
        match e:
            case E.Num():
                return str(e.value) if e.value.denominator == 1 else repr(float(e.value))
            case E.Size():
                return self.sizes[e.extent]
            case Get():
                return self.names[e.tensor]
            case E.Add():
                return f"({' + '.join(self.term(a) for a in e.args)})"
            case E.Mul():
                return "*".join(self.term(a) for a in e.args)
            case E.Call(fn="floordiv" | "mod"):
                return f"({self.term(e.args[0])} {'//' if e.fn == 'floordiv' else '%'} {self.term(e.args[1])})"
            case E.Cmp():
                return f"({self.term(e.left)} {e.op} {self.term(e.right)})"
            case E.Logic(op="not"):
                return f"~{self.term(e.args[0])}"
            case E.Logic():
                return f"({(' & ' if e.op == 'and' else ' | ').join(self.term(a) for a in e.args)})"
        raise _NotCheckedError


def accesses(e: Expr, guards: tuple[Expr, ...] = ()) -> Iterator[tuple[tuple[Expr, ...], Get]]:
    """Each access with the conditions under which it is read."""
    if isinstance(e, E.Where):
        yield from accesses(e.cond, guards)
        yield from accesses(e.then, (*guards, e.cond))
        yield from accesses(e.other, (*guards, E.negate(e.cond)))
        return
    if isinstance(e, E.Logic) and e.op != "not":  # the first operands guard the rest
        for c in e.args:
            yield from accesses(c, guards)
            guards = (*guards, c if e.op == "and" else E.negate(c))
        return
    if isinstance(e, Get):
        yield guards, e
    for c in e.children:
        yield from accesses(c, guards)
