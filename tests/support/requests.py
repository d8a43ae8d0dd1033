"""An MCP client as a maker of requests: of a session (2025-11-25), and of requests that stand alone (2026-07-28)."""

from __future__ import annotations

import itertools
import json
import secrets
from typing import Any

from tests.support.wire import BOTH, HOST, Carrier, Request

SESSIONFUL = "2025-11-25"
SESSIONLESS = "2026-07-28"
_ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": SESSIONLESS,
    "io.modelcontextprotocol/clientCapabilities": {},
    "progressToken": "p",
}


def fresh() -> str:
    """Return a name that no other test uses."""
    return secrets.token_hex(8)


def post(message: Any, *headers: tuple[str, str]) -> Request:
    """Post a message."""
    lines = (HOST, ("Content-Type", "application/json"), ("Accept", BOTH), *headers)
    return Request(headers=lines, body=json.dumps(message).encode())


def rpc(method: str, params: dict[str, Any] | None = None, id: int | None = 1) -> dict[str, Any]:
    """Build a JSON-RPC request, or a notification without an id."""
    message = {"jsonrpc": "2.0", "method": method, "id": id, "params": params}
    return {name: value for name, value in message.items() if value is not None}


def alone(method: str, params: dict[str, Any], name: str = "") -> Request:
    """Ask for a method in a request that stands alone."""
    headers = [("MCP-Protocol-Version", SESSIONLESS), ("Mcp-Method", method)]
    if name:
        headers.append(("Mcp-Name", name))
    return post(rpc(method, {**params, "_meta": _ENVELOPE}), *headers)


def call(tool: str, **arguments: Any) -> Request:
    """Call a tool in a request that stands alone."""
    return alone("tools/call", {"name": tool, "arguments": arguments}, tool)


INITIALIZE = rpc(
    "initialize",
    {
        "protocolVersion": SESSIONFUL,
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "adapters", "version": "1"},
    },
)


class Session:
    """An open session of 2025-11-25; its methods make requests, a carrier sends them."""

    def __init__(self, id: str, *headers: tuple[str, str]) -> None:
        self.id = id
        self._headers = (("MCP-Session-Id", id), ("MCP-Protocol-Version", SESSIONFUL), *headers)
        self._ids = itertools.count(1)

    @classmethod
    async def open(cls, carrier: Carrier, *headers: tuple[str, str]) -> Session:
        """Send initialize and notifications/initialized."""
        answer = await carrier.send(post(INITIALIZE, *headers))
        assert answer.status == 200, (answer.status, await answer.read())
        assert (await answer.outcome())["result"]["protocolVersion"] == SESSIONFUL
        session = cls(answer.header("mcp-session-id") or "", *headers)
        assert session.id, answer.headers
        assert (await carrier.send(session.notify("notifications/initialized"))).status == 202
        return session

    def post(self, message: Any) -> Request:
        return post(message, *self._headers)

    def notify(self, method: str, params: dict[str, Any] | None = None) -> Request:
        return self.post(rpc(method, params, id=None))

    def call(self, tool: str, **arguments: Any) -> Request:
        """Call a tool, asking for progress."""
        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}}
        return self.post(rpc("tools/call", params, id=next(self._ids)))

    def reply(self, to: Any, result: dict[str, Any]) -> Request:
        return self.post({"jsonrpc": "2.0", "id": to, "result": result})

    def get(self, last_event_id: str | None = None) -> Request:
        resume = (("Last-Event-ID", last_event_id),) if last_event_id else ()
        return Request(method="GET", headers=(HOST, ("Accept", "text/event-stream"), *self._headers, *resume))

    def delete(self) -> Request:
        return Request(method="DELETE", headers=(HOST, *self._headers))


async def text(carrier: Carrier, request: Request) -> str:
    """Send a tool call and return the text of its result."""
    answer = await carrier.send(request)
    assert answer.status == 200, (answer.status, answer.headers, await answer.read())
    found = await answer.text()
    await answer.leave()
    return found
