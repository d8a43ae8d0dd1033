"""The steered site on several nodes, for tests that break some of it."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.cluster.store import choose_store, redis_of
from tests.support.http.answer import PATIENCE, Event, last_message
from tests.support.http.client import Client
from tests.support.http.messages import META, SESSIONLESS, rpc
from tests.support.http.network import SocketAnswer
from tests.support.http.request import BOTH
from tests.support.node import Node
from tests.support.processes import LOOPBACK, TICK_SECONDS, start_all, stop_all
from tests.support.redis.server import RedisServer

LEASE = 1.0
SOON = LEASE + 14.0
"""Seconds after which the loss of a node must be known to everybody: the lease and a few more."""

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Steered:
    """Nodes of the site, whose tools are steered through a folder."""

    folder: Path

    def open(self, name: str) -> None:
        """Let the calls of that name go on to their end."""
        (self.folder / f"{name}.open").touch()

    def pids(self, name: str, what: str = "runs") -> list[int]:
        """Return the processes that noted something of the calls of that name."""
        file = self.folder / f"{name}.{what}"
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    async def await_pids(self, name: str, what: str = "runs", count: int = 1, within: float = PATIENCE) -> list[int]:
        """Wait until so many have noted it."""
        await until(lambda: len(self.pids(name, what)) >= count, f"{name}.{what}", within)
        return self.pids(name, what)

    def happenings(self, node: Node) -> Counter[str]:
        """Return how often what happened to sessions, streams and calls of a node, as /metrics has it."""
        text = _read(node, "metrics")
        found = re.findall(r'^mcp_transport_events_total\{event="(\w+)"\} (\S+)$', text, re.MULTILINE)
        return Counter({name: int(float(value)) for name, value in found})


class Stage(Steered):
    """A store ("redis" or "dynamodb") and nodes of the site.

    `settings` are those of MCP_TRANSPORT, `cache` is another way to a Redis.
    """

    def __init__(
        self,
        servers: Sequence[str] = ("daphne", "uvicorn"),
        *,
        store: str | None = None,
        redis: RedisServer | None = None,
        cache: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.store = choose_store(store, redis=redis)
        self._owns_store = not self.store.server.alive
        self._temporary = tempfile.TemporaryDirectory(prefix="stage-")
        self.folder = Path(self._temporary.name)
        self._cache, self._settings = cache, {"LEASE_SECONDS": LEASE, "DRAIN_SECONDS": 1.0, **settings}
        self.nodes = [
            Node(
                server,
                settings="tests.support.cluster.site.settings",
                application="tests.support.cluster.site.asgi:application",
                name=f"{server}-{number}",
            )
            for number, server in enumerate(servers)
        ]

    @property
    def redis(self) -> RedisServer:
        """The Redis; a test that asks for it is skipped on another store."""
        return redis_of(self.store)

    @property
    def ports(self) -> list[int]:
        return [node.port for node in self.nodes]

    def start(self) -> Self:
        """Start everything, and have each node join the others."""
        self.store.start()
        variables = {
            **self.store.variables,
            "SITE_FOLDER": str(self.folder),
            "SITE_MCP": json.dumps(self._settings),
            **({"SITE_CACHE": json.dumps(self._cache)} if self._cache else {}),
        }
        for node in self.nodes:
            node.variables |= variables
        start_all(self.nodes)
        self.meet()
        return self

    def mend(self) -> None:
        """Bring back what the last test has killed."""
        self.store.start()
        for node in self.nodes:
            if node.alive:
                node.resume()
        start_all([node for node in self.nodes if not node.alive])
        self.meet()
        self._await_leases()

    def _await_leases(self) -> None:
        """Wait until every node has its lease again, which a store that was emptied learns with the next beats."""
        if self._cache is not None:
            return
        deadline = time.monotonic() + PATIENCE
        while self.store.leases() < len(self.nodes):
            assert time.monotonic() < deadline, "not all nodes renew their leases"
            time.sleep(TICK_SECONDS)

    def meet(self) -> None:
        """Send each node a request: the first one makes it join the others."""
        for node in self.nodes:
            assert _greet(node) == node.pid

    def stop(self) -> None:
        try:
            stop_all(self.nodes)
            self.store.refuse_leftovers()
        finally:
            if self._owns_store:
                self.store.stop()
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- the tools

    def node_of(self, pid: int) -> Node:
        """Return the node that is a process."""
        return next(node for node in self.nodes if node.pid == pid)

    # -- what operators see

    async def await_happening(self, name: str, *nodes: Node, more_than: int = 0) -> None:
        """Wait until it was counted and logged by one of the nodes."""
        await until(
            lambda: (
                sum(self.happenings(node)[name] for node in nodes) > more_than
                and any(f"{name}: " in node.fresh_log for node in nodes)
            ),
            f"{name} at {[node.name for node in nodes]}",
        )

    def flights(self, client: Client) -> list[str]:
        """Return what is on the books of a client's session."""
        return self.store.in_flight(client.session_id)

    def journaled(self, client: Client) -> int:
        """Return how many streams of a client's session a sweep would find."""
        return self.store.journaled(client.session_id)

    def has_orphans(self) -> bool:
        """Tell whether a node without a lease still has calls in its journal, which nobody has claimed."""
        return self.store.has_orphans()

    def is_ready(self, node: Node) -> bool:
        """Tell whether a node wants traffic."""
        try:
            _read(node, "readyz")
        except urllib.error.HTTPError as error:
            error.close()
            assert error.code == 503
            return False
        except urllib.error.URLError as error:  # its port is closed, or was so in the middle of this
            assert isinstance(error.reason, ConnectionError)
            return False
        except ConnectionError:
            return False
        return True


def _read(node: Node, path: str) -> str:
    with _opener.open(f"http://{LOOPBACK}:{node.port}/{path}", timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
        return text


def _greet(node: Node) -> int:
    """Call the tool that says which process serves it."""
    envelope = {f"{META}/protocolVersion": SESSIONLESS, f"{META}/clientCapabilities": {}}
    body = rpc("tools/call", {"name": "where", "arguments": {}, "_meta": envelope}, 1)
    headers = {"Content-Type": "application/json", "Accept": BOTH}
    headers |= {"MCP-Protocol-Version": SESSIONLESS, "Mcp-Method": "tools/call", "Mcp-Name": "where"}
    request = urllib.request.Request(node.url, json.dumps(body).encode(), headers)  # noqa: S310
    with _opener.open(request, timeout=PATIENCE) as answer:
        pid: int = last_message(answer.read().decode())["result"]["structuredContent"]["result"]
        return pid


async def until(condition: Callable[[], Any], what: str, within: float = PATIENCE) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        await asyncio.sleep(TICK_SECONDS)


# -- streams


async def events_of(answer: SocketAnswer, within: float = PATIENCE) -> list[Event]:
    """Return the events with a message, until the stream ends."""
    found = []
    async with asyncio.timeout(within):
        while (event := await answer.next_event(10 * PATIENCE)) is not None:
            if event.data:
                found.append(event)
    return found


async def some_events(answer: SocketAnswer, count: int, within: float = PATIENCE) -> list[Event]:
    """Return the next events that have a message; each must come `within` seconds."""
    found: list[Event] = []
    while len(found) < count:
        event = await answer.next_event(within)
        assert event is not None, f"the stream ended after {answer.last_event_id} (broken: {answer.broken})"
        if event.data:
            found.append(event)
    return found


def numbers(events: Sequence[Event]) -> list[int]:
    """Return the sequence numbers of events."""
    return [int(str(event.id).rpartition("-")[2]) for event in events]


def assert_lost(message: dict[str, Any], *, retryable: bool) -> None:
    """Check the error of a call whose node is gone."""
    error = message["error"]
    assert error["code"] == -32603
    assert "lost" in error["message"] or "stopped" in error["message"]
    assert error["data"]["retryable"] is retryable
