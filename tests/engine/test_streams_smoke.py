from __future__ import annotations

from tests.clock import FakeClock, settle
from tests.engine.client import SessionClient, send_sessionless
import asyncio


async def test_json(client):
    answer = await client.call("add", {"a": 1, "b": 2})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["result"]["content"][0]["text"] == "3"


async def test_sse_after(client, clock, gate):
    task = asyncio.ensure_future(client.call("blocked"))
    await gate.wait(gate.entered)
    await clock.advance(1.0)
    answer = await task
    frame = await answer.frame()
    assert frame.id.endswith("-0") and frame.data == "" and frame.retry == 1000
    gate.open.set()
    assert (await answer.message())["result"]["content"][0]["text"] == "through"
    assert await answer.frame() is None


async def test_resume(client, clock, gate):
    answer = await client.call("count", {"steps": 3})
    await answer.frame()
    first = await answer.frame()
    answer.close()
    await settle()
    resumed = await client.get(first.id)
    await resumed.frame()
    gate.open.set()
    got = await resumed.messages()
    assert [m["params"]["progress"] for m in got[:-1]] == [2, 3, 4]
    assert got[-1]["result"]


async def test_ask(client):
    answer = await client.call("ask")
    question = await answer.message()
    assert question["method"] == "elicitation/create"
    assert (await client.reply(question["id"], {"action": "accept", "content": {"name": "Ann"}})).status == 202
    assert (await answer.message())["result"]["content"][0]["text"] == "accept Ann"


async def test_sessionless(endpoint, gate):
    answer = await send_sessionless(endpoint, "tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
    assert answer.json["result"]["resultType"] == "complete"
    answer = await send_sessionless(endpoint, "tools/call", {"name": "count", "arguments": {"steps": 2}}, meta={"progressToken": 1})
    assert (await answer.message())["params"]["progress"] == 1
    answer.close()
    await gate.wait(gate.left)
    assert gate.cancelled


async def test_get_stream(client, endpoint):
    stream = await client.get()
    await stream.frame()
    await client.request("resources/subscribe", {"uri": "test://watched"})
    await client.call("announce")
    assert (await stream.message())["method"] == "notifications/tools/list_changed"
    assert (await stream.message())["method"] == "notifications/resources/updated"
    second = await client.get()
    assert await stream.frame() is None
    second.close()
