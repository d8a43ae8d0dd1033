"""Requests in flight, and the logs of streams."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mcp_transport.backends.base import (
    CANCEL_KEEP_SECONDS,
    NO_ENDINGS,
    Appended,
    Attached,
    Claimed,
    Emitted,
    Event,
    Holder,
    HolderChanged,
    StreamOver,
    StreamRecord,
    UnknownStream,
)
from mcp_transport.backends.redis import codec
from mcp_transport.backends.redis.codec import milliseconds
from mcp_transport.backends.redis.membership import Membership
from mcp_transport.backends.redis.store import SESSION_PARTS, RedisStore
from mcp_transport.domain.history import Ending
from mcp_transport.domain.node_messages import Broadcast
from mcp_transport.domain.session import InFlightRequest
from mcp_transport.exceptions import Unreadable
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["RedisStreams"]

_MAX_CANCELS: Final = 100

# The form in which the store writes the number of a broadcast.
_BROADCAST_NUMBER: Final = re.compile(rb"\d{15}-\d{5,}")


class RedisStreams(RedisStore):
    """Appends to, reads, attaches to and claims streams."""

    # -- calls and streams ---------------------------------------------------------------------------

    async def cancel(self, key: str, principal: str, request_id: RequestId) -> InFlightRequest | None:
        name = codec.encode_id(request_id)
        try:
            arguments = [principal, name, _MAX_CANCELS, milliseconds(CANCEL_KEEP_SECONDS)]
            value = await self._run("cancel", key, ("requests", "cancels", "history"), arguments)
            return codec.decode_request(name, value) if value is not None else None
        except Unreadable as error:
            self._log_unreadable(key, error)
            return None

    async def stream_records(self, key: str) -> tuple[StreamRecord, ...]:
        flat = await self._run("streams", key, ("streams",), [])
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
        leaving: Mapping[RequestId, Ending] = NO_ENDINGS,
    ) -> Appended | None:
        policy = self._policy
        flat = [part for event in events for part in (event.seq, codec.encode_event(event))]
        limits = [self._stream_keep, policy.stream_max_events, policy.stream_max_bytes]
        ends = [policy.session_history, len(leaving), *codec.encode_endings(leaving)]
        arguments = [*limits, stream, writer, holder, int(refills), *ends, *flat]
        reply = await self._run("append", key, ("requests", "streams", "history"), arguments, log=stream)
        if reply is None:
            self._remove_stream(key, stream)
            return None
        match reply:
            case [b"fenced"]:
                self._remove_stream(key, stream)
                return Appended(fenced=True)
            case [b"hole", missing]:
                return Appended(missing=missing)
        if leaving:
            self._remove_stream(key, stream)
        if reply[3]:
            self._counts["errors"][key] = reply[3]
        return Appended(_holder(reply[1], reply[2]))

    async def emit(self, key: str, payload: bytes, broadcast: Broadcast | None = None) -> Emitted | None:
        number, uri = (broadcast.number, broadcast.uri) if broadcast is not None else ("", "")
        limits = [self._policy.stream_max_events, self._policy.stream_max_bytes]
        arguments = [*limits, codec.encode_event(Event(0, payload)), number, uri]
        reply = await self._run("emit", key, ("streams", "subscriptions"), arguments, log=GET_STREAM)
        if reply is None:
            return None
        node, epoch, seq = reply
        return Emitted(seq, _holder(node, epoch))

    async def attach(self, key: str, principal: str, stream: str, after: int | None, node: str) -> Attached | None:
        arguments = [principal, stream, "" if after is None else after, node, self._policy.session_history]
        reply = await self._run("attach", key, SESSION_PARTS, arguments, log=stream)
        if reply is None:
            return None
        match reply:
            case []:
                raise UnknownStream(stream)
            case [_]:
                raise StreamOver(stream)
        attached = _attached(key, node, reply)
        self._record_use(attached.session, node)
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
        keys = self._keys.of_session(key, "streams")
        arguments = [stream, delivered, last_broadcast, released_epoch]
        await self._pipeline().run(self._scripts["checkpoint"], keys, arguments, deferred=True)

    async def claim(self, key: str, stream: str, writer: str, node: str) -> Claimed | None:
        pipeline, member = self._pipeline(), self._members.get(node)
        if writer != node and not await self._is_dead(writer, member):
            return None
        if member is not None:
            # First, so that a sweep finds the stream if this node dies after the claim.
            await member.journal(key, stream)
        arguments = [stream, writer, node, self._policy.session_history]
        reply = await self._run("claim", key, ("requests", "streams", "history"), arguments)
        if writer != node:
            pipeline.post("HDEL", self._keys.journal(writer), f"{key} {stream}")
        if reply is None:
            return None
        if member is not None:
            member.streams.add((key, stream))
        record, raw, following, losses = reply
        requests = tuple(codec.decode_request(*item) for item in codec.pairs(raw))
        return Claimed(codec.decode_session(key, record), requests, following, losses)

    async def _is_dead(self, node: str, member: Membership | None) -> bool:
        """Return whether a node's lease has expired, rather than all leases in an outage or by emptying the store."""
        lease, execute = self._keys.lease(node), self._pipeline().execute
        if member is None:
            return not await execute("EXISTS", lease)
        own_lease = self._keys.lease(member.node)
        while True:
            own, other = await asyncio.gather(execute("EXISTS", own_lease), execute("EXISTS", lease))
            if other:
                return False
            if own and member.may_declare_dead():
                return True
            await member.wait_for_grace(restart=not own)

    async def writer(self, key: str, stream: str) -> str:
        _, streams = self._keys.of_session(key, "streams")
        value = await self._pipeline().execute("HGET", streams, stream)
        return codec.decode_writer(value) if value else ""

    async def journal_at_once(self, node: str, key: str, stream: str) -> None:
        if (member := self._members.get(node)) is not None:
            await member.journal(key, stream)


@codec.strict
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
