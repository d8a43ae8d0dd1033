"""The log of the streams that this node writes: appended behind the socket, refilled, restored, fenced."""

from __future__ import annotations

from collections.abc import Sequence

from mcp_transport.backends.results import Appended, Event
from mcp_transport.domain.node_messages import Wake
from mcp_transport.domain.session import InFlightRequest, Session
from mcp_transport.engine.expiry import Expiry
from mcp_transport.engine.node_context import NodeContext
from mcp_transport.engine.observer import ClusterEvent
from mcp_transport.engine.registry import Registry
from mcp_transport.engine.writer import Writer
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["LogAppender"]


class LogAppender:
    """Hands the events of one node's writers to their sockets, then appends them to the log."""

    def __init__(self, context: NodeContext, registry: Registry, expiry: Expiry) -> None:
        self._context, self._registry, self._expiry = context, registry, expiry

    def new_writer(
        self, session: Session, stream: str, in_flight: Sequence[InFlightRequest], *, first: int = 1
    ) -> Writer:
        """Become the writer of a stream, from event `first` on."""
        writer = Writer(self._context.policy, self._deliver, session, stream, in_flight, first=first)
        if in_flight:
            self._registry.add_writer(writer)
        return writer

    def _deliver(self, writer: Writer, event: Event) -> None:
        if self._context.lease_may_be_lost(writer.key):
            writer.is_withheld = True  # the store decides whether this node still writes the stream
        elif (stream := self._registry.streams.get((writer.key, writer.stream))) is not None:
            stream.offer(event)
        if writer.is_logged and not writer.flush_is_due:
            writer.flush_is_due = True  # one flush logs everything that this tick writes
            self._context.tasks.spawn(self.flush(writer))

    def enable(self, writer: Writer, holder: str = "") -> None:
        """Log all events of a writer, past and future; `holder` is the node that has the socket."""
        writer.is_logged = True
        self._context.tasks.spawn(self.flush(writer, holder))

    async def flush(self, writer: Writer, holder: str = "") -> None:
        """Log the remaining events, retrying while the store is unavailable, and wake a socket on another node."""
        context, stream_key = self._context, (writer.key, writer.stream)
        async with writer.flushing:
            writer.flush_is_due = False
            is_writable = writer.has_log and not writer.is_stopped
            appended = (
                await context.retry_until_expired(lambda: self._append(writer, holder)) if is_writable else None
            )
            if writer.has_ended and (appended is None or not writer.unlogged):
                self._registry.remove_writer(writer)
        if appended is None:
            return
        if appended.holder is not None:
            self._registry.adopt_holder(*stream_key, appended.holder)
        stream = self._registry.streams.get(stream_key)
        # A resumed response may have registered between an event and its log entry.
        if stream is not None and (stream.has_missed_event or stream.starts_from_log or writer.is_withheld):
            writer.is_withheld = False
            stream.wake()
        if appended.holder is not None and appended.holder.node != context.id:
            context.send_in_background(appended.holder.node, Wake(*stream_key))
        elif appended.holder is not None and stream is None:
            self._registry.store_early(Wake(*stream_key))  # its response may be about to open

    async def _append(self, writer: Writer, holder: str) -> Appended | None:
        """Append the unlogged events; return None if this node must no longer write the stream."""
        refills = True
        while True:
            batch = writer.unlogged
            appended = await self._context.backend.streams.append(
                writer.key,
                writer.stream,
                batch,
                writer=self._context.id,
                holder=holder,
                refills=refills,
                leaving=dict(writer.endings),
            )
            if appended is None:
                if not await self._restore(writer):
                    return None
                writer.stored, refills = 0, False
            elif appended.fenced:
                self._stop_fenced(writer)
                return None
            elif appended.missing:
                # The store lost its last writes: send again what is still in memory; the rest counts as lost.
                writer.stored, refills = appended.missing - 1, False
                if writer.still_has(appended.missing):
                    self._context.observer.report(ClusterEvent.REFILLED, writer.key, stream=writer.stream)
            else:
                if batch:
                    writer.stored = batch[-1].seq
                    size = sum(len(event.payload) for event in batch)
                    self._context.log_quota.add(writer.session.caller, size)
                return appended

    def stop(self, writer: Writer) -> None:
        """Stop a writer's handlers, because the session has ended or another node has taken over the stream."""
        writer.is_stopped = True
        self._registry.remove_writer(writer)
        for call in [call for call in self._registry.running if call.writer is writer]:
            call.end_with_session()
        self._registry.close_stream(writer.key, writer.stream)

    def _stop_fenced(self, writer: Writer) -> None:
        self._context.observer.report(ClusterEvent.FENCED, writer.key, stream=writer.stream)
        self.stop(writer)

    def close_socket(self, writer: Writer) -> None:
        """End the stream's HTTP response; one that is not open yet ends as soon as it opens."""
        if (stream := self._registry.streams.get((writer.key, writer.stream))) is not None:
            stream.end()
        elif not writer.is_logged:
            writer.closes_on_open = writer.has_messages = True
            writer.output_ready.set()

    async def remove_requests(self, writer: Writer) -> None:
        """Remove the requests from the store after their responses were sent as JSON, without a log.

        If a client has repeated its POST meanwhile, it waits on the stream, so the responses are logged. With an
        idempotency key, a client may repeat it later, so the response is logged before the request is removed.
        """
        if writer.is_keyed:
            await self.flush(writer)
        elif writer.has_log and await self._remove(writer):
            self.enable(writer)
        else:
            self._registry.remove_writer(writer)

    def discard(self, writer: Writer) -> None:
        """Log nothing of a writer whose only request was refused, and remove the request from the store."""
        writer.has_log = False
        self._context.tasks.spawn(self._discard(writer))

    async def _discard(self, writer: Writer) -> None:
        await self._remove(writer)
        self._registry.remove_writer(writer)

    async def remove_request(self, writer: Writer, request_id: RequestId) -> bool:
        """Remove a request whose response was sent from the store; return False if it still runs."""
        if request_id not in writer.endings or not (writer.has_ended or writer.is_logged):
            return False
        if writer.is_logged or writer.is_keyed:
            await self.flush(writer)
        else:
            await self._remove(writer)
        return True

    async def _remove(self, writer: Writer) -> bool | None:
        leave, endings = self._context.backend.sessions.leave, writer.endings
        return await self._context.retry_until_expired(lambda: leave(writer.key, endings, stream=writer.stream))

    async def stop_if_fenced(self, writer: Writer) -> None:
        """Stop a writer if another node has taken over the stream. Raises: BackendError."""
        name = await self._context.backend.streams.writer(writer.key, writer.stream)
        if name not in ("", self._context.id) and not writer.is_stopped:
            self._stop_fenced(writer)

    async def verify_and_restore(self, writer: Writer) -> None:
        """Call `stop_if_fenced`, and restore session and requests in an emptied store. Raises: BackendError."""
        await self.stop_if_fenced(writer)
        in_flight = await self._context.backend.sessions.in_flight(writer.key)
        if writer.is_stopped or writer.has_ended or writer.stream in {entry.stream for entry in in_flight}:
            return
        if await self._restore(writer) and writer.is_logged:
            self._context.tasks.spawn(self.flush(writer))

    async def _restore(self, writer: Writer) -> bool:
        """Restore session and requests in a store that has lost them; return False if the session has ended."""
        sessions, session = self._context.backend.sessions, writer.session
        if await sessions.get(writer.key) is None and not await self._context.restore(session):
            self._expiry.end_missing(session)
            return False
        writer.stored = 0
        endings = {} if writer.is_keyed else writer.endings
        left = [entry for entry in writer.in_flight if entry.request_id not in endings]
        await sessions.enter(writer.key, session.principal, self._context.id, left)
        return True
