"""The backend contract for operators: history, orders, states, ages and the overview."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.domain.history import Ending, Failure, FailureKind, HistoryEntry, HistoryEvent
from mcp_transport.domain.session_query import ORDERS, SessionQuery
from mcp_transport.domain.stream_messages import MAX_MARKS, time_of
from tests.support.backends import (
    ANN,
    BOB,
    KEY,
    OTHER_KEY,
    POLICY,
    STREAM,
    THIRD_KEY,
    HandClock,
    ended,
    events,
    in_flight,
    index_of,
    session,
)

FAILED = Failure(
    ending=Ending.ERROR,
    kind=FailureKind.EXCEPTION,
    error="ValueError",
    code=-32603,
    message="m\xeb\n two words",
    arguments='{"a": "\u2028"}',
)
CANCELLED = Failure(ending=Ending.CANCELLED, kind=FailureKind.BY_STAFF)


class OperatorContract:
    """The contract of backends that list sessions; others are skipped."""

    async def index(self, backend: Backend) -> None:
        """Let a backend write what it writes after a node's heartbeat."""

    # -- history -------------------------------------------------------------------------------------

    async def test_history_tells_what_happened_the_newest_first(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        assert await backend.sessions.history(KEY) == ()
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1), in_flight("two words", stream="bb")])
        began = clock()
        clock.advance(2)
        await backend.sessions.leave(KEY, {1: Ending.OK, "two words": Ending.CANCELLED})
        left = clock()
        clock.advance(1)
        await backend.streams.attach(KEY, ANN, "g", None, "n2")
        one, two = in_flight(1), in_flight("two words", stream="bb")
        assert await backend.sessions.history(KEY) == (
            HistoryEntry(when=clock(), what=HistoryEvent.ATTACHED, node="n2", stream="g"),
            *(
                HistoryEntry(
                    when=left,
                    what=HistoryEvent.ENDED,
                    node="n1",
                    operation="tools/call add më",
                    request_id=item.request_id,
                    ending=ending,
                    seconds=left - began,
                    stream=item.stream,
                )
                for item, ending in ((two, Ending.CANCELLED), (one, Ending.OK))
            ),
        )

    async def test_failure_is_in_the_history_of_its_request_alone(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1), in_flight("two words"), in_flight(3)])
        await backend.sessions.leave(KEY, {1: FAILED, "two words": CANCELLED}, stream=STREAM)
        clock.advance(1)
        await backend.streams.append(KEY, STREAM, events(1, end=True), leaving={3: FAILED})
        found = {entry.request_id: entry for entry in await backend.sessions.history(KEY)}
        assert (found[1].failure, found["two words"].failure, found[3].failure) == (FAILED, CANCELLED, FAILED)
        assert [found[item].ending for item in (1, "two words", 3)] == [
            Ending.ERROR,
            Ending.CANCELLED,
            Ending.ERROR,
        ]
        record = await backend.sessions.get(KEY)
        assert record is not None
        assert record.errors == 2
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        await backend.sessions.leave(KEY, {1: Ending.OK})
        newest, *_ = await backend.sessions.history(KEY)
        assert (newest.request_id, newest.failure) == (1, None), "an id that is used again"

    async def test_no_more_failures_are_kept_than_entries(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        limit = POLICY.session_history
        for number in range(2 * limit + 3):
            await backend.sessions.enter(KEY, ANN, "n1", [in_flight(number)])
            await backend.sessions.leave(KEY, {number: replace(FAILED, code=number)})
            clock.advance(1)
        history = await backend.sessions.history(KEY)
        assert [entry.failure.code for entry in history if entry.failure] == [
            *range(2 * limit + 2, limit + 2, -1),
        ]

    async def test_request_that_was_not_admitted_is_noted(self, backend: Backend, clock: HandClock) -> None:
        await backend.bus.start("n1", lambda message: None)
        await backend.sessions.open(session(clock))
        refused = Failure(ending=Ending.ERROR, kind=FailureKind.REFUSED, error="RATE_LIMITS", code=-32603)
        entry = HistoryEntry(
            when=clock(),
            what=HistoryEvent.ENDED,
            node="n1",
            operation="tools/call m\xeb",
            request_id="two words",
            ending=Ending.ERROR,
            failure=refused,
        )
        await backend.sessions.note(KEY, BOB, entry)
        await backend.sessions.note(OTHER_KEY, ANN, entry)
        await backend.sessions.note(KEY, ANN, entry)
        await self.index(backend)
        assert await backend.sessions.history(KEY) == (entry,)
        assert await backend.sessions.history(OTHER_KEY) == ()
        await backend.bus.stop("n1")

    async def test_times_of_messages_are_known(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        times = []
        for number in range(1, 2 * MAX_MARKS):
            times.append(clock())
            await backend.streams.append(KEY, STREAM, events(number), writer="n1")
            clock.advance(2)
        await backend.streams.emit(KEY, b"{}")
        marks = {record.name: record.marks for record in await backend.streams.stream_records(KEY)}
        known = [time_of(marks[STREAM], number) for number in range(1, 2 * MAX_MARKS)]
        assert known == [0.0] * (MAX_MARKS - 1) + times[MAX_MARKS - 1 :]
        assert time_of(marks["g"], 1) == clock()

    async def test_an_answer_in_the_log_is_in_the_history(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        await backend.streams.append(KEY, STREAM, events(1, end=True), leaving=ended(1, ending=Ending.LOST))
        (entry,) = await backend.sessions.history(KEY)
        assert (entry.what, entry.request_id, entry.ending) == (HistoryEvent.ENDED, 1, Ending.LOST)
        found = await backend.sessions.get(KEY)
        assert found is not None and found.errors == 1

    async def test_what_was_not_in_flight_is_not_in_the_history(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        await backend.sessions.leave(KEY, ended(1, "never"), stream="another")
        await backend.sessions.leave(KEY, ended("never", ending=Ending.ERROR))
        assert await backend.sessions.history(KEY) == ()

    async def test_history_is_short_and_ends_with_its_session(self, backend: Backend, clock: HandClock) -> None:
        await backend.sessions.open(session(clock))
        for number in range(POLICY.session_history + 5):
            await backend.sessions.enter(KEY, ANN, "n1", [in_flight(number)])
            await backend.sessions.leave(KEY, ended(number))
            clock.advance(POLICY.session_ttl / 3)
            if number % 10 == 9:
                await backend.sessions.touch(KEY)
        kept = [entry.request_id for entry in await backend.sessions.history(KEY)]
        assert kept == [*range(POLICY.session_history + 4, 4, -1)]
        assert await backend.sessions.history(OTHER_KEY) == ()
        await backend.sessions.close(KEY, None)
        assert await backend.sessions.history(KEY) == ()

    # -- open streams --------------------------------------------------------------------------------

    async def test_open_streams_have_a_socket_and_no_end(self, backend: Backend, clock: HandClock) -> None:
        if backend.index is None:
            return
        await backend.sessions.open(session(clock))
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1), in_flight(2, stream="bb")])
        assert await self.counts(backend) == (2, 0)
        await backend.streams.append(KEY, STREAM, events(1), holder="n1")
        await backend.streams.append(KEY, "bb", events(1), holder="n1")
        taken = await backend.streams.attach(KEY, ANN, "g", None, "n2")
        assert taken is not None
        assert await self.counts(backend) == (2, 3)
        await backend.streams.append(KEY, "bb", events(2, end=True), leaving=ended(2))
        assert await self.counts(backend) == (1, 2)
        await backend.streams.checkpoint(KEY, "g", 0, released_epoch=taken.holder.epoch)
        assert await self.counts(backend) == (1, 1)

    async def test_a_socket_that_left_late_takes_nothing_from_its_successor(
        self, backend: Backend, clock: HandClock
    ) -> None:
        await backend.sessions.open(session(clock))
        first = await backend.streams.attach(KEY, ANN, "g", None, "n1")
        second = await backend.streams.attach(KEY, ANN, "g", None, "n2")
        assert first is not None and second is not None
        await backend.streams.checkpoint(KEY, "g", 0, released_epoch=first.holder.epoch)
        emitted = await backend.streams.emit(KEY, b"{}")
        assert emitted is not None and emitted.holder == second.holder
        await backend.streams.checkpoint(KEY, "g", 0, released_epoch=second.holder.epoch)
        emitted = await backend.streams.emit(KEY, b"{}")
        assert emitted is not None and emitted.holder is None
        third = await backend.streams.attach(KEY, ANN, "g", 0, "n3")
        assert third is not None
        assert (third.previous, third.holder.epoch, len(third.events)) == (None, 3, 2)

    async def counts(self, backend: Backend) -> tuple[int, int]:
        (found,) = (await index_of(backend).page()).sessions
        return found.calls, found.streams

    # -- orders, states and ages ---------------------------------------------------------------------

    async def different(self, backend: Backend, clock: HandClock) -> None:
        """Open three sessions that differ in every field to order by."""
        for key, principal in ((KEY, ANN), (OTHER_KEY, BOB), (THIRD_KEY, ANN)):
            await backend.sessions.open(session(clock, key, principal))
            clock.advance(10)
        for key, principal, requests, errors in ((THIRD_KEY, ANN, 1, 1), (KEY, ANN, 3, 0), (OTHER_KEY, BOB, 2, 2)):
            for number in range(requests):
                await backend.sessions.enter(key, principal, "n1", [in_flight(number)])
                ending = Ending.ERROR if number < errors else Ending.OK
                await backend.sessions.leave(key, ended(number, ending=ending))
            clock.advance(1)
        await self.index(backend)

    @pytest.mark.parametrize(
        ("by", "keys"),
        [
            ("last_seen", [THIRD_KEY, KEY, OTHER_KEY]),
            ("created", [KEY, OTHER_KEY, THIRD_KEY]),
            ("requests", [THIRD_KEY, OTHER_KEY, KEY]),
            ("errors", [KEY, THIRD_KEY, OTHER_KEY]),
        ],
    )
    async def test_sessions_come_in_each_order(
        self, backend: Backend, clock: HandClock, by: str, keys: list[str]
    ) -> None:
        assert by in ORDERS
        if backend.index is None:
            return
        await self.different(backend, clock)
        for order, expected in ((by, keys), (f"-{by}", keys[::-1])):
            for query in (SessionQuery(), SessionQuery(text="ann"), SessionQuery(protocol_version="2025-11-25")):
                page = await index_of(backend).page(0, 10, query, order)
                assert ([item.key for item in page.sessions], page.total) == (expected, 3), (order, query)
                page = await index_of(backend).page(1, 1, query, order)
                assert ([item.key for item in page.sessions], page.total) == (expected[1:2], 3), (order, query)

    async def test_sessions_are_found_by_age(self, backend: Backend, clock: HandClock) -> None:
        if backend.index is None:
            return
        begun = clock()
        await self.different(backend, clock)
        for query, keys in {
            SessionQuery(created_after=begun + 10): [THIRD_KEY, OTHER_KEY],
            SessionQuery(created_before=begun + 10): [OTHER_KEY, KEY],
            SessionQuery(created_after=begun + 5, created_before=begun + 15): [OTHER_KEY],
            SessionQuery(created_after=begun + 21): [],
            SessionQuery(created_after=begun + 10, user="ann"): [THIRD_KEY, OTHER_KEY],
        }.items():
            page = await index_of(backend).page(0, 10, query, "-created")
            assert ([item.key for item in page.sessions], page.total) == (keys, len(keys)), query

    async def test_sessions_are_found_by_what_they_are_at(self, backend: Backend, clock: HandClock) -> None:
        if backend.index is None:
            return
        await backend.bus.start("n1", lambda message: None)
        for key in (KEY, OTHER_KEY, THIRD_KEY):
            await backend.sessions.open(session(clock, key, initialized=key == THIRD_KEY))
        await backend.sessions.update(KEY, initialized=True)
        await self.index(backend)
        assert await self.at(backend, "opening") == {OTHER_KEY}
        assert await self.at(backend, "active") == {KEY, THIRD_KEY}
        await backend.sessions.update(OTHER_KEY, initialized=True)
        await backend.sessions.enter(OTHER_KEY, ANN, "n1", [in_flight(1)])
        clock.advance(59)
        await backend.sessions.touch(THIRD_KEY)
        clock.advance(2)
        await self.index(backend)
        assert await self.at(backend, "opening") == set()
        assert await self.at(backend, "busy") == {OTHER_KEY}
        assert await self.at(backend, "active") == {THIRD_KEY}
        assert await self.at(backend, "idle") == {KEY}
        assert await self.at(backend, "nothing of the kind") == set()
        await backend.sessions.leave(OTHER_KEY, ended(1))
        assert await self.at(backend, "busy") == set()
        assert await self.at(backend, "idle") == {KEY, OTHER_KEY}
        await backend.bus.stop("n1")

    async def at(self, backend: Backend, state: str) -> set[str]:
        page = await index_of(backend).page(0, 10, SessionQuery(state=state))
        return {item.key for item in page.sessions}

    # -- all of them ---------------------------------------------------------------------------------

    async def test_all_sessions_are_summed_up(self, backend: Backend, clock: HandClock) -> None:
        if backend.index is None:
            return
        assert (await index_of(backend).overview()).total == 0
        await backend.sessions.open(session(clock, KEY, user="ann", client_info={"name": "Claude", "version": "1"}))
        clock.advance(50)
        await backend.sessions.open(session(clock, OTHER_KEY, BOB, user="bob", client_info={"name": "Cursor"}))
        await backend.sessions.open(session(clock, THIRD_KEY, user="ann", client_info={"name": "Cursor"}))
        clock.advance(30)
        await backend.sessions.touch(KEY)
        await self.index(backend)
        overview = await index_of(backend).overview()
        assert (overview.total, overview.sampled, overview.opened) == (3, 3, 2)
        assert overview.values == {
            "client": (("Cursor", 2), ("Claude 1", 1)),
            "user": (("ann", 2), ("bob", 1)),
            "protocol_version": (("2025-11-25", 3),),
            "node": (("n1", 3),),
        }
        assert overview.mean_duration == pytest.approx(80 / 3)
        assert overview.median_duration == 0.0
