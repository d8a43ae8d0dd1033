"""An endpoint without Django: a few tools, the memory backend, a clock that stands still."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult

from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel, sessionful_features
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.policy import Policy
from mcp_transport.protocol.principal import ANONYMOUS, Principal
from tests.clock import FakeClock
from tests.engine.client import SessionClient

KEYS = (b"first-key-of-the-ring-for-tests!",)


class Gate:
    """Lets a test and a tool wait for each other; every wait is bounded."""

    def __init__(self) -> None:
        self.entered, self.open, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.cancelled = False
        self.runs = 0

    async def wait(self, event: asyncio.Event) -> None:
        async with asyncio.timeout(5):
            await event.wait()


def build_tools(gate: Gate) -> MCPServer[Any]:
    """Build a server whose tools a test can steer through `gate`."""
    guard = logging.NullHandler()
    logging.getLogger().addHandler(guard)
    server: MCPServer[Any] = MCPServer("engine-tests", version="1")
    logging.getLogger().removeHandler(guard)
    sessionful_features(server)

    @server.tool()
    async def add(a: int, b: int) -> int:
        """Add."""
        gate.runs += 1
        return a + b

    @server.tool()
    async def blocked(ctx: Context) -> str:
        """Wait until the test opens the gate."""
        gate.runs += 1
        gate.entered.set()
        try:
            await gate.open.wait()
        except asyncio.CancelledError:
            gate.cancelled = True
            raise
        finally:
            gate.left.set()
        return "through"

    @server.tool()
    async def count(steps: int, ctx: Context) -> str:
        """Report progress `steps` times, then wait for the gate, then answer."""
        for step in range(1, steps + 1):
            await ctx.report_progress(step, steps)
        gate.entered.set()
        try:
            await gate.open.wait()
        except asyncio.CancelledError:
            gate.cancelled = True
            raise
        finally:
            gate.left.set()
        await ctx.report_progress(steps + 1, steps)
        return "counted"

    @server.tool()
    async def ask(ctx: Context) -> str:
        """Ask the user for a name."""
        schema = {"type": "object", "properties": {"name": {"type": "string"}}}
        question = ElicitRequest(params=ElicitRequestFormParams(message="name?", requested_schema=schema))
        from mcp.shared.message import ServerMessageMetadata

        related = ServerMessageMetadata(related_request_id=ctx.request_context.request_id)
        answer = await ctx.request_context.session.send_request(question, ElicitResult, metadata=related)
        return f"{answer.action} {(answer.content or {}).get('name')}"

    @server.tool()
    async def poll(ctx: Context) -> str:
        """Close the socket, wait for the gate, answer."""
        await ctx.close_sse_stream()
        gate.entered.set()
        await gate.open.wait()
        return "polled"

    @server.tool()
    async def announce(ctx: Context) -> str:
        """Tell everybody that the tools and one resource changed."""
        await ctx.notify_tools_changed()
        await ctx.notify_resource_updated("test://watched")
        return "announced"

    @server.tool()
    async def fail() -> str:
        """Fail unexpectedly."""
        raise RuntimeError("secret detail")

    @server.resource("test://watched")
    def watched() -> str:
        """A resource that changes."""
        return "now"

    return server


async def authenticate(request: HTTPRequest) -> Principal:
    """Believe the request's user, which these tests set to a name."""
    return Principal("test", request.user, name=request.user) if request.user else ANONYMOUS


@pytest.fixture
async def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def gate() -> Gate:
    return Gate()


BuildEndpoint = Callable[..., Endpoint]


@pytest.fixture
async def build_endpoint(clock: FakeClock, gate: Gate) -> AsyncIterator[BuildEndpoint]:
    """Build endpoints that are stopped at the end; two with one `backend` are two nodes."""
    built: list[Endpoint] = []

    def build(backend: Any = None, **changes: Any) -> Endpoint:
        policy = Policy(**changes)
        endpoint = Endpoint(
            Kernel(build_tools(gate)),
            backend or MemoryBackend(policy, clock.now),
            policy,
            keys=KEYS,
            authenticate=authenticate,
            clock=clock,
        )
        built.append(endpoint)
        return endpoint

    yield build
    gate.open.set()
    for endpoint in built:
        await endpoint.stop()


@pytest.fixture
async def endpoint(build_endpoint: BuildEndpoint) -> Endpoint:
    return build_endpoint()


@pytest.fixture
async def client(endpoint: Endpoint) -> SessionClient:
    """A client with an open 2025-11-25 session."""
    client = SessionClient(endpoint)
    await client.open()
    return client
