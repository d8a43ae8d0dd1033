"""The GET stream: a server may not have it, or send nothing on it, without any effect on calls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mcp_transport.client import Client
from tests.client.scripted import Answer, ReceivedRequest, Script, Write, body, events, hold, json_answer

pytestmark = pytest.mark.slow  # they wait for deadlines

LIMITS: Any = {"mode": "legacy", "deadline": 4.0, "attempt_timeout": 0.6, "idle_timeout": 0.6}
HTML = b"<html>"

REFUSALS: dict[str, Answer] = {
    "hangs": hold(),
    "503": body("503 Service Unavailable", "text/html", HTML, "Retry-After: 3600"),
    "502": body("502 Bad Gateway", "text/html", HTML),
    "404": body("404 Not Found", "text/html", HTML),
    "405": body("405 Method Not Allowed", "text/html", HTML),
    "500": body("500 Fault", "text/html", HTML),
    "html": body("200 OK", "text/html", HTML),
    "ends": events(),
    "ends after an id": events(b"id: 1\ndata:\n\n"),
}


async def slow(received: ReceivedRequest, write: Write) -> None:
    await asyncio.sleep(2.5)  # longer than a client waits for the stream
    await json_answer({"content": []})(received, write)


@pytest.mark.parametrize("kind", REFUSALS)
async def test_a_server_without_that_stream_takes_calls(kind: str) -> None:
    """The client does not treat the endpoint as down or the session as lost, and does not retry in a loop."""
    lost: list[str] = []
    script = Script({"GET": [REFUSALS[kind]], "tools/call": [slow]})
    other = Script({"initialize": [REFUSALS["404"]]})
    # A busy machine answers within this time, and the call takes longer.
    options = LIMITS | {"deadline": 20.0, "attempt_timeout": 2.0, "on_session_lost": lambda: lost.append("lost")}
    async with script.serve() as url, other.serve() as second, Client([url, second], **options) as client:
        assert not (await client.call_tool("act", {})).is_error
        assert (await client.list_tools()).tools
    assert (script.kinds().count("initialize"), lost, other.kinds()) == (1, [], [])
    assert script.kinds().count("GET") < 10


async def test_what_was_heard_last_is_saved_while_the_stream_is_open() -> None:
    messages = asyncio.Event()

    async def talk(received: ReceivedRequest, write: Write) -> None:
        message = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"hi"}}'
        await events(b"id: 41\ndata: " + message + b"\n\n")(received, write)
        await hold()(received, write)

    async def logged(params: object) -> None:
        messages.set()

    script = Script({"GET": [talk]})
    async with script.serve() as url, Client(url, logging_callback=logged, **LIMITS) as client:
        await asyncio.wait_for(messages.wait(), 20.0)
        assert client.save_session().last_event_id == "41"
