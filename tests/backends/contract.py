"""The contract of `mcp_transport.backends.base.Backend`, as tests; a subclass says how a backend is built.

class TestMine(BackendContract):
    @pytest.fixture
    def backend(self, clock): return MyBackend(POLICY, clock)
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.results import Closing, Emitted
from mcp_transport.domain.history import Ending
from mcp_transport.domain.metrics import ProcessMetrics
from mcp_transport.domain.node_messages import Broadcast, Closed, NodeMessage, Wake
from tests.backends.contract_idempotency import IdempotencyContract
from tests.backends.contract_listing import ListingContract
from tests.backends.contract_requests import RequestContract
from tests.backends.contract_streams import StreamContract
from tests.backends.contract_subscriptions import SubscriptionContract
from tests.support.backends import (
    ANN,
    BOB,
    KEY,
    OTHER_KEY,
    POLICY,
    STREAM,
    UNKNOWN_KEY,
    HandClock,
    ended,
    events,
    in_flight,
    session,
)


async def assert_refuses_everything(backend: Backend, key: str, principal: str = ANN) -> None:
    """Assert that no operation finds the session for `principal`."""
    assert await backend.sessions.get(key) is None
    assert await backend.sessions.enter(key, principal, "n1", [in_flight(77)]) is None
    assert await backend.sessions.touch(key) is False
    assert await backend.streams.attach(key, principal, "g", None, "n1") is None
    assert await backend.streams.attach(key, principal, STREAM, 0, "n1") is None
    assert await backend.streams.emit(key, b"{}") is None
    assert await backend.streams.append(key, "bb", events(1)) is None
    assert await backend.sessions.read_state(key) == {}
    assert await backend.sessions.write_state(key, "a", b"1") is False
    assert await backend.sessions.read_state(key) == {}
    await backend.sessions.update(key, initialized=True)
    await backend.sessions.leave(key, ended(77, ending=Ending.ERROR))
    assert await backend.sessions.get(key) is None
    assert await backend.sessions.in_flight(key) == ()
    assert await backend.sessions.close(key, principal) is None
    assert await backend.sessions.close(key, None) is None


class BackendContract(RequestContract, StreamContract, IdempotencyContract, SubscriptionContract, ListingContract):
    """Sessions, tools' state, nodes; requests in flight, streams and what operators see come from the bases."""

    @pytest.fixture
    def clock(self) -> HandClock:
        return HandClock()

    @pytest.fixture
    def backend(self, clock: HandClock) -> Backend:
        raise NotImplementedError

    async def test_ping_returns_when_the_store_answers(self, backend: Backend) -> None:
        await backend.sessions.ping()

    # -- records -------------------------------------------------------------------------------------

    async def test_a_record_comes_back_as_it_was_stored(self, backend: Backend, clock: HandClock) -> None:
        stored = session(clock)
        assert await backend.sessions.open(stored) == ()
        assert await backend.sessions.get(KEY) == stored

    async def test_integers_beyond_64_bits_may_come_back_as_floats(self, backend: Backend, clock: HandClock) -> None:
        stored = session(clock, capabilities={"experimental": {"n": 10**30}})
        await backend.sessions.open(stored)
        found = await backend.sessions.get(KEY)
        assert found is not None
        assert float(found.capabilities["experimental"]["n"]) == 1e30

    async def test_an_unknown_session_refuses_everything(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await assert_refuses_everything(backend, UNKNOWN_KEY)

    async def test_entering_notes_when_where_and_how_many(self, backend: Backend, clock: HandClock) -> None:
        stored = session(clock)
        await backend.sessions.open(stored)
        clock.advance(10)
        entered = await backend.sessions.enter(KEY, ANN, "n2", [in_flight(1), in_flight(2)])
        assert entered is not None
        assert entered.session == replace(stored, last_seen=clock(), node="n2", requests=2)
        assert (entered.running, entered.cancelled) == ((), frozenset())
        assert await backend.sessions.get(KEY) == entered.session

    async def test_update_changes_what_it_names_and_nothing_else(self, backend: Backend, clock: HandClock) -> None:
        stored = session(clock)
        await backend.sessions.open(stored)
        await backend.sessions.update(KEY, initialized=True, log_level="")
        assert await backend.sessions.get(KEY) == replace(stored, initialized=True, log_level="")

    async def test_leaving_counts_errors(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1), in_flight(2), in_flight(3)])
        await backend.sessions.leave(KEY, ended(1, 2, ending=Ending.ERROR))
        await backend.sessions.leave(KEY, ended(3, ending=Ending.CANCELLED))
        await backend.sessions.leave(KEY, ended(3, "never", ending=Ending.ERROR))
        found = await backend.sessions.get(KEY)
        assert found is not None
        assert (found.requests, found.errors) == (3, 2)

    # -- whose it is ---------------------------------------------------------------------------------

    @pytest.mark.parametrize(("owner", "caller"), [(ANN, BOB), (ANN, ""), ("", ANN)])
    async def test_to_another_principal_a_session_does_not_exist(
        self, backend: Backend, clock: HandClock, owner: str, caller: str
    ) -> None:
        stored = session(clock, principal=owner)
        await backend.sessions.open(stored)
        clock.advance(POLICY.session_ttl - 1)
        assert await backend.sessions.enter(KEY, caller, "n1", [in_flight(1)]) is None
        assert await backend.streams.attach(KEY, caller, "g", None, "n1") is None
        assert await backend.sessions.close(KEY, caller) is None
        assert await backend.sessions.in_flight(KEY) == ()
        assert await backend.sessions.get(KEY) == stored
        assert await backend.streams.emit(KEY, b"{}") == Emitted(1, None)  # nobody took the GET stream
        clock.advance(2)
        assert await backend.sessions.get(KEY) is None  # nothing that others did kept it alive

    async def test_a_session_answers_its_own_principal(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.open(session(clock, OTHER_KEY, principal=""))
        assert await backend.sessions.enter(KEY, ANN, "n1")
        assert await backend.sessions.enter(OTHER_KEY, "", "n1")

    # -- its end -------------------------------------------------------------------------------------

    @pytest.mark.parametrize("use", ["enter", "touch", "attach"])
    async def test_use_slides_the_end(self, backend: Backend, clock: HandClock, use: str) -> None:
        await backend.sessions.open(session(clock))
        for _ in range(3):
            clock.advance(POLICY.session_ttl - 1)
            match use:
                case "enter":
                    assert await backend.sessions.enter(KEY, ANN, "n1")
                case "touch":
                    assert await backend.sessions.touch(KEY)
                case "attach":
                    assert await backend.streams.attach(KEY, ANN, "g", None, "n1")
        found = await backend.sessions.get(KEY)
        assert found is not None
        assert found.last_seen == clock()
        clock.advance(POLICY.session_ttl + 1)
        assert await backend.sessions.get(KEY) is None

    async def test_what_nobody_asked_for_does_not_slide_the_end(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        clock.advance(POLICY.session_ttl - 1)
        await backend.sessions.update(KEY, initialized=True)
        await backend.sessions.leave(KEY, ended(1, ending=Ending.ERROR))
        await backend.streams.emit(KEY, b"{}")
        await backend.sessions.write_state(KEY, "a", b"1")
        assert await backend.sessions.get(KEY)
        clock.advance(2)
        assert await backend.sessions.get(KEY) is None

    async def test_use_does_not_move_the_absolute_end(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        for _ in range(20):
            clock.advance(49)
            assert await backend.sessions.touch(KEY)
        clock.advance(19)
        assert await backend.sessions.enter(KEY, ANN, "n1")
        clock.advance(2)
        await assert_refuses_everything(backend, KEY)

    async def test_an_expired_session_refuses_everything(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.write_state(KEY, "a", b"1")
        await backend.streams.append(KEY, STREAM, events(1))
        clock.advance(POLICY.session_ttl + 1)
        assert await backend.sessions.read_state(KEY) == {}
        await assert_refuses_everything(backend, KEY)

    async def test_closing_returns_the_record_and_the_nodes_to_tell(self, backend: Backend, clock: HandClock) -> None:
        stored = session(clock)
        await backend.sessions.open(stored)
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, node="n1"), in_flight(2, node="n1")])
        await backend.streams.append(KEY, STREAM, events(1), holder="n2")
        await backend.streams.attach(KEY, ANN, "g", None, "n3")
        closing = await backend.sessions.close(KEY, ANN)
        assert closing is not None
        assert closing.session == replace(stored, node="n3", requests=2)
        assert closing.nodes == {"n1", "n2", "n3"}

    @pytest.mark.parametrize("principal", [ANN, None])
    async def test_a_closed_session_refuses_everything(
        self, backend: Backend, clock: HandClock, principal: str | None
    ) -> None:
        stored = session(clock)
        await backend.sessions.open(stored)
        await backend.sessions.write_state(KEY, "a", b"1")
        await backend.streams.emit(KEY, b"{}")
        assert await backend.sessions.close(KEY, principal) == Closing(stored, frozenset())
        await assert_refuses_everything(backend, KEY)

    async def test_what_comes_late_does_not_bring_a_closed_session_back(
        self, backend: Backend, clock: HandClock
    ) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        await backend.streams.append(KEY, STREAM, events(1), holder="n1")
        await backend.sessions.close(KEY, ANN)
        assert await backend.sessions.cancel(KEY, ANN, 1) is None
        await backend.streams.append(KEY, STREAM, events(2, end=True))
        await backend.streams.checkpoint(KEY, STREAM, 2)
        await backend.sessions.leave(KEY, ended(1, ending=Ending.ERROR))
        with pytest.raises(LookupError):
            await backend.streams.read(KEY, STREAM, 0)
        await assert_refuses_everything(backend, KEY)

    async def test_closing_and_using_at_once_leaves_it_closed(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await asyncio.gather(
            *(backend.sessions.touch(KEY) for _ in range(5)),
            backend.sessions.close(KEY, ANN),
            *(backend.sessions.enter(KEY, ANN, "n1", [in_flight(number)]) for number in range(5)),
        )
        await assert_refuses_everything(backend, KEY)

    async def test_closing_one_session_leaves_the_others(self, backend: Backend, clock: HandClock) -> None:
        for key in (KEY, OTHER_KEY):
            await backend.sessions.open(session(clock, key))
            await backend.sessions.write_state(key, "a", key.encode())
            await backend.streams.emit(key, b"{}")
        await backend.sessions.close(KEY, ANN)
        assert await backend.sessions.read_state(OTHER_KEY) == {"a": OTHER_KEY.encode()}
        assert await backend.streams.read(OTHER_KEY, "g", 0) != ((), 0)

    # -- the state that tools keep -------------------------------------------------------------------

    async def test_state_is_stored_replaced_and_dropped_by_name(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.open(session(clock, OTHER_KEY))
        assert await backend.sessions.read_state(KEY) == {}
        assert await backend.sessions.write_state(KEY, "a", b"1") is False
        assert await backend.sessions.write_state(KEY, "b", b"\x00\xff") is False
        assert await backend.sessions.write_state(KEY, "a", b"2") is True
        assert await backend.sessions.read_state(KEY) == {"a": b"2", "b": b"\x00\xff"}
        assert await backend.sessions.read_state(OTHER_KEY) == {}
        assert await backend.sessions.write_state(KEY, "a", None) is True
        assert await backend.sessions.write_state(KEY, "a", None) is False
        assert await backend.sessions.read_state(KEY) == {"b": b"\x00\xff"}

    async def test_state_that_was_read_is_a_copy(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.write_state(KEY, "a", b"1")
        (await backend.sessions.read_state(KEY)).clear()
        assert await backend.sessions.read_state(KEY) == {"a": b"1"}

    async def test_writes_at_once_are_all_kept(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await asyncio.gather(*(backend.sessions.write_state(KEY, f"n{number}", b"x") for number in range(20)))
        assert len(await backend.sessions.read_state(KEY)) == 20

    async def test_state_lives_as_long_as_its_session(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.write_state(KEY, "a", b"1")
        for _ in range(5):
            clock.advance(POLICY.session_ttl - 1)
            await backend.sessions.touch(KEY)
        assert await backend.sessions.read_state(KEY) == {"a": b"1"}

    # -- nodes ---------------------------------------------------------------------------------------

    async def test_messages_reach_the_node_they_are_for(self, backend: Backend) -> None:
        inboxes: dict[str, list[NodeMessage]] = {"n1": [], "n2": []}
        for node, inbox in inboxes.items():
            await backend.bus.start(node, inbox.append)
        await backend.bus.send("n1", Wake(KEY, STREAM))
        await backend.bus.send("n2", Closed(KEY))
        await backend.bus.send("gone", Closed(KEY))
        assert inboxes == {"n1": [Wake(KEY, STREAM)], "n2": [Closed(KEY)]}

    async def test_a_broadcast_reaches_every_node_that_has_not_left(self, backend: Backend) -> None:
        inboxes: dict[str, list[NodeMessage]] = {"n1": [], "n2": [], "n3": []}
        for node, inbox in inboxes.items():
            await backend.bus.start(node, inbox.append)
        await backend.bus.stop("n2")
        await backend.bus.stop("never-came")
        message = Broadcast("notifications/resources/updated", "test://a")
        await backend.bus.broadcast(message)
        await backend.bus.send("n2", Closed(KEY))
        (numbered,) = await backend.bus.broadcasts("")
        assert replace(numbered, number="") == message
        assert [*inboxes.values()] == [[numbered], [], [numbered]]

    async def test_operators_see_what_nodes_tell_of_themselves(self, backend: Backend) -> None:
        await backend.bus.start("n1", lambda message: None, lambda: ProcessMetrics(opened=7))
        await backend.bus.announce_drain("n1")
        assert [(node.name, node.draining) for node in await backend.bus.nodes()] == [
            ("n1", True)
        ] * backend.shares_streams
        assert [numbers.opened for numbers in await backend.bus.metrics()] == [7]
        assert (
            backend.bus.failure("n1"),
            backend.bus.failure("never-came"),
            backend.bus.lease_may_be_lost("n1"),
        ) == (
            None,
            None,
            False,
        )

    async def test_who_writes_a_stream_is_known_where_nodes_share_it(
        self, backend: Backend, clock: HandClock
    ) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        await backend.bus.journal_at_once("n1", KEY, STREAM)
        await backend.streams.append(KEY, STREAM, events(1), writer="n1")
        assert await backend.streams.writer(KEY, STREAM) == ("n1" if backend.shares_streams else "")
        assert await backend.streams.writer(KEY, "never") == ""
