"""Each test of the kernel runs on the fast path and the SDK's own way."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.support.kernel import fast

__all__ = ["fast"]


@pytest.fixture(autouse=True, scope="package")
def _root_logger_is_ours() -> Iterator[None]:
    """Keep MCPServer from configuring the root logger."""
    guard = logging.NullHandler()
    logging.getLogger().addHandler(guard)
    yield
    logging.getLogger().removeHandler(guard)


@pytest.fixture(autouse=True)
def _both_ways(fast: bool) -> None:
    """Run each test both ways."""
