"""What the parts of one node share: its name, its store, its clock, its tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from mcp_transport.backends.base import Backend
from mcp_transport.concurrency import ConcurrencyLimiter
from mcp_transport.domain.node_messages import NodeMessage, Wake
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import Session
from mcp_transport.engine.admission import Admission
from mcp_transport.engine.call_metrics import CallMetrics
from mcp_transport.engine.circuit_breakers import CircuitBreakers
from mcp_transport.engine.clock import Clock, wait
from mcp_transport.engine.coalescing import COALESCED_METHODS, SharedContexts, SharedRuns
from mcp_transport.engine.codec import encode_notification
from mcp_transport.engine.log_quota import LogQuota
from mcp_transport.engine.observer import ClusterEvent, Observer
from mcp_transport.engine.tasks import TaskSet, ignore_outage
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.kernel import Kernel
from mcp_transport.protocol.cursor import GET_STREAM

__all__ = ["NodeContext"]

_T = TypeVar("_T")

_OUTAGE_RETRY_SECONDS: Final = 2.0

logger = logging.getLogger(__name__)


class NodeContext:
    """What the parts of one node share."""

    def __init__(
        self,
        id: str,
        backend: Backend,
        kernel: Kernel,
        policy: Policy,
        clock: Clock,
        observer: Observer,
        call_metrics: CallMetrics,
        threads: ConcurrencyLimiter,
        breakers: CircuitBreakers,
        shared_contexts: SharedContexts,
    ) -> None:
        self.id, self.backend, self.kernel, self.policy, self.clock = id, backend, kernel, policy, clock
        self.observer, self.call_metrics, self.tasks = observer, call_metrics, TaskSet()
        self.admission = Admission(policy, clock, threads, call_metrics.record_wait)
        self.breakers = breakers
        self.shared_runs, self.shared_contexts = SharedRuns(), shared_contexts
        self.coalesced_methods = COALESCED_METHODS if policy.coalesce else frozenset[str]()
        self.log_quota = LogQuota(policy, clock.monotonic)
        self.is_checking = False
        """Is it unknown which calls other nodes have taken over, after the lease has lapsed?"""
        self.is_stopping = False
        self.abandons_calls = False
        """Does the node stop, and has the time passed in which calls may run?"""

    def lease_may_be_lost(self, key: str) -> bool:
        """Return whether nodes that serve a session may have declared this node dead without its knowledge."""
        return self.is_checking or self.backend.bus.session_lease_may_be_lost(self.id, key)

    async def retry_until_expired(self, work: Callable[[], Awaitable[_T]]) -> _T | None:
        """Retry a store operation until it succeeds, or return None when the stream's retention has passed."""
        deadline = self.clock.now() + self.policy.stream_keep
        while True:
            try:
                return await work()
            except BackendError as error:
                if isinstance(error, Unreadable) or self.clock.now() >= deadline:
                    logger.error("a store operation was given up: %s", error)
                    return None
            await wait(self.clock, asyncio.Event(), _OUTAGE_RETRY_SECONDS)

    def send_in_background(self, node: str, message: NodeMessage) -> None:
        """Send a message to a node without waiting; a lost message only delays its effect."""
        self.tasks.spawn(ignore_outage(self.backend.bus.send(node, message)))

    def send_to_other_nodes(self, message: NodeMessage) -> None:
        """Send a message to all other nodes without waiting; some may not get it."""
        self.tasks.spawn(ignore_outage(self._send_to_other_nodes(message)))

    async def _send_to_other_nodes(self, message: NodeMessage) -> None:
        bus = self.backend.bus
        sent = [bus.send(node.name, message) for node in await bus.nodes() if node.name != self.id]
        await asyncio.gather(*map(ignore_outage, sent))

    async def restore(self, session: Session) -> bool:
        """Store a session that the store has lost. Raises: BackendError."""
        restored = await self.backend.sessions.restore(session)
        if restored:
            self.observer.report(ClusterEvent.REHYDRATED, session.key)
        return restored

    async def emit(self, key: str, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification on a session's GET stream, whichever node holds its socket."""
        payload = encode_notification(method, params, self.policy.max_result_bytes)
        emitted = await self.backend.streams.emit(key, payload)
        if emitted is not None and emitted.holder is not None:
            self.send_in_background(emitted.holder.node, Wake(key, GET_STREAM))
