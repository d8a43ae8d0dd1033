"""A client on sockets: the test says which port gets which request, and how a connection ends.

    async with Client(one.port, two.port) as client:
        await client.initialize()
        answer = await client.call("test_tool_with_progress", port=two.port)
        while (event := await answer.next_event()) is not None: ...

Each request has a connection of its own, and each wait a bound.
"""

from __future__ import annotations

import itertools
from typing import Any, Self

from tests.support.http.answer import PATIENCE
from tests.support.http.carrier import Carrier
from tests.support.http.messages import ALL_CAPABILITIES, PROGRESS, SESSIONFUL, Session, alone, calling, initializing
from tests.support.http.network import Network, SocketAnswer
from tests.support.http.request import Request


class Client:
    """One client, with at most one session; where a call names no port, the first one is meant."""

    def __init__(self, *ports: int, headers: dict[str, str] | None = None, receive_buffer: int = 0) -> None:
        self.ports = ports
        self.headers = headers or {}
        """More headers for every request, such as Authorization or Origin."""
        self.receive_buffer = receive_buffer
        self.session_id = ""
        self.version = SESSIONFUL
        self.ids = itertools.count(1)
        self._networks: dict[int, Network] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for network in self._networks.values():
            await network.close()

    def cut(self) -> None:
        """End all connections with a reset, as a client that crashed does."""
        for network in self._networks.values():
            network.cut()

    def forget(self) -> None:
        """Forget the connections: a test that makes many ends each of them."""
        for network in self._networks.values():
            network.forget()

    async def send(self, request: Request, port: int | None = None, within: float = PATIENCE) -> SocketAnswer:
        """Send any request; the connection is closed with this client at the latest."""
        for header in self.headers.items():
            request = request.setting(*header)
        port = port or self.ports[0]
        network = self._networks.setdefault(port, Network(port, self.receive_buffer))
        return await network.send(request, within)

    # -- a session of 2025

    @property
    def _session(self) -> Session:
        return Session(self.session_id, version=self.version)

    async def initialize(
        self, port: int | None = None, capabilities: dict[str, Any] = ALL_CAPABILITIES, version: str = SESSIONFUL
    ) -> SocketAnswer:
        """Open a session: `initialize`, then `notifications/initialized`."""
        answer = await self.post(initializing(version, capabilities), port)
        outcome = await answer.json()
        assert answer.status == 200, outcome
        self.version = outcome["result"]["protocolVersion"]
        self.session_id = answer.headers["mcp-session-id"]
        assert (await self.notify("notifications/initialized", port=port)).status == 202
        return answer

    async def post(self, message: Any, port: int | None = None, within: float = PATIENCE) -> SocketAnswer:
        """Post a message in the session."""
        return await self.send(self._session.post(message), port, within)

    async def request(
        self, method: str, params: Any = None, *, id: Any = None, port: int | None = None, within: float = PATIENCE
    ) -> SocketAnswer:
        """Post a request; without an id it gets the next one."""
        id = next(self.ids) if id is None else id
        return await self.send(self._session.request(method, params, id), port, within)

    async def call(self, tool: str, arguments: Any = None, **options: Any) -> SocketAnswer:
        """Call a tool, asking for progress."""
        return await self.request("tools/call", calling(tool, arguments, PROGRESS), **options)

    async def notify(self, method: str, params: Any = None, port: int | None = None) -> SocketAnswer:
        """Post a notification."""
        return await self.send(self._session.notify(method, params), port)

    async def reply(self, to: Any, result: Any, port: int | None = None, within: float = PATIENCE) -> SocketAnswer:
        """Answer the server's request `to`."""
        return await self.send(self._session.reply(to, result), port, within)

    async def get(self, last_event_id: str | None = None, port: int | None = None) -> SocketAnswer:
        """Open the GET stream, or resume any stream after an event."""
        return await self.send(self._session.get(last_event_id), port)

    async def delete(self, port: int | None = None) -> SocketAnswer:
        """End the session."""
        return await self.send(self._session.delete(), port)

    # -- requests of 2026-07-28, which stand alone

    async def alone(
        self, method: str, params: Any = None, *, id: Any = None, meta: Any = None, port: int | None = None
    ) -> SocketAnswer:
        """Post a request of 2026-07-28 with all its headers."""
        id = next(self.ids) if id is None else id
        return await self.send(alone(method, params, id=id, meta=meta or {}), port)

    async def call_alone(self, tool: str, arguments: Any = None, **options: Any) -> SocketAnswer:
        """Call a tool in a request of 2026-07-28, asking for progress."""
        meta = {**PROGRESS, **options.pop("meta", {})}
        return await self.alone("tools/call", calling(tool, arguments), meta=meta, **options)


async def open_session(carrier: Carrier, *headers: tuple[str, str]) -> Session:
    """Send initialize and notifications/initialized by a carrier."""
    answer = await carrier.send(Session("", *headers).post(initializing()))
    assert answer.status == 200, (answer.status, await answer.read())
    assert (await answer.outcome())["result"]["protocolVersion"] == SESSIONFUL
    session = Session(answer.header("mcp-session-id") or "", *headers)
    assert session.id, answer.lines
    assert (await carrier.send(session.notify("notifications/initialized"))).status == 202
    return session


async def text(carrier: Carrier, request: Request) -> str:
    """Send a tool call and return the text of its result."""
    answer = await carrier.send(request)
    assert answer.status == 200, (answer.status, answer.lines, await answer.read())
    found = await answer.text()
    await answer.close()
    return found
