"""How long every axis is: sizes of all extent classes from array shapes, given sizes and the accesses.

A class is fixed by the arrays it addresses or by `--size`.  One that neither fixes (the output positions of a
convolution) is the largest that keeps every access in range.  Without arrays an axis that no letter addresses has
the smallest length that holds every access.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from derive.errors import ShapeError
from derive.expr import Add, Call, Expr, Get, Index, Logic, Mul, Num, Size, Where, subterms
from derive.program import Program

LIMIT = 1 << 40
Sizes = dict[str, int]


def interval(e: Expr, sizes: Mapping[str, int]) -> tuple[int, int] | None:
    """Least and greatest value of a subscript while its indices run; None if it depends on data."""
    match e:
        case Num():
            return int(e.value), int(e.value)
        case Size():
            return sizes[e.extent], sizes[e.extent]
        case Index():
            return 0, sizes[e.extent] - 1
        case Add():
            parts = [interval(a, sizes) for a in e.args]
            if any(p is None for p in parts):
                return None
            return sum(p[0] for p in parts if p), sum(p[1] for p in parts if p)
        case Mul():
            low, high = 1, 1
            for a in e.args:
                p = interval(a, sizes)
                if p is None:
                    return None
                corners = [x * y for x in (low, high) for y in p]
                low, high = min(corners), max(corners)
            return low, high
        case Call(fn="floordiv" | "mod"):
            return _divided(e.fn, interval(e.args[0], sizes), interval(e.args[1], sizes))
    return None


def _divided(fn: str, top: tuple[int, int] | None, below: tuple[int, int] | None) -> tuple[int, int] | None:
    if below is None or below[0] < 1:
        return None
    if fn == "floordiv":
        return None if top is None else (top[0] // below[0], top[1] // below[0])
    return top if top and top[0] // below[0] == top[1] // below[0] == 0 else (0, below[1] - 1)


def solve(program: Program, shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, int] | None = None,
          default: int | None = None) -> Sizes:
    """Sizes of every extent class.

    Args:
        program: a forward formula.
        shapes: shape of each input that is at hand.
        given: sizes by letter, as from `--size t=5`.
        default: size for letters that nothing fixes when there are no arrays (None: that is an error).

    Raises:
        ShapeError: a contradiction, or a letter that nothing fixes.
    """
    sizes = constants(program)
    sizes.update(_given(program, given or {}, sizes))
    source = {e: f"the formula or --size gives {e.lstrip('=')}={n}" for e, n in sizes.items()}
    for t in program.inputs:
        if t.name not in shapes:
            continue
        shape = tuple(shapes[t.name])
        if len(shape) != len(t.axes):
            raise ShapeError(f"{t.name} must have {len(t.axes)} axes", value=f"shape {shape}",
                             hint=f"the formula reads {spelled(program, t.name)}")
        for n, (axis, length) in enumerate(zip(t.axes, shape, strict=True)):
            if sizes.setdefault(axis, length) != length:
                raise ShapeError(f"index {axis} has two extents, {sizes[axis]} and {length}",
                                 value=f"{t.name} has shape {shape}; {source[axis]}",
                                 hint=f"the formula reads {spelled(program, t.name)}")
            source.setdefault(axis, f"axis {n} of {t.name} gives {axis}={length}")
    _solve_free(program, sizes, default)
    _check_ranges(program, sizes)
    return sizes


def small(program: Program) -> Sizes:
    """Sizes for a trial without arrays: small, and different while there are few."""
    classes = dict.fromkeys(e for _, e in program.letters if not e.startswith("="))
    floor = floors(program)
    wanted = {e: max((3, 5, 4, 7, 2, 6)[n % 6], floor.get(e, 0)) for n, e in enumerate(classes)}
    return solve(program, {}, wanted, default=3)


def floors(program: Program) -> Sizes:
    """The least size of each lettered class that holds the constant subscripts on its axes."""
    found: Sizes = {}
    lettered = {e for _, e in program.letters if not e.startswith("=")}
    for g in program.accesses():
        for s, axis in zip(g.subs, program.axes(g.tensor), strict=True):
            if isinstance(s, Num) and axis in lettered:
                found[axis] = max(found.get(axis, 0), int(s.value) + 1)
    return found


def spelled(program: Program, tensor: str) -> str:
    axes = program.axes(tensor)
    return f"{tensor}[{','.join(a if '.' not in a else '_' for a in axes)}]" if axes else tensor


def constants(program: Program) -> Sizes:
    """Sizes that the program itself states: the classes `=n`."""
    found = {e for e in program.extents if e.startswith("=")}
    for s in program.statements:
        found |= {x.extent for x in subterms(s.expr) if isinstance(x, (Index, Size)) and x.extent.startswith("=")}
    return {e: int(e[1:]) for e in sorted(found)}


def _given(program: Program, given: Mapping[str, int], known: Sizes) -> Sizes:
    letters = dict(program.letters)
    sizes: Sizes = dict(known)
    for letter, n in given.items():
        if letter not in letters:
            raise ShapeError(f"{letter} is no index of the formula", value=f"{letter}={n}",
                             hint="its indices are " + ", ".join(letters))
        if n < 0:
            raise ShapeError(f"the size of {letter} is negative", value=n)
        if sizes.setdefault(letters[letter], n) != n:
            raise ShapeError(f"{letter} shares its extent with {letters[letter]}, which has another size",
                             value=f"{letter}={n}, {letters[letter]}={sizes[letters[letter]]}")
    return sizes


def _solve_free(program: Program, sizes: Sizes, default: int | None) -> None:
    """Fix what is left: letters by the accesses that hold one unknown, then unlettered axes by what they must hold."""
    letters = [e for e in dict.fromkeys(e for _, e in program.letters) if e not in sizes]
    tight = [(s, f"axis {n} of {g.tensor}", axis) for g in program.accesses() for n, (s, axis) in
             enumerate(zip(g.subs, program.axes(g.tensor), strict=True)) if not isinstance(s, Index)]
    progress = True
    while letters and progress:
        progress = False
        for letter in list(letters):
            bounds = []
            for s, place, axis in tight:
                unknown = _extents(s) - set(sizes)
                if unknown == {letter} and axis in sizes:
                    found = _largest(s, letter, sizes, sizes[axis])
                    if found == 0 and sizes[axis]:
                        others = "".join(f", {e}={sizes[e]}" for e in sorted(_extents(s) - {letter}))
                        raise ShapeError(f"no {letter} fits: already the first reaches beyond {place}",
                                         value=f"{place} has {sizes[axis]} entries{others}",
                                         hint=f"give a longer one, guard the access, or say --size {letter}=0")
                    if found is not None:
                        bounds.append(found)
                elif letter in unknown and axis in sizes and default is None:
                    other = sorted(unknown - {letter})[0]
                    raise ShapeError(f"no array fixes the extents of {letter} and {other}",
                                     hint=f"give one of them: --size {letter}=N")
            if bounds:
                sizes[letter] = min(bounds)
                letters.remove(letter)
                progress = True
        if not progress and default is not None and letters:
            sizes[letters.pop(0)] = default
            progress = True
    if letters:
        raise ShapeError(f"no array fixes the extent of {letters[0]}", value=letters[0],
                         hint=f"give it: --size {letters[0]}=N")
    for axis in program.extents:
        if axis not in sizes:
            held = [interval(s, sizes) for s, _, a in tight if a == axis]
            reach = [h[1] + 1 for h in held if h is not None]
            sizes[axis] = max([*reach, 1]) if reach or default is None else default


def _extents(s: Expr) -> set[str]:
    """What a subscript runs over, and the sizes in it, as of l//size(i)."""
    return {x.extent for x in subterms(s) if isinstance(x, (Index, Size))}


def _largest(s: Expr, letter: str, sizes: Sizes, room: int) -> int | None:
    """The largest size of `letter` for which `s` stays below `room`; None if it never matters."""
    def fits(n: int) -> bool:
        reach = interval(s, {**sizes, letter: n})
        return reach is None or reach[1] < room
    if fits(LIMIT):
        return None
    return _bisect(fits)


def _bisect(fits: Callable[[int], bool]) -> int:
    low, high = 0, LIMIT
    if not fits(1):
        return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _check_ranges(program: Program, sizes: Sizes) -> None:
    """Every access that no `where` guards must be in range, and every constant subscript."""
    for s in program.statements:
        if any(sizes[i.extent] == 0 for i in s.indices):
            continue
        free = set(_unguarded(s.expr))
        for g in (x for x in subterms(s.expr) if isinstance(x, Get)):
            for n, (sub, axis) in enumerate(zip(g.subs, program.axes(g.tensor), strict=True)):
                reach = interval(sub, sizes) if g in free or isinstance(sub, Num) else None
                if reach and reach[1] >= reach[0] and (reach[0] < 0 or reach[1] >= sizes[axis]):
                    raise ShapeError(f"{g.tensor} is read out of range on axis {n}",
                                     hint="guard it with where(...), or give a smaller --size",
                                     value=f"{reach[0]}..{reach[1]} of 0..{sizes[axis] - 1} where {s.name} is defined")


def _unguarded(e: Expr) -> list[Get]:
    kept = [b for w in subterms(e) if isinstance(w, Where) for b in (w.then, w.other)]
    kept += [c for w in subterms(e) if isinstance(w, Logic) for c in w.args[1:]]  # the first operand guards the rest
    guarded = {x for b in kept for x in subterms(b)}
    return [x for x in subterms(e) if isinstance(x, Get) and x not in guarded]
