"""The logs of streams."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from mcp_transport.backends.codec import each, milliseconds
from mcp_transport.backends.contracts import StreamLog
from mcp_transport.backends.dynamodb.client import DynamoClient
from mcp_transport.backends.dynamodb.event_log import EventLog, event_items
from mcp_transport.backends.dynamodb.items import Item
from mcp_transport.backends.dynamodb.node_bus import DynamoNodeBus
from mcp_transport.backends.dynamodb.session_record import NumberedEntry, SessionRecord, session_pk
from mcp_transport.backends.dynamodb.session_records import SessionRecords
from mcp_transport.backends.dynamodb.stream_changes import Append, Attach, Checkpoint, Claim, Emit
from mcp_transport.backends.dynamodb.stream_state import (
    STREAM_PREFIX,
    StreamState,
    stream_address,
    stream_kind,
    stream_record,
)
from mcp_transport.backends.dynamodb.subscription_set import subscriptions_address, subscriptions_kind
from mcp_transport.backends.dynamodb.versioned import Draft, VersionedItems
from mcp_transport.backends.dynamodb.writes import Put
from mcp_transport.backends.membership import RunningStreams
from mcp_transport.backends.records import StreamRecord
from mcp_transport.backends.results import (
    Appended,
    Attached,
    Claimed,
    Emitted,
    Event,
    Holder,
    HolderChanged,
    StreamOver,
    UnknownStream,
)
from mcp_transport.domain.history import NO_ENDINGS, Ending, Endings, HistoryEntry, HistoryEvent
from mcp_transport.domain.node_messages import Broadcast
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import InFlightRequest, Session
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.protocol.cursor import GET_STREAM, WRITER_SPAN
from mcp_transport.protocol.idempotency import is_keyed
from mcp_transport.supervision import log_failure

__all__ = ["DynamoStreamLog"]


# A message for a GET stream is stored in one step with its number, and that step is limited to 4 MiB.
_MAX_EMITTED_BYTES: Final = 3 * 1024 * 1024


class DynamoStreamLog(StreamLog):
    """Appends to, reads, attaches to and claims streams."""

    shares_streams = True
    keeps_answers = True

    def __init__(
        self,
        client: DynamoClient,
        policy: Policy,
        items: VersionedItems,
        records: SessionRecords,
        running: RunningStreams,
        bus: DynamoNodeBus,
    ) -> None:
        self._client, self._policy, self._items, self._bus = client, policy, items, bus
        self._records, self._running, self._events = records, running, EventLog(client)
        # Claims that have failed on the way: the same node may claim these streams again.
        self._unfinished = set[tuple[str, str, str]]()

    async def stream_records(self, key: str) -> tuple[StreamRecord, ...]:
        query = self._client.query(session_pk(key), STREAM_PREFIX, f"{STREAM_PREFIX}~")
        record, items = await asyncio.gather(self._records.read(key), query)
        states = each("a session's stream", items, _named_state) if record is not None else ()
        return tuple(stream_record(name, state) for name, state in states if state.is_stored(self._client.now()))

    # -- a writer's events ---------------------------------------------------------------------------

    async def append(
        self,
        key: str,
        stream: str,
        events: Sequence[Event],
        *,
        writer: str = "",
        holder: str = "",
        refills: bool = False,
        leaving: Endings = NO_ENDINGS,
    ) -> Appended | None:
        address = stream_address(key, stream)
        peek = self._items.peek(address, stream_kind)
        record, stored = await asyncio.gather(self._records.read(key), peek)
        if record is None:
            self._running.pop((key, stream), None)
            return None
        append = Append(
            events=events,
            writer=writer,
            holder=holder,
            refills=refills,
            now=self._client.now(),
            ends=record.session.ends,
            policy=self._policy,
            digest=next((record.in_flight[item].digest for item in leaving if item in record.in_flight), b""),
            leaving=leaving,
        )
        if is_keyed(stream) and append.begins(stored):
            # DynamoDB may be late to delete what an earlier call with this idempotency key has left.
            await self._events.delete_before(key, stream, WRITER_SPAN)
        # Before the state, so that every number in it has an event.
        await self._events.write(key, stream, append.new_events(stored), append.stored_until or append.ends)
        appended, oldest = await self._items.modify(address, stream_kind, append)
        await self._drop_before(key, stream, oldest)
        if appended.fenced or leaving:
            self._running.pop((key, stream), None)
        if leaving and not appended.fenced and not appended.missing:
            await self._records.leave(key, leaving, stream)
        return appended

    async def emit(self, key: str, payload: bytes, broadcast: Broadcast | None = None) -> Emitted | None:
        if len(payload) > _MAX_EMITTED_BYTES:
            size = len(payload)
            raise BackendError(
                f"GET streams in DynamoDB store at most {_MAX_EMITTED_BYTES} bytes a message, got {size}"
            )
        uri = broadcast.uri if broadcast is not None else ""
        record, uris = await asyncio.gather(self._records.read(key), self._subscriptions(key, uri))
        if record is None:
            return None
        is_subscribed = not uri or uri in uris
        emit = Emit(
            payload=payload,
            broadcast=broadcast,
            is_subscribed=is_subscribed,
            now=self._client.now(),
            ends=record.session.ends,
            policy=self._policy,
        )

        def change(draft: Draft[StreamState]) -> tuple[int, Holder | None, int] | None:
            emitted = emit(draft)
            if emitted is not None:
                event = Event(emitted[0], payload)
                draft.writes += map(Put, event_items(key, GET_STREAM, [event], emit.ends))
            return emitted

        emitted = await self._items.modify(stream_address(key, GET_STREAM), stream_kind, change)
        if emitted is None:
            return None
        seq, holder, oldest = emitted
        await self._drop_before(key, GET_STREAM, oldest)
        return Emitted(seq, holder)

    async def _subscriptions(self, key: str, uri: str) -> frozenset[str]:
        """Return a session's subscriptions, if a message is for subscribers of a URI."""
        item = await self._client.get(subscriptions_address(key)) if uri else None
        return subscriptions_kind.decode(item).uris if item is not None else frozenset()

    async def _drop_before(self, key: str, stream: str, oldest: int) -> None:
        """Delete the events that a log has dropped; they expire with the session if that fails."""
        if oldest:
            try:
                await self._events.delete_before(key, stream, oldest)
            except BackendError as error:
                log_failure("the oldest events of a stream cannot be deleted", error)

    # -- readers -------------------------------------------------------------------------------------

    async def attach(self, key: str, principal: str, stream: str, after: int | None, node: str) -> Attached | None:
        def use(record: SessionRecord, now: float) -> tuple[Session, str | None, list[NumberedEntry]]:
            record.use(now, node)
            entry = HistoryEntry(when=now, what=HistoryEvent.ATTACHED, node=node, stream=stream)
            return record.session, record.node_of(stream), record.number_entries([entry])

        used = await self._records.change(key, use, principal=principal)
        if used is None:
            return None
        session, running, numbered = used
        attach = Attach(
            stream=stream,
            after=after,
            node=node,
            running=running,
            is_get=stream == GET_STREAM,
            now=self._client.now(),
            ends=session.ends,
        )
        state, holder, previous, cursor = await self._items.modify(stream_address(key, stream), stream_kind, attach)
        (events, lost), _ = await asyncio.gather(
            self._events.read(key, stream, cursor, state), self._records.write_history(key, numbered)
        )
        is_over = state.stored_until is not None
        self._bus.wake()
        return Attached(
            session,
            holder,
            previous,
            events,
            cursor,
            is_over,
            lost,
            "" if is_over else running or state.writer,
            state.last_broadcast_number or f"{milliseconds(session.created):015d}-00000",
        )

    async def read(self, key: str, stream: str, after: int, *, epoch: int = 0) -> tuple[tuple[Event, ...], int]:
        record, item = await asyncio.gather(self._records.read(key), self._client.get(stream_address(key, stream)))
        if record is None:
            raise UnknownStream(stream)
        state = stream_kind.decode(item) if item is not None else None
        if state is None or not state.is_stored(self._client.now()):
            if stream != GET_STREAM and record.node_of(stream) is None:
                raise UnknownStream(stream)
            return (), 0
        if 0 < epoch < state.epoch:
            raise HolderChanged(state.epoch)
        if state.stored_until is not None and after >= state.last:
            raise StreamOver(stream)
        return await self._events.read(key, stream, after, state)

    async def checkpoint(
        self, key: str, stream: str, delivered: int, last_broadcast: str = "", *, released_epoch: int = 0
    ) -> None:
        change = Checkpoint(delivered=delivered, last_broadcast=last_broadcast, released_epoch=released_epoch)
        await self._items.modify(stream_address(key, stream), stream_kind, change)

    # -- take-over -----------------------------------------------------------------------------------

    async def claim(self, key: str, stream: str, writer: str, node: str) -> Claimed | None:
        if writer != node and not await self._bus.is_dead(writer, node):
            return None
        # First, so that a sweep finds the stream if this node dies after the claim.
        await self._bus.journal_at_once(node, key, stream)
        try:
            record = await self._records.read(key)
            claimed = await self._resumable_claim(key, stream, writer, node, record) if record is not None else None
        except Unreadable:  # which it stays: no sweep shall find the stream again
            self._strike(writer, node, key, stream)
            raise
        self._strike(writer, node, key, stream)
        return claimed

    def _strike(self, writer: str, node: str, key: str, stream: str) -> None:
        """Remove a stream from the journal of its dead writer."""
        if writer != node:
            self._bus.strike_from_journal(writer, key, stream)

    async def _resumable_claim(
        self, key: str, stream: str, writer: str, node: str, record: SessionRecord
    ) -> Claimed | None:
        claim = key, stream, node
        resumes = claim in self._unfinished
        self._unfinished.discard(claim)
        try:
            return await self._claim(key, stream, writer, node, record, resumes=resumes)
        except BackendError:
            self._unfinished.add(claim)
            raise

    async def _claim(
        self, key: str, stream: str, writer: str, node: str, record: SessionRecord, *, resumes: bool
    ) -> Claimed | None:
        left = [item for item in record.in_flight.values() if item.stream == stream and item.node == writer]
        ends, now = record.session.ends, self._client.now()
        change = Claim(writer=writer, node=node, has_requests=bool(left), ends=ends, now=now, resumes=resumes)
        state = await self._items.modify(stream_address(key, stream), stream_kind, change)
        await self._leave_answered(key, stream, left, state)
        if state is None:
            return None

        def take_over(
            record: SessionRecord, now: float
        ) -> tuple[SessionRecord, list[InFlightRequest], list[tuple[int, HistoryEntry]]]:
            entry = HistoryEntry(when=now, what=HistoryEvent.CLAIMED, node=node, stream=stream)
            return record, record.take_over(stream, node), record.number_entries([entry])

        claimed = await self._records.change(key, take_over)
        if claimed is None:
            return None
        record, requests, numbered = claimed
        whole, _ = await asyncio.gather(
            self._records.bodies.read(key, requests, record.body_parts), self._records.write_history(key, numbered)
        )
        self._running[key, stream] = node
        self._bus.wake()
        return Claimed(record.session, whole, state.last + 1, state.losses)

    async def _leave_answered(
        self, key: str, stream: str, left: Sequence[InFlightRequest], claimed: StreamState | None
    ) -> None:
        """Let requests leave whose writer has died after their answers were stored, and before they left."""
        state = claimed
        if state is None:
            item = await self._client.get(stream_address(key, stream)) if left else None
            state = stream_kind.decode(item) if item is not None else None
        if state is None:
            return
        is_over = state.stored_until is not None
        ids = [request.request_id for request in left if is_over or request.request_id in state.answered]
        if ids:
            await self._records.leave(key, {item: state.answered.get(item, Ending.OK) for item in ids}, stream)

    async def writer(self, key: str, stream: str) -> str:
        item = await self._client.get(stream_address(key, stream))
        return stream_kind.decode(item).writer if item is not None else ""


def _named_state(item: Item) -> tuple[str, StreamState]:
    return item["sk"].removeprefix(STREAM_PREFIX), stream_kind.decode(item)
