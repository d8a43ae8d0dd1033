"""A session's records that nobody can read, or that another release wrote: the session is unknown, or is served."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
import redis

from mcp_transport.domain.session import session_key
from tests.garbage.stage import Stage


async def test_a_session_that_cannot_be_read_is_unknown_and_logged_once(
    made: Stage, store: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    key = session_key(made.ann.session_id)
    store.delete(f"mcp:{{{key}}}")
    store.set(f"mcp:{{{key}}}", "garbage")
    for _ in range(5):
        for answer in (await made.ann.request("ping", id="p"), await made.ann.get(), await made.ann.delete()):
            assert (answer.status, answer.error_code) == (404, -32600)
    told = [record for record in caplog.records if "cannot be read, and is unknown" in record.getMessage()]
    assert {(record.levelname, record.exc_info is not None) for record in told} == {("ERROR", True)}
    assert len(told) <= 3  # for each of three operations, which stumble over it at different places


async def test_a_session_that_cannot_be_read_keeps_no_other_one_from_going_on(
    made: Stage, store: redis.Redis
) -> None:
    listening = await made.bob.get()
    store.delete(f"mcp:{{{session_key(made.ann.session_id)}}}")
    store.set(f"mcp:{{{session_key(made.ann.session_id)}}}", "garbage")
    async with asyncio.timeout(60):
        await made.one.pool.nodes[0].reconnection.resynchronize()
    await made.bob.call("whisper", {"text": "still here"}, endpoint=made.two)
    assert (await listening.message() or {})["params"]["data"] == "still here"
    await made.check_others()


@pytest.mark.parametrize(
    ("added", "dropped"),
    [({"newer": [1]}, ()), ({}, ("user_agent", "address")), ({"client_info": {"name": "x", "newer": {}}}, ())],
)
async def test_records_of_a_newer_and_of_an_older_release_are_served(
    added: dict[str, Any], dropped: tuple[str, ...], made: Stage, store: redis.Redis
) -> None:
    record = f"mcp:{{{session_key(made.ann.session_id)}}}"
    known = orjson.loads(store.hget(record, "about") or b"")
    changed = {name: value for name, value in {**known, **added}.items() if name not in dropped}
    store.hset(record, mapping={"about": orjson.dumps(changed), "newer": "x"})
    assert (await made.ann.request("ping", id="p")).status == 200
    await made.check_operators()


async def test_a_lease_of_a_newer_release_is_read(made: Stage, store: redis.Redis) -> None:
    lease = f"mcp:{{in:{made.node}}}:lease"
    told = orjson.loads(store.get(lease) or b"")
    told["numbers"]["newer"] = told["newer"] = {}
    told["numbers"]["intervals"] = [[[1, 0, 0.1, [[3, 1]], "newer"], 2, "newer"]]
    store.set(lease, orjson.dumps(told))
    assert {node.name for node in await made.two.backend.bus.nodes()} == {made.node, made.two.pool.nodes[0].id}
    assert len(await made.two.backend.bus.metrics()) == 2


async def test_a_stream_of_a_thousand_million_million_events_holds_up_nobody(made: Stage, store: redis.Redis) -> None:
    key = session_key(made.ann.session_id)
    for name, raw in store.hgetall(f"mcp:{{{key}}}:t").items():
        if name != b"!":
            stream = {**orjson.loads(raw), "runs": [[1, 10**15]], "last": 10**15, "delivered": 0, "bytes": 10**15}
            store.hset(f"mcp:{{{key}}}:t", name, orjson.dumps(stream))
    assert (await made.ann.get()).status == 404
    assert (await made.ann.call("whisper", {"text": "x"}, id="w")).status == 200
    await made.check_others()
