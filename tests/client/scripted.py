"""A server on loopback with one session whose responses a test writes byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.http.losing_proxy import Serving, listening, read_request

Write = Callable[[bytes], Awaitable[None]]
Answer = Callable[["ReceivedRequest", Write], Awaitable[None]]
"""Writes a response; the connection is closed afterwards."""

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
TOOLS = {
    "tools": [
        {"name": "act", "inputSchema": {"type": "object"}},
        {"name": "look", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    ]
}

_WELCOME = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "scripted", "version": "1"},
}


@dataclass(frozen=True)
class ReceivedRequest:
    """A received request."""

    verb: str
    head: bytes
    message: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Return the JSON-RPC method, "reply" for a reply, or "GET" or "DELETE"."""
        return str(self.message.get("method", "reply")) if self.verb == "POST" else self.verb


@dataclass
class Script:
    """Accepts requests; `answers` by `ReceivedRequest.kind` are used in turn, the last one repeatedly."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    capabilities: dict[str, Any] = field(default_factory=lambda: {"tools": {}})
    received: list[ReceivedRequest] = field(default_factory=list)
    region: str = ""
    """Named by each response, if it is not empty."""

    def serve(self) -> Serving:
        """Listen; yield the URL."""
        return listening(self._handle)

    def kinds(self) -> list[str]:
        return [received.kind for received in self.received]

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        region = f"\r\nX-MCP-Region: {self.region}\r\n\r\n".encode() if self.region else b"\r\n\r\n"

        async def write(data: bytes) -> None:
            writer.write(data.replace(b"\r\n\r\n", region, 1) if data.startswith(b"HTTP/1.1 ") else data)
            await writer.drain()

        head, _, body = (await read_request(reader)).partition(b"\r\n\r\n")
        received = ReceivedRequest(head.split(b" ")[0].decode(), head, json.loads(body) if body else {})
        self.received.append(received)
        left = self.answers.get(received.kind)
        answer = self._usual if not left else left.pop(0) if len(left) > 1 else left[0]
        await answer(received, write)
        writer.close()
        await writer.wait_closed()

    async def _usual(self, received: ReceivedRequest, write: Write) -> None:
        results: dict[str, Any] = {
            "initialize": {**_WELCOME, "capabilities": self.capabilities},
            "ping": {},
            "tools/list": TOOLS,
            "tools/call": {"content": [{"type": "text", "text": "done"}]},
        }
        if received.kind in results:
            await json_answer(results[received.kind])(received, write)
        else:
            status = b"405 Method Not Allowed" if received.verb == "GET" else b"202 Accepted"
            await write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def raw(data: bytes) -> Answer:
    """Write these bytes."""

    async def answer(received: ReceivedRequest, write: Write) -> None:
        await write(data)

    return answer


def body(status: str, content_type: str, content: bytes, *headers: str) -> Answer:
    """Write a complete response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(content)}", *headers]
    return raw("\r\n".join([*lines, "Connection: close"]).encode() + b"\r\n\r\n" + content)


def json_answer(result: Mapping[str, Any]) -> Answer:
    """Write a JSON response with a result."""

    async def answer(received: ReceivedRequest, write: Write) -> None:
        content = json.dumps({"jsonrpc": "2.0", "id": received.message["id"], "result": result}).encode()
        await body("200 OK", "application/json", content, "Mcp-Session-Id: s")(received, write)

    return answer


def hold(held: asyncio.Event | None = None) -> Answer:
    """Answer nothing until the event, or forever."""

    async def answer(received: ReceivedRequest, write: Write) -> None:
        await (held or asyncio.Event()).wait()

    return answer


def events(*frames: bytes) -> Answer:
    """Open a stream, write these frames, and close it."""
    return raw(STREAM + b"".join(frames))


WELCOME = json_answer(_WELCOME)
