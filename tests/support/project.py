"""The project's own endpoint, built from settings and declarations as in production, and ended with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import pytest

from mcp_transport import bootstrap, conf, server
from mcp_transport.declarations import Declarations
from mcp_transport.engine.endpoint import Endpoint

Serve = Callable[[], Endpoint]


@pytest.fixture(autouse=True)
def fresh_endpoint() -> Iterator[None]:
    """Leave no endpoint behind that was built from this test's settings or declarations."""
    bootstrap._reset(setting="MCP_TRANSPORT")
    yield
    bootstrap._reset(setting="MCP_TRANSPORT")


@pytest.fixture
def declarations(monkeypatch: pytest.MonkeyPatch) -> Declarations:
    """An empty registry in place of the project's, which comes back afterwards."""
    empty = Declarations()
    monkeypatch.setattr(server, "declared", empty)
    return empty


NEVER = 3600.0


@pytest.fixture
async def serve(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    """Return the endpoint of the settings and declarations as they are when it is called.

    No answer becomes a stream because the machine is slow, unless the test says after how long.
    """
    patient = replace(conf.SETTINGS["SSE_AFTER_SECONDS"], default=NEVER)
    monkeypatch.setitem(conf.SETTINGS, "SSE_AFTER_SECONDS", patient)
    built: list[Endpoint] = []

    def build() -> Endpoint:
        built.append(bootstrap.endpoint())
        return built[-1]

    yield build
    for endpoint in built:
        await endpoint.pool.stop()
