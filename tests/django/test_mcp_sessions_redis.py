"""`manage.py mcp_sessions` on a real Redis: what other processes do is shown, and what they run is cancelled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import CommandError

from mcp_transport import Context, bootstrap, tool
from mcp_transport.domain.circuit_breaker import CircuitBreaker
from mcp_transport.domain.node_messages import CircuitOpened
from mcp_transport.domain.session import session_key, short_id
from mcp_transport.engine.endpoint import Endpoint
from tests.django import test_mcp_sessions
from tests.support.canaries import PLANTED
from tests.support.client import SessionClient
from tests.support.redis.server import RedisServer
from tests.support.tools import Gate

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def endpoint(server: RedisServer, settings: Any, declarations: Any, gate: Gate) -> AsyncIterator[Endpoint]:
    @tool
    async def talk(ctx: Context, note: str = "") -> str:
        await ctx.report_progress(3, 10)
        return f"heard {note}"

    @tool(read_only=True)  # so that what it is called with is stored with the session
    async def wait(note: str = "") -> str:
        await gate.pass_through()
        return "through"

    server.cli("flushall")
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{server.url}/0"}}
    served = bootstrap.endpoint()
    yield served
    gate.open.set()
    await served.pool.stop()
    caches.close_all()


@pytest.fixture
async def client(endpoint: Endpoint) -> SessionClient:
    client = SessionClient(endpoint)
    await client.open()
    return client


async def run(*words: str) -> str:
    """Run the command as another process would, with a loop of its own."""
    return await asyncio.to_thread(test_mcp_sessions.run, *words)


async def as_json(*words: str) -> Any:
    return json.loads(await run(*words, "--json"))


def id_of(client: SessionClient) -> str:
    return short_id(session_key(client.session_id))


async def begin(client: SessionClient, gate: Gate, id: Any) -> asyncio.Task[Any]:
    """Have a call run."""
    task = asyncio.ensure_future(client.call("wait", {"note": PLANTED}, id))
    await gate.wait(gate.entered)
    return task


async def test_running_call_is_shown_and_cancelled(client: SessionClient, gate: Gate) -> None:
    task, id = await begin(client, gate, 7), id_of(client)
    [listed] = await as_json("list", "--state", "busy")
    assert (listed["id"], listed["calls"], listed["state"]) == (id, 1, "busy")
    shown = await as_json("show", id)
    [call] = shown["calls"]
    assert (call["request_id"], call["operation"], call["node"]) == (
        7,
        "tools/call wait",
        client.endpoint.pool.nodes[0].id,
    )
    text = await run("show", id)
    calls = text.split("\nrunning calls\n")[1].split("\n\n")[0].splitlines()
    assert calls[1].split()[:4] == ["7", "tools/call", "wait", "0:00:00"]
    assert PLANTED not in json.dumps(shown) + text
    for other in ('"7"', "8", "seven"):
        with pytest.raises(CommandError, match=r"No call .* is running in session .* `show` lists the running calls"):
            await run("cancel", id, other)
    assert await run("cancel", id, "7") == f"cancelled 7 of {id}\n"
    await gate.wait(gate.left)
    assert gate.cancelled
    await task


async def test_call_whose_id_is_text_is_cancelled(client: SessionClient, gate: Gate) -> None:
    session = id_of(client)
    for id, word in (("7", '"7"'), ("seven", "seven"), ("a b", "a b")):
        gate.entered.clear()
        task = await begin(client, gate, id)
        assert await run("cancel", session, word) == f"cancelled {json.dumps(id)} of {session}\n"
        await task
    for word in ("true", "null", "7.5", "[7]", "{}", "NaN", "[" * 100_000, "a" * 257):
        with pytest.raises(CommandError, match="expected a string or an integer, got"):
            await run("cancel", session, word)


async def test_messages_are_printed_and_payloads_only_when_asked(client: SessionClient) -> None:
    await (await client.call("talk", {"note": PLANTED}, 7)).messages()
    id = id_of(client)
    told = [item for item in await as_json("messages", id) if item["bytes"]]
    assert [(item["kind"], item["request_id"], item["progress"]) for item in told] == [
        ("notifications/progress", None, "3 of 10"),
        ("result", 7, ""),
    ]
    text = await run("messages", id)
    assert text.splitlines()[0].split() == ["stream", "number", "time", "kind", "request", "progress", "size"]
    assert "3 of 10" in text
    assert PLANTED not in json.dumps(told) + text
    full = await as_json("messages", id, "--payloads")
    assert f"heard {PLANTED}" in full[-1]["payload"] + full[-2]["payload"]
    assert f"heard {PLANTED}" in await run("messages", id, "--payloads")
    assert client.session_id not in json.dumps(full)


async def test_more_messages_than_are_read_at_a_time_are_all_printed(client: SessionClient) -> None:
    key = session_key(client.session_id)
    for number in range(450):
        await client.endpoint.backend.streams.emit(key, b'{"jsonrpc": "2.0", "method": "notifications/%d"}' % number)
    kinds = [item["kind"] for item in await as_json("messages", id_of(client))]
    methods = [f"notifications/{number}" for number in range(450)][-len(kinds) :]
    assert (kinds, len(kinds) > 200) == (methods, True)


async def test_history_is_shown(client: SessionClient) -> None:
    await (await client.call("talk", {"note": PLANTED}, 7)).messages()
    history: list[Any] = []
    while not [item for item in history if item["request_id"] == 7]:  # it leaves the books behind its answer
        history = (await as_json("show", id_of(client)))["history"]
    [ended] = [item for item in history if item["request_id"] == 7]
    assert (ended["what"], ended["ending"], ended["operation"]) == ("ended", "ok", "tools/call talk")
    text = (await run("show", id_of(client))).split("\nsession history\n")[1]
    assert "tools/call talk" in text
    assert PLANTED not in text + json.dumps(history)


async def test_why_a_call_failed_is_shown(client: SessionClient) -> None:
    await client.call("talk", {"note": [PLANTED]}, 7)
    history: list[Any] = []
    while not [item for item in history if item["request_id"] == 7]:
        history = (await as_json("show", id_of(client)))["history"]
    [ended] = [item for item in history if item["request_id"] == 7]
    assert (ended["failure"], ended["error"], ended["code"]) == ("invalid", "ValidationError", None)
    assert "message" not in ended
    [ended] = [
        item for item in (await as_json("show", id_of(client), "--payloads"))["history"] if item["request_id"] == 7
    ]
    assert (ended["message"], ended["arguments"]) == ("", ""), "they are not kept"
    assert "Invalid arguments: ValidationError" in await run("show", id_of(client))


async def test_nodes_and_traffic_of_other_processes_are_shown(client: SessionClient) -> None:
    node = client.endpoint.pool.nodes[0].id
    [told] = await as_json("nodes")
    assert (told["name"], told["draining"], told["waiting"], told["lost_threads"]) == (node, False, 0, 0)
    assert 0 <= told["age"] < 60
    assert (await run("nodes")).splitlines()[1].split()[0] == node
    traffic = await as_json("traffic")
    assert (traffic["processes"], traffic["all_processes"]) == (1, True)
    text = await run("traffic")
    assert "sampled from 1 process, over 0 seconds" in [" ".join(line.split()) for line in text.splitlines()]
    assert {"calls waiting", "threads lost", "p95 wait"} <= {line.split("  ")[0] for line in text.splitlines()}
    assert {"calls by operation", "calls by protocol revision", "refused"} <= set(text.splitlines())


async def test_circuit_breakers_are_shown_and_reset(client: SessionClient) -> None:
    breakers = client.endpoint.breakers
    breakers.receive(CircuitOpened("look", 60.0), CircuitBreaker())
    assert client.endpoint.process_metrics().breakers[0].tool == "look"
    assert await run("reset-breaker", "look") == "reset the circuit breaker of look\n"
    async with asyncio.timeout(60):
        while breakers.records():  # noqa: ASYNC110 (the message has no event here)
            await asyncio.sleep(0.01)


async def test_session_that_is_over_is_said_so(client: SessionClient, monkeypatch: pytest.MonkeyPatch) -> None:
    id, stored = id_of(client), await client.endpoint.backend.sessions.get(session_key(client.session_id))
    await run("end", id)

    async def still_found(name: str) -> Any:
        return stored

    monkeypatch.setattr("mcp_transport.operators.service.find_session", still_found)
    for verb in ("show", "messages"):
        with pytest.raises(CommandError, match=f"Session {id} has ended"):
            await run(verb, id)
