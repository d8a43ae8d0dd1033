"""The backend contract for streams: logs, holders and cursors."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.results import Appended, Attached, Emitted, Event, Holder, HolderChanged, StreamOver
from mcp_transport.domain.node_messages import Broadcast
from tests.support.backends import (
    ANN,
    BOB,
    KEY,
    OTHER_KEY,
    POLICY,
    STREAM,
    HandClock,
    ended,
    events,
    in_flight,
    session,
)


async def attach(
    backend: Backend, stream: str = STREAM, after: int | None = 0, *, node: str = "n1", key: str = KEY
) -> Attached:
    attached = await backend.streams.attach(key, ANN, stream, after, node)
    assert attached is not None
    return attached


def numbers(found: tuple[Event, ...]) -> list[int]:
    return [event.seq for event in found]


class StreamContract:
    """The contract for POST streams and the GET stream `g`."""

    @pytest.fixture
    async def opened(self, backend: Backend, clock: HandClock) -> Backend:
        """A backend with one session and one request in flight, as before any stream."""
        await backend.sessions.open(session(clock))
        await backend.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        await backend.sessions.leave(KEY, ended(1))
        return backend

    # -- the log -------------------------------------------------------------------------------------

    async def test_events_are_read_in_order_after_a_number(self, opened: Backend) -> None:
        await opened.streams.append(KEY, STREAM, events(1, 2))
        await opened.streams.append(KEY, STREAM, events(3))
        assert await opened.streams.read(KEY, STREAM, 0) == (tuple(events(1, 2, 3)), 0)
        assert await opened.streams.read(KEY, STREAM, 2) == (tuple(events(3)), 0)
        assert await opened.streams.read(KEY, STREAM, 3) == ((), 0)

    async def test_a_number_that_is_known_is_skipped(self, opened: Backend) -> None:
        await opened.streams.append(KEY, STREAM, events(1, 2))
        await opened.streams.append(KEY, STREAM, [Event(1, b"other"), Event(2, b"other"), Event(3, b"3")])
        assert await opened.streams.read(KEY, STREAM, 0) == (tuple(events(1, 2, 3)), 0)

    async def test_streams_and_sessions_have_logs_of_their_own(self, opened: Backend, clock: HandClock) -> None:
        await opened.sessions.open(session(clock, OTHER_KEY))
        await opened.sessions.enter(OTHER_KEY, ANN, "n1")
        await opened.streams.append(KEY, STREAM, events(1))
        await opened.streams.append(KEY, "bb", events(1, 2))
        await opened.streams.append(OTHER_KEY, STREAM, events(1, 2, 3))
        found = [
            (await opened.streams.read(*place, 0))[0] for place in ((KEY, STREAM), (KEY, "bb"), (OTHER_KEY, STREAM))
        ]
        assert [len(item) for item in found] == [1, 2, 3]
        with pytest.raises(LookupError):
            await opened.streams.read(OTHER_KEY, "bb", 0)

    async def test_reading_tells_when_nothing_can_come_any_more(self, opened: Backend) -> None:
        await opened.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        assert await opened.streams.read(KEY, STREAM, 0) == ((), 0), "the call runs, its log is yet to come"
        await opened.streams.append(KEY, STREAM, events(1, 2, end=True))
        assert await opened.streams.read(KEY, STREAM, 1) == (tuple(events(2, end=True)), 0)
        for over in (2, 3):
            with pytest.raises(LookupError):
                await opened.streams.read(KEY, STREAM, over)

    async def test_reading_tells_when_another_response_has_the_stream(self, opened: Backend) -> None:
        await opened.sessions.enter(KEY, ANN, "n1", [in_flight(1)])
        await opened.streams.append(KEY, STREAM, events(1), holder="n1")
        assert await opened.streams.read(KEY, STREAM, 0, epoch=1) == (tuple(events(1)), 0)
        attached = await opened.streams.attach(KEY, ANN, STREAM, 0, "n2")
        assert attached is not None and attached.holder.epoch == 2
        with pytest.raises(HolderChanged) as caught:
            await opened.streams.read(KEY, STREAM, 0, epoch=1)
        assert caught.value.epoch == 2
        assert await opened.streams.read(KEY, STREAM, 0, epoch=2) == (tuple(events(1)), 0)

    async def test_what_lies_before_a_gap_counts_as_lost(self, opened: Backend) -> None:
        await opened.streams.append(KEY, STREAM, events(1, 2))
        await opened.streams.append(KEY, STREAM, events(4))
        assert await opened.streams.read(KEY, STREAM, 1) == (tuple(events(4)), 2)

    async def test_the_oldest_events_go_by_count_and_are_counted(self, opened: Backend) -> None:
        assert POLICY.stream_max_events == 5
        await opened.streams.append(KEY, STREAM, events(*range(1, 9)))
        assert await opened.streams.read(KEY, STREAM, 0) == (tuple(events(4, 5, 6, 7, 8)), 3)
        assert await opened.streams.read(KEY, STREAM, 2) == (tuple(events(4, 5, 6, 7, 8)), 1)
        assert await opened.streams.read(KEY, STREAM, 3) == (tuple(events(4, 5, 6, 7, 8)), 0)
        attached = await attach(opened, after=1)
        assert (numbers(attached.events), attached.lost, attached.cursor) == ([4, 5, 6, 7, 8], 2, 1)

    async def test_the_oldest_events_go_by_bytes_and_are_counted(self, opened: Backend) -> None:
        assert POLICY.stream_max_bytes == 100
        await opened.streams.append(KEY, STREAM, [Event(number, b"x" * 40) for number in (1, 2, 3)])
        found, lost = await opened.streams.read(KEY, STREAM, 0)
        assert (numbers(found), lost) == ([2, 3], 1)

    async def test_an_event_over_the_limit_is_kept_alone(self, opened: Backend) -> None:
        big = Event(2, b"x" * 1000, terminal=True)
        await opened.streams.append(KEY, STREAM, [*events(1), big])
        assert await opened.streams.read(KEY, STREAM, 0) == ((big,), 1)
        attached = await attach(opened)
        assert (attached.events, attached.lost, attached.ended) == ((big,), 1, True)

    async def test_operators_see_a_sessions_streams(self, opened: Backend) -> None:
        await opened.streams.append(KEY, STREAM, events(1, 2), holder="n1")
        await opened.streams.append(KEY, "bb", events(1, end=True))
        found = {item.name: (item.holder, item.last, item.ended) for item in await opened.streams.stream_records(KEY)}
        assert found == {STREAM: ("n1", 2, False), "bb": ("", 1, True)}
        assert await opened.streams.stream_records(OTHER_KEY) == ()

    # -- holders -------------------------------------------------------------------------------------

    async def test_a_new_stream_has_no_holder_unless_the_writer_names_one(self, opened: Backend) -> None:
        assert await opened.streams.append(KEY, STREAM, events(1)) == Appended()
        assert await opened.streams.append(KEY, "bb", events(1), holder="n1") == Appended(Holder("n1", 1))
        assert await opened.streams.append(KEY, "bb", events(2)) == Appended(Holder("n1", 1))

    async def test_each_take_over_raises_the_epoch_and_tells_who_held_before(self, opened: Backend) -> None:
        await opened.streams.append(KEY, STREAM, events(1), holder="n1")
        second = await attach(opened, node="n2")
        third = await attach(opened, node="n2")
        assert (second.previous, second.holder) == (Holder("n1", 1), Holder("n2", 2))
        assert (third.previous, third.holder) == (Holder("n2", 2), Holder("n2", 3))

    async def test_the_first_to_take_a_stream_follows_nobody(self, opened: Backend) -> None:
        first = await attach(opened, "g", None)
        assert (first.previous, first.holder, first.events, first.cursor) == (None, Holder("n1", 1), (), 0)
        assert (first.ended, first.lost) == (False, 0)

    async def test_the_writer_learns_of_a_new_holder_with_its_next_event(self, opened: Backend) -> None:
        await opened.streams.append(KEY, STREAM, events(1), holder="n1")
        taken = await attach(opened, node="n2")
        assert await opened.streams.append(KEY, STREAM, events(2)) == Appended(taken.holder)
        # The writer's own node is the first holder only, however often it is named.
        assert await opened.streams.append(KEY, STREAM, events(3), holder="n1") == Appended(taken.holder)

    async def test_take_overs_at_once_have_epochs_of_their_own(self, opened: Backend) -> None:
        found = await asyncio.gather(*(attach(opened, "g", None, node=f"n{number}") for number in range(5)))
        assert sorted(item.holder.epoch for item in found) == [1, 2, 3, 4, 5]
        last = max((item.holder for item in found), key=lambda holder: holder.epoch)
        assert await opened.streams.emit(KEY, b"{}") == Emitted(1, last)

    async def test_a_stranger_takes_no_stream(self, opened: Backend) -> None:
        await opened.streams.append(KEY, STREAM, events(1), holder="n1")
        assert await opened.streams.attach(KEY, BOB, STREAM, 0, "n9") is None
        assert await opened.streams.append(KEY, STREAM, events(2)) == Appended(Holder("n1", 1))

    async def test_attaching_returns_the_session_as_used_now(self, opened: Backend, clock: HandClock) -> None:
        before = await opened.sessions.get(KEY)
        assert before is not None
        clock.advance(5)
        attached = await attach(opened, "g", None, node="n2")
        assert await opened.sessions.get(KEY) == replace(before, last_seen=clock(), node="n2")
        assert attached.session.key == KEY

    # -- cursors -------------------------------------------------------------------------------------

    @pytest.mark.parametrize(("after", "expected"), [(0, [1, 2, 3]), (1, [2, 3]), (3, [])])
    async def test_what_follows_the_cursor_is_returned(
        self, opened: Backend, after: int, expected: list[int]
    ) -> None:
        await opened.streams.append(KEY, STREAM, events(1, 2, 3))
        attached = await attach(opened, after=after)
        assert (numbers(attached.events), attached.cursor, attached.lost) == (expected, after, 0)

    @pytest.mark.parametrize("stream", [STREAM, "g"])
    async def test_a_cursor_beyond_the_end_is_unknown_and_takes_nothing(self, opened: Backend, stream: str) -> None:
        await opened.streams.append(KEY, stream, events(1), holder="n1")
        with pytest.raises(LookupError):
            await opened.streams.attach(KEY, ANN, stream, 2, "n2")
        assert await opened.streams.append(KEY, stream, events(2)) == Appended(Holder("n1", 1))

    @pytest.mark.parametrize("after", [None, 0, 1])
    async def test_a_stream_that_never_was_is_unknown(
        self, opened: Backend, clock: HandClock, after: int | None
    ) -> None:
        await opened.sessions.open(session(clock, OTHER_KEY))
        await opened.sessions.enter(OTHER_KEY, ANN, "n1", [in_flight(1, stream="cc")])
        await opened.streams.append(OTHER_KEY, "bb", events(1))
        for stream in ("bb", "cc"):  # another session's
            with pytest.raises(LookupError):
                await opened.streams.attach(KEY, ANN, stream, after, "n1")

    async def test_the_stream_of_a_request_in_flight_is_known_before_its_first_event(self, opened: Backend) -> None:
        await opened.sessions.enter(KEY, ANN, "n1", [in_flight(2, stream="cc")])
        attached = await attach(opened, "cc", 0, node="n2")
        assert (attached.events, attached.ended) == ((), False)
        assert await opened.streams.append(KEY, "cc", events(1), holder="n1") == Appended(attached.holder)

    async def test_a_client_may_be_ahead_of_the_log_of_a_request_in_flight(self, opened: Backend) -> None:
        # The writer's events go to the socket first and to the log behind.
        await opened.sessions.enter(KEY, ANN, "n1", [in_flight(2, stream="cc")])
        attached = await attach(opened, "cc", 2, node="n2")
        assert (attached.events, attached.cursor, attached.lost, attached.ended) == ((), 2, 0, False)
        await opened.streams.append(KEY, "cc", events(1, 2, 3), holder="n1")
        assert await opened.streams.read(KEY, "cc", 2) == (tuple(events(3)), 0)

    async def test_without_a_cursor_it_goes_on_after_what_was_delivered(self, opened: Backend) -> None:
        await attach(opened, "g", None)
        for _ in range(3):
            await opened.streams.emit(KEY, b"{}")
        await opened.streams.checkpoint(KEY, "g", 2)
        second = await attach(opened, "g", None)
        assert (second.cursor, numbers(second.events)) == (2, [3])

    async def test_a_mark_changes_no_holder(self, opened: Backend) -> None:
        first = await attach(opened, "g", None)
        await opened.streams.checkpoint(KEY, "g", 0)
        assert await opened.streams.emit(KEY, b"{}") == Emitted(1, first.holder)
        assert (await attach(opened, "g", None, node="n2")).previous == first.holder

    async def test_a_mark_that_comes_late_does_not_go_back(self, opened: Backend) -> None:
        for _ in range(3):
            await opened.streams.emit(KEY, b"{}")
        await opened.streams.checkpoint(KEY, "g", 2)
        await opened.streams.checkpoint(KEY, "g", 1)
        assert numbers((await attach(opened, "g", None)).events) == [3]

    async def test_a_mark_is_one_streams_own(self, opened: Backend) -> None:
        await opened.streams.append(KEY, STREAM, events(1, 2))
        await opened.streams.emit(KEY, b"{}")
        await opened.streams.checkpoint(KEY, STREAM, 1)
        assert numbers((await attach(opened, "g", None)).events) == [1]
        assert numbers((await attach(opened, STREAM, None)).events) == [2]

    async def test_a_mark_tells_a_store_what_it_has_lost(self, opened: Backend) -> None:
        await opened.streams.emit(KEY, b"{}")
        await opened.streams.checkpoint(KEY, "g", 3, "900000000000000-00000")
        await opened.streams.emit(
            KEY, b"heard", Broadcast("notifications/tools/list_changed", number="800000000000000-00000")
        )
        await opened.streams.emit(KEY, b"{}")
        attached = await attach(opened, "g", 3)
        assert (numbers(attached.events), attached.lost, attached.last_broadcast) == ([4], 0, "900000000000000-00000")

    async def test_a_mark_on_what_is_not_there_is_no_error(self, opened: Backend) -> None:
        await opened.streams.checkpoint(KEY, "never", 1)
        await opened.streams.checkpoint(OTHER_KEY, "g", 1)
        with pytest.raises(LookupError):
            await opened.streams.attach(KEY, ANN, "never", None, "n1")

    # -- the end of a stream -------------------------------------------------------------------------

    async def test_a_stream_ends_with_its_terminal_event(self, opened: Backend) -> None:
        await opened.streams.append(KEY, STREAM, events(1, 2, end=True))
        for after, expected in ((0, [1, 2]), (1, [2])):
            attached = await attach(opened, after=after)
            assert (numbers(attached.events), attached.ended) == (expected, True)
        assert (await attach(opened)).events[-1].terminal

    async def test_a_stream_that_is_over_is_not_taken_for_nothing(self, opened: Backend) -> None:
        await opened.streams.append(KEY, STREAM, events(1, 2, end=True), holder="n1")
        for _ in range(2):
            with pytest.raises(StreamOver):
                await attach(opened, after=2)
        assert (await attach(opened, after=1)).holder.epoch == 2, "nobody took it over in between"

    async def test_a_stream_may_end_without_a_message(self, opened: Backend) -> None:
        await opened.streams.append(KEY, STREAM, [*events(1), Event(2, b"", terminal=True)])
        attached = await attach(opened, after=0)
        assert (attached.events[-1], attached.ended) == (Event(2, b"", terminal=True), True)
        with pytest.raises(StreamOver):
            await attach(opened, after=1)

    async def test_a_stream_that_is_over_is_kept_for_a_while(self, opened: Backend, clock: HandClock) -> None:
        await opened.streams.append(KEY, STREAM, events(1, end=True))
        await opened.streams.append(KEY, "bb", events(1))
        clock.advance(POLICY.stream_keep - 1)
        assert (await attach(opened)).ended
        clock.advance(2)
        with pytest.raises(LookupError):
            await opened.streams.attach(KEY, ANN, STREAM, 0, "n1")
        assert numbers((await attach(opened, "bb")).events) == [1]  # one that goes on stays

    async def test_a_session_that_is_only_touched_keeps_its_streams(self, opened: Backend, clock: HandClock) -> None:
        await opened.streams.append(KEY, STREAM, events(1, 2))
        for number in range(3):
            clock.advance(POLICY.session_ttl - 1)
            await opened.sessions.touch(KEY)
            await opened.sessions.open(session(clock, OTHER_KEY))  # whose use lets the backend clear up
            await opened.sessions.enter(OTHER_KEY, ANN, "n1", [in_flight(number)])
        assert numbers((await attach(opened)).events) == [1, 2]

    # -- the GET stream ------------------------------------------------------------------------------

    async def test_messages_for_the_get_stream_are_numbered_from_one(self, opened: Backend) -> None:
        assert await opened.streams.emit(KEY, b"a") == Emitted(1, None)
        taken = await attach(opened, "g", None)
        assert taken.events == (Event(1, b"a"),)
        assert await opened.streams.emit(KEY, b"b") == Emitted(2, taken.holder)
        assert await opened.streams.read(KEY, "g", 0) == ((Event(1, b"a"), Event(2, b"b")), 0)

    async def test_messages_at_once_get_numbers_without_holes(self, opened: Backend) -> None:
        await asyncio.gather(*(opened.streams.emit(KEY, b"%d" % number) for number in range(5)))
        found, lost = await opened.streams.read(KEY, "g", 0)
        assert (numbers(found), lost) == ([1, 2, 3, 4, 5], 0)
        assert {event.payload for event in found} == {b"0", b"1", b"2", b"3", b"4"}

    async def test_the_get_stream_is_numbered_on_after_its_log_was_trimmed(self, opened: Backend) -> None:
        for _ in range(7):
            await opened.streams.emit(KEY, b"{}")
        attached = await attach(opened, "g", None)
        assert (numbers(attached.events), attached.lost) == ([3, 4, 5, 6, 7], 2)
