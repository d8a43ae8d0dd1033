"""No test may have a secret logged, at any level."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.canaries import Watch


@pytest.fixture(scope="session")
def watch() -> Iterator[Watch]:
    """Look at each log line of the whole run, whoever writes it."""
    watch, root = Watch(), logging.getLogger()
    root.addHandler(watch)
    levels = {name: logging.getLogger(name).level for name in ("mcp_transport", "mcp", "django")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield watch
    root.removeHandler(watch)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(autouse=True)
def nothing_secret_is_logged(watch: Watch) -> Iterator[None]:
    """Fail the test in which a secret was logged."""
    watch.taken()
    yield
    assert not watch.taken(), "a secret was logged"
