"""A request with an idempotency key on two nodes of one process: its answer is kept, and it runs once."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest

from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.domain.session import InFlightRequest, session_key
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.protocol.idempotency import CAPABILITY, parse_key, stream_name
from tests.support.calls import opened
from tests.support.client import Answer, SessionClient, request, send_sessionless, silent, text_of, until
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import BuildEndpoint
from tests.support.kept_answers import KeptAnswers
from tests.support.keyed import ADD, Keyed
from tests.support.stores import FlakyBackend, left_behind
from tests.support.tools import Gate


class TestMemory(KeptAnswers):
    @pytest.fixture
    async def nodes(self, build_endpoint: BuildEndpoint, store: FlakyBackend) -> tuple[Endpoint, Endpoint]:
        return build_endpoint(store), build_endpoint(store)


@pytest.fixture
def keyed(here: SessionClient) -> Keyed:
    return Keyed(here)


# -- how long --------------------------------------------------------------------------------------------


async def test_a_key_whose_time_is_over_runs_again(keyed: Keyed, clock: FakeClock, gate: Gate) -> None:
    for runs in (1, 2):
        for _ in range(2):
            assert text_of((await keyed.call("add", ADD)).json) == "3"
            await settle()
        assert gate.runs == runs
        await clock.advance(301)
    assert set(await left_behind(keyed.client.endpoint)) == {"sessions"}


async def test_nothing_but_the_log_is_left_of_an_answer(keyed: Keyed, here: SessionClient) -> None:
    for _ in range(2):
        await keyed.call("add", ADD)
        await settle()
    node = await here.endpoint.pool.node()
    assert set(await left_behind(here.endpoint)) == {"sessions"}
    assert node.registry.writers == {}


@pytest.mark.parametrize("seconds", [0.5, 10.0], ids=["as JSON", "on a stream"])
async def test_a_key_whose_request_was_refused_for_load_can_be_used_again(
    build_endpoint: BuildEndpoint, clock: FakeClock, gate: Gate, seconds: float
) -> None:
    endpoint = build_endpoint(max_concurrent_calls=1, queue_timeout=seconds)
    client = await opened(endpoint)
    keyed = Keyed(client)
    first = await silent(clock, gate.entered, client.call("blocked"))
    waiting = asyncio.ensure_future(keyed.call("add", ADD))
    await until(lambda: endpoint.pool.gauges().waiting_calls == 1)
    await clock.advance(1.0)
    answer = await waiting
    await clock.advance(seconds)
    [refused] = [answer.json] if answer.stream is None else await answer.messages()
    assert refused["error"]["data"]["limit"] == "MAX_CONCURRENT_CALLS"
    gate.open.set()
    assert await first.text() == "through"
    await settle()
    assert set(await left_behind(endpoint)) == {"sessions"}
    for _ in range(2):
        assert text_of((await keyed.call("add", ADD)).json) == "3"
        await settle()
    assert gate.runs == 2, "blocked once, and add once"


async def test_an_outage_behind_the_answer_does_not_have_it_run_again(
    keyed: Keyed, store: FlakyBackend, clock: FakeClock, gate: Gate, there: dict[str, Any]
) -> None:
    store.away = {"append"}
    first = await keyed.call("add", ADD)
    await settle()
    second = await keyed.call("add", ADD, **there)
    store.away = set()
    for _ in range(3):
        await clock.advance(2)
    assert (await second.messages())[-1] == first.json
    assert (await keyed.call("add", ADD, **there)).body == first.body
    assert gate.runs == 1


# -- what never ran ------------------------------------------------------------------------------------


@pytest.mark.parametrize("away", ["*", "enter"])
async def test_a_post_that_was_refused_with_503_is_not_kept(
    keyed: Keyed, store: FlakyBackend, clock: FakeClock, gate: Gate, away: str
) -> None:
    store.away = {away}
    assert (await keyed.call("add", ADD)).status == 503
    store.away = set()
    await clock.advance(2)
    assert text_of((await keyed.call("add", ADD)).json) == "3"
    assert gate.runs == 1


async def test_a_post_that_is_too_large_is_not_kept(build_endpoint: BuildEndpoint, gate: Gate) -> None:
    keyed = Keyed(await opened(build_endpoint(max_request_bytes=500)))
    assert (await keyed.call("add", {**ADD, "c": "x" * 500})).status == 413
    assert text_of((await keyed.call("add", ADD)).json) == "3"


async def test_what_the_books_have_and_no_node_runs_is_run(keyed: Keyed, here: SessionClient, gate: Gate) -> None:
    """Its client left when the store had let it in, and sent it again before it was off the books."""
    meta = {"progressToken": "p"}
    sent = request("tools/call", {"name": "add", "arguments": ADD, "_meta": meta}, id=7)
    digest, node = hashlib.sha256(json.dumps(sent).encode()).digest(), await here.endpoint.pool.node()
    flight = InFlightRequest(request_id=7, digest=digest, node=node.id, stream=stream_name(parse_key(keyed.key)))
    entered = await here.endpoint.backend.sessions.enter(session_key(here.session_id), "", node.id, [flight])
    assert entered is not None
    assert text_of((await keyed.call("add", ADD)).json) == "3"
    assert gate.runs == 1


# -- what may carry it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", '""', "two words", "k" * 129, '"x";a=1'])
async def test_what_is_no_key_is_400(here: SessionClient, gate: Gate, key: str) -> None:
    answer = await Keyed(here, key).call("add", ADD)
    assert (answer.status, answer.error_code, answer.json["id"]) == (400, -32600, 7)
    assert "Idempotency-Key must be 1 to 128 visible ASCII characters" in answer.json["error"]["message"]
    assert gate.runs == 0


async def test_two_keys_are_400(here: SessionClient, gate: Gate) -> None:
    answer = await Keyed(here).call("add", ADD, extra_lines=[("Idempotency-Key", "other")])
    assert (answer.status, answer.error_code) == (400, -32600)
    assert "idempotency-key header must appear once" in answer.json["error"]["message"]
    assert gate.runs == 0


@pytest.mark.parametrize("size", [1, 2])
async def test_a_batch_with_a_key_is_400(old: SessionClient, gate: Gate, size: int) -> None:
    calls = [request("tools/call", {"name": "add", "arguments": ADD}, id=number) for number in range(size)]
    answer = await old.post(calls, headers={"idempotency-key": "x"})
    assert (answer.status, answer.error_code) == (400, -32600)
    assert "an Idempotency-Key belongs to one request" in answer.json["error"]["message"]
    assert gate.runs == 0
    again = await old.post(calls)
    assert (again.status, gate.runs) == (200, size)


@pytest.mark.parametrize("key", ["x", "no key"])
async def test_what_needs_no_answer_needs_no_key(here: SessionClient, key: str) -> None:
    """A client may send the header with whatever it posts."""
    headers = {"idempotency-key": key}
    question = await (await here.call("ask", id="q")).message()
    for _ in range(2):
        assert (await here.notify("notifications/roots/list_changed", headers=headers)).status == 202
    assert (await here.reply(question["id"], {"action": "decline"}, headers=headers)).status == 202
    for number in range(2):
        opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        answer = await here.request("initialize", opening, id=number, headers={**headers, "mcp-session-id": None})
        assert (answer.status, answer.json["id"]) == (200, number)


async def test_a_request_of_2026_07_28_has_no_key_yet(here: SessionClient, gate: Gate) -> None:
    params = {"name": "add", "arguments": ADD}
    for _ in range(2):
        answer = await send_sessionless(here.endpoint, "tools/call", params, headers={"idempotency-key": "x"})
        assert text_of(answer.json) == "3"
    assert gate.runs == 2


async def test_server_discover_declares_what_a_session_would_have(here: SessionClient) -> None:
    """So that a client of both eras may choose a session."""
    discovered = await send_sessionless(here.endpoint, "server/discover")
    declared = {"mcp_transport/idempotencyKey": {"keepSeconds": here.endpoint.policy.stream_keep}}
    assert discovered.json["result"]["capabilities"]["experimental"] == declared


# -- what is announced ---------------------------------------------------------------------------------


class SharedRecords(MemoryBackend):
    """Shares sessions with other processes, and no streams, as a cache does."""

    keeps_answers = False


async def announced(endpoint: Endpoint) -> Any:
    answer: Answer = await SessionClient(endpoint).open()
    return (answer.json["result"]["capabilities"].get("experimental") or {}).get(CAPABILITY)


async def test_the_time_that_is_announced_is_the_setting(build_endpoint: BuildEndpoint) -> None:
    assert await announced(build_endpoint(stream_keep=60.0)) == {"keepSeconds": 60.0}


async def test_nothing_is_announced_that_is_not_kept(build_endpoint: BuildEndpoint, clock: FakeClock) -> None:
    assert await announced(build_endpoint(stream_keep=0.0)) is None
    shared = build_endpoint(SharedRecords(build_endpoint().policy, clock.now))
    assert await announced(shared) is None
