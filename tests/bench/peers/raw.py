"""The limit: a hand-written ASGI handler that knows no protocol, only the right answers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

Send = Callable[[dict[str, Any]], Awaitable[None]]
SSE = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]


def answer(message: dict[str, Any]) -> tuple[int, bytes, str]:
    """Return status, body and session id of the answer to a message that is not a stream."""
    if "id" not in message:
        return 202, b"", ""
    if message["method"] == "initialize":
        info = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "raw"}}
        return 200, result(message, info), uuid.uuid4().hex
    arguments = message["params"]["arguments"]
    return 200, result(message, text(arguments["a"] + arguments["b"])), ""


def result(message: dict[str, Any], value: Any) -> bytes:
    """Build the response to a request."""
    return orjson.dumps({"jsonrpc": "2.0", "id": message["id"], "result": value})


def text(value: int) -> dict[str, Any]:
    """Build the result of a tool."""
    return {"content": [{"type": "text", "text": str(value)}], "isError": False}


def is_call(message: dict[str, Any], tool: str) -> bool:
    """Tell whether a message calls a tool."""
    return message.get("method") == "tools/call" and bool(message["params"]["name"] == tool)


async def counted(message: dict[str, Any]) -> AsyncIterator[bytes]:
    """Yield the events of a call of `count`."""
    params = message["params"]
    steps, pause, token = params["arguments"]["steps"], params["arguments"]["pause"], params["_meta"]["progressToken"]
    for step in range(1, steps + 1):
        progress = {"progressToken": token, "progress": step, "total": steps}
        note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}
        yield b"data: " + orjson.dumps(note) + b"\n\n"
        if pause:
            await asyncio.sleep(pause)
    yield b"data: " + result(message, text(steps)) + b"\n\n"


async def application(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
    """Answer any POST as MCP, any GET with a stream that says nothing."""
    if scope["type"] != "http":
        return
    if scope["method"] != "POST":
        await _start(send, 200, SSE)
        await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event.get("body", b""), event.get("more_body", False)
    message = orjson.loads(body)
    if is_call(message, "count"):
        await _start(send, 200, SSE)
        async for piece in counted(message):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    status, content, session = answer(message)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await _start(send, status, [*headers, (b"mcp-session-id", session.encode())] if session else headers)
    await send({"type": "http.response.body", "body": content})


async def _start(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
