"""Options of the test suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--corpus",
        choices=["core", "all"],
        default="core",
        help="which formulas of tests/formulas.py have their kernels compiled and run (default: core)",
    )
