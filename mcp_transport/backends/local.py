"""A backend with streams, requests in flight and inboxes in this process; a subclass stores the session records."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mcp_transport.backends import listing
from mcp_transport.backends.contracts import CANCEL_KEEP_SECONDS, MAX_CANCELS, SessionStore, StreamLog
from mcp_transport.backends.local_bus import LocalNodeBus
from mcp_transport.backends.records import Facets, Overview, Page, SessionCounts, StreamRecord
from mcp_transport.backends.results import (
    Appended,
    Attached,
    Closing,
    Emitted,
    Entered,
    Event,
    HolderChanged,
    StreamOver,
    UnknownStream,
)
from mcp_transport.backends.streams import EventLog, LocalSession
from mcp_transport.backends.subscriptions import changed_uris
from mcp_transport.domain.history import NO_ENDINGS, Endings, HistoryEntry, HistoryEvent, ended_entry
from mcp_transport.domain.node_messages import Broadcast
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import InFlightRequest, Session
from mcp_transport.domain.session_query import SessionQuery
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["Change", "LocalBackend"]

Change = Callable[[Session], Session | None]


class LocalBackend(LocalNodeBus, SessionStore, StreamLog):
    """Serves any number of nodes of one process."""

    def __init__(self, policy: Policy, now: Callable[[], float]) -> None:
        super().__init__(policy, now)
        self._local: OrderedDict[str, tuple[float, LocalSession]] = OrderedDict()
        # Sessions whose record is being written, and those that were closed in the meantime.
        self._writing_now: Counter[str] = Counter()
        self._closed_meanwhile: set[str] = set()

    # -- records, stored by a subclass ---------------------------------------------------------------

    @abstractmethod
    async def load(self, key: str) -> Session | None:
        """Read a record that has not expired."""

    @abstractmethod
    async def modify(self, key: str, change: Change) -> Session | None:
        """Replace a live record atomically by the result of `change`; return it, or None if nothing was replaced.

        `change` returns None to leave the record as it is.
        """

    @abstractmethod
    async def remove(self, key: str) -> None:
        """Delete a record and the session's state."""

    # -- sessions ------------------------------------------------------------------------------------

    async def enter(
        self, key: str, principal: str, node: str, requests: Sequence[InFlightRequest] = ()
    ) -> Entered | None:
        if (session := await self._use(key, self._used_by(principal, node, len(requests)))) is None:
            return None
        # Nothing awaits from here on, so one of two requests with the same id comes first.
        local, now = self._local_session(key), self._now()
        local.drop_expired(now, self._policy.stream_keep, CANCEL_KEEP_SECONDS)
        if requests and (digest := local.ended_digest(requests[0].stream)) is not None:
            return Entered(session, ended_digest=digest)
        running = tuple(match for request in requests if (match := local.duplicate_of(request)) is not None)
        cancelled = frozenset(request.request_id for request in requests if request.request_id in local.cancels)
        for request in requests if not running else ():
            local.cancels.pop(request.request_id, None)
            local.in_flight[request.request_id] = replace(request, started=now)
        return Entered(session, running, cancelled)

    def page_of(self, live: Iterable[Session], offset: int, limit: int, query: SessionQuery, order: str) -> Page:
        """Return a page of the live sessions."""
        return listing.page_of(map(self._with_counts, live), self._now(), offset, limit, query, order)

    def facets_of(self, live: Iterable[Session]) -> Facets:
        """Count what the live sessions can be filtered by."""
        return listing.facets_of(map(self._with_counts, live), self._now())

    def summarize(self, live: Sequence[Session]) -> Overview:
        """Summarize the live sessions."""
        return listing.summarize(live, self._now())

    def _with_counts(self, session: Session) -> Session:
        """Fill in the number of calls and open streams in this process."""
        if session.key not in self._local:
            return session
        _, local = self._local[session.key]
        return replace(session, calls=len(local.in_flight), streams=local.open_streams)

    def session_counts(self) -> SessionCounts:
        return SessionCounts(served=len(self._local))

    async def stream_records(self, key: str) -> tuple[StreamRecord, ...]:
        if key not in self._local or await self.load(key) is None:
            return ()
        return tuple(log.record(name) for name, log in self._local[key][1].logs.items())

    async def leave(self, key: str, endings: Endings, *, stream: str = "") -> bool:
        local = self._local[key][1] if key in self._local else LocalSession()
        running = [local.in_flight[item] for item in endings if item in local.in_flight]
        ended = [request for request in running if stream in ("", request.stream)]
        # The record first: writing it may fail, and the caller then tries again.
        if errors := sum(endings[request.request_id].is_error for request in ended):
            await self.modify(key, lambda session: replace(session, errors=session.errors + errors))
        now, limit = self._now(), self._policy.session_history
        for request in ended:
            if local.in_flight.pop(request.request_id, None) is not None:
                local.add_history(ended_entry(request, endings[request.request_id], now), limit)
        return stream in local.logs and local.logs[stream].holder is not None

    async def history(self, key: str) -> tuple[HistoryEntry, ...]:
        if key not in self._local or await self.load(key) is None:
            return ()
        return tuple(reversed(self._local[key][1].history))

    async def note(self, key: str, principal: str, entry: HistoryEntry) -> None:
        session = await self.load(key)
        if session is not None and session.principal == principal:
            noted = replace(entry, when=self._now())
            self._local_session(key).add_history(noted, self._policy.session_history)

    async def update(self, key: str, **changes: Any) -> None:
        await self.modify(key, lambda session: replace(session, **changes))

    async def subscribe(self, key: str, uri: str, subscribed: bool, limit: int, max_bytes: int) -> bool:
        if await self.load(key) is None:
            return True
        local = self._local_session(key)
        changed = changed_uris(local.subscriptions, uri, subscribed, limit, max_bytes)
        if changed is not None:
            local.subscriptions = changed
        return changed is not None

    async def subscriptions(self, key: str) -> frozenset[str]:
        is_here = key in self._local and await self.load(key) is not None
        return self._local_session(key).subscriptions if is_here else frozenset()

    async def touch(self, key: str, stream: str = "") -> bool:
        session = await self._use(key, lambda session: replace(session, last_seen=self._now()))
        if session is not None:
            self._local_session(key).drop_expired(self._now(), self._policy.stream_keep, CANCEL_KEEP_SECONDS)
        return session is not None

    async def close(self, key: str, principal: str | None) -> Closing | None:
        session = await self.load(key)
        if session is None or principal not in (None, session.principal):
            return None
        _, local = self._local.get(key, (0.0, LocalSession()))
        # The record first: from here on, no other operation finds the session.
        await self.remove(key)
        self.forget(key)
        if self._writing_now[key]:
            self._closed_meanwhile.add(key)
        return Closing(session, local.nodes())

    async def get(self, key: str) -> Session | None:
        return await self.load(key)

    async def in_flight(self, key: str) -> tuple[InFlightRequest, ...]:
        return tuple(self._local[key][1].in_flight.values()) if key in self._local else ()

    # -- calls and streams ---------------------------------------------------------------------------

    async def cancel(self, key: str, principal: str, request_id: RequestId) -> InFlightRequest | None:
        session = await self.load(key)
        if session is None or session.principal != principal:
            return None
        local = self._local_session(key)
        request = local.in_flight.get(request_id)
        is_late = local.has_just_ended(request_id, self._now() - CANCEL_KEEP_SECONDS)
        if request is None and not is_late and len(local.cancels) < MAX_CANCELS:
            local.cancels[request_id] = self._now()
        return request

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
        # The logs die with their writers: no stream is claimed, no event lost, so `writer` and `refills` are unused.
        if key not in self._local or await self._has_ended(key):
            return None
        log, local = self._log(key, stream), self._local_session(key)
        if holder and log.epoch == 0:
            log.hand_to(holder)
        local.append(stream, events, self._now())
        if leaving:
            local.store_digest(stream, leaving)
            await self.leave(key, leaving, stream=stream)
        return Appended(log.holder)

    async def emit(self, key: str, payload: bytes, broadcast: Broadcast | None = None) -> Emitted | None:
        if await self.load(key) is None:
            return None
        is_subscribed = broadcast is None or not broadcast.uri or broadcast.uri in await self.subscriptions(key)
        log = self._log(key, GET_STREAM)
        if broadcast is not None:
            if broadcast.number <= log.last_broadcast:
                return None
            log.last_broadcast = broadcast.number
        if not is_subscribed:
            return None
        log.append([Event(log.last + 1, payload)], self._now())
        return Emitted(log.last, log.holder)

    async def attach(self, key: str, principal: str, stream: str, after: int | None, node: str) -> Attached | None:
        session = await self._use(key, self._used_by(principal, node))
        if session is None:
            return None
        local = self._local_session(key)
        local.drop_expired(self._now(), self._policy.stream_keep, CANCEL_KEEP_SECONDS)
        # The log of a running call may not exist yet, or lag behind what the client has received.
        running = {request.stream for request in local.in_flight.values()}
        if stream not in {GET_STREAM, *local.logs, *running}:
            raise UnknownStream(stream)
        log = self._log(key, stream)
        cursor = log.delivered if after is None else after
        if cursor > log.last and stream not in running:
            raise UnknownStream(stream)
        events, lost = log.after(cursor)
        if log.ended_at is not None and not lost and not any(event.payload for event in events):
            raise StreamOver(stream)
        holder, previous = log.hand_to(node)
        attached = HistoryEntry(when=self._now(), what=HistoryEvent.ATTACHED, node=node, stream=stream)
        local.add_history(attached, self._policy.session_history)
        ended = log.ended_at is not None
        return Attached(session, holder, previous, events, cursor, ended, lost, last_broadcast=log.last_broadcast)

    async def read(self, key: str, stream: str, after: int, *, epoch: int = 0) -> tuple[tuple[Event, ...], int]:
        _, local = self._local.get(key, (0.0, LocalSession()))
        if stream in local.logs:
            log = local.logs[stream]
            if 0 < epoch < log.epoch:
                raise HolderChanged(log.epoch)
            if log.ended_at is not None and after >= log.last:
                raise StreamOver(stream)
            return log.after(after)
        if stream != GET_STREAM and stream not in {request.stream for request in local.in_flight.values()}:
            raise UnknownStream(stream)
        return (), 0

    async def checkpoint(
        self, key: str, stream: str, delivered: int, last_broadcast: str = "", *, released_epoch: int = 0
    ) -> None:
        log = self._local[key][1].logs.get(stream) if key in self._local else None
        if log is not None:
            log.delivered, log.last = max(log.delivered, delivered), max(log.last, delivered)
            log.last_broadcast = max(log.last_broadcast, last_broadcast)
            if log.holder is not None and log.holder.epoch == released_epoch:
                log.holder = None

    def remaining(self, session: Session) -> float:
        """Return in how many seconds a session expires if it is not used."""
        return min(session.last_seen + self._policy.session_ttl, session.ends) - self._now()

    def is_busy(self, key: str) -> bool:
        """Return whether requests of a session are in flight here."""
        return key in self._local and bool(self._local[key][1].in_flight)

    def forget(self, key: str) -> None:
        self._local.pop(key, None)

    async def _has_ended(self, key: str) -> bool:
        """Return whether a record no longer exists; an unreadable one does not end the stream."""
        try:
            return await self.load(key) is None
        except BackendError:
            return False

    # -- inside --------------------------------------------------------------------------------------

    async def _use(self, key: str, change: Change) -> Session | None:
        """Modify a record; return None if the session was closed before the write returned."""
        self._writing_now[key] += 1
        try:
            session = await self.modify(key, change)
            return None if key in self._closed_meanwhile else session
        finally:
            self._writing_now[key] -= 1
            if not self._writing_now[key]:
                del self._writing_now[key]
                self._closed_meanwhile.discard(key)

    def _used_by(self, principal: str, node: str, requests: int = 0) -> Change:
        """Return a change that records the use of a session on `node`, if it belongs to `principal`."""

        def change(session: Session) -> Session | None:
            if session.principal != principal:
                return None
            return replace(session, last_seen=self._now(), node=node, requests=session.requests + requests)

        return change

    def _log(self, key: str, stream: str) -> EventLog:
        local = self._local_session(key)
        if stream not in local.logs:
            local.logs[stream] = EventLog(self._policy.stream_max_events, self._policy.stream_max_bytes)
            local.logs[stream].last_broadcast = local.first_broadcast
        return local.logs[stream]

    def _local_session(self, key: str) -> LocalSession:
        """Return the session's data in this process, and drop the data of sessions that have expired."""
        now = self._now()
        _, local = self._local.pop(key, (now, None))
        self._local[key] = (now, local or LocalSession(self._last))
        # Threads of a WSGI server may change the order meanwhile; then the next call purges.
        with suppress(RuntimeError, StopIteration, KeyError):
            while (oldest := next(iter(self._local))) and self._local[oldest][0] + self._policy.session_ttl < now:
                del self._local[oldest]
        return self._local[key][1]
