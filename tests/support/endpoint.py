"""An endpoint without Django: a few tools, the memory backend, a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.local import LocalBackend
from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.principal import ANONYMOUS, Principal
from mcp_transport.domain.rate_limit import RateLimits
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel
from mcp_transport.protocol.http import HTTPRequest
from tests.support.client import SessionClient
from tests.support.clock import FakeClock
from tests.support.leaks import LeakWatch
from tests.support.tools import KEYS, Gate, build_tools


async def authenticate(request: HTTPRequest) -> Principal:
    """Believe the request's user, which these tests set to a name."""
    return Principal("test", request.user, name=request.user) if request.user else ANONYMOUS


def endpoint_of(
    server: Any,
    clock: FakeClock,
    policy: Policy | None = None,
    backend: Backend | LocalBackend | None = None,
    rate_limits: RateLimits | None = None,
    session_keys: Sequence[bytes] = (),
) -> Endpoint:
    """Build an endpoint that whoever builds it has to stop."""
    policy = policy or Policy()
    store = backend or MemoryBackend(policy, clock.now)
    store = store if isinstance(store, Backend) else Backend.of(store)
    return Endpoint(
        Kernel(server),
        store,
        policy,
        keys=KEYS,
        session_keys=session_keys,
        authenticate=authenticate,
        clock=clock,
        rate_limits=rate_limits,
    )


@pytest.fixture
async def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def gate() -> Gate:
    return Gate()


BuildEndpoint = Callable[..., Endpoint]


@pytest.fixture
async def build_endpoint(clock: FakeClock, gate: Gate) -> AsyncIterator[BuildEndpoint]:
    """Build endpoints that are stopped at the end, and must leave nothing; two with one `backend` are two nodes."""
    built: list[Endpoint] = []
    watches: list[LeakWatch] = []

    def build(
        backend: Any = None,
        server: Any = None,
        rate_limits: RateLimits | None = None,
        session_keys: Sequence[bytes] = (),
        **changes: Any,
    ) -> Endpoint:
        tools, policy = server or build_tools(gate), Policy(**changes)
        built.append(endpoint_of(tools, clock, policy, backend, rate_limits, session_keys))
        watches.append(LeakWatch(built[-1]))
        return built[-1]

    yield build
    gate.open.set()
    for endpoint in built:
        await endpoint.pool.stop()
    leaks = [found for watch in watches if (found := await watch.found())]
    assert not leaks, f"left behind: {leaks}"


@pytest.fixture
async def endpoint(build_endpoint: BuildEndpoint) -> Endpoint:
    return build_endpoint()


@pytest.fixture
async def client(endpoint: Endpoint) -> SessionClient:
    """A client with an open 2025-11-25 session."""
    client = SessionClient(endpoint)
    await client.open()
    return client
