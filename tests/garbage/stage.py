"""Two nodes of one store, a session in which everything is going on, and what must be right whatever else is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from mcp_transport import bootstrap
from mcp_transport.admin.dashboard import Dashboard
from mcp_transport.admin.dashboard import to_json as dashboard_json
from mcp_transport.admin.list_query import ListQuery
from mcp_transport.admin.list_rows import session_row
from mcp_transport.admin.session_page import message_items, request_items, session_tables, update_waits
from mcp_transport.backends.base import Backend
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.rate_limit import RateLimits, limits
from mcp_transport.domain.session import session_key
from mcp_transport.domain.session_query import ORDERS, SessionQuery, State
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel
from mcp_transport.operators import service
from mcp_transport.operators.representation.fields import to_json
from mcp_transport.operators.representation.metrics import NODE, OVERVIEW, TRAFFIC
from mcp_transport.operators.representation.sessions import DETAIL_WITH_PAYLOADS, MESSAGE, PAYLOAD, SESSION
from tests.support.client import SessionClient, text_of, until
from tests.support.endpoint import authenticate
from tests.support.redis.backend import leave, members
from tests.support.tools import KEYS, Gate, build_tools

__all__ = ["Stage", "stage"]

POLICY = Policy(lease=600.0)  # beats come when a test has them come
QUERIES = [
    SessionQuery(),
    SessionQuery(user="ann"),
    SessionQuery(text="test"),
    *(SessionQuery(state=state) for state in State),
    SessionQuery(user="ann", created_after=1.0, state=State.IDLE),
]


async def _nothing(backend: Backend) -> None:
    """Leave a store as it is, in which requests write all that there is to write."""


class Stage:
    """Node `one` runs what goes on in the session of `ann`; node `two` is another process.

    `write_index` writes what requests have left to the next heartbeat.
    """

    def __init__(
        self, one: Endpoint, two: Endpoint, gate: Gate, write_index: Callable[[Backend], Awaitable[None]]
    ) -> None:
        self.one, self.two, self.gate, self._write_index = one, two, gate, write_index
        self.ann, self.bob = SessionClient(one, user="ann"), SessionClient(one, user="bob")
        self.node = one.pool.nodes[0].id

    @property
    def backends(self) -> tuple[Backend, Backend]:
        return self.one.backend, self.two.backend

    async def set_up(self) -> None:
        """Have something of everything in the session of `ann`."""
        await self.ann.open()
        await self.ann.request("resources/subscribe", {"uri": "test://watched"}, id="s")
        await self.ann.notify("notifications/cancelled", {"requestId": "early"})
        (await self.ann.get(endpoint=self.two)).close()
        call = await self.ann.call("count", {"steps": 1}, id="c")
        await call.message()
        await self.gate.wait(self.gate.entered)
        await self.ann.call("announce", id="a")
        assert (await self.ann.call("there is no such tool", id="f")).status == 200
        backend = self.one.backend
        key = session_key(self.ann.session_id)
        await backend.sessions.write_state(key, "colour", b"1")
        flight = next(each for each in await backend.sessions.in_flight(key) if each.request_id == "c")
        await backend.bus.journal_at_once(self.node, key, flight.stream)
        await self.bob.open()
        await self.beat()
        assert (await backend.sessions.get(key)) is not None

    async def beat(self) -> None:
        """Have both nodes beat, look after each other, and write what is for the index."""
        for backend in self.backends:
            for member in members(backend).values():
                await member._heartbeat()
                await member._check_nodes()
            await self._write_index(backend)

    # -- what must be right ---------------------------------------------------------------------------

    async def check_others(self) -> None:
        """A tenant of whom nothing is broken is served by both nodes, whose inboxes are read."""
        bob = SessionClient(self.one, user="bob")
        await bob.open()
        assert (await bob.request("ping", endpoint=self.two)).status == 200
        assert (await self.bob.request("ping", endpoint=self.two)).status == 200
        assert text_of((await bob.call("add", {"a": 1, "b": 2})).json) == "3"
        await self._check_resuming(bob)
        await self._check_inbox(bob)
        assert (await bob.delete(endpoint=self.two)).status == 204
        assert (await bob.request("ping")).status == 404
        for endpoint in (self.one, self.two):
            assert await endpoint.pool.unready_reason() == ""

    async def _check_resuming(self, bob: SessionClient) -> None:
        call = await bob.call("ask")
        question = await call.frame()
        while question is not None and not question.data:
            question = await call.frame()
        assert question is not None
        call.close()
        resumed = await bob.get(question.id, endpoint=self.two)
        assert resumed.status == 200
        # The answer comes to the other node than the one that asked: it travels, and so does the result.
        answered = {"action": "accept", "content": {"name": "bob"}}
        assert (await bob.reply(question.message["id"], answered, endpoint=self.two)).status == 202
        assert await resumed.text() == "accept bob"

    async def _check_inbox(self, bob: SessionClient) -> None:
        self.gate.entered.clear()
        self.gate.left.clear()
        blocked = asyncio.ensure_future(bob.call("blocked", id="b"))
        await self.gate.wait(self.gate.entered)
        await bob.notify("notifications/cancelled", {"requestId": "b"}, endpoint=self.two)
        await self.gate.wait(self.gate.left)
        async with asyncio.timeout(60):
            assert (await blocked).status == 200

    async def check_operators(self) -> None:
        """Operators are told what can be read."""
        for query in QUERIES:
            page = await service.sessions(query=query)
            for session in page.sessions:
                to_json(SESSION, session)
                session_row(session, ListQuery(), {})
        await service.sessions_and_facets(0, 10, SessionQuery(), "-created")
        for order in ORDERS:
            await service.sessions(order=order)
        overview, traffic, nodes = await service.overview(), await service.traffic(), await service.nodes()
        dashboard_json(Dashboard(overview=overview, traffic=traffic, nodes=nodes).grids())
        to_json(OVERVIEW, overview)
        to_json(TRAFFIC, traffic)
        [to_json(NODE, node) for node in nodes]
        key = session_key(self.ann.session_id)
        if (detail := await service.session_detail(key)) is not None:
            to_json(DETAIL_WITH_PAYLOADS, detail)
            session_tables(detail, {})
            [item.to_json() for item in request_items(detail, {}, payloads=True)]
        if (news := await service.new_messages(key)) is not None:
            [to_json((*MESSAGE, PAYLOAD), message) for message in news.messages]
            if detail is not None:
                session_tables(detail, update_waits({}, news.messages))
                [item.to_json() for item in message_items(detail, news.messages, payloads=True)]

    async def check_owner(self) -> None:
        """The session itself is there or unknown, on any node; nothing fails."""
        for endpoint in (self.one, self.two):
            assert (await self.ann.request("ping", id="p", endpoint=endpoint)).status in (200, 404)
            cancelled = await self.ann.notify("notifications/cancelled", {"requestId": 9}, endpoint=endpoint)
            assert cancelled.status in (202, 404)
            watch = await self.ann.request("resources/subscribe", {"uri": "test://more"}, id="u", endpoint=endpoint)
            assert watch.status in (200, 404)
            answer = await self.ann.get(endpoint=endpoint)
            assert answer.status in (200, 404)
            if answer.stream is not None:
                answer.close()

    async def check_all_is_as_before(self) -> None:
        await self.beat()
        for endpoint in (self.one, self.two):
            assert (await self.ann.request("ping", id="p", endpoint=endpoint)).status == 200
            assert (await self.bob.request("ping", id="p", endpoint=endpoint)).status == 200
        assert {node.name for node in await service.nodes()} == {self.node, self.two.pool.nodes[0].id}


@asynccontextmanager
async def stage(
    build: Callable[[Policy], Backend],
    monkeypatch: Any,
    write_index: Callable[[Backend], Awaitable[None]] = _nothing,
) -> AsyncIterator[Stage]:
    """Set up two nodes that have joined, the first of which is the project's, on backends of an empty store."""
    gate = Gate()
    built = [
        Endpoint(
            Kernel(build_tools(gate)),
            build(POLICY),
            POLICY,
            keys=KEYS,
            session_keys=KEYS,
            authenticate=authenticate,
            rate_limits=RateLimits(session=limits("session", "5000/day burst 199")),
        )
        for _ in range(2)
    ]
    monkeypatch.setattr(bootstrap, "_endpoint", built[0])
    for endpoint in built:
        await endpoint.pool.node()
    made = Stage(built[0], built[1], gate, write_index)
    try:
        await made.set_up()
        yield made
    finally:
        gate.open.set()
        for endpoint in built:
            await endpoint.pool.stop()
            await leave(endpoint.backend)
        await until(lambda: all(not endpoint.pool.nodes for endpoint in built))
