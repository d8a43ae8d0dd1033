"""Sessions of 2025-03-26 to 2025-11-25: initialize, who may enter, what is kept of them, DELETE."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from mcp_transport.domain.session import Session, session_key
from mcp_transport.engine.endpoint import Endpoint
from tests.support.calls import opened
from tests.support.client import Answer, SessionClient, request, send, send_sessionless, silent, text_of
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import BuildEndpoint
from tests.support.stores import left_behind
from tests.support.tools import Gate

REVISIONS = ["2025-03-26", "2025-06-18", "2025-11-25"]


async def record(client: SessionClient) -> Session:
    found = await client.endpoint.backend.sessions.get(session_key(client.session_id))
    assert found is not None
    return found


def client_params(version: Any = "2025-11-25") -> dict[str, Any]:
    return {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


# -- initialize ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "answered"), [*zip(REVISIONS, REVISIONS, strict=True), ("2024-11-05", "2025-11-25"), ("", "2025-11-25")]
)
async def test_initialize_negotiates_the_version(endpoint: Endpoint, asked: str, answered: str) -> None:
    answer = await send(endpoint, body=request("initialize", client_params(asked), id="i"))
    assert (answer.status, answer.json["id"]) == (200, "i")
    assert answer.json["result"]["protocolVersion"] == answered
    assert answer.json["result"]["serverInfo"]["name"] == "engine-tests"
    client = SessionClient(endpoint, answered)
    client.session_id = answer.headers["mcp-session-id"]
    assert (await record(client)).protocol_version == answered
    assert (await client.request("ping")).json["result"] == {}


async def test_a_session_id_is_long_random_and_visible_ascii(endpoint: Endpoint) -> None:
    ids = {(await opened(endpoint)).session_id for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"[\x21-\x7e]{43,}", session_id) for session_id in ids)


@pytest.mark.parametrize("params", [None, {}, {"protocolVersion": 5}, client_params(None), {"capabilities": {}}])
async def test_a_malformed_initialize_opens_no_session(endpoint: Endpoint, params: Any) -> None:
    answer = await send(endpoint, body=request("initialize", params))
    assert answer.error_code == -32602
    assert "mcp-session-id" not in answer.headers
    assert await left_behind(endpoint) == {}


async def test_initialize_in_a_session_opens_another_one(client: SessionClient) -> None:
    answer = await client.request("initialize", client_params())
    assert answer.headers["mcp-session-id"] != client.session_id
    assert (await client.request("ping")).status == 200


async def test_the_record_knows_the_client(endpoint: Endpoint) -> None:
    client = await opened(endpoint, user="ann")
    await settle()  # that it is initialized is noted behind
    session = await record(client)
    assert (session.client_info["name"], session.user, session.initialized) == ("test", "ann", True)
    assert (session.address, set(session.capabilities)) == ("127.0.0.1", {"elicitation", "sampling", "roots"})


async def test_a_server_without_sessions_names_its_versions_to_initialize(build_endpoint: BuildEndpoint) -> None:
    endpoint = build_endpoint(versions=("2026-07-28",))
    answer = await send(endpoint, body=request("initialize", client_params()))
    assert (answer.status, answer.error_code) == (400, -32022)
    assert answer.json["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2025-11-25"}
    for method in ("GET", "DELETE"):
        refused = await send(endpoint, method)
        assert (refused.status, refused.headers["allow"]) == (405, "POST, OPTIONS")


async def test_a_server_of_sessions_sends_a_probing_client_to_initialize(build_endpoint: BuildEndpoint) -> None:
    answer = await send_sessionless(build_endpoint(versions=tuple(REVISIONS)), "server/discover")
    assert (answer.status, answer.error_code) == (400, -32600)


# -- who may enter ------------------------------------------------------------------------------------


ENTRIES = ["request", "notification", "GET", "DELETE"]


async def enter(client: SessionClient, entry: str) -> Answer:
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
async def test_a_missing_session_id_is_400(client: SessionClient, entry: str) -> None:
    client.session_id = ""
    answer = await enter(client, entry)
    assert (answer.status, answer.error_code) == (400, -32600)


@pytest.mark.parametrize("entry", ENTRIES)
async def test_foreign_unknown_deleted_and_expired_sessions_look_the_same(
    endpoint: Endpoint, clock: FakeClock, entry: str
) -> None:
    expired = await opened(endpoint)
    await clock.advance(3600)
    foreign, nobodys = await opened(endpoint, user="ann"), await opened(endpoint, user="ann")
    foreign.user, nobodys.user = "bob", None
    deleted, unknown = await opened(endpoint), await opened(endpoint)
    assert (await deleted.delete()).status == 204
    unknown.session_id = "A" * 43
    answers = [await enter(client, entry) for client in (foreign, nobodys, unknown, deleted, expired)]
    assert {answer.status for answer in answers} == {404}
    assert len({answer.body for answer in answers}) == 1, "a stranger must not learn which ids exist"
    assert len({tuple(answer.headers.items()) for answer in answers}) == 1
    foreign.user = "ann"
    assert (await foreign.request("ping")).status == 200


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("version", ["2024-11-05", "2026-07-28", ""])
async def test_a_version_that_is_not_served_in_sessions_is_400(
    client: SessionClient, version: str, entry: str
) -> None:
    client.version = version
    answer = await enter(client, entry)
    if (version, entry) == ("2026-07-28", "notification"):
        assert answer.status == 202, "accepted and dropped"
        return
    claims = version == "2026-07-28" and entry == "request"
    assert (answer.status, answer.error_code) == (400, -32602 if claims else -32600)


@pytest.mark.parametrize("version", [None, *REVISIONS])
async def test_a_missing_version_header_means_the_sessions_own(client: SessionClient, version: str | None) -> None:
    assert (await client.request("ping", headers={"mcp-protocol-version": version})).status == 200


async def test_a_method_that_is_not_there_is_answered_with_200(client: SessionClient) -> None:
    answer = await client.request("no/such")
    assert (answer.status, answer.error_code) == (200, -32601)


async def test_results_in_sessions_have_no_type(client: SessionClient) -> None:
    assert "resultType" not in (await client.call("add", {"a": 1, "b": 2})).json["result"]


# -- what is kept -------------------------------------------------------------------------------------


async def test_requests_and_errors_are_counted(client: SessionClient) -> None:
    before = (await record(client)).requests
    await client.call("add", {"a": 1, "b": 2})
    await client.call("fail")
    await client.request("no/such")
    await client.notify("notifications/roots/list_changed")
    await settle()
    session = await record(client)
    assert (session.requests - before, session.errors) == (3, 2)


async def test_a_request_moves_the_last_use(client: SessionClient, clock: FakeClock) -> None:
    await clock.advance(50)
    await client.request("ping")
    session = await record(client)
    assert (session.last_seen, session.created) == (clock.now(), clock.now() - 50)


async def test_a_log_level_that_does_not_exist_is_refused(client: SessionClient) -> None:
    assert (await client.request("logging/setLevel", {"level": "loud"})).error_code == -32602
    assert (await record(client)).log_level == ""


# -- DELETE -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [0, 1], ids=["here", "there"])
async def test_delete_ends_handlers_and_streams_on_each_node(
    here: SessionClient, nodes: tuple[Endpoint, Endpoint], clock: FakeClock, gate: Gate, where: int
) -> None:
    call = await silent(clock, gate.entered, here.call("blocked"))
    stream = await here.get()
    await stream.frame()
    answer = await here.delete(endpoint=nodes[where])
    assert (answer.status, answer.body) == (204, b"")
    await gate.wait(gate.left)
    assert gate.cancelled
    assert await stream.messages() == []
    [ended] = await call.messages()
    assert ended["error"]["message"].startswith("its session was ended before the call ended")
    assert ended["error"]["data"] == {"retryable": False}
    for node in nodes:
        assert await left_behind(node) == {}
    assert (await here.request("ping")).status == (await here.delete()).status == 404


async def test_delete_ends_a_call_that_is_not_answered_yet(client: SessionClient, gate: Gate) -> None:
    task = asyncio.ensure_future(client.call("blocked"))
    await gate.wait(gate.entered)
    await client.delete()
    async with asyncio.timeout(60):
        answer = await task
    assert answer.stream is None or await answer.messages() == []
    assert gate.cancelled
    assert await left_behind(client.endpoint) == {}


async def test_delete_leaves_other_sessions_alone(client: SessionClient, gate: Gate, clock: FakeClock) -> None:
    other = await opened(client.endpoint)
    call = await silent(clock, gate.entered, other.call("blocked"))
    assert (await client.delete()).status == 204
    gate.open.set()
    assert await call.text() == "through"


async def test_notifications_are_accepted_without_a_body(client: SessionClient) -> None:
    for method in ("notifications/initialized", "notifications/roots/list_changed", "notifications/unknown"):
        answer = await client.notify(method)
        assert (answer.status, answer.body, "content-type" in answer.headers) == (202, b"", False)


async def test_what_was_said_to_one_node_holds_on_the_other(here: SessionClient, there: dict[str, Any]) -> None:
    assert text_of((await here.call("add", {"a": 1, "b": 2}, **there)).json) == "3"
    assert (await here.request("logging/setLevel", {"level": "error"}, **there)).status == 200
    assert (await here.call("talk", {"level": "info"})).stream is None, "the level was set on the other node"
