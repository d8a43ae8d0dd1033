"""The end of sessions, deleted or expired: a connected client postpones expiry, and no call outlives its session."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from mcp_transport.domain.session import Session
from mcp_transport.engine.clock import wait
from mcp_transport.engine.node_context import NodeContext
from mcp_transport.engine.observer import ClusterEvent
from mcp_transport.engine.registry import Registry
from mcp_transport.exceptions import BackendError
from mcp_transport.supervision import Supervised

__all__ = ["Expiry"]

# A quarter of `SESSION_TTL_SECONDS` if that is shorter.
_CHECK_INTERVAL_SECONDS: Final = 5.0


class Expiry:
    """Expires or keeps alive the sessions that have calls or sockets on one node.

    A session costs a store operation only when it may have expired or, with a connected client, after half of its
    lifetime: most sessions cost nothing.
    """

    def __init__(self, context: NodeContext, registry: Registry) -> None:
        self._context, self._registry, self._ttl = context, registry, context.policy.session_ttl
        self._interval = min(_CHECK_INTERVAL_SECONDS, self._ttl / 4)
        self._last_seen: dict[str, float] = {}

    async def run(self) -> None:
        """Check at intervals, for as long as the node runs."""
        what = f"the check for expired sessions of node {self._context.id}"
        await Supervised(what, self._turn, max_pause=self._interval).run()

    async def _turn(self) -> None:
        await wait(self._context.clock, asyncio.Event(), self._interval)
        await self.check()

    async def check(self) -> None:
        """Keep alive the sessions whose client is connected; end the calls of those that have expired."""
        now, used = self._context.clock.now(), self._local_sessions()
        previous = self._last_seen
        self._last_seen = {key: max(session.last_seen, previous.get(key, 0.0)) for key, (session, _) in used.items()}
        due = [
            self._refresh(key, session, is_connected)
            for key, (session, is_connected) in used.items()
            if now >= min(self._last_seen[key] + self._ttl / (1 + is_connected), session.ends)
        ]
        await asyncio.gather(*due)

    def end_missing(self, session: Session) -> None:
        """End the calls and streams of a session that the store no longer has: it has expired or was deleted."""
        if not self.end_if_expired(session):
            self.end_session(session.key)

    def end_if_expired(self, session: Session) -> bool:
        """End the calls and streams of a session that the store no longer has, if it has expired; return if so."""
        last_seen = max(session.last_seen, self._last_seen.get(session.key, 0.0))
        # The interval allows for a difference between this clock and the store's.
        has_expired = self._context.clock.now() + self._interval >= min(last_seen + self._ttl, session.ends)
        if has_expired:
            self.end_session(session.key, "its session expired", ClusterEvent.EXPIRED)
        return has_expired

    def _local_sessions(self) -> dict[str, tuple[Session, bool]]:
        """Return the sessions with calls or sockets on this node, and whether a client is connected to each."""
        used: dict[str, tuple[Session, bool]] = {}
        for writer in self._registry.writers.values():
            # A call without a log has a client that waits for its response.
            is_waiting = not writer.is_logged or used.get(writer.key, (None, False))[1]
            used[writer.key] = writer.session, is_waiting
        for stream in self._registry.streams.values():
            used[stream.key] = stream.session, True
        return used

    async def _refresh(self, key: str, session: Session, is_connected: bool) -> None:
        sessions = self._context.backend.sessions
        with suppress(BackendError):  # the next check asks again
            if is_connected and await sessions.touch(key):
                self._last_seen[key] = self._context.clock.now()
            elif (stored := await sessions.get(key)) is not None:
                self._last_seen[key] = stored.last_seen
            else:
                self.end_if_expired(session)

    def end_session(self, key: str, reason: str = "its session was ended", event: ClusterEvent | None = None) -> None:
        """End a session's calls and streams on this node; connected clients receive an error."""
        self._context.backend.sessions.forget(key)
        for writer in [writer for writer in self._registry.writers.values() if writer.key == key]:
            writer.has_log = False  # a client that waits on this node still gets its response
        for call in self._registry.calls_of(key):
            call.abandon(reason, event)
        for owner, name in list(self._registry.streams):
            if owner == key and (owner, name) not in self._registry.writers:
                self._registry.close_stream(owner, name)
