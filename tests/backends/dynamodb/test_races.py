"""Many processes change one session, caller or stream at the same time: one of them wins, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.client import TableSettings
from mcp_transport.backends.results import Event, NoRoom
from mcp_transport.domain.session import session_key
from tests.support.backends import ANN, KEY, POLICY, STREAM, HandClock, ended, events, in_flight, session
from tests.support.dynamodb.backend import build

NODES = [f"n{number}" for number in range(16)]


@pytest.fixture
def processes(table: TableSettings, clock: HandClock) -> list[Backend]:
    """Sixteen processes with a node each."""
    return [build(table, now=clock) for _ in NODES]


@pytest.fixture
async def first(processes: list[Backend], clock: HandClock) -> Backend:
    """The first of them, which has opened a session."""
    await processes[0].sessions.open(session(clock))
    return processes[0]


async def enter_all(processes: Sequence[Backend], *request_ids: int, stream: str = STREAM) -> list[str]:
    """Let each process enter a POST with the same requests; return the nodes that may run them."""

    async def enter(node: str, process: Backend) -> bool:
        requests = [in_flight(request_id, node=node, stream=stream) for request_id in request_ids]
        entered = await process.sessions.enter(KEY, ANN, node, requests)
        assert entered is not None
        return not entered.running

    admitted = await asyncio.gather(*map(enter, NODES, processes))
    return [node for node, is_admitted in zip(NODES, admitted, strict=True) if is_admitted]


async def test_of_sixteen_posts_with_one_id_one_is_admitted(processes: list[Backend], first: Backend) -> None:
    [winner] = await enter_all(processes, 1)
    [running] = await first.sessions.in_flight(KEY)
    assert running.node == winner
    record = await first.sessions.get(KEY)
    assert record is not None and record.requests == 16, "each POST counts, also a repeated one"


async def test_of_sixteen_batches_with_a_common_id_one_is_admitted(processes: list[Backend], first: Backend) -> None:
    [winner] = await enter_all(processes, 1, 2, 3)
    running = await first.sessions.in_flight(KEY)
    assert [(item.request_id, item.node) for item in running] == [(number, winner) for number in (1, 2, 3)]


async def test_of_sixteen_posts_with_one_idempotency_key_one_is_admitted(
    processes: list[Backend], first: Backend
) -> None:
    assert len(await enter_all(processes, 1, stream="k" + "0" * 25)) == 1


async def test_posts_with_ids_of_their_own_are_all_admitted(processes: list[Backend], first: Backend) -> None:
    await asyncio.gather(
        *(
            process.sessions.enter(KEY, ANN, node, [in_flight(number, node=node, stream=node)])
            for number, (node, process) in enumerate(zip(NODES, processes, strict=True))
        )
    )
    assert {item.node for item in await first.sessions.in_flight(KEY)} == set(NODES)


async def test_sixteen_processes_open_no_more_sessions_than_the_limit(
    processes: list[Backend], clock: HandClock
) -> None:
    async def open_one(number: int, process: Backend) -> str | None:
        key = session_key(f"race-{number}")
        try:
            evicted = await process.sessions.open(session(clock, key))
        except NoRoom:
            return None
        await process.sessions.enter(key, ANN, NODES[number], [in_flight(1)])
        for idle in evicted:
            await process.sessions.close(idle, None)
        return key

    opened = await asyncio.gather(*(open_one(number, process) for number, process in enumerate(processes)))
    alive = [key for key in opened if key is not None and await processes[0].sessions.get(key) is not None]
    assert len(alive) == POLICY.max_sessions_per_principal


async def test_of_sixteen_nodes_that_claim_a_stream_one_gets_it(
    processes: list[Backend], first: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await first.sessions.enter(KEY, ANN, "dead", [in_flight(1, node="dead")])
    await first.streams.append(KEY, STREAM, events(1), writer="dead", holder="dead")
    for process in processes:
        monkeypatch.setattr(process.bus, "is_dead", _is_dead)
    claimed = await asyncio.gather(
        *(process.streams.claim(KEY, STREAM, "dead", node) for node, process in zip(NODES, processes, strict=True))
    )
    [winner] = [node for node, item in zip(NODES, claimed, strict=True) if item is not None]
    assert await first.streams.writer(KEY, STREAM) == winner
    late = await first.streams.append(KEY, STREAM, events(2), writer="dead")
    assert late is not None and late.fenced
    assert [item.node for item in await first.sessions.in_flight(KEY)] == [winner]


async def test_of_sixteen_nodes_that_take_a_stream_each_has_an_epoch(
    processes: list[Backend], first: Backend
) -> None:
    attached = await asyncio.gather(
        *(process.streams.attach(KEY, ANN, "g", None, node) for node, process in zip(NODES, processes, strict=True))
    )
    epochs = sorted(item.holder.epoch for item in attached if item is not None)
    assert epochs == list(range(1, 17))


async def test_messages_of_sixteen_nodes_have_numbers_without_holes(processes: list[Backend], first: Backend) -> None:
    emitted = await asyncio.gather(
        *(process.streams.emit(KEY, b"%d" % number) for number, process in enumerate(processes * 4))
    )
    assert sorted(item.seq for item in emitted if item is not None) == list(range(1, 65))
    found, lost = await first.streams.read(KEY, "g", 64 - POLICY.stream_max_events)
    assert (len(found), lost) == (POLICY.stream_max_events, 0)


async def test_closing_beside_everything_else_leaves_it_closed(
    processes: list[Backend], first: Backend, clock: HandClock
) -> None:
    work = [
        *(process.sessions.enter(KEY, ANN, "n1", [in_flight(at)]) for at, process in enumerate(processes[:4])),
        *(process.streams.emit(KEY, b"{}") for process in processes[4:8]),
        *(process.streams.append(KEY, f"s{at}", events(1)) for at, process in enumerate(processes[8:12])),
        *(process.sessions.write_state(KEY, "name", b"value") for process in processes[12:14]),
    ]
    _, closings = await asyncio.gather(
        asyncio.gather(*work), asyncio.gather(*(process.sessions.close(KEY, ANN) for process in processes[14:]))
    )
    assert sum(closing is not None for closing in closings) == 1
    for process in processes:
        assert await process.sessions.get(KEY) is None
        assert await process.sessions.enter(KEY, ANN, "n1", [in_flight(77)]) is None
        assert await process.streams.append(KEY, STREAM, events(1)) is None
        assert await process.sessions.read_state(KEY) == {}


async def test_a_process_that_remembers_an_old_version_decides_by_the_new_one(
    processes: list[Backend], first: Backend
) -> None:
    """What a process remembers saves a read; it must never decide alone."""
    one, other = processes[0], processes[1]
    await one.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
    await other.sessions.leave(KEY, ended(1))
    entered = await one.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
    assert entered is not None and entered.running == ()
    await other.sessions.enter(KEY, ANN, "n2", [in_flight(2, node="n2")])
    entered = await one.sessions.enter(KEY, ANN, "n1", [in_flight(2)])
    assert entered is not None and [item.node for item in entered.running] == ["n2"]
    await other.sessions.close(KEY, ANN)
    assert await one.sessions.touch(KEY) is False
    assert await one.sessions.enter(KEY, ANN, "n1", [in_flight(3)]) is None


async def test_of_sixteen_first_writers_of_a_stream_one_is_not_fenced(
    processes: list[Backend], first: Backend
) -> None:
    appended = await asyncio.gather(
        *(
            process.streams.append(KEY, STREAM, [Event(1, node.encode())], writer=node)
            for node, process in zip(NODES, processes, strict=True)
        )
    )
    [winner] = [node for node, item in zip(NODES, appended, strict=True) if item is not None and not item.fenced]
    assert await first.streams.writer(KEY, STREAM) == winner
    found, lost = await first.streams.read(KEY, STREAM, 0)
    assert ([event.seq for event in found], lost) == ([1], 0)


async def _is_dead(node: str, by: str) -> bool:
    return True
