"""Regions with a Redis each: a session that comes from another one is rebuilt from its id."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.results import UnknownStream
from mcp_transport.protocol.cursor import WRITER_SPAN
from tests.support.backends import ANN, KEY, POLICY, STREAM, HandClock, session
from tests.support.redis.backend import build_by_hand, leave
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.servers


@pytest.mark.parametrize(("region", "is_restored"), [("", False), ("us-east-1", True)])
async def test_a_session_of_another_region_may_be_older_than_an_idle_one(
    backend: Backend, clock: HandClock, region: str, is_restored: bool
) -> None:
    """It was used there. One of this region would have expired."""
    await backend.sessions.open(session(clock, key="A" * 26))  # the store is older
    clock.advance(60)
    record = replace(session(clock), region=region, ends=clock() + 86_400)
    clock.advance(5000)
    assert await backend.sessions.restore(record) is is_restored
    stored = await backend.sessions.get(KEY)
    assert (stored is not None) is is_restored
    assert stored is None or stored.region == ""


@pytest.mark.parametrize("region", ["", "eu-west-1"])
async def test_a_rebuilt_get_stream_skips_nothing_for_the_number_of_another_region(
    server: RedisServer, clock: HandClock, region: str
) -> None:
    """Two regions that rebuild a session within ten seconds begin with the same number."""
    backend = build_by_hand(server, replace(POLICY, region=region))
    record = session(clock)
    clock.advance(1)
    assert await backend.sessions.restore(record)
    numbers = [emitted.seq for _ in range(3) if (emitted := await backend.streams.emit(KEY, b"{}")) is not None]
    attached = await backend.streams.attach(KEY, ANN, "g", numbers[1], "n1")
    assert attached is not None
    assert [event.seq for event in attached.events] == (numbers if region else numbers[2:])
    await leave(backend)


async def test_a_get_stream_that_was_kept_goes_on_where_it_was_delivered(
    server: RedisServer, clock: HandClock
) -> None:
    """The client was in another region meanwhile, whose numbers are greater."""
    backend = build_by_hand(server, replace(POLICY, region="eu-west-1"))
    await backend.sessions.open(session(clock))
    first = await backend.streams.attach(KEY, ANN, "g", None, "n1")
    for _ in range(2):
        await backend.streams.emit(KEY, b"{}")
    await backend.streams.checkpoint(KEY, "g", 1)
    again = await backend.streams.attach(KEY, ANN, "g", 7 * WRITER_SPAN + 3, "n2")
    assert first is not None and again is not None
    assert ([event.seq for event in again.events], again.cursor) == ([2], 1)
    with pytest.raises(UnknownStream):
        await backend.streams.attach(KEY, ANN, STREAM, 3, "n2")
    await leave(backend)


async def test_a_session_that_has_ended_here_is_not_rebuilt(backend: Backend, clock: HandClock) -> None:
    record = replace(session(clock), region="us-east-1")
    assert await backend.sessions.restore(record)
    await backend.sessions.close(KEY, None)
    assert not await backend.sessions.restore(record)
