"""One server with DynamoDB's API, and a fresh table for each test."""

from __future__ import annotations

import pytest

from tests.support.dynamodb.backend import clock, dynamo, table

__all__ = ["clock", "dynamo", "table"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the server."""
    for item in items:
        if "dynamo" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.servers)
