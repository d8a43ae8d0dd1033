"""Fixtures for pytest.

Every run of pytest imports this module where the package is installed, so it imports neither Django nor the SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from mcp_transport.test import MCPClient

__all__ = ["mcp_client", "mcp_client_factory"]


# What gives a test of pytest-django its database.
_DATABASES: Final = ("db", "transactional_db", "django_db_reset_sequences", "django_db_serialized_rollback")


@pytest.fixture
def mcp_client_factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., MCPClient]]:
    """Make clients with the arguments of `MCPClient`; their sessions end with the test."""
    _require_django()
    for name in _DATABASES:
        if name in request.fixturenames:
            request.getfixturevalue(name)  # so that it outlives the clients, whose users are there
    from mcp_transport.test import MCPClient

    clients: list[MCPClient] = []

    def make(**options: Any) -> MCPClient:
        clients.append(MCPClient(**options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def mcp_client(mcp_client_factory: Callable[..., MCPClient]) -> MCPClient:
    """A client that nobody is logged in to, of 2026-07-28."""
    return mcp_client_factory()


def _require_django() -> None:
    from django.apps import apps

    if not apps.ready:
        pytest.fail(
            "mcp_client needs a Django project: install pytest-django and set DJANGO_SETTINGS_MODULE, "
            "or call django.setup() in conftest.py",
            pytrace=False,
        )
