"""A carrier that makes an event of each request, and has a handler answer it, one after the other in one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mcp_transport.adapters.aws_function import LambdaHandler
from mcp_transport.adapters.aws_lambda import lambda_handler
from tests.support.aws_lambda.context import Context
from tests.support.aws_lambda.events import DOORS, Event, answer
from tests.support.http.answer import Answer
from tests.support.http.carrier import Carrier
from tests.support.http.request import Request

_T = TypeVar("_T")


class Returned(Answer):
    """The response to an event."""

    def __init__(self, door: str, response: Event, *, is_head: bool = False) -> None:
        super().__init__()
        self.status, self.lines, body = answer(door, response)
        self._rest = b"" if is_head else body

    async def _piece(self) -> bytes:
        piece, self._rest = self._rest, b""
        return piece

    async def close(self) -> None:
        """Do nothing: the answer is here already."""


class Invoked(Carrier):
    """Has a handler answer each request as a front door's event."""

    def __init__(self, door: str, **options: Any) -> None:
        self.door, self._options = door, options
        self._handler: LambdaHandler | None = None
        self.seconds = 900.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lambda")

    async def run(self, work: Callable[[LambdaHandler], _T]) -> _T:
        """Call a function with the handler, in its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._made()))

    def _made(self) -> LambdaHandler:
        if self._handler is None:
            self._handler = lambda_handler(**self._options)
        return self._handler

    async def invoke(self, event: Event) -> Event:
        """Return the response to an event."""
        return await self.run(lambda handler: handler(event, Context(self.seconds)))

    async def send(self, request: Request) -> Answer:
        response = await self.invoke(DOORS[self.door](request))
        return Returned(self.door, response, is_head=request.method == "HEAD")

    async def close(self) -> None:
        if self._handler is not None:
            await self.run(lambda handler: handler.close())
        self._thread.shutdown()
