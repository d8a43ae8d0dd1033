"""The contracts of a backend over several regions: each operation of a session runs at its home."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from mcp_transport.backends.base import Backend
from mcp_transport.backends.contracts import Report, SessionStore, StreamLog
from mcp_transport.backends.dynamodb.regions.homes import gives
from mcp_transport.backends.dynamodb.regions.router import Router
from mcp_transport.backends.results import Attached, UnknownStream
from mcp_transport.domain.session import Session
from mcp_transport.protocol.cursor import GET_STREAM

__all__ = ["RoutedSessionStore", "RoutedStreamLog"]

_Operation = TypeVar("_Operation", bound=Callable[..., Awaitable[Any]])


def _at_home(operation: _Operation, *, confirms: bool = False, verifies: bool = False) -> _Operation:
    """Return a contract's operation of one session, run at the session's home; see `Router.run`."""
    part, _, name = operation.__qualname__.partition(".")
    attribute = {SessionStore.__name__: "sessions", StreamLog.__name__: "streams"}[part]

    async def run(self: Any, key: str, *args: Any, **options: Any) -> Any:
        def work(backend: Backend) -> Awaitable[Any]:
            at_home: Awaitable[Any] = getattr(getattr(backend, attribute), name)(key, *args, **options)
            return at_home

        router: Router = self.router
        return await router.run(key, work, confirms=confirms, verifies=verifies)

    return cast(_Operation, run)


class RoutedSessionStore(SessionStore):
    """Sessions, each at its home; new ones are at home in this process's region."""

    shares_sessions = True
    restores_sessions = True
    has_homes = True

    def __init__(self, router: Router) -> None:
        self.router = router

    def locate(self, key: str, origin: Callable[[], str]) -> None:
        self.router.homes.locate(key, origin)

    def report_events_to(self, report: Report) -> None:
        self.router.report = report

    async def ping(self) -> None:
        await self.router.own.backend.sessions.ping()

    async def open(self, session: Session) -> tuple[str, ...]:
        evicted = await self.router.own.backend.sessions.open(session)
        self.router.opened(session.key)
        return evicted

    async def restore(self, session: Session) -> bool:
        return await self.router.restore(session)

    async def flush(self) -> None:
        regions = (self.router.own, *self.router.others.values())
        await asyncio.gather(*(region.backend.sessions.flush() for region in regions if region.is_used))

    def forget(self, key: str) -> None:
        for region in (self.router.own, *self.router.others.values()):
            if region.is_used:
                region.backend.sessions.forget(key)

    enter = _at_home(SessionStore.enter, confirms=True)
    leave = _at_home(SessionStore.leave)
    cancel = _at_home(SessionStore.cancel, confirms=True)
    update = _at_home(SessionStore.update)
    touch = _at_home(SessionStore.touch, confirms=True)
    close = _at_home(SessionStore.close, confirms=True)
    get = _at_home(SessionStore.get, confirms=True)
    in_flight = _at_home(SessionStore.in_flight)
    history = _at_home(SessionStore.history)
    note = _at_home(SessionStore.note)
    subscribe = _at_home(SessionStore.subscribe)
    subscriptions = _at_home(SessionStore.subscriptions)
    read_state = _at_home(SessionStore.read_state)
    write_state = _at_home(SessionStore.write_state)


class RoutedStreamLog(StreamLog):
    """Streams, each at the home of its session."""

    shares_streams = True
    keeps_answers = True

    def __init__(self, router: Router) -> None:
        self.router = router

    async def attach(self, key: str, principal: str, stream: str, after: int | None, node: str) -> Attached | None:
        try:
            return await self._attach(key, principal, stream, after, node)
        except UnknownStream:
            home = self.router.homes.last(key)
            regions = (self.router.own.name, *self.router.others)
            if stream != GET_STREAM or after is None or home is None or gives(home, regions, after):
                raise
            # Another home gave it, which this region does not see yet: go on after the last delivered event.
            return await self._attach(key, principal, stream, None, node)

    append = _at_home(StreamLog.append, confirms=True)
    emit = _at_home(StreamLog.emit)
    _attach = _at_home(StreamLog.attach, confirms=True)
    read = _at_home(StreamLog.read)
    checkpoint = _at_home(StreamLog.checkpoint)
    claim = _at_home(StreamLog.claim, verifies=True)  # or a region that returns runs durable calls once more
    writer = _at_home(StreamLog.writer)
    stream_records = _at_home(StreamLog.stream_records)
