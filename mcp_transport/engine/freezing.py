"""The node of a process that is frozen between requests: a member of the nodes only while it runs calls (ADR 43)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mcp_transport.engine.node import Node
from mcp_transport.engine.observer import ClusterEvent
from mcp_transport.protocol.jsonrpc import Request

__all__ = ["end_calls", "enter_session", "leave"]


async def enter_session(node: Node, requests: Sequence[Request] = ()) -> None:
    """Note that a request uses a session, and join the other nodes if it has calls. Raises: BackendError."""
    node.has_entered_session = True
    if requests:
        await node.join()


def end_calls(node: Node, reason: str) -> None:
    """End all calls with an error that gives the `reason`, because they can run no longer."""
    for call in node.registry.running:
        call.abandon(reason, ClusterEvent.ABANDONED)


async def leave(node: Node) -> None:
    """Finish what runs behind the last request, and leave the other nodes.

    Raises: BackendError, what was to be written is not, or not in whole.
    """
    await node.tasks.wait_idle(math.inf)
    if node.rates is not None:
        await node.rates.flush()
    if node.has_entered_session:
        try:
            # First, so that no other node finds requests of a node without a lease.
            await node.backend.sessions.flush()
        finally:
            node.has_joined = False
            await node.backend.bus.stop(node.id)
        node.has_entered_session = False
