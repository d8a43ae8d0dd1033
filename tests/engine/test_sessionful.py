"""2025-03-26 to 2025-11-25: sessions, their statuses and what is kept of them."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from mcp_transport.protocol.session import session_key
from tests.support.client import SessionClient, request, send, send_sessionless, silent, text_of
from tests.support.clock import settle
from tests.support.stores import left_behind

REVISIONS = ["2025-03-26", "2025-06-18", "2025-11-25"]


async def record(client: SessionClient) -> Any:
    return await client.endpoint.backend.get(session_key(client.session_id))


async def opened(endpoint: Any, **options: Any) -> SessionClient:
    client = SessionClient(endpoint, **options)
    await client.open()
    return client


# -- initialize ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        *[(revision, revision) for revision in REVISIONS],
        ("2024-11-05", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1.0", "2025-11-25"),
        ("", "2025-11-25"),
    ],
)
async def test_initialize_negotiates_the_version(endpoint, asked, answered):
    client = SessionClient(endpoint, asked)
    answer = await send(endpoint, body=request("initialize", client_params(asked), id="i"))
    assert (answer.status, answer.json["id"]) == (200, "i")
    assert answer.json["result"]["protocolVersion"] == answered
    assert answer.json["result"]["serverInfo"]["name"] == "engine-tests"
    client.session_id, client.version = answer.headers["mcp-session-id"], answered
    assert (await record(client)).protocol_version == answered
    assert (await client.request("ping")).json["result"] == {}


def client_params(version: Any = "2025-11-25") -> dict[str, Any]:
    return {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


async def test_a_session_id_is_long_random_and_visible_ascii(endpoint):
    ids = {(await opened(endpoint)).session_id for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"[\x21-\x7e]{43,}", session_id) for session_id in ids)


async def test_only_initialize_names_a_session_id(client):
    assert "mcp-session-id" not in (await client.request("ping")).headers


@pytest.mark.parametrize("params", [None, {}, {"protocolVersion": 5}, client_params(None), {"capabilities": {}}])
async def test_a_malformed_initialize_opens_no_session(endpoint, params):
    answer = await send(endpoint, body=request("initialize", params))
    assert answer.error_code == -32602
    assert "mcp-session-id" not in answer.headers
    assert await left_behind(endpoint) == {}


async def test_initialize_in_a_session_opens_another_one(client):
    answer = await client.request("initialize", client_params())
    assert answer.headers["mcp-session-id"] != client.session_id
    assert (await client.request("ping")).status == 200


async def test_initialize_with_a_version_header_of_2026_is_a_mismatch(endpoint):
    headers = {"mcp-protocol-version": "2026-07-28"}
    answer = await send(endpoint, body=request("initialize", client_params()), headers=headers)
    assert (answer.status, answer.error_code) == (400, -32020)


async def test_the_record_knows_the_client(endpoint):
    client = await opened(endpoint, user="ann")
    await settle()  # that it is initialized is noted behind
    session = await record(client)
    assert (session.client_info["name"], session.user, session.initialized) == ("test", "ann", True)
    assert (session.address, set(session.capabilities)) == ("127.0.0.1", {"elicitation", "sampling", "roots"})


# -- who may enter ------------------------------------------------------------------------------------

ENTRIES = ["request", "notification", "GET", "DELETE"]


async def enter(client: SessionClient, entry: str) -> Any:
    match entry:
        case "GET":
            return await client.get()
        case "DELETE":
            return await client.delete()
        case "request":
            return await client.request("ping", id=1)
        case _:
            return await client.notify("notifications/roots/list_changed")


@pytest.mark.parametrize("entry", ENTRIES)
async def test_a_missing_session_id_is_400(client, entry):
    client.session_id = None
    answer = await enter(client, entry)
    assert (answer.status, answer.error_code) == (400, -32600)


@pytest.mark.parametrize("entry", ENTRIES)
async def test_foreign_unknown_deleted_and_expired_sessions_look_the_same(endpoint, clock, entry):
    expired = await opened(endpoint)
    await clock.advance(3600)
    foreign, deleted, unknown = await opened(endpoint, user="ann"), await opened(endpoint), await opened(endpoint)
    foreign.user = "bob"
    assert (await deleted.delete()).status == 204
    unknown.session_id = "A" * 43
    answers = [await enter(client, entry) for client in (foreign, unknown, deleted, expired)]
    assert {answer.status for answer in answers} == {404}
    assert len({answer.body for answer in answers}) == 1, "a stranger must not learn which ids exist"
    assert len({tuple(answer.headers.items()) for answer in answers}) == 1
    foreign.user = "ann"
    assert (await foreign.request("ping")).status == 200


async def test_nobody_enters_a_principals_session(endpoint):
    client = await opened(endpoint, user="ann")
    client.user = None
    assert (await client.request("ping")).status == 404


async def test_use_keeps_a_session_alive_until_its_absolute_end(build_endpoint, clock):
    client = await opened(build_endpoint(session_ttl=100, session_max_age=250))
    for _ in range(3):
        await clock.advance(80)
        assert (await client.request("ping")).status == 200
    await clock.advance(10)
    assert (await client.request("ping")).status == 404


VERSIONS_AND_ENTRIES = [
    (version, entry)
    for version in ("2024-11-05", "2026-07-28", "nonsense", "")
    for entry in ENTRIES
    if (version, entry) != ("2026-07-28", "notification")  # that one is accepted and dropped
]


@pytest.mark.parametrize(("version", "entry"), VERSIONS_AND_ENTRIES)
async def test_a_version_that_is_not_served_in_sessions_is_400(client, version, entry):
    client.version = version
    answer = await enter(client, entry)
    assert answer.status == 400
    sessionless_claim = version == "2026-07-28" and entry == "request"
    assert answer.error_code == (-32602 if sessionless_claim else -32600)


@pytest.mark.parametrize("version", [None, *REVISIONS])
async def test_a_missing_version_header_means_the_sessions_own(client, version):
    client.version = version
    assert (await client.request("ping")).status == 200


async def test_a_method_that_is_not_there_is_answered_with_200(client):
    answer = await client.request("no/such")
    assert (answer.status, answer.error_code) == (200, -32601)


async def test_sessionless_only_servers_refuse_initialize_and_name_their_versions(build_endpoint):
    endpoint = build_endpoint(versions=("2026-07-28",))
    answer = await send(endpoint, body=request("initialize", client_params()))
    assert (answer.status, answer.error_code) == (400, -32022)
    assert answer.json["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2025-11-25"}
    for method in ("GET", "DELETE"):
        refused = await send(endpoint, method)
        assert (refused.status, refused.headers["allow"]) == (405, "POST, OPTIONS")


async def test_sessionful_only_servers_send_a_probing_client_back_to_initialize(build_endpoint):
    answer = await send_sessionless(build_endpoint(versions=tuple(REVISIONS)), "server/discover")
    assert (answer.status, answer.error_code) == (400, -32600)


# -- answers ------------------------------------------------------------------------------------------


async def test_notifications_are_accepted_without_a_body(client):
    for method in ("notifications/initialized", "notifications/roots/list_changed", "notifications/unknown"):
        answer = await client.notify(method)
        assert (answer.status, answer.body, "content-type" in answer.headers) == (202, b"", False)


async def test_a_quick_silent_call_is_answered_with_json_and_leaves_nothing(client):
    answer = await client.call("add", {"a": 1, "b": 2}, id="seven")
    assert answer.headers["content-type"] == "application/json"
    assert (answer.json["id"], text_of(answer.json)) == ("seven", "3")
    assert "resultType" not in answer.json["result"]
    await settle()
    assert set(await left_behind(client.endpoint)) == {"sessions"}


async def test_a_silent_call_becomes_a_stream_exactly_at_the_deadline(client, clock, gate):
    task = asyncio.ensure_future(client.call("blocked"))
    await gate.wait(gate.entered)
    await clock.advance(0.999)
    assert not task.done()
    await clock.advance(0.001)
    answer = await task
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert answer.headers["x-accel-buffering"] == "no"
    gate.open.set()
    assert await answer.text() == "through"


async def test_the_first_notification_begins_the_stream_without_the_clock(client, gate):
    answer = await client.call("count", {"steps": 1})
    assert (await answer.message())["params"] == {"progressToken": "p", "progress": 1, "total": 1}
    gate.open.set()
    assert await answer.text() == "counted"


async def test_the_first_notification_leaves_before_a_handler_that_never_waits_goes_on(client, gate):
    answer = await client.call("count", {"steps": 10})
    assert (await answer.message())["params"]["progress"] == 1
    assert gate.written == 0
    gate.open.set()
    assert await answer.text() == "counted"


async def test_a_client_that_takes_only_json_gets_json_however_long_it_takes(client, clock, gate):
    task = asyncio.ensure_future(client.call("count", {"steps": 3}, headers={"accept": "application/json"}))
    await gate.wait(gate.entered)
    await clock.advance(100)
    assert not task.done()
    gate.open.set()
    assert text_of((await task).json) == "counted"


async def test_a_client_that_takes_only_streams_gets_one_event(client):
    answer = await client.call("add", {"a": 1, "b": 2}, headers={"accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert text_of(json.loads(answer.body.partition(b"data: ")[2])) == "3"


# -- DELETE -------------------------------------------------------------------------------------------


async def test_delete_ends_handlers_and_streams(client, clock, gate):
    call = await silent(clock, gate.entered, client.call("blocked"))
    stream = await client.get()
    await stream.frame()
    answer = await client.delete()
    assert (answer.status, answer.body) == (204, b"")
    await gate.wait(gate.left)
    assert gate.cancelled
    assert await stream.messages() == []
    [ended] = await call.messages()
    assert ended["error"]["message"].startswith("its session was ended before the call ended")
    await settle()
    assert await left_behind(client.endpoint) == {}
    assert (await client.delete()).status == 404


async def test_delete_ends_a_call_that_is_not_answered_yet(client, gate):
    task = asyncio.ensure_future(client.call("blocked"))
    await gate.wait(gate.entered)
    await client.delete()
    async with asyncio.timeout(5):
        answer = await task
    assert answer.stream is None or await answer.messages() == []
    assert gate.cancelled
    await settle()
    assert await left_behind(client.endpoint) == {}


async def test_delete_leaves_other_sessions_alone(client, gate, clock):
    other = await opened(client.endpoint)
    call = await silent(clock, gate.entered, other.call("blocked"))
    assert (await client.delete()).status == 204
    gate.open.set()
    assert await call.text() == "through"
