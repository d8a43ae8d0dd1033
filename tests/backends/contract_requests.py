"""The backend contract for requests in flight and their cancellation."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mcp_transport.backends.base import Backend
from mcp_transport.domain.history import Ending
from tests.support.backends import ANN, KEY, OTHER_KEY, STREAM, HandClock, ended, in_flight, session


class RequestContract:
    """The contract for requests between `enter` and `leave`."""

    async def test_requests_are_in_flight_from_enter_to_leave(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        clock.advance(5)
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1), in_flight("1", stream="bb")])
        running = await backend.sessions.in_flight(KEY)
        assert set(running) == {
            replace(in_flight(1), started=clock()),
            replace(in_flight("1", stream="bb"), started=clock()),
        }
        await backend.sessions.leave(KEY, ended("1"))
        assert [item.request_id for item in await backend.sessions.in_flight(KEY)] == [1]

    async def test_an_id_in_flight_is_reported_and_nothing_is_registered(
        self, backend: Backend, clock: HandClock
    ) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, node="n1", stream="aa", digest=b"first")])
        again = await backend.sessions.enter(
            KEY, ANN, "n2", [in_flight(2), in_flight(1, node="n2", stream="bb", digest=b"second")]
        )
        assert again is not None
        assert again.running == (replace(in_flight(1, node="n1", stream="aa", digest=b"first"), started=clock()),)
        assert [item.request_id for item in await backend.sessions.in_flight(KEY)] == [1]
        await backend.sessions.leave(KEY, ended(1))
        after = await backend.sessions.enter(KEY, ANN, "n2", [in_flight(1), in_flight(2)])
        assert after is not None
        assert after.running == ()

    async def test_of_two_at_once_with_one_id_one_is_registered(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        found = await asyncio.gather(
            *(backend.sessions.enter(KEY, ANN, "n1", [in_flight(1, stream=f"s{number}")]) for number in range(4))
        )
        admitted = [entered for entered in found if entered is not None and not entered.running]
        assert len(admitted) == 1
        (running,) = await backend.sessions.in_flight(KEY)
        assert {item.running for item in found if item is not None} == {(), (running,)}

    async def test_a_request_that_ends_twice_at_once_ends_once(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        await asyncio.gather(*(backend.sessions.leave(KEY, ended(1, ending=Ending.ERROR)) for _ in range(2)))
        assert await backend.sessions.in_flight(KEY) == ()
        assert [entry.request_id for entry in await backend.sessions.history(KEY)] == [1]

    async def test_an_id_is_one_sessions_own_and_a_number_is_no_string(
        self, backend: Backend, clock: HandClock
    ) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.open(session(clock, OTHER_KEY))
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        for key, request_id in ((OTHER_KEY, 1), (KEY, "1")):
            entered = await backend.sessions.enter(key, ANN, "n1", [in_flight(request_id)])
            assert entered is not None
            assert entered.running == ()

    async def test_cancelling_finds_the_node_that_runs_the_request(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.enter(KEY, ANN, "n7", [in_flight(1, node="n7")])
        found = await backend.sessions.cancel(KEY, ANN, 1)
        assert found is not None
        assert (found.node, found.stream) == ("n7", STREAM)
        await backend.sessions.leave(KEY, ended(1))
        entered = await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        assert entered is not None
        assert entered.cancelled == frozenset()

    async def test_a_cancellation_that_comes_first_waits_and_is_taken_once(
        self, backend: Backend, clock: HandClock
    ) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.open(session(clock, OTHER_KEY))
        assert await backend.sessions.cancel(KEY, ANN, 1) is None
        clock.advance(1.9)
        other = await backend.sessions.enter(OTHER_KEY, ANN, "n1", [in_flight(1)])
        entered = await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1), in_flight("1"), in_flight(2)])
        assert other is not None
        assert entered is not None
        assert not other.cancelled
        assert entered.cancelled == {1}
        await backend.sessions.leave(KEY, ended(1))
        again = await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        assert again is not None
        assert again.cancelled == frozenset()

    async def test_a_cancellation_nobody_came_for_is_forgotten(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.cancel(KEY, ANN, 1)
        clock.advance(2.1)
        entered = await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        assert entered is not None
        assert entered.cancelled == frozenset()

    async def test_a_cancellation_that_comes_too_late_does_not_wait(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        await backend.sessions.leave(KEY, ended(1))
        clock.advance(1)
        assert await backend.sessions.cancel(KEY, ANN, 1) is None
        entered = await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        assert entered is not None
        assert entered.cancelled == frozenset()
