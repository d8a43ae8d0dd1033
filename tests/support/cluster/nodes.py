"""Nodes of `tests.support.cluster.site` on one store, and what tests ask of them."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from mcp_transport.protocol.cursor import Cursor
from tests.support.cluster.store import choose_store, redis_of
from tests.support.http.answer import PATIENCE, Event
from tests.support.http.client import Client
from tests.support.http.network import SocketAnswer
from tests.support.node import Node
from tests.support.processes import LOOPBACK, start_all, stop_all
from tests.support.redis.server import RedisServer

SITE = "tests.support.cluster.site"
TICK = 0.01

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Site:
    """Nodes that share a store, and the folder through which their tools are steered.

    `mcp` are settings of MCP_TRANSPORT; `variables` are one mapping of environment variables a node, for nodes that
    differ. The `store` is "redis" or "dynamodb". A `redis` that is handed in is neither started nor stopped here.
    """

    def __init__(
        self,
        *servers: str,
        mcp: Mapping[str, Any] | None = None,
        variables: Sequence[Mapping[str, str]] = (),
        store: str | None = None,
        redis: RedisServer | None = None,
    ) -> None:
        self._owns_store = redis is None
        self.store = choose_store(store, redis=redis)
        self._temporary = tempfile.TemporaryDirectory(prefix="site-")
        self.folder = Path(self._temporary.name)
        self._names = itertools.count(1)
        common = {"SITE_FOLDER": str(self.folder), "SITE_MCP": json.dumps(mcp or {})}
        servers = servers or ("daphne", "uvicorn")
        own = [*variables, *({} for _ in servers)]
        self.nodes = [
            Node(
                server,
                settings=f"{SITE}.settings",
                application=f"{SITE}.asgi:application",
                environment={**common, **own[number]},
                name=f"site-{number}",
            )
            for number, server in enumerate(servers)
        ]

    def __enter__(self) -> Self:
        try:
            self.store.start()
            for node in self.nodes:
                node.variables |= self.store.variables
            start_all(self.nodes)
            for node in self.nodes:
                _make_join(node.port)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the nodes, then what they share."""
        try:
            stop_all(self.nodes)
            self.store.refuse_leftovers()
        finally:
            if self._owns_store:
                self.store.stop()
            self._temporary.cleanup()

    @property
    def ports(self) -> list[int]:
        """The nodes' ports, in order."""
        return [node.port for node in self.nodes]

    def client(self, user: str = "", **options: Any) -> Client:
        """Make a client of all nodes, who calls as `user`."""
        return Client(*self.ports, headers={"X-User": user} if user else {}, **options)

    # -- the tools -----------------------------------------------------------------------------------

    def new_name(self) -> str:
        """Return a name for a tool's call that no other call has."""
        return f"call{next(self._names)}"

    def let_go(self, name: str) -> None:
        """Let a call that waits for the test go on to its end."""
        (self.folder / f"{name}.open").touch()

    def pids(self, name: str, what: str = "runs") -> list[int]:
        """Return the process of each time that a call began ("runs") or was "cancelled"."""
        file = self.folder / f"{name}.{what}"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    async def until_runs(self, name: str, times: int = 1) -> None:
        """Wait until a call has begun."""
        await until(lambda: len(self.pids(name)) >= times)

    async def until_cancelled(self, name: str) -> None:
        """Wait until a call was cancelled."""
        await until(lambda: bool(self.pids(name, "cancelled")))

    # -- what the store holds ------------------------------------------------------------------------

    @property
    def redis(self) -> RedisServer:
        """The Redis; a test that asks for it is skipped on another store."""
        return redis_of(self.store)

    def calls_in_flight(self, client: Client) -> int:
        """Return how many calls are on the books of a client's session."""
        return len(self.store.in_flight(client.session_id))

    def stream(self, client: Client, name: str = "g") -> dict[str, Any]:
        """Return what is noted of one stream of a client's session."""
        return self.store.stream(client.session_id, name)

    def record_exists(self, client: Client) -> bool:
        """Tell whether the store knows a client's session."""
        return self.store.has_session(client.session_id)

    # -- what operators see --------------------------------------------------------------------------

    def count(self, event: str, number: int | None = None) -> int:
        """Return how often an event was counted on one node's /metrics, or on all of them together."""
        nodes = self.nodes if number is None else [self.nodes[number]]
        return sum(_counted(node.port, event) for node in nodes)

    def logs(self) -> str:
        """Return what all nodes have printed."""
        return "\n".join(node.log for node in self.nodes)


async def take(answer: SocketAnswer, count: int) -> list[Event]:
    """Read so many events that carry a message."""
    events: list[Event] = []
    while len(events) < count:
        event = await answer.next_event()
        assert event is not None, f"the stream ended after {events}"
        events += [event] if event.data else []
    return events


async def rest(answer: SocketAnswer) -> list[Event]:
    """Read all events that carry a message, to the end of the stream."""
    events: list[Event] = []
    while (event := await answer.next_event()) is not None:
        events += [event] if event.data else []
    assert not answer.broken
    return events


def numbers(events: Sequence[Event]) -> list[int]:
    """Return the sequence numbers of events, all of one stream."""
    places = [Cursor.parse(event.id or "") for event in events]
    assert len({place.stream for place in places}) <= 1, places
    return [place.seq for place in places]


def texts(events: Sequence[Event]) -> list[str]:
    """Return what log messages say."""
    return [event.message["params"]["data"] for event in events]


def result_of(message: Mapping[str, Any]) -> str:
    """Return the text of a tool's result."""
    assert "result" in message, message
    return str(message["result"]["content"][0]["text"])


async def until(condition: Callable[[], object], within: float = PATIENCE) -> None:
    """Wait until a condition holds that only another process can make true."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(TICK)


def _make_join(port: int) -> None:
    """Have a node join the others, which it does with its first request of a session."""
    request = urllib.request.Request(f"http://{LOOPBACK}:{port}/mcp", method="DELETE")
    request.add_header("Mcp-Session-Id", "unknown")
    try:
        _opener.open(request, timeout=PATIENCE)
    except urllib.error.HTTPError as refused:
        refused.close()
        assert refused.code == 404, refused


def _counted(port: int, event: str) -> int:
    with _opener.open(f"http://{LOOPBACK}:{port}/metrics", timeout=PATIENCE) as answer:
        lines = answer.read().decode().splitlines()
    wanted = f'mcp_transport_events_total{{event="{event}"}} '
    found = [line.removeprefix(wanted) for line in lines if line.startswith(wanted)]
    assert found, f"{event} is not on /metrics"
    return int(float(found[0]))
