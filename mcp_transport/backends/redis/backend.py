"""Sessions, streams and messages between nodes, in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import orjson

from mcp_transport.backends.base import (
    Appended,
    Attached,
    Backend,
    Claimed,
    Closing,
    Deliver,
    Entered,
    Event,
    Holder,
    NodeRecord,
    Page,
)
from mcp_transport.backends.redis import codec, membership
from mcp_transport.backends.redis.codec import milliseconds
from mcp_transport.backends.redis.connection import connect, describe, key_prefix
from mcp_transport.backends.redis.keys import Keys
from mcp_transport.backends.redis.membership import Membership
from mcp_transport.backends.redis.pipeline import Pipeline
from mcp_transport.backends.redis.scripts import load_scripts
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.protocol.inbox import Broadcast, NodeMessage
from mcp_transport.protocol.jsonrpc import RequestId
from mcp_transport.protocol.policy import Policy
from mcp_transport.protocol.session import Flight, Session

__all__ = ["RedisBackend"]

# How long a cancellation waits for a request that a load balancer may still be carrying; milliseconds.
_CANCEL_KEEP: Final = 30_000
_MAX_CANCELS: Final = 100

# Broadcasts that are kept for sessions no node holds.
_MAX_BROADCASTS: Final = 1000

_ALL: Final = ("flights", "streams", "cancels", "state")


class RedisBackend(Backend):
    """Everything in one Redis, Sentinel group or Cluster; `cache` is the Django cache alias that says where."""

    supports_listing = True
    shares_sessions = True
    shares_streams = True

    def __init__(self, policy: Policy, cache: Mapping[str, Any], *, cluster: bool | None = None) -> None:
        self._policy, self._cache, self._cluster = policy, cache, cluster
        self._name = describe(cache)
        self._keys = Keys(key_prefix(cache))
        self._scripts = load_scripts()
        self._ttl = milliseconds(policy.session_ttl)
        self._keep = milliseconds(policy.stream_keep)
        self.restores_sessions = policy.rehydrate
        # Clients belong to an event loop; a process may serve from several.
        self._pipelines: dict[asyncio.AbstractEventLoop, Pipeline] = {}
        self._members: dict[str, Membership] = {}
        # When sessions were last used here, by index and key.
        self._used: dict[tuple[str, str], int] = {}

    # -- nodes ---------------------------------------------------------------------------------------

    async def start(self, node: str, deliver: Deliver) -> None:
        member = Membership(
            node,
            deliver,
            pipeline=self._pipeline(),
            inbox=connect(self._cache, blocking=self._policy.lease / 3, cluster=self._cluster),
            keys=self._keys,
            scripts=self._scripts,
            lease=self._policy.lease,
            with_beat=self._write_use,
        )
        try:
            await member.start()
        except BaseException:
            await member.stop()
            raise
        self._members[node] = member

    async def stop(self, node: str) -> None:
        member = self._members.pop(node, None)
        if member is not None:
            await member.stop()
            with suppress(BackendError):
                await self._write_use()

    async def disconnect(self) -> None:
        pipeline = self._pipelines.pop(asyncio.get_running_loop(), None)
        if pipeline is not None:
            await pipeline.close()

    async def ping(self) -> None:
        await self._pipeline().execute("EXISTS", self._keys.born)

    async def retire(self, node: str) -> None:
        if (member := self._members.get(node)) is not None:
            await member.retire()

    async def nodes(self) -> tuple[NodeRecord, ...]:
        execute = self._pipeline().execute
        names = [name.decode() for name in await execute("ZRANGE", self._keys.nodes, 0, -1)]
        leases = await asyncio.gather(*(execute("GET", self._keys.lease(name)) for name in names))
        return tuple(
            NodeRecord(name, **orjson.loads(lease)) for name, lease in zip(names, leases, strict=True) if lease
        )

    def is_in_doubt(self, node: str) -> bool:
        member = self._members.get(node)
        return member is not None and member.is_in_doubt()

    async def send(self, node: str, message: NodeMessage) -> bool:
        if (member := self._members.get(node)) is not None:
            member.receive(message)
            return True
        return await membership.send(self._pipeline(), self._scripts, self._keys, node, message)

    async def broadcast(self, message: Broadcast) -> None:
        arguments = [self._keep, _MAX_BROADCASTS, message.method, message.uri]
        run = self._pipeline().run(self._scripts["broadcast"], [self._keys.bus], arguments)
        number, nodes = await asyncio.gather(run, self._pipeline().execute("ZRANGE", self._keys.nodes, 0, -1))
        numbered = Broadcast(message.method, message.uri, _number(number))
        sent = [self.send(name.decode(), numbered) for name in nodes]
        # A node that cannot be told finds the broadcast when one of its streams is opened again.
        await asyncio.gather(*sent, return_exceptions=True)

    async def broadcasts(self, after: str) -> tuple[Broadcast, ...]:
        start = f"({_short(after)}" if after else "-"
        found = await self._pipeline().execute("XRANGE", self._keys.bus, start, "+")
        return tuple(_broadcast(number, members) for number, members in found)

    # -- sessions ------------------------------------------------------------------------------------

    async def open(self, session: Session) -> tuple[str, ...]:
        _, over, _ = await asyncio.gather(
            self._store(session, created=""),
            self._index(self._keys.owned(session.principal), session, self._policy.max_sessions_per_principal),
            self._index(self._keys.sessions, session),
        )
        if not over[0]:
            return ()
        # The index is as old as the last beat: what it takes for idle is looked at.
        candidates = [key.decode() for key in over[1] if key.decode() != session.key]
        found = await asyncio.gather(*(self._look(key) for key in candidates))
        idle = [key for key, (known, flights) in zip(candidates, found, strict=True) if known and not flights]
        gone = [key for key, (known, _) in zip(candidates, found, strict=True) if not known]
        if gone:
            await self._pipeline().execute("ZREM", self._keys.owned(session.principal), *gone)
        return tuple(idle[: max(0, over[0] - len(gone))])

    async def restore(self, session: Session) -> bool:
        if not self.restores_sessions:
            return False
        born, now = await self._pipeline().run(self._scripts["born"], [self._keys.born], [])
        created = milliseconds(session.created)
        # What began before this store was emptied was lost with it; what began a moment ago cannot have expired.
        # Anything else expired because nobody used it.
        if created >= born and now >= created + self._ttl:
            return False
        stored, *_ = await asyncio.gather(
            self._store(session, created=created),
            self._index(self._keys.owned(session.principal), session),
            self._index(self._keys.sessions, session),
        )
        return stored is not None

    async def enter(self, key: str, principal: str, node: str, flights: Sequence[Flight] = ()) -> Entered | None:
        words = [word for item in flights for word in (codec.encode_id(item.request_id), codec.encode_flight(item))]
        arguments = [principal, node, _CANCEL_KEEP, self._keep, *words]
        found = await self._run("enter", key, _ALL, arguments)
        if found is None:
            return None
        record, running, cancelled = found
        session = self._seen(codec.decode_session(key, record))
        if flights and not running and (member := self._members.get(node)) is not None:
            member.streams.update((key, item.stream) for item in flights)
        return Entered(
            session,
            tuple(codec.decode_flight(*item) for item in codec.pairs(running)),
            frozenset(codec.decode_id(item) for item in cancelled),
        )

    async def leave(self, key: str, request_ids: Sequence[RequestId], errors: int = 0, *, stream: str = "") -> bool:
        self._over(key, stream)
        arguments = [stream, errors, *map(codec.encode_id, request_ids)]
        keys = self._keys.of_session(key, "flights")
        return bool(await self._pipeline().run(self._scripts["leave"], keys, arguments))

    async def update(self, key: str, **changes: Any) -> None:
        await self._run("update", key, (), codec.encode_changes(changes))

    async def subscribe(self, key: str, uri: str, wanted: bool, limit: int) -> bool:
        return bool(await self._run("subscribe", key, (), [uri, int(wanted), limit]))

    async def touch(self, key: str, stream: str = "") -> bool:
        found = await self._run("touch", key, _ALL, [stream], log=stream or GET_STREAM)
        if found is not None:
            self._note_use(key, found[0].decode(), found[1])
        return found is not None

    async def close(self, key: str, principal: str | None) -> Closing | None:
        arguments = [int(principal is None), principal or "", int(self.restores_sessions)]
        found = await self._run("close", key, _ALL, arguments)
        if found is None:
            return None
        session = codec.decode_session(key, found[0])
        nodes, streams = codec.decode_parts(found[1], found[2])
        execute = self._pipeline().execute
        with suppress(BackendError):  # what is left of it expires by itself
            await asyncio.gather(
                execute("ZREM", self._keys.owned(session.principal), key),
                execute("ZREM", self._keys.sessions, key),
                *(execute("UNLINK", self._keys.log(key, stream)) for stream in streams),
            )
        return Closing(session, nodes)

    async def get(self, key: str) -> Session | None:
        return (await self._look(key))[0]

    async def flights(self, key: str) -> tuple[Flight, ...]:
        return (await self._look(key))[1]

    async def sessions(self, offset: int = 0, limit: int = 100) -> Page:
        await self._write_use()
        while True:
            arguments = [self._ttl, offset, limit]
            keys, total = await self._pipeline().run(self._scripts["page"], [self._keys.sessions], arguments)
            found = [(key, await self.get(key.decode())) for key in keys]
            gone = [key for key, session in found if session is None]
            if not gone:
                return Page(tuple(session for _, session in found if session is not None), total)
            await self._pipeline().execute("ZREM", self._keys.sessions, *gone)

    # -- the state that tools keep -------------------------------------------------------------------

    async def read_state(self, key: str) -> dict[str, bytes]:
        found = await self._run("read_state", key, ("state",), [])
        return {name.decode(): value for name, value in codec.pairs(found)}

    async def write_state(self, key: str, name: str, value: bytes | None) -> bool:
        arguments: list[Any] = [name] if value is None else [name, value]
        return bool(await self._run("write_state", key, ("state",), arguments))

    # -- calls and streams ---------------------------------------------------------------------------

    async def cancel(self, key: str, principal: str, request_id: RequestId) -> Flight | None:
        name = codec.encode_id(request_id)
        found = await self._run("cancel", key, ("flights", "cancels"), [principal, name, _MAX_CANCELS])
        return codec.decode_flight(name, found) if found is not None else None

    async def append(
        self,
        key: str,
        stream: str,
        events: Sequence[Event],
        *,
        writer: str = "",
        holder: str = "",
        refills: bool = False,
        leaving: Sequence[RequestId] = (),
        errors: int = 0,
    ) -> Appended | None:
        policy = self._policy
        ids = [codec.encode_id(request_id) for request_id in leaving]
        words = [word for event in events for word in (event.seq, codec.encode_event(event))]
        bounds = [self._keep, policy.stream_max_events, policy.stream_max_bytes]
        arguments = [*bounds, stream, writer, holder, int(refills), errors, len(ids), *ids, *words]
        found = await self._run("append", key, ("flights", "streams"), arguments, log=stream)
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
        return Appended(_holder(found[1], found[2]))

    async def emit(self, key: str, payload: bytes, broadcast: Broadcast | None = None) -> Holder | None:
        number, uri = (broadcast.number, broadcast.uri) if broadcast is not None else ("", "")
        bounds = [self._policy.stream_max_events, self._policy.stream_max_bytes]
        arguments = [*bounds, codec.encode_event(Event(0, payload)), number, uri]
        found = await self._run("emit", key, ("streams",), arguments, log=GET_STREAM)
        return _holder(*found) if found is not None else None

    async def attach(self, key: str, principal: str, stream: str, after: int | None, node: str) -> Attached | None:
        arguments = [principal, stream, "" if after is None else after, node]
        found = await self._run("attach", key, _ALL, arguments, log=stream)
        if found is None:
            return None
        if not found:
            raise LookupError(stream)
        record, epoch, held_by, held_since, cursor, ended, lost, writer, heard, events = found
        session = self._seen(codec.decode_session(key, record))
        return Attached(
            session,
            Holder(node, epoch),
            _holder(held_by, held_since),
            codec.decode_events(events),
            int(cursor),
            bool(ended),
            lost,
            writer.decode(),
            heard.decode() or f"{milliseconds(session.created):015d}-00000",
        )

    async def read(self, key: str, stream: str, after: int) -> tuple[tuple[Event, ...], int]:
        found = await self._run("read", key, ("flights", "streams"), [stream, after], log=stream)
        if found is None:
            raise LookupError(stream)
        lost, events = found
        return codec.decode_events(events), lost

    async def mark(self, key: str, stream: str, delivered: int) -> None:
        keys = self._keys.of_session(key, "streams")
        await self._pipeline().run(self._scripts["mark"], keys, [stream, delivered])

    async def claim(self, key: str, stream: str, writer: str, node: str) -> Claimed | None:
        pipeline = self._pipeline()
        if await pipeline.execute("EXISTS", self._keys.lease(writer)):
            return None
        found = await self._run("claim", key, ("flights", "streams"), [stream, writer, node])
        if found is not None and (member := self._members.get(node)) is not None:
            await member.note(key, stream)
            member.streams.add((key, stream))
        await pipeline.execute("HDEL", self._keys.own(writer), f"{key} {stream}")
        if found is None:
            return None
        record, flights, following = found
        taken = tuple(codec.decode_flight(*item) for item in codec.pairs(flights))
        return Claimed(codec.decode_session(key, record), taken, following)

    async def watch(self, node: str, key: str, stream: str) -> None:
        if (member := self._members.get(node)) is not None:
            await member.note(key, stream)

    # -- inside --------------------------------------------------------------------------------------

    def _pipeline(self) -> Pipeline:
        loop = asyncio.get_running_loop()
        if loop not in self._pipelines:
            self._pipelines = {known: item for known, item in self._pipelines.items() if not known.is_closed()}
            self._pipelines[loop] = Pipeline(connect(self._cache, cluster=self._cluster), self._name)
        return self._pipelines[loop]

    async def _run(
        self, script: str, key: str, parts: Sequence[str], arguments: Sequence[Any], *, log: str = ""
    ) -> Any:
        """Run a script on a session: its record, the named parts beside it and, at the end, a stream's log."""
        keys = self._keys.of_session(key, *parts)
        if log:
            keys.append(self._keys.log(key, log))
        return await self._pipeline().run(self._scripts[script], keys, [self._ttl, *arguments])

    async def _look(self, key: str) -> tuple[Session | None, tuple[Flight, ...]]:
        found = await self._run("get", key, ("flights",), [])
        if found is None:
            return None, ()
        flights = tuple(codec.decode_flight(*item) for item in codec.pairs(found[1]))
        return codec.decode_session(key, found[0]), flights

    async def _store(self, session: Session, *, created: int | str) -> Any:
        lifetime = milliseconds(session.ends - session.created)
        return await self._run("open", session.key, (), [created, lifetime, *codec.encode_members(session)])

    async def _index(self, index: str, session: Session, limit: int = 0) -> Any:
        arguments = [session.key, milliseconds(self._policy.session_max_age), limit]
        return await self._pipeline().run(self._scripts["index"], [index], arguments)

    def _seen(self, session: Session) -> Session:
        self._note_use(session.key, session.principal, milliseconds(session.last_seen))
        return session

    def _note_use(self, key: str, principal: str, seen: int) -> None:
        """Have the indexes learn with the next beat that a session was used."""
        self._used[self._keys.owned(principal), key] = self._used[self._keys.sessions, key] = seen

    async def _write_use(self) -> None:
        """Write to the indexes when sessions were last used here. Raises: BackendError."""
        used = list(self._used.items())
        self._used.clear()
        by_index: dict[str, list[Any]] = {}
        for (index, key), seen in used:
            by_index.setdefault(index, []).extend((seen, key))
        execute = self._pipeline().execute
        await asyncio.gather(*(execute("ZADD", index, *members) for index, members in by_index.items()))

    def _over(self, key: str, stream: str) -> None:
        for member in self._members.values():
            member.streams.discard((key, stream))


def _holder(node: bytes, epoch: int) -> Holder | None:
    return Holder(node.decode(), epoch) if node else None


def _number(raw: bytes) -> str:
    """Write a stream's entry id so that ids compare as text."""
    time, _, count = raw.decode().partition("-")
    return f"{int(time):015d}-{int(count):05d}"


def _short(number: str) -> str:
    time, _, count = number.partition("-")
    return f"{int(time)}-{int(count)}"


def _broadcast(number: bytes, members: Any) -> Broadcast:
    return Broadcast(members[b"method"].decode(), members[b"uri"].decode(), _number(number))
