"""Changes of the server, put on the GET stream of each session that is to hear of them (2025 revisions).

The node that holds a session's GET stream does that, in the order of the broadcasts. What is broadcast while no
node holds it is kept by the store, and made up for when the stream is opened again.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from mcp_transport.domain.node_messages import Broadcast, Wake
from mcp_transport.domain.session import short_id
from mcp_transport.engine.codec import encode_notification
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.supervision import contained

if TYPE_CHECKING:
    from mcp_transport.engine.node import Node

__all__ = ["Broadcasts"]

logger = logging.getLogger(__name__)


class Broadcasts:
    """What one node tells the sessions whose GET stream it holds."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._one_by_one = asyncio.Lock()
        # Sessions that have not heard everything yet, and whether more has come since they were looked after.
        self._behind: dict[str, bool] = {}
        self._last = ""

    async def begin(self) -> None:
        """Leave out what was broadcast before the node joined. Raises: BackendError."""
        self._last = await self._node.backend.last_broadcast()

    async def make_up(self) -> None:
        """Tell the sessions and the listen streams here what the store has and they have not heard.

        A broadcast's message is a wake-up only: two of them may arrive in another order than the store's.
        """
        async with self._one_by_one:
            missed = await self._node.insist(lambda: self._node.backend.broadcasts(self._last)) or ()
            for message in missed:
                self._last = message.number
                with contained("a listen stream cannot be told of a change"):
                    self._node.kernel.bus.deliver(message)
                held = [key for key, stream in self._node.streams if stream == GET_STREAM]
                self._behind.update(dict.fromkeys(self._behind.keys() & set(held), True))
                await asyncio.gather(*(self._tell(key, message) for key in held if key not in self._behind))

    async def _tell(self, key: str, message: Broadcast) -> None:
        try:
            with contained(f"session {short_id(key)} cannot be told of a change"):
                await self._emit(key, message)
        except BackendError as error:
            logger.warning("session %s is told of a change later: %s", short_id(key), error)
            stream = self._node.streams.get((key, GET_STREAM))
            if stream is not None:
                self.catch_up(key, stream.heard)

    def catch_up(self, key: str, heard: str) -> None:
        """Tell a session, behind, what was broadcast after `heard`; nothing newer comes before that."""
        if key not in self._behind:
            self._node.lifecycle.spawn(self._catch_up(key, heard))
        self._behind[key] = True

    async def _catch_up(self, key: str, heard: str) -> None:
        try:
            while self._behind[key]:
                self._behind[key] = False
                heard = await self._tell_missed(key, heard)
        finally:
            del self._behind[key]

    async def _tell_missed(self, key: str, heard: str) -> str:
        """Tell a session what the store kept for it; return the number of the last broadcast it heard."""
        missed = await self._node.insist(lambda: self._node.backend.broadcasts(heard)) or ()
        for message in missed:
            await self._node.insist(partial(self._emit, key, message))
        return missed[-1].number if missed else heard

    async def _emit(self, key: str, message: Broadcast) -> None:
        params = {"uri": message.uri} if message.uri else None
        emitted = await self._node.backend.emit(key, encode_notification(message.method, params), message)
        if (stream := self._node.streams.get((key, GET_STREAM))) is not None:
            stream.note_broadcast(message.number, emitted.seq if emitted is not None else 0)
        if emitted is not None and emitted.holder is not None:
            self._node.tell(emitted.holder.node, Wake(key, GET_STREAM))
