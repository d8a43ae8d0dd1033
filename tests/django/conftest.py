"""The project's own endpoint, built from settings and declarations as in production, and ended with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from mcp_transport import bootstrap, functions, server
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.server import Declarations

Serve = Callable[[], Endpoint]


@pytest.fixture(autouse=True)
def fresh_endpoint() -> Iterator[None]:
    """Leave no endpoint behind that was built from this test's settings or declarations."""
    bootstrap._forget(setting="MCP_TRANSPORT")
    yield
    bootstrap._forget(setting="MCP_TRANSPORT")


@pytest.fixture(autouse=True)
def fresh_tool_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End the threads that ran this test's tools.

    Django never closes connections to a database in memory; a thread that kept one would meet pytest-django's
    refusal in a later test without a database.
    """
    make, made = functions._threads, set[ThreadPoolExecutor]()

    def threads(count: int) -> ThreadPoolExecutor:
        made.add(make(count))
        return make(count)

    monkeypatch.setattr(functions, "_threads", threads)
    yield
    for pool in made:
        everybody = Barrier(pool._max_workers)
        for closing in [pool.submit(_close_connections, everybody) for _ in range(pool._max_workers)]:
            closing.result(5)
        pool.shutdown()
    make.cache_clear()


def _close_connections(everybody: Barrier) -> None:
    everybody.wait(5)  # so that each thread has one of these
    for connection in connections.all(initialized_only=True):
        BaseDatabaseWrapper.close(connection)


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
