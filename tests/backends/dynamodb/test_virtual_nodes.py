"""Nodes in virtual time: whatever a seed has happen, no live node dies, no dead one stays, no message is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mcp_transport.backends.dynamodb.node_bus import DynamoNodeBus
from mcp_transport.domain.node_messages import Closed, LeaseLapsed, NodeLost, NodeMessage, Orphaned, StoreReturned
from mcp_transport.domain.policy import Policy
from mcp_transport.exceptions import BackendError
from tests.backends.contract_nodes import Process
from tests.support.backends import KEY, STREAM
from tests.support.dynamodb.virtual import VirtualTable, run_virtually

POLICY = Policy()  # with the usual lease of 10 seconds
NAMES = ("a", "b", "c")
SEEDS = range(25)


@asynccontextmanager
async def cluster(table: VirtualTable, *names: str, errors: float = 0.0) -> AsyncIterator[dict[str, Process]]:
    """Processes with a node each, whose clocks are wrong by up to `errors` seconds."""
    processes = {}
    for name in names:
        client = table.client(table.random.uniform(-errors, errors))
        processes[name] = Process(DynamoNodeBus(client, POLICY, {}))
        await processes[name].start(name)
    yield processes
    for process in processes.values():
        await process.leave()


def lost(process: Process, name: str) -> set[str]:
    return {message.node for message in process.received[name] if isinstance(message, NodeLost)}


@pytest.mark.parametrize("seed", SEEDS)
def test_no_outage_kills_a_node(seed: int) -> None:
    """Outages of any length, clocks that are wrong by 10 seconds, outdated reads, pauses of half a lease."""

    async def live() -> None:
        table = VirtualTable(seed)
        random = table.random
        async with cluster(table, *NAMES, errors=10.0) as processes:
            for _ in range(4):
                await asyncio.sleep(random.uniform(0, 20))
                table.is_away = True
                await asyncio.sleep(random.choice([1.0, 3.0, 5.0, 8.0, 11.0, 40.0]) * random.uniform(0.8, 1.2))
                table.is_away = False
            await asyncio.sleep(random.uniform(15, 20))
            name = random.choice(NAMES)
            await processes[name].pause(name)
            await asyncio.sleep(5)
            processes[name].resume(name)
            await asyncio.sleep(30)
            for name, process in processes.items():
                assert lost(process, name) == set()
                assert LeaseLapsed() not in process.received[name]
                assert StoreReturned() in process.received[name]
                assert process.bus.failure(name) is None
            assert set(await processes["a"].bus._node_names()) == set(NAMES)

    run_virtually(live())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_node_is_swept_within_two_leases(seed: int) -> None:
    async def live() -> None:
        table = VirtualTable(seed)
        random = table.random
        async with cluster(table, *NAMES, errors=10.0) as processes:
            await asyncio.sleep(random.uniform(0, 40))
            await processes["a"].bus.journal_at_once("a", KEY, STREAM)
            await processes["a"].kill("a")
            survivors = {name: processes[name] for name in ("b", "c")}
            await asyncio.sleep(POLICY.lease * 5 / 3 + 1)
            orphan = Orphaned(KEY, STREAM, "a")
            sweepers = [name for name, process in survivors.items() if orphan in process.received[name]]
            assert len(sweepers) == 1, "one node sweeps"
            if random.random() < 0.5:  # the one that sweeps dies, too: the other one continues
                (sweeper,) = sweepers
                await processes[sweeper].kill(sweeper)
                del survivors[sweeper]
            await asyncio.sleep(POLICY.lease * 2)
            for name, process in survivors.items():
                assert "a" in lost(process, name)
            if len(survivors) == 1:
                ((name, process),) = survivors.items()
                assert orphan in process.received[name]
            assert all([await process.bus.is_dead("a", name) for name, process in survivors.items()])
            process = next(iter(survivors.values()))
            process.bus.strike_from_journal("a", KEY, STREAM)  # type: ignore[attr-defined]
            await asyncio.sleep(POLICY.lease * 2)
            assert set(await process.bus._node_names()) == set(survivors)
            assert not [key for key in table.items if key[1] == "a" or key[0].endswith("#a")]

    run_virtually(live())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_paused_node_learns_at_once_that_it_was_swept(seed: int) -> None:
    async def live() -> None:
        table = VirtualTable(seed)
        random = table.random
        async with cluster(table, *NAMES, errors=10.0) as processes:
            await asyncio.sleep(random.uniform(0, 40))
            await processes["a"].bus.journal_at_once("a", KEY, STREAM)
            await processes["a"].pause("a")
            await asyncio.sleep(POLICY.lease * random.uniform(2, 10))
            assert processes["a"].bus.lease_may_be_lost("a")
            assert "a" in lost(processes["b"], "b") & lost(processes["c"], "c")
            processes["a"].resume("a")
            await asyncio.sleep(1)
            assert LeaseLapsed() in processes["a"].received["a"]
            assert not processes["a"].bus.lease_may_be_lost("a")
            await asyncio.sleep(POLICY.lease)
            for process in processes.values():
                process.received.clear()
            await asyncio.sleep(POLICY.lease * 3)
            assert not any(lost(process, name) for name, process in processes.items())
            assert not processes["a"].received["a"]

    run_virtually(live())


@pytest.mark.parametrize("seed", SEEDS)
def test_each_message_that_was_sent_arrives_once(seed: int) -> None:
    """Its reader is cancelled, the store is away, reads are outdated, and clocks order messages wrongly."""

    async def live() -> None:
        table = VirtualTable(seed)
        random = table.random
        async with cluster(table, *NAMES, errors=10.0) as processes:
            sent, unknown = list[NodeMessage](), list[NodeMessage]()

            async def send(number: int) -> None:
                sender, receiver = random.sample(NAMES, 2)
                message = Closed(f"{receiver} {number} {'x' * random.choice([1, 1, 1, 600_000])}")
                await asyncio.sleep(random.uniform(0, 30))
                try:
                    assert await processes[sender].bus.send(receiver, message)
                except BackendError:
                    unknown.append(message)
                else:
                    sent.append(message)

            async def disturb() -> None:
                for _ in range(10):
                    await asyncio.sleep(random.uniform(0, 3))
                    name = random.choice(NAMES)
                    if random.random() < 0.5:
                        await processes[name].pause(name)
                        processes[name].resume(name)
                    elif random.random() < 0.5:
                        expect(processes[name], name)
                    else:
                        table.is_away = True
                        await asyncio.sleep(random.uniform(0, 2))
                        table.is_away = False

            await asyncio.gather(disturb(), *map(send, range(60)))
            await asyncio.sleep(70)
            arrived = Counter(
                message
                for name, process in processes.items()
                for message in process.received[name]
                if isinstance(message, Closed) and message.key.startswith(name)
            )
            assert max(arrived.values()) == 1
            assert set(sent) <= set(arrived) <= {*sent, *unknown}
            assert not [key for key in table.items if key[0].startswith("inbox#")]

    run_virtually(live())


def expect(process: Process, node: str) -> None:
    """Let a node expect messages, as when a call begins."""
    process.expecting.add(node)
    process.bus.wake()  # type: ignore[attr-defined]


def polls(table: VirtualTable, node: str) -> list[float]:
    """Return when an inbox was read."""
    return [
        time
        for time, operation, parameters in table.requests
        if operation == "query" and parameters["ExpressionAttributeValues"][":pk"] == {"S": f"inbox#{node}"}
    ]


def test_polls_are_few_unless_something_waits() -> None:
    async def live() -> None:
        table, loop = VirtualTable(1), asyncio.get_running_loop()
        async with cluster(table, "a", "b") as processes:
            await asyncio.sleep(100)
            assert 29 <= len(polls(table, "a")) <= 31, "one with each heartbeat"
            table.requests.clear()
            begun = loop.time()
            expect(processes["a"], "a")
            await asyncio.sleep(1)
            assert polls(table, "a")[0] - begun == pytest.approx(0.02)
            assert 4 <= len(polls(table, "a")) <= 6
            table.requests.clear()
            await asyncio.sleep(100)
            assert 90 <= len(polls(table, "a")) <= 140
            table.requests.clear()
            assert await processes["b"].bus.send("a", Closed(KEY))
            await processes["a"].receives("a", Closed(KEY))
            times = polls(table, "a")
            await asyncio.sleep(0.3)
            after = [time for time in polls(table, "a") if time > times[-1]]
            assert len(after) >= 2, "often again after a message"
            processes["a"].expecting.clear()
            await asyncio.sleep(5)
            table.requests.clear()
            await asyncio.sleep(100)
            assert 29 <= len(polls(table, "a")) <= 31

    run_virtually(live())


def test_what_nobody_wakes_the_node_for_is_noticed_within_a_second() -> None:
    """A subscription without a session changes nothing in the store."""

    async def live() -> None:
        table = VirtualTable(1)
        async with cluster(table, "a", "b") as processes:
            await asyncio.sleep(20.1)
            table.requests.clear()
            processes["a"].expecting.add("a")
            assert await processes["b"].bus.send("a", Closed(KEY))
            await asyncio.sleep(1.5)
            assert processes["a"].received["a"] == [Closed(KEY)]

    run_virtually(live())
