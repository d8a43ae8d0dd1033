"""Requests as bytes, and what came back, in the few words that an attack's limits are made of."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.support.http.client import Client
from tests.support.http.messages import META, SESSIONLESS, rpc
from tests.support.http.request import BOTH, HOST, Request
from tests.support.processes import LOOPBACK

PATIENCE = 15.0
"""Seconds after which a request counts as not answered."""
SHOWN = 120
_KEPT_BYTES = 1_000_000

Lines = tuple[tuple[str, str], ...]
JSON_LINES: Lines = (("Content-Type", "application/json"), ("Accept", BOTH))


@dataclass(frozen=True, slots=True)
class Seen:
    """What one request was answered."""

    summary: str
    """`no answer`, `closed`, or a status and what its body is: `400 -32600`, `200 result`, `200 isError`."""
    text: str = ""
    size: int = 0
    body: bytes = b""

    def __str__(self) -> str:
        return f"{self.summary} {self.text[:SHOWN]!r}" if self.text else self.summary


async def ask(port: int, raw: bytes, within: float = PATIENCE, *, first_event: bool = False) -> Seen:
    """Send a request that asks for the connection to be closed; return what came until then.

    With `first_event`, the first event of a stream is all that is waited for: the stream may have no end.
    """
    got, size = bytearray(), 0
    summary = "no answer"
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            sending = asyncio.ensure_future(_write(writer, raw))
            try:
                while piece := await reader.read(65_536):
                    size += len(piece)
                    got += piece if size < _KEPT_BYTES else b""
                    if first_event and b"text/event-stream" in got and b"\ndata: {" in got:
                        return Seen("200 stream", size=size)
                summary = "closed"
            finally:
                sending.cancel()
                writer.transport.abort()
                await asyncio.sleep(0)  # the loop closes the socket in its next turn
    except TimeoutError:
        pass
    except ConnectionError:
        summary = "closed"
    return _seen(bytes(got), size, summary)


async def _write(writer: asyncio.StreamWriter, raw: bytes) -> None:
    with suppress(ConnectionError):  # who refuses a request need not read it
        writer.write(raw)
        await writer.drain()


def _seen(got: bytes, size: int, summary: str) -> Seen:
    head, found, body = got.partition(b"\r\n\r\n")
    if not found:
        return Seen(summary, size=size)
    status = head.split(b" ", 2)[1].decode("latin-1")
    if b"transfer-encoding: chunked" in head.lower():
        body, whole = _dechunked(body)
    else:
        length = re.search(rb"content-length: *(\d+)", head, re.I)
        whole = length is None or len(body) >= int(length[1])
    if size >= _KEPT_BYTES:
        return Seen(f"{status} large", size=size, body=body)
    what, text = _outcome(body, is_stream=b"text/event-stream" in head.lower())
    if summary == "no answer" or not whole:
        what = f"{what} unfinished".strip()
    return Seen(f"{status} {what}".strip(), text, size, body)


def _dechunked(body: bytes) -> tuple[bytes, bool]:
    """Return what chunks hold, and whether the last one came."""
    found: list[bytes] = []
    while body:
        line, _, rest = body.partition(b"\r\n")
        length = int(line.split(b";")[0] or b"0", 16)
        if not length:
            return b"".join(found), True
        found.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(found), False


def _outcome(body: bytes, *, is_stream: bool) -> tuple[str, str]:
    """Name the JSON-RPC answer in a body, and quote it."""
    if is_stream:
        messages = [line[5:] for line in body.splitlines() if line.startswith(b"data:") and line[5:].strip()]
        body = next((line for line in reversed(messages) if b'"result"' in line or b'"error"' in line), b"")
        if not body:
            return "without answer", ""
    try:
        message = json.loads(body)
    except ValueError:
        return ("", "") if not body else ("text", body[:SHOWN].decode(errors="replace"))
    if isinstance(message, list):
        return f"list of {len(message)}", str(message)
    if not isinstance(message, dict):
        return "value", str(message)
    if isinstance(error := message.get("error"), dict):
        return str(error.get("code")), str(error.get("message"))
    result = message.get("result")
    if not isinstance(result, dict):
        return "object", str(message)
    content = result.get("content")
    text = content[0].get("text", "") if isinstance(content, list) and content else str(result)
    return ("isError" if result.get("isError") else "result"), text


# -- requests


def post(body: bytes, *lines: tuple[str, str], path: str = "/mcp", user: str = "mallory") -> bytes:
    """Build a POST; `user` says who calls, and empty is nobody."""
    own = (HOST, *JSON_LINES, ("Connection", "close"), *((("X-User", user),) if user else ()))
    given = {name.lower() for name, _ in lines}
    kept = tuple(line for line in own if line[0].lower() not in given)
    return Request(path=path, headers=(*kept, *lines), body=body).encoded()


def get(*lines: tuple[str, str], path: str = "/mcp", method: str = "GET", user: str = "mallory") -> bytes:
    """Build a request without a body."""
    own: Lines = (HOST, ("Accept", "text/event-stream"), ("Connection", "close"))
    given = {name.lower() for name, _ in lines}
    kept = tuple(line for line in own if line[0].lower() not in given)
    return Request(method=method, path=path, headers=(*kept, ("X-User", user), *lines)).encoded()


def envelope(extra: str = "") -> str:
    """Return the `_meta` of 2026-07-28 as JSON; `extra` are further members, as JSON."""
    own = f'"{META}/protocolVersion":"{SESSIONLESS}","{META}/clientCapabilities":{{}}'
    return "{" + own + (f",{extra}" if extra else "") + "}"


def alone(
    method: str,
    params: str = "",
    *lines: tuple[str, str],
    name: str = "",
    id: str = "1",
    meta: str = "",
    path: str = "/mcp",
    user: str = "mallory",
) -> bytes:
    """Build a request of 2026-07-28; `params` are the members besides `_meta`, as JSON: most are too long to dump."""
    inner = f'{params}{"," if params else ""}"_meta":{envelope(meta)}'
    body = f'{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{inner}}}}}'
    own: list[tuple[str, str]] = [("MCP-Protocol-Version", SESSIONLESS), ("Mcp-Method", method)]
    own += [("Mcp-Name", name)] if name else []
    return post(body.encode(), *own, *lines, path=path, user=user)


def call(tool: str, arguments: str = "{}", **options: Any) -> bytes:
    """Build a `tools/call` of 2026-07-28, with arguments as JSON."""
    return alone("tools/call", f'"name":"{tool}","arguments":{arguments}', name=tool, **options)


def in_session(client: Client, message: Any, *, path: str = "/mcp", user: str = "mallory") -> bytes:
    """Build a POST in a client's session; a message may be JSON already."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    own = (("Mcp-Session-Id", client.session_id), ("MCP-Protocol-Version", client.version))
    return post(body, *own, path=path, user=user)


def session_call(client: Client, tool: str, arguments: str = "{}", id: Any = 1) -> bytes:
    """Build a `tools/call` in a client's session, with arguments as JSON."""
    params = f'{{"name":"{tool}","arguments":{arguments}}}'
    return in_session(client, f'{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}'.encode())


def session_request(client: Client, method: str, params: Any = None, id: Any = 1) -> bytes:
    """Build a request in a client's session."""
    return in_session(client, rpc(method, params, id))


def repeated(item: str, size: int) -> str:
    """Return a JSON list of equal items that has about so many bytes."""
    return "[" + ",".join([item] * max(1, size // (len(item) + 1))) + "]"


def matches(summary: str, expected: Iterable[str]) -> bool:
    """Tell whether an answer is among those expected: summaries, or their beginnings with a `*`."""
    return any(
        summary == pattern or (pattern.endswith("*") and summary.startswith(pattern[:-1])) for pattern in expected
    )
