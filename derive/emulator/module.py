"""`RawModule` and `RawKernel`: CuPy's interface, on NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from derive.emulator import compiler, cuda, launch, source, variables, worker
from derive.emulator.check import CheckError, Report
from derive.emulator.count import Counters
from derive.emulator.errors import CompileError, EmulatorError, LaunchError
from derive.emulator.signature import Signature

_ORDERS = ("sequential", "random")


class RawModule:
    """CUDA text, compiled for the CPU; a stand-in for `cupy.RawModule`.

    Args:
        code: CUDA C++ as NVRTC would take it.
        options: compiler options; definitions and include directories are used, those for a GPU are ignored.
        backend: ignored, for CuPy's sake.
        name_expressions: template kernels to instantiate, such as `"scale<float>"`.
        check: run in check mode, which reports races, bad accesses and divergence (see `CheckError`).
        order: `"sequential"`, or `"random"` to run blocks and threads in an order that depends on `seed`.
        seed: of the random order.
        uninitialized: names of parameters whose arrays hold nothing yet (check mode reports reads of them).
        count: run in count mode: each launch adds one `Counters` to the list `counters` of the module.

    Example:
        >>> import numpy as np
        >>> code = 'extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2; }'
        >>> x = np.ones(4, np.float32)
        >>> RawModule(code=code).get_function("twice")((1,), (4,), (x,))
        >>> x
        array([2., 2., 2., 2.], dtype=float32)
    """

    def __init__(
        self,
        code: str | None = None,
        *,
        path: str | None = None,
        options: Sequence[str] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Sequence[str] | None = None,
        jitify: bool = False,
        check: bool = False,
        order: str = "sequential",
        seed: int = 0,
        uninitialized: Sequence[str] = (),
        count: bool = False,
    ) -> None:
        if code is None:
            raise EmulatorError(f"code=... is needed: the emulator compiles CUDA text, not {path or 'nothing'}")
        if check and count:
            raise EmulatorError("a launch is checked or counted, not both: make one module for each")
        if order not in _ORDERS:
            raise EmulatorError(f"order must be one of {', '.join(_ORDERS)}, not {order!r}")
        del backend, translate_cucomplex, enable_cooperative_groups, jitify
        self.code = code
        self.options = tuple(options)
        self.name_expressions = tuple(name_expressions or ())
        self.order = (order == "random", seed & (2**64 - 1))
        self.check = check
        self.uninitialized = tuple(uninitialized)
        self.count = count
        self.counters: list[Counters] = []
        self._object: Path | None = None

    def compile(self, log_stream: Any = None) -> None:
        """Compiles now instead of at the first `get_function`."""
        del log_stream
        if self._object is not None:
            return
        try:
            unit = source.translation_unit(self.code, self.options, self.name_expressions)
            options = source.host_options(self.options)
            self._object = compiler.build_kernels(unit, options, "the CUDA source", check=self.check or self.count)
        except CompileError as error:
            hint = source.hint(self.code)
            raise CompileError(f"{hint}\n{error}") if hint else error from None

    def get_function(self, name: str) -> Kernel:
        """The kernel of this name, or of this name expression."""
        self.compile()
        with worker.lock:
            kernels = self._load().kernels
        if name not in kernels:
            known = ", ".join(kernels) or "none"
            raise EmulatorError(
                f"no kernel '{name}' in this source (kernels: {known}). "
                f"A template is named with its arguments, as in {name.partition('<')[0]}<float>, in name_expressions."
            )
        return Kernel(self, name)

    def seen_variables(self) -> tuple[variables.Shared, ...]:
        """The variables that `get_global` has been asked for."""
        assert self._object is not None
        return variables.shared_with(worker.current(), self._object)

    def instrumented(self, signature: Signature) -> launch.Instrumented | None:
        """What check mode or count mode needs to know, or None in fast mode."""
        if not self.check and not self.count:
            return None
        assert self._object is not None
        if self.count:
            return launch.Instrumented(self._object, frozenset(), counting=True)
        names = {parameter.name for parameter in signature.parameters}
        unknown = [name for name in self.uninitialized if name not in names and name not in self.code]
        if unknown:
            raise LaunchError(f"uninitialized names no parameter: {', '.join(unknown)}. It is {signature.describe()}")
        return launch.Instrumented(self._object, frozenset(self.uninitialized))

    def get_global(self, name: str) -> cuda.MemoryPointer:
        """Where the `__constant__` or `__device__` variable of this name lies, for an array to be laid over it.

        What is written there is what kernels of the next launch read, and what they write is there after it.

        Args:
            name: as CuPy takes it: plain at file scope and for `extern "C"`, else mangled, as `_ZN2ns4coefE` for
                `ns::coef`.

        Raises:
            EmulatorError: if the source has no such variable; the message lists those it has.

        Example:
            >>> import numpy as np
            >>> import derive.emulator as cp
            >>> code = '''__constant__ float coef[3];
            ... extern "C" __global__ void scale(float* x) { x[threadIdx.x] *= coef[threadIdx.x]; }'''
            >>> module = cp.RawModule(code=code, check=True)
            >>> cp.ndarray((3,), cp.float32, module.get_global("coef"))[...] = [1, 2, 4]
            >>> x = np.ones(3, np.float32)
            >>> module.get_function("scale")((1,), (3,), (x,))
            >>> x
            array([1., 2., 4.], dtype=float32)
        """
        self.compile()
        assert self._object is not None
        with worker.lock:
            found = variables.share(worker.current(), self._object, name)
        return cuda.MemoryPointer(found.memory)

    def _load(self) -> worker.Library:
        assert self._object is not None
        return worker.current().load(self._object)


class Kernel:
    """A kernel of a module: `kernel(grid, block, args, shared_mem=0)`, as in CuPy."""

    def __init__(self, module: RawModule, name: str) -> None:
        self._module = module
        self.name = name
        self.dynamic_limit: int | None = None  # as the user has raised it

    def __call__(self, grid: Any, block: Any, args: Sequence[Any], shared_mem: int = 0, stream: Any = None) -> None:
        """Runs the kernel to its end. Arrays are changed in place."""
        del stream
        shape = launch.configure(grid, block, shared_mem)
        with worker.lock:
            home = worker.current()
            library = self._module._load()
            index, signature = library.kernels[self.name]
            mode = self._module.instrumented(signature)
            violations = launch.limit_violations(signature, shape, self.dynamic_limit)
            if violations and self._module.check:
                line = source.line_of(self._module.code, self.name)
                raise CheckError(tuple(Report("launch-limit", self.name, line, text) for text in violations))
            if violations:
                raise LaunchError(f"kernel '{self.name}' cannot be launched: {'; '.join(violations)}")
            seen = self._module.seen_variables()
            number, order = (library.number, index), self._module.order
            found = launch.run(home, number, signature, shape, tuple(args), order, mode, seen)
            if found is not None:
                self._module.counters.append(found)

    @property
    def signature(self) -> Signature:
        """The kernel's parameters, by name and type."""
        with worker.lock:
            return self._module._load().kernels[self.name][1]

    @property
    def attributes(self) -> dict[str, int]:
        """The part of CuPy's attributes that means something here."""
        signature = self.signature
        return {
            "max_threads_per_block": signature.max_threads or launch.MAX_THREADS,
            "shared_size_bytes": signature.static_shared,
            "max_dynamic_shared_size_bytes": self.max_dynamic_shared_size_bytes,
        }

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """Dynamic shared memory that a launch may ask for; raise it for more than 48 KiB."""
        return launch.DEFAULT_SHARED if self.dynamic_limit is None else self.dynamic_limit

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        self.dynamic_limit = size


class RawKernel:
    """One kernel from CUDA text, a stand-in for `cupy.RawKernel`; compiled on the first call.

    Example:
        >>> import numpy as np
        >>> k = RawKernel('extern "C" __global__ void iota(int* x) { x[threadIdx.x] = threadIdx.x; }', "iota")
        >>> x = np.zeros(3, np.int32)
        >>> k((1,), (3,), (x,))
        >>> x
        array([0, 1, 2], dtype=int32)
    """

    def __init__(self, code: str, name: str, options: Sequence[str] = (), backend: str = "nvrtc", **more: Any) -> None:
        expressions = (name,) if "<" in name or "::" in name else ()
        self._module = RawModule(code=code, options=options, backend=backend, name_expressions=expressions, **more)
        self.name = name
        self.code = code
        self._kernel: Kernel | None = None

    @property
    def kernel(self) -> Kernel:
        """The compiled kernel."""
        if self._kernel is None:
            self._kernel = self._module.get_function(self.name)
        return self._kernel

    @property
    def counters(self) -> list[Counters]:
        """What each launch asked of memory, in count mode."""
        return self._module.counters

    def compile(self, log_stream: Any = None) -> None:
        """Compiles now instead of at the first call."""
        del log_stream
        _ = self.kernel

    def __call__(self, grid: Any, block: Any, args: Sequence[Any], shared_mem: int = 0, stream: Any = None) -> None:
        """Runs the kernel to its end. Arrays are changed in place."""
        self.kernel(grid, block, args, shared_mem=shared_mem, stream=stream)

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """Dynamic shared memory that a launch may ask for; raise it for more than 48 KiB."""
        return self.kernel.max_dynamic_shared_size_bytes

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        self.kernel.max_dynamic_shared_size_bytes = size

    @property
    def attributes(self) -> dict[str, int]:
        """The part of CuPy's attributes that means something here."""
        return self.kernel.attributes
