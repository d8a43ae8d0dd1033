"""Clients that hardly rest: each calls tools and listens to its GET stream, and takes what it is told to retry."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any, Self

from tests.support.cluster.stage import numbers, some_events
from tests.support.http.answer import FOREVER
from tests.support.http.client import Client
from tests.support.http.network import SocketAnswer

_PAUSE = 0.05
_REST = 0.05
"""Seconds between two rounds of a client's calls: more would not find more, and would take the processor away."""
STEPS = 5


class Load:
    """So many clients at one port, from `async with` to its end; `check` says what must hold of them."""

    def __init__(self, port: int, clients: int) -> None:
        self._port = port
        self.customers = [_Customer(port, number) for number in range(clients)]
        self._tasks: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()

    @property
    def calls(self) -> int:
        """How many calls have ended well."""
        return sum(customer.calls for customer in self.customers)

    @property
    def retries(self) -> int:
        """How many calls were answered with 503, and made again."""
        return sum(customer.retries for customer in self.customers)

    async def more(self, calls: int) -> None:
        """Wait until so many more calls have ended well."""
        wanted, deadline = self.calls + calls, time.monotonic() + FOREVER
        while self.calls < wanted:
            for task in self._tasks:
                if task.done():
                    task.result()
            assert time.monotonic() < deadline, f"{wanted - self.calls} calls are missing"
            await asyncio.sleep(_PAUSE)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.ensure_future(customer.run(self._over)) for customer in self.customers]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if error is not None:
            for task in self._tasks:
                task.cancel()
        done = await asyncio.gather(*self._tasks, return_exceptions=True)
        if error is None:
            for outcome in done:
                if outcome is not None:
                    raise outcome


class _Customer:
    """One session: its calls one after the other, its GET stream beside them."""

    def __init__(self, port: int, number: int) -> None:
        self._client, self._number = Client(port), number
        self.calls = self.retries = 0
        self.heard: list[str] = []

    async def run(self, over: asyncio.Event) -> None:
        async with self._client as client:
            await client.initialize()
            listening = asyncio.ensure_future(self._listen())
            try:
                while not over.is_set():
                    await self._call(over)
                    await asyncio.sleep(_REST)
                await self._hear_all(listening)
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def _hear_all(self, listening: asyncio.Future[None]) -> None:
        said = [f"{self._number}.{call}" for call in range(self.calls // 3)]
        deadline = time.monotonic() + FOREVER
        while len(self.heard) < len(said):
            if listening.done():
                listening.result()
            assert time.monotonic() < deadline, f"heard {self.heard[-3:]} last of {len(said)}"
            await asyncio.sleep(_PAUSE)
        assert self.heard == said

    async def _call(self, over: asyncio.Event) -> None:
        """Call three tools: one that streams, one that answers at once, one that speaks on the GET stream."""
        answer = await self._post("count", {"name": "load", "steps": STEPS, "pause": 0.01})
        events = await some_events(answer, STEPS + 1, FOREVER)
        assert numbers(events) == list(range(1, STEPS + 2))
        assert "result" in events[-1].message, events[-1]
        self.calls += 1
        assert await (await self._post("add", {"a": 1, "b": 2})).text() == "3"
        self.calls += 1
        word = f"{self._number}.{self.calls // 3}"
        assert await (await self._post("whisper", {"text": word})).text() == "whispered"
        self.calls += 1

    async def _post(self, tool: str, arguments: dict[str, Any]) -> SocketAnswer:
        """Call a tool; a node that stops says where it is not to be asked, by 503 and Retry-After."""
        number = next(self._client.ids)
        # A node that starts accepts connections long before it answers, if the machine has much to do.
        while (answer := await self._client.call(tool, arguments, id=number, within=FOREVER)).status == 503:
            assert answer.headers["retry-after"]
            await answer.read()
            self.retries += 1
            await asyncio.sleep(_PAUSE)
        assert answer.status == 200, (answer.status, await answer.read())
        return answer

    async def _listen(self) -> None:
        last = None
        while True:
            stream = await self._client.get(last)
            if stream.status == 200:
                while (event := await stream.next_event(FOREVER)) is not None:
                    if event.data:
                        self.heard.append(event.message["params"]["data"])
                last = stream.last_event_id or last
            else:
                assert stream.status == 503, await stream.read()
                await stream.read()
                await asyncio.sleep(_PAUSE)
