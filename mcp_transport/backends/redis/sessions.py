"""The store of sessions, their requests in flight, and the state that tools keep in them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from mcp_transport.backends.codec import decode_id, encode_id, milliseconds
from mcp_transport.backends.contracts import CANCEL_KEEP_SECONDS, MAX_CANCELS, SessionStore
from mcp_transport.backends.membership import RunningStreams
from mcp_transport.backends.redis import codec
from mcp_transport.backends.redis.client import SESSION_PARTS, RedisClient
from mcp_transport.backends.redis.pending import IndexChanges
from mcp_transport.backends.redis.rates import bucket_arguments, bucket_keys
from mcp_transport.backends.redis.session_index import SessionIndexWriter
from mcp_transport.backends.results import Closing, Entered, NoRoom, RateLimited
from mcp_transport.domain.history import Endings, HistoryEntry
from mcp_transport.domain.rate_limit import Charge
from mcp_transport.domain.session import InFlightRequest, Session, short_id
from mcp_transport.exceptions import Unreadable
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.protocol.idempotency import is_keyed
from mcp_transport.protocol.jsonrpc import RequestId
from mcp_transport.supervision import attempt, log_failure, result_of

__all__ = ["RedisSessionStore"]

# After so many searches among the least recently used sessions (31 or more each) without an idle one, give up.
_MAX_IDLE_SEARCHES: Final = 8
# How far apart the clocks of a Cluster's servers may be; session ids also round to whole seconds.
_MAX_CLOCK_SKEW_MILLISECONDS: Final = 2000

# Notes that wait for the next heartbeat.
_MAX_NOTES: Final = 100

_BAD_INDEX: Final = "a session cannot be added to an index"

_CANCEL_KEEP: Final = milliseconds(CANCEL_KEEP_SECONDS)


class RedisSessionStore(SessionStore):
    """Opens, enters, changes and closes sessions."""

    shares_sessions = True

    def __init__(
        self, client: RedisClient, changes: IndexChanges, running: RunningStreams, index: SessionIndexWriter
    ) -> None:
        self._client, self._changes, self._running, self._index = client, changes, running, index
        self._run = client.run_in_session
        self.restores_sessions = client.policy.rehydrate
        self.charges_at_entry = not client.is_cluster  # a script there changes keys of one session only

    async def ping(self) -> None:
        await self._client.execute("EXISTS", self._client.keys.store_created_at)

    async def disconnect(self) -> None:
        await self._client.disconnect()

    async def open(self, session: Session) -> tuple[str, ...]:
        # Futures, and no coroutines, which would be one more task each.
        replies = await asyncio.gather(
            self._store(session, created=""),
            self._index.admit(session),
            self._index.add(session, self._client.keys.sessions),
            self._client.store_times(),
            return_exceptions=True,
        )
        created, admitted, added, times = replies
        if isinstance(created, BaseException):
            raise created
        if isinstance(times, BaseException):
            raise times
        excess, keys = result_of(_BAD_INDEX, admitted, (0, []))
        result_of(_BAD_INDEX, added, 0)
        idle = await self._evict_idle(session, keys) if excess else ()
        # By Redis's clock, like the record; None means that the record already existed.
        self._changes.opened[session.key] = session if created is None else replace(session, created=created / 1000)
        return idle

    async def _evict_idle(self, session: Session, idlest: Sequence[bytes]) -> tuple[str, ...]:
        """Replace idle sessions of the caller by a new one; return the idle ones. Raises: NoRoom."""
        checked, searches = set[bytes](), 0
        while searches < _MAX_IDLE_SEARCHES and not checked.issuperset(idlest):
            # The index is as old as the last heartbeat, and does not contain requests in flight.
            parts = ("requests", "streams")
            replies = await asyncio.gather(*(self._run("summary", key.decode(), parts) for key in idlest))
            ended = [key for key, reply in zip(idlest, replies, strict=True) if reply is None]
            busy = [key for key, reply in zip(idlest, replies, strict=True) if reply is not None and reply[1]]
            idle = [key for key in idlest if key not in ended and key not in busy]
            admitted = self._index.admit(session, leaving=[*ended, *idle], busy=busy)
            excess, idlest = await attempt(_BAD_INDEX, admitted, (0, []))
            if not excess:
                return tuple(key.decode() for key in idlest if key in idle)
            checked.update(busy)
            searches += not ended and not idle  # otherwise another node was faster: not counted
        keys, execute = self._client.keys, self._client.execute
        record = keys.of_session(session.key)
        await asyncio.gather(execute("DEL", record), execute("ZREM", keys.sessions, session.key))
        raise NoRoom

    async def restore(self, session: Session) -> bool:
        if not self.restores_sessions:
            return False
        store_created_at, now = await self._client.store_times()
        created = milliseconds(session.created)
        # A session from before the store was last emptied was lost with it, and a recent one cannot have expired.
        # Any other has expired, since it was not used; but one of another region was used there.
        was_stored = created + _MAX_CLOCK_SKEW_MILLISECONDS >= store_created_at
        is_ours = session.region == self._client.policy.region
        if is_ours and was_stored and now >= created + self._client.ttl:
            return False
        session = replace(session, region=self._client.policy.region)
        if await self._store(session, created=created) is None:
            # The session was closed; or another node was faster, and then it exists.
            return await self.get(session.key) is not None
        indexes = (self._client.keys.sessions_of(session.caller), self._client.keys.sessions)
        await asyncio.gather(*(attempt(_BAD_INDEX, self._index.add(session, index), 0) for index in indexes))
        self._changes.opened[session.key] = session
        return True

    async def enter(
        self, key: str, principal: str, node: str, requests: Sequence[InFlightRequest] = ()
    ) -> Entered | None:
        return await self.enter_charged(key, principal, node, requests, ())

    async def enter_charged(
        self, key: str, principal: str, node: str, requests: Sequence[InFlightRequest], charges: Sequence[Charge]
    ) -> Entered | None:
        flat = [part for item in requests for part in (encode_id(item.request_id), codec.encode_request(item))]
        keyed_stream = requests[0].stream if requests and is_keyed(requests[0].stream) else ""
        arguments = [principal, node, _CANCEL_KEEP, self._client.stream_keep, keyed_stream, *flat]
        buckets: Sequence[str] = ()
        if charges:
            buckets = bucket_keys(self._client, charges)
            arguments += bucket_arguments(charges)
        reply = await self._run("enter", key, SESSION_PARTS, arguments, buckets=buckets)
        if reply is None:
            return None
        if len(reply) == 2:
            raise RateLimited(reply[0] - 1, float(reply[1]) / 1000)
        record, raw, cancelled, digest = reply
        self._changes.used[key] = session = codec.decode_session(key, record)
        if digest:
            return Entered(session, ended_digest=codec.decode_digest(*digest))
        running = codec.decode_requests(raw)
        for request in requests if not running else ():
            self._running[key, request.stream] = node
        return Entered(session, running, frozenset(map(decode_id, cancelled)))

    async def flush(self) -> None:
        await self._client.batcher.flush()

    async def leave(self, key: str, endings: Endings, *, stream: str = "") -> bool:
        self._running.pop((key, stream), None)
        arguments = [stream, self._client.policy.session_history, *codec.encode_endings(endings)]
        parts = ("requests", "history", "streams")
        errors, is_held = await self._run("leave", key, parts, arguments, deferred=True)
        if errors:
            self._changes.errors[key] = errors
        return bool(is_held)

    async def cancel(self, key: str, principal: str, request_id: RequestId) -> InFlightRequest | None:
        name = encode_id(request_id)
        try:
            arguments = [principal, name, MAX_CANCELS, _CANCEL_KEEP]
            parts = ("requests", "cancels", "history")
            value = await self._run("cancel", key, parts, arguments)
            return codec.decode_request(name, value) if value is not None else None
        except Unreadable as error:
            _log_unreadable(key, error)
            return None

    async def history(self, key: str) -> tuple[HistoryEntry, ...]:
        reply = await self._run("history", key, ("history",), [self._client.policy.session_history])
        return codec.decode_history(*reply) if reply is not None else ()

    async def note(self, key: str, principal: str, entry: HistoryEntry) -> None:
        if entry.request_id is not None and len(self._changes.notes) < _MAX_NOTES:
            arguments = [principal, self._client.policy.session_history, *codec.encode_note(entry)]
            self._changes.notes.append((key, arguments))

    async def update(self, key: str, **changes: Any) -> None:
        if changes.get("initialized"):
            self._changes.initialized.add(key)
        await self._run("update", key, (), codec.encode_changes(changes))

    async def subscribe(self, key: str, uri: str, subscribed: bool, limit: int, max_bytes: int) -> bool:
        arguments = [uri, int(subscribed), limit, max_bytes]
        return bool(await self._run("subscribe", key, ("subscriptions",), arguments))

    async def subscriptions(self, key: str) -> frozenset[str]:
        return frozenset(codec.decode_names(await self._run("subscriptions", key, ("subscriptions",))))

    async def touch(self, key: str, stream: str = "") -> bool:
        reply = await self._run("touch", key, SESSION_PARTS, [stream], log=stream or GET_STREAM)
        if reply is not None:
            self._changes.touched[key] = codec.decode_caller(*reply[0]), reply[1]
        return reply is not None

    async def close(self, key: str, principal: str | None) -> Closing | None:
        arguments = [int(principal is None), principal or "", int(self.restores_sessions)]
        reply = await self._run("close", key, SESSION_PARTS, arguments)
        if reply is None:
            return None
        session = codec.decode_session(key, reply[0])
        nodes, streams = codec.decode_parts(reply[1], reply[2])
        # Deferred, since the remaining keys expire by themselves.
        self._index.remove_deferred(session)
        for stream in streams:
            self._client.batcher.post("UNLINK", self._client.keys.log(key, stream))
        return Closing(session, nodes)

    def forget(self, key: str) -> None:
        for item in list(self._running):
            if item[0] == key:
                self._running.pop(item, None)

    async def get(self, key: str) -> Session | None:
        return (await self._load(key))[0]

    async def in_flight(self, key: str) -> tuple[InFlightRequest, ...]:
        return (await self._load(key))[1]

    async def _load(self, key: str) -> tuple[Session | None, tuple[InFlightRequest, ...]]:
        try:
            reply = await self._run("get", key, ("requests",))
            if reply is None:
                return None, ()
            return codec.decode_session(key, reply[0]), codec.decode_requests(reply[1])
        except Unreadable as error:
            _log_unreadable(key, error)
            return None, ()

    # -- session state of tools ----------------------------------------------------------------------

    async def read_state(self, key: str) -> dict[str, bytes]:
        return codec.decode_state(await self._run("read_state", key, ("state",)))

    async def write_state(self, key: str, name: str, value: bytes | None) -> bool:
        arguments: list[Any] = [name] if value is None else [name, value]
        return bool(await self._run("write_state", key, ("state",), arguments))

    def _store(self, session: Session, *, created: int | str) -> asyncio.Future[Any]:
        lifetime = milliseconds(session.ends - session.created)
        return self._run("open", session.key, (), [created, lifetime, *codec.encode_members(session)])


def _log_unreadable(key: str, error: Unreadable) -> None:
    """Log why a session counts as unknown from now on."""
    log_failure(f"session {short_id(key)} cannot be read, and is unknown", error)
