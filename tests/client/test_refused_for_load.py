"""A request that a server refuses for load is sent again when the server says, in each form of the refusal."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from mcp_transport.client import Client, EndpointsUnavailable
from mcp_transport.client.errors import LoadRefusal, load_refusal
from mcp_transport.protocol.errors import INTERNAL_ERROR, error_body, overload_data
from tests.client.scripted import STREAM, Answer, ReceivedRequest, Script, Write, body, hold, json_answer, raw

SOON, LATE = 0.3, 3600.0
"""Seconds after which a refused request may come back."""
DONE = json_answer({"content": [{"type": "text", "text": "done"}]})
NO_SECONDS = 20.0
"""Far above the time of any request that need not wait `LATE`."""


def refusal(form: str, seconds: float, key: str = "caller") -> Answer:
    """Refuse a request by a status, by a JSON-RPC error with status 200, or on a stream that has begun."""

    async def answer(received: ReceivedRequest, write: Write) -> None:
        data = overload_data("RATE_LIMITS", key, seconds)
        text = json.dumps(error_body(INTERNAL_ERROR, "too many calls", request_id=received.message["id"], data=data))
        if form == "stream":
            event = f"id: s-1\r\nretry: 10\r\ndata:\r\n\r\nid: s-2\r\ndata: {text}\r\n\r\n"
            await raw(STREAM + event.encode())(received, write)
        else:
            await body(form, "application/json", text.encode(), "Retry-After: 3600")(received, write)

    return answer


FORMS = ["429 Too Many Requests", "503 Service Unavailable", "200 OK", "stream"]
forms = pytest.mark.parametrize("form", FORMS)


@forms
async def test_a_refused_call_is_sent_again_after_the_wait(form: str) -> None:
    """The milliseconds of the body are finer than Retry-After, and win."""
    script = Script(answers={"tools/call": [refusal(form, SOON), refusal(form, SOON), DONE]})
    async with script.serve() as url, Client(url, mode="legacy") as client:
        started_at = time.monotonic()
        result = await client.call_tool("act", {})
        assert time.monotonic() - started_at >= 2 * SOON
    assert getattr(result.content[0], "text", "") == "done"
    assert script.kinds().count("tools/call") == 3
    assert script.kinds().count("initialize") == 1


@forms
async def test_a_wait_beyond_the_deadline_is_an_error_that_says_why(form: str) -> None:
    script = Script(answers={"tools/call": [refusal(form, LATE, "tool"), DONE]})
    async with script.serve() as url, Client(url, mode="legacy") as client:
        with pytest.raises((EndpointsUnavailable, MCPError)) as caught:
            await client.call_tool("act", {})
        if isinstance(caught.value, MCPError):  # on a stream: the server's own error, with its data
            assert caught.value.error.data == overload_data("RATE_LIMITS", "tool", LATE)
        assert "too many calls" in str(caught.value)
        await client.call_tool("look", {})
    assert script.kinds().count("initialize") == 1


@pytest.fixture
def noticed() -> Iterator[asyncio.Event]:
    """Yield an event that is set when the client has read a refusal."""
    event = asyncio.Event()
    handler, logger = logging.Handler(), logging.getLogger("mcp_transport.client.delivery")
    handler.emit = lambda record: event.set()  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    yield event
    logger.removeHandler(handler)
    logger.setLevel(level)


async def test_a_limit_of_one_tool_delays_no_other_request(noticed: asyncio.Event) -> None:
    script = Script(answers={"tools/call": [refusal("429 Too Many Requests", LATE, "tool"), DONE]})
    async with script.serve() as url, Client(url, mode="legacy", deadline=2 * LATE) as client:
        waiting = asyncio.ensure_future(client.call_tool("act", {}))
        async with asyncio.timeout(NO_SECONDS):
            await noticed.wait()
            await client.call_tool("look", {})
        waiting.cancel()


async def test_a_refused_caller_can_still_cancel(noticed: asyncio.Event) -> None:
    """A reply and a cancellation serve a call that runs: a pause that the server asked for does not delay them."""
    arrived, cancelled = asyncio.Event(), asyncio.Event()

    async def run(received: ReceivedRequest, write: Write) -> None:
        arrived.set()
        await hold()(received, write)

    async def accept(received: ReceivedRequest, write: Write) -> None:
        cancelled.set()
        await body("202 Accepted", "text/plain", b"")(received, write)

    script = Script(answers={"tools/call": [run, refusal("429 Too Many Requests", LATE)]})
    script.answers["notifications/cancelled"] = [accept]
    async with script.serve() as url, Client(url, mode="legacy", deadline=2 * LATE) as client:
        async with asyncio.timeout(NO_SECONDS):
            running = asyncio.ensure_future(client.call_tool("act", {}))
            await arrived.wait()
            refused = asyncio.ensure_future(client.call_tool("act", {}))
            await noticed.wait()
            running.cancel()
            await cancelled.wait()
        refused.cancel()


async def test_a_call_that_runs_after_a_refusal_and_is_lost_is_not_repeated() -> None:
    """The refusal says that the first attempt did not run; it says nothing about the second."""
    script = Script(answers={"tools/call": [refusal("stream", 0.0), raw(STREAM), DONE]})
    async with script.serve() as url, Client(url, mode="legacy") as client:
        with pytest.raises(Exception, match="may have run"):
            await client.call_tool("act", {})
    assert script.kinds().count("tools/call") == 2


@pytest.mark.parametrize(
    "data",
    [
        None,
        "busy",
        {"retryable": True},
        {"retryable": False, "retryAfterMs": 1},
        {"retryable": True, "retryAfterMs": True},
        {"retryable": True, "retryAfterMs": "1"},
        {"retryable": True, "retryAfterMs": -1},
        {"retryable": True, "retryAfterMs": float("inf")},
    ],
)
def test_other_errors_are_no_refusals(data: Any) -> None:
    assert load_refusal({"error": {"code": -32603, "message": "no", "data": data}}) is None


def test_a_result_is_no_refusal() -> None:
    assert load_refusal({"result": {"retryable": True, "retryAfterMs": 1}}) is None
    assert load_refusal({"error": "retryAfterMs"}) is None
    assert load_refusal(None) is None


def test_a_refusal_says_how_long_and_for_what() -> None:
    data = overload_data("rate_limit", "tool", 0.25)
    assert load_refusal({"error": {"message": "busy", "data": data}}) == LoadRefusal("busy", 0.25, is_for_tool=True)
