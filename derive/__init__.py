"""derive: from the forward formula of a tensor operation to its gradient, its CUDA kernels, and their proof.

>>> import derive
>>> op = derive.parse("Y[i,j] = sum(k, X[i,k]*W[k,j])")
>>> op.gradients["X"].matrix
'dX = dY Wᵀ'
"""

from importlib import import_module

__version__ = "0.1.0"

# Public names and the modules they are loaded from at first use: `import derive` itself loads nothing.
_HOME = {
    "parse": "derive.operation",
    "compile": "derive.run",
    "DeriveError": "derive.errors",
}

__all__ = ["DeriveError", "__version__", "compile", "parse"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'derive' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
