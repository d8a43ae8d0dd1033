"""Messages between nodes through Redis: no copies, no busy loop, unchanged integers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis import Redis

from mcp_transport.backends.codec import decode_message, encode_message
from mcp_transport.domain.node_messages import NodeMessage, ReplyArrived
from tests.backends.contract_messages import POLICY, MessageContract
from tests.support.redis.backend import build, leave
from tests.support.redis.server import RedisServer

pytestmark = pytest.mark.servers


class TestRedisMessages(MessageContract):
    pass


class Uncopied(str):
    """A client's text, which must not be copied."""

    __slots__ = ()

    def __deepcopy__(self, memo: Any) -> str:
        raise AssertionError("a client's text was copied")


def test_a_message_to_another_node_is_written_without_a_copy() -> None:
    message = ReplyArrived("n.1.2.p", {"content": {"name": [Uncopied("Ann")]}}, None)
    assert decode_message(encode_message(message)) == ReplyArrived("n.1.2.p", {"content": {"name": ["Ann"]}}, None)


async def test_other_tasks_run_between_the_long_messages_of_a_full_inbox(server: RedisServer) -> None:
    """An inbox holds up to 64 MiB, which take the loop a fifth of a second; all are there before the next read."""
    long, turn, delivered_in = ReplyArrived("n.1.2.p", {"name": "x" * 2**20}, None), 0, list[int]()

    def deliver(message: NodeMessage) -> None:
        delivered_in.append(turn)
        if len(delivered_in) == 1:
            with Redis.from_url(server.admin_url) as client:
                for _ in range(8):
                    client.xadd("mcp:{in:n1}:q", {"m": encode_message(long)})

    backend = build(server, POLICY)
    try:
        await backend.bus.start("n1", deliver)
        assert await backend.bus.send("n1", long)
        async with asyncio.timeout(60):
            while len(delivered_in) < 9:
                turn += 1
                await asyncio.sleep(0)
    finally:
        await leave(backend)
    assert len({*delivered_in}) == 9
