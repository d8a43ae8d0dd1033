"""How many files of the package a request enters: a reader who follows it has to open each of them.

Run with `-s` to see them. A file counts once a function of it is called on the loop's thread.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import mcp_transport
from mcp_transport.adapters.asgi import serve
from mcp_transport.backends.base import Backend
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import session_key
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel
from tests.support.redis.backend import build, leave, server
from tests.support.redis.server import RedisServer
from tests.support.tools import KEYS, Gate, build_tools

__all__ = ["server"]

pytestmark = pytest.mark.servers

PACKAGE = f"{Path(mcp_transport.__file__).parent}/"
# Before the engine was divided, a call in a session entered 47 files, an event 19, a sessionless call 34.
IN_A_SESSION, SESSIONLESS, EVENT = 35, 29, 18

HEADERS = {
    "host": "localhost",
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
    "mcp-protocol-version": "2025-11-25",
}
CLIENT = {"name": "t", "version": "1"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": CLIENT,
}
ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}


class Exchange:
    """One request to the ASGI application, and what it has sent."""

    def __init__(self, endpoint: Endpoint, verb: str, headers: dict[str, str], **message: Any) -> None:
        self.sent: list[Any] = []
        self._endpoint = endpoint
        self.has_body, self.over = asyncio.Event(), asyncio.Event()
        self._body = json.dumps({"jsonrpc": "2.0", **message}).encode() if message else b""
        self._unread = [{"type": "http.request", "body": self._body}]
        lines = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": verb, "path": "/mcp", "headers": lines, "client": ("127.0.0.1", 1)}
        self.work = asyncio.ensure_future(serve(endpoint, scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if self._unread:
            return self._unread.pop()
        await self.over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        self.has_body.set()

    async def answer(self) -> Any:
        """Wait until the request is answered, and all is done that follows the answer."""
        await self.work
        assert self.sent[0]["status"] in (200, 202), self.sent
        await (await self._endpoint.pool.node()).tasks.wait_idle(20)
        return self.sent

    async def event(self) -> None:
        """Wait until something else is sent."""
        self.has_body.clear()
        async with asyncio.timeout(60):
            await self.has_body.wait()


class Scene:
    """An endpoint on Redis, and a session."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint, self.headers = endpoint, dict(HEADERS)

    def post(self, headers: dict[str, str] | None = None, **message: Any) -> Exchange:
        return Exchange(self.endpoint, "POST", headers or self.headers, **message)

    def call(self, id: int) -> Exchange:
        return self.post(id=id, method="tools/call", params=ADD)

    async def begin(self) -> None:
        """Open the session, and have two calls fill the caches."""
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT}
        [start, _] = await self.post(id=0, method="initialize", params=params).answer()
        self.headers["mcp-session-id"] = dict(start["headers"])[b"mcp-session-id"].decode()
        await self.post(method="notifications/initialized").answer()
        for number in (1, 2):
            await self.call(number).answer()


@pytest.fixture
async def scene(server: RedisServer) -> AsyncIterator[Scene]:
    server.cli("FLUSHALL")
    policy = Policy(lease=3600.0, allowed_hosts=("localhost",))
    store: Any = build(server, policy)
    backend = store if isinstance(store, Backend) else Backend.of(store)
    scene = Scene(Endpoint(Kernel(build_tools(Gate())), backend, policy, keys=KEYS))
    await scene.begin()
    yield scene
    await scene.endpoint.pool.stop()
    await leave(store)


@contextmanager
def entered() -> Iterator[Counter[str]]:
    """Count the calls of functions, by the file that they are in."""
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls[frame.f_code.co_filename.removeprefix(PACKAGE)] += 1

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)
    print(f"\n{len(calls)} files:", *sorted(calls), sep="\n    ")


async def test_a_call_in_a_session(scene: Scene) -> None:
    call = scene.call(3)
    with entered() as files:
        await call.answer()
    assert "engine/sessionful/post.py" in files
    assert len(files) <= IN_A_SESSION


async def test_a_call_without_a_session(scene: Scene) -> None:
    headers = {**HEADERS, "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "add"}
    message = {"id": 1, "method": "tools/call", "params": {**ADD, "_meta": META}}
    for _ in range(2):
        await scene.post(headers, **message).answer()
    call = scene.post(headers, **message)
    with entered() as files:
        await call.answer()
    assert "engine/sessionless.py" in files
    assert len(files) <= SESSIONLESS


async def test_an_event_on_a_get_stream(scene: Scene) -> None:
    exchange = Exchange(scene.endpoint, "GET", {**scene.headers, "accept": "text/event-stream"})
    await exchange.event()
    (node,), key = scene.endpoint.pool.nodes, session_key(scene.headers["mcp-session-id"])

    for _ in range(2):
        sending = asyncio.ensure_future(node.emit(key, "notifications/tools/list_changed", None))
        with entered() as files:
            await exchange.event()
            await sending
            await node.tasks.wait_idle(20)
    exchange.over.set()
    await exchange.work
    assert "engine/stream.py" in files
    assert len(files) <= EVENT
