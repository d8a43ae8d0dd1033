"""What operators do with sessions; the admin, the REST API and the shell have the same powers, by this."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from mcp_transport import bootstrap, signals
from mcp_transport.backends.base import Backend, NodeRecord, Page, StreamRecord
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol.audit import SessionClosed
from mcp_transport.protocol.inbox import CancelCall, Closed
from mcp_transport.protocol.jsonrpc import RequestId
from mcp_transport.protocol.principal import Principal
from mcp_transport.protocol.search import EVERYTHING, SessionQuery
from mcp_transport.protocol.session import Flight, Session, short_id

__all__ = [
    "SessionDetail",
    "can_list",
    "cancel_call",
    "end_session",
    "find_session",
    "look_into",
    "nodes",
    "sessions",
]

# Of how many sessions that begin alike an operator may mean one.
_MOST_ALIKE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDetail:
    """A session, and what goes on in it."""

    session: Session
    flights: tuple[Flight, ...]
    """Its requests in flight, as far as this process can see them."""
    streams: tuple[StreamRecord, ...]
    state: tuple[str, ...]
    """The names of the values that its tools keep."""


def can_list() -> bool:
    """Tell whether the backend can list sessions at all, here or on other processes."""
    return bootstrap.endpoint().backend.supports_listing


async def sessions(offset: int = 0, limit: int = 100, query: SessionQuery = EVERYTHING) -> Page:
    """Return a page of sessions, last seen first. Raises: BackendError; NotImplementedError unless `can_list`."""
    async with _backend() as backend:
        return await backend.sessions(offset, limit, query)


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
            flights=await backend.flights(key),
            streams=await backend.streams(key),
            state=tuple(sorted(await backend.read_state(key))),
        )


async def end_session(key: str) -> bool:
    """End a session, its calls and its streams everywhere; return False when it was over. Raises: BackendError."""
    async with _backend() as backend:
        closing = await backend.close(key, None)
        if closing is None:
            return False
        for node in closing.nodes:
            with suppress(BackendError):  # the session is over whether a node hears of it or not
                await backend.send(node, Closed(key))
    owner = Principal.of(closing.session.principal, closing.session.user)
    signals.announce(SessionClosed(when=time.time(), principal=owner, session=short_id(key), reason="staff"))
    return True


async def cancel_call(key: str, request_id: RequestId) -> bool:
    """Cancel a call of a session, as its client could; return False when it does not run. Raises: BackendError."""
    async with _backend() as backend:
        session = await backend.get(key)
        running = session is not None and request_id in {flight.request_id for flight in await backend.flights(key)}
        flight = await backend.cancel(key, session.principal, request_id) if session is not None and running else None
        return flight is not None and await backend.send(flight.node, CancelCall(key, request_id))


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
