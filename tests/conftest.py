"""Options of the test suite; slow tests run with `-m slow`."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--corpus",
        choices=["core", "all"],
        default="core",
        help="which formulas of tests/formulas.py have their kernels compiled and run (default: core)",
    )
    parser.addoption(
        "--sweep",
        choices=["some", "all", "check"],
        default="some",
        help="which sizes and dtypes of the catalogue are swept: check takes all that are small, in check mode",
    )
    parser.addoption(
        "--fuzz", type=float, default=0, metavar="MINUTES", help="how long to try random formulas (default: a few only)"
    )
    parser.addoption(
        "--mutants",
        default="sample",
        help="mutants of each operation of the catalogue in tests/mutation: a number, or all (default: a few of some)",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "slow" in config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with -m slow"))
