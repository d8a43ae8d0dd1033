"""The nodes of a process: one for each event loop, started by the loop's first request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from typing import Final

from mcp_transport.backends.base import Backend
from mcp_transport.domain.metrics import Load
from mcp_transport.engine.handler_tasks import contain_exits
from mcp_transport.engine.node import Node
from mcp_transport.engine.reply import server_stopping
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.supervision import log_failure

__all__ = ["Gauges", "NodePool"]

_UNREACHABLE: Final = "the session store cannot be reached"  # public, so without details, which are logged

_NO_THREADS: Final = "no synchronous tool can run: calls that have ended occupy all threads"


@dataclass(frozen=True)
class Gauges:
    """What the nodes of a process hold at the moment."""

    streams: int
    calls: int
    is_draining: bool
    waiting_calls: int
    """Calls that wait until they may run, or until a thread is free."""
    threads: int
    """Threads in which synchronous functions run."""
    lost_threads: int
    """Of these, the ones whose calls have ended."""

    @property
    def load(self) -> Load:
        """Return what other processes and operators get to know of it."""
        return Load(
            running=self.calls, waiting=self.waiting_calls, threads=self.threads, lost_threads=self.lost_threads
        )


class NodePool:
    """The nodes of a process; `build` builds a node for the running loop."""

    def __init__(self, build: Callable[[], Node], backend: Backend, drain_seconds: float) -> None:
        self._build, self._backend, self._drain_seconds = build, backend, drain_seconds
        self.is_stopping = self.freezes = False
        self._starting: dict[asyncio.AbstractEventLoop, asyncio.Future[Node]] = {}
        self._started: dict[asyncio.AbstractEventLoop, Node] = {}

    async def node(self) -> Node:
        """Return the node of the running loop, and start it for the first request."""
        loop = asyncio.get_running_loop()
        starting = self._starting.get(loop)
        if starting is None or (starting.done() and loop not in self._started):
            self._starting = {other: node for other, node in self._starting.items() if not other.is_closed()}
            self._started = {other: node for other, node in self._started.items() if not other.is_closed()}
            # In an empty context: the node outlives the request that starts it.
            starting = self._starting[loop] = loop.create_task(self._start(), context=Context())
        return await asyncio.shield(starting)

    async def _start(self) -> Node:
        contain_exits(asyncio.get_running_loop())
        node = self._build()
        node.freezes = self.freezes
        try:
            await node.start()
        except BaseException:
            await node.stop()
            raise
        self._started[asyncio.get_running_loop()] = node
        return node

    @property
    def running_node(self) -> Node | None:
        """Return the node of the running loop if it has started."""
        return self._started.get(asyncio.get_running_loop())

    async def node_for(self, request: HTTPRequest) -> Node:
        """Return the node for a request. Raises: ProtocolError with 503 while it stops."""
        loop = asyncio.get_running_loop()
        if self.is_stopping and loop not in self._starting:
            raise server_stopping(request)
        node = self._started.get(loop) or await self.node()
        if node.is_stopping:
            raise server_stopping(request)
        return node

    async def drain_and_stop(self, ports_closed: bool) -> None:
        """Stop permanently; if the ports are closed, first serve further requests on open connections."""
        self.is_stopping = True
        await self.stop(self._drain_seconds, serving=ports_closed)

    async def stop(self, drain_seconds: float = 0.0, *, serving: bool = False, report: bool = True) -> None:
        """Stop the node of the running loop, if there is one."""
        loop = asyncio.get_running_loop()
        if (starting := self._starting.get(loop)) is None:
            return
        with suppress(Exception):  # the request that started the node has reported its failure
            await (await starting).stop(drain_seconds, serving=serving, report=report)
        self._starting.pop(loop, None)
        self._started.pop(loop, None)

    async def disconnect_if_idle(self) -> None:
        """Close the running loop's connections to the store, unless it serves requests; for management commands."""
        if asyncio.get_running_loop() not in self._starting:
            await self._backend.sessions.disconnect()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Return the started nodes, each of which has its own loop."""
        return tuple(node for loop, node in list(self._started.items()) if not loop.is_closed())

    def gauges(self) -> Gauges:
        """Return what the nodes hold at the moment."""
        registries = [node.registry for node in self.nodes]
        admissions = [node.admission for node in self.nodes]
        return Gauges(
            streams=sum(len(registry.streams) for registry in registries),
            calls=sum(len(registry.running) for registry in registries),
            is_draining=any(node.is_draining for node in self.nodes),
            waiting_calls=sum(admission.waiting for admission in admissions),
            threads=sum(admission.threads.running for admission in admissions),
            lost_threads=sum(admission.threads.lost for admission in admissions),
        )

    async def unready_reason(self) -> str:
        """Return why this process should get no traffic, or "" if it should; the text is public."""
        node = self.running_node
        if self.is_stopping or (node is not None and node.is_draining):
            return "draining"
        if node is not None and node.admission.has_lost_all_threads:
            return _NO_THREADS
        try:
            if node is not None and not node.freezes:
                await node.join()
            await self._backend.sessions.ping()
        except Exception as error:
            log_failure("this process is not ready", error)
            return _UNREACHABLE
        return _UNREACHABLE if node is not None and self._backend.bus.failure(node.id) is not None else ""
