"""Endpoints on a DynamoDB that throttles, loses answers, conflicts and reads old items: clients get their results.

Each fault is injected into the requests of both processes, by chance, while clients call tools at both.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import session_key
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel
from tests.support.client import Answer, SessionClient
from tests.support.dynamodb import faults as kinds
from tests.support.dynamodb.backend import build, client_of
from tests.support.dynamodb.faults import Faults, without_pauses
from tests.support.tools import KEYS, Gate, build_tools

SHARES = {
    kinds.THROTTLED: 0.05,
    kinds.BROKEN: 0.03,
    kinds.REFUSED: 0.02,
    kinds.LOST_REQUEST: 0.02,
    kinds.LOST_ANSWER: 0.05,
    kinds.CONFLICT: 0.1,
    kinds.UNPROCESSED: 0.3,
    kinds.OLD: 0.3,
}
POLICY = Policy(lease=30.0)
CLIENTS, CALLS = 4, 10


@pytest.fixture(autouse=True)
def no_pauses() -> Iterator[None]:
    with without_pauses():
        yield


@pytest.fixture
async def endpoints(table: TableSettings) -> AsyncIterator[list[Endpoint]]:
    """Two processes on one table."""
    gate = Gate()
    gate.open.set()
    made = [
        Endpoint(Kernel(build_tools(gate)), build(table, POLICY), POLICY, keys=KEYS, session_keys=KEYS)
        for _ in range(2)
    ]
    for endpoint in made:
        await endpoint.pool.node()
    yield made
    for endpoint in made:
        await endpoint.pool.stop()


def disturb(endpoints: list[Endpoint], seed: int) -> list[Faults]:
    """Inject faults into the requests of sessions and of nodes, in each process."""
    found = []
    for number, endpoint in enumerate(endpoints):
        bus = endpoint.backend.bus
        for client in (client_of(endpoint.backend), bus._client):  # type: ignore[attr-defined]
            found.append(Faults(client, seed * 10 + number, SHARES))
    return found


async def insist(client: SessionClient, endpoint: Endpoint, steps: int) -> list[int]:
    """Call a tool until it is answered; return the numbers of the events, which come once each."""
    for _ in range(50):
        answer = await client.call("count", {"steps": steps}, endpoint=endpoint)
        if answer.status == 200:
            return await numbers_of(answer)
        assert answer.status == 503, await answer.text()
    raise AssertionError("the store was away for fifty requests")


async def numbers_of(answer: Answer) -> list[int]:
    messages = await answer.messages()
    assert messages[-1]["result"]["content"][0]["text"] == "counted"
    return [message["params"]["progress"] for message in messages[:-1]]


# `MCP_FAULT_SEEDS=100` tries a hundred.
@pytest.mark.parametrize("seed", range(int(os.environ.get("MCP_FAULT_SEEDS", "1"))))
async def test_calls_are_answered_once_and_sessions_are_whole(seed: int, endpoints: list[Endpoint]) -> None:
    clients = [SessionClient(endpoints[number % 2], user=f"user-{number}") for number in range(CLIENTS)]
    for client in clients:
        await client.open()
    faults = disturb(endpoints, seed)

    async def work(client: SessionClient) -> None:
        for number in range(CALLS):
            numbers = await insist(client, endpoints[number % 2], 3)
            assert numbers == [1, 2, 3, 4]

    await asyncio.gather(*map(work, clients))
    for each in faults:
        each.stop()
    injected = sum((each.injected for each in faults), start=faults[0].injected.copy())
    assert sum(injected.values()) > 50, injected
    for client in clients:
        backend, key = endpoints[0].backend, session_key(client.session_id)
        for endpoint in endpoints:
            await endpoint.backend.sessions.flush()
        session = await backend.sessions.get(key)
        assert session is not None and session.requests >= CALLS
        assert await insist(client, endpoints[1], 2) == [1, 2, 3]
        assert (await client.delete()).status == 204
        assert await backend.sessions.get(key) is None
