"""The ASGI adapter where it does more than translate: time limits, leaving, stopping, and what it passes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from django.test import override_settings

from mcp_transport.asgi import mount
from mcp_transport.bootstrap import endpoint
from tests.adapters.refusals import ECHO, SINGLES
from tests.support.inprocess import Direct, Message, Visit, scope_of
from tests.support.requests import Session, call, fresh, text
from tests.support.served import application
from tests.support.site import settings as site
from tests.support.wire import HOST, PATIENCE, Carrier, Request

InProcess = Callable[[str], Carrier]
_SHORT = 0.05


@asynccontextmanager
async def configured(**changes: Any) -> AsyncIterator[None]:
    """Serve with changed settings."""
    with override_settings(MCP_TRANSPORT={**site.MCP_TRANSPORT, **changes}):
        try:
            yield
        finally:
            await endpoint().stop()


@pytest.fixture
def inner() -> list[Message]:
    """Collect the scopes that the mount passes on."""
    return []


def mounted_on(passed: list[Message], path: str = "/mcp") -> Any:
    """Mount the endpoint in front of an application that only notes what it is called with."""

    async def remember(scope: Message, receive: Any, send: Any) -> None:
        passed.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 299, "headers": []})
            await send({"type": "http.response.body", "body": b"inner"})

    return mount(remember, path=path)


async def ended(visit: Visit) -> None:
    """Wait for the application's end; whether it raises then is the server's affair."""
    done, _ = await asyncio.wait([visit.task], timeout=PATIENCE)
    visit.task.cancel()
    assert done, "the application goes on"
    with suppress(TimeoutError, asyncio.CancelledError):
        visit.task.result()


# -- the body ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arrived", [[], [b'{"jsonrpc"'], [b"{", b'"id"']])
async def test_body_that_stalls_is_answered_with_408(in_process: InProcess, arrived: list[bytes]) -> None:
    in_process("mounted")
    async with configured(BODY_TIMEOUT_SECONDS=_SHORT):
        visit = Visit(application("mounted"), scope_of(ECHO), body=())
        for chunk in arrived:
            visit.receives({"type": "http.request", "body": chunk, "more_body": True})
        await visit.read_head()
        assert visit.status == 408
        assert (await visit.json())["error"]["code"] == -32600
        await visit.end()


async def test_client_that_neither_sends_nor_reads_is_given_up(in_process: InProcess) -> None:
    in_process("mounted")
    async with configured(BODY_TIMEOUT_SECONDS=_SHORT, WRITE_TIMEOUT_SECONDS=_SHORT):
        visit = Visit(application("mounted"), scope_of(ECHO), body=())
        visit.stuck_at = 0
        await ended(visit)
        assert visit.sent == 1


@pytest.mark.parametrize("arrived", [[], [ECHO.body[:9]]])
async def test_client_that_leaves_within_its_body_gets_nothing(in_process: InProcess, arrived: list[bytes]) -> None:
    in_process("mounted")
    visit = Visit(application("mounted"), scope_of(ECHO), body=())
    for chunk in arrived:
        visit.receives({"type": "http.request", "body": chunk, "more_body": True})
    await visit.end()
    assert visit.sent == 0


async def test_cut_body_calls_no_tool_even_when_it_is_complete_json(in_process: InProcess) -> None:
    carrier, name = in_process("mounted"), fresh()
    request = call("slow", name=name)
    visit = Visit(application("mounted"), scope_of(request), body=())
    visit.receives({"type": "http.request", "body": request.body, "more_body": True})
    await visit.end()
    assert visit.sent == 0
    assert await text(carrier, call("echo", text="later")) == "later"  # an earlier call would run by now
    assert await text(carrier, call("calls", name=name)) == "0"


@pytest.mark.parametrize(
    "name", ["content type", "accept", "PUT", "foreign host", "foreign origin", "doubled header"]
)
async def test_refusal_does_not_wait_for_the_body(in_process: InProcess, name: str) -> None:
    in_process("mounted")
    visit = Visit(application("mounted"), scope_of(SINGLES[name].request), body=())
    await visit.read_head()
    assert visit.status == SINGLES[name].status
    await visit.end()


async def test_declared_length_is_refused_before_the_body(in_process: InProcess) -> None:
    in_process("mounted")
    visit = Visit(application("mounted"), scope_of(SINGLES["declared body too large"].request), body=())
    await visit.read_head()
    assert visit.status == 413
    await visit.end()


async def test_body_is_refused_at_the_first_byte_too_many(in_process: InProcess) -> None:
    in_process("mounted")
    request = Request(headers=ECHO.headers, chunks=(b"x",))
    visit = Visit(application("mounted"), scope_of(request), body=())
    visit.receives({"type": "http.request", "body": b" " * 16_384, "more_body": True})
    visit.receives({"type": "http.request", "body": b" ", "more_body": True})
    await visit.read_head()
    assert visit.status == 413
    await visit.end()


# -- a client that does not read ---------------------------------------------------------------------


@pytest.mark.parametrize("stuck_at", [0, 1, 2])
async def test_sessionless_stream_that_nobody_reads_ends_and_cancels(in_process: InProcess, stuck_at: int) -> None:
    carrier, name = in_process("mounted"), fresh()
    async with configured(WRITE_TIMEOUT_SECONDS=_SHORT, KEEPALIVE_SECONDS=_SHORT):
        visit = Visit(application("mounted"), scope_of(request := call("slow", name=name)), (request.body,))
        visit.stuck_at = stuck_at
        await ended(visit)
        answer = await carrier.send(call("journal", name=name, until="cancelled"))
        assert (await answer.outcome())["result"]["structuredContent"]["result"] == ["cancelled", "started"]


@pytest.mark.parametrize("stuck_at", [0, 1, 2])
async def test_session_stream_that_nobody_reads_ends_and_can_be_resumed(in_process: InProcess, stuck_at: int) -> None:
    carrier, gate = in_process("mounted"), fresh()
    async with configured(WRITE_TIMEOUT_SECONDS=_SHORT):
        session = await Session.open(carrier)
        request = session.call("count", steps=2, gate=gate)
        visit = Visit(application("mounted"), scope_of(request), (request.body,))
        visit.stuck_at = stuck_at
        await ended(visit)
        assert await text(carrier, call("held", session_id=session.id)) == "0"
        again = await carrier.send(request)  # the same POST: joins the running call from its beginning
        for step in (1, 2):
            assert (await again.message())["params"]["progress"] == step
            assert await text(carrier, call("proceed", gate=gate)) == "open"
        assert await again.text() == "counted"


async def test_last_message_of_a_stream_is_not_waited_for_without_end(in_process: InProcess) -> None:
    in_process("mounted")
    async with configured(WRITE_TIMEOUT_SECONDS=_SHORT):
        visit = Visit(application("mounted"), scope_of(request := call("chatter")), (request.body,))
        visit.stuck_at = 4  # the start, two times progress, the answer, and then the end
        await ended(visit)
        assert visit.sent == 5


# -- leaving and stopping ----------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["slow", "silent"])
async def test_leaving_ends_the_application_quietly(in_process: InProcess, tool: str) -> None:
    carrier, name = in_process("mounted"), fresh()
    visit = Visit(application("mounted"), scope_of(request := call(tool, name=name)), (request.body,))
    await carrier.send(call("journal", name=name, until="started"))
    await visit.end()
    assert visit.task.result() is None
    assert visit.task.cancelling() == 0


@pytest.mark.parametrize("tool", ["slow", "silent"])
async def test_server_that_stops_is_not_taken_for_a_client_that_left(in_process: InProcess, tool: str) -> None:
    carrier, name = in_process("mounted"), fresh()
    visit = Visit(application("mounted"), scope_of(request := call(tool, name=name)), (request.body,))
    await carrier.send(call("journal", name=name, until="started"))
    visit.task.cancel()
    await ended(visit)
    assert visit.task.cancelled()
    answer = await carrier.send(call("journal", name=name, until="cancelled"))
    assert (await answer.outcome())["result"]["structuredContent"]["result"] == ["cancelled", "started"]


async def test_server_that_stops_lets_a_session_stream_go(in_process: InProcess) -> None:
    carrier = in_process("mounted")
    session = await Session.open(carrier)
    visit = Visit(application("mounted"), scope_of(session.get()))
    await visit.read_head()
    await visit.frame()
    visit.task.cancel()
    await ended(visit)
    assert visit.task.cancelled()
    assert await text(carrier, call("held", session_id=session.id)) == "0"


# -- what is passed on -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_other_scopes_are_passed_on(project: None, inner: list[Message], kind: str) -> None:
    scope = {"type": kind, "path": "/mcp"}
    visit = Visit(mounted_on(inner), scope)
    await ended(visit)
    assert inner == [scope]


async def test_other_paths_are_passed_on_untouched(project: None, inner: list[Message]) -> None:
    scope = scope_of(Request(method="GET", path="/mcp/other"), root_path="/api")
    visit = Visit(mounted_on(inner), scope)
    await visit.read_head()
    assert (visit.status, await visit.read()) == (299, b"inner")
    assert inner == [scope] and inner[0] is scope
    await visit.end()


@pytest.mark.parametrize(
    ("root_path", "path", "status"),
    [
        ("", "/mcp", 200),
        ("", "/mcp/", 200),
        ("/api", "/api/mcp", 200),
        ("/api", "/api/mcp/", 200),
        ("/api", "/mcp", 200),  # daphne does not put the root in front of the path
        ("/mcp", "/mcp/mcp", 200),
        ("/m", "/mcp", 200),  # a root is made of whole segments
        ("", "/mcp//", 299),
        ("", "/MCP", 299),
        ("", "/api/mcp", 299),
        ("/api", "/apimcp", 299),
    ],
)
async def test_endpoint_is_found_below_the_root_path(
    in_process: InProcess, inner: list[Message], root_path: str, path: str, status: int
) -> None:
    in_process("mounted")
    visit = Visit(mounted_on(inner), scope_of(ECHO, path=path, root_path=root_path), (ECHO.body,))
    await visit.read_head()
    assert visit.status == status
    await visit.end()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health"])
async def test_health_is_found_below_the_root_path(in_process: InProcess, inner: list[Message], path: str) -> None:
    in_process("mounted")
    probe = Request(method="GET", path="/api" + path, headers=(HOST,))
    visit = Visit(mounted_on(inner), scope_of(probe, root_path="/api"))
    await visit.read_head()
    assert (visit.status, await visit.json()) == (200, {"status": "ok"})
    await visit.end()


@pytest.mark.parametrize("written", ["/tools/mcp", "/tools/mcp/"])
async def test_mount_path_is_the_projects_choice(in_process: InProcess, inner: list[Message], written: str) -> None:
    in_process("mounted")
    direct = Direct(mounted_on(inner, written))
    for path, status in [("/tools/mcp", 200), ("/tools/mcp/", 200), ("/mcp", 299)]:
        answer = await direct.send(Request(path=path, headers=ECHO.headers, body=ECHO.body))
        assert answer.status == status
    await direct.close()


async def test_user_of_the_scope_is_the_caller(in_process: InProcess) -> None:
    from django.contrib.auth import get_user_model

    in_process("mounted")
    user = get_user_model()(pk=7, username="cat")
    visit = Visit(application("mounted"), scope_of(request := call("whoami"), user=user), (request.body,))
    await visit.read_head()
    assert await visit.text() == "cat"
    await visit.end()


async def test_client_without_an_address_is_served(in_process: InProcess) -> None:
    in_process("mounted")  # a unix socket has none
    visit = Visit(application("mounted"), scope_of(ECHO, client=None), (ECHO.body,))
    await visit.read_head()
    assert visit.status == 200
    await visit.end()


# -- the method ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ["mounted", "asgi", "wsgi"])
async def test_a_long_method_is_repeated_in_part(
    in_process: InProcess, adapter: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mcp_transport")
    answer = await in_process(adapter).send(replace(ECHO, method="Q" * 50_000))
    assert answer.status == 405
    assert max(len(record.getMessage()) for record in caplog.records) < 300
