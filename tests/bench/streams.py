"""Calls that report progress, streams that say nothing, streams that are resumed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import orjson

from tests.bench import messages
from tests.bench.calls import adding
from tests.bench.clients import Client
from tests.bench.load import Start, numbers, quantile
from tests.bench.stage import Facts, Stage, close_all, until
from tests.bench.wire import Answer, Connection, WrongAnswer, data_of, id_of, now

STEPS = 20
PAUSE_SECONDS = 0.01
LONG = 200
SAMPLE_SECONDS = 0.25


class Counting:
    """Calls `count` and checks that each step came, in order; keeps when the first came, and the gaps between."""

    def __init__(self, client: Client, steps: int = STEPS, pause: float = 0.0) -> None:
        self._client, self._steps = client, steps
        self._template = client.counting(steps, pause)
        self.first: list[float] = []
        self.gaps: list[float] = []

    def start(self, number: int, done: Callable[[], None]) -> None:
        """Begin one call."""
        began, heard = now(), list[tuple[float, bytes]]()

        def hear(event: bytes) -> None:
            heard.append((now(), event))

        def check(answer: Answer) -> None:
            events = [(time, data) for time, event in heard if (data := data_of(event))]
            check_count([data for _, data in events], answer, number, self._steps)
            times = [time for time, _ in events]
            self.first.append(times[0] - began)
            self.gaps += [after - before for before, after in itertools.pairwise(times[:-1])]
            done()

        self._client.count(self._template, number, hear, check)


def check_count(received: list[bytes], answer: Answer, number: int, steps: int) -> None:
    """Raise where a call of `count` did not bring each step and then the result."""
    if len(received) != steps + 1:
        raise WrongAnswer(
            f"call {number}: {answer.status}, {len(received)} messages, {received[-1:]} {answer.body!r}"
        )
    for step, data in enumerate(received[:-1], start=1):
        messages.check_progress(orjson.loads(data), number, step)
    messages.check_count(orjson.loads(received[-1]), number, steps)


async def stream(stage: Stage) -> Facts:
    """Have each client call `count`, which reports 20 steps as fast as it can."""
    return (await _counted(stage, stage.scale.connections))[0]


async def first_event(stage: Stage) -> Facts:
    """Have one client call `count`; say how long the first event takes."""
    _, countings = await _counted(stage, 1)
    return _milliseconds(countings[0].first)


async def spacing(stage: Stage) -> Facts:
    """Have each client call `count`, which pauses 10 ms between its reports; say how far apart they arrive."""
    _, countings = await _counted(stage, stage.scale.connections, PAUSE_SECONDS)
    return _milliseconds([gap for counting in countings for gap in counting.gaps])


async def _counted(stage: Stage, count: int, pause: float = 0.0) -> tuple[Facts, list[Counting]]:
    clients = await stage.clients(stage.server.session, count)
    countings = [Counting(client, pause=pause) for client in clients]
    try:
        return await stage.drive([counting.start for counting in countings]), countings
    finally:
        close_all(clients)


def _milliseconds(values: list[float]) -> Facts:
    return {"p50": quantile(values, 0.5) * 1000, "p99": quantile(values, 0.99) * 1000}


# -- idle streams


async def idle(stage: Stage) -> Facts:
    """Open many GET streams; say what one takes of memory, and what calls beside them lose."""
    ids = await stage.session_ids(stage.scale.idle_streams)
    without, _ = await _calls_and_memory(stage)
    first = len(ids) // 5
    streams = list[Connection]()
    try:
        # The first of them take what sessions and calls have left free in the heap.
        await _listen(stage, ids[:first], streams)
        _, before = await _calls_and_memory(stage)
        await _listen(stage, ids[first:], streams)
        beside, after = await _calls_and_memory(stage)
    finally:
        for connection in streams:
            connection.close()
    kib = (after - before) / (len(ids) - first) / 1024
    return {"streams": len(ids), "kib": kib, "without": without, "beside": beside, "kept": beside / without}


async def _listen(stage: Stage, session_ids: list[str], streams: list[Connection]) -> None:
    client = Client(stage.process.port, stage.server.path)
    for client.session_id in session_ids:
        streams.append(await Connection.open(client.port))
        streams[-1].send(client.get(), _ended, lambda _: None)
    await until(lambda: all(stream.status for stream in streams), "all streams are open")
    if wrong := {stream.status for stream in streams} - {200}:
        raise WrongAnswer(f"GET is answered {wrong}")


def _ended(answer: Answer) -> None:
    raise WrongAnswer(f"a stream ended that should have stayed open: {answer.status} {answer.head!r}")


async def _calls_and_memory(stage: Stage) -> tuple[float, int]:
    """Return the call rate, and the least memory meanwhile: what garbage takes is nobody's."""
    clients = await stage.clients(Client)
    sampling = asyncio.ensure_future(_least_memory(stage))
    try:
        timings, _ = await stage.timed([adding(client) for client in clients])
    finally:
        close_all(clients)
        sampling.cancel()
    return timings.rate, await sampling


async def _least_memory(stage: Stage) -> int:
    """Sample until cancelled."""
    least = stage.process.memory()
    try:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            least = min(least, stage.process.memory())
    except asyncio.CancelledError:
        return least


# -- resuming


async def resume(stage: Stage) -> Facts:
    """Have each client resume, again and again, a call whose log has 200 events, after its first event."""
    clients = await stage.clients(Client)
    try:
        begun = [await _finished_call(client) for client in clients]
        starts = [_resuming(client, *facts) for client, facts in zip(clients, begun, strict=True)]
        return await stage.drive(starts)
    finally:
        close_all(clients)


async def _finished_call(client: Client) -> tuple[int, str, int]:
    """Call `count`; return the call's number, the id of its first event, and how many messages follow that."""
    number, heard = next(numbers), list[bytes]()
    answer = await client.connection.ask(client.counting(LONG, 0.0) % {b"n": number}, heard.append)
    check_count([data for event in heard if (data := data_of(event))], answer, number, LONG)
    return number, id_of(heard[0]), LONG + 1 - bool(data_of(heard[0]))


def _resuming(client: Client, call: int, first_id: str, left: int) -> Start:
    """Resume a stream on a connection of its own, until the result of its call has come."""
    port, request = client.port, client.get(first_id)
    under_way: set[asyncio.Task[None]] = set()

    async def work(done: Callable[[], None]) -> None:
        connection = await Connection.open(port)
        over, received = asyncio.Event(), list[Any]()

        def hear(event: bytes) -> None:
            if data := data_of(event):
                received.append(orjson.loads(data))
                if received[-1].get("id") == call:
                    over.set()

        connection.send(request, lambda _: over.set(), hear)
        try:
            await over.wait()
        finally:
            connection.close()
        if len(received) != left:
            raise WrongAnswer(f"resumed after {first_id}: {connection.status}, {len(received)} messages, not {left}")
        for step, message in enumerate(received[:-1], start=LONG + 2 - left):
            messages.check_progress(message, call, step)
        messages.check_count(received[-1], call, LONG)
        done()

    def ended(task: asyncio.Task[None]) -> None:
        under_way.discard(task)
        if not task.cancelled():
            task.result()

    def start(_: int, done: Callable[[], None]) -> None:
        task = asyncio.ensure_future(work(done))
        under_way.add(task)
        task.add_done_callback(ended)

    return start
