"""What every bus with leases does, as tests; a subclass says how a process is built, and how garbage is stored."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mcp_transport.backends.contracts import Measure
from mcp_transport.backends.leased_nodes import LeasedNodeBus
from mcp_transport.backends.membership import Membership
from mcp_transport.domain.metrics import Load, ProcessMetrics
from mcp_transport.domain.node_messages import (
    Broadcast,
    Closed,
    LeaseLapsed,
    NodeLost,
    NodeMessage,
    Orphaned,
    ReplyArrived,
    Wake,
)
from mcp_transport.domain.policy import Policy
from tests.support.backends import KEY, OTHER_KEY, STREAM

QUICK = Policy(lease=1.5)
HEARD = Wake("K", "s")
NUMBER = re.compile(r"\d{15}-\d{5,}")

GARBAGE = (b"", b"garbage", b"\xff", b'{"kind": 1}', b'["Wake", null]', b"[[], {}]", b'["Wake", {"key": "K"}]')


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(60):
        while True:
            answer = condition()
            if await answer if isinstance(answer, Awaitable) else answer:
                return
            await asyncio.sleep(0.01)


class Process:
    """A process with its nodes, and what each of them has received."""

    def __init__(self, bus: LeasedNodeBus) -> None:
        self.bus = bus
        self.received = defaultdict[str, list[NodeMessage]](list)
        self.expecting = set[str]()
        """The nodes for which other nodes may have messages, as their engines would know."""

    async def start(self, node: str, measure: Measure = ProcessMetrics) -> None:
        self.bus.expect_messages(node, lambda: node in self.expecting)
        await self.bus.start(node, lambda message: self.received[node].append(message), measure)

    def member(self, node: str) -> Membership:
        return self.bus._members[node]

    async def pause(self, node: str) -> None:
        """Stop what a node does in the background, as if its process got no time."""
        for task in self.member(node)._tasks:
            await task.stop()

    def resume(self, node: str) -> None:
        for task in self.member(node)._tasks:
            task.start()

    async def kill(self, node: str) -> None:
        await self.pause(node)
        del self.bus._members[node]

    async def hears(self, node: str, sender: Process) -> bool:
        before = self.received[node].count(HEARD)
        assert await sender.bus.send(node, HEARD)
        await eventually(lambda: self.received[node].count(HEARD) > before)
        return True

    async def receives(self, node: str, message: NodeMessage) -> None:
        """Wait until a node has received a message."""
        await eventually(lambda: message in self.received[node])

    async def leave(self) -> None:
        for node in list(self.bus._members):
            await self.bus.stop(node)


class NodeContract:
    """Leases, messages, journals and broadcasts."""

    @pytest.fixture
    def make(self) -> Callable[[], Process]:
        """Return what builds a process; all of them leave after the test."""
        raise NotImplementedError

    async def put_message(self, process: Process, node: str, raw: bytes) -> None:
        """Store a message as the previous or the next release may have done."""
        raise NotImplementedError

    async def put_in_journal(self, process: Process, node: str, entry: str) -> None:
        """Store the name of a stream in a journal."""
        raise NotImplementedError

    async def journal(self, process: Process, node: str) -> set[tuple[str, str]]:
        return set(await process.member("b").store.journal_of(node))

    @pytest.fixture
    async def one(self, make: Callable[[], Process]) -> Process:
        """The process of node `a`."""
        process = make()
        await process.start("a")
        return process

    @pytest.fixture
    async def other(self, make: Callable[[], Process], one: Process) -> Process:
        """The process of node `b`."""
        process = make()
        await process.start("b")
        return process

    # -- messages ------------------------------------------------------------------------------------

    async def test_messages_of_every_size_arrive_once_and_whole(self, one: Process, other: Process) -> None:
        sent: list[NodeMessage] = [
            *(Closed(f"{number}") for number in range(120)),
            ReplyArrived("short", {"n": 10**21}, None),
            ReplyArrived("long", {"text": "\u20ac" * 300_000}, None),
            ReplyArrived("longer", {"text": "x" * 8 * 2**20}, {"n": -(10**21)}),
        ]
        assert all(await asyncio.gather(*(one.bus.send("b", message) for message in sent)))
        await eventually(lambda: len(other.received["b"]) >= len(sent))
        assert await other.hears("b", one)
        counts = Counter(map(repr, other.received["b"]))
        assert counts == Counter(map(repr, [*sent, HEARD]))
        assert one.received["a"] == []

    async def test_messages_of_one_process_need_no_store(self, one: Process) -> None:
        assert await one.bus.send("a", HEARD)
        assert one.received["a"] == [HEARD]

    async def test_a_check_that_is_cancelled_before_it_begins_leaves_nothing(self, one: Process) -> None:
        await one.pause("a")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for ticks in range(3):
                check = asyncio.get_running_loop().create_task(one.member("a")._check_nodes())
                for _ in range(ticks):
                    await asyncio.sleep(0)
                check.cancel()
                await asyncio.wait([check])
            gc.collect()
        assert not [str(each.message) for each in caught]

    async def test_a_node_that_does_not_exist_gets_nothing(self, one: Process, other: Process) -> None:
        assert not await one.bus.send("never-came", HEARD)
        await other.bus.stop("b")
        assert not await one.bus.send("b", HEARD)
        assert [node.name for node in await one.bus.nodes()] == ["a"]

    async def test_messages_that_cannot_be_read_are_left_out(self, one: Process, other: Process) -> None:
        for raw in GARBAGE:
            await self.put_message(one, "b", raw)
        await self.put_message(one, "b", b'["Wake", {"key": "K", "stream": "newer", "why": 1}]')
        await self.put_message(one, "b", b'["Newer", {"key": "K"}]')
        await other.receives("b", Wake("K", "newer"))
        assert await other.hears("b", one)
        assert other.received["b"] == [Wake("K", "newer"), HEARD]
        assert other.bus.failure("b") is None

    @pytest.mark.parametrize("step", ["renew", "read_inbox", "lapsed_nodes", "add_to_journal"])
    @pytest.mark.parametrize("error", [RuntimeError("odd"), asyncio.CancelledError()], ids=["error", "cancelled"])
    async def test_whatever_is_raised_the_tasks_go_on(
        self, step: str, error: BaseException, one: Process, other: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = other.member("b").store
        real, raised = getattr(store, step), asyncio.Event()

        async def fail_once(*args: Any) -> Any:
            if not raised.is_set():
                raised.set()
                raise error
            return await real(*args)

        monkeypatch.setattr(store, step, fail_once)
        other.bus._running[KEY, STREAM] = "b"
        async with asyncio.timeout(60):
            await raised.wait()
        assert await other.hears("b", one)
        await eventually(lambda: other.bus.failure("b") is None)

        async def is_journaled() -> bool:
            return await self.journal(other, "b") == {(KEY, STREAM)}

        await eventually(is_journaled)

    # -- leases --------------------------------------------------------------------------------------

    async def test_streams_of_a_killed_node_are_swept_until_they_are_claimed(
        self, one: Process, other: Process, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each sweep finds them, and the log says it once."""
        caplog.set_level(logging.INFO, "mcp_transport.backends.membership")
        for stream in (STREAM, "other"):
            await one.bus.journal_at_once("a", KEY, stream)
        await self.put_in_journal(one, "a", "garbage")
        await self.put_in_journal(one, "a", "too many words")
        await one.kill("a")
        expected: set[NodeMessage] = {Orphaned(KEY, STREAM, "a"), Orphaned(KEY, "other", "a"), NodeLost("a")}
        await eventually(lambda: expected <= set(other.received["b"]))
        assert await other.bus.is_dead("a", "b")
        assert not await other.bus.send("a", HEARD)
        assert await self.journal(other, "a") == {(KEY, STREAM), (KEY, "other")}
        other.received["b"].clear()
        await other.receives("b", NodeLost("a"))
        other.bus.strike_from_journal("a", KEY, STREAM)  # type: ignore[attr-defined]
        other.received["b"].clear()
        await other.receives("b", NodeLost("a"))
        await other.receives("b", Orphaned(KEY, "other", "a"))
        other.bus.strike_from_journal("a", KEY, "other")  # type: ignore[attr-defined]

        async def is_forgotten() -> bool:
            return set(await other.bus._node_names()) == {"b"} and not await self.journal(other, "a")

        await eventually(is_forgotten)
        assert await other.bus.is_dead("a", "b")
        counts = [int(count) for count in re.findall(r"node a died with (\d) streams", caplog.text)]
        assert counts == sorted(set(counts), reverse=True) and counts[0] == 2

    async def test_every_node_is_told_of_a_killed_one(self, make: Callable[[], Process], one: Process) -> None:
        others = [make(), make()]
        for number, process in enumerate(others):
            await process.start(f"n{number}")
        await one.kill("a")
        for number, process in enumerate(others):
            await process.receives(f"n{number}", NodeLost("a"))

    async def test_a_node_that_has_just_started_waits_before_it_declares_another_dead(
        self, make: Callable[[], Process], one: Process
    ) -> None:
        late, loop = make(), asyncio.get_running_loop()
        await one.bus.journal_at_once("a", KEY, STREAM)
        await one.kill("a")
        before = loop.time()
        await late.start("b")
        await late.receives("b", Orphaned(KEY, STREAM, "a"))
        assert loop.time() - before >= QUICK.lease
        assert await late.bus.is_dead("a", "b")

    async def test_a_live_node_is_not_dead_for_one_that_has_just_started(
        self, make: Callable[[], Process], one: Process
    ) -> None:
        late = make()
        await late.start("b")
        assert not await late.bus.is_dead("a", "b")
        assert await late.bus.is_dead("never-came", "b")

    async def test_a_paused_node_that_returns_learns_that_its_lease_has_lapsed(
        self, one: Process, other: Process
    ) -> None:
        await eventually(lambda: not one.bus.lease_may_be_lost("a"))
        one.bus._running[KEY, STREAM] = "a"
        await one.bus.journal_at_once("a", KEY, STREAM)
        await one.pause("a")
        await other.receives("b", NodeLost("a"))
        # Not at once if the pause has interrupted a renewal: its answer may take time.
        await eventually(lambda: one.bus.lease_may_be_lost("a"))
        one.resume("a")
        await one.receives("a", LeaseLapsed())
        await eventually(lambda: not one.bus.lease_may_be_lost("a"))
        assert not await other.bus.is_dead("a", "b")
        assert await one.hears("a", other)
        assert {node.name for node in await other.bus.nodes()} == {"a", "b"}

        async def is_journaled_again() -> bool:
            return await self.journal(other, "a") == {(KEY, STREAM)}

        await eventually(is_journaled_again)

    # -- what operators read -------------------------------------------------------------------------

    async def test_nodes_tell_where_they_run_and_their_load(self, make: Callable[[], Process], one: Process) -> None:
        load, process = Load(running=4, waiting=3, threads=2, lost_threads=1), make()
        for node in ("x", "y"):  # of one process
            await process.start(node, lambda: ProcessMetrics(load=load, opened=7))
        process.bus._running[OTHER_KEY, STREAM] = "x"
        await process.bus.announce_drain("x")
        records = {node.name: node for node in await one.bus.nodes()}
        assert set(records) == {"a", "x", "y"}
        assert (records["x"].load, records["x"].calls, records["x"].draining) == (load, 1, True)
        assert (records["y"].calls, records["y"].draining) == (0, False)
        assert all(0 <= node.age <= 60 for node in records.values())
        assert sorted(metrics.opened for metrics in await one.bus.metrics()) == [0, 7]

    # -- broadcasts ----------------------------------------------------------------------------------

    async def test_broadcasts_of_several_nodes_have_increasing_numbers(self, one: Process, other: Process) -> None:
        assert await one.bus.last_broadcast() == ""
        assert await one.bus.broadcasts("") == ()
        for turn in range(3):
            last = await one.bus.last_broadcast()
            messages = [Broadcast("m", f"test://{turn}/{number}") for number in range(8)]
            buses = [one.bus, other.bus] * 4
            await asyncio.gather(*(bus.broadcast(message) for bus, message in zip(buses, messages, strict=True)))
            stored = await other.bus.broadcasts(last)
            assert sorted(each.uri for each in stored) == sorted(message.uri for message in messages)
            numbers = [each.number for each in stored]
            assert numbers == sorted(set(numbers)) and min(numbers) > last
            assert all(map(NUMBER.fullmatch, numbers))
            assert await other.bus.last_broadcast() == numbers[-1]
            assert await one.bus.broadcasts(numbers[2]) == stored[3:]
        for process, node in ((one, "a"), (other, "b")):
            for message in await one.bus.broadcasts(""):
                await process.receives(node, message)
            assert {message.number for message in process.received[node] if isinstance(message, Broadcast)} == {
                each.number for each in await one.bus.broadcasts("")
            }
