"""`make_plan`: the stages of planning in order."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from derive import expr as E
from derive.errors import PlanError
from derive.plan.again import Again
from derive.plan.attention import Fused, fuse_attention, scored
from derive.plan.classify import classify
from derive.plan.context import Context
from derive.plan.contract import contract
from derive.plan.fuse import MENU, fuse
from derive.plan.inline import write_in, write_scalars
from derive.plan.kernels import build
from derive.plan.labels import labels
from derive.plan.lifetimes import settled
from derive.plan.merge import merge
from derive.plan.names import Namer
from derive.plan.order import in_pairs
from derive.plan.prepare import expand, numbers, ready
from derive.plan.records import Buffer, Kernel, Label, Pass, Plan, SizeRule
from derive.plan.saved import recompute, unrounded
from derive.plan.sizes import size_rules
from derive.plan.spell import term
from derive.program import Program, Statement


def _check_letters(forward: Program) -> None:
    """Kernels take an access at a letter to be in range whatever guards it, since the letter's extent is the axis's."""
    for g in forward.accesses():
        part = forward.parts(g)
        if not any(part):
            continue
        taken = {name for name, _ in forward.letters} | forward.names
        one = next(x for x in ("p", *(f"p{n}" for n in range(len(taken) + 1))) if x not in taken)
        subs = list(zip(map(term, g.subs), part, strict=True))
        written = ",".join("1*" * own + s for s, own in subs)
        instead = ",".join(s + f" + {one}" * own for s, own in subs)
        raise PlanError(
            f"no kernel covers a letter that runs over a part of an axis of {g.tensor}",
            value=f"{g.tensor}[{written}]",
            hint=f"for the first entries state `size {one} = 1` and write sum({one}, {g.tensor}[{instead}]); "
            "for all of them write the letter alone, which makes the extents equal",
        )


def make_plan(
    forward: Program,
    backward: Program | None = None,
    dtype: str = "float32",
    menu: tuple[str, ...] = MENU,
    attention: str = "fused",
    scatter: str = "deterministic",
) -> Plan:
    """Kernels for an operation.

    Args:
        forward: the formula, prepared (reductions that the backward reads are statements).
        backward: its gradient: statements over the forward's inputs, its statements and the cotangents `d<output>`.
        dtype: float32, float64, float16 or bfloat16.
        menu: the kinds of kernel to choose from; `()` makes everything a nest.
        attention: fused keeps no tensor of queries times keys in memory; unfused plans each statement by itself.
        scatter: deterministic sums places in order; atomic adds them as they come, and bits vary.

    Returns:
        The plan, made of ints and strings only.

    Raises:
        PlanError: a letter runs over a part of an axis, as in `A[1*l]` with fewer `l` than entries.
    """
    _check_letters(forward)
    context = Context(Namer(), {}, dtype, scatter)
    kept: tuple[str, ...] = ()
    maps: dict[str, Statement] = {}
    after: list[Statement] = []
    if backward is not None:
        kept, maps = recompute(forward, backward)
        after = [*maps.values(), *backward.statements]
        if dtype in ("float16", "bfloat16"):
            forward, after, kept = unrounded(forward, after, kept)
    recomputed = tuple(maps)
    context.tensors = forward.names | (backward.names if backward else set()) | {f"d{o}" for o in forward.outputs}
    behind, again = None, Again()
    if backward is not None:
        params = dict(forward.params)
        again = Again({s.name: _expanded(s, params) for s in after[: len(maps)]})
        behind = replace(backward, statements=_single(after[len(maps) :], backward, context), params=forward.params)
    fused = Fused()
    if attention == "fused" and menu:
        absent = again.without(scored(forward.statements))  # what scores are made of is saved, and read anyway
        ahead, whole, fused = _fused(forward, _written(behind, absent), context)
        if fused.groups:
            forward, behind = ahead, _names_kept(whole, behind, absent)
            kept = tuple(s.name for s in forward.statements if whole and s.name in _read(whole))
            recomputed = tuple(dict.fromkeys(n for n in (*recomputed, *fused.recomputed) if n not in kept))
    if not menu:
        behind, again = _written(behind, again), Again()
    for e in _extents(forward, behind):
        context.size(e)
    for t in forward.inputs:
        context.add(t.name, t.axes, "ids" if t.integer else "T", "input")
    results = tuple(dict.fromkeys((*forward.outputs, *kept)))
    for n in results:
        role = "output" if n in forward.outputs else "saved"
        context.add(n, forward.axes(n), "T" if role == "output" else "compute", role)
    if backward is not None:
        for o in forward.outputs:
            context.add(f"d{o}", forward.axes(o), "T", "cotangent")
        for n in backward.outputs:
            context.add(n, backward.axes(n), "T", "gradient")
    passes = [_pass("forward", forward, forward, results, context, menu, fused, Again())]
    if behind is not None:
        passes.append(_pass("backward", behind, forward, behind.outputs, context, menu, fused, again))
    plan = Plan(dtype, forward.text, passes[0], passes[1] if behind else None)
    promised = contract(plan, recomputed)
    return replace(plan, contract=replace(promised, notes=(*fused.kept, *promised.notes)))


def _expanded(s: Statement, params: dict[str, Fraction]) -> Statement:
    return Statement(s.name, s.indices, expand(numbers(s.expr, params)), s.line)


def _written(program: Program | None, again: Again) -> Program | None:
    """A program with what it computes again written out."""
    return replace(program, statements=tuple(again.written(s) for s in program.statements)) if program else None


def _names_kept(fused: Program | None, named: Program | None, again: Again) -> Program | None:
    """`fused`, where statements that attention has not touched read by name what they read by name in `named`."""
    if fused is None or named is None:
        return fused
    params = dict(named.params)
    before = {s.name: s for s in named.statements}

    def kept(s: Statement) -> Statement:
        n = before.get(s.name, s)
        same = n.indices == s.indices and numbers(again.out(n.expr), params) is s.expr
        return n if same else s

    return replace(fused, statements=tuple(kept(s) for s in fused.statements))


def _read(program: Program) -> set[str]:
    return {t for s in program.statements for t in E.tensors(s.expr)}


def _fused(forward: Program, backward: Program | None, context: Context) -> tuple[Program, Program | None, Fused]:
    """Both directions with their attention in tiles."""
    params = dict(forward.params)
    ahead, behind = (
        [Statement(s.name, s.indices, numbers(s.expr, params), s.line) for s in p.statements] if p else []
        for p in (forward, backward)
    )
    gradients = backward.outputs if backward else ()
    behind, same = _without_aliases(behind, {f"d{o}" for o in forward.outputs}, gradients)
    fused = fuse_attention(ahead, [*behind, *same], forward.outputs, gradients, context.fresh_tensor)
    return (
        replace(forward, statements=fused.forward),
        replace(backward, statements=fused.backward) if backward else None,
        fused,
    )


def _pass(
    name: str,
    program: Program,
    forward: Program,
    results: tuple[str, ...],
    context: Context,
    menu: tuple[str, ...],
    fused: Fused,
    again: Again,
) -> Pass:
    """Plan one direction: ready statements, fuse them, build the kernels, order the arguments."""
    given = {b.tensor for b in context.buffers.values() if b.role == "cotangent"} if name == "backward" else set()
    program = replace(program, statements=tuple(again.suited(s, menu) for s in program.statements))
    statements = ready(program, context.fresh_tensor, fused.units)
    if menu:
        statements = in_pairs(statements, context.fresh_tensor, fused.units, again.written)
    statements, aliases = _without_aliases(statements, given, results)
    gradients = set(results) if name == "backward" else set()
    statements = write_scalars(statements, menu, fused.units, results)
    statements = write_in(statements, menu, fused.units, results, again)
    groups = fuse(statements, results, menu, fused.groups, again)
    if menu:
        groups, again = again.spared(merge(groups, context.fresh_tensor, again), results)
        groups = [again.complete(g) for g in groups]
    groups += [classify(s, ()) for s in aliases]
    # A gradient that another sum reads, in its own kernel or a later one, is made alone and added at the end.
    reread = {t for g in groups for task in g.tasks for t in E.tensors(task.body)} & gradients
    built: list[list[Kernel]] = []
    for n, g in enumerate(groups):
        later = {t for h in groups[n + 1 :] for task in h.tasks for t in E.tensors(task.body)}
        stored = {s.name for s in g.statements if s.name in results or s.name in later}
        for s in g.statements:
            if s.name in stored:
                context.add(s.name, tuple(i.extent for i in s.indices), "compute", "temporary")
        built.append(build(g, context, stored, name, gradients - reread))
    kept = {b.name for b in context.buffers.values() if b.role not in ("temporary", "scratch")}
    kernels = settled(built, kept)
    made = [b for b in context.buffers.values() if any(b in k.writes for k in kernels)]
    outs = tuple(context.buffers[r] for r in results)
    scratch = {b.name: b for k in kernels for b in k.writes if b not in made}
    temporaries = (*(b for b in made if b not in outs), *scratch.values())
    arguments = _arguments(name, kernels, outs, temporaries, context)
    needed = {a for b in (*outs, *temporaries) for a in b.axes} | {a for k in kernels for a in k.sizes}
    rules = size_rules(arguments, needed, context.sizes, forward)
    names = {t: context.buffers[t].name for t in results}
    return Pass(
        name,
        arguments,
        outs,
        temporaries,
        kernels,
        rules,
        aliases=tuple((names[s.name], context.buffers[_source(s)].name) for s in aliases),
        labels=tuple(x for x in labels(forward, context.buffers, context.sizes) if _known(x, arguments, rules)),
        added=tuple(names[t] for t in results if t in reread),
    )


def _known(label: Label, arguments: tuple[Buffer, ...], rules: tuple[SizeRule, ...]) -> bool:
    """Whether a pass has what a check reads."""
    there = {b.name for b in arguments} | {r.name for r in rules}
    words = set(re.findall(r"[A-Za-z_]\w*", f"{label.value} {label.mask} {label.size}"))
    return words <= there


def _source(s: Statement) -> str:
    assert isinstance(s.expr, E.Get)
    return s.expr.tensor


def _without_aliases(
    statements: list[Statement], given: set[str], results: tuple[str, ...]
) -> tuple[list[Statement], list[Statement]]:
    """Gradients that are a cotangent itself, apart; what read them reads the cotangent."""
    same: dict[str, Statement] = {}
    rest = []
    for s in statements:
        e = s.expr
        if s.name in results and isinstance(e, E.Get) and e.tensor in given and e.subs == s.indices:
            same[s.name] = s
        else:
            rest.append(s)

    def read(x: E.Expr) -> E.Expr:
        return E.Get(_source(same[x.tensor]), x.subs) if isinstance(x, E.Get) and x.tensor in same else x

    return [Statement(s.name, s.indices, E.transform(s.expr, read), s.line) for s in rest], list(same.values())


def _arguments(
    name: str, kernels: tuple[Kernel, ...], outs: tuple[Buffer, ...], temporaries: tuple[Buffer, ...], context: Context
) -> tuple[Buffer, ...]:
    """The forward takes every input; the backward its cotangents, then what it reads."""
    read = {b.name for k in kernels for b in k.reads} - {b.name for b in (*outs, *temporaries)}
    every = list(context.buffers.values())
    if name == "forward":
        return tuple(b for b in every if b.role == "input")
    cotangents = [b for b in every if b.role == "cotangent"]
    return (*cotangents, *(b for b in every if b.name in read and b.role != "cotangent"))


def _extents(*programs: Program | None) -> list[str]:
    """Every extent class that a program names or bounds an index by."""
    found: dict[str, None] = {}
    for p in programs:
        if p is not None:
            found.update((e, None) for e in p.extents)
            for s in p.statements:
                found.update((i.extent, None) for i in s.indices)
                for x in E.subterms(s.expr):
                    bound = x.indices if isinstance(x, (E.Reduce, E.Softmax)) else (x,) if isinstance(x, E.Size) else ()
                    found.update((i.extent, None) for i in bound)
    return list(found)


def _single(statements: list[Statement], backward: Program, context: Context) -> tuple[Statement, ...]:
    """Each name defined once: `dA = dA + ...`, which adds to a given cotangent, gets a name of its own."""
    given = {t.name for t in backward.inputs}
    renamed: dict[str, str] = {}
    out = []
    for s in statements:
        e = E.transform(s.expr, lambda x: E.Get(renamed.get(x.tensor, x.tensor), x.subs) if isinstance(x, E.Get) else x)
        if s.name in given:
            renamed[s.name] = context.fresh_tensor(f"{s.name}_total")
        out.append(Statement(renamed.get(s.name, s.name), s.indices, e, s.line))
    return tuple(out)
