"""What planning knows about an operation: its buffers, the names of its sizes, and the memory a kernel sees."""

from __future__ import annotations

from dataclasses import dataclass, field

from derive.dtypes import ITEM
from derive.expr import Index
from derive.plan import ir
from derive.plan.ir import Local, Scalar
from derive.plan.lower import Frame, Scope
from derive.plan.names import Namer
from derive.plan.records import Buffer
from derive.plan.terms import Memory, letter


@dataclass
class Context:
    """Filled while a plan is made; dropped afterwards."""

    namer: Namer
    sizes: dict[str, str]  # extent class -> size name
    dtype: str = "float32"
    scatter: str = "deterministic"  # or atomic
    buffers: dict[str, Buffer] = field(default_factory=dict)  # tensor -> buffer
    axes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # tensor -> extent classes
    tensors: set[str] = field(default_factory=set)  # every name that a formula or we gave
    derived: dict[str, str] = field(default_factory=dict)  # size name -> expression, for extents that no array has

    @property
    def wide(self) -> int:
        """Bytes of a number that sums are kept in."""
        return 8 if self.dtype == "float64" else 4

    @property
    def lanes(self) -> int:
        """How many elements of the dtype 16 bytes hold."""
        return 16 // ITEM[self.dtype]

    def item(self, tensor: str) -> int:
        """Bytes of an element of a tensor's buffer."""
        return {"T": ITEM[self.dtype], "compute": self.wide}.get(self.buffers[tensor].dtype, 4)

    def size(self, extent: str) -> str:
        if extent.startswith("="):  # a class of one known size
            self.sizes[extent] = extent[1:]
        if extent not in self.sizes:
            self.sizes[extent] = self.namer.fresh(f"size_{extent.replace('.', '_')}")
        return self.sizes[extent]

    def greatest(self, i: Index, extents: tuple[str, ...]) -> Index:
        """`i`, running over the greatest of several extents."""
        joint = "|".join(extents)
        if joint not in self.sizes:
            self.sizes[joint] = self.namer.fresh(f"size_{letter(i)}")
            self.derived[self.sizes[joint]] = f"max({', '.join(map(self.size, extents))})"
        return Index(i.name, joint)

    def add(self, tensor: str, extents: tuple[str, ...], dtype: str, role: str) -> Buffer:
        if tensor not in self.buffers:
            name = self.namer.fresh(tensor)
            self.axes[tensor] = extents
            self.buffers[tensor] = Buffer(name, tensor, tuple(self.size(e) for e in extents), dtype, role)
        return self.buffers[tensor]

    def unrounded(self, tensor: str) -> bool:
        """Whether a tensor is kept in the type that sums are kept in."""
        return self.buffers[tensor].dtype == "compute" or self.dtype in ("float32", "float64")

    def fresh_tensor(self, wish: str) -> str:
        """A tensor name that nothing has, for a statement of our own."""
        name, n = wish, 1
        while name in self.tensors:
            n += 1
            name = f"{wish}{n}"
        self.tensors.add(name)
        return name

    def scope(self, *flat: tuple[tuple[Index, ...], str]) -> Scope:
        """An empty block that sees every buffer; `flat` are runs of indices with the name of their counter."""
        memory = {t: Memory(b.name, self.axes[t], b.dtype == "ids") for t, b in self.buffers.items()}
        counters = tuple((run, at) for f in sorted(flat, key=lambda f: -len(f[0])) for run, at in self.runs(*f))
        scope = Scope(Frame(memory, self.sizes, counters), self.namer.child())
        scope.namer.reserve(name for _, name in flat)
        return scope

    def runs(self, indices: tuple[Index, ...], name: str) -> list[tuple[tuple[Index, ...], Scalar]]:
        """What a flat counter says of runs of its indices: all of them, the first few, the last few."""
        whole: Scalar = Local(ir.INT, name)
        found: list[tuple[tuple[Index, ...], Scalar]] = [(indices, whole)] if indices else []
        for n in range(len(indices) - 1, 1, -1):
            for run, op, rest in ((indices[:n], "/", indices[n:]), (indices[-n:], "%", indices[-n:])):
                value: Scalar = Local(ir.INT, self.size(rest[0].extent))
                for i in rest[1:]:
                    value = ir.Binary(ir.INT, "*", value, Local(ir.INT, self.size(i.extent)))
                found.append((run, ir.Binary(ir.INT, op, whole, value)))
        return found

    def counter(self, indices: tuple[Index, ...], wish: str, taken: Namer) -> str:
        """A name for a counter over `indices`: the letter itself when there is one only."""
        return taken.fresh(letter(indices[0])) if len(indices) == 1 else taken.fresh(wish, ours=True)

    def decode(self, scope: Scope, indices: tuple[Index, ...], counter: str) -> None:
        """Locals for `indices` from a flat counter, last index fastest."""
        rest: Scalar = Local(ir.INT, counter)
        if len(indices) == 1:
            scope.places[indices[0]] = rest
            return
        for n, i in enumerate(reversed(indices)):
            last = n == len(indices) - 1
            value = rest if last else ir.Binary(ir.INT, "%", rest, scope.size(i.extent))
            local = scope.index(i)
            assert isinstance(local, Local)
            scope.stmts.append(ir.Let(local.name, value))
            if not last:
                rest = ir.Binary(ir.INT, "/", rest, scope.size(i.extent))

    def count(self, indices: tuple[Index, ...]) -> str:
        """How many values `indices` take together, over size names."""
        names = (self.size(i.extent) for i in indices)
        return "*".join(self.derived.get(n, n) for n in names) or "1"

    def reads(self, names: set[str], written: set[str]) -> tuple[Buffer, ...]:
        """The buffers among `names` that a kernel reads, in order of definition."""
        return tuple(b for b in self.buffers.values() if b.name in names and b.name not in written)

    def used_sizes(self, names: set[str]) -> tuple[str, ...]:
        """Arguments of a kernel that uses `names`."""
        used = (s for s in self.sizes.values() if s in names and not s.isdigit())
        return tuple(f"{s}={self.derived[s]}" if s in self.derived else s for s in used)
