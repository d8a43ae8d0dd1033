"""An SDK server's lifespan."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final

from mcp.server.lowlevel.server import Server

from mcp_transport.kernel.errors import is_cancellation

__all__ = ["Lifespan"]

logger = logging.getLogger(__name__)

# How long the shutdown of a server's lifespan may take.
_SHUTDOWN_SECONDS: Final = 10.0


class Lifespan:
    """The server's lifespan on one loop, in its own task: a context manager must exit in the task that entered it."""

    def __init__(self, server: Server[Any], context: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._server, self._context = server, context
        self._end = asyncio.Event()
        self.entered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Enter the lifespan, wait for `close`, and exit it."""
        try:
            async with AsyncExitStack() as stack:
                async with self._context():
                    state = await stack.enter_async_context(self._server.lifespan(self._server))
                self.entered.set_result(state)
                await self._end.wait()
                async with self._context():
                    await stack.aclose()
        except BaseException as error:
            if is_cancellation(error):
                raise
            if self.entered.done():
                logger.exception("the server's lifespan failed after start-up")
            else:
                text = f"the server's lifespan raised {type(error).__name__}"
                self.entered.set_exception(error if isinstance(error, Exception) else RuntimeError(text))
        finally:
            if not self.entered.done():
                self.entered.set_exception(RuntimeError("the lifespan was cancelled before it started"))

    @property
    def state(self) -> Any:
        """Return the value that the lifespan yielded."""
        return self.entered.result()

    async def close(self) -> None:
        """Exit the lifespan and wait until it has exited, `_SHUTDOWN_SECONDS` at most."""
        self._end.set()
        if self.task is not None:
            await asyncio.wait([self.task], timeout=_SHUTDOWN_SECONDS)
