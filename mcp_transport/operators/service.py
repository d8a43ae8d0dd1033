"""The operations of staff on sessions, shared by the admin, the REST API and `manage.py mcp_sessions`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from mcp_transport import bootstrap
from mcp_transport.backends.base import Backend
from mcp_transport.backends.contracts import SessionIndex
from mcp_transport.backends.records import Facets, NodeRecord, Overview, Page, StreamRecord
from mcp_transport.backends.results import Event
from mcp_transport.domain.metrics import TrafficSummary, aggregate
from mcp_transport.domain.node_messages import CancelCall, CircuitClosed, Drain
from mcp_transport.domain.session import InFlightRequest, Session
from mcp_transport.domain.session_query import EVERYTHING, SessionQuery
from mcp_transport.domain.stream_messages import StreamMessage, summarize
from mcp_transport.exceptions import BackendError, Unreadable
from mcp_transport.operators.records import NewMessages, SessionDetail
from mcp_transport.protocol.jsonrpc import RequestId
from mcp_transport.supervision import attempt, log_failure

__all__ = [
    "can_list",
    "cancel_call",
    "drain_node",
    "end_session",
    "end_sessions",
    "find_session",
    "new_messages",
    "nodes",
    "overview",
    "reset_circuit_breaker",
    "running_call",
    "session_detail",
    "sessions",
    "sessions_and_facets",
    "traffic",
]

# The number of sessions searched for one whose id starts with a prefix.
_MAX_CANDIDATES: Final = 1000

# The limits of one `new_messages`: streams that are read, and messages that are returned.
_MAX_STREAMS: Final = 100
_MAX_MESSAGES: Final = 200

_ENDED_AT_ONCE: Final = 20

_UNREADABLE: Final = "part of a session cannot be read"


def can_list() -> bool:
    """Return whether the backend can list sessions."""
    return bootstrap.endpoint().backend.index is not None


async def sessions(
    offset: int = 0, limit: int = 100, query: SessionQuery = EVERYTHING, order: str = "-last_seen"
) -> Page:
    """Return a page of sessions, in one of `ORDERS`. Raises: BackendError; NotImplementedError unless `can_list`."""
    async with _backend() as backend:
        return await _index(backend).page(offset, limit, query, order)


async def sessions_and_facets(offset: int, limit: int, query: SessionQuery, order: str) -> tuple[Page, Facets]:
    """Return a page of sessions, and what all sessions can be filtered by. Raises: as `sessions`."""
    async with _backend() as backend:
        return await _index(backend).page_and_facets(offset, limit, query, order)


async def overview() -> Overview:
    """Return a summary of all sessions. Raises: BackendError; NotImplementedError unless `can_list`."""
    async with _backend() as backend:
        return await _index(backend).overview()


async def traffic() -> TrafficSummary:
    """Return the traffic of the last minutes, of all processes if they are visible and of this one otherwise.

    Raises: BackendError.
    """
    async with _backend() as backend:
        metrics = await backend.bus.metrics()
        if not metrics and not backend.shares_streams:  # under WSGI, nodes end with their requests
            metrics = (bootstrap.endpoint().process_metrics(),)
        return aggregate(metrics)


async def find_session(name: str) -> Session:
    """Return the one session whose key, or short ID, starts with `name`.

    Raises:
        LookupError: no session matches, or several do.
        BackendError: the store is unavailable.
    """
    async with _backend() as backend:
        # A new session may not be indexed yet, so the newest sessions are searched, too.
        pages = [
            await _index(backend).page(0, _MAX_CANDIDATES, query) for query in (SessionQuery(text=name), EVERYTHING)
        ]
    candidates = {session.key: session for page in pages for session in page.sessions}
    matches = [session for session in candidates.values() if session.key.lower().startswith(name.lower())]
    if len(matches) != 1:
        count = "More than one session" if matches else "No session"
        raise LookupError(f"{count} has an ID that starts with {name!r}.")
    return matches[0]


async def session_detail(key: str) -> SessionDetail | None:
    """Return a session with its calls, streams and history; None if it has ended. Raises: BackendError."""
    async with _backend() as backend:
        session = await backend.sessions.get(key)
        if session is None:
            return None
        calls = await attempt(_UNREADABLE, backend.sessions.in_flight(key), ())
        return SessionDetail(
            session=replace(session, calls=len(calls)),
            calls=calls,
            streams=await attempt(_UNREADABLE, backend.streams.stream_records(key), ()),
            state_keys=tuple(sorted(await attempt(_UNREADABLE, backend.sessions.read_state(key), {}))),
            subscriptions=tuple(sorted(await attempt(_UNREADABLE, backend.sessions.subscriptions(key), frozenset()))),
            history=await attempt(_UNREADABLE, backend.sessions.history(key), ()),
        )


async def new_messages(key: str, after: Mapping[str, int] | None = None) -> NewMessages | None:
    """Return the messages on the streams of a session after the numbers in `after`; None if the session has ended.

    A stream that is not in `after` is read from its start. If there are more than `_MAX_STREAMS`, only open streams
    are read.

    Raises: BackendError.
    """
    async with _backend() as backend:
        if await backend.sessions.get(key) is None:
            return None
        streams = await attempt(_UNREADABLE, backend.streams.stream_records(key), ())
        if len(streams) > _MAX_STREAMS:
            streams = tuple(stream for stream in streams if not stream.ended)[:_MAX_STREAMS]
        messages, cursor = list[StreamMessage](), dict[str, int]()
        for stream in streams:
            cursor[stream.name] = last_read = (after or {}).get(stream.name, 0)
            events = await _events(backend, key, stream, last_read) if stream.last > last_read else ()
            for event in events[: _MAX_MESSAGES - len(messages)]:
                messages.append(summarize(stream.name, event.seq, event.payload, stream.marks))
                cursor[stream.name] = event.seq
        return NewMessages(messages=tuple(messages), cursor=cursor)


async def _events(backend: Backend, key: str, stream: StreamRecord, after: int) -> tuple[Event, ...]:
    try:
        events, _ = await backend.streams.read(key, stream.name, after)
    except LookupError:  # it ended, or was deleted, after it was listed
        return ()
    except Unreadable as error:
        log_failure(_UNREADABLE, error)
        return ()
    return events


async def end_session(key: str) -> bool:
    """End a session on every node; return False if it has already ended. Raises: BackendError."""
    async with _backend():
        return await attempt(_UNREADABLE, bootstrap.endpoint().close_session(key), False)


async def end_sessions(keys: Sequence[str]) -> tuple[list[str], BackendError | None]:
    """End sessions; return those that were ended, and the error if the store became unavailable."""
    ended: list[str] = []
    async with _backend():
        for at in range(0, len(keys), _ENDED_AT_ONCE):
            batch = keys[at : at + _ENDED_AT_ONCE]
            closed = (attempt(_UNREADABLE, bootstrap.endpoint().close_session(key), False) for key in batch)
            results = await asyncio.gather(*closed, return_exceptions=True)
            ended += [key for key, result in zip(batch, results, strict=True) if result is True]
            for result in results:
                if isinstance(result, BackendError):
                    return ended, result
                if isinstance(result, BaseException):
                    raise result
    return ended, None


async def running_call(key: str, request_id: RequestId) -> InFlightRequest | None:
    """Return a running call of a session, or None. Raises: BackendError."""
    async with _backend() as backend:
        session = await backend.sessions.get(key)
        calls = await backend.sessions.in_flight(key) if session is not None else ()
        return next((call for call in calls if call.request_id == request_id), None)


async def cancel_call(key: str, request_id: RequestId) -> bool:
    """Cancel a call and notify its client; return False if the call is not running. Raises: BackendError."""
    async with _backend() as backend:
        session = await backend.sessions.get(key)
        if session is None or request_id not in {call.request_id for call in await backend.sessions.in_flight(key)}:
            return False
        call = await backend.sessions.cancel(key, session.principal, request_id)
        return call is not None and await backend.bus.send(
            call.node, CancelCall(key, request_id, by_staff=True, stream=call.stream)
        )


async def nodes() -> tuple[NodeRecord, ...]:
    """Return the live nodes, if the backend shares them between processes. Raises: BackendError."""
    async with _backend() as backend:
        return await backend.bus.nodes()


async def drain_node(name: str) -> bool:
    """Have a node drain, as `manage.py mcp_drain` does; return False if it is not live. Raises: BackendError."""
    async with _backend() as backend:
        is_live = any(node.name == name for node in await backend.bus.nodes())
        return is_live and await backend.bus.send(name, Drain())


async def reset_circuit_breaker(tool: str) -> None:
    """Close the circuit breaker of a tool in this process and on every node. Raises: BackendError."""
    async with _backend() as backend:
        bootstrap.endpoint().breakers.reset(tool)
        # All at once: a node that cannot be told must not keep the others from being told.
        sends = [backend.bus.send(node.name, CircuitClosed(tool)) for node in await backend.bus.nodes()]
        await asyncio.gather(*sends)


def _index(backend: Backend) -> SessionIndex:
    if backend.index is None:
        raise NotImplementedError("the backend cannot list sessions: use one that can")
    return backend.index


@asynccontextmanager
async def _backend() -> AsyncIterator[Backend]:
    """Yield the endpoint's backend; close its connections afterwards unless this loop serves requests."""
    endpoint = bootstrap.endpoint()
    try:
        yield endpoint.backend
    finally:
        await endpoint.pool.disconnect_if_idle()
