"""A node: one event loop that runs calls, holds client sockets and receives messages from other nodes."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from mcp_transport.backends.base import Backend
from mcp_transport.backends.contracts import Measure
from mcp_transport.concurrency import ConcurrencyLimit, ConcurrencyLimiter
from mcp_transport.domain.node_messages import (
    Broadcast,
    CancelCall,
    CircuitClosed,
    CircuitOpened,
    Cleared,
    Closed,
    Doubted,
    Drain,
    GaveWay,
    Joined,
    LeaseLapsed,
    NodeLost,
    NodeMessage,
    Orphaned,
    Rehomed,
    ReplyArrived,
    StoreReturned,
    Superseded,
    Wake,
)
from mcp_transport.domain.policy import Policy
from mcp_transport.engine.admission import thread_limit
from mcp_transport.engine.broadcasts import Broadcasts
from mcp_transport.engine.call_contexts import CallContexts
from mcp_transport.engine.call_metrics import CallMetrics
from mcp_transport.engine.circuit_breakers import CircuitBreakers
from mcp_transport.engine.client_requests import ClientRequests
from mcp_transport.engine.clock import Clock
from mcp_transport.engine.coalescing import NoSharedContexts, SharedContexts
from mcp_transport.engine.delivery_checkpoints import DeliveryCheckpoints
from mcp_transport.engine.expiry import Expiry
from mcp_transport.engine.log_appender import LogAppender
from mcp_transport.engine.memory_budget import MemoryBudget
from mcp_transport.engine.node_context import NodeContext
from mcp_transport.engine.observer import ClusterEvent, Observer
from mcp_transport.engine.rate_limiter import RateLimiter
from mcp_transport.engine.rate_settlement import RateSettlement
from mcp_transport.engine.reconnect import Reconnection
from mcp_transport.engine.registry import Registry
from mcp_transport.engine.stale_requests import StaleRequests
from mcp_transport.engine.stream import OpenStream
from mcp_transport.engine.tasks import ignore_outage, wait_while
from mcp_transport.exceptions import BackendError
from mcp_transport.kernel import Caller, ClientChannel, ClientInfo, Exchange, Kernel, Lifespan
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.protocol.jsonrpc import Request, RequestId

__all__ = ["FailOver", "Node", "ThreadLimits"]

FailOver = Callable[["Node", str, str, str, RequestId | None], Coroutine[Any, Any, None]]
"""Takes over a stream: the node, the session key, the stream, its writer, and a request that waits for the stream."""

ThreadLimits = Callable[[ConcurrencyLimit], ConcurrencyLimiter]
"""Returns the limiter of the running loop's threads for synchronous functions."""

_FINAL_FLUSH_SECONDS: Final = 5.0  # for requests to be admitted, and responses logged, when the node stops
_LATE_FLUSH_SECONDS: Final = 1.0  # for the responses to requests that were admitted after all
_ADMISSION_SECONDS: Final = 0.05  # until an admitted request counts as running
_KEEPALIVE_DRAIN_SECONDS: Final = 0.5  # for one more request on each connection that a proxy keeps open
_UNREGISTER_TIMEOUT_SECONDS: Final = 2.0  # without an answer from the store, the node's lease just expires

# Clients of a draining node reconnect spread over this many milliseconds.
_RECONNECT_JITTER_MS: Final = 2000

# Why the calls of a session end with a message.
_REASONS: Final[Mapping[type[NodeMessage], str]] = {
    Closed: "its session was ended",
    Rehomed: "its session has moved to another region",
}

logger = logging.getLogger(__name__)


class Node(NodeContext):
    """The part of an endpoint that belongs to one event loop; other nodes can serve its sessions without it."""

    def __init__(
        self,
        backend: Backend,
        kernel: Kernel,
        policy: Policy,
        clock: Clock,
        keys: Sequence[bytes],
        *,
        session_keys: Sequence[bytes],
        observer: Observer,
        call_metrics: CallMetrics,
        budget: MemoryBudget,
        fail_over: FailOver,
        call_context: CallContexts,
        measure: Measure,
        threads: ThreadLimits,
        breakers: CircuitBreakers,
        rate_limiter: RateLimiter | None = None,
        shared_contexts: SharedContexts | None = None,
    ) -> None:
        # The id is set at the first request, after any fork, so that workers do not share it.
        super().__init__(
            secrets.token_hex(6),
            backend,
            kernel,
            policy,
            clock,
            observer,
            call_metrics,
            threads(thread_limit(policy)),
            breakers,
            shared_contexts or NoSharedContexts(),
        )
        self.session_keys, self.budget, self.call_context = session_keys, budget, call_context
        self._fail_over, self._measure = fail_over, measure
        self.registry = registry = Registry(self.id, observer)
        self.client_requests = ClientRequests(self.id, clock, keys)
        self.broadcasts, self.checkpoints = Broadcasts(self, registry), DeliveryCheckpoints(self, registry)
        self.expiry = Expiry(self, registry)
        self.log = LogAppender(self, registry, self.expiry)
        self.stale_requests = StaleRequests(self, registry, self.log)
        self.reconnection = Reconnection(self, registry, self.log, self.expiry, self.broadcasts, self.verify_writer)
        self.rates = RateSettlement(rate_limiter, backend, self.tasks) if rate_limiter is not None else None
        self.is_draining = False
        self._lost_nodes: deque[str] = deque(maxlen=100)
        self.has_joined, self._joining = False, asyncio.Lock()
        self.freezes = self.has_entered_session = False
        """Does the process run only while it serves a request? See `engine.freezing`."""
        self._loop = asyncio.get_running_loop()
        self._lifespan: Lifespan | None = None

    async def start(self) -> None:
        """Enter the server's lifespan and join the other nodes; if the store is unavailable, join later."""
        self._lifespan = await self.kernel.enter_lifespan(self.tasks.spawn_permanent, self.call_context)
        try:
            if not self.freezes:
                await self.join()
        except BackendError as error:
            logger.warning("node %s serves only sessionless requests until the store answers: %s", self.id, error)
        self.tasks.spawn_permanent(self.expiry.run())

    async def join(self) -> None:
        """Register with the store and start to receive messages, once. Raises: BackendError."""
        if self.has_joined:
            return
        async with self._joining:
            if not self.has_joined:
                if not self.freezes:  # without streams there is nobody to broadcast to
                    await self.broadcasts.skip_earlier()
                self.backend.bus.expect_messages(self.id, self.registry.expects_messages)
                await self.backend.bus.start(self.id, self._receive_anywhere, self._measure)
                self.has_joined = True
                logger.debug("node %s joined", self.id)

    async def drain(self, *, report: bool = True) -> None:
        """Send clients to other nodes: fail readiness, end listen and GET streams, but still serve new requests."""
        if self.is_draining:
            return
        self.is_draining = True
        self.kernel.close_listen_streams()
        for stream_key, stream in list(self.registry.streams.items()):
            if stream_key not in self.registry.writers:  # GET streams, and streams of calls that other nodes run
                stream.end(retry_ms=self.policy.retry_ms + random.randrange(_RECONNECT_JITTER_MS))  # noqa: S311 (no secret)
        if report:
            self.observer.report(ClusterEvent.DRAINED, node=self.id, calls=len(self.registry.running))
        self.tasks.spawn(ignore_outage(self.backend.bus.announce_drain(self.id)))

    async def stop(self, drain_seconds: float = 0.0, *, serving: bool = False, report: bool = True) -> None:
        """Drain, end calls that still run after `drain_seconds`, and leave the other nodes.

        With `serving`, requests are accepted until none runs. A node of a single request does not `report` its drain.
        """
        self.is_stopping = not serving
        deadline = self._loop.time() + drain_seconds
        await self.drain(report=report)
        await wait_while(self._is_busy, deadline, initial_delay=_KEEPALIVE_DRAIN_SECONDS if serving else 0.0)
        if serving:
            self.is_stopping = True
            await wait_while(self._is_busy, deadline, initial_delay=_ADMISSION_SECONDS)
        self._abandon_calls()
        end = self._loop.time() + _FINAL_FLUSH_SECONDS
        # Requests that are being admitted, for which a slow store may take long, run until then.
        await wait_while(lambda: bool(self.registry.opening_streams), end, initial_delay=0.0)
        await self.tasks.wait_idle(end - self._loop.time())
        if self.rates is not None:
            await self.rates.flush()
        self.abandons_calls = True
        self._abandon_calls()
        await self.tasks.wait_idle(_LATE_FLUSH_SECONDS)
        if self._lifespan is not None:
            await self._lifespan.close()
        await self.tasks.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_UNREGISTER_TIMEOUT_SECONDS):
                if self.has_joined:
                    await self.backend.bus.stop(self.id)
                await self.backend.sessions.disconnect()
        logger.debug("node %s stopped", self.id)

    def _abandon_calls(self) -> None:
        for call in self.registry.running:
            call.abandon_at_stop()

    def _is_busy(self) -> bool:
        """Return whether requests are being admitted, run, answered or logged."""
        running = any(call.request.method != "subscriptions/listen" for call in self.registry.running)
        streaming = any(name != GET_STREAM for _, name in self.registry.streams)
        return running or streaming or not self.registry.is_empty

    def exchange(
        self, client: ClientInfo, channel: ClientChannel, caller: Caller, request: Request | None = None
    ) -> Exchange:
        """Build the kernel's context for one request or, without `request`, for a notification."""
        return Exchange(
            client=client,
            channel=channel,
            caller=caller,
            lifespan=self._lifespan.state if self._lifespan is not None else None,
            request_id=request.id if request is not None else None,
            progress_token=request.progress_token if request is not None else None,
            meta=request.meta if request is not None else {},
        )

    # -- the inbox -----------------------------------------------------------------------------------

    def _receive_anywhere(self, message: NodeMessage) -> None:
        """Receive a message on any thread."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self.receive(message)
        else:
            with suppress(RuntimeError):  # the loop has just closed
                self._loop.call_soon_threadsafe(self.receive, message)

    def receive(self, message: NodeMessage) -> None:
        """Handle a message from another node."""
        if self.registry.opening_streams:
            self.registry.store_early(message)
        match message:
            case Wake(key, stream):
                self._wake(key, stream)
            case Superseded():
                self._yield(message)
            case GaveWay():
                self.checkpoints.receive(message)
            case CancelCall():
                self._cancel(message)
            case Joined(key, stream, request_id):
                self._log_call(key, stream, request_id)
            case Doubted() | Cleared():
                self.stale_requests.receive(message)
            case ReplyArrived():
                self.client_requests.resolve(message)
            case Closed(key) | Rehomed(key):
                self.expiry.end_session(key, _REASONS[type(message)])
            case _:
                self._receive_cluster_message(message)

    def _receive_cluster_message(self, message: NodeMessage) -> None:
        match message:
            case NodeLost(name):
                if name not in self._lost_nodes:
                    self._lost_nodes.append(name)
                    self.observer.report(ClusterEvent.NODE_LOST, node=name)
                for (key, stream), open_stream in list(self.registry.streams.items()):
                    if open_stream.writer == name:
                        self.fail_over(key, stream, name)
            case Orphaned(key, stream, writer):
                self.fail_over(key, stream, writer)
            case LeaseLapsed() | StoreReturned():
                # Until `resynchronize` knows which calls other nodes run now.
                self.is_checking = self.is_checking or isinstance(message, LeaseLapsed)
                self.tasks.spawn(self.reconnection.resynchronize())
            case Drain():
                self.tasks.spawn(self.drain())
            case Broadcast():
                self.shared_runs.forget_all()
                self.tasks.spawn(self.broadcasts.deliver_missed())
            case CircuitOpened() | CircuitClosed():
                self.breakers.receive(message, self.kernel.circuit_breaker(message.tool))

    def fail_over(self, key: str, stream: str, writer: str, request_id: RequestId | None = None) -> None:
        """Take over a stream if its writer is dead or no longer has it; the request `request_id` waits for it.

        While the store does not answer, one attempt goes on, although each sweep finds the stream again.
        """
        attempt = key, stream, writer, request_id
        self.tasks.spawn_once(("fail-over", attempt), lambda: self._fail_over(self, *attempt))

    def verify_writer(self, key: str, stream: str, writer: str) -> None:
        """Check that a stream's writer is alive and still has the stream; if not, a node takes it over."""
        if writer != self.id:
            self.fail_over(key, stream, writer)
        self.send_in_background(writer, Joined(key, stream))

    def socket_closed(self, stream: OpenStream) -> None:
        """Handle the end of a stream's socket."""
        self.checkpoints.socket_closed(stream)
        self.registry.remove_stream(stream)
        stream.end()

    def _wake(self, key: str, stream: str) -> None:
        if (open_stream := self.registry.streams.get((key, stream))) is not None:
            open_stream.wake()

    def _yield(self, message: Superseded) -> None:
        """Yield a stream to a newer holder, and report how far it was delivered to the node that asks for it."""
        open_stream = self.registry.streams.get((message.key, message.stream))
        self.registry.yield_to_newer_holder(message.key, message.stream, message.epoch)
        if message.asker:
            delivered = open_stream.cursor if open_stream is not None else 0
            self.send_in_background(message.asker, GaveWay(message.key, delivered))

    def _cancel(self, message: CancelCall) -> None:
        call = self.registry.call(message.key, message.request_id)
        if call is not None and message.stream in ("", call.stream):
            cancel = call.cancel_by_staff if message.by_staff else call.cancel
            cancel()

    def _log_call(self, key: str, stream: str, request_id: RequestId | None) -> None:
        if (writer := self.registry.writers.get((key, stream))) is not None:
            self.log.enable(writer)
        elif not self.registry.is_opening(key, stream):
            # The call has ended without a log, or the store has lost its end: its client must not wait for ever.
            self.fail_over(key, stream, self.id, request_id)
