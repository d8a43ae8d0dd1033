"""Fixtures for pytest.

If the package is installed, every run of pytest imports this module, so it imports neither Django nor the SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from mcp_transport.test import MCPClient

__all__ = ["mcp_client", "mcp_client_factory"]


# The fixtures of pytest-django that set up the database.
_DATABASES: Final = ("db", "transactional_db", "django_db_reset_sequences", "django_db_serialized_rollback")


@pytest.fixture
def mcp_client_factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., MCPClient]]:
    """Create clients with the arguments of `MCPClient`; their sessions are closed after the test."""
    _require_django()
    for name in _DATABASES:
        if name in request.fixturenames:
            request.getfixturevalue(name)  # so that the database with the users is torn down after the clients
    from mcp_transport.test import MCPClient

    clients: list[MCPClient] = []

    def create(**options: Any) -> MCPClient:
        clients.append(MCPClient(**options))
        return clients[-1]

    yield create
    for client in clients:
        client.close()


@pytest.fixture
def mcp_client(mcp_client_factory: Callable[..., MCPClient]) -> MCPClient:
    """An anonymous client of revision 2026-07-28."""
    return mcp_client_factory()


def _require_django() -> None:
    from django.apps import apps

    if not apps.ready:
        pytest.fail(
            "mcp_client needs a Django project: install pytest-django and set DJANGO_SETTINGS_MODULE, "
            "or call django.setup() in conftest.py",
            pytrace=False,
        )
