"""An emptied Redis: rebuilt streams continue after the epochs and numbers that nodes remember."""

from __future__ import annotations

import pytest

from mcp_transport.backends.base import Backend
from mcp_transport.backends.results import HolderChanged
from tests.support.backends import ANN, KEY, STREAM, HandClock, events, session
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("take_overs", [1, 3])
@pytest.mark.parametrize("stream", ["g", STREAM])
async def test_a_socket_that_left_before_takes_a_stream_from_nobody(
    backend: Backend, clock: HandClock, server: RedisServer, stream: str, take_overs: int
) -> None:
    """The epochs of a stream keep rising, so that two nodes agree on the latest holder."""
    record = session(clock)
    await backend.sessions.open(record)
    await backend.streams.append(KEY, STREAM, events(1), writer="n1")
    for _ in range(take_overs):
        first = await backend.streams.attach(KEY, ANN, stream, None, "n1")
    server.ask("FLUSHALL")
    clock.advance(1)
    assert await backend.sessions.restore(record)
    await backend.streams.append(KEY, STREAM, events(1), writer="n1")
    second = await backend.streams.attach(KEY, ANN, stream, None, "n2")
    assert first is not None and second is not None
    assert second.holder.epoch > first.holder.epoch
    await backend.streams.checkpoint(KEY, stream, 0, released_epoch=first.holder.epoch)
    assert [item.holder for item in await backend.streams.stream_records(KEY) if item.name == stream] == ["n2"]
    with pytest.raises(HolderChanged):
        await backend.streams.read(KEY, stream, 0, epoch=first.holder.epoch)


async def test_a_node_that_holds_a_stream_again_comes_after_itself(
    backend: Backend, clock: HandClock, server: RedisServer
) -> None:
    record = session(clock)
    await backend.sessions.open(record)
    first = await backend.streams.attach(KEY, ANN, "g", None, "n1")
    server.ask("FLUSHALL")
    clock.advance(1)
    assert await backend.sessions.restore(record)
    again = await backend.streams.append(KEY, "g", (), holder="n1")
    assert first is not None and again is not None and again.holder is not None
    assert again.holder.epoch > first.holder.epoch
