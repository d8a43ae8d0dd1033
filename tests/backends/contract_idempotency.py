"""The backend contract for idempotency keys; `contract.BackendContract` includes it."""

from __future__ import annotations

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.results import Entered, Event
from mcp_transport.domain.history import Ending
from mcp_transport.domain.session import InFlightRequest
from mcp_transport.protocol.idempotency import stream_name
from tests.support.backends import ANN, KEY, OTHER_KEY, POLICY, STREAM, HandClock, ended, events, in_flight, session

KEYED, OTHER_KEYED = stream_name("a key"), stream_name("another key")
DIGEST = bytes(range(32))


def keyed(
    request_id: int | str = 1, *, node: str = "n1", stream: str = KEYED, digest: bytes = DIGEST
) -> InFlightRequest:
    return in_flight(request_id, node=node, stream=stream, digest=digest)


class IdempotencyContract:
    """A request with an idempotency key is found by its stream, while it runs and after it has ended."""

    @pytest.fixture
    async def opened(self, backend: Backend, clock: HandClock) -> Backend:
        await backend.sessions.open(session(clock))
        return backend

    async def enter(self, backend: Backend, *requests: InFlightRequest) -> Entered:
        entered = await backend.sessions.enter(KEY, ANN, requests[0].node, requests)
        assert entered is not None
        return entered

    async def test_a_request_with_a_new_key_is_registered(self, opened: Backend) -> None:
        entered = await self.enter(opened, keyed())
        assert (entered.running, entered.ended_digest) == ((), None)
        assert [item.stream for item in await opened.sessions.in_flight(KEY)] == [KEYED]

    @pytest.mark.parametrize("request_id", [1, "1", 2])
    async def test_a_key_leads_to_the_request_that_runs(self, opened: Backend, request_id: int | str) -> None:
        await self.enter(opened, in_flight("other"))
        await self.enter(opened, keyed(1))
        entered = await self.enter(opened, keyed(request_id, node="n2", digest=b"other"))
        assert [(item.request_id, item.node, item.digest) for item in entered.running] == [(1, "n1", DIGEST)]
        assert entered.ended_digest is None
        assert {item.request_id for item in await opened.sessions.in_flight(KEY)} == {1, "other"}, (
            "it is not registered"
        )

    async def test_another_key_or_none_leads_to_a_request_by_its_id_alone(self, opened: Backend) -> None:
        await self.enter(opened, keyed(1))
        for again in (keyed(1, stream=OTHER_KEYED), in_flight(1)):
            assert [item.stream for item in (await self.enter(opened, again)).running] == [KEYED]
        for other in (keyed(2, stream=OTHER_KEYED), in_flight(3)):
            assert (await self.enter(opened, other)).running == ()

    @pytest.mark.parametrize("ending", [Ending.OK, Ending.ERROR, Ending.CANCELLED, Ending.LOST])
    async def test_the_end_in_the_log_is_the_end_of_the_request(self, opened: Backend, ending: Ending) -> None:
        await self.enter(opened, keyed())
        await opened.streams.append(KEY, KEYED, events(1, end=True), writer="n1", leaving=ended(1, ending=ending))
        entered = await self.enter(opened, keyed(node="n2", digest=b"other"))
        assert (entered.running, entered.ended_digest) == ((), DIGEST)
        assert await opened.sessions.in_flight(KEY) == (), "it is not registered"
        assert await opened.streams.read(KEY, KEYED, 0) == ((Event(1, b"1", terminal=True),), 0)

    async def test_an_end_that_is_appended_twice_keeps_its_digest(self, opened: Backend) -> None:
        await self.enter(opened, keyed())
        for _ in range(2):
            await opened.streams.append(KEY, KEYED, events(1, end=True), writer="n1", leaving=ended(1))
        assert (await self.enter(opened, keyed())).ended_digest == DIGEST

    async def test_an_id_that_another_request_has_by_then_is_not_looked_at(self, opened: Backend) -> None:
        await self.enter(opened, keyed(1))
        await opened.streams.append(KEY, KEYED, events(1, end=True), writer="n1", leaving=ended(1))
        await self.enter(opened, in_flight(1, digest=b"another"))
        entered = await self.enter(opened, keyed(1))
        assert (entered.running, entered.ended_digest) == ((), DIGEST)

    async def test_events_alone_are_no_end(self, opened: Backend) -> None:
        await self.enter(opened, keyed())
        await opened.streams.append(KEY, KEYED, events(1, 2), writer="n1")
        entered = await self.enter(opened, keyed())
        assert (len(entered.running), entered.ended_digest) == (1, None)

    async def test_a_kept_end_without_a_request_has_no_digest(self, opened: Backend) -> None:
        await opened.streams.append(KEY, KEYED, events(1, end=True), writer="n1", leaving=ended(1))
        assert (await self.enter(opened, keyed())).ended_digest == b""

    async def test_what_was_removed_without_a_log_may_run(self, opened: Backend) -> None:
        await self.enter(opened, keyed())
        await opened.sessions.leave(KEY, ended(1), stream=KEYED)
        entered = await self.enter(opened, keyed(node="n2"))
        assert (entered.running, entered.ended_digest) == ((), None)

    async def test_a_key_is_free_when_its_log_is_gone(self, opened: Backend, clock: HandClock) -> None:
        for _ in range(2):
            await self.enter(opened, keyed())
            await opened.streams.append(KEY, KEYED, events(1, 2, end=True), writer="n1", leaving=ended(1))
            clock.advance(POLICY.stream_keep - 1)
            assert (await self.enter(opened, keyed())).ended_digest == DIGEST
            clock.advance(2)
        entered = await self.enter(opened, keyed(digest=b"another"))
        assert (entered.running, entered.ended_digest) == ((), None)
        await opened.streams.append(KEY, KEYED, events(1, end=True), writer="n1", leaving=ended(1))
        assert await opened.streams.read(KEY, KEYED, 0) == ((Event(1, b"1", terminal=True),), 0)

    async def test_streams_without_a_key_are_not_found_by_their_name(self, opened: Backend) -> None:
        await self.enter(opened, in_flight(1))
        assert (await self.enter(opened, in_flight(2))).running == ()
        await opened.streams.append(KEY, STREAM, events(1, end=True), writer="n1", leaving=ended(1, 2))
        assert (await self.enter(opened, in_flight(1))).ended_digest is None

    async def test_a_key_means_nothing_in_another_session(self, opened: Backend, clock: HandClock) -> None:
        await opened.sessions.open(session(clock, OTHER_KEY))
        await self.enter(opened, keyed())
        entered = await opened.sessions.enter(OTHER_KEY, ANN, "n1", [keyed()])
        assert entered is not None
        assert (entered.running, entered.ended_digest) == ((), None)
