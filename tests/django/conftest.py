"""The project's own endpoint, built from settings and declarations as in production, and ended with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from mcp_transport import bootstrap, server
from mcp_transport.declarations import Declarations
from mcp_transport.engine.endpoint import Endpoint

Serve = Callable[[], Endpoint]


@pytest.fixture(autouse=True)
def fresh_endpoint() -> Iterator[None]:
    """Leave no endpoint behind that was built from this test's settings or declarations."""
    bootstrap._forget(setting="MCP_TRANSPORT")
    yield
    bootstrap._forget(setting="MCP_TRANSPORT")


@pytest.fixture
def declarations(monkeypatch: pytest.MonkeyPatch) -> Declarations:
    """An empty registry in place of the project's, which comes back afterwards."""
    empty = Declarations()
    monkeypatch.setattr(server, "declared", empty)
    return empty


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Return the endpoint of the settings and declarations as they are when it is called."""
    built: list[Endpoint] = []

    def build() -> Endpoint:
        built.append(bootstrap.endpoint())
        return built[-1]

    yield build
    for endpoint in built:
        await endpoint.stop()
