"""Calls to a server that stores responses for idempotency keys: which failures are retryable."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_transport.client import Client, EndpointsUnavailable, ResultUnknown
from tests.client.scripted import Answer, Script, body, events, json_answer

pytestmark = pytest.mark.slow  # they wait for deadlines

LIMITS: Any = {"mode": "legacy", "deadline": 2.0, "attempt_timeout": 2.0}
KEEPS = {"tools": {}, "experimental": {"mcp_transport/idempotencyKey": {"keepSeconds": 300.0}}}
HTML = "text/html"
LOST = body("502 Bad Gateway", HTML, b"")
STILL_RUNS = body("409 Conflict", "application/json", b"{}", "Retry-After: 1")


@pytest.mark.parametrize("failure", [LOST, STILL_RUNS])
async def test_a_call_that_may_have_run_is_not_said_to_be_safe_to_repeat(failure: Any) -> None:
    """A retry by the caller has another key."""
    script = Script({"tools/call": [failure]}, capabilities=KEEPS)
    async with script.serve() as url, Client(url, **LIMITS) as client:
        with pytest.raises(ResultUnknown, match="may have run") as caught:
            await client.call_tool("act", {})
        assert not caught.value.retryable
    keys = {
        line
        for received in script.received
        for line in received.head.split(b"\r\n")
        if b"idempotency-key" in line.lower()
    }
    assert len(keys) == 1


async def test_a_call_that_did_not_run_may_be_repeated() -> None:
    script = Script({"tools/call": [body("503 Service Unavailable", HTML, b"")]}, capabilities=KEEPS)
    async with script.serve() as url, Client(url, **LIMITS) as client:
        with pytest.raises(EndpointsUnavailable) as caught:
            await client.call_tool("act", {})
        assert caught.value.retryable


async def test_a_call_that_still_runs_under_wsgi_is_waited_for() -> None:
    """There a retry gets 409 while the first call runs, because WSGI has no streams to join."""
    script = Script({"tools/call": [LOST, STILL_RUNS, json_answer({"content": []})]}, capabilities=KEEPS)
    async with script.serve() as url, Client(url, **LIMITS | {"deadline": 20.0}) as client:
        assert not (await client.call_tool("act", {})).is_error
    assert script.kinds().count("tools/call") == 3


# -- limits of keys --------------------------------------------------------------------------------------

NO_SESSION = body("404 Not Found", HTML, b"")
STARTED = events(
    b'id: s-1\ndata: {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}}\n\n'
)
DONE = json_answer({"content": []})


@pytest.mark.parametrize(
    "answers",
    [
        {"tools/call": [LOST, NO_SESSION, DONE]},
        {"tools/call": [STARTED, NO_SESSION, DONE], "GET": [body("405 No", HTML, b""), NO_SESSION]},
    ],
    ids=["the answer is lost", "the stream breaks"],
)
async def test_a_call_that_may_have_run_in_a_lost_session_does_not_run_in_the_next_one(
    answers: dict[str, list[Answer]],
) -> None:
    """A key belongs to one session (docs/reference/http.md)."""
    script = Script(answers, capabilities=KEEPS)
    async with script.serve() as url, Client(url, **LIMITS) as client:
        with pytest.raises(ResultUnknown, match="session"):
            await client.call_tool("act", {})
    assert (script.kinds().count("tools/call"), script.kinds().count("initialize")) == (2, 2)


@pytest.mark.parametrize("seconds", [0.5, 0, None, "long", -1])
async def test_a_call_is_not_repeated_when_its_answer_may_be_kept_no_longer(seconds: Any) -> None:
    keeps = {"tools": {}, "experimental": {"mcp_transport/idempotencyKey": {"keepSeconds": seconds}}}
    script = Script({"tools/call": [LOST, body("503 Busy", HTML, b"", "Retry-After: 1"), DONE]}, capabilities=keeps)
    async with script.serve() as url, Client(url, **LIMITS | {"deadline": 20.0}) as client:
        with pytest.raises(ResultUnknown, match="may have run"):
            await client.call_tool("act", {})
    assert script.kinds().count("tools/call") <= 2, "the third would have run it again"
