"""An endpoint without Django, on a clock that stands still; two nodes on a store that can be away."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.domain.policy import Policy
from mcp_transport.engine.endpoint import Endpoint
from tests.support.calls import opened
from tests.support.client import SessionClient
from tests.support.clock import FakeClock
from tests.support.endpoint import BuildEndpoint, build_endpoint, client, clock, endpoint, gate
from tests.support.kernel import fast
from tests.support.stores import FlakyBackend

__all__ = ["build_endpoint", "client", "clock", "endpoint", "fast", "gate"]


@pytest.fixture
async def store(clock: FakeClock) -> FlakyBackend:
    """A store of several nodes that can be away, or held up."""
    return FlakyBackend(Policy(), clock.now)


@pytest.fixture
async def nodes(build_endpoint: BuildEndpoint, store: FlakyBackend) -> tuple[Endpoint, Endpoint]:
    """Two nodes that share the store."""
    return build_endpoint(store), build_endpoint(store)


@pytest.fixture
async def here(nodes: tuple[Endpoint, Endpoint]) -> SessionClient:
    """A client whose requests go to the first node, unless they name `there`."""
    return await opened(nodes[0])


@pytest.fixture
def there(nodes: tuple[Endpoint, Endpoint]) -> dict[str, Any]:
    """What sends a request to the second node."""
    return {"endpoint": nodes[1]}


@pytest.fixture
async def old(endpoint: Endpoint) -> SessionClient:
    """A client of 2025-03-26, the one revision with batches."""
    return await opened(endpoint, version="2025-03-26")
