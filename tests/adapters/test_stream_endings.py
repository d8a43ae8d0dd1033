"""Each way in which a call's stream can end: what the client reads, and what it gets when it comes back.

This is the table "How a stream ends" of docs/explanation/sessions-and-streams.md, through both ASGI adapters and with
each backend. What becomes of calls whose node is lost is in tests/cluster.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mcp import MCPError

from mcp_transport import Context, tool
from mcp_transport.bootstrap import endpoint
from mcp_transport.domain.history import HistoryEvent
from mcp_transport.domain.session import session_key
from mcp_transport.operators import service
from tests.support.http.answer import PATIENCE, Answer
from tests.support.http.carrier import Carrier
from tests.support.http.client import open_session
from tests.support.http.messages import fresh, rpc
from tests.support.redis.server import RedisServer
from tests.support.site import settings as site

pytestmark = pytest.mark.parametrize(
    ("adapter", "backend"),
    [("view", "memory"), ("mounted", "cache"), pytest.param("mounted", "redis", marks=pytest.mark.servers)],
)

Event = tuple[str | None, dict[str, Any]]


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def configure(
    project_without_database: None, backend: str, settings: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., None]:
    """Choose the backend; what is called with settings sets them, before the first request."""
    if backend == "cache":
        files = {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": str(tmp_path)}
        settings.CACHES = {"default": files}
    elif backend == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{server.url}/0"}}

    def set_up(**changes: Any) -> None:
        settings.MCP_TRANSPORT = {**site.MCP_TRANSPORT, "BACKEND": backend, **changes}

    set_up()
    return set_up


class Caller:
    """A client with a session whose call has said its first word."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier

    async def call(self, called: str, /, **arguments: Any) -> None:
        """Open a session and make its first call."""
        self.session = await open_session(self.carrier)
        self.answer = await self.carrier.send(self.session.call(called, **arguments))
        first = await self.answer.event()
        assert first is not None
        self.first, self.last = first, first.id

    async def rest(self) -> list[dict[str, Any]]:
        """Return what else comes until the stream ends."""
        return await self._messages_of(self.answer)

    async def comes_back(self, after: str | None) -> tuple[int, list[dict[str, Any]]]:
        """Resume after an event; return the status and the messages until the end."""
        answer = await self.carrier.send(self.session.get(after))
        return answer.status, await self._messages_of(answer) if answer.is_stream else []

    async def _messages_of(self, answer: Answer) -> list[dict[str, Any]]:
        messages = []
        while (event := await answer.event()) is not None:
            self.last = event.id or self.last
            messages.append(event.message)
        return messages


@pytest_asyncio.fixture
async def caller(
    configure: Callable[..., None], in_process: Callable[[str], Carrier], adapter: str
) -> AsyncIterator[Caller]:
    yield Caller(in_process(adapter))


async def begins(caller: Caller) -> str:
    """Begin a call that waits after its first word; return its name."""
    name = fresh()
    await caller.call("slow", name=name)
    return name


async def has_replay(caller: Caller, outcome: dict[str, Any]) -> None:
    """A client that has seen the first event alone gets the outcome, once; then nothing follows."""
    assert await caller.comes_back(caller.first.id) == (200, [outcome])
    assert await caller.comes_back(caller.last) == (204, [])


async def fails(ctx: Context) -> None:
    """Fail after the first word."""
    await ctx.report_progress(1)
    raise MCPError(-32000, "no stock")


async def lists(ctx: Context) -> str:
    """Return more than a limit allows."""
    await ctx.report_progress(1)
    return "x" * 20_000


@pytest.mark.parametrize(
    ("called", "words"),
    [("slow", '"text": "slow"'), ("fails", '"code": -32000'), ("lists", '"isError": true'), ("ask", "it failed")],
    ids=["a result", "an error", "a result beyond a limit", "a question that the client answers with an error"],
)
async def test_an_outcome_is_replayed_once(
    configure: Callable[..., None], caller: Caller, called: str, words: str
) -> None:
    configure(MAX_RESULT_BYTES=10_000)
    tool(fails)
    tool(lists)
    name = fresh()
    await caller.call(called, **({"name": name} if called == "slow" else {}))
    if called == "slow":
        await caller.carrier.send(caller.session.call("proceed", gate=name))
    elif called == "ask":
        refusal = {
            "jsonrpc": "2.0",
            "id": caller.first.message["id"],
            "error": {"code": -32603, "message": "it failed"},
        }
        assert (await caller.carrier.send(caller.session.post(refusal))).status == 202
    [outcome] = await caller.rest()
    assert words in json.dumps(outcome)
    await has_replay(caller, outcome)


async def test_a_question_that_the_client_never_answers(configure: Callable[..., None], caller: Caller) -> None:
    configure(CLIENT_REPLY_TIMEOUT_SECONDS=0.1)
    await caller.call("ask")
    cancelled, outcome = await caller.rest()
    assert cancelled["method"] == "notifications/cancelled"
    assert outcome["error"]["code"] == -32001
    assert await caller.comes_back(caller.last) == (204, [])


async def test_cancelled_by_its_client(caller: Caller) -> None:
    await begins(caller)
    cancel = caller.session.notify("notifications/cancelled", {"requestId": 1})
    assert (await caller.carrier.send(cancel)).status == 202
    assert await caller.rest() == [], "2025-11-25, cancellation: the receiver sends no response"
    assert await caller.comes_back(caller.last) == (204, [])
    assert await caller.comes_back(caller.last) == (204, []), "and for ever"


async def test_cancelled_by_staff(caller: Caller) -> None:
    await begins(caller)
    assert await service.cancel_call(session_key(caller.session.id), 1)
    [outcome] = await caller.rest()
    assert (outcome["id"], outcome["error"]["code"]) == (1, -32800)
    assert "staff" in outcome["error"]["message"]
    await has_replay(caller, outcome)


@pytest.mark.parametrize("by_staff", [True, False])
async def test_a_question_is_withdrawn_with_its_call_or_session(caller: Caller, by_staff: bool) -> None:
    await caller.call("ask")
    if by_staff:
        assert await service.cancel_call(session_key(caller.session.id), 1)
    else:
        assert (await caller.carrier.send(caller.session.delete())).status == 204
    withdrawn, outcome = await caller.rest()
    assert withdrawn["method"] == "notifications/cancelled"
    assert withdrawn["params"]["requestId"] == caller.first.message["id"]
    if by_staff:
        assert outcome["error"]["code"] == -32800
    else:
        assert outcome["error"]["message"].startswith("its session was ended")


async def test_cancelled_by_its_client_while_it_takes_time_to_clean_up(caller: Caller) -> None:
    """The request is over, and its id free, whatever its handler does."""
    cleaning, done = asyncio.Event(), asyncio.Event()

    @tool
    async def tidies(ctx: Context) -> str:
        try:
            await ctx.report_progress(1)
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await done.wait()
        return "never"

    await caller.call("tidies")
    await caller.carrier.send(caller.session.notify("notifications/cancelled", {"requestId": 1}))
    assert await caller.rest() == []
    await cleaning.wait()
    again = await caller.carrier.send(caller.session.post(rpc("ping", id=1)))
    assert (await again.json())["result"] == {}
    done.set()


async def test_cancelled_too_late_harms_no_later_call(caller: Caller) -> None:
    await caller.call("chatter")
    await caller.rest()
    for _ in range(3):
        late = caller.session.notify("notifications/cancelled", {"requestId": 1})
        assert (await caller.carrier.send(late)).status == 202
        answer = await caller.carrier.send(caller.session.post(rpc("ping", id=1)))
        assert (await answer.json())["result"] == {}


@pytest.mark.parametrize("by_staff", [True, False])
async def test_its_session_ended(caller: Caller, by_staff: bool) -> None:
    await begins(caller)
    if by_staff:
        assert await service.end_session(session_key(caller.session.id))
    else:
        assert (await caller.carrier.send(caller.session.delete())).status == 204
    [outcome] = await caller.rest()
    assert outcome["error"]["message"].startswith("its session was ended before the call ended")
    assert await caller.comes_back(caller.last) == (404, [])


@pytest.mark.slow
async def test_its_session_expired(configure: Callable[..., None], caller: Caller) -> None:
    configure(SESSION_MAX_AGE_SECONDS=1, SESSION_TTL_SECONDS=1)
    await begins(caller)
    [outcome] = await caller.rest()
    assert outcome["error"]["message"].startswith("its session expired before the call ended")
    assert await caller.comes_back(caller.last) == (404, [])


async def test_its_node_stopped(caller: Caller) -> None:
    await begins(caller)
    await endpoint().pool.stop()
    [outcome] = await caller.rest()
    assert outcome["error"]["message"].startswith("the server stopped before the call ended")


async def test_its_log_trimmed(configure: Callable[..., None], caller: Caller) -> None:
    """The loss is told once, with an id: a client that comes back behind it is not told again."""
    configure(STREAM_MAX_EVENTS=1)

    @tool
    async def talks(ctx: Context) -> str:
        for step in range(5):
            await ctx.report_progress(step + 1)
        return "done"

    await caller.call("talks")
    *_, outcome = await caller.rest()
    status, [loss, again] = await caller.comes_back(caller.first.id)
    assert (status, again) == (200, outcome)
    assert loss["params"]["data"].startswith("4 messages of this stream are lost")
    assert await caller.comes_back(caller.last) == (204, [])


async def test_its_log_trimmed_and_cancelled_by_its_client(configure: Callable[..., None], caller: Caller) -> None:
    configure(STREAM_MAX_EVENTS=1)
    await caller.call("count", steps=3, gate=(gate := fresh()))
    await caller.carrier.send(caller.session.call("proceed", gate=gate))
    assert (await caller.answer.message())["params"]["progress"] == 2
    await caller.carrier.send(caller.session.notify("notifications/cancelled", {"requestId": 1}))
    assert await caller.rest() == []
    async with asyncio.timeout(PATIENCE):  # the end is written to the log behind the stream
        while (await caller.comes_back(caller.last))[0] != 204:
            pass
    status, [loss] = await caller.comes_back(caller.first.id)
    assert (status, loss["method"]) == (200, "notifications/message")
    assert await caller.comes_back(caller.last) == (204, []), "the loss has an id"


async def test_kept_no_longer(configure: Callable[..., None], caller: Caller) -> None:
    configure(STREAM_KEEP_SECONDS=0)
    name = await begins(caller)
    await caller.carrier.send(caller.session.call("proceed", gate=name))
    await caller.rest()
    async with asyncio.timeout(PATIENCE):
        while (status := (await caller.comes_back(caller.first.id))[0]) != 400:
            assert status in (200, 204), "within the millisecond in which it ended"


async def test_polls_are_no_history(caller: Caller) -> None:
    """Who comes back to nothing takes nothing over; who comes back to a stream again and again is told of once."""
    name = await begins(caller)
    await caller.answer.close()
    for _ in range(5):
        answer = await caller.carrier.send(caller.session.get(caller.first.id))
        assert answer.status == 200
        await answer.frame()
        await answer.close()
    await caller.carrier.send(caller.session.call("proceed", gate=name))
    assert (await caller.comes_back(caller.first.id))[0] == 200
    for _ in range(5):
        assert await caller.comes_back(caller.last) == (204, [])
    detail = await service.session_detail(session_key(caller.session.id))
    assert detail is not None
    attached = [entry for entry in detail.history if entry.what is HistoryEvent.ATTACHED]
    assert 1 <= len(attached) <= 2, "before the call ended, and after it"
