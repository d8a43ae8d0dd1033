"""A node: one event loop that runs calls, holds sockets and has an inbox."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from mcp_transport.backends.base import Backend, Holder
from mcp_transport.engine.call import Call
from mcp_transport.engine.clock import Clock, wait
from mcp_transport.engine.codec import encode_notification
from mcp_transport.engine.lifecycle import Lifecycle
from mcp_transport.engine.stream import OpenStream
from mcp_transport.exceptions import BackendError
from mcp_transport.kernel import Caller, Exchange, Facts, Kernel, Lifespan, Outlet
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.protocol.inbox import (
    Broadcast,
    CancelCall,
    Closed,
    Joined,
    NodeMessage,
    ReplyArrived,
    Superseded,
    Wake,
)
from mcp_transport.protocol.jsonrpc import Request, RequestId, is_request_id
from mcp_transport.protocol.policy import Policy
from mcp_transport.protocol.session import short_id

__all__ = ["Node"]

_T = TypeVar("_T")

# Seconds that answers have to reach the log when the node stops.
_LAST_WORDS: Final = 5.0

# Seconds between two tries to reach a store that is away.
_PAUSE: Final = 2.0

logger = logging.getLogger(__name__)


class Node:
    """Everything of the endpoint that belongs to one loop; nothing here is needed to serve a session elsewhere."""

    def __init__(self, backend: Backend, kernel: Kernel, policy: Policy, clock: Clock, keys: Sequence[bytes]) -> None:
        # Made at the first request, thus after any fork: two workers never share an id.
        self.id = secrets.token_hex(6)
        self.backend, self.kernel, self.policy, self.clock = backend, kernel, policy, clock
        self.lifecycle = Lifecycle()
        self.is_draining = False
        self.running: set[Call] = set()
        self.calls: dict[tuple[str, RequestId], Call] = {}
        self.streams: dict[tuple[str, str], OpenStream] = {}
        self._keys = keys
        # Sessions whose GET stream was here last: what changes is kept for their client's return.
        self._absent: dict[str, float] = {}
        self._replies: dict[str, asyncio.Future[ReplyArrived]] = {}
        self._asked = 0
        self._joined, self._joining = False, asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._lifespan: Lifespan | None = None

    async def start(self) -> None:
        """Enter the server's lifespan and join the other nodes, if the store answers; if not, `join` tries again."""
        self._lifespan = await self.kernel.enter_lifespan(self.lifecycle.spawn_resident)
        try:
            await self.join()
        except BackendError as error:
            logger.warning("node %s serves sessionless requests only, so far: %s", self.id, error)

    async def join(self) -> None:
        """Join the other nodes, once. Raises: BackendError."""
        if self._joined:
            return
        async with self._joining:
            if not self._joined:
                await self.backend.start(self.id, self._receive_anywhere)
                self._joined = True
                logger.debug("node %s joined", self.id)

    async def stop(self) -> None:
        """End listen and GET streams so that their clients come back, end calls with an error, leave."""
        self.is_draining = True
        self.kernel.end_listening()
        for call in list(self.running):
            if call.request.method != "subscriptions/listen":
                call.abandon()
        for (_, name), stream in list(self.streams.items()):
            if name == GET_STREAM:
                stream.end()
        await self.lifecycle.settle(_LAST_WORDS)
        if self._lifespan is not None:
            await self._lifespan.leave()
        await self.lifecycle.stop()
        if self._joined:
            with suppress(BackendError):
                await self.backend.stop(self.id)
        logger.debug("node %s stopped", self.id)

    @property
    def lifespan_state(self) -> Any:
        """Return what the server's lifespan yielded."""
        return self._lifespan.state if self._lifespan is not None else None

    def exchange(self, facts: Facts, outlet: Outlet, caller: Caller, request: Request | None = None) -> Exchange:
        """Build what the kernel needs to run one request or, without one, a notification."""
        return Exchange(
            facts=facts,
            outlet=outlet,
            caller=caller,
            lifespan=self.lifespan_state,
            request_id=request.id if request is not None else None,
            progress_token=_progress_token(request),
            meta=_meta(request),
        )

    async def insist(self, work: Callable[[], Awaitable[_T]]) -> _T | None:
        """Do what belongs into the store, again and again while it is away, until nobody can want it any more."""
        give_up = self.clock.now() + self.policy.stream_keep
        while True:
            try:
                return await work()
            except BackendError as error:
                if self.clock.now() >= give_up:
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
        match message:
            case Wake(key, stream):
                self._wake(key, stream)
            case Superseded(key, stream, epoch):
                self._give_way(key, stream, epoch)
            case CancelCall(key, request_id):
                self._cancel(key, request_id)
            case Joined(key, request_id):
                self._log_call(key, request_id)
            case ReplyArrived():
                self._take_reply(message)
            case Closed(key):
                self._end_session(key)
            case Broadcast():
                self.kernel.bus.deliver(message)
                self.lifecycle.spawn(self._tell_sessions(message))

    def _wake(self, key: str, stream: str) -> None:
        if (open_stream := self.streams.get((key, stream))) is not None:
            open_stream.wake()

    def _cancel(self, key: str, request_id: RequestId) -> None:
        if (call := self.calls.get((key, request_id))) is not None:
            call.cancel()

    def _log_call(self, key: str, request_id: RequestId) -> None:
        call = self.calls.get((key, request_id))
        if call is not None and call.writer is not None:
            call.writer.keep_log()

    def settle_holder(self, key: str, stream: str, holder: Holder) -> None:
        """Take the store's word for who holds a stream that this node writes."""
        open_stream = self.streams.get((key, stream))
        if open_stream is not None and open_stream.epoch == 0 and holder.node == self.id:
            open_stream.epoch = holder.epoch
        elif holder.node != self.id:
            self._give_way(key, stream, holder.epoch)

    def _give_way(self, key: str, stream: str, epoch: int) -> None:
        if (key, GET_STREAM) not in self.streams and stream == GET_STREAM:
            self._absent.pop(key, None)
        open_stream = self.streams.get((key, stream))
        if open_stream is not None and open_stream.epoch < epoch:
            self.release(open_stream)
            open_stream.end()

    def _take_reply(self, reply: ReplyArrived) -> None:
        waiting = self._replies.get(reply.request_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    def _end_session(self, key: str) -> None:
        self._absent.pop(key, None)
        for call in [call for (owner, _), call in self.calls.items() if owner == key]:
            call.cancel()
        for stream in [stream for (owner, _), stream in self.streams.items() if owner == key]:
            self.release(stream)
            stream.end()

    async def _tell_sessions(self, message: Broadcast) -> None:
        """Put a change on the GET stream of each session here that is to be told (2025 revisions)."""
        params = {"uri": message.uri} if message.uri else None
        now = self.clock.now()
        self._absent = {key: until for key, until in self._absent.items() if until > now}
        held = {key for key, stream in self.streams if stream == GET_STREAM}
        for key in held | set(self._absent):
            try:
                session = await self.backend.get(key)
                if session is not None and (not message.uri or message.uri in session.subscriptions):
                    await self.emit(key, message.method, params)
            except BackendError as error:
                logger.warning("session %s is not told of a change: %s", short_id(key), error)

    async def emit(self, key: str, method: str, params: Mapping[str, Any] | None) -> None:
        """Put a notification on a session's GET stream, wherever its socket is."""
        holder = await self.backend.emit(key, encode_notification(method, params))
        if holder is not None:
            await self.backend.send(holder.node, Wake(key, GET_STREAM))

    # -- streams held here ---------------------------------------------------------------------------

    def hold(self, stream: OpenStream, epoch: int) -> None:
        """Make `stream` the one its writer and the inbox reach; one that it follows on this node ends.

        Epoch 0 says that the store does not know of it yet.
        """
        stream.epoch = epoch
        if (older := self.streams.get((stream.key, stream.stream))) is not None:
            older.end()
        self.streams[stream.key, stream.stream] = stream
        if stream.stream == GET_STREAM:
            self._absent.pop(stream.key, None)

    def release(self, stream: OpenStream) -> None:
        """Forget a stream, unless another response holds it by now."""
        if self.streams.get((stream.key, stream.stream)) is stream:
            del self.streams[stream.key, stream.stream]

    def let_go(self, stream: OpenStream) -> None:
        """Note that a stream's socket is gone."""
        if stream.stream == GET_STREAM and self.streams.get((stream.key, stream.stream)) is stream:
            now = self.clock.now()
            while self._absent and self._absent[oldest := next(iter(self._absent))] <= now:
                del self._absent[oldest]
            self._absent[stream.key] = now + self.policy.stream_keep
        self.release(stream)
        stream.end()

    def mark(self, stream: OpenStream) -> None:
        """Have a GET stream's next holder begin where this one is: its client may come back without an event id."""
        self.lifecycle.spawn(self.mark_held(stream.key))

    async def mark_held(self, key: str) -> None:
        """Note how far a session's GET stream was delivered here, if it is held here."""
        stream = self.streams.get((key, GET_STREAM))
        if stream is not None:
            with suppress(BackendError):
                await self.backend.mark(key, GET_STREAM, stream.cursor)

    # -- requests to clients -------------------------------------------------------------------------

    def mint_request_id(self, owner: str) -> str:
        """Name a request to a client: this node, a counter, and a proof that it was sent to `owner`."""
        self._asked += 1
        name = f"{self.id}.{self._asked}"
        return f"{name}.{_proof(self._keys[0], owner, name)}"

    def node_of_request(self, request_id: RequestId, owner: str) -> str | None:
        """Return the node that sent a request to `owner`, or None when none did."""
        name, _, proof = str(request_id).rpartition(".")
        known = any(hmac.compare_digest(_proof(key, owner, name).encode(), proof.encode()) for key in self._keys)
        return name.partition(".")[0] if known else None

    async def wait_for_reply(self, request_id: str, seconds: float) -> ReplyArrived:
        """Wait for the client's reply. Raises: TimeoutError."""
        arrived = asyncio.Event()
        reply: asyncio.Future[ReplyArrived] = self._loop.create_future()
        reply.add_done_callback(lambda _: arrived.set())
        self._replies[request_id] = reply
        try:
            if not await wait(self.clock, arrived, seconds):
                raise TimeoutError
            return reply.result()
        finally:
            del self._replies[request_id]


def _proof(key: bytes, owner: str, name: str) -> str:
    return hmac.new(key, f"{owner}\n{name}".encode(), hashlib.sha256).hexdigest()[:24]


def _progress_token(request: Request | None) -> RequestId | None:
    token = _meta(request).get("progressToken")
    return token if is_request_id(token) else None


def _meta(request: Request | None) -> Mapping[str, Any]:
    meta = ((request.params if request is not None else None) or {}).get("_meta")
    return meta if isinstance(meta, Mapping) else {}
