"""A node: one event loop that runs calls, holds client sockets and receives messages from other nodes."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from mcp_transport.backends.base import Backend, Holder, Measure
from mcp_transport.domain.node_messages import (
    Broadcast,
    CancelCall,
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
    ReplyArrived,
    StoreReturned,
    Superseded,
    Wake,
)
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import Session
from mcp_transport.engine.broadcasts import Broadcasts
from mcp_transport.engine.call import Call, CallContexts
from mcp_transport.engine.call_metrics import CallMetrics
from mcp_transport.engine.client_requests import ClientRequests
from mcp_transport.engine.clock import Clock, wait
from mcp_transport.engine.codec import encode_notification
from mcp_transport.engine.delivery_checkpoints import DeliveryCheckpoints
from mcp_transport.engine.early_messages import EarlyMessages
from mcp_transport.engine.expiry import Expiry, end_session
from mcp_transport.engine.memory_budget import MemoryBudget
from mcp_transport.engine.observer import ClusterEvent, Observer
from mcp_transport.engine.reconnect import resynchronize
from mcp_transport.engine.stale_requests import StaleRequests
from mcp_transport.engine.stream import OpenStream
from mcp_transport.engine.tasks import TaskSet, ignore_outage, wait_while
from mcp_transport.engine.writer import Writer
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.kernel import Caller, ClientChannel, ClientInfo, Exchange, Kernel, Lifespan
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.protocol.jsonrpc import Request, RequestId

__all__ = ["FailOver", "Node"]

_T = TypeVar("_T")

FailOver = Callable[["Node", str, str, str, RequestId | None], Coroutine[Any, Any, None]]
"""Takes over a stream: the node, the session key, the stream, its writer, and a request that waits for the stream."""

_FINAL_FLUSH_SECONDS: Final = 5.0  # for responses to reach the log when the node stops
_ADMISSION_SECONDS: Final = 0.05  # until an admitted request counts as running
_KEEPALIVE_DRAIN_SECONDS: Final = 0.5  # for one more request on each connection that a proxy keeps open
_UNREGISTER_TIMEOUT_SECONDS: Final = 2.0  # without an answer from the store, the node's lease just expires
_OUTAGE_RETRY_SECONDS: Final = 2.0
# Clients of a draining node reconnect spread over this many milliseconds.
_RECONNECT_JITTER_MS: Final = 2000

logger = logging.getLogger(__name__)


class Node:
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
    ) -> None:
        self.id = secrets.token_hex(6)  # set at the first request, after any fork, so that workers do not share it
        self.backend, self.kernel, self.policy, self.clock = backend, kernel, policy, clock
        self.session_keys, self.observer = session_keys, observer
        self.call_metrics, self.budget = call_metrics, budget
        self._fail_over, self._measure, self.call_context, self.tasks = fail_over, measure, call_context, TaskSet()
        self.client_requests, self.stale_requests = ClientRequests(self.id, clock, keys), StaleRequests(self)
        self.broadcasts, self.checkpoints, self.expiry = Broadcasts(self), DeliveryCheckpoints(self), Expiry(self)
        self.is_draining = self.is_stopping = self.is_checking = False
        self.running: set[Call] = set()
        self.calls: dict[tuple[str, RequestId], Call] = {}
        self.writers: dict[tuple[str, str], Writer] = {}
        self.streams: dict[tuple[str, str], OpenStream] = {}
        self._lost_nodes: deque[str] = deque(maxlen=100)
        self.early_messages, self._joined, self._joining = EarlyMessages(), False, asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._lifespan: Lifespan | None = None

    async def start(self) -> None:
        """Enter the server's lifespan and join the other nodes; if the store is unavailable, join later."""
        self._lifespan = await self.kernel.enter_lifespan(self.tasks.spawn_permanent, self.call_context)
        try:
            await self.join()
        except BackendError as error:
            logger.warning("node %s serves only sessionless requests until the store answers: %s", self.id, error)
        self.tasks.spawn_permanent(self.expiry.run())

    async def join(self) -> None:
        """Register with the store and start to receive messages, once. Raises: BackendError."""
        if self._joined:
            return
        async with self._joining:
            if not self._joined:
                await self.broadcasts.skip_earlier()
                await self.backend.bus.start(self.id, self._receive_anywhere, self._measure)
                self._joined = True
                logger.debug("node %s joined", self.id)

    async def drain(self, *, report: bool = True) -> None:
        """Send clients to other nodes: fail readiness, end listen and GET streams, but still serve new requests."""
        if self.is_draining:
            return
        self.is_draining = True
        self.kernel.close_listen_streams()
        for stream_key, stream in list(self.streams.items()):
            if stream_key not in self.writers:  # GET streams, and streams of calls that other nodes run
                stream.end(retry_ms=self.policy.retry_ms + random.randrange(_RECONNECT_JITTER_MS))  # noqa: S311 (no secret)
        if report:
            self.observer.report(ClusterEvent.DRAINED, node=self.id, calls=len(self.running))
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
        for call in list(self.running):
            if call.request.method != "subscriptions/listen":
                call.abandon("the server stopped", ClusterEvent.ABANDONED)
        await self.tasks.wait_idle(_FINAL_FLUSH_SECONDS)
        if self._lifespan is not None:
            await self._lifespan.close()
        await self.tasks.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_UNREGISTER_TIMEOUT_SECONDS):
                if self._joined:
                    await self.backend.bus.stop(self.id)
                await self.backend.sessions.disconnect()
        logger.debug("node %s stopped", self.id)

    def _is_busy(self) -> bool:
        """Return whether requests are being admitted, run, answered or logged."""
        running = any(call.request.method != "subscriptions/listen" for call in self.running)
        streaming = any(name != GET_STREAM for _, name in self.streams)
        return running or streaming or bool(self.early_messages or self.writers)

    @property
    def lifespan_state(self) -> Any:
        """Return the value that the server's lifespan yielded."""
        return self._lifespan.state if self._lifespan is not None else None

    def exchange(
        self, client: ClientInfo, channel: ClientChannel, caller: Caller, request: Request | None = None
    ) -> Exchange:
        """Build the kernel's context for one request or, without `request`, for a notification."""
        return Exchange(
            client=client,
            channel=channel,
            caller=caller,
            lifespan=self.lifespan_state,
            request_id=request.id if request is not None else None,
            progress_token=request.progress_token if request is not None else None,
            meta=request.meta if request is not None else {},
        )

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
        self.early_messages.store(message)
        match message:
            case Wake(key, stream):
                self._wake(key, stream)
            case Superseded(key, stream, epoch, requester):
                self.yield_to_newer_holder(key, stream, epoch, requester)
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
            case Closed(key):
                end_session(self, key)
            case Broadcast():
                self.tasks.spawn(self.broadcasts.deliver_missed())
            case _:
                self._receive_cluster_message(message)

    def _receive_cluster_message(self, message: NodeMessage) -> None:
        match message:
            case NodeLost(name):
                if name not in self._lost_nodes:
                    self._lost_nodes.append(name)
                    self.observer.report(ClusterEvent.NODE_LOST, node=name)
                for (key, stream), open_stream in list(self.streams.items()):
                    if open_stream.writer == name:
                        self.fail_over(key, stream, name)
            case Orphaned(key, stream, writer):
                self.fail_over(key, stream, writer)
            case LeaseLapsed():
                self.is_checking = True  # until `resynchronize` knows which calls other nodes run now
                self.tasks.spawn(resynchronize(self))
            case StoreReturned():
                self.tasks.spawn(resynchronize(self))
            case Drain():
                self.tasks.spawn(self.drain())

    def fail_over(self, key: str, stream: str, writer: str, request_id: RequestId | None = None) -> None:
        """Take over a stream if its writer is dead or no longer has it; the request `request_id` waits for it."""
        self.tasks.spawn(self._fail_over(self, key, stream, writer, request_id))

    def verify_writer(self, key: str, stream: str, writer: str) -> None:
        """Check that a stream's writer is alive and still has the stream; if not, a node takes it over."""
        if writer != self.id:
            self.fail_over(key, stream, writer)
        self.send_in_background(writer, Joined(key, stream))

    def lease_may_be_lost(self) -> bool:
        """Return whether other nodes may have declared this node dead without its knowledge."""
        return self.is_checking or self.backend.bus.lease_may_be_lost(self.id)

    def send_in_background(self, node: str, message: NodeMessage) -> None:
        """Send a message to a node without waiting; a lost message only delays its effect."""
        self.tasks.spawn(ignore_outage(self.backend.bus.send(node, message)))

    async def restore(self, session: Session) -> bool:
        """Store a session that the store has lost. Raises: BackendError."""
        restored = await self.backend.sessions.restore(session)
        if restored:
            self.observer.report(ClusterEvent.REHYDRATED, session.key)
        return restored

    def _wake(self, key: str, stream: str) -> None:
        if (open_stream := self.streams.get((key, stream))) is not None:
            open_stream.wake()

    def _cancel(self, message: CancelCall) -> None:
        call = self.calls.get((message.key, message.request_id))
        if call is not None and message.stream in ("", call.stream):
            cancel = call.cancel_by_staff if message.by_staff else call.cancel
            cancel()

    def _log_call(self, key: str, stream: str, request_id: RequestId | None) -> None:
        if (writer := self.writers.get((key, stream))) is not None:
            writer.enable_log()
        elif (key, stream) not in self.early_messages:
            # The call has ended without a log, or the store has lost its end: its client must not wait for ever.
            self.fail_over(key, stream, self.id, request_id)

    def adopt_holder(self, key: str, stream: str, holder: Holder) -> None:
        """Adopt the store's record of the node that holds a stream which this node writes."""
        open_stream = self.streams.get((key, stream))
        if open_stream is not None and open_stream.epoch == 0 and holder.node == self.id:
            open_stream.epoch = holder.epoch
        elif holder.node != self.id:
            self.yield_to_newer_holder(key, stream, holder.epoch)

    def yield_to_newer_holder(self, key: str, stream: str, epoch: int, requester: str = "") -> None:
        """Close the socket of a stream with a newer holder since `epoch`; send `requester` the delivery position."""
        open_stream = self.streams.get((key, stream))
        if open_stream is not None and open_stream.epoch < epoch:
            self.observer.report(ClusterEvent.SUPERSEDED, key, stream=stream)
            self.unregister_stream(open_stream)
            open_stream.supersede()
        if requester:
            self.send_in_background(requester, GaveWay(key, open_stream.cursor if open_stream is not None else 0))

    async def emit(self, key: str, method: str, params: Mapping[str, Any] | None) -> None:
        """Send a notification on a session's GET stream, whichever node holds its socket."""
        emitted = await self.backend.streams.emit(
            key, encode_notification(method, params, self.policy.max_result_bytes)
        )
        if emitted is not None and emitted.holder is not None:
            self.send_in_background(emitted.holder.node, Wake(key, GET_STREAM))

    # -- open streams --------------------------------------------------------------------------------

    def register_stream(self, stream: OpenStream, epoch: int) -> None:
        """Register an open stream, and end its older response; epoch 0 means that it is not stored yet."""
        stream.epoch = epoch
        if (older := self.streams.get((stream.key, stream.stream))) is not None:
            older.supersede()
        self.streams[stream.key, stream.stream] = stream

    def unregister_stream(self, stream: OpenStream) -> None:
        """Remove an open stream, unless a newer response has replaced it."""
        if self.streams.get((stream.key, stream.stream)) is stream:
            del self.streams[stream.key, stream.stream]

    def socket_closed(self, stream: OpenStream) -> None:
        """Handle the end of a stream's socket."""
        self.checkpoints.socket_closed(stream)
        self.unregister_stream(stream)
        stream.end()
