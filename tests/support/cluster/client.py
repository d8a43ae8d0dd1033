"""A client with sockets of its own: the test says which port gets which request, and how a connection ends.

    async with Client(one.port, two.port) as client:
        await client.initialize()
        answer = await client.call("test_tool_with_progress", port=two.port)
        while (event := await answer.next_event()) is not None: ...

Each request has a connection of its own, and each wait a bound.
"""

from __future__ import annotations

import itertools
import json
from typing import Any, Self

from tests.support.cluster.answer import Answer, send
from tests.support.wire import BOTH, HOST, PATIENCE, Request

SESSIONFUL = "2025-11-25"
SESSIONLESS = "2026-07-28"
META = "io.modelcontextprotocol"
ALL_CAPABILITIES: dict[str, Any] = {"elicitation": {}, "sampling": {}, "roots": {}}


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
        self._answers: list[Answer] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for answer in self._answers:
            await answer.close()

    async def send(self, request: Request, port: int | None = None, within: float = PATIENCE) -> Answer:
        """Send any request; the connection is closed with this client at the latest."""
        for header in self.headers.items():
            request = request.setting(*header)
        answer = await send(port or self.ports[0], request, within=within, receive_buffer=self.receive_buffer)
        self._answers.append(answer)
        return answer

    # -- a session of 2025

    def _in_session(self, *headers: tuple[str, str]) -> tuple[tuple[str, str], ...]:
        own = (("Mcp-Session-Id", self.session_id), ("MCP-Protocol-Version", self.version)) if self.session_id else ()
        return (HOST, *headers, *own)

    async def initialize(
        self, port: int | None = None, capabilities: dict[str, Any] = ALL_CAPABILITIES, version: str = SESSIONFUL
    ) -> Answer:
        """Open a session: `initialize`, then `notifications/initialized`."""
        info = {"name": "cluster-client", "version": "1"}
        params = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": info}
        answer = await self.request("initialize", params, id=0, port=port)
        outcome = await answer.json()
        assert answer.status == 200, outcome
        self.version = outcome["result"]["protocolVersion"]
        self.session_id = answer.headers["mcp-session-id"]
        assert (await self.notify("notifications/initialized", port=port)).status == 202
        return answer

    async def post(self, message: Any, port: int | None = None, within: float = PATIENCE) -> Answer:
        """Post a message in the session."""
        lines = self._in_session(("Content-Type", "application/json"), ("Accept", BOTH))
        return await self.send(Request(headers=lines, body=json.dumps(message).encode()), port, within)

    async def request(self, method: str, params: Any = None, *, id: Any = None, **options: Any) -> Answer:
        """Post a request; without an id it gets the next one."""
        return await self.post(rpc(method, params, next(self.ids) if id is None else id), **options)

    async def call(self, tool: str, arguments: Any = None, *, id: Any = None, **options: Any) -> Answer:
        """Call a tool, asking for progress."""
        return await self.request("tools/call", calling(tool, arguments, {"progressToken": "p"}), id=id, **options)

    async def notify(self, method: str, params: Any = None, **options: Any) -> Answer:
        """Post a notification."""
        return await self.post(rpc(method, params), **options)

    async def reply(self, to: Any, result: Any, **options: Any) -> Answer:
        """Answer the server's request `to`."""
        return await self.post({"jsonrpc": "2.0", "id": to, "result": result}, **options)

    async def get(self, last_event_id: str | None = None, port: int | None = None) -> Answer:
        """Open the GET stream, or resume any stream after an event."""
        resume = (("Last-Event-ID", last_event_id),) if last_event_id else ()
        lines = self._in_session(("Accept", "text/event-stream"), *resume)
        return await self.send(Request(method="GET", headers=lines), port)

    async def delete(self, port: int | None = None) -> Answer:
        """End the session."""
        return await self.send(Request(method="DELETE", headers=self._in_session()), port)

    # -- requests of 2026-07-28, which stand alone

    async def alone(
        self, method: str, params: Any = None, *, id: Any = None, meta: Any = None, port: int | None = None
    ) -> Answer:
        """Post a request of 2026-07-28 with all its headers."""
        envelope = {f"{META}/protocolVersion": SESSIONLESS, f"{META}/clientCapabilities": {}, **(meta or {})}
        params = {**(params or {}), "_meta": envelope}
        lines = [HOST, ("Content-Type", "application/json"), ("Accept", BOTH)]
        lines += [("MCP-Protocol-Version", SESSIONLESS), ("Mcp-Method", method)]
        if named := params.get("name", params.get("uri")):
            lines.append(("Mcp-Name", named))
        body = json.dumps(rpc(method, params, next(self.ids) if id is None else id)).encode()
        return await self.send(Request(headers=tuple(lines), body=body), port)

    async def call_alone(self, tool: str, arguments: Any = None, **options: Any) -> Answer:
        """Call a tool in a request of 2026-07-28, asking for progress."""
        meta = {"progressToken": "p", **options.pop("meta", {})}
        return await self.alone("tools/call", calling(tool, arguments, {}), meta=meta, **options)


def rpc(method: str, params: Any = None, id: Any = None) -> dict[str, Any]:
    """Build a JSON-RPC request, or a notification without an id."""
    message = {"jsonrpc": "2.0", "method": method, "id": id, "params": params}
    return {name: value for name, value in message.items() if value is not None}


def calling(tool: str, arguments: Any, meta: dict[str, Any]) -> dict[str, Any]:
    """Build the parameters of tools/call."""
    return {"name": tool, "arguments": arguments or {}, **({"_meta": meta} if meta else {})}
