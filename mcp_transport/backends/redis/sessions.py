"""Sessions, their listing, and the state that tools keep."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mcp_transport.backends.base import CANCEL_KEEP_SECONDS, Closing, Entered, NoRoom
from mcp_transport.backends.redis import codec
from mcp_transport.backends.redis.codec import milliseconds
from mcp_transport.backends.redis.session_search import RedisSessionSearch
from mcp_transport.backends.redis.store import BESIDE
from mcp_transport.domain.history import Ending, HistoryEntry
from mcp_transport.domain.session import InFlightRequest, Session
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.protocol.idempotency import is_keyed
from mcp_transport.protocol.jsonrpc import RequestId
from mcp_transport.supervision import attempt

__all__ = ["RedisSessions"]

# So many sessions make room for a new one, at most, where the limit was lowered.
_LEAVE: Final = 32
# So many looks at the idlest sessions, 31 or more at a time, may find none that is idle.
_LOOKS: Final = 8

# How far apart the clocks of a Cluster's servers may be; milliseconds. Ids hold whole seconds, too.
_SKEW: Final = 2000


class RedisSessions(RedisSessionSearch):
    """Opens, admits to, changes and closes sessions."""

    # -- sessions ------------------------------------------------------------------------------------

    async def open(self, session: Session) -> tuple[str, ...]:
        _, created, (over, keys), _ = await asyncio.gather(
            self._born(),
            self._store(session, created=""),
            self._admit(session),
            self._index(self._keys.sessions, session),
        )
        idle = await self._make_room(session, keys) if over else ()
        # By Redis' clock, as the record; one that stood there already is left alone.
        self._opened[session.key] = session if created is None else replace(session, created=created / 1000)
        return idle

    async def _make_room(self, session: Session, idlest: Sequence[bytes]) -> tuple[str, ...]:
        """Put a session in the place of idle ones; return those. Raises: NoRoom."""
        known, looks = set[bytes](), 0
        while looks < _LOOKS and not known.issuperset(idlest):
            # The index is as old as the last beat, and knows nothing of requests in flight.
            parts = ("flights", "streams")
            found = await asyncio.gather(*(self._run("glance", key.decode(), parts, []) for key in idlest))
            gone = [key for key, record in zip(idlest, found, strict=True) if record is None]
            busy = [key for key, record in zip(idlest, found, strict=True) if record is not None and record[1]]
            idle = [key for key in idlest if key not in gone and key not in busy]
            over, idlest = await self._admit(session, leaving=[*gone, *idle], busy=busy)
            if not over:
                return tuple(key.decode() for key in idlest if key in idle)
            known.update(busy)
            looks += not gone and not idle  # if not, another node was faster
        record, *_ = self._keys.of_session(session.key)
        await asyncio.gather(
            self._pipeline().execute("DEL", record),
            self._pipeline().execute("ZREM", self._keys.sessions, session.key),
        )
        raise NoRoom

    def _admit(
        self, session: Session, *, leaving: Sequence[bytes] = (), busy: Sequence[bytes] = ()
    ) -> Awaitable[Any]:
        """Add a session to those of its caller, if there is room or `leaving` ones make it; to garbage, none."""
        index, limit = self._keys.owned(session.caller), self._policy.max_sessions_per_principal
        arguments = [session.key, self._used_within, self._life_of(index), limit, _LEAVE, len(leaving)]
        run = self._pipeline().run(self._scripts["admit"], [index], [*arguments, *leaving, *busy])
        return attempt(f"the index {index} cannot be written", run, (0, []))

    async def restore(self, session: Session) -> bool:
        if not self.restores_sessions:
            return False
        born, now = await self._born()
        created = milliseconds(session.created)
        # What began before this store was emptied was lost with it; what began a moment ago cannot have expired.
        # Anything else expired because nobody used it.
        if created + _SKEW >= born and now >= created + self._ttl:
            return False
        if await self._store(session, created=created) is None:
            # Closed; or another node was faster, and then it lives.
            return await self.get(session.key) is not None
        await asyncio.gather(
            self._index(self._keys.owned(session.caller), session), self._index(self._keys.sessions, session)
        )
        self._opened[session.key] = session
        return True

    async def enter(
        self, key: str, principal: str, node: str, requests: Sequence[InFlightRequest] = ()
    ) -> Entered | None:
        words = [word for item in requests for word in (codec.encode_id(item.request_id), codec.encode_flight(item))]
        keyed = requests[0].stream if requests and is_keyed(requests[0].stream) else ""
        arguments = [principal, node, milliseconds(CANCEL_KEEP_SECONDS), self._keep, keyed, *words]
        found = await self._run("enter", key, BESIDE, arguments)
        if found is None:
            return None
        record, running, cancelled, kept = found
        session = codec.decode_session(key, record)
        if kept:
            return Entered(self._seen(session, node), ended_digest=codec.decode_digest(*kept))
        known = tuple(codec.decode_flight(*item) for item in codec.pairs(running))
        if requests and not running and (member := self._members.get(node)) is not None:
            member.streams.update((key, item.stream) for item in requests)
        return Entered(self._seen(session, node), known, frozenset(codec.decode_id(item) for item in cancelled))

    async def flush(self) -> None:
        await self._pipeline().flush()

    async def leave(self, key: str, endings: Mapping[RequestId, Ending], *, stream: str = "") -> bool:
        self._over(key, stream)
        arguments = [stream, self._policy.session_history, *codec.encode_endings(endings)]
        keys = self._keys.of_session(key, "flights", "history", "streams")
        errors, is_held = await self._pipeline().run(self._scripts["leave"], keys, arguments, behind=True)
        if errors:
            self._counts["errors"][key] = errors
        return bool(is_held)

    async def history(self, key: str) -> tuple[HistoryEntry, ...]:
        found = await self._run("history", key, ("history",), [])
        return codec.decode_history(found) if found is not None else ()

    async def update(self, key: str, **changes: Any) -> None:
        if changes.get("initialized"):
            self._initialized.add(key)
        await self._run("update", key, (), codec.encode_changes(changes))

    async def subscribe(self, key: str, uri: str, subscribed: bool, limit: int, max_bytes: int) -> bool:
        arguments = [uri, int(subscribed), limit, max_bytes]
        return bool(await self._run("subscribe", key, ("subscriptions",), arguments))

    async def subscriptions(self, key: str) -> frozenset[str]:
        return frozenset(codec.decode_names(await self._run("subscriptions", key, ("subscriptions",), [])))

    async def touch(self, key: str, stream: str = "") -> bool:
        found = await self._run("touch", key, BESIDE, [stream], log=stream or GET_STREAM)
        if found is not None:
            self._note_use(key, codec.decode_caller(*found[0]), found[1])
        return found is not None

    async def close(self, key: str, principal: str | None) -> Closing | None:
        arguments = [int(principal is None), principal or "", int(self.restores_sessions)]
        found = await self._run("close", key, BESIDE, arguments)
        if found is None:
            return None
        session = codec.decode_session(key, found[0])
        nodes, streams = codec.decode_parts(found[1], found[2])
        # Behind, since what is left of it expires by itself.
        self._pipeline().post("ZREM", self._keys.owned(session.caller), key)
        self._forget_soon(session)
        for stream in streams:
            self._pipeline().post("UNLINK", self._keys.log(key, stream))
        return Closing(session, nodes)

    async def get(self, key: str) -> Session | None:
        return (await self._look(key))[0]

    async def in_flight(self, key: str) -> tuple[InFlightRequest, ...]:
        return (await self._look(key))[1]

    # -- the state that tools keep -------------------------------------------------------------------

    async def read_state(self, key: str) -> dict[str, bytes]:
        found = await self._run("read_state", key, ("state",), [])
        return codec.decode_state(found)

    async def write_state(self, key: str, name: str, value: bytes | None) -> bool:
        arguments: list[Any] = [name] if value is None else [name, value]
        return bool(await self._run("write_state", key, ("state",), arguments))

    def _store(self, session: Session, *, created: int | str) -> asyncio.Future[Any]:
        lifetime = milliseconds(session.ends - session.created)
        return self._run("open", session.key, (), [created, lifetime, *codec.encode_members(session)])

    def _index(self, index: str, session: Session) -> Awaitable[Any]:
        run = self._pipeline().run(self._scripts["index"], [index], [session.key, self._life_of(index)])
        return attempt(f"the index {index} cannot be written", run, 0)

    @property
    def _used_within(self) -> int:
        """Return for how many milliseconds a session may stand in an index unused, which learns with a beat."""
        return self._ttl + milliseconds(self._policy.lease)
