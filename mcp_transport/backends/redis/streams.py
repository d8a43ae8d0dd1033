"""The logs of streams."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from mcp_transport.backends.codec import milliseconds, strict
from mcp_transport.backends.contracts import StreamLog
from mcp_transport.backends.membership import RunningStreams
from mcp_transport.backends.records import StreamRecord
from mcp_transport.backends.redis import codec
from mcp_transport.backends.redis.client import SESSION_PARTS, RedisClient
from mcp_transport.backends.redis.node_bus import RedisNodeBus
from mcp_transport.backends.redis.pending import IndexChanges
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
from mcp_transport.domain.history import NO_ENDINGS, Endings
from mcp_transport.domain.node_messages import Broadcast
from mcp_transport.protocol.cursor import GET_STREAM

__all__ = ["RedisStreamLog"]

# The form in which the store writes the number of a broadcast.
_BROADCAST_NUMBER: Final = re.compile(rb"\d{15}-\d{5,}")


class RedisStreamLog(StreamLog):
    """Appends to, reads, attaches to and claims streams."""

    shares_streams = True
    keeps_answers = True

    def __init__(
        self, client: RedisClient, changes: IndexChanges, running: RunningStreams, bus: RedisNodeBus
    ) -> None:
        self._client, self._changes, self._running, self._bus = client, changes, running, bus
        self._run = client.run_in_session

    async def stream_records(self, key: str) -> tuple[StreamRecord, ...]:
        flat = await self._run("streams", key, ("streams",))
        return codec.decode_streams(flat) if flat is not None else ()

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
        policy = self._client.policy
        flat = [part for event in events for part in (event.seq, codec.encode_event(event))]
        limits = [self._client.stream_keep, policy.stream_max_events, policy.stream_max_bytes]
        ends = [policy.session_history, len(leaving), *codec.encode_endings(leaving)]
        arguments = [*limits, stream, writer, holder, int(refills), *ends, *flat]
        reply = await self._run("append", key, ("requests", "streams", "history"), arguments, log=stream)
        if reply is None:
            self._running.pop((key, stream), None)
            return None
        match reply:
            case [b"fenced"]:
                self._running.pop((key, stream), None)
                return Appended(fenced=True)
            case [b"hole", missing]:
                return Appended(missing=missing)
        if leaving:
            self._running.pop((key, stream), None)
        if reply[3]:
            self._changes.errors[key] = reply[3]
        return Appended(_holder(reply[1], reply[2]))

    async def emit(self, key: str, payload: bytes, broadcast: Broadcast | None = None) -> Emitted | None:
        number, uri = (broadcast.number, broadcast.uri) if broadcast is not None else ("", "")
        limits = [self._client.policy.stream_max_events, self._client.policy.stream_max_bytes]
        arguments = [*limits, codec.encode_event(Event(0, payload)), number, uri]
        reply = await self._run("emit", key, ("streams", "subscriptions"), arguments, log=GET_STREAM)
        if reply is None:
            return None
        node, epoch, seq = reply
        return Emitted(seq, _holder(node, epoch))

    async def attach(self, key: str, principal: str, stream: str, after: int | None, node: str) -> Attached | None:
        policy = self._client.policy
        arguments = [principal, stream, "" if after is None else after, node, policy.session_history]
        arguments.append(int(bool(policy.region)))
        reply = await self._run("attach", key, SESSION_PARTS, arguments, log=stream)
        if reply is None:
            return None
        match reply:
            case []:
                raise UnknownStream(stream)
            case [_]:
                raise StreamOver(stream)
        attached = _attached(key, node, reply)
        self._changes.used[key] = attached.session
        return attached

    async def read(self, key: str, stream: str, after: int, *, epoch: int = 0) -> tuple[tuple[Event, ...], int]:
        reply = await self._run("read", key, ("requests", "streams"), [stream, after, epoch], log=stream)
        if reply is None:
            raise UnknownStream(stream)
        match reply:
            case []:
                raise StreamOver(stream)
            case [later]:
                raise HolderChanged(later)
        lost, events = reply
        return codec.decode_events(events), lost

    async def checkpoint(
        self, key: str, stream: str, delivered: int, last_broadcast: str = "", *, released_epoch: int = 0
    ) -> None:
        arguments = [stream, delivered, last_broadcast, released_epoch]
        await self._run("checkpoint", key, ("streams",), arguments, deferred=True)

    async def claim(self, key: str, stream: str, writer: str, node: str) -> Claimed | None:
        if writer != node and not await self._bus.is_dead(writer, node):
            return None
        # First, so that a sweep finds the stream if this node dies after the claim.
        await self._bus.journal_at_once(node, key, stream)
        arguments = [stream, writer, node, self._client.policy.session_history]
        reply = await self._run("claim", key, ("requests", "streams", "history"), arguments)
        if writer != node:
            self._bus.strike_from_journal(writer, key, stream)
        if reply is None:
            return None
        self._running[key, stream] = node
        record, raw, following, losses = reply
        return Claimed(codec.decode_session(key, record), codec.decode_requests(raw), following, losses)

    async def writer(self, key: str, stream: str) -> str:
        value = await self._client.execute("HGET", self._client.keys.of_session(key, "streams"), stream)
        return codec.decode_writer(value) if value else ""


@strict
def _attached(key: str, node: str, reply: Sequence[Any]) -> Attached:
    record, epoch, held_by, held_since, cursor, ended, lost, writer, number, events = reply
    session = codec.decode_session(key, record)
    return Attached(
        session,
        Holder(node, epoch),
        _holder(held_by, held_since),
        codec.decode_events(events),
        int(cursor),
        bool(ended),
        lost,
        writer.decode(),
        number.decode() if _BROADCAST_NUMBER.fullmatch(number) else f"{milliseconds(session.created):015d}-00000",
    )


def _holder(node: bytes, epoch: int) -> Holder | None:
    return Holder(node.decode(), epoch) if node else None
