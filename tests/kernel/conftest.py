"""Keep the SDK from configuring the root logger."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="package")
def _root_logger_is_ours() -> Iterator[None]:
    """Keep MCPServer from configuring the root logger."""
    guard = logging.NullHandler()
    logging.getLogger().addHandler(guard)
    yield
    logging.getLogger().removeHandler(guard)
