"""Give every reduction that a non-linear expression contains a statement of its own.

After this pass the right side of a statement is one of

- a root `max`, `min`, `logsumexp` or `softmax` of a pointwise body; that of an extremum is rounded at most once, so
  that comparing it with the extremum finds the same entries wherever it is computed again; or
- a pointwise expression in accesses and sums, linear in the sums, whose bodies are of the same form.

So a partial derivative never contains an unnamed reduction of the forward formula.  In `(X A) B` the product `X A` has
a name too: its adjoint `dY Bᵀ` is then taken once, and in the order that the formula chose.
"""

from __future__ import annotations

from derive import expr as E
from derive.expr import Add, Call, Expr, Get, Index, Logic, Mul, Pow, Reduce, Softmax, Where
from derive.program import Program, Statement
from derive.reads import computed, steady
from derive.simplify.inline import multiplies
from derive.simplify.names import presentable


def hoist(program: Program) -> Program:
    """Name nested reductions: `H = relu(Σ_i X W + b)` becomes `H_1 = Σ_i X W + b`, `H = relu(H_1)`."""
    names = set(program.names)
    out: list[Statement] = []
    for s in program.statements:
        work = _Hoist(s, names)
        root = work.root(s.expr)
        out += [*work.made, Statement(s.name, s.indices, root, s.line)]
    return Program(program.text, program.params, program.inputs, tuple(out), program.outputs, program.letters)


class _Hoist:
    def __init__(self, statement: Statement, names: set[str]):
        self.statement, self.names = statement, names
        self.made: list[Statement] = []
        self.known: dict[Expr, Get] = {}

    def root(self, e: Expr) -> Expr:
        s = self.statement
        if isinstance(e, Softmax) and _whole(e, s.indices):
            indices, body = E.open_binder(e, avoid=s.indices)
            return E.softmax(indices, self._name_all(body, ()), e.at)
        if isinstance(e, Reduce) and e.op != "sum":
            indices, body = E.open_binder(e, avoid=s.indices)
            body = self._name_all(body, ())
            if e.op in ("max", "min") and rounding(body) > 1:
                body = self._define(body, tuple(sorted(body.free, key=self._order)), ())
            return E.reduction(e.op, indices, body)
        scaled = _scaled_product(e)
        if scaled is not None:
            return E.mul(*(self._name_all(f, ()) for f in E.factors(e) if f is not scaled), self._named(scaled, ()))
        return self.body(e)

    def body(self, e: Expr) -> Expr:
        """`e` with each reduction that it is not linear in replaced by a name."""
        return self._linear(e, ())

    def _linear(self, e: Expr, guards: tuple[Expr, ...], factor: bool = False) -> Expr:
        """`e` with names for what it is not linear in, and for a matrix product that is a factor of another one."""
        if not _reduces(e):
            return e
        if isinstance(e, Add):
            return E.add(*(self._linear(a, guards, factor) for a in e.args))
        if isinstance(e, Mul):
            heavy = [f for f in e.args if _reduces(f)]
            if len(heavy) == 1:
                return E.mul(*(self._linear(f, guards, factor) if f is heavy[0] else f for f in e.args))
        if isinstance(e, Reduce) and e.op == "sum" and not (factor and multiplies(e)):
            around = {i for g in guards for i in g.free}
            indices, body = E.open_binder(e, avoid=(*self.statement.indices, *around))
            others = [f for f in E.factors(body) if not _reduces(f)]
            return E.summation(indices, self._linear(body, guards, any(f.free & set(indices) for f in others)))
        if isinstance(e, Where):
            return E.where(self._name_all(e.cond, guards), self._linear(e.then, (*guards, e.cond), factor),
                           self._linear(e.other, (*guards, E.negate(e.cond)), factor))
        return self._name_all(e, guards)

    def _name_all(self, e: Expr, guards: tuple[Expr, ...]) -> Expr:
        """Every outermost reduction in `e` named, together with the sum of terms that it stands in."""
        if not _reduces(e):
            return e
        if isinstance(e, Where):
            return E.where(self._name_all(e.cond, guards), self._name_all(e.then, (*guards, e.cond)),
                           self._name_all(e.other, (*guards, E.negate(e.cond))))
        if isinstance(e, Logic) and e.op != "not":  # each condition is asked where those before it leave it open
            parts = []
            for c in e.args:
                parts.append(self._name_all(c, guards))
                guards = (*guards, c if e.op == "and" else E.negate(c))
            return E.logic(e.op, *parts)
        if isinstance(e, (Reduce, Softmax)):
            return self._named(e, guards)
        if isinstance(e, Add) and any(isinstance(f, Reduce) for a in e.args for f in E.factors(a)) and all(
                _plain_linear(a) for a in e.args):
            return self._named(e, guards)
        return E.rebuild(e, tuple(self._name_all(c, guards) for c in e.children))

    def _named(self, e: Expr, guards: tuple[Expr, ...]) -> Expr:
        if isinstance(e, Softmax):
            around = {i for g in guards for i in g.free}
            bound, body = E.open_binder(e, avoid=(*self.statement.indices, *e.free, *around))
            outer = sorted(body.free - set(bound), key=lambda i: self._order(i))
            indices = (*outer, *bound)
            whole: Expr = E.softmax(bound, body, bound)
            return E.substitute(self._define(whole, indices, guards), dict(zip(bound, e.at, strict=True)))
        return self._define(e, tuple(sorted(e.free, key=self._order)), guards)

    def _order(self, i: Index) -> tuple[int, str]:
        mine = self.statement.indices
        return (mine.index(i) if i in mine else len(mine), i.name)

    def _define(self, e: Expr, indices: tuple[Index, ...], guards: tuple[Expr, ...]) -> Get:
        conditions = [c for g in guards for c in E.conjuncts(g) if not _reduces(c)]
        more = {i for c in conditions if _keeps_in_range(c, e) for i in c.free} - set(indices)
        indices = (*indices, *sorted(more, key=self._order))
        guard = E.logic("and", *(c for c in conditions if c.free <= e.free | more))
        if guard is not E.TRUE and _may_fail(e):
            e = _guarded(e, guard)
        indices = tuple(i for i in indices if i in e.free)  # conditions together may say less than each: nothing, or 0
        letters = presentable(indices, self.statement.indices)
        key = E.substitute(e, dict(zip(indices, letters, strict=True)))
        if key not in self.known:
            inner = _Hoist(Statement(self.statement.name, letters, key), self.names)
            inner.known = self.known
            root = inner.root(key)
            self.made += inner.made
            name = _unused(f"{self.statement.name}_{_kind(root)}", self.names)
            self.made.append(Statement(name, letters, root, self.statement.line))
            self.known[key] = Get(name, letters)
        known, here = self.known[key], dict(zip(letters, indices, strict=True))  # it may have them in another order
        return Get(known.tensor, tuple(here[i] for i in known.subs if isinstance(i, Index)))


def rounding(e: Expr) -> int:
    """How many rounding operations stand between the tensors that are read and the value of `e`."""
    if isinstance(e, (Get, E.Num, Index, E.Size, E.Param, E.Const, E.Cmp, E.Logic, E.Truth)):
        return 0
    own = 0
    if isinstance(e, (Add, Mul)):
        signs = isinstance(e, Mul) and e.args[0] is E.MINUS_ONE
        own = len(e.args) - 1 - signs
    elif isinstance(e, Call):
        own = 0 if e.fn in ("abs", "relu", "maximum", "minimum", "sign") else 2
    elif isinstance(e, (Pow, Reduce, Softmax)):
        own = 2
    return own + sum(rounding(c) for c in e.children)


def _reduces(e: Expr) -> bool:
    return e._height > 0


def _whole(e: Softmax, indices: tuple[Index, ...]) -> bool:
    """Whether a softmax is asked for at all its places, not at an entry that its own body names, as `P[i,i]`."""
    free = e.body.free - set(e.indices)
    return len(set(e.at)) == len(e.at) and all(a in indices and a not in free for a in e.at)


def _plain_linear(term: Expr) -> bool:
    heavy = [f for f in E.factors(term) if _reduces(f)]
    return not heavy or (len(heavy) == 1 and isinstance(heavy[0], Reduce) and heavy[0].op == "sum")


def _scaled_product(e: Expr) -> Reduce | None:
    """The matrix product of `c · Σ_k A B`, c a scalar: named, its gradients need the scale once, not twice."""
    sums = [f for f in E.factors(e) if isinstance(f, Reduce)]
    if len(sums) != 1 or len(E.factors(e)) < 2 or any(f.free for f in E.factors(e) if f is not sums[0]):
        return None
    product = sums[0]
    if product.op == "sum" and isinstance(product.body, Mul) and sum(bool(f.free) for f in product.body.args) > 1:
        return product
    return None


def _may_fail(e: Expr) -> bool:
    """Whether `e` may read out of range or be infinite where its guard does not hold."""
    return not steady(e) or any(isinstance(x, (Pow, Call)) for x in E.subterms(e))


def _keeps_in_range(c: Expr, e: Expr) -> bool:
    """Whether a condition may be what keeps a computed place of `e` in range: of what the place is computed from."""
    return any(c.free & p.free and set(E.tensors(c)) == set(E.tensors(p)) for p in computed(e))


def _guarded(e: Expr, guard: Expr) -> Expr:
    """The guard moved inside the binders of `e`, so that nothing is read where it does not hold."""
    if isinstance(e, Reduce):
        indices, body = E.open_binder(e, avoid=guard.free)
        return E.reduction(e.op, indices, E.where(guard, body, E.ZERO))
    if isinstance(e, Softmax):
        indices, body = E.open_binder(e, avoid=guard.free)
        return E.softmax(indices, E.where(guard, body, E.ZERO), e.at)
    return E.where(guard, e, E.ZERO)


def _kind(root: Expr) -> str:
    """What a reader may call the value of `root`: `L_lse` says more than `L_1`."""
    if isinstance(root, Softmax):
        return "softmax"
    if isinstance(root, Reduce):
        return {"logsumexp": "lse"}.get(root.op, root.op)
    return "sum" if _plain_linear(root) else "in"


def _unused(name: str, names: set[str]) -> str:
    n, free = 1, name
    while free in names:
        n, free = n + 1, f"{name}_{n + 1}"
    names.add(free)
    return free
