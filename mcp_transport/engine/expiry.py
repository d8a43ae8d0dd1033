"""The end of sessions, by themselves or by time, which a client that is connected puts off: nothing outlasts it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mcp_transport.domain.session import Session
from mcp_transport.engine.clock import wait
from mcp_transport.engine.observer import Happening
from mcp_transport.exceptions import BackendError
from mcp_transport.supervision import Supervised

if TYPE_CHECKING:
    from mcp_transport.engine.node import Node

__all__ = ["Expiry", "end_session"]

# Seconds between two looks at the sessions with calls or sockets here, if they live long enough for that.
_EVERY: Final = 5.0


class Expiry:
    """Looks after the sessions that have calls or sockets on one node.

    The store is asked about a session when its time may be up, and told of a client that is connected when half of
    it has passed: most sessions cost nothing.
    """

    def __init__(self, node: Node) -> None:
        self._node, self._ttl = node, node.policy.session_ttl
        self._every = min(_EVERY, self._ttl / 4)
        self._last_seen: dict[str, float] = {}

    async def watch(self) -> None:
        """Look again and again, whatever goes wrong."""
        what = f"the look for expired sessions of node {self._node.id}"
        await Supervised(what, self._turn, longest=self._every).run()

    async def _turn(self) -> None:
        await wait(self._node.clock, asyncio.Event(), self._every)
        await self.look()

    async def look(self) -> None:
        """Keep alive the sessions whose client is connected; end the calls of those that have expired."""
        now, used = self._node.clock.now(), self._used_here()
        known = self._last_seen
        self._last_seen = {key: max(session.last_seen, known.get(key, 0.0)) for key, (session, _) in used.items()}
        asked = [
            self._ask(key, session, is_connected)
            for key, (session, is_connected) in used.items()
            if now >= min(self._last_seen[key] + self._ttl / (1 + is_connected), session.ends)
        ]
        await asyncio.gather(*asked)

    def end(self, session: Session) -> None:
        """End what runs here of a session that the store does not have: it has expired, or was ended."""
        if not self.end_if_over(session):
            end_session(self._node, session.key)

    def end_if_over(self, session: Session) -> bool:
        """End what runs here of a session that the store does not have, if its time is up; return whether it is."""
        last_seen = max(session.last_seen, self._last_seen.get(session.key, 0.0))
        # The store's clock may differ from this one.
        is_over = self._node.clock.now() + self._every >= min(last_seen + self._ttl, session.ends)
        if is_over:
            end_session(self._node, session.key, "its session expired", Happening.EXPIRED)
        return is_over

    def _used_here(self) -> dict[str, tuple[Session, bool]]:
        """Return the sessions with calls or sockets here, and whether a client waits at one of the sockets."""
        used: dict[str, tuple[Session, bool]] = {}
        for writer in self._node.writers.values():
            # Without a log, its client waits for the answer itself.
            is_waiting = not writer.is_logged or used.get(writer.key, (None, False))[1]
            used[writer.key] = writer.session, is_waiting
        for stream in self._node.streams.values():
            if stream.session is not None:
                used[stream.key] = stream.session, True
        return used

    async def _ask(self, key: str, session: Session, is_connected: bool) -> None:
        backend = self._node.backend
        with suppress(BackendError):  # a store that is away is asked again
            if is_connected and await backend.touch(key):
                self._last_seen[key] = self._node.clock.now()
            elif (found := await backend.get(key)) is not None:
                self._last_seen[key] = found.last_seen
            else:
                self.end_if_over(session)


def end_session(
    node: Node, key: str, reason: str = "its session was ended", happening: Happening | None = None
) -> None:
    """End what a node has of a session: its calls, with an error for a client that is there, and other streams."""
    node.backend.forget(key)
    for writer in [writer for (owner, _), writer in node.writers.items() if owner == key]:
        writer.forget_log()
    for call in [call for (owner, _), call in node.calls.items() if owner == key]:
        call.abandon(reason, happening)
    for place, stream in list(node.streams.items()):
        if stream.key == key and place not in node.writers:
            node.release(stream)
            stream.end()
