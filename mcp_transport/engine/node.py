"""A node: one event loop that runs calls, holds sockets and has an inbox."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from mcp_transport.backends.base import Backend, Holder
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
from mcp_transport.engine.memory_budget import Budget
from mcp_transport.engine.observer import Happening, Observer
from mcp_transport.engine.reconnect import come_back
from mcp_transport.engine.stale_requests import StaleRequests
from mcp_transport.engine.stream import OpenStream
from mcp_transport.engine.tasks import TaskSet, quietly, wait_while
from mcp_transport.engine.writer import Writer
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.kernel import Caller, ClientChannel, ClientInfo, Exchange, Kernel, Lifespan
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.protocol.jsonrpc import Request, RequestId

__all__ = ["Node", "Rescue"]

_T = TypeVar("_T")

Rescue = Callable[["Node", str, str, str, RequestId | None], Coroutine[Any, Any, None]]
"""Takes a stream over: the node, the session's key, the stream, its writer, and a request that waits for it."""

# Seconds that answers have to reach the log when the node stops.
_LAST_WORDS: Final = 5.0
_SETTLE: Final = 0.05  # that a request which was let in has to show
_LINGER: Final = 0.5  # in which connections that a proxy keeps open are served once more
_GOODBYE: Final = 2.0  # that a store has to be told that the node is gone; the end of its lease says so, too
_PAUSE: Final = 2.0  # between two tries to reach a store that is away

# Clients of a node that drains come back spread over this many milliseconds.
_JITTER_MS: Final = 2000

logger = logging.getLogger(__name__)


class Node:
    """Everything of the endpoint that belongs to one loop; nothing here is needed to serve a session elsewhere."""

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
        meter: CallMetrics,
        budget: Budget,
        rescue: Rescue,
        call_context: CallContexts,
    ) -> None:
        self.id = secrets.token_hex(6)  # made at the first request, after any fork: no two workers share an id
        self.backend, self.kernel, self.policy, self.clock = backend, kernel, policy, clock
        self.session_keys, self.observer, self.meter, self.budget = session_keys, observer, meter, budget
        self._rescue, self.call_context, self.lifecycle = rescue, call_context, TaskSet()
        self.questions, self.clearing = ClientRequests(self.id, clock, keys), StaleRequests(self)
        self.announcements, self.marks, self.expiry = Broadcasts(self), DeliveryCheckpoints(self), Expiry(self)
        self.is_draining = self.is_stopping = self.is_checking = False
        self.running: set[Call] = set()
        self.calls: dict[tuple[str, RequestId], Call] = {}
        self.writers: dict[tuple[str, str], Writer] = {}
        self.streams: dict[tuple[str, str], OpenStream] = {}
        self._lost: deque[str] = deque(maxlen=100)
        self.arrivals, self._joined, self._joining = EarlyMessages(), False, asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._lifespan: Lifespan | None = None

    async def start(self) -> None:
        """Enter the server's lifespan and join the other nodes, if the store answers; if not, `join` tries again."""
        self._lifespan = await self.kernel.enter_lifespan(self.lifecycle.spawn_resident, self.call_context)
        try:
            await self.join()
        except BackendError as error:
            logger.warning("node %s serves sessionless requests only, so far: %s", self.id, error)
        self.lifecycle.spawn_resident(self.expiry.watch())

    async def join(self) -> None:
        """Join the other nodes, once. Raises: BackendError."""
        if self._joined:
            return
        async with self._joining:
            if not self._joined:
                await self.announcements.begin()
                await self.backend.start(self.id, self._receive_anywhere)
                self._joined = True
                logger.debug("node %s joined", self.id)

    async def retire(self, *, is_news: bool = True) -> None:
        """Send clients elsewhere: readiness turns red, listen and GET streams end; what still comes is served."""
        if self.is_draining:
            return
        self.is_draining = True
        self.kernel.close_listen_streams()
        for place, stream in list(self.streams.items()):
            if place not in self.writers:  # GET streams, and those of calls that other nodes run
                stream.end(retry_ms=self.policy.retry_ms + random.randrange(_JITTER_MS))  # noqa: S311 (no secret)
        if is_news:
            self.observer.happened(Happening.DRAINED, node=self.id, calls=len(self.running))
        self.lifecycle.spawn(quietly(self.backend.announce_drain(self.id)))

    async def stop(self, patience: float = 0.0, *, serving: bool = False, is_news: bool = True) -> None:
        """Take no more requests, or go on `serving` until none runs; after `patience` seconds end calls; leave.

        It `is_news`, to be logged, unless the node was made for a single request.
        """
        self.is_stopping = not serving
        give_up = self._loop.time() + patience
        await self.retire(is_news=is_news)
        await wait_while(self._is_busy, give_up, after=_LINGER if serving else 0.0)
        if serving:
            self.is_stopping = True
            await wait_while(self._is_busy, give_up, after=_SETTLE)
        for call in list(self.running):
            if call.request.method != "subscriptions/listen":
                call.abandon("the server stopped", Happening.ABANDONED)
        await self.lifecycle.settle(_LAST_WORDS)
        if self._lifespan is not None:
            await self._lifespan.close()
        await self.lifecycle.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                if self._joined:
                    await self.backend.stop(self.id)
                await self.backend.disconnect()
        logger.debug("node %s stopped", self.id)

    def _is_busy(self) -> bool:
        """Tell whether requests are being let in, run, answered or written down."""
        running = any(call.request.method != "subscriptions/listen" for call in self.running)
        return running or any(name != GET_STREAM for _, name in self.streams) or bool(self.arrivals or self.writers)

    @property
    def lifespan_state(self) -> Any:
        """Return what the server's lifespan yielded."""
        return self._lifespan.state if self._lifespan is not None else None

    def exchange(
        self, facts: ClientInfo, outlet: ClientChannel, caller: Caller, request: Request | None = None
    ) -> Exchange:
        """Build what the kernel needs to run one request or, without one, a notification."""
        return Exchange(
            client=facts,
            channel=outlet,
            caller=caller,
            lifespan=self.lifespan_state,
            request_id=request.id if request is not None else None,
            progress_token=request.progress_token if request is not None else None,
            meta=request.meta if request is not None else {},
        )

    async def insist(self, work: Callable[[], Awaitable[_T]]) -> _T | None:
        """Do what belongs into the store, however long that is away; return None if it was in vain."""
        give_up = self.clock.now() + self.policy.stream_keep
        while True:
            try:
                return await work()
            except BackendError as error:
                if isinstance(error, Unreadable) or self.clock.now() >= give_up:
                    logger.error("gave up: %s", error)
                    return None
            await wait(self.clock, asyncio.Event(), _PAUSE)

    # -- the inbox -----------------------------------------------------------------------------------

    def _receive_anywhere(self, message: NodeMessage) -> None:
        """Take a message from any thread."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self.receive(message)
        else:
            with suppress(RuntimeError):  # that loop has just closed
                self._loop.call_soon_threadsafe(self.receive, message)

    def receive(self, message: NodeMessage) -> None:
        """Do what a message asks for."""
        self.arrivals.keep(message)
        match message:
            case Wake(key, stream):
                self._wake(key, stream)
            case Superseded(key, stream, epoch, asker):
                self.give_way(key, stream, epoch, asker)
            case GaveWay():
                self.marks.receive(message)
            case CancelCall():
                self._cancel(message)
            case Joined(key, stream, request_id):
                self._log_call(key, stream, request_id)
            case Doubted() | Cleared():
                self.clearing.receive(message)
            case ReplyArrived():
                self.questions.take(message)
            case Closed(key):
                end_session(self, key)
            case Broadcast():
                self.lifecycle.spawn(self.announcements.make_up())
            case _:
                self._receive_of_nodes(message)

    def _receive_of_nodes(self, message: NodeMessage) -> None:
        match message:
            case NodeLost(name):
                if name not in self._lost:
                    self._lost.append(name)
                    self.observer.happened(Happening.NODE_LOST, node=name)
                for (key, stream), held in list(self.streams.items()):
                    if held.writer == name:
                        self.rescue(key, stream, name)
            case Orphaned(key, stream, writer):
                self.rescue(key, stream, writer)
            case LeaseLapsed():
                self.is_checking = True  # until it is known what others have taken over
                self.lifecycle.spawn(come_back(self))
            case StoreReturned():
                self.lifecycle.spawn(come_back(self))
            case Drain():
                self.lifecycle.spawn(self.retire())

    def rescue(self, key: str, stream: str, writer: str, asked: RequestId | None = None) -> None:
        """Take a stream over if its writer is dead or has forgotten it; `asked` is a request that waits for it."""
        self.lifecycle.spawn(self._rescue(self, key, stream, writer, asked))

    def ask_after(self, key: str, stream: str, writer: str) -> None:
        """Make sure that a stream's writer is alive and knows of it; another one ends or goes on with it if not."""
        if writer != self.id:
            self.rescue(key, stream, writer)
        self.tell(writer, Joined(key, stream))

    def lease_may_be_lost(self) -> bool:
        """Tell whether this node may have been taken for dead without its knowing."""
        return self.is_checking or self.backend.lease_may_be_lost(self.id)

    def tell(self, node: str, message: NodeMessage) -> None:
        """Send a message behind; its loss costs no more than a while."""
        self.lifecycle.spawn(quietly(self.backend.send(node, message)))

    async def restore(self, session: Session) -> bool:
        """Store a session again that the store has lost. Raises: BackendError."""
        restored = await self.backend.restore(session)
        if restored:
            self.observer.happened(Happening.REHYDRATED, session.key)
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
            writer.keep_log()
        elif (key, stream) not in self.arrivals:
            # Its call is over, and either was not logged or the store has lost its end: nobody shall wait for it.
            self.rescue(key, stream, self.id, request_id)

    def settle_holder(self, key: str, stream: str, holder: Holder) -> None:
        """Take the store's word for who holds a stream that this node writes."""
        open_stream = self.streams.get((key, stream))
        if open_stream is not None and open_stream.epoch == 0 and holder.node == self.id:
            open_stream.epoch = holder.epoch
        elif holder.node != self.id:
            self.give_way(key, stream, holder.epoch)

    def give_way(self, key: str, stream: str, epoch: int, asker: str = "") -> None:
        """End the socket of a stream that another one holds since `epoch`; tell `asker` how far it was delivered."""
        open_stream = self.streams.get((key, stream))
        if open_stream is not None and open_stream.epoch < epoch:
            self.observer.happened(Happening.SUPERSEDED, key, stream=stream)
            self.release(open_stream)
            open_stream.supersede()
        if asker:
            self.tell(asker, GaveWay(key, open_stream.cursor if open_stream is not None else 0))

    async def emit(self, key: str, method: str, params: Mapping[str, Any] | None) -> None:
        """Put a notification on a session's GET stream, wherever its socket is."""
        emitted = await self.backend.emit(key, encode_notification(method, params, self.policy.max_result_bytes))
        if emitted is not None and emitted.holder is not None:
            self.tell(emitted.holder.node, Wake(key, GET_STREAM))

    # -- streams held here ---------------------------------------------------------------------------

    def hold(self, stream: OpenStream, epoch: int) -> None:
        """Make `stream` the one its writer and the inbox reach; one that it follows on this node ends.

        Epoch 0 says that the store does not know of it yet.
        """
        stream.epoch = epoch
        if (older := self.streams.get((stream.key, stream.stream))) is not None:
            older.supersede()
        self.streams[stream.key, stream.stream] = stream

    def release(self, stream: OpenStream) -> None:
        """Forget a stream, unless another response holds it by now."""
        if self.streams.get((stream.key, stream.stream)) is stream:
            del self.streams[stream.key, stream.stream]

    def let_go(self, stream: OpenStream) -> None:
        """Note that a stream's socket is gone."""
        self.marks.let_go(stream)
        self.release(stream)
        stream.end()
