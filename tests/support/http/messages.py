"""MCP messages as HTTP requests: in a session (2025-11-25), and alone (2026-07-28)."""

from __future__ import annotations

import itertools
import json
import secrets
from typing import Any

from tests.support.http.request import BOTH, HOST, Request

SESSIONFUL = "2025-11-25"
SESSIONLESS = "2026-07-28"
META = "io.modelcontextprotocol"
ALL_CAPABILITIES: dict[str, Any] = {"elicitation": {}, "sampling": {}, "roots": {}}
PROGRESS: dict[str, Any] = {"progressToken": "p"}
"""The `_meta` that asks for progress."""

Lines = tuple[tuple[str, str], ...]


def fresh() -> str:
    """Return a name that no other test uses."""
    return secrets.token_hex(8)


def rpc(method: str, params: Any = None, id: Any = 1) -> dict[str, Any]:
    """Build a JSON-RPC request, or a notification without an id."""
    message = {"jsonrpc": "2.0", "method": method, "id": id, "params": params}
    return {name: value for name, value in message.items() if value is not None}


def calling(tool: str, arguments: Any = None, meta: dict[str, Any] | None = None) -> dict[str, Any]:
    """Build the parameters of tools/call."""
    return {"name": tool, "arguments": arguments or {}, **({"_meta": meta} if meta else {})}


def initializing(version: str = SESSIONFUL, capabilities: dict[str, Any] = ALL_CAPABILITIES) -> dict[str, Any]:
    """Build the request that opens a session."""
    info = {"name": "tests", "version": "1"}
    return rpc("initialize", {"protocolVersion": version, "capabilities": capabilities, "clientInfo": info}, id=0)


INITIALIZE = initializing()


def post(message: Any, *headers: tuple[str, str]) -> Request:
    """Post a message."""
    lines = (HOST, ("Content-Type", "application/json"), ("Accept", BOTH), *headers)
    return Request(headers=lines, body=json.dumps(message).encode())


def alone(method: str, params: Any = None, *, id: Any = 1, meta: dict[str, Any] = PROGRESS) -> Request:
    """Ask for a method in a request that stands alone, and for its progress."""
    envelope = {f"{META}/protocolVersion": SESSIONLESS, f"{META}/clientCapabilities": {}, **meta}
    params = {**(params or {}), "_meta": envelope}
    headers = [("MCP-Protocol-Version", SESSIONLESS), ("Mcp-Method", method)]
    if named := params.get("name", params.get("uri")):
        headers.append(("Mcp-Name", named))
    return post(rpc(method, params, id), *headers)


def call(tool: str, **arguments: Any) -> Request:
    """Call a tool in a request that stands alone."""
    return alone("tools/call", calling(tool, arguments))


class Session:
    """An open session; its methods make requests, a carrier sends them."""

    def __init__(self, id: str, *headers: tuple[str, str], version: str = SESSIONFUL) -> None:
        self.id, self.version = id, version
        self._own = headers
        self._ids = itertools.count(1)

    @property
    def headers(self) -> Lines:
        """The headers of each request of the session."""
        own = (("MCP-Session-Id", self.id), ("MCP-Protocol-Version", self.version)) if self.id else ()
        return (*own, *self._own)

    def post(self, message: Any) -> Request:
        return post(message, *self.headers)

    def request(self, method: str, params: Any = None, id: Any = None) -> Request:
        """Ask for a method; without an id it gets the next one."""
        return self.post(rpc(method, params, next(self._ids) if id is None else id))

    def notify(self, method: str, params: Any = None) -> Request:
        return self.post(rpc(method, params, id=None))

    def call(self, tool: str, **arguments: Any) -> Request:
        """Call a tool, asking for progress."""
        return self.request("tools/call", calling(tool, arguments, PROGRESS))

    def reply(self, to: Any, result: Any) -> Request:
        """Answer the server's request `to`."""
        return self.post({"jsonrpc": "2.0", "id": to, "result": result})

    def get(self, last_event_id: str | None = None) -> Request:
        """Open the GET stream, or resume any stream after an event."""
        resume = (("Last-Event-ID", last_event_id),) if last_event_id else ()
        return Request(method="GET", headers=(HOST, ("Accept", "text/event-stream"), *self.headers, *resume))

    def delete(self) -> Request:
        return Request(method="DELETE", headers=(HOST, *self.headers))
