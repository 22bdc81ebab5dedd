"""Settings of every test: one thread, the tests marked ``full`` only on request, hypothesis without a clock."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported anywhere

import pytest
from hypothesis import settings

# A shared or busy machine makes single examples slow; a slow example is no fault.
settings.register_profile("quick", deadline=None, max_examples=50)
settings.register_profile("full", deadline=None, max_examples=500)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the tests marked `full` too, hypothesis ten times longer")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("full" if config.getoption("--full") else "quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    for item in items:
        if item.get_closest_marker("full"):
            item.add_marker(pytest.mark.skip(reason=f"left to `make test-full`: {item.nodeid}"))
