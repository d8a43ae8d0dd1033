"""One client of each dialect: a session of 2025-11-25, no session, no handshake either, the old HTTP+SSE."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

import orjson

from tests.bench import messages
from tests.bench.wire import PATIENCE, Answer, Connection, WrongAnswer, data_of

Done = Callable[[Any], None]
Event = Callable[[bytes], None]


class Client:
    """A client in a session of 2025-11-25; where the server gives no session id, none is sent."""

    def __init__(self, port: int, path: str = "/mcp") -> None:
        self.port, self.path = port, path
        self.session_id = ""
        self._connection: Connection | None = None
        self._add = self._count = b""

    @property
    def connection(self) -> Connection:
        assert self._connection is not None
        return self._connection

    async def open(self) -> Self:
        """Connect, and open a session where the dialect has one."""
        self._connection = await Connection.open(self.port)
        await self.handshake()
        return self

    async def handshake(self) -> None:
        """Open a session: `initialize`, then `notifications/initialized`."""
        self.session_id = ""
        self.enter(await self.connection.ask(self.post(messages.INITIALIZE)))
        confirm(await self.connection.ask(self.post(messages.INITIALIZED)))
        self._add = messages.template(self.post(messages.add()))

    def enter(self, answer: Answer) -> None:
        """Take the session that the answer to `initialize` opens."""
        result = messages.outcome(answer).get("result", {})
        if result.get("protocolVersion") != messages.SESSIONFUL:
            raise WrongAnswer(f"initialize: {answer.body!r}")
        self.session_id = answer.header("Mcp-Session-Id")

    def rest(self) -> None:
        """Close what need not stay open between calls."""
        if self._connection is not None:
            self._connection.close()

    def close(self) -> None:
        """Close all connections; the session is left."""
        self.rest()

    # -- requests

    def post(self, body: bytes) -> bytes:
        """Build a POST in the session."""
        return messages.request("POST", self.path, self.port, {**messages.JSON_AND_SSE, **self._session()}, body)

    def get(self, last_event_id: str = "") -> bytes:
        """Build a GET of the session's stream, or one that resumes any stream."""
        resume = {"Last-Event-ID": last_event_id} if last_event_id else {}
        # djangorestframework-mcp-server answers 406 where nothing but a stream is accepted.
        headers = {"Accept": "text/event-stream, */*;q=0.1", **self._session(), **resume}
        return messages.request("GET", self.path, self.port, headers)

    def counting(self, steps: int, pause: float) -> bytes:
        """Build the template of a call of `count`."""
        return messages.template(self.post(messages.count(steps, pause)))

    def _session(self) -> dict[str, str]:
        own = {"MCP-Protocol-Version": messages.SESSIONFUL}
        return {"Mcp-Session-Id": self.session_id, **own} if self.session_id else {}

    # -- calls

    def add(self, number: int, done: Done) -> None:
        """Call `add`; `done` gets the message that came back."""
        self.connection.send(self._add % {b"n": number}, lambda answer: done(messages.outcome(answer)))

    def count(self, template: bytes, number: int, heard: Event, done: Callable[[Answer], None]) -> None:
        """Call `count`; each event of its stream is heard, then `done` called."""
        self.connection.send(template % {b"n": number}, done, heard)


class Handshakeless(Client):
    """A client of 2025-11-25 that skips the handshake, as servers without sessions allow."""

    async def handshake(self) -> None:
        self._add = messages.template(self.post(messages.add()))


class Sessionless(Client):
    """A client of 2026-07-28."""

    tool = "add"

    async def handshake(self) -> None:
        body = messages.add(messages.SESSIONLESS_META, self.tool)
        self._add = messages.template(self._alone(self.tool, body))

    def counting(self, steps: int, pause: float) -> bytes:
        return messages.template(self._alone("count", messages.count(steps, pause, messages.SESSIONLESS_META)))

    def _alone(self, tool: str, body: bytes) -> bytes:
        return messages.request("POST", self.path, self.port, messages.sessionless_headers(tool), body)


class Querying(Sessionless):
    """A client of 2026-07-28 whose calls query a database."""

    tool = "query"


class OldSSE(Client):
    """A client of HTTP+SSE (2024-11-05): answers come on a stream that lasts as long as its session."""

    def __init__(self, port: int, path: str = "/sse") -> None:
        super().__init__(port, path)
        self._stream: Connection | None = None
        self._waiting: dict[int, Done] = {}
        self._endpoint: asyncio.Future[str] | None = None

    async def handshake(self) -> None:
        loop = asyncio.get_running_loop()
        self._endpoint = loop.create_future()
        self._stream = await Connection.open(self.port)
        self._stream.send(super().get(), self._ended, self._hear)
        async with asyncio.timeout(PATIENCE):
            self.path = await self._endpoint
            answered: asyncio.Future[Any] = loop.create_future()
            self._send(self.post(messages.INITIALIZE), 0, answered.set_result)
            await answered
        confirm(await self.connection.ask(self.post(messages.INITIALIZED)))
        self._add = messages.template(self.post(messages.add()))

    def close(self) -> None:
        super().close()
        if self._stream is not None:
            self._stream.close()

    def add(self, number: int, done: Done) -> None:
        self._send(self._add % {b"n": number}, number, done)

    def _send(self, request: bytes, id: int, done: Done) -> None:
        """Post a request; `done` is called when both its receipt and its answer are there."""
        parts: list[Any] = []

        def arrived(part: Any) -> None:
            parts.append(part)
            if len(parts) == 2:
                done(next(part for part in parts if isinstance(part, dict)))

        self._waiting[id] = arrived
        self.connection.send(request, lambda answer: arrived(_receipt(answer)))

    def _hear(self, event: bytes) -> None:
        data = data_of(event)
        assert self._endpoint is not None
        if not self._endpoint.done() and data:
            self._endpoint.set_result(data.decode())
        elif data:
            message = orjson.loads(data)
            self._waiting.pop(message["id"])(message)

    def _ended(self, answer: Answer) -> None:
        raise WrongAnswer(f"the stream ended: {answer.status} {answer.head!r}")


def confirm(answer: Answer) -> None:
    """Raise where `notifications/initialized` was not accepted."""
    if answer.status not in (200, 202, 204):
        raise WrongAnswer(f"notifications/initialized: {answer.status} {answer.body!r}")


def _receipt(answer: Answer) -> Answer:
    if answer.status != 202:
        raise WrongAnswer(f"{answer.status} {answer.body!r}")
    return answer
