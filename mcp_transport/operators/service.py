"""What operators do with sessions; the admin, the REST API and the shell have the same powers, by this."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from mcp_transport import bootstrap, signals
from mcp_transport.backends.base import Backend, Event, NodeRecord, Overview, Page, StreamRecord
from mcp_transport.domain.audit_events import SessionClosed
from mcp_transport.domain.history import HistoryEntry
from mcp_transport.domain.metrics import TrafficSummary, aggregate
from mcp_transport.domain.node_messages import CancelCall, Closed
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import InFlightRequest, Session, short_id
from mcp_transport.domain.session_query import EVERYTHING, SessionQuery
from mcp_transport.domain.stream_messages import StreamMessage, summarize
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.protocol.jsonrpc import RequestId
from mcp_transport.supervision import attempt, log_failure

__all__ = [
    "NewMessages",
    "SessionDetail",
    "can_list",
    "cancel_call",
    "end_session",
    "find_session",
    "look_into",
    "new_messages",
    "nodes",
    "overview",
    "sessions",
    "traffic",
]

# Of how many sessions that begin alike an operator may mean one.
_MOST_ALIKE: Final = 1000

# So many streams of a session are looked into, and so many messages are returned, at a time.
_MOST_STREAMS: Final = 100
_MOST_MESSAGES: Final = 200

_UNREADABLE: Final = "what goes on in a session cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDetail:
    """A session, and what goes on in it."""

    session: Session
    flights: tuple[InFlightRequest, ...]
    """Its requests in flight, as far as this process can see them."""
    streams: tuple[StreamRecord, ...]
    state: tuple[str, ...]
    """The names of the values that its tools keep."""
    subscriptions: tuple[str, ...] = ()
    """URIs named by resources/subscribe."""
    history: tuple[HistoryEntry, ...] = ()
    """What happened in it, the newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessages:
    """Messages on a session's streams, and how far each stream was read."""

    messages: tuple[StreamMessage, ...]
    cursor: Mapping[str, int]


def can_list() -> bool:
    """Tell whether the backend can list sessions at all, here or on other processes."""
    return bootstrap.endpoint().backend.supports_listing


async def sessions(
    offset: int = 0, limit: int = 100, query: SessionQuery = EVERYTHING, order: str = "-last_seen"
) -> Page:
    """Return a page of sessions, in one of `ORDERS`. Raises: BackendError; NotImplementedError unless `can_list`."""
    async with _backend() as backend:
        return await backend.sessions(offset, limit, query, order)


async def overview() -> Overview:
    """Sum all sessions up. Raises: BackendError; NotImplementedError unless `can_list`."""
    async with _backend() as backend:
        return await backend.overview()


async def traffic() -> TrafficSummary:
    """Add up what all processes counted within the last minutes; this one alone, where others cannot be seen.

    Raises: BackendError.
    """
    async with _backend() as backend:
        return aggregate(await backend.metrics())


async def find_session(name: str) -> Session:
    """Return the one session whose key, or short id, begins with `name`.

    Raises:
        LookupError: there is none, or more than one.
        BackendError: the store does not answer.
    """
    async with _backend() as backend:
        # A session that is new may not be in the index yet, so the newest ones are looked at, too.
        pages = [await backend.sessions(0, _MOST_ALIKE, query) for query in (SessionQuery(text=name), EVERYTHING)]
    known = {session.key: session for page in pages for session in page.sessions}
    found = [session for session in known.values() if session.key.lower().startswith(name.lower())]
    if len(found) != 1:
        many = "More than one session" if found else "No session"
        raise LookupError(f"{many} has an id that begins with {name!r}.")
    return found[0]


async def look_into(key: str) -> SessionDetail | None:
    """Return what is known of a session; None when it is over. Raises: BackendError."""
    async with _backend() as backend:
        session = await backend.get(key)
        if session is None:
            return None
        return SessionDetail(
            session=session,
            flights=await attempt(_UNREADABLE, backend.in_flight(key), ()),
            streams=await attempt(_UNREADABLE, backend.streams(key), ()),
            state=tuple(sorted(await attempt(_UNREADABLE, backend.read_state(key), {}))),
            subscriptions=tuple(sorted(await attempt(_UNREADABLE, backend.subscriptions(key), frozenset()))),
            history=await attempt(_UNREADABLE, backend.history(key), ()),
        )


async def new_messages(key: str, after: Mapping[str, int] | None = None) -> NewMessages | None:
    """Return what the streams of a session have had since `after`, stream by stream; None when the session is over.

    A stream that `after` does not name is new. Of a session with very many streams, only open ones are followed.

    Raises: BackendError.
    """
    async with _backend() as backend:
        if await backend.get(key) is None:
            return None
        streams = await attempt(_UNREADABLE, backend.streams(key), ())
        if len(streams) > _MOST_STREAMS:
            streams = tuple(stream for stream in streams if not stream.ended)[:_MOST_STREAMS]
        found, cursor = list[StreamMessage](), dict[str, int]()
        for stream in streams:
            cursor[stream.name] = seen = (after or {}).get(stream.name, 0)
            events = await _events(backend, key, stream, seen) if stream.last > seen else ()
            for event in events[: _MOST_MESSAGES - len(found)]:
                found.append(summarize(stream.name, event.seq, event.payload))
                cursor[stream.name] = event.seq
        return NewMessages(messages=tuple(found), cursor=cursor)


async def _events(backend: Backend, key: str, stream: StreamRecord, after: int) -> tuple[Event, ...]:
    try:
        events, _ = await backend.read(key, stream.name, after)
    except LookupError:  # over, or forgotten, since it was listed
        return ()
    except Unreadable as error:
        log_failure(_UNREADABLE, error)
        return ()
    return events


async def end_session(key: str) -> bool:
    """End a session, its calls and its streams everywhere; return False when it was over. Raises: BackendError."""
    async with _backend() as backend:
        closing = await attempt(_UNREADABLE, backend.close(key, None), None)
        if closing is None:
            return False
        for node in closing.nodes:
            with suppress(BackendError):  # the session is over whether a node hears of it or not
                await backend.send(node, Closed(key))
    owner = Principal.from_binding(closing.session.principal, closing.session.user)
    signals.announce(SessionClosed(when=time.time(), principal=owner, session=short_id(key), reason="staff"))
    return True


async def cancel_call(key: str, request_id: RequestId) -> bool:
    """Cancel a call of a session and tell its client so; return False when it does not run. Raises: BackendError."""
    async with _backend() as backend:
        session = await backend.get(key)
        running = session is not None and request_id in {flight.request_id for flight in await backend.in_flight(key)}
        flight = await backend.cancel(key, session.principal, request_id) if session is not None and running else None
        return flight is not None and await backend.send(
            flight.node, CancelCall(key, request_id, by_staff=True, stream=flight.stream)
        )


async def nodes() -> tuple[NodeRecord, ...]:
    """Return the living nodes, as far as other processes can see them. Raises: BackendError."""
    async with _backend() as backend:
        return await backend.nodes()


@asynccontextmanager
async def _backend() -> AsyncIterator[Backend]:
    """Hold the endpoint's backend; what it opened for a loop that serves nobody is closed again."""
    endpoint = bootstrap.endpoint()
    try:
        yield endpoint.backend
    finally:
        await endpoint.release()
