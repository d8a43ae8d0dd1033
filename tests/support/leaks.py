"""What an endpoint may not have any more once its nodes have stopped, whatever a test did with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import Any

from mcp_transport.concurrency import ConcurrencyLimiter
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.engine.node import Node
from mcp_transport.protocol.http import HTTPRequest, Reply, StreamReply
from tests.support.clock import settle
from tests.support.stores import FlakyBackend


class LeakWatch:
    """Records the nodes that an endpoint starts and the streams that it answers with, to look at them in the end."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint, self._nodes, self._build = endpoint, list[Node](), endpoint.pool._build
        self._handle, self._replies = endpoint.handle, list[StreamReply]()
        endpoint.pool._build = self._build_node
        endpoint.handle = self._handle_request  # type: ignore[method-assign]

    async def _handle_request(self, request: HTTPRequest, body: AsyncIterable[bytes]) -> Reply | StreamReply:
        reply = await self._handle(request, body)
        if isinstance(reply, StreamReply):
            self._replies.append(reply)
        return reply

    def _build_node(self) -> Node:
        self._nodes.append(self._build())
        return self._nodes[-1]

    async def found(self) -> dict[str, Any]:
        """Return what the stopped endpoint still has, by its name; empty if it has leaked nothing.

        Sockets that a test has left open are closed, as servers do when they end.
        """
        for reply in self._replies:
            reply.frames.close()
        await settle()
        found: dict[str, Any] = {"bytes": self._endpoint.budget.reserved_bytes}
        found["listeners"] = list(self._endpoint.kernel.listen_handlers.here._streams)
        for number, node in enumerate(self._nodes):
            held = {**held_by(node), "lease": has_lease(node)}
            found |= {f"{name} of node {number}": value for name, value in held.items()}
        return {name: value for name, value in found.items() if value}


def has_lease(node: Node) -> bool:
    """Return whether a store in memory still has a node, unless it may have been away when the node left."""
    bus = node.backend.bus
    return not isinstance(bus, FlakyBackend) and node.id in getattr(bus, "_nodes", ())


def held_by(node: Node) -> dict[str, Any]:
    """Return what belongs to requests, streams and calls; all of it is empty once they have ended."""
    registry, admission = node.registry, node.admission
    limiters = {"calls": admission.calls, "threads": admission.threads, **admission.tools}
    return {
        "tasks": node.tasks._tasks - {asyncio.current_task()},
        "streams": dict(registry.streams),
        "writers": dict(registry.writers),
        "calls": [*registry.running, *registry._calls],
        "opening streams": registry.opening_streams,
        "requests to clients": node.client_requests.pending,
        **{f"admission of {name}": counted(limiter) for name, limiter in limiters.items()},
    }


def counted(limiter: ConcurrencyLimiter) -> dict[str, Any]:
    """Return what a limiter counts; empty if nothing runs or waits."""
    counts = {
        "running": limiter.running,
        "waiting": limiter.waiting,
        "lost": limiter.lost,
        "callers": dict(limiter._running_of),
        "queues": dict(limiter._queues),
    }
    return {name: value for name, value in counts.items() if value}
