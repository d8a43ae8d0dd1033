"""One connection to Redis on which many commands are under way; Redis answers them in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, InvalidResponse, ReadOnlyError, TimeoutError

__all__ = ["MultiplexedConnection", "Settle"]

Settle = Callable[[Any], None]
"""Takes the answer to a command, or the error in its place."""


class MultiplexedConnection(asyncio.Protocol):
    """A connection that redis-py has opened, taken out of its pool; redis-py itself waits for each answer.

    A wire is used until it breaks, and then replaced by the next one.
    """

    def __init__(self, client: Redis, connection: Any) -> None:
        self._pool, self._connection = client.connection_pool, connection
        self._loop = asyncio.get_running_loop()
        self._replies = hiredis.Reader(protocolError=InvalidResponse, replyError=connection._parser.parse_error)
        self._forms: Mapping[Any, Callable[..., Any]] = client.response_callbacks
        self._awaited: deque[tuple[Any, Settle]] = deque()
        self._patience: float = connection.socket_timeout
        self._heard = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._broken: Exception | None = None
        self._transport = cast(asyncio.Transport, connection._writer.transport)
        self._streams = self._transport.get_protocol()  # redis-py's own, which waits for the end
        self._transport.set_protocol(self)
        self.drained = asyncio.Event()
        """Set when nothing is under way."""
        self.drained.set()

    @classmethod
    async def open(cls, client: Redis) -> MultiplexedConnection:
        """Connect, as the client's pool does it. Raises: RedisError, OSError."""
        pool: Any = client.connection_pool
        return cls(client, await pool.get_connection())

    @property
    def is_broken(self) -> bool:
        """Tell whether commands need another wire."""
        return self._broken is not None or self._transport.is_closing()

    def send(self, commands: Sequence[tuple[Any, ...]], settles: Sequence[Settle]) -> None:
        """Send commands together; each answer goes to the one at its place.

        Raises:
            TypeError, ValueError: one of them cannot be written; none is sent.
        """
        written = b"".join(map(hiredis.pack_command, commands))  # before any of them waits for an answer
        if not self._awaited:
            self._heard = self._loop.time()
        self._awaited.extend(zip((command[0] for command in commands), settles, strict=True))
        self.drained.clear()
        self._transport.write(written)
        if self._watch is None:
            self._watch = self._loop.call_later(self._patience, self._look)

    def data_received(self, data: bytes) -> None:
        """Hand out the answers that are complete."""
        self._heard = self._loop.time()
        self._replies.feed(data)
        try:
            while self._awaited and (reply := self._replies.gets()) is not False:
                name, settle = self._awaited.popleft()
                settle(self._formed(name, reply))
                if isinstance(reply, ReadOnlyError):
                    # A master that became a replica: who connects anew is led to the new one.
                    self._break(ConnectionError("the server is no master any more"))
        except InvalidResponse as error:
            self._break(error)
        if not self._awaited:
            self.drained.set()

    def _formed(self, name: Any, reply: Any) -> Any:
        """Return an answer in the form that redis-py gives it."""
        form = self._forms.get(name)
        return reply if form is None or isinstance(reply, Exception) else form(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail what waits for an answer."""
        self._break(ConnectionError(str(error) if error else "the server closed the connection"))
        self._streams.connection_lost(error)

    def _look(self) -> None:
        """Give up a server that owes an answer for too long."""
        self._watch = None
        if not self._awaited:
            return
        left = self._heard + self._patience - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look)
        else:
            self._break(TimeoutError("the server does not answer"))

    def _break(self, error: Exception) -> None:
        self._broken = self._broken or error
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        while self._awaited:
            self._awaited.popleft()[1](self._broken)
        self.drained.set()
        self._transport.abort()

    async def close(self) -> None:
        """Give the connection back to the pool, closed."""
        self._broken = self._broken or ConnectionError("closed")
        if self._watch is not None:
            self._watch.cancel()
        try:
            await self._connection.disconnect()
        finally:
            await self._pool.release(self._connection)
