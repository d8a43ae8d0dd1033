"""Change notifications for the GET streams of sessions (2025 revisions).

The node that holds a session's GET stream delivers them in the order of the broadcasts. The store keeps broadcasts
for sessions whose GET stream no node holds; they are delivered when the stream opens again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from mcp_transport.backends.base import Backend
from mcp_transport.domain.node_messages import Broadcast, Wake
from mcp_transport.domain.session import short_id
from mcp_transport.engine.codec import encode_notification
from mcp_transport.engine.node_context import NodeContext
from mcp_transport.engine.registry import Registry
from mcp_transport.exceptions import BackendError
from mcp_transport.protocol.cursor import GET_STREAM
from mcp_transport.supervision import suppress_and_log

__all__ = ["Broadcasts", "publish"]

logger = logging.getLogger(__name__)


async def publish(backend: Backend, deliver: Callable[[Broadcast], None], message: Broadcast) -> None:
    """Broadcast a change to all nodes or, while the store is unavailable, `deliver` it in this process."""
    try:
        await backend.bus.broadcast(message)
    except BackendError as error:
        logger.warning("a change reaches only this node: %s", error)
        deliver(message)


class Broadcasts:
    """Delivers broadcasts to the sessions whose GET stream one node holds."""

    def __init__(self, context: NodeContext, registry: Registry) -> None:
        self._context, self._registry = context, registry
        self._lock = asyncio.Lock()
        # Sessions that are being caught up, and whether broadcasts have arrived since the last read of the store.
        self._catching_up: dict[str, bool] = {}
        self._last_number = ""

    async def skip_earlier(self) -> None:
        """Skip the broadcasts of the time before the node joined. Raises: BackendError."""
        self._last_number = await self._context.backend.bus.last_broadcast()

    async def deliver_missed(self) -> None:
        """Deliver the broadcasts that the store has and the sessions and listen streams here have not received.

        The message `Broadcast` is only a wake-up: two of them may arrive in another order than the store's.
        """
        async with self._lock:
            missed = await self._read_after(self._last_number)
            for message in missed:
                self._last_number = message.number
                with suppress_and_log("a change cannot be delivered to listen streams"):
                    self._context.kernel.bus.deliver(message)
                keys = [key for key, stream in self._registry.streams if stream == GET_STREAM]
                self._catching_up.update(dict.fromkeys(self._catching_up.keys() & set(keys), True))
                await asyncio.gather(*(self._deliver(key, message) for key in keys if key not in self._catching_up))

    async def _read_after(self, number: str) -> tuple[Broadcast, ...]:
        return await self._context.retry_until_expired(lambda: self._context.backend.bus.broadcasts(number)) or ()

    async def _deliver(self, key: str, message: Broadcast) -> None:
        try:
            with suppress_and_log(f"a change cannot be delivered to session {short_id(key)}"):
                await self._emit(key, message)
        except BackendError as error:
            logger.warning("delivery of a change to session %s is delayed: %s", short_id(key), error)
            stream = self._registry.streams.get((key, GET_STREAM))
            if stream is not None:
                self.catch_up(key, stream.last_broadcast)

    def catch_up(self, key: str, number: str) -> None:
        """Deliver the broadcasts after `number` to a session, in the background and before any newer one."""
        if key not in self._catching_up:
            self._context.tasks.spawn(self._catch_up(key, number))
        self._catching_up[key] = True

    async def _catch_up(self, key: str, number: str) -> None:
        try:
            while self._catching_up[key]:
                self._catching_up[key] = False
                for message in await self._read_after(number):
                    await self._context.retry_until_expired(partial(self._emit, key, message))
                    number = message.number
        finally:
            del self._catching_up[key]

    async def _emit(self, key: str, message: Broadcast) -> None:
        params = {"uri": message.uri} if message.uri else None
        emitted = await self._context.backend.streams.emit(key, encode_notification(message.method, params), message)
        if (stream := self._registry.streams.get((key, GET_STREAM))) is not None:
            stream.record_broadcast(message.number, emitted.seq if emitted is not None else 0)
        if emitted is not None and emitted.holder is not None:
            self._context.send_in_background(emitted.holder.node, Wake(key, GET_STREAM))
