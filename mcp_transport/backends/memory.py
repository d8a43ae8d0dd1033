"""The reference backend: all data in one process's memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice

from mcp_transport.backends.contracts import SessionIndex
from mcp_transport.backends.local import Change, LocalBackend
from mcp_transport.backends.records import Facets, Overview, Page, SessionCounts
from mcp_transport.backends.results import NoRoom
from mcp_transport.domain.policy import Policy
from mcp_transport.domain.session import Session
from mcp_transport.domain.session_query import EVERYTHING, SessionQuery

__all__ = ["MemoryBackend"]


class MemoryBackend(LocalBackend, SessionIndex):
    """Keeps sessions as long as the process lives."""

    keeps_answers = True

    def __init__(self, policy: Policy, now: Callable[[], float]) -> None:
        super().__init__(policy, now)
        # Ordered by last use, so that expired sessions, and a caller's least recently used ones, come first.
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._owned: dict[str, OrderedDict[str, None]] = {}
        self._by_creation: OrderedDict[str, None] = OrderedDict()  # the next to reach its absolute end comes first
        self._state: dict[str, dict[str, bytes]] = {}

    async def ping(self) -> None:
        return None

    async def open(self, session: Session) -> tuple[str, ...]:
        await self._drop_expired()
        owned = self._owned.get(session.caller, ())
        excess = max(0, len(owned) + 1 - self._policy.max_sessions_per_principal)
        idle = tuple(islice((key for key in owned if not self.is_busy(key)), excess))
        if len(idle) < excess:
            raise NoRoom
        self._save(session)
        self._by_creation[session.key] = None
        return idle

    async def load(self, key: str) -> Session | None:
        session = self._sessions.get(key)
        if session is not None and self.remaining(session) <= 0:
            await self.remove(key)
            return None
        return session

    async def modify(self, key: str, change: Change) -> Session | None:
        session = await self.load(key)
        changed = change(session) if session is not None else None
        if changed is not None:
            self._save(changed)
        return changed

    def _save(self, session: Session) -> None:
        previous = self._sessions.get(session.key)
        self._sessions[session.key] = session
        owned = self._owned.setdefault(session.caller, OrderedDict())
        owned[session.key] = None
        if previous is not None and previous.last_seen != session.last_seen:
            self._sessions.move_to_end(session.key)
            owned.move_to_end(session.key)

    async def remove(self, key: str) -> None:
        session = self._sessions.pop(key, None)
        self._state.pop(key, None)
        self._by_creation.pop(key, None)
        self.forget(key)
        if session is not None:
            owned = self._owned[session.caller]
            owned.pop(key, None)
            if not owned:
                del self._owned[session.caller]

    async def page(
        self, offset: int = 0, limit: int = 100, query: SessionQuery = EVERYTHING, order: str = "-last_seen"
    ) -> Page:
        return self.page_of(await self._live_sessions(), offset, limit, query, order)

    async def page_and_facets(self, offset: int, limit: int, query: SessionQuery, order: str) -> tuple[Page, Facets]:
        page = await self.page(offset, limit, query, order)
        return page, self.facets_of(await self._live_sessions())

    async def overview(self) -> Overview:
        return self.summarize(await self._live_sessions())

    def session_counts(self) -> SessionCounts:
        return SessionCounts(total=len(self._sessions), served=len(self._sessions))

    async def _live_sessions(self) -> list[Session]:
        await self._drop_expired()
        return list(reversed(self._sessions.values()))

    async def read_state(self, key: str) -> dict[str, bytes]:
        return dict(self._state.get(key, {})) if await self.load(key) is not None else {}

    async def write_state(self, key: str, name: str, value: bytes | None) -> bool:
        state = self._state.setdefault(key, {}) if await self.load(key) is not None else {}
        is_stored = name in state
        if value is None:
            state.pop(name, None)
        else:
            state[name] = value
        return is_stored

    async def _drop_expired(self) -> None:
        for order in (self._by_creation, self._sessions):
            while order and self.remaining(self._sessions[oldest := next(iter(order))]) <= 0:
                await self.remove(oldest)
