"""Responses that break, stall or are invalid: the call raises an exception, and the client keeps working."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from mcp import MCPError

from mcp_transport.client import Client, EndpointsUnavailable, ResultUnknown
from tests.client.scripted import STREAM, Answer, ReceivedRequest, Script, Write, body, events, hold, json_answer, raw

pytestmark = pytest.mark.slow  # they wait for deadlines

LIMITS: Any = {"mode": "legacy", "deadline": 2.0, "attempt_timeout": 2.0}
JSON = "application/json"
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PRIMING = b"id: 1\ndata:\n\n"
MAX_REQUESTS = 12
"""More requests than a client may send in two seconds to an endpoint that always breaks."""


async def stalled(received: ReceivedRequest, write: Write) -> None:
    await write(JSON_HEAD + b'Content-Length: 500\r\n\r\n{"jsonrpc"')
    await hold()(received, write)


BROKEN: dict[str, Answer] = {
    "cut": raw(JSON_HEAD + b'Content-Length: 500\r\n\r\n{"jsonrpc"'),
    "cut between chunks": raw(JSON_HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"jso\r\n'),
    "no gzip": body("200 OK", JSON, b"garbage", "Content-Encoding: gzip"),
    "stalled": stalled,
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_body_that_does_not_come_to_its_end_is_a_lost_answer(kind: str) -> None:
    script = Script({"tools/call": [BROKEN[kind]]})
    async with script.serve() as url, Client(url, **LIMITS) as client:
        with pytest.raises(ResultUnknown):
            await client.call_tool("act", {})
        assert (await client.list_tools()).tools
    assert script.kinds().count("tools/call") == 1


@pytest.mark.parametrize("kind", sorted(BROKEN.keys() - {"stalled"}))
async def test_a_call_that_may_be_repeated_gets_its_result_by_the_next_one(kind: str) -> None:
    script = Script({"tools/call": [BROKEN[kind], json_answer({"content": []})]})
    async with script.serve() as url, Client(url, **LIMITS | {"deadline": 20.0}) as client:
        assert not (await client.call_tool("look", {})).is_error
    assert script.kinds().count("tools/call") == 2


@pytest.mark.parametrize("resumption", [events(), events(PRIMING), body("204 No Content", JSON, b"")])
async def test_a_stream_that_always_ends_without_an_answer_is_not_asked_for_in_a_loop(resumption: Answer) -> None:
    script = Script({"tools/call": [events(PRIMING)], "GET": [resumption]})
    async with script.serve() as url, Client(url, **LIMITS) as client:
        with pytest.raises((MCPError, EndpointsUnavailable)):
            await client.call_tool("look", {}, read_timeout_seconds=2.0)
        assert (await client.list_tools()).tools
    assert len(script.received) < 2 * MAX_REQUESTS


async def test_a_call_whose_stream_always_breaks_is_repeated_until_the_deadline() -> None:
    script = Script({"tools/call": [events()]})
    async with script.serve() as url, Client(url, **LIMITS) as client:
        with pytest.raises(EndpointsUnavailable, match="the stream broke"):
            await client.call_tool("look", {})
    assert 1 < script.kinds().count("tools/call") < MAX_REQUESTS


async def test_a_stream_that_is_over_without_an_answer_is_a_lost_answer() -> None:
    """204 means that no event follows (ADR 31)."""
    script = Script({"tools/call": [events(PRIMING)], "GET": [body("204 No Content", JSON, b"")]})
    async with script.serve() as url, Client(url, **LIMITS) as client:
        with pytest.raises(ResultUnknown):
            await client.call_tool("act", {})


@pytest.mark.parametrize(
    "frame",
    [
        b'id: 1\ndata: {"jsonrpc":"2.0","method":"notifications/progress","params":[1]}\n\n',
        b'id: 1\ndata: {"jsonrpc":"2.0","id":2,"error":[]}\n\n',
        b"id: 1\ndata: garbage\n\n",
        b"id: 1\ndata: " + b"x" * (2 << 20) + b"\n\n",
    ],
)
async def test_an_event_that_makes_no_sense_is_an_error_of_its_call(frame: bytes) -> None:
    script = Script({"tools/call": [events(frame)]})
    async with script.serve() as url, Client(url, **LIMITS) as client:
        with pytest.raises(MCPError, match="SSE"):
            await client.call_tool("act", {})
        assert (await client.list_tools()).tools


async def test_a_retry_beyond_all_numbers_is_no_fault() -> None:
    endless = b"id: 1\nretry: 1" + b"0" * 400 + b"\ndata:\n\n"
    script = Script({"tools/call": [events(endless)]})
    async with script.serve() as url, Client(url, **LIMITS) as client:
        with pytest.raises(MCPError, match="timed out"):
            await client.call_tool("act", {}, read_timeout_seconds=0.5)
        assert (await client.list_tools()).tools


@pytest.mark.parametrize(
    ("status", "content_type", "content"),
    [("200 OK", JSON, b"<html>"), ("401 Unauthorized", "text/html", b"<html>"), ("500 Fault", JSON, b"[]")],
)
async def test_an_answer_of_no_server_after_a_break_is_an_error(
    status: str, content_type: str, content: bytes
) -> None:
    script = Script({"tools/call": [events(), body(status, content_type, content)]})
    async with script.serve() as url, Client(url, **LIMITS) as client:
        with pytest.raises(MCPError, match=status):
            await client.call_tool("look", {})
        assert (await client.list_tools()).tools


async def test_an_answer_after_a_break_is_passed_on_as_it_is() -> None:
    """Numbers may exceed 64 bits, and JSON may be indented."""

    async def indented(received: ReceivedRequest, write: Write) -> None:
        result = {"content": [], "structuredContent": {"n": 2**70 + 1}}
        message = {"jsonrpc": "2.0", "id": received.message["id"], "result": result}
        content = json.dumps(message, indent=1).replace("\n", "\r\n").encode()
        await body("200 OK", JSON, content)(received, write)

    script = Script({"tools/call": [events(), indented]})
    async with script.serve() as url, Client(url, **LIMITS) as client:
        assert (await client.call_tool("look", {})).structured_content == {"n": 2**70 + 1}


@pytest.mark.parametrize("listing", [body("500 Fault", JSON, b""), json_answer({"tools": [7]})])
async def test_a_server_that_cannot_list_its_tools_has_none_that_may_be_repeated(listing: Answer) -> None:
    script = Script({"tools/call": [BROKEN["cut"]], "tools/list": [listing]})
    async with script.serve() as url, Client(url, **LIMITS | {"deadline": 20.0}) as client:
        with pytest.raises(ResultUnknown):
            await client.call_tool("look", {})
        await client.session.send_ping()


async def test_a_call_that_its_caller_gave_up_is_not_sent_later() -> None:
    """It waits for an endpoint when the caller is cancelled."""
    busy = body("503 Service Unavailable", JSON, b"", "Retry-After: 1")
    script = Script({"tools/call": [busy, json_answer({"content": []})]})
    async with script.serve() as url, Client(url, **LIMITS | {"deadline": 20.0}) as client:
        with pytest.raises(MCPError, match="timed out"):
            await client.call_tool("act", {}, read_timeout_seconds=0.3)
        await client.list_tools()
        await asyncio.sleep(2.5)  # longer than the client would have waited
    assert script.kinds().count("tools/call") == 1


async def test_a_cancellation_that_cannot_be_delivered_delays_no_other_request() -> None:
    script = Script({"tools/call": [hold()], "notifications/cancelled": [hold()]})
    async with script.serve() as url, Client(url, **LIMITS | {"deadline": 300.0}) as client:
        with pytest.raises(MCPError, match="timed out"):
            await client.call_tool("act", {}, read_timeout_seconds=0.3)
        async with asyncio.timeout(60.0):
            assert (await client.list_tools()).tools


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_a_stream_is_read_whatever_its_line_ends_are(end: str) -> None:
    async def answer(received: ReceivedRequest, write: Write) -> None:
        message = {"jsonrpc": "2.0", "id": received.message["id"], "result": {"content": []}}
        lines = [": hello", "", "retry: 5", "", "id: 1", f"data: {json.dumps(message)}", "", ""]
        await write(STREAM + end.join(lines).encode())

    async with Script({"tools/call": [answer]}).serve() as url, Client(url, **LIMITS) as client:
        assert (await client.call_tool("act", {})).content == []
