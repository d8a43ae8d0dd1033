"""The signals: each is sent for what it is for, behind the answer, and what receivers do harms nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.dispatch import Signal
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError

from mcp_transport import Context, bootstrap, signals, tool
from mcp_transport.engine.call import Call
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.protocol.audit import AccessDenied, SessionClosed, SessionOpened, ToolCalled
from mcp_transport.protocol.principal import ANONYMOUS
from mcp_transport.protocol.session import session_key
from tests.support.client import Answer, request, send, send_sessionless, until
from tests.support.clock import FakeClock
from tests.support.listeners import ANN, BADGE, SECRET, AnnsClient, as_ann, hearing
from tests.support.tools import Gate

pytestmark = pytest.mark.usefixtures("declarations", "tools")

OPEN = {"AUTHENTICATORS": [BADGE, None]}
CLOSED = {"AUTHENTICATORS": [BADGE]}


@pytest.fixture
def tools(declarations: Any, gate: Gate) -> None:
    @tool
    def add(a: int, b: int) -> int:
        return a + b

    @tool
    def refuse() -> None:
        raise ToolError("Sold out.")

    @tool
    def crash() -> None:
        raise RuntimeError("in pieces")

    @tool
    def not_today() -> None:
        raise MCPError(-31000, "Not today")

    @tool
    async def wait(ctx: Context) -> str:
        await ctx.report_progress(1)
        await gate.pass_through()
        return "through"

    @tool(scopes=["write"])
    def write() -> str:
        raise AssertionError("it ran")

    @tool(visible=lambda principal: False)
    def secret() -> str:
        raise AssertionError("it ran")


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    with hearing() as events:
        yield events


@pytest.fixture
async def endpoint(settings: Any, gate: Gate) -> AsyncIterator[Endpoint]:
    settings.MCP_TRANSPORT = OPEN
    served = bootstrap.endpoint()
    yield served
    gate.open.set()
    await served.stop()


@pytest.fixture
async def client(endpoint: Endpoint) -> AnnsClient:
    """An open session of Ann, of whose opening nobody heard."""
    client = AnnsClient(endpoint)
    await client.open()
    return client


def named(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def said(principal: Any) -> tuple[str, str, str]:
    return principal.issuer, principal.subject, principal.name


# -- sessions --------------------------------------------------------------------------------------------


async def test_opening_is_told(endpoint: Endpoint, heard: list[Any]) -> None:
    client = AnnsClient(endpoint)
    await client.open()
    signals.settle()
    [event] = heard
    assert isinstance(event, SessionOpened)
    assert (event.principal, event.address, event.client) == (ANN, "127.0.0.1", "desk")
    assert (event.session, event.when > 1_700_000_000) == (client.short_id, True)


async def test_an_opening_that_is_refused_is_not_told(endpoint: Endpoint, heard: list[Any]) -> None:
    answer = await send(endpoint, body=request("initialize", {"protocolVersion": "2025-11-25"}))
    assert "error" in answer.json
    signals.settle()
    assert heard == []


async def test_the_client_ends_its_session(client: AnnsClient, heard: list[Any]) -> None:
    assert (await client.delete()).status == 204
    assert (await client.delete()).status == 404
    signals.settle()
    [event] = heard
    assert isinstance(event, SessionClosed)
    assert (event.session, event.reason) == (client.short_id, "client")
    assert said(event.principal) == ("badges", "7", "ann")


async def test_the_limit_of_sessions_ends_one(settings: Any, heard: list[Any]) -> None:
    settings.MCP_TRANSPORT = {**OPEN, "MAX_SESSIONS_PER_PRINCIPAL": 1}
    endpoint = bootstrap.endpoint()
    first, second = AnnsClient(endpoint), AnnsClient(endpoint)
    await first.open()
    await second.open()
    await endpoint.stop()
    signals.settle()
    [closed] = [event for event in heard if isinstance(event, SessionClosed)]
    assert (closed.session, closed.reason, said(closed.principal)[:2]) == (first.short_id, "limit", ("badges", "7"))
    opened = [event.session for event in heard if isinstance(event, SessionOpened)]
    assert opened == [first.short_id, second.short_id]


def test_an_operator_ends_a_session(settings: Any, tmp_path: Any, heard: list[Any]) -> None:
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": str(tmp_path), "OPTIONS": {"MAX_ENTRIES": 1000}}}
    settings.MCP_TRANSPORT = OPEN

    @async_to_sync
    async def opened() -> str:
        client = AnnsClient(bootstrap.endpoint())
        await client.open()
        await client.endpoint.stop()
        return client.short_id

    session = opened()
    call_command("mcp_sessions", "end", session, stdout=StringIO())
    signals.settle()
    closed = heard[-1]
    assert isinstance(closed, SessionClosed)
    assert (closed.session, closed.reason, said(closed.principal)) == (session, "staff", ("badges", "7", "ann"))


# -- calls -----------------------------------------------------------------------------------------------


@dataclass
class Asking:
    """Calls tools as Ann, in a session or without one."""

    client: AnnsClient
    session: str

    async def __call__(self, name: str, arguments: dict[str, Any]) -> Answer:
        if self.session:
            return await self.client.call(name, arguments)
        params = {"name": name, "arguments": arguments}
        return await send_sessionless(self.client.endpoint, "tools/call", params, headers=as_ann())


@pytest.fixture(params=["session", "alone"])
def ask(request: pytest.FixtureRequest, client: AnnsClient) -> Asking:
    return Asking(client, client.short_id if request.param == "session" else "")


@pytest.mark.parametrize(
    ("name", "arguments", "outcome"),
    [
        ("add", {"a": 1, "b": 2}, "ok"),
        ("add", {"a": "one"}, "error"),
        ("refuse", {}, "error"),
        ("crash", {}, "error"),
        ("not_today", {}, "error"),
        ("missing", {}, "error"),
    ],
)
async def test_a_call_is_told_with_how_it_ended(
    ask: Asking, heard: list[Any], name: str, arguments: dict[str, Any], outcome: str
) -> None:
    await ask(name, arguments)
    signals.settle()
    [event] = heard
    assert isinstance(event, ToolCalled)
    assert (event.tool, event.outcome, event.session) == (name, outcome, ask.session)
    assert (event.principal, event.address, event.arguments) == (ANN, "127.0.0.1", None)
    assert 0 <= event.seconds < 5


async def test_a_client_cancels_a_call_of_its_session(client: AnnsClient, gate: Gate, heard: list[Any]) -> None:
    await client.call("wait", id=5)
    await gate.wait(gate.entered)
    await client.notify("notifications/cancelled", {"requestId": 5})
    await gate.wait(gate.left)
    await until(lambda: not client.endpoint.nodes[0].running)
    signals.settle()
    assert [(event.tool, event.outcome) for event in heard] == [("wait", "cancelled")]


async def test_a_client_leaves_a_call_that_stands_alone(endpoint: Endpoint, gate: Gate, heard: list[Any]) -> None:
    meta = {"progressToken": "p"}
    answer = await send_sessionless(endpoint, "tools/call", named("wait"), meta=meta, headers=as_ann())
    assert await answer.message()
    answer.close()
    await gate.wait(gate.left)
    await until(lambda: not endpoint.nodes[0].running)
    signals.settle()
    assert [(event.tool, event.outcome, event.session) for event in heard] == [("wait", "cancelled", "")]


async def test_what_is_no_call_is_not_told(client: AnnsClient, heard: list[Any]) -> None:
    await client.request("ping")
    await client.request("tools/list")
    signals.settle()
    assert heard == []


async def test_each_call_of_a_batch_is_told(endpoint: Endpoint, heard: list[Any]) -> None:
    client = AnnsClient(endpoint, "2025-03-26")
    await client.open()
    await client.post([request("tools/call", named("add", a=1, b=number), id=number) for number in range(3)])
    signals.settle()
    assert [event.outcome for event in heard if isinstance(event, ToolCalled)] == ["ok"] * 3


async def test_seconds_are_measured(
    settings: Any, gate: Gate, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    monkeypatch.setattr("mcp_transport.bootstrap.SteadyClock", lambda: clock)
    settings.MCP_TRANSPORT = OPEN
    endpoint = bootstrap.endpoint()
    client = AnnsClient(endpoint)
    await client.open()
    answer = await client.call("wait")
    await gate.wait(gate.entered)
    await clock.advance(2.5)
    gate.open.set()
    assert await answer.text() == "through"
    await endpoint.stop()
    signals.settle()
    assert (heard[-1].seconds, heard[-1].when) == (2.5, clock.now())


@pytest.mark.parametrize(("setting", "kept"), [(False, None), (True, {"a": 1, "b": 2})])
async def test_arguments_are_told_if_the_settings_ask_for_them(
    settings: Any, ask: Asking, heard: list[Any], setting: bool, kept: Any
) -> None:
    settings.MCP_TRANSPORT = {**OPEN, "AUDIT_ARGUMENTS": setting}
    await ask("add", {"a": 1, "b": 2})
    signals.settle()
    [event] = heard
    assert event.arguments == kept


# -- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer stolen"}, {"authorization": "Digest stolen"}])
async def test_401_is_told_without_the_credentials(settings: Any, heard: list[Any], headers: Any) -> None:
    settings.MCP_TRANSPORT = CLOSED
    endpoint = bootstrap.endpoint()
    assert (await send_sessionless(endpoint, "tools/call", named("add"), headers=headers)).status == 401
    signals.settle()
    [event] = heard
    assert isinstance(event, AccessDenied)
    assert (event.principal, event.address, event.operation, event.name) == (ANONYMOUS, "127.0.0.1", "POST", "")
    assert event.reason == (
        "the credentials are not valid here: get new ones" if headers else "credentials are required: authenticate"
    )
    assert "stolen" not in repr(event)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_401_is_told_of_every_method(settings: Any, heard: list[Any], method: str) -> None:
    settings.MCP_TRANSPORT = CLOSED
    assert (await send(bootstrap.endpoint(), method)).status == 401
    signals.settle()
    assert [(type(event), event.operation) for event in heard] == [(AccessDenied, method)]


async def test_missing_scopes_are_told(ask: Asking, heard: list[Any]) -> None:
    assert (await ask("write", {})).status == 403
    signals.settle()
    [event] = heard
    assert isinstance(event, AccessDenied)
    assert (event.principal, event.reason) == (ANN, "the credentials lack a scope: this needs write")
    assert (event.operation, event.name) == ("tools/call", "write")


async def test_scopes_that_every_request_needs_are_told_with_whoever_lacks_them(
    settings: Any, heard: list[Any]
) -> None:
    settings.MCP_TRANSPORT = {**CLOSED, "REQUIRED_SCOPES": ["base"]}
    answer = await send_sessionless(bootstrap.endpoint(), "tools/call", named("add"), headers=as_ann())
    assert answer.status == 403
    signals.settle()
    [event] = heard
    assert (event.principal, event.operation) == (ANN, "POST")


async def test_a_hidden_tool_is_told_as_a_refusal_and_as_no_call(ask: Asking, heard: list[Any]) -> None:
    assert (await ask("secret", {})).json["error"]["message"] == "Unknown tool: secret"
    signals.settle()
    [event] = heard
    assert isinstance(event, AccessDenied)
    assert (event.principal, event.operation, event.name) == (ANN, "tools/call", "secret")
    assert event.reason == "it may not be used by this caller"


async def test_a_foreign_origin_is_told(endpoint: Endpoint, heard: list[Any]) -> None:
    headers = as_ann(origin="https://evil.example")
    assert (await send_sessionless(endpoint, "tools/list", headers=headers)).status == 403
    signals.settle()
    [event] = heard
    assert isinstance(event, AccessDenied)
    assert (event.principal, event.operation) == (ANONYMOUS, "POST")
    assert "Origin" in event.reason


async def test_other_faults_are_no_refusals(client: AnnsClient, endpoint: Endpoint, heard: list[Any]) -> None:
    assert (await send(endpoint, raw=b"{")).status == 400
    assert (await send(endpoint, headers={"host": "evil.example"}, body={})).status == 400
    assert (await client.request("ping", headers={"mcp-session-id": "unknown"})).status == 404
    signals.settle()
    assert heard == []


async def test_no_event_tells_a_secret(endpoint: Endpoint, heard: list[Any]) -> None:
    client = AnnsClient(endpoint)
    await client.open()
    await client.call("add", {"a": 1, "b": 2})
    await client.call("secret")
    await client.delete()
    signals.settle()
    assert [type(event) for event in heard] == [SessionOpened, ToolCalled, AccessDenied, SessionClosed]
    for secret in (SECRET, client.session_id, session_key(client.session_id)):
        assert secret not in repr(heard)


# -- receivers -------------------------------------------------------------------------------------------


class Slow:
    """A receiver that stands still until it is let go, and notes what it gets."""

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.entered, self.let_go = threading.Event(), threading.Event()

    def __enter__(self) -> Slow:
        self.signal.connect(self.hear)
        return self

    def __exit__(self, *reason: object) -> None:
        self.let_go.set()
        signals.settle()
        self.signal.disconnect(self.hear)

    def hear(self, **kwargs: Any) -> None:
        self.entered.set()
        assert self.let_go.wait(5)


async def test_a_slow_receiver_slows_nobody_and_the_order_is_kept(endpoint: Endpoint, heard: list[Any]) -> None:
    client = AnnsClient(endpoint)
    with Slow(signals.session_opened) as slow:
        await client.open()
        for b in range(3):
            assert (await client.call("add", {"a": 1, "b": b})).status == 200
        await client.call("refuse")
        assert (await client.delete()).status == 204
        assert slow.entered.wait(5)
        assert len(heard) <= 1, "the first one stands in the way of all"
    expected = [SessionOpened, *[ToolCalled] * 4, SessionClosed]
    assert [type(event) for event in heard] == expected
    assert [event.outcome for event in heard[1:-1]] == ["ok", "ok", "ok", "error"]


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
async def test_a_failing_receiver_breaks_nothing(
    client: AnnsClient, caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    def fail(**kwargs: Any) -> None:
        raise kind("a receiver's fault")

    signals.tool_called.connect(fail)
    with hearing() as heard:
        assert (await client.call("add", {"a": 1, "b": 2})).status == 200
        signals.settle()
        [error] = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert error.exc_info is not None
        assert type(error.exc_info[1]).__name__ == kind.__name__
        signals.tool_called.disconnect(fail)
        await client.call("add", {"a": 1, "b": 2})
    assert len(heard) == (2 if kind is RuntimeError else 1), "what no receiver may raise ends the others' turn, once"


async def test_async_receivers_work(client: AnnsClient) -> None:
    got: list[tuple[str, Any]] = []

    async def hear(sender: Any, event: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        got.append((event.tool, sender))

    async def fail(**kwargs: Any) -> None:
        raise RuntimeError("a receiver's fault")

    signals.tool_called.connect(fail)
    signals.tool_called.connect(hear)
    try:
        await client.call("add", {"a": 1, "b": 2})
        await client.call("refuse")
        signals.settle()
    finally:
        signals.tool_called.disconnect(hear)
        signals.tool_called.disconnect(fail)
    assert got == [("add", ToolCalled), ("refuse", ToolCalled)]


async def test_receivers_of_one_kind_of_event_get_no_other(endpoint: Endpoint) -> None:
    got: list[Any] = []

    def hear(event: Any, **kwargs: Any) -> None:
        got.append(event)

    signals.session_closed.connect(hear)
    try:
        client = AnnsClient(endpoint)
        await client.open()
        await client.call("add", {"a": 1, "b": 2})
        await client.delete()
        signals.settle()
    finally:
        signals.session_closed.disconnect(hear)
    assert [type(event) for event in got] == [SessionClosed]


async def test_without_receivers_nothing_is_built(
    client: AnnsClient, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(Call, "_audit", lambda *args: done.append("built"))
    monkeypatch.setattr(signals._thread, "submit", lambda *args: done.append("sent"))
    await client.call("add", {"a": 1, "b": 2})
    await client.call("secret")
    await client.delete()
    await send_sessionless(endpoint, "tools/call", named("refuse"))
    assert done == []


async def test_a_receiver_that_comes_during_a_call_does_not_hear_of_it(client: AnnsClient, gate: Gate) -> None:
    answer = await client.call("wait")
    await gate.wait(gate.entered)
    with hearing() as heard:
        gate.open.set()
        await answer.text()
    assert heard == []


async def test_what_finds_no_room_is_dropped_with_one_line(
    client: AnnsClient, heard: list[Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals.settle()
    monkeypatch.setattr(signals, "_room", threading.BoundedSemaphore(2))
    with Slow(signals.tool_called) as slow:
        for b in range(3):
            assert json.loads((await client.call("add", {"a": 1, "b": b})).body)["result"]
        assert slow.entered.wait(5)
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "is not recorded" in errors[0]
    await client.call("refuse")
    signals.settle()
    assert [event.tool for event in heard] == ["add", "add", "refuse"], "there is room again"


async def test_nothing_breaks_while_the_process_ends(
    client: AnnsClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hearing() as heard:
        ended = ThreadPoolExecutor(1)
        ended.shutdown()
        with monkeypatch.context() as patch:
            patch.setattr(signals, "_thread", ended)
            patch.setattr(signals, "_room", room := threading.BoundedSemaphore(1))
            assert (await client.call("add", {"a": 1, "b": 2})).status == 200
    assert "an event is not recorded: the process ends" in caplog.text
    assert room.acquire(blocking=False), "its place is free again"
    assert heard == []


def test_a_process_that_ends_sends_what_waits() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)  # noqa: S603
    assert (done.stdout.splitlines(), done.stderr) == (["ends", "client", "limit"], "")


PROGRAM = """
import threading
from django.conf import settings
settings.configure()
from mcp_transport import signals
from mcp_transport.protocol.audit import SessionClosed
from mcp_transport.protocol.principal import ANONYMOUS

ends = threading.Event()

def hear(event, **kwargs):
    assert ends.wait(5)
    print(event.reason)

signals.session_closed.connect(hear)
for reason in ("client", "limit"):
    signals.announce(SessionClosed(when=0.0, principal=ANONYMOUS, session="s", reason=reason))
print("ends")
ends.set()
"""
