"""Running calls, and the logs of streams."""

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
from mcp_transport.backends.redis.store import BESIDE, RedisStore
from mcp_transport.domain.history import Ending
from mcp_transport.domain.node_messages import Broadcast
from mcp_transport.domain.session import InFlightRequest
from mcp_transport.exceptions import Unreadable
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["RedisStreams"]

_MAX_CANCELS: Final = 100

# How the store writes the number of a broadcast.
_NUMBER: Final = re.compile(rb"\d{15}-\d{5,}")


class RedisStreams(RedisStore):
    """Appends to, reads and hands over streams."""

    # -- calls and streams ---------------------------------------------------------------------------

    async def cancel(self, key: str, principal: str, request_id: RequestId) -> InFlightRequest | None:
        name = codec.encode_id(request_id)
        try:
            arguments = [principal, name, _MAX_CANCELS, milliseconds(CANCEL_KEEP_SECONDS)]
            found = await self._run("cancel", key, ("flights", "cancels", "history"), arguments)
            return codec.decode_flight(name, found) if found is not None else None
        except Unreadable as error:
            self._log_unreadable(key, error)
            return None

    async def streams(self, key: str) -> tuple[StreamRecord, ...]:
        found = await self._run("streams", key, ("streams",), [])
        return codec.decode_streams(found) if found is not None else ()

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
        words = [word for event in events for word in (event.seq, codec.encode_event(event))]
        bounds = [self._keep, policy.stream_max_events, policy.stream_max_bytes]
        ends = [policy.session_history, len(leaving), *codec.encode_endings(leaving)]
        arguments = [*bounds, stream, writer, holder, int(refills), *ends, *words]
        found = await self._run("append", key, ("flights", "streams", "history"), arguments, log=stream)
        if found is None:
            self._over(key, stream)
            return None
        match found:
            case [b"fenced"]:
                self._over(key, stream)
                return Appended(fenced=True)
            case [b"hole", missing]:
                return Appended(missing=missing)
        if leaving:
            self._over(key, stream)
        if found[3]:
            self._counts["errors"][key] = found[3]
        return Appended(_holder(found[1], found[2]))

    async def emit(self, key: str, payload: bytes, broadcast: Broadcast | None = None) -> Emitted | None:
        number, uri = (broadcast.number, broadcast.uri) if broadcast is not None else ("", "")
        bounds = [self._policy.stream_max_events, self._policy.stream_max_bytes]
        arguments = [*bounds, codec.encode_event(Event(0, payload)), number, uri]
        found = await self._run("emit", key, ("streams", "subscriptions"), arguments, log=GET_STREAM)
        if found is None:
            return None
        node, epoch, seq = found
        return Emitted(seq, _holder(node, epoch))

    async def attach(self, key: str, principal: str, stream: str, after: int | None, node: str) -> Attached | None:
        arguments = [principal, stream, "" if after is None else after, node, self._policy.session_history]
        found = await self._run("attach", key, BESIDE, arguments, log=stream)
        if found is None:
            return None
        match found:
            case []:
                raise UnknownStream(stream)
            case [_]:
                raise StreamOver(stream)
        attached = _attached(key, node, found)
        self._seen(attached.session, node)
        return attached

    async def read(self, key: str, stream: str, after: int, *, epoch: int = 0) -> tuple[tuple[Event, ...], int]:
        found = await self._run("read", key, ("flights", "streams"), [stream, after, epoch], log=stream)
        if found is None:
            raise UnknownStream(stream)
        match found:
            case []:
                raise StreamOver(stream)
            case [later]:
                raise HolderChanged(later)
        lost, events = found
        return codec.decode_events(events), lost

    async def checkpoint(
        self, key: str, stream: str, delivered: int, last_broadcast: str = "", *, released_epoch: int = 0
    ) -> None:
        keys = self._keys.of_session(key, "streams")
        arguments = [stream, delivered, last_broadcast, released_epoch]
        await self._pipeline().run(self._scripts["mark"], keys, arguments, behind=True)

    async def claim(self, key: str, stream: str, writer: str, node: str) -> Claimed | None:
        pipeline, member = self._pipeline(), self._members.get(node)
        if writer != node and not await self._is_dead(writer, member):
            return None
        if member is not None:
            # First, so that whoever looks after this node's death finds what it had taken over.
            await member.note(key, stream)
        arguments = [stream, writer, node, self._policy.session_history]
        found = await self._run("claim", key, ("flights", "streams", "history"), arguments)
        if writer != node:
            pipeline.post("HDEL", self._keys.own(writer), f"{key} {stream}")
        if found is None:
            return None
        if member is not None:
            member.streams.add((key, stream))
        record, flights, following, losses = found
        requests = tuple(codec.decode_flight(*item) for item in codec.pairs(flights))
        return Claimed(codec.decode_session(key, record), requests, following, losses)

    async def _is_dead(self, node: str, judge: Membership | None) -> bool:
        """Tell whether a node's lease is over, and not because the store was away or emptied for everybody."""
        lease, execute = self._keys.lease(node), self._pipeline().execute
        if judge is None:
            return not await execute("EXISTS", lease)
        while True:
            own, other = await asyncio.gather(
                execute("EXISTS", self._keys.lease(judge.node)), execute("EXISTS", lease)
            )
            if other:
                return False
            if own and judge.may_judge():
                return True
            await judge.be_patient(anew=not own)

    async def writer(self, key: str, stream: str) -> str:
        _, streams = self._keys.of_session(key, "streams")
        found = await self._pipeline().execute("HGET", streams, stream)
        return codec.decode_writer(found) if found else ""

    async def journal_at_once(self, node: str, key: str, stream: str) -> None:
        if (member := self._members.get(node)) is not None:
            await member.note(key, stream)


@codec.strict
def _attached(key: str, node: str, found: Sequence[Any]) -> Attached:
    record, epoch, held_by, held_since, cursor, ended, lost, writer, heard, events = found
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
        heard.decode() if _NUMBER.fullmatch(heard) else f"{milliseconds(session.created):015d}-00000",
    )


def _holder(node: bytes, epoch: int) -> Holder | None:
    return Holder(node.decode(), epoch) if node else None
