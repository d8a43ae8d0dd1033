"""Nodes on one Redis tell each other when a circuit opens and closes; a durable call that runs again counts once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from mcp.server.mcpserver.tools import Tool

from mcp_transport.backends.base import Backend
from mcp_transport.domain.circuit_breaker import BreakerState, CircuitBreaker
from mcp_transport.domain.node_messages import CircuitClosed, LeaseLapsed
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import session_key
from mcp_transport.engine.clock import SystemClock
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.engine.node import Node
from mcp_transport.kernel import CallLimits, Kernel, watched
from tests.support.client import Answer, SessionClient, send_sessionless, text_of
from tests.support.redis.backend import build, leave, server
from tests.support.redis.server import RedisServer
from tests.support.tools import KEYS, Gate, build_tools

__all__ = ["server"]

pytestmark = pytest.mark.servers

BREAKER = CircuitBreaker(min_calls=4, open_for=30)


class GuardedTool(Tool):
    limits: CallLimits = CallLimits()
    durable: bool = True


class ShiftedClock(SystemClock):
    """The machine's clock, whose steady part a test moves on."""

    ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@dataclass
class Host:
    """A process, in effect: an endpoint with a store of its own and what its tool does."""

    endpoint: Endpoint
    backend: Backend
    clock: ShiftedClock
    does: str = "work"
    runs: int = 0

    async def node(self) -> Node:
        return await self.endpoint.pool.node()

    def state(self) -> BreakerState | None:
        return self.endpoint.breakers.states().get("guarded")

    async def call(self) -> Answer:
        return await send_sessionless(self.endpoint, "tools/call", {"name": "guarded", "arguments": {}}, id=7)

    def counted(self) -> int:
        """Return how many calls the window has."""
        circuits = self.endpoint.breakers._circuits.values()
        return sum(calls for _, circuit in circuits for _, calls, _ in circuit.counts)


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (what another node does has no event here)
            await asyncio.sleep(0.005)


def build_host(server: RedisServer) -> Host:
    policy, clock, gate = Policy(lease=1.0), ShiftedClock(), Gate()
    tools, backend = build_tools(gate), build(server, policy)
    host = Host(Endpoint(Kernel(tools), backend, policy, keys=KEYS, clock=clock), backend, clock)

    async def guarded() -> str:
        host.runs += 1
        if host.does == "fail":
            raise ConnectionError
        if host.does == "hang":
            await gate.open.wait()
        return "works"

    tool = dict(Tool.from_function(watched(guarded, BREAKER)))
    tools._tool_manager._tools["guarded"] = GuardedTool(**{**tool, "limits": CallLimits(circuit_breaker=BREAKER)})
    return host


@pytest.fixture
async def hosts(server: RedisServer) -> AsyncIterator[tuple[Host, Host]]:
    server.cli("FLUSHALL")
    one, other = build_host(server), build_host(server)
    for host in (one, other):
        await host.node()
    yield one, other
    for host in (one, other):
        await host.endpoint.pool.stop()
        await leave(host.backend)


async def test_an_opening_reaches_other_nodes_for_both_eras_and_so_does_the_closing(hosts: tuple[Host, Host]) -> None:
    one, other = hosts
    client = SessionClient(other.endpoint)
    await client.open()
    one.does = "fail"
    for _ in range(4):
        await one.call()
    assert one.state() is BreakerState.OPEN
    await until(lambda: other.state() is BreakerState.OPEN)
    for answer in (await other.call(), await client.call("guarded", {})):
        data = answer.json["error"]["data"]
        assert data["limit"] == "circuit_breaker" and 20_000 < data["retryAfterMs"] <= 30_000
    assert other.runs == 0
    assert other.endpoint.breakers.opened["guarded"] == 0, "it counts where it opened"
    assert [record.tool for record in other.endpoint.process_metrics().breakers] == ["guarded"]

    other.clock.ahead = 31.0
    assert text_of((await other.call()).json) == "works", "each node probes by itself"
    assert other.state() is BreakerState.CLOSED
    await until(lambda: one.state() is BreakerState.CLOSED)


async def test_staff_resets_it_on_every_node(hosts: tuple[Host, Host]) -> None:
    one, other = hosts
    one.does = "fail"
    for _ in range(4):
        await one.call()
    await until(lambda: other.state() is BreakerState.OPEN)
    for node in await other.backend.bus.nodes():  # as `operators.service.reset_circuit_breaker` does
        await other.backend.bus.send(node.name, CircuitClosed("guarded"))
    await until(lambda: {one.state(), other.state()} == {BreakerState.CLOSED})


async def test_a_durable_call_that_runs_again_counts_on_the_node_that_ends_it(hosts: tuple[Host, Host]) -> None:
    one, other = hosts
    client = SessionClient(one.endpoint)
    await client.open()
    one.does = "hang"
    call = asyncio.ensure_future(client.call("guarded", {}))
    await until(lambda: one.runs == 1)
    lost, heir = await one.node(), await other.node()
    [running] = lost.registry.running
    await one.backend.bus.stop(lost.id)  # its lease is gone, and so it is dead for the others
    heir.fail_over(session_key(client.session_id or ""), running.stream, lost.id)
    await until(lambda: other.runs == 1 and not heir.registry.running)
    lost.receive(LeaseLapsed())
    await until(lambda: not lost.registry.running)
    call.cancel()
    await asyncio.wait([call])
    assert (one.counted(), other.counted()) == (0, 1)
