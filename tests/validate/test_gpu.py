"""Level 6 of the catalogue where CuPy has a GPU: each operation in one type, in turn, or in all with `--sweep all`."""

import pytest

from derive import catalog
from derive.commands.source import find
from derive.dtypes import DTYPES
from derive.run import array_module
from derive.validate.data import Drawer
from derive.validate.formula import read
from derive.validate.kernels import gpu
from derive.validate.records import PASS

if array_module("auto").__name__ != "cupy":
    pytest.skip("CuPy finds no GPU", allow_module_level=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = catalog.names()
    every = metafunc.config.getoption("--sweep") == "all"
    chosen = [(n, t) for k, n in enumerate(names) for t in (DTYPES if every else [DTYPES[k % len(DTYPES)]])]
    metafunc.parametrize(("name", "dtype"), chosen)


def test_kernels_on_a_gpu(name: str, dtype: str) -> None:
    source = find(name)
    found = gpu(source.op, Drawer(read(source.op.text), source.data, {}), dtype)
    assert found.status == PASS, found.detail
