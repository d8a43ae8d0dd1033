"""Several regions in virtual time: what a session keeps in its new home, who gives way, and who waits for whom."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.dynamodb.items import EXPIRES
from mcp_transport.backends.dynamodb.regions.homes import Claim, Home
from mcp_transport.backends.dynamodb.regions.parts import RoutedSessionStore
from mcp_transport.backends.dynamodb.regions.router import Router
from mcp_transport.backends.results import Entered, Event, UnknownStream
from mcp_transport.domain.node_messages import Broadcast, NodeMessage, Orphaned, Rehomed, ReplyArrived
from mcp_transport.domain.session import Session
from mcp_transport.exceptions import BackendError, StoreUnreachable, Unreadable
from mcp_transport.protocol.cursor import GET_STREAM
from tests.support.backends import ANN, KEY, OTHER_KEY, STREAM, in_flight, index_of, session
from tests.support.dynamodb.customers import LOST, POLICY
from tests.support.dynamodb.regions import MAX_LAG, Machine, World, open_records, virtual_backend
from tests.support.dynamodb.virtual import run_virtually

EUROPE, AMERICA, INDIA = "eu-west-1", "us-east-1", "ap-south-1"
EPOCH_1 = (16 + 1) * 50 * 10**9
"""In America, the second of two regions, events have numbers above this after the first re-homing."""


@dataclass
class Process:
    """A process without an engine: a node that notes what it receives."""

    backend: Backend
    machine: Machine
    node: str
    received: list[NodeMessage]
    reported: Counter[str]

    @property
    def router(self) -> Router:
        store = self.backend.sessions
        assert isinstance(store, RoutedSessionStore)
        return store.router

    async def insist(self, work: Callable[[], Coroutine[Any, Any, Any]], seconds: float = 3 * LOST) -> Any:
        """Repeat an operation until a region answers."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                return await work()
            except StoreUnreachable:
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.5)


async def process(world: World, region: str, node: str) -> Process:
    machine, received, reported = Machine(region), list[NodeMessage](), Counter[str]()
    made = Process(virtual_backend(world, machine, POLICY, LOST), machine, node, received, reported)

    def report(event: str, key: str, details: Mapping[str, object]) -> None:
        reported[event] += 1

    made.backend.sessions.report_events_to(report)
    made.backend.bus.expect_messages(node, lambda: True)
    await made.backend.bus.start(node, received.append)
    return made


def opened(region: str, key: str = KEY) -> Session:
    now = 1e6 + asyncio.get_running_loop().time()
    return session(lambda: now, key, region=region, ends=now + POLICY.session_max_age)


def locate(made: Process, region: str, key: str = KEY) -> None:
    made.backend.sessions.locate(key, lambda: region)


def virtually(test: Callable[[World], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in virtual time, with two regions."""

    def run() -> None:
        async def live() -> None:
            await test(World(1, EUROPE, AMERICA))

        run_virtually(live())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def full(made: Process) -> None:
    """Open a session in which there is something of everything."""
    sessions, streams = made.backend.sessions, made.backend.streams
    await sessions.open(opened(made.machine.region))
    body = replace(in_flight(1, node=made.node), body=b"durable")
    assert await sessions.enter(KEY, ANN, made.node, [body])
    await streams.append(KEY, STREAM, [Event(1, b"one"), Event(2, b"two")], writer=made.node, holder=made.node)
    await sessions.subscribe(KEY, "file:///x", True, 10, 1000)
    await sessions.write_state(KEY, "cart", b"\x00")
    await streams.emit(KEY, b"hello")
    await made.backend.bus.journal_at_once(made.node, KEY, STREAM)


async def move(world: World, america: Process) -> None:
    """Lose Europe, and have a process in America find the session."""
    world.lose(EUROPE)
    locate(america, EUROPE)
    assert await america.insist(lambda: america.backend.sessions.get(KEY))


@virtually
async def test_a_session_keeps_everything_that_was_replicated(world: World) -> None:
    europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
    await full(europe)
    history = await europe.backend.sessions.history(KEY)
    await asyncio.sleep(MAX_LAG + 1)
    europe.machine.is_dead = True
    world.lose(EUROPE)
    at = asyncio.get_running_loop().time()
    locate(america, EUROPE)
    sessions, streams = america.backend.sessions, america.backend.streams
    stored = await america.insist(lambda: sessions.get(KEY))
    assert LOST <= asyncio.get_running_loop().time() - at <= LOST + 6
    assert stored.region == AMERICA and stored.requests == 1
    assert await sessions.subscriptions(KEY) == {"file:///x"}
    assert await sessions.read_state(KEY) == {"cart": b"\x00"}
    assert await sessions.history(KEY) == history
    assert america.received == [Orphaned(KEY, STREAM, f"{EUROPE}/e")]
    claimed = await streams.claim(KEY, STREAM, f"{EUROPE}/e", "a")
    assert claimed is not None and claimed.next == EPOCH_1 + 10**9 + 1
    assert [request.body for request in claimed.requests] == [b"durable"]
    attached = await streams.attach(KEY, ANN, STREAM, 1, "a")
    assert attached is not None and [event.payload for event in attached.events] == [b"two"]
    emitted = await streams.emit(KEY, b"again")
    assert emitted is not None and emitted.seq == EPOCH_1 + 1
    assert america.reported["rehomed"] == 1 and america.reported["home_unreachable"] > 1


@virtually
async def test_another_region_serves_a_session_at_its_home(world: World) -> None:
    """It joins the nodes there, and gets their messages, but not their broadcasts."""
    europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
    await europe.backend.sessions.open(opened(EUROPE))
    locate(america, EUROPE)
    assert await america.backend.sessions.enter(KEY, ANN, "a", [in_flight(1, node="a")])
    assert america.reported == {"home_remote": 1}
    assert {record.name for record in await europe.backend.bus.nodes()} == {"e", "a"}
    assert {record.name for record in await america.backend.bus.nodes()} == {"a"}
    assert {record.name for record in await america.backend.bus.nodes_of(KEY)} == {"e", "a"}
    assert not america.backend.bus.session_lease_may_be_lost("a", KEY)
    reply = ReplyArrived("1", {}, None)
    assert await america.backend.bus.send("e", reply)
    assert not await america.backend.bus.send("nobody", reply)
    assert await europe.backend.bus.send("a", Rehomed(KEY))
    await america.backend.bus.broadcast(Broadcast("notifications/x"))
    await asyncio.sleep(3)
    assert [message for message in europe.received if message == reply] == [reply]
    assert sum(isinstance(message, Broadcast) for message in europe.received) == 1
    assert sum(isinstance(message, Broadcast) for message in america.received) == 1
    assert Rehomed(KEY) in america.received
    world.cuts.add((AMERICA, EUROPE))
    await asyncio.sleep(POLICY.lease)
    assert not america.backend.bus.lease_may_be_lost("a")
    assert america.backend.bus.failure("a") is None
    world.heal()
    await asyncio.sleep(5)
    await america.backend.bus.stop("a")
    assert {record.name for record in await europe.backend.bus.nodes()} == {"e"}


@virtually
async def test_a_reply_reaches_its_call_before_the_region_of_the_session_is_joined(world: World) -> None:
    europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
    reply = ReplyArrived("1", {}, None)
    assert await america.backend.bus.send("e", reply)
    await asyncio.sleep(2)
    assert europe.received == [reply]
    world.lose(EUROPE)
    with pytest.raises(StoreUnreachable):
        await america.backend.bus.send("e", reply)


@virtually
async def test_a_node_that_leaves_and_returns_joins_anew(world: World) -> None:
    """As that of a function does for each of its calls."""
    europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
    await europe.backend.sessions.open(opened(EUROPE))
    locate(america, EUROPE)
    for _ in range(2):
        assert await america.backend.sessions.enter(KEY, ANN, "a")
        assert {record.name for record in await europe.backend.bus.nodes()} == {"e", "a"}
        await america.backend.bus.stop("a")
        assert {record.name for record in await europe.backend.bus.nodes()} == {"e"}
        assert await america.backend.sessions.get(KEY), "without a node nothing is joined"
        assert {record.name for record in await europe.backend.bus.nodes()} == {"e"}
        await america.backend.bus.start("a", america.received.append)


@virtually
async def test_a_region_that_was_joined_is_found_to_be_lost(world: World) -> None:
    """What nodes do there all the time fails more often than probes are sent."""
    europe = await process(world, EUROPE, "e")
    nodes = [f"a{number}" for number in range(4)]
    america = await process(world, AMERICA, nodes[0])
    for node in nodes[1:]:
        await america.backend.bus.start(node, america.received.append)
    await full(europe)
    locate(america, EUROPE)
    assert await america.backend.sessions.get(KEY)
    assert {record.name for record in await europe.backend.bus.nodes()} == {"e", *nodes}
    await asyncio.sleep(MAX_LAG + 1)
    europe.machine.is_dead = True
    await move(world, america)
    assert america.reported["rehomed"] == 1


@virtually
async def test_a_region_that_returns_gives_way(world: World) -> None:
    europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
    await full(europe)
    await asyncio.sleep(MAX_LAG + 1)
    await move(world, america)  # and the process in Europe lives
    with pytest.raises(BackendError):
        await europe.backend.sessions.get(KEY)
    world.bring_back(EUROPE)
    # Nobody asks for the session: the node that runs its call verifies its home after a heartbeat.
    await asyncio.sleep(MAX_LAG + 3 * POLICY.lease)
    assert Rehomed(KEY) in europe.received
    assert europe.reported["rehoming_yielded"] == 1
    assert list(open_records(world, KEY)) == [AMERICA]
    left = [item for place, item in world.regions[EUROPE].items.items() if place[0] == f"{EUROPE}|session#{KEY}"]
    assert left and all(EXPIRES in item for item in left)
    assert await europe.backend.sessions.get(KEY) is not None, "it is served at its new home"
    [listed] = (await index_of(europe.backend).page()).sessions
    assert (listed.key, listed.region) == (KEY, AMERICA)
    # Lost again: it moves back, into what it has left there.
    await asyncio.sleep(MAX_LAG)
    world.lose(AMERICA)
    moved = await europe.insist(lambda: europe.backend.sessions.get(KEY))
    assert moved.region == EUROPE
    assert europe.router.homes.last(KEY) == Home(2, EUROPE)
    assert await europe.backend.sessions.read_state(KEY) == {"cart": b"\x00"}


@virtually
async def test_a_process_that_has_never_heard_of_a_session_gives_its_copy_up(world: World) -> None:
    """The processes that knew where it was opened have ended."""
    europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
    await full(europe)
    await asyncio.sleep(MAX_LAG + 1)
    europe.machine.is_dead = True
    await move(world, america)
    world.bring_back(EUROPE)
    new = await process(world, EUROPE, "e2")
    await asyncio.sleep(MAX_LAG)
    assert list(open_records(world, KEY)) == [EUROPE, AMERICA]
    assert (await new.backend.sessions.get(KEY)) is not None
    assert new.reported["rehoming_yielded"] == 1
    assert list(open_records(world, KEY)) == [AMERICA]


@virtually
async def test_a_process_that_has_an_old_home_in_mind_leaves_a_newer_copy_open(world: World) -> None:
    """Another process of its region has moved the session back meanwhile."""
    europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
    other = await process(world, EUROPE, "e2")
    await full(europe)
    await asyncio.sleep(MAX_LAG + 1)
    await move(world, america)
    world.bring_back(EUROPE)
    await asyncio.sleep(MAX_LAG + 3 * POLICY.lease)
    world.lose(AMERICA)
    assert await europe.insist(lambda: europe.backend.sessions.get(KEY))
    assert europe.router.homes.last(KEY) == Home(2, EUROPE)
    await other.router._give_way(KEY, Home(1, AMERICA))
    assert not other.reported["rehoming_yielded"]
    assert await other.insist(lambda: other.backend.sessions.get(KEY))
    assert await europe.backend.sessions.read_state(KEY) == {"cart": b"\x00"}


@virtually
async def test_nobody_waits_for_a_stream_of_a_copy_that_was_given_up(world: World) -> None:
    """Its node lives, and no longer writes the stream, which has not moved."""
    europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
    await europe.backend.sessions.open(opened(EUROPE))
    await asyncio.sleep(MAX_LAG + 1)
    world.partition(EUROPE, AMERICA)
    assert await europe.backend.sessions.enter(KEY, ANN, "e", [in_flight(1, node="e")])
    await europe.backend.streams.append(KEY, STREAM, [Event(1, b"one")], writer="e", holder="e")
    await move(world, america)
    world.bring_back(EUROPE)
    await asyncio.sleep(MAX_LAG + 3 * POLICY.lease)
    assert Rehomed(KEY) in europe.received
    world.lose(AMERICA)
    assert await europe.insist(lambda: europe.backend.sessions.get(KEY))
    with pytest.raises(UnknownStream):
        await europe.backend.streams.attach(KEY, ANN, STREAM, 1, "e")


@virtually
async def test_a_session_that_moves_just_after_its_home_was_read_is_found(world: World) -> None:
    first, second = await process(world, EUROPE, "e1"), await process(world, EUROPE, "e2")
    america = await process(world, AMERICA, "a")
    await first.backend.sessions.open(opened(EUROPE))
    await asyncio.sleep(MAX_LAG + 1)
    await move(world, america)
    world.bring_back(EUROPE)
    await asyncio.sleep(MAX_LAG)
    locate(second, EUROPE)
    claims = second.router._rehoming.claims

    async def outdated(key: str, *, consistent: bool = False) -> dict[str, Claim]:
        if consistent:
            return await claims(key, consistent=True)
        await first.router.verify(key, consistent=True)  # gives way just now
        return {}

    second.router._rehoming.claims = outdated  # type: ignore[method-assign]
    found = await second.backend.sessions.get(KEY)
    assert found is not None and found.region == AMERICA


@virtually
async def test_a_take_over_asks_all_regions_for_the_home(world: World) -> None:
    """Otherwise a region that returns would run a durable call once more, before it has received the claim."""
    europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
    await full(europe)
    await asyncio.sleep(MAX_LAG + 1)
    await move(world, america)
    world.regions[EUROPE].is_away = False  # and what is replicated is still on its way
    europe.router.homes.remember(KEY, Home(0, EUROPE), asyncio.get_running_loop().time())  # as just verified
    assert await europe.backend.streams.claim(KEY, STREAM, "e", "e2") is None
    assert europe.router.homes.last(KEY) == Home(1, AMERICA)


@virtually
async def test_a_take_over_does_without_a_region_that_is_away(world: World) -> None:
    europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
    await full(europe)
    world.lose(AMERICA)
    america.machine.is_dead = True
    claimed = await europe.backend.streams.claim(KEY, STREAM, "e", "e")
    assert claimed is not None and [request.body for request in claimed.requests] == [b"durable"]


@virtually
async def test_a_number_of_a_home_that_is_not_seen_goes_on_after_the_last_delivered_event(world: World) -> None:
    europe = await process(world, EUROPE, "e")
    await full(europe)
    locate(europe, EUROPE)
    await europe.backend.streams.checkpoint(KEY, GET_STREAM, 1)
    await europe.backend.streams.emit(KEY, b"again")
    attached = await europe.backend.streams.attach(KEY, ANN, GET_STREAM, EPOCH_1 + 4, "e")
    assert attached is not None
    assert [(event.seq, event.payload) for event in attached.events] == [(2, b"again")]
    for stream, after in ((GET_STREAM, 9), ("unknown", EPOCH_1 + 4)):
        with pytest.raises(UnknownStream):
            await europe.backend.streams.attach(KEY, ANN, stream, after, "e")


@virtually
async def test_a_session_that_was_not_replicated_is_rebuilt_from_its_id_but_no_older_one(world: World) -> None:
    europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
    world.partition(EUROPE, AMERICA)
    young, old = opened(EUROPE), replace(opened(EUROPE, OTHER_KEY), created=1e6 - POLICY.session_ttl)
    await europe.backend.sessions.open(young)
    world.lose(EUROPE)
    for rebuilt, is_new in ((young, True), (old, False)):
        locate(america, EUROPE, rebuilt.key)
        assert await america.insist(partial(america.backend.sessions.get, rebuilt.key)) is None
        assert await america.backend.sessions.restore(rebuilt) is is_new
    assert await america.backend.sessions.restore(young), "it is open"
    emitted = await america.backend.streams.emit(KEY, b"x")
    assert emitted is not None and emitted.seq > EPOCH_1
    assert await america.backend.sessions.close(KEY, ANN)
    assert not await america.backend.sessions.restore(young), "it was ended"


@virtually
async def test_without_a_region_in_its_id_a_session_is_found_in_the_replicas(world: World) -> None:
    europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
    await europe.backend.sessions.open(opened(EUROPE))
    await asyncio.sleep(MAX_LAG + 1)
    assert await america.backend.sessions.get(KEY) is not None
    assert await america.backend.sessions.get(OTHER_KEY) is None
    assert america.router.homes.last(OTHER_KEY) is None, "nothing is remembered of what does not exist"


@virtually
async def test_a_session_that_one_process_gave_away_is_unknown_to_none(world: World) -> None:
    """The other process of the region still believes in the former home."""
    first, second = await process(world, EUROPE, "e1"), await process(world, EUROPE, "e2")
    america = await process(world, AMERICA, "a")
    await first.backend.sessions.open(opened(EUROPE))
    await asyncio.sleep(MAX_LAG + 1)
    locate(america, EUROPE)
    world.cuts.add((AMERICA, EUROPE))
    world.partition(EUROPE, AMERICA)
    assert await america.insist(lambda: america.backend.sessions.get(KEY))
    locate(second, EUROPE)
    assert await second.backend.sessions.enter(KEY, ANN, "e2")
    world.heal()
    await asyncio.sleep(MAX_LAG)
    await first.router.verify(KEY, consistent=True)
    assert first.reported["rehoming_yielded"] == 1
    second.router.homes.remember(KEY, Home(0, EUROPE), asyncio.get_running_loop().time())
    entered = await second.backend.sessions.enter(KEY, ANN, "e2")
    assert entered is not None and entered.session.region == AMERICA


@pytest.mark.parametrize("seed", range(10))
def test_requests_that_wait_for_a_new_home_do_not_cancel_each_other(seed: int) -> None:
    """Each may be cancelled at any time, the first one, too; the others get the session, once re-homed."""

    async def live() -> None:
        world, random = World(seed, EUROPE, AMERICA), Random(seed)  # noqa: S311
        europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
        await full(europe)
        await asyncio.sleep(MAX_LAG + 1)
        world.lose(EUROPE)
        locate(america, EUROPE)
        health = america.router.others[EUROPE].health
        with pytest.raises(StoreUnreachable):
            await america.backend.sessions.get(KEY)
        while not health.is_lost:
            assert not await america.router._answers(america.router.others[EUROPE])
            await asyncio.sleep(0.3)
        waiting = [asyncio.ensure_future(america.insist(lambda: america.backend.sessions.get(KEY))) for _ in range(8)]
        cancelled = random.sample(waiting, random.randrange(1, 8))
        for task in cancelled:
            await asyncio.sleep(random.uniform(0, 0.05))
            task.cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        for task, outcome in zip(waiting, outcomes, strict=True):
            assert isinstance(outcome, Session) or (task in cancelled and isinstance(outcome, asyncio.CancelledError))
        assert await america.backend.sessions.get(KEY) is not None
        assert america.reported["rehomed"] == 1
        assert not america.router._moving
        assert not health._probing

    run_virtually(live())


@pytest.mark.parametrize("seed", range(10))
def test_of_several_processes_one_moves_a_session(seed: int) -> None:
    async def live() -> None:
        world = World(seed, EUROPE, AMERICA, INDIA)
        europe = await process(world, EUROPE, "e")
        others = [
            await process(world, region, f"n{number}") for number, region in enumerate((AMERICA, AMERICA, INDIA))
        ]
        await full(europe)
        await asyncio.sleep(MAX_LAG + 1)
        europe.machine.is_dead = True
        world.lose(EUROPE)
        for other in others:
            locate(other, EUROPE)
        await asyncio.gather(*(other.insist(partial(other.backend.sessions.get, KEY)) for other in others))
        await asyncio.sleep(MAX_LAG + 2 * POLICY.lease)
        for other in others:
            assert await other.backend.sessions.read_state(KEY) == {"cart": b"\x00"}
        moved = [
            sum(other.reported["rehomed"] for other in others if other.machine.region == region)
            for region in (AMERICA, INDIA)
        ]
        assert max(moved) == 1 and sum(moved) >= 1
        [home] = set(open_records(world, KEY)) - {EUROPE}  # which is still lost
        assert {(await other.router.verify(KEY, consistent=True)).region for other in others} == {home}

    run_virtually(live())


@pytest.mark.parametrize("seed", range(15))
def test_whoever_joins_another_region_leaves_it_whatever_is_cancelled(seed: int) -> None:
    """Requests are cancelled while they join, and the node stops while it joins."""

    async def live() -> None:
        world, random = World(seed, EUROPE, AMERICA), Random(seed)  # noqa: S311
        europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
        await europe.backend.sessions.open(opened(EUROPE))
        locate(america, EUROPE)
        requests = [asyncio.ensure_future(america.backend.sessions.enter(KEY, ANN, "a")) for _ in range(5)]
        for task in random.sample(requests, random.randrange(5)):
            await asyncio.sleep(random.uniform(0, 0.1))
            task.cancel()
        await asyncio.sleep(random.uniform(0, 0.3))
        await america.backend.bus.stop("a")
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        assert all(isinstance(each, Entered | asyncio.CancelledError) for each in outcomes), outcomes
        bus: Any = america.router.others[EUROPE].backend.bus
        assert not bus._members
        assert {record.name for record in await europe.backend.bus.nodes()} == {"e"}

    run_virtually(live())


GARBAGE: list[dict[str, Any]] = [
    {"epoch": {"S": "x"}, "v": {"N": "1"}},
    {"epoch": {"N": "5"}},
    {"epoch": {"N": "99999"}, "v": {"N": "1"}},
    {"v": {"M": {}}},
    {},
]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("where", [EUROPE, AMERICA, "x" * 40])
def test_garbage_in_a_claim_changes_nothing(garbage: dict[str, Any], where: str) -> None:
    async def live() -> None:
        world = World(1, EUROPE, AMERICA)
        europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
        await full(europe)
        place = f"home#{KEY}", where
        item = {"pk": {"S": place[0]}, "sk": {"S": place[1]}, **garbage}
        world.regions[AMERICA].write({place: item})
        await asyncio.sleep(MAX_LAG + POLICY.lease)
        locate(america, EUROPE)
        for made in (europe, america):
            assert await made.backend.sessions.get(KEY) is not None
        world.lose(EUROPE)
        moved = await america.insist(lambda: america.backend.sessions.get(KEY))
        assert moved.region == AMERICA

    run_virtually(live())


@virtually
async def test_garbage_in_a_replica_costs_only_its_own_session(world: World) -> None:
    europe, america = await process(world, EUROPE, "e"), await process(world, AMERICA, "a")
    await full(europe)
    await europe.backend.sessions.open(opened(EUROPE, OTHER_KEY))
    await asyncio.sleep(MAX_LAG + 1)
    world.lose(EUROPE)
    table = world.regions[AMERICA]
    record = f"{EUROPE}|session#{OTHER_KEY}", "record"
    stream = f"{EUROPE}|session#{KEY}", f"stream#{STREAM}"
    for place, odd in ((record, {"B": b"garbage"}), (stream, {"N": "5"})):
        table.items[place] = {**table.items[place], "d": odd}
    for key in (KEY, OTHER_KEY):
        locate(america, EUROPE, key)
    assert await america.insist(lambda: america.backend.sessions.get(KEY)) is not None
    with pytest.raises(Unreadable):
        await america.backend.sessions.enter(OTHER_KEY, ANN, "a")
    listed = (await index_of(america.backend).page()).sessions
    assert [item.key for item in listed] == [KEY]
    assert {record.name for record in await america.backend.streams.stream_records(KEY)} == {GET_STREAM, STREAM}
