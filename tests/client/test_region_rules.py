"""Endpoints of two regions that each fail in one way: where requests go, and where they must not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from mcp_types import ElicitResult

from mcp_transport.client import Client, EndpointsUnavailable, ResultUnknown
from mcp_transport.client import regions as regions_module
from tests.client.endpoints import refusing
from tests.client.scripted import STREAM, Answer, ReceivedRequest, Script, Write, body, hold, json_answer, raw
from tests.support.cluster.stage import until

KEYS: dict[str, Any] = {"tools": {}, "experimental": {"mcp_transport/idempotencyKey": {"keepSeconds": 300}}}
UNKNOWN = body("404 Not Found", "text/plain", b"no such session")
UNAVAILABLE = body("503 Service Unavailable", "text/plain", b"the home region is unreachable", "Retry-After: 1")
DONE = json_answer({"content": [{"type": "text", "text": "done"}]})
CUT = raw(b"")
LIMITS: Any = {"mode": "legacy", "deadline": 3.0, "attempt_timeout": 3.0}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe nearer regions without a pause."""
    monkeypatch.setattr(regions_module, "_PROBE_SECONDS", 0.01)


def eu(**answers: list[Answer]) -> Script:
    return Script(_by_kind(answers), KEYS, region="eu")


def us(**answers: list[Answer]) -> Script:
    return Script(_by_kind(answers), KEYS, region="us")


def _by_kind(answers: dict[str, list[Answer]]) -> dict[str, list[Answer]]:
    return {{"call": "tools/call"}.get(kind, kind): each for kind, each in answers.items()}


def calls(script: Script) -> int:
    return script.kinds().count("tools/call")


async def test_a_session_that_one_region_does_not_know_is_asked_for_in_the_other() -> None:
    """It is not opened anew, and the region that does not know it is left alone."""
    lost: list[str] = []
    first, second = eu(call=[DONE, UNKNOWN], ping=[UNKNOWN]), us()
    options = LIMITS | {"on_session_lost": lambda: lost.append("lost")}
    async with first.serve() as a, second.serve() as b, Client([a, b], **options) as client:
        await client.call_tool("act", {})
        await client.call_tool("act", {})
        assert client.region == "us"
        await client.call_tool("act", {})
    assert (calls(first), calls(second), lost) == (2, 2, [])
    assert second.kinds().count("initialize") == 0
    assert "ping" not in first.kinds()


async def test_a_session_that_no_region_knows_is_opened_anew() -> None:
    lost: list[str] = []
    first, second = eu(call=[DONE, UNKNOWN, DONE]), us(ping=[UNKNOWN])
    options = LIMITS | {"on_session_lost": lambda: lost.append("lost")}
    async with first.serve() as a, second.serve() as b, Client([a, b], **options) as client:
        for _ in range(2):
            await client.call_tool("act", {})
        assert client.region == "eu"
    assert lost == ["lost"]
    assert first.kinds().count("initialize") == 2


async def test_an_unreachable_home_is_waited_for() -> None:
    """Both regions refuse the call for a second, and the session is kept."""
    first, second = eu(call=[UNAVAILABLE, DONE]), us(call=[UNAVAILABLE, DONE])
    async with first.serve() as a, second.serve() as b, Client([a, b], **LIMITS) as client:
        assert not (await client.call_tool("act", {})).is_error
    assert first.kinds().count("initialize") + second.kinds().count("initialize") == 1


@pytest.mark.parametrize(("region", "is_repeated"), [("eu", True), ("us", False)])
async def test_a_lost_answer_is_asked_for_in_its_region_only(region: str, is_repeated: bool) -> None:
    """The next endpoint has not said yet which region it is of."""
    first, second = eu(call=[CUT]), Script({}, KEYS, region=region)
    async with first.serve() as a, second.serve() as b, Client([a, b], **LIMITS) as client:
        if is_repeated:
            assert not (await client.call_tool("act", {})).is_error
        else:
            with pytest.raises(ResultUnknown):
                await client.call_tool("act", {})
    assert calls(second) == int(is_repeated)
    assert "ping" in second.kinds()


@pytest.mark.parametrize("tool", ["act", "look"])
async def test_a_call_that_was_not_sent_goes_to_the_next_region(tool: str) -> None:
    second = us()
    async with refusing() as a, second.serve() as b, Client([a, b], **LIMITS) as client:
        assert not (await client.call_tool(tool, {})).is_error
        assert client.region == "us"


async def test_a_repeatable_call_runs_again_in_the_next_region() -> None:
    first, second = eu(call=[CUT]), us()
    async with first.serve() as a, second.serve() as b, Client([a, b], **LIMITS) as client:
        assert not (await client.call_tool("look", {})).is_error
    assert calls(second) == 1


@pytest.mark.parametrize("status", [UNKNOWN, UNAVAILABLE, hold()], ids=["404", "503", "hangs"])
async def test_a_nearer_region_that_does_not_serve_the_session_gets_no_call(status: Answer) -> None:
    first, second = eu(call=[CUT, hold()], ping=[status]), us()
    async with first.serve() as a, second.serve() as b, Client([a, b], **LIMITS) as client:
        await client.call_tool("look", {})
        await until(lambda: "ping" in first.kinds(), "it is probed")
        for _ in range(3):
            await client.call_tool("look", {})
        assert client.region == "us"
    assert calls(first) == 1


async def test_work_that_goes_on_in_another_region_is_served_there() -> None:
    """The client has returned, but its call, the reply to it and its cancellation have not."""
    asked, returned = asyncio.Event(), asyncio.Event()
    question: dict[str, Any] = {"jsonrpc": "2.0", "id": "q1", "method": "elicitation/create"}
    question |= {"params": {"message": "name?", "requestedSchema": {"type": "object", "properties": {}}}}

    async def ask(received: ReceivedRequest, write: Write) -> None:
        await write(STREAM + b"id: s-1\ndata: " + json.dumps(question).encode() + b"\n\n")
        await hold()(received, write)

    async def answer(context: object, params: object) -> ElicitResult:
        asked.set()
        await returned.wait()
        return ElicitResult(action="decline")

    first, second = eu(call=[CUT, DONE]), us(call=[ask])
    options = LIMITS | {"elicitation_callback": answer}
    async with first.serve() as a, second.serve() as b, Client([a, b], **options) as client:
        running = asyncio.ensure_future(client.call_tool("look", {}))
        await asyncio.wait_for(asked.wait(), 20.0)
        await until(lambda: client.region == "eu", "it has returned")
        assert not (await client.call_tool("look", {})).is_error
        returned.set()
        await until(lambda: "reply" in second.kinds(), "the reply")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await until(lambda: "notifications/cancelled" in second.kinds(), "the cancellation")
        assert client.region == "eu"
    assert "reply" not in first.kinds()
    assert "notifications/cancelled" not in first.kinds()


async def test_when_both_regions_are_down_the_error_names_both() -> None:
    first, second = eu(call=[UNAVAILABLE]), us(call=[UNAVAILABLE])
    async with first.serve() as a, second.serve() as b, Client([a, b], **LIMITS) as client:
        with pytest.raises(EndpointsUnavailable) as caught:
            await client.call_tool("act", {})
        assert caught.value.endpoints.keys() == {a, b}
