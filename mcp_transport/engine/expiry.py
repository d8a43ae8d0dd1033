"""The end of sessions, deleted or expired: a connected client postpones expiry, and no call outlives its session."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mcp_transport.domain.session import Session
from mcp_transport.engine.clock import wait
from mcp_transport.engine.observer import ClusterEvent
from mcp_transport.exceptions import BackendError
from mcp_transport.supervision import Supervised

if TYPE_CHECKING:
    from mcp_transport.engine.node import Node

__all__ = ["Expiry", "end_session"]

# A quarter of `SESSION_TTL_SECONDS` if that is shorter.
_CHECK_INTERVAL_SECONDS: Final = 5.0


class Expiry:
    """Expires or keeps alive the sessions that have calls or sockets on one node.

    A session costs a store operation only when it may have expired or, with a connected client, after half of its
    lifetime: most sessions cost nothing.
    """

    def __init__(self, node: Node) -> None:
        self._node, self._ttl = node, node.policy.session_ttl
        self._interval = min(_CHECK_INTERVAL_SECONDS, self._ttl / 4)
        self._last_seen: dict[str, float] = {}

    async def run(self) -> None:
        """Check at intervals, for as long as the node runs."""
        what = f"the check for expired sessions of node {self._node.id}"
        await Supervised(what, self._turn, max_pause=self._interval).run()

    async def _turn(self) -> None:
        await wait(self._node.clock, asyncio.Event(), self._interval)
        await self.check()

    async def check(self) -> None:
        """Keep alive the sessions whose client is connected; end the calls of those that have expired."""
        now, used = self._node.clock.now(), self._local_sessions()
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
            end_session(self._node, session.key)

    def end_if_expired(self, session: Session) -> bool:
        """End the calls and streams of a session that the store no longer has, if it has expired; return if so."""
        last_seen = max(session.last_seen, self._last_seen.get(session.key, 0.0))
        # The interval allows for a difference between this clock and the store's.
        has_expired = self._node.clock.now() + self._interval >= min(last_seen + self._ttl, session.ends)
        if has_expired:
            end_session(self._node, session.key, "its session expired", ClusterEvent.EXPIRED)
        return has_expired

    def _local_sessions(self) -> dict[str, tuple[Session, bool]]:
        """Return the sessions with calls or sockets on this node, and whether a client is connected to each."""
        used: dict[str, tuple[Session, bool]] = {}
        for writer in self._node.writers.values():
            # A call without a log has a client that waits for its response.
            is_waiting = not writer.is_logged or used.get(writer.key, (None, False))[1]
            used[writer.key] = writer.session, is_waiting
        for stream in self._node.streams.values():
            if stream.session is not None:
                used[stream.key] = stream.session, True
        return used

    async def _refresh(self, key: str, session: Session, is_connected: bool) -> None:
        backend = self._node.backend
        with suppress(BackendError):  # the next check asks again
            if is_connected and await backend.sessions.touch(key):
                self._last_seen[key] = self._node.clock.now()
            elif (stored := await backend.sessions.get(key)) is not None:
                self._last_seen[key] = stored.last_seen
            else:
                self.end_if_expired(session)


def end_session(
    node: Node, key: str, reason: str = "its session was ended", event: ClusterEvent | None = None
) -> None:
    """End a session's calls and streams on a node; connected clients receive an error."""
    node.backend.sessions.forget(key)
    for writer in [writer for (owner, _), writer in node.writers.items() if owner == key]:
        writer.discard_log()
    for call in [call for (owner, _), call in node.calls.items() if owner == key]:
        call.abandon(reason, event)
    for stream_key, stream in list(node.streams.items()):
        if stream.key == key and stream_key not in node.writers:
            node.unregister_stream(stream)
            stream.end()
