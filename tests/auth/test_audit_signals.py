"""The signals: which events are sent for what clients, operators and limits do, and what they tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import StringIO
from typing import Any, TypeVar

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command

from mcp_transport import bootstrap, signals
from mcp_transport.domain.audit_events import AccessDenied, SessionClosed, SessionOpened, ToolCalled
from mcp_transport.domain.principal import ANONYMOUS
from mcp_transport.domain.session import session_key
from mcp_transport.engine.endpoint import Endpoint
from tests.auth.audited import OPEN, client, endpoint, received, tools
from tests.support.client import Answer, request, send, send_sessionless, until
from tests.support.clock import FakeClock
from tests.support.listeners import ANN, BADGE, SECRET, AnnsClient, as_ann
from tests.support.tools import Gate

pytestmark = pytest.mark.usefixtures("declarations", "tools")

__all__ = ["client", "endpoint", "received", "tools"]

CLOSED = {"AUTHENTICATORS": [BADGE]}

_EventT = TypeVar("_EventT")


def only(received: list[Any], kind: type[_EventT]) -> _EventT:
    """Return the one event that was sent."""
    signals.settle()
    [event] = received
    assert isinstance(event, kind)
    return event


def named(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def said(principal: Any) -> tuple[str, str, str]:
    return principal.issuer, principal.subject, principal.name


# -- sessions --------------------------------------------------------------------------------------------


async def test_opening_is_told(endpoint: Endpoint, received: list[Any]) -> None:
    client = AnnsClient(endpoint)
    await client.open()
    event = only(received, SessionOpened)
    assert (event.principal, event.address, event.client) == (ANN, "127.0.0.1", "desk")
    assert (event.session, event.when > 1_700_000_000) == (client.short_id, True)


async def test_an_opening_that_is_refused_is_not_told(endpoint: Endpoint, received: list[Any]) -> None:
    answer = await send(endpoint, body=request("initialize", {"protocolVersion": "2025-11-25"}))
    assert "error" in answer.json
    signals.settle()
    assert received == []


async def test_the_client_ends_its_session(client: AnnsClient, received: list[Any]) -> None:
    assert (await client.delete()).status == 204
    assert (await client.delete()).status == 404
    event = only(received, SessionClosed)
    assert (event.session, event.reason) == (client.short_id, "client")
    assert said(event.principal) == ("badges", "7", "ann")


async def test_the_limit_of_sessions_ends_one(settings: Any, received: list[Any]) -> None:
    settings.MCP_TRANSPORT = {**OPEN, "MAX_SESSIONS_PER_PRINCIPAL": 1}
    endpoint = bootstrap.endpoint()
    first, second = AnnsClient(endpoint), AnnsClient(endpoint)
    await first.open()
    await second.open()
    await endpoint.pool.stop()
    signals.settle()
    [closed] = [event for event in received if isinstance(event, SessionClosed)]
    assert (closed.session, closed.reason, said(closed.principal)[:2]) == (first.short_id, "limit", ("badges", "7"))
    opened = [event.session for event in received if isinstance(event, SessionOpened)]
    assert opened == [first.short_id, second.short_id]


def test_an_operator_ends_a_session(settings: Any, tmp_path: Any, received: list[Any]) -> None:
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": str(tmp_path), "OPTIONS": {"MAX_ENTRIES": 1000}}}
    settings.MCP_TRANSPORT = OPEN

    @async_to_sync
    async def opened() -> str:
        client = AnnsClient(bootstrap.endpoint())
        await client.open()
        await client.endpoint.pool.stop()
        return client.short_id

    session = opened()
    call_command("mcp_sessions", "end", session, stdout=StringIO())
    signals.settle()
    closed = received[-1]
    assert isinstance(closed, SessionClosed)
    assert (closed.session, closed.reason, said(closed.principal)) == (session, "staff", ("badges", "7", "ann"))


# -- calls -----------------------------------------------------------------------------------------------


@dataclass
class Eliciting:
    """Calls tools as Ann, in a session or without one."""

    client: AnnsClient
    session: str

    async def __call__(self, name: str, arguments: dict[str, Any]) -> Answer:
        if self.session:
            return await self.client.call(name, arguments)
        params = {"name": name, "arguments": arguments}
        return await send_sessionless(self.client.endpoint, "tools/call", params, headers=as_ann())


@pytest.fixture(params=["session", "alone"])
def ask(request: pytest.FixtureRequest, client: AnnsClient) -> Eliciting:
    return Eliciting(client, client.short_id if request.param == "session" else "")


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
    ask: Eliciting, received: list[Any], name: str, arguments: dict[str, Any], outcome: str
) -> None:
    await ask(name, arguments)
    event = only(received, ToolCalled)
    assert (event.tool, event.outcome, event.session) == (name, outcome, ask.session)
    assert (event.principal, event.address, event.arguments) == (ANN, "127.0.0.1", None)
    assert 0 <= event.seconds < 5


@pytest.mark.parametrize("leaves", ["cancels", "closes"])
async def test_a_client_leaves_a_call(client: AnnsClient, gate: Gate, received: list[Any], leaves: str) -> None:
    if leaves == "cancels":
        await client.call("wait", id=5)
        await gate.wait(gate.entered)
        await client.notify("notifications/cancelled", {"requestId": 5})
    else:
        meta = {"progressToken": "p"}
        answer = await send_sessionless(client.endpoint, "tools/call", named("wait"), meta=meta, headers=as_ann())
        assert await answer.message()
        answer.close()
    await gate.wait(gate.left)
    await until(lambda: not client.endpoint.pool.nodes[0].registry.running)
    event = only(received, ToolCalled)
    session = client.short_id if leaves == "cancels" else ""
    assert (event.tool, event.outcome, event.session) == ("wait", "cancelled", session)


async def test_what_is_no_call_is_not_told(client: AnnsClient, received: list[Any]) -> None:
    await client.request("ping")
    await client.request("tools/list")
    signals.settle()
    assert received == []


async def test_each_call_of_a_batch_is_told(endpoint: Endpoint, received: list[Any]) -> None:
    client = AnnsClient(endpoint, "2025-03-26")
    await client.open()
    await client.post([request("tools/call", named("add", a=1, b=number), id=number) for number in range(3)])
    signals.settle()
    assert [event.outcome for event in received if isinstance(event, ToolCalled)] == ["ok"] * 3


async def test_seconds_are_measured(
    settings: Any, gate: Gate, received: list[Any], monkeypatch: pytest.MonkeyPatch
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
    await endpoint.pool.stop()
    signals.settle()
    assert (received[-1].seconds, received[-1].when) == (2.5, clock.now())


@pytest.mark.parametrize(("setting", "kept"), [(False, None), (True, {"a": 1, "b": 2})])
async def test_arguments_are_told_if_the_settings_ask_for_them(
    settings: Any, ask: Eliciting, received: list[Any], setting: bool, kept: Any
) -> None:
    settings.MCP_TRANSPORT = {**OPEN, "AUDIT_ARGUMENTS": setting}
    await ask("add", {"a": 1, "b": 2})
    assert only(received, ToolCalled).arguments == kept


# -- refusals --------------------------------------------------------------------------------------------


@dataclass
class Refused:
    """A request that is refused, and what is told of it."""

    status: int
    event: dict[str, Any]
    method: str = "POST"
    tool: str = "add"
    settings: dict[str, Any] = field(default_factory=lambda: CLOSED)
    headers: dict[str, str | None] = field(default_factory=as_ann)


NOBODY = {"principal": ANONYMOUS, "operation": "POST", "name": "", "address": "127.0.0.1"}
MISSING, INVALID = "credentials are required: authenticate", "the credentials are not valid here: get new ones"
REFUSED = {
    "no credentials": Refused(401, {**NOBODY, "reason": MISSING}, headers={}),
    "GET": Refused(401, {**NOBODY, "operation": "GET", "reason": MISSING}, "GET", headers={}),
    "DELETE": Refused(401, {**NOBODY, "operation": "DELETE", "reason": MISSING}, "DELETE", headers={}),
    "wrong token": Refused(401, {**NOBODY, "reason": INVALID}, headers={"authorization": "Bearer stolen"}),
    "unknown scheme": Refused(401, {**NOBODY, "reason": INVALID}, headers={"authorization": "Digest stolen"}),
    "a scope that every request needs": Refused(
        403, {"principal": ANN, "operation": "POST"}, settings={**CLOSED, "REQUIRED_SCOPES": ["base"]}
    ),
    "foreign Origin": Refused(403, {**NOBODY}, headers=as_ann(origin="https://evil.example")),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
async def test_refusal_is_told_without_the_credentials(settings: Any, received: list[Any], refused: Refused) -> None:
    settings.MCP_TRANSPORT = refused.settings
    endpoint = bootstrap.endpoint()
    if refused.method == "POST":
        answer = await send_sessionless(endpoint, "tools/call", named(refused.tool), headers=refused.headers)
    else:
        answer = await send(endpoint, refused.method, headers=refused.headers)
    assert answer.status == refused.status
    event = only(received, AccessDenied)
    assert {name: getattr(event, name) for name in refused.event} == refused.event
    assert "stolen" not in repr(event)
    assert ("Origin" in event.reason) is ("origin" in refused.headers)


@pytest.mark.parametrize(
    ("tool", "reason"),
    [
        ("write", "the credentials lack a scope: this needs write"),
        ("secret", "it may not be used by this caller"),  # which is hidden, and no call
    ],
)
async def test_a_tool_that_may_not_be_called_is_told_as_a_refusal(
    ask: Eliciting, received: list[Any], tool: str, reason: str
) -> None:
    answer = await ask(tool, {})
    assert (answer.status == 403) is (tool == "write")
    assert tool == "write" or answer.json["error"]["message"] == "Unknown tool: secret"
    event = only(received, AccessDenied)
    assert (event.principal, event.operation, event.name, event.reason) == (ANN, "tools/call", tool, reason)


async def test_other_faults_are_no_refusals(client: AnnsClient, endpoint: Endpoint, received: list[Any]) -> None:
    assert (await send(endpoint, raw=b"{")).status == 400
    assert (await send(endpoint, headers={"host": "evil.example"}, body={})).status == 400
    assert (await client.request("ping", headers={"mcp-session-id": "unknown"})).status == 404
    signals.settle()
    assert received == []


async def test_no_event_tells_a_secret(endpoint: Endpoint, received: list[Any]) -> None:
    client = AnnsClient(endpoint)
    await client.open()
    await client.call("add", {"a": 1, "b": 2})
    await client.call("secret")
    await client.delete()
    signals.settle()
    assert [type(event) for event in received] == [SessionOpened, ToolCalled, AccessDenied, SessionClosed]
    for secret in (SECRET, client.session_id, session_key(client.session_id)):
        assert secret not in repr(received)
