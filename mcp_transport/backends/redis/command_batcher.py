"""Batch the Redis commands of one iteration of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import RedisCluster
from redis.exceptions import NoScriptError, ResponseError

from mcp_transport.backends.redis.connection import is_setup_error, is_store_error, recover
from mcp_transport.backends.redis.scripts import Script
from mcp_transport.exceptions import BackendError, Unreadable

if TYPE_CHECKING:
    from mcp_transport.backends.redis.multiplexed_connection import MultiplexedConnection

__all__ = ["CommandBatcher"]

_HAS_HIREDIS: Final = find_spec("hiredis") is not None

# Seconds that a deferred command waits for others to be sent with: every packet wakes two processes.
_DEFER_SECONDS: Final = 0.001

_Command = tuple[Any, ...]
_Batch = list[tuple[_Command, "asyncio.Future[Any]"]]


class CommandBatcher:
    """Collects the commands of one event loop, and sends them once per iteration."""

    def __init__(self, client: Any, name: str) -> None:
        self._client, self._name = client, name
        self._loop = asyncio.get_running_loop()
        self._sources: dict[str, str] = {}
        self._waiting: _Batch = []
        self._flush_handle: asyncio.Handle | None = None
        self._is_flush_scheduled = False
        self._connection: MultiplexedConnection | None = None
        self._shares_connection = _HAS_HIREDIS and not isinstance(client, RedisCluster)
        self._backlog: _Batch = []
        self._tasks: set[asyncio.Future[Any]] = set()

    def run(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Any], *, deferred: bool = False
    ) -> asyncio.Future[Any]:
        """Run a script, by its digest if Redis has loaded it. Raises, when awaited: BackendError, Unreadable."""
        self._sources[script.digest] = script.source
        return self.execute("EVALSHA", script.digest, len(keys), *keys, *arguments, deferred=deferred)

    def execute(self, *command: Any, deferred: bool = False) -> asyncio.Future[Any]:
        """Send one command in this iteration of the loop or, if `deferred`, together with the next command.

        Raises, when awaited:
            BackendError: Redis does not answer, or refuses the command.
            Unreadable: the key holds a value that the command or the script cannot process.
        """
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._enqueue(command, answer, deferred)
        return answer

    def _enqueue(self, command: _Command, answer: asyncio.Future[Any], deferred: bool = False) -> None:
        self._waiting.append((command, answer))
        if deferred and self._flush_handle is None:
            self._flush_handle = self._loop.call_later(_DEFER_SECONDS, self._send_waiting)
        elif not deferred and not self._is_flush_scheduled:
            if self._flush_handle is not None:
                self._flush_handle.cancel()
            self._flush_handle, self._is_flush_scheduled = self._loop.call_soon(self._send_waiting), True

    def post(self, *command: Any) -> None:
        """Send one deferred command, and ignore its result."""
        self._track(self.execute(*command, deferred=True))

    async def flush(self) -> None:
        """Wait until later commands cannot overtake earlier ones."""
        if self._shares_connection:
            return  # one connection preserves the order
        if self._waiting:
            self._send_waiting()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Wait for the answers to all commands, then close the connections."""
        while self._waiting or self._tasks or self._is_busy():
            if self._waiting:
                self._send_waiting()
            if self._tasks:
                await asyncio.wait(self._tasks)
            if self._connection is not None:
                await self._connection.drained.wait()
        if self._connection is not None:
            await self._connection.close()
        await self._client.aclose()

    def _is_busy(self) -> bool:
        return self._connection is not None and not self._connection.drained.is_set()

    def _track(self, task: asyncio.Future[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send_waiting(self) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
        batch, self._waiting, self._flush_handle, self._is_flush_scheduled = self._waiting, [], None, False
        self._transmit(batch)

    def _transmit(self, batch: _Batch) -> None:
        """Send commands together, and set the result of each."""
        if not self._shares_connection:
            self._track(self._loop.create_task(self._exchange(batch)))
        elif self._connection is not None and not self._connection.is_broken and not self._backlog:
            self._send(self._connection, batch)
        else:
            if not self._backlog:
                self._track(self._loop.create_task(self._connect()))
            self._backlog += batch

    def _send(self, connection: MultiplexedConnection, batch: _Batch) -> None:
        try:
            connection.send([command for command, _ in batch], [partial(self._set_result, *item) for item in batch])
        except (TypeError, ValueError) as error:  # an argument that cannot be encoded: only its command fails
            if len(batch) == 1:
                self._fail(batch, error)
            for item in batch if len(batch) > 1 else ():
                self._send(connection, [item])

    async def _connect(self) -> None:
        """Open a connection for the backlog."""
        from mcp_transport.backends.redis.multiplexed_connection import MultiplexedConnection  # which needs hiredis

        broken, self._connection = self._connection, None
        try:
            if broken is not None:
                await broken.close()
            self._connection = connection = await MultiplexedConnection.open(self._client)
        except BaseException as error:
            self._fail(self._take_backlog(), error)
            if not isinstance(error, Exception):
                raise
        else:
            self._send(connection, self._take_backlog())

    def _take_backlog(self) -> _Batch:
        batch, self._backlog = self._backlog, []
        return batch

    async def _exchange(self, batch: _Batch) -> None:
        """Send a batch through redis-py's pipeline, which knows the node of each key in a Cluster."""
        try:
            values = await self._execute([command for command, _ in batch])
        except BaseException as error:
            self._fail(batch, error)
            if not isinstance(error, Exception):
                raise
            values = [error]
        else:
            for (command, answer), value in zip(batch, values, strict=True):
                self._set_result(command, answer, value)
        if any(isinstance(value, BaseException) and is_store_error(value) for value in values):
            await recover(self._client)

    async def _execute(self, commands: list[_Command]) -> list[Any]:
        if len(commands) == 1:
            return [await self._client.execute_command(*commands[0])]
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    def _fail(self, batch: _Batch, error: BaseException) -> None:
        for command, answer in batch:
            if isinstance(error, Exception):
                self._set_result(command, answer, error)
            else:
                answer.cancel()

    def _set_result(self, command: _Command, answer: asyncio.Future[Any], value: Any) -> None:
        if answer.done():
            return  # its caller was cancelled
        if isinstance(value, NoScriptError) and command[0] == "EVALSHA":
            # After a restart or on a new master: EVAL loads the script again.
            self._enqueue(("EVAL", self._sources[command[1]], *command[2:]), answer)
        elif isinstance(value, Exception):
            answer.set_exception(self.translated(value))
            answer.exception()  # retrieved: a caller that was cancelled before it awaited the answer cannot do that
        else:
            answer.set_result(value)

    def translated(self, error: Exception) -> Exception:
        """Return an exception of redis-py as one of this package, and any other unchanged."""
        if not (is_store_error(error) or is_setup_error(error)):
            if not isinstance(error, ResponseError):
                return error
            unreadable = Unreadable(f"Redis at {self._name} holds a value that cannot be read: {error}")
            unreadable.__cause__ = error
            return unreadable
        # Errors that only an operator can fix are shown in full; their texts hold no secrets.
        reason = f"{type(error).__name__}: {error}" if is_setup_error(error) else type(error).__name__
        failure = BackendError(f"Redis at {self._name} did not answer: {reason}")
        failure.__cause__ = error
        return failure
