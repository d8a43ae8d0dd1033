"""A request with an idempotency key on two nodes that share a Redis, also after the node that ran it has died."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mcp_transport.backends.results import Event
from mcp_transport.domain.history import Ending
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import InFlightRequest, session_key
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.protocol.idempotency import parse_key, stream_name
from tests.backends.redis.scene import two_endpoints
from tests.support.calls import opened
from tests.support.client import Answer, request, text_of
from tests.support.clock import FakeClock
from tests.support.kept_answers import KeptAnswers
from tests.support.keyed import ADD, JSON_ONLY, Keyed
from tests.support.redis.server import RedisServer
from tests.support.tools import Gate

pytestmark = pytest.mark.servers

DEAD = "a1a1a1a1a1a1"


class TestRedis(KeptAnswers):
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock(time.time())

    @pytest.fixture
    async def nodes(
        self, server: RedisServer, clock: FakeClock, gate: Gate
    ) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
        async with two_endpoints(server, gate, Policy(), clock=clock) as made:
            yield made

    async def test_a_store_that_is_emptied_while_it_runs_gets_the_answer(
        self, keyed: Keyed, again: dict[str, Any], server: RedisServer, gate: Gate
    ) -> None:
        first = asyncio.ensure_future(keyed.call("blocked"))
        await gate.wait(gate.entered)
        server.cli("FLUSHALL")
        gate.open.set()
        answer = await first
        await keyed.until_kept()
        assert (await keyed.call("blocked", **again)).body == answer.body
        assert (await keyed.call("blocked", id=8, **again)).status == 422
        assert gate.runs == 1

    async def test_an_answer_that_was_thrown_away_is_an_error_and_not_run_again(
        self, keyed: Keyed, again: dict[str, Any], server: RedisServer, gate: Gate
    ) -> None:
        await keyed.call("add", ADD)
        await keyed.until_kept()
        key = session_key(keyed.client.session_id)
        assert server.cli("DEL", f"mcp:{{{key}}}:l:{stream_name(parse_key(keyed.key))}").strip() == "1"
        answer: Answer = await keyed.call("add", ADD, **again)
        assert (answer.status, answer.json["id"]) == (200, 7)
        assert answer.json["error"]["data"] == {"retryable": False}
        assert "has ended, but its result was lost" in answer.json["error"]["message"]
        assert gate.runs == 1


class TestADeadNode:
    """The traces of a dead node's calls; no node may be declared dead before a lease has passed."""

    @pytest.fixture
    async def nodes(self, server: RedisServer, gate: Gate) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
        async with two_endpoints(server, gate, Policy(lease=1.5)) as made:
            yield made

    @pytest.fixture
    async def keyed(self, nodes: tuple[Endpoint, Endpoint]) -> Keyed:
        return Keyed(await opened(nodes[0]))

    @pytest.fixture
    def again(self, nodes: tuple[Endpoint, Endpoint]) -> dict[str, Any]:
        return {"endpoint": nodes[1]}

    async def died(self, keyed: Keyed, *, body: bytes = b"", safe: bool = False) -> None:
        """Register the call for a node that has no lease."""
        meta = {"progressToken": "p"}
        sent = request("tools/call", {"name": "add", "arguments": ADD, "_meta": meta}, id=7)
        flight = InFlightRequest(
            request_id=7,
            digest=hashlib.sha256(json.dumps(sent).encode()).digest(),
            node=DEAD,
            stream=stream_name(parse_key(keyed.key)),
            operation="tools/call add",
            safe=safe,
            body=body and json.dumps(sent).encode(),
        )
        entered = await keyed.client.endpoint.backend.sessions.enter(
            session_key(keyed.client.session_id), "", DEAD, [flight]
        )
        assert entered is not None and not entered.running

    @pytest.mark.parametrize("safe", [True, False])
    async def test_the_error_of_a_lost_call_is_kept(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate, safe: bool
    ) -> None:
        await self.died(keyed, safe=safe)
        (message,) = await (await keyed.call("add", ADD)).messages()
        assert message["error"]["data"] == {"retryable": safe}
        await keyed.until_kept()
        assert (await keyed.call("add", ADD, **again)).json == message
        assert (await keyed.call("add", ADD, id=8, **again)).status == 422
        assert gate.runs == 0

    async def test_an_end_whose_request_the_store_had_lost_answers_no_other_id(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate
    ) -> None:
        await self.died(keyed)
        key, stream = session_key(keyed.client.session_id), stream_name(parse_key(keyed.key))
        backend = keyed.client.endpoint.backend
        await backend.streams.append(key, stream, (), writer=DEAD)
        await backend.sessions.leave(key, {7: Ending.CANCELLED})
        body = b'{"jsonrpc":"2.0","id":7,"result":{}}'
        await backend.streams.append(key, stream, [Event(1, body, terminal=True)], writer=DEAD)
        assert (await keyed.call("add", ADD, **again)).body == body
        assert (await keyed.call("add", ADD, id=8, **again)).status == 422
        assert gate.runs == 0

    async def test_a_client_without_streams_gets_the_error_of_a_lost_call(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate
    ) -> None:
        await self.died(keyed)
        first = await keyed.call("add", ADD, headers=JSON_ONLY)
        assert first.status == 503, "nobody knows yet"
        await keyed.until_kept()
        second = await keyed.call("add", ADD, headers=JSON_ONLY, **again)
        assert second.json["error"]["data"] == {"retryable": False}
        assert gate.runs == 0

    async def test_a_durable_call_that_was_run_again_is_kept(
        self, keyed: Keyed, again: dict[str, Any], gate: Gate
    ) -> None:
        await self.died(keyed, body=b"durable")
        (message,) = await (await keyed.call("add", ADD)).messages()
        assert text_of(message) == "3"
        await keyed.until_kept()
        assert (await keyed.call("add", ADD, **again)).json == message
        assert (await keyed.call("add", {"a": 2, "b": 2}, **again)).status == 422
        assert gate.runs == 1
