"""Sessions that another process resumes, and sessions that the server has lost."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types import ListRootsResult

from mcp_transport.client import Client, ClientError, EndpointsUnavailable, SavedSession
from mcp_transport.client.sessions import keep_seconds
from tests.client.scripted import WELCOME, ReceivedRequest, Script, Write, body, events, hold, json_answer
from tests.client.servers import sdk, serving

LIMITS: Any = {"deadline": 20.0}
NOT_FOUND = body("404 Not Found", "text/html", b"")


async def roots(context: object) -> ListRootsResult:
    return ListRootsResult(roots=[])


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_another_client_goes_on_with_it(mode: str) -> None:
    async with serving(sdk) as served:
        async with Client(served.url, mode=mode, **LIMITS) as first:
            await first.call_tool("act", {"text": "a"})
            text = first.save_session().to_json()
            session_id, version = first.save_session().session_id, first.protocol_version
        async with Client(served.url, session=SavedSession.from_json(text), **LIMITS) as second:
            assert second.protocol_version == version
            assert second.server_info is not None and second.server_info.name == "plain"
            await second.call_tool("act", {"text": "b"})
            assert second.save_session().session_id == session_id
        assert served.runs == ["act", "act"]


async def test_closing_ends_a_session_that_was_not_saved() -> None:
    async with serving(sdk) as served:
        lost: list[str] = []
        async with Client(served.url, mode="legacy", **LIMITS) as first:
            saved = first.save_session()
            first.end_session_on_close()
        async with Client(served.url, session=saved, on_session_lost=lambda: lost.append("lost"), **LIMITS) as second:
            await second.call_tool("act", {"text": "b"})
            assert second.save_session().session_id not in ("", saved.session_id)
        assert lost == ["lost"]
        assert served.runs == ["act"]


async def test_a_lost_session_is_begun_anew_once_for_all_calls() -> None:
    """The second server does not share the first one's sessions."""
    lost: list[str] = []

    async def notified() -> None:
        lost.append("lost")

    async with serving(sdk) as second:
        async with serving(sdk) as first:
            client = Client([first.url, second.url], mode="legacy", on_session_lost=notified, **LIMITS)
            await client.__aenter__()
            await client.call_tool("act", {"text": "a"})
        try:
            import anyio

            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(client.call_tool, "act", {"text": "b"})
        finally:
            await client.__aexit__(None, None, None)
        assert (len(first.runs), len(second.runs), lost) == (1, 5, ["lost"])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"protocol_version": "x"}', "null", "7", '{"result": {}}'])
def test_what_is_no_saved_session_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="saved session"):
        SavedSession.from_json(text)


RESULT = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "a", "version": "1"}}


@pytest.mark.parametrize(
    "members",
    [
        *({"protocol_version": 5}, {"protocol_version": "1999"}, {"protocol_version": "2026-07-28"}),
        *({"result": 7}, {"result": None}, {"result": {}}, {"initialize": [1]}, {"initialize": None}),
        *({"session_id": 7}, {"session_id": None}, {"session_id": "a\r\nb: c"}, {"last_event_id": "\u20ac"}),
    ],
)
def test_members_that_cannot_be_are_refused(members: dict[str, Any]) -> None:
    whole = {"protocol_version": "2025-11-25", "result": RESULT, "session_id": "s"}
    assert SavedSession.from_json(json.dumps(whole)).session_id == "s"
    with pytest.raises(ValueError, match="saved session"):
        SavedSession.from_json(json.dumps(whole | members))


async def test_two_clients_may_go_on_with_it_at_the_same_time() -> None:
    """A server of the SDK answers one of two requests with the same id in a session."""
    async with serving(sdk) as served:
        async with Client(served.url, mode="legacy", **LIMITS) as first:
            saved = first.save_session()
        one, other = Client(served.url, session=saved, **LIMITS), Client(served.url, session=saved, **LIMITS)
        async with one, other, asyncio.timeout(60.0):
            calls = [client.call_tool("act", {"text": str(n)}) for n in range(10) for client in (one, other)]
            results = await asyncio.gather(*calls)
        assert [(result.structured_content or {})["result"] for result in results] == [str(n // 2) for n in range(20)]


def test_what_it_shows_is_no_secret() -> None:
    saved = SavedSession(protocol_version="2025-11-25", result=RESULT, session_id="secret")
    assert "secret" not in repr(saved)
    assert "secret" in saved.to_json()


def test_members_of_another_release_are_left_out() -> None:
    saved = SavedSession(protocol_version="2025-11-25", result=RESULT, session_id="s", initialize={"b": 2})
    assert SavedSession.from_json(saved.to_json().replace("{", '{"new": 1, ', 1)) == saved


@pytest.mark.parametrize(
    ("result", "seconds"),
    [
        ({}, 0),
        ({"capabilities": None}, 0),
        ({"capabilities": {"experimental": []}}, 0),
        ({"capabilities": {"experimental": {"other": {}}}}, 0),
        ({"capabilities": {"experimental": {"mcp_transport/idempotencyKey": {"keepSeconds": 300}}}}, 300),
    ],
)
def test_a_server_says_how_long_it_keeps_answers(result: dict[str, Any], seconds: float) -> None:
    assert keep_seconds(result) == seconds


def test_an_unconnected_client_has_no_session_to_save() -> None:
    with pytest.raises((RuntimeError, ClientError)):
        Client("http://127.0.0.1:9/mcp").save_session()


async def test_a_server_that_begins_no_new_session_is_an_error_of_the_call() -> None:
    for answer in (body("200 OK", "application/json", b"<html>"), body("401 Unauthorized", "text/html", b"")):
        script = Script({"tools/call": [NOT_FOUND], "initialize": [WELCOME, answer]})
        async with script.serve() as url, Client(url, mode="legacy", **LIMITS) as client:
            with pytest.raises(EndpointsUnavailable, match="no new one"):
                await client.call_tool("act", {})


async def test_a_welcome_on_a_stream_that_stays_open_is_read() -> None:
    async def answer(received: ReceivedRequest, write: Write) -> None:
        message = {"jsonrpc": "2.0", "id": received.message["id"], "result": {}}
        await events(b"data: " + json.dumps(message).encode() + b"\n\n")(received, write)
        await hold()(received, write)

    script = Script({"tools/call": [NOT_FOUND, json_answer({"content": []})], "initialize": [WELCOME, answer]})
    async with script.serve() as url, Client(url, mode="legacy", **LIMITS) as client:
        assert not (await client.call_tool("act", {})).is_error


async def test_a_callback_that_fails_costs_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise KeyError("mine")

    script = Script({"tools/call": [NOT_FOUND, json_answer({"content": []})]})
    async with script.serve() as url, Client(url, mode="legacy", on_session_lost=fail, **LIMITS) as client:
        assert not (await client.call_tool("act", {})).is_error
    assert "on_session_lost failed" in caplog.text


@pytest.mark.parametrize("kind", ["tools/call", "notifications/roots/list_changed"])
async def test_a_callback_may_use_the_client_whichever_message_found_the_session_lost(kind: str) -> None:
    notified = asyncio.Event()

    async def restore() -> None:
        assert (await client.list_tools()).tools
        notified.set()

    then = json_answer({"content": []}) if kind == "tools/call" else body("202 Accepted", "text/html", b"")
    async with Script({kind: [NOT_FOUND, then]}).serve() as url:
        client = Client(url, mode="legacy", on_session_lost=restore, list_roots_callback=roots, **LIMITS)
        async with client, asyncio.timeout(60.0):
            if kind == "tools/call":
                await client.call_tool("act", {})
            else:
                with pytest.warns(MCPDeprecationWarning, match="roots"):
                    await client.session.send_roots_list_changed()
            await notified.wait()


async def test_a_server_that_knows_no_session_ends_the_call() -> None:
    """The callback sends a call and loses the session again, without another callback."""

    async def restore() -> None:
        with pytest.raises(Exception, match="terminated"):
            await client.call_tool("act", {})

    script = Script({"tools/call": [NOT_FOUND]})
    async with script.serve() as url:
        client = Client(url, mode="legacy", on_session_lost=restore, **LIMITS)
        async with client, asyncio.timeout(60.0):
            with pytest.raises(Exception, match="terminated"):
                await client.call_tool("act", {})
    assert script.kinds().count("tools/call") == 4
