"""Commands of one tick of the event loop, sent together."""

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

# Seconds that a command nobody waits for may wait for others to go with: every packet wakes two processes.
_BEHIND: Final = 0.001

_Command = tuple[Any, ...]
_Batch = list[tuple[_Command, "asyncio.Future[Any]"]]


class CommandBatcher:
    """Collects what one event loop asks of Redis, and sends it once a tick."""

    def __init__(self, client: Any, name: str) -> None:
        self._client, self._name = client, name
        self._loop = asyncio.get_running_loop()
        self._sources: dict[str, str] = {}
        self._waiting: _Batch = []
        self._due: asyncio.Handle | None = None
        self._is_due_soon = False
        self._wire: MultiplexedConnection | None = None
        self._shares_connection = _HAS_HIREDIS and not isinstance(client, RedisCluster)
        self._backlog: _Batch = []
        self._tasks: set[asyncio.Future[Any]] = set()

    def run(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Any], *, behind: bool = False
    ) -> asyncio.Future[Any]:
        """Run a script, by its digest if Redis knows it. Raises, when awaited: BackendError, Unreadable."""
        self._sources[script.digest] = script.source
        return self.execute("EVALSHA", script.digest, len(keys), *keys, *arguments, behind=behind)

    def execute(self, *command: Any, behind: bool = False) -> asyncio.Future[Any]:
        """Send one command, or `behind`, with the next one that is sent.

        Raises, when awaited:
            BackendError: Redis does not answer, or refuses.
            Unreadable: the key holds what the command, or the script, cannot work on.
        """
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._enqueue(command, answer, behind)
        return answer

    def _enqueue(self, command: _Command, answer: asyncio.Future[Any], behind: bool = False) -> None:
        self._waiting.append((command, answer))
        if behind and self._due is None:
            self._due = self._loop.call_later(_BEHIND, self._send_waiting)
        elif not behind and not self._is_due_soon:
            if self._due is not None:
                self._due.cancel()
            self._due, self._is_due_soon = self._loop.call_soon(self._send_waiting), True

    def post(self, *command: Any) -> None:
        """Send one command behind, whatever becomes of it."""
        answer = self.execute(*command, behind=True)
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._keep(answer)

    async def flush(self) -> None:
        """Return when no command can be overtaken any more by one that is sent now."""
        if self._shares_connection:
            return  # on which they stay in order
        if self._waiting:
            self._send_waiting()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Wait for what is under way, then close the connections."""
        while self._waiting or self._tasks or self._is_answering():
            if self._waiting:
                self._send_waiting()
            if self._tasks:
                await asyncio.wait(self._tasks)
            if self._wire is not None:
                await self._wire.drained.wait()
        if self._wire is not None:
            await self._wire.close()
        await self._client.aclose()

    def _is_answering(self) -> bool:
        return self._wire is not None and not self._wire.drained.is_set()

    def _keep(self, task: asyncio.Future[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send_waiting(self) -> None:
        if self._due is not None:
            self._due.cancel()
        batch, self._waiting, self._due, self._is_due_soon = self._waiting, [], None, False
        self._transmit(batch)

    def _transmit(self, batch: _Batch) -> None:
        """Send commands together, and have each answer settled."""
        if not self._shares_connection:
            self._keep(self._loop.create_task(self._exchange(batch)))
        elif self._wire is not None and not self._wire.is_broken and not self._backlog:
            self._send(self._wire, batch)
        else:
            if not self._backlog:
                self._keep(self._loop.create_task(self._connect()))
            self._backlog += batch

    def _send(self, wire: MultiplexedConnection, batch: _Batch) -> None:
        try:
            wire.send([command for command, _ in batch], [partial(self._settle, *item) for item in batch])
        except (TypeError, ValueError) as error:  # a word that cannot be written, which is the fault of one command
            if len(batch) == 1:
                self._fail(batch, error)
            for item in batch if len(batch) > 1 else ():
                self._send(wire, [item])

    async def _connect(self) -> None:
        """Open a wire for what waits for one."""
        from mcp_transport.backends.redis.multiplexed_connection import MultiplexedConnection  # which needs hiredis

        broken, self._wire = self._wire, None
        try:
            if broken is not None:
                await broken.close()
            self._wire = wire = await MultiplexedConnection.open(self._client)
        except BaseException as error:
            self._fail(self._take_backlog(), error)
            if not isinstance(error, Exception):
                raise
        else:
            self._send(wire, self._take_backlog())

    def _take_backlog(self) -> _Batch:
        batch, self._backlog = self._backlog, []
        return batch

    async def _exchange(self, batch: _Batch) -> None:
        """Have redis-py's pipeline do it, which knows where in a Cluster each key lives."""
        try:
            values = await self._execute([command for command, _ in batch])
        except BaseException as error:
            self._fail(batch, error)
            if not isinstance(error, Exception):
                raise
            values = [error]
        else:
            for (command, answer), value in zip(batch, values, strict=True):
                self._settle(command, answer, value)
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
                self._settle(command, answer, error)
            else:
                answer.cancel()

    def _settle(self, command: _Command, answer: asyncio.Future[Any], value: Any) -> None:
        if answer.done():
            return  # its caller was cancelled
        if isinstance(value, NoScriptError) and command[0] == "EVALSHA":
            # After a restart or on a new master: sending the source makes the digest known again.
            self._enqueue(("EVAL", self._sources[command[1]], *command[2:]), answer)
        elif isinstance(value, Exception):
            answer.set_exception(self.translated(value))
        else:
            answer.set_result(value)

    def translated(self, error: Exception) -> Exception:
        """Return an error of redis-py as one of this package; any other as it is."""
        if not (is_store_error(error) or is_setup_error(error)):
            if not isinstance(error, ResponseError):
                return error
            unreadable = Unreadable(f"Redis at {self._name} holds what cannot be read: {error}")
            unreadable.__cause__ = error
            return unreadable
        # What an operator's hand alone mends is said in full; these texts hold no secrets.
        why = f"{type(error).__name__}: {error}" if is_setup_error(error) else type(error).__name__
        failure = BackendError(f"Redis at {self._name} did not answer: {why}")
        failure.__cause__ = error
        return failure
