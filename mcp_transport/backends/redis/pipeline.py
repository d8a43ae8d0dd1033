"""Commands of one tick of the event loop, sent together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError

from mcp_transport.backends.redis.connection import is_setup_error, is_store_error, recover
from mcp_transport.backends.redis.scripts import Script
from mcp_transport.exceptions import BackendError

__all__ = ["Pipeline"]

_Command = tuple[Any, ...]


class Pipeline:
    """Collects what one event loop asks of Redis, and sends it once a tick as one pipeline."""

    def __init__(self, client: Any, name: str) -> None:
        self._client, self._name = client, name
        self._waiting: list[tuple[_Command, asyncio.Future[Any]]] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._posted: set[asyncio.Future[Any]] = set()

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a script, by its digest if Redis knows it. Raises: BackendError."""
        try:
            return await self.execute("EVALSHA", script.digest, len(keys), *keys, *arguments)
        except NoScriptError:
            # After a restart or on a new master: sending the source makes the digest known again.
            return await self.execute("EVAL", script.source, len(keys), *keys, *arguments)

    async def execute(self, *command: Any) -> Any:
        """Send one command. Raises: BackendError."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._send_soon)
        self._waiting.append((command, answer))
        return await answer

    def post(self, *command: Any) -> None:
        """Send one command behind, whatever becomes of it."""
        answer = asyncio.ensure_future(self.execute(*command))
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._posted.add(answer)
        answer.add_done_callback(self._posted.discard)

    async def close(self) -> None:
        """Wait for what is under way, then close the connections."""
        if self._posted:
            await asyncio.wait(self._posted)
        if self._waiting:
            await asyncio.sleep(0)  # the tick that sends them
        if self._sending:
            await asyncio.wait(self._sending)
        await self._client.aclose()

    def _send_soon(self) -> None:
        batch, self._waiting = self._waiting, []
        task = asyncio.get_running_loop().create_task(self._send(batch))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, batch: list[tuple[_Command, asyncio.Future[Any]]]) -> None:
        try:
            answers = await self._exchange([command for command, _ in batch])
        except Exception as error:
            answers = [error] * len(batch)
        except BaseException:
            for _, answer in batch:
                answer.cancel()
            raise
        failed = any(isinstance(value, BaseException) and is_store_error(value) for value in answers)
        for (_, answer), value in zip(batch, answers, strict=True):
            if answer.done():
                continue  # its caller was cancelled
            if isinstance(value, Exception):
                answer.set_exception(self._translated(value))
            else:
                answer.set_result(value)
        if failed:
            await recover(self._client)

    async def _exchange(self, commands: list[_Command]) -> list[Any]:
        if len(commands) == 1:
            return [await self._client.execute_command(*commands[0])]
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    def _translated(self, error: Exception) -> Exception:
        if not (is_store_error(error) or is_setup_error(error)):
            return error
        # What an operator's hand alone mends is said in full; these texts hold no secrets.
        why = f"{type(error).__name__}: {error}" if is_setup_error(error) else type(error).__name__
        failure = BackendError(f"Redis at {self._name} did not answer: {why}")
        failure.__cause__ = error
        return failure
