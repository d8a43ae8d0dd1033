"""One connection to Redis for many concurrent commands, which Redis answers in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, InvalidResponse, ReadOnlyError, TimeoutError

__all__ = ["MultiplexedConnection", "ReplyCallback"]

ReplyCallback = Callable[[Any], None]
"""Takes the reply to a command, or its error."""


class MultiplexedConnection(asyncio.Protocol):
    """A connection opened by redis-py, whose own client would wait for each reply before the next command.

    It takes a connection from the client's pool and becomes its transport's protocol, by private attributes of
    redis-py (`_parser`, `_writer`). A broken connection is not reused.
    """

    def __init__(self, client: Redis, connection: Any) -> None:
        self._pool, self._connection = client.connection_pool, connection
        self._loop = asyncio.get_running_loop()
        self._replies = hiredis.Reader(protocolError=InvalidResponse, replyError=connection._parser.parse_error)
        self._converters: Mapping[Any, Callable[..., Any]] = client.response_callbacks
        self._pending: deque[tuple[Any, ReplyCallback]] = deque()
        self._timeout_seconds: float = connection.socket_timeout
        self._last_received_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._broken: Exception | None = None
        self._transport = cast(asyncio.Transport, connection._writer.transport)
        self._streams = self._transport.get_protocol()  # redis-py's own, which must learn of the connection's end
        self._transport.set_protocol(self)
        self.drained = asyncio.Event()
        """Set while no command waits for its reply."""
        self.drained.set()

    @classmethod
    async def open(cls, client: Redis) -> MultiplexedConnection:
        """Get a connection from the client's pool. Raises: RedisError, OSError."""
        pool: Any = client.connection_pool
        return cls(client, await pool.get_connection())

    @property
    def is_broken(self) -> bool:
        """Return whether commands need another connection."""
        return self._broken is not None or self._transport.is_closing()

    def send(self, commands: Sequence[tuple[Any, ...]], callbacks: Sequence[ReplyCallback]) -> None:
        """Send commands together; pass each reply to the callback at the same position.

        Raises:
            TypeError, ValueError: one of them cannot be encoded; none is sent.
        """
        data = b"".join(map(hiredis.pack_command, commands))  # may raise, so before the commands become pending
        if not self._pending:
            self._last_received_at = self._loop.time()
        self._pending.extend(zip((command[0] for command in commands), callbacks, strict=True))
        self.drained.clear()
        self._transport.write(data)
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_seconds, self._check_timeout)

    def data_received(self, data: bytes) -> None:
        """Pass complete replies to their callbacks."""
        self._last_received_at = self._loop.time()
        self._replies.feed(data)
        try:
            while self._pending and (reply := self._replies.gets()) is not False:
                name, callback = self._pending.popleft()
                callback(self._converted(name, reply))
                if isinstance(reply, ReadOnlyError):
                    # The master became a replica: a new connection finds the new master.
                    self._break(ConnectionError("the server is not the master any more"))
        except InvalidResponse as error:
            self._break(error)
        if not self._pending:
            self.drained.set()

    def _converted(self, name: Any, reply: Any) -> Any:
        """Return a reply in the form that redis-py returns."""
        convert = self._converters.get(name)
        return reply if convert is None or isinstance(reply, Exception) else convert(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the pending commands."""
        self._break(ConnectionError(str(error) if error else "the server closed the connection"))
        self._streams.connection_lost(error)

    def _check_timeout(self) -> None:
        """Break the connection if a reply has been due for longer than the socket's timeout."""
        self._timer = None
        if not self._pending:
            return
        seconds_left = self._last_received_at + self._timeout_seconds - self._loop.time()
        if seconds_left > 0:
            self._timer = self._loop.call_later(seconds_left, self._check_timeout)
        else:
            self._break(TimeoutError("the server does not answer"))

    def _break(self, error: Exception) -> None:
        self._broken = self._broken or error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._pending:
            self._pending.popleft()[1](self._broken)
        self.drained.set()
        self._transport.abort()

    async def close(self) -> None:
        """Close the connection, and release it to the pool."""
        self._broken = self._broken or ConnectionError("closed")
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self._connection.disconnect()
        finally:
            await self._pool.release(self._connection)
