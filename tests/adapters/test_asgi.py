"""The ASGI adapter where it does more than translate: time limits, leaving, stopping, and what it passes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import override_settings

from mcp_transport.asgi import mount
from mcp_transport.bootstrap import endpoint
from tests.adapters.refusals import ECHO, SINGLES
from tests.support.http.answer import PATIENCE
from tests.support.http.carrier import Carrier
from tests.support.http.client import open_session, text
from tests.support.http.inprocess import Message, Visit, scope_of
from tests.support.http.messages import call, fresh
from tests.support.http.request import HOST, Request
from tests.support.served import InProcess, application
from tests.support.site import settings as site

_SHORT = 0.05


@asynccontextmanager
async def configured(**changes: Any) -> AsyncIterator[None]:
    """Serve with changed settings."""
    with override_settings(MCP_TRANSPORT={**site.MCP_TRANSPORT, **changes}):
        try:
            yield
        finally:
            await endpoint().pool.stop()


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


@pytest.fixture
def carrier(in_process: InProcess) -> Carrier:
    """Call the mount."""
    return in_process("mounted")


pytestmark = pytest.mark.usefixtures("carrier")


def visit(request: Request, *arrived: bytes, **scope: Any) -> Visit:
    """Begin a request of which only these pieces of the body arrive."""
    begun = Visit(application("mounted"), scope_of(request, **scope), body=())
    for chunk in arrived:
        begun.receives({"type": "http.request", "body": chunk, "more_body": True})
    return begun


def visit_whole(request: Request, stuck_at: int | None = None, **scope: Any) -> Visit:
    """Begin a request whose whole body has arrived."""
    begun = Visit(application("mounted"), scope_of(request, **scope), (request.body,))
    begun.stuck_at = stuck_at
    return begun


async def status_of(begun: Visit) -> int:
    """Return the status of the answer, and leave."""
    await begun.read_head()
    await begun.end()
    return begun.status


async def happened(carrier: Carrier, name: str, until: str) -> list[str]:
    """Wait until something has happened to a call; return all that has."""
    answer = await carrier.send(call("journal", name=name, until=until))
    events: list[str] = (await answer.outcome())["result"]["structuredContent"]["result"]
    return events


# -- the body ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arrived", [[], [b"{", b'"id"']])
async def test_body_that_stalls_is_answered_with_408(arrived: list[bytes]) -> None:
    async with configured(BODY_TIMEOUT_SECONDS=_SHORT):
        assert await status_of(begun := visit(ECHO, *arrived)) == 408
        assert (await begun.json())["error"]["code"] == -32600


async def test_client_that_neither_sends_nor_reads_is_given_up() -> None:
    async with configured(BODY_TIMEOUT_SECONDS=_SHORT, WRITE_TIMEOUT_SECONDS=_SHORT):
        begun = visit(ECHO)
        begun.stuck_at = 0
        await ended(begun)
        assert begun.sent == 1


@pytest.mark.parametrize("arrived", [[], [ECHO.body[:9]]])
async def test_client_that_leaves_within_its_body_gets_nothing(arrived: list[bytes]) -> None:
    await (begun := visit(ECHO, *arrived)).end()
    assert begun.sent == 0


async def test_cut_body_calls_no_tool_even_when_it_is_complete_json(carrier: Carrier) -> None:
    request = call("slow", name=(name := fresh()))
    await (begun := visit(request, request.body)).end()
    assert begun.sent == 0
    assert await text(carrier, call("echo", text="later")) == "later"  # an earlier call would run by now
    assert await text(carrier, call("calls", name=name)) == "0"


EARLY = (
    "content type",
    "accept",
    "PUT",
    "foreign host",
    "foreign origin",
    "doubled header",
    "declared body too large",
)


@pytest.mark.parametrize("name", EARLY)
async def test_refusal_does_not_wait_for_the_body(name: str) -> None:
    assert await status_of(visit(SINGLES[name].request)) == SINGLES[name].status


async def test_body_is_refused_at_the_first_byte_too_many() -> None:
    request = Request(headers=ECHO.headers, chunks=(b"x",))
    assert await status_of(visit(request, b" " * 16_384, b" ")) == 413


# -- a client that does not read ---------------------------------------------------------------------


@pytest.mark.parametrize("stuck_at", [0, 1, 2])
async def test_sessionless_stream_that_nobody_reads_ends_and_cancels(
    carrier: Carrier, transactional_db: None, stuck_at: int
) -> None:
    name = fresh()
    async with configured(WRITE_TIMEOUT_SECONDS=_SHORT, KEEPALIVE_SECONDS=_SHORT):
        await ended(visit_whole(call("slow", name=name), stuck_at))
        assert await happened(carrier, name, "cancelled") == ["cancelled", "started"]


@pytest.mark.parametrize("stuck_at", [0, 1, 2])
async def test_session_stream_that_nobody_reads_ends_and_can_be_resumed(carrier: Carrier, stuck_at: int) -> None:
    async with configured(WRITE_TIMEOUT_SECONDS=_SHORT):
        session, gate = await open_session(carrier), fresh()
        request = session.call("count", steps=2, gate=gate)
        await ended(visit_whole(request, stuck_at))
        assert await text(carrier, call("held", session_id=session.id)) == "0"
        again = await carrier.send(request)  # the same POST: joins the running call from its beginning
        for step in (1, 2):
            assert (await again.message())["params"]["progress"] == step
            assert await text(carrier, call("proceed", gate=gate)) == "open"
        assert await again.text() == "counted"


async def test_last_message_of_a_stream_is_not_waited_for_without_end() -> None:
    async with configured(WRITE_TIMEOUT_SECONDS=_SHORT):
        begun = visit_whole(call("chatter"), 4)  # the start, two times progress, the answer, and then the end
        await ended(begun)
        assert begun.sent == 5


# -- leaving and stopping ----------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["slow", "silent"])
async def test_leaving_ends_the_application_quietly(carrier: Carrier, transactional_db: None, tool: str) -> None:
    begun = visit_whole(call(tool, name=(name := fresh())))
    await happened(carrier, name, "started")
    await begun.end()
    assert begun.task.result() is None
    assert begun.task.cancelling() == 0


@pytest.mark.parametrize("tool", ["slow", "silent"])
async def test_server_that_stops_is_not_taken_for_a_client_that_left(
    carrier: Carrier, transactional_db: None, tool: str
) -> None:
    begun = visit_whole(call(tool, name=(name := fresh())))
    await happened(carrier, name, "started")
    begun.task.cancel()
    await ended(begun)
    assert begun.task.cancelled()
    assert await happened(carrier, name, "cancelled") == ["cancelled", "started"]


async def test_server_that_stops_lets_a_session_stream_go(carrier: Carrier) -> None:
    session = await open_session(carrier)
    begun = visit_whole(session.get())
    await begun.read_head()
    await begun.frame()
    begun.task.cancel()
    await ended(begun)
    assert begun.task.cancelled()
    assert await text(carrier, call("held", session_id=session.id)) == "0"


# -- what is passed on -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_other_scopes_are_passed_on(inner: list[Message], kind: str) -> None:
    scope = {"type": kind, "path": "/mcp"}
    await ended(Visit(mounted_on(inner), scope))
    assert inner == [scope]


async def test_other_paths_are_passed_on_untouched(inner: list[Message]) -> None:
    scope = scope_of(Request(method="GET", path="/mcp/other"), root_path="/api")
    begun = Visit(mounted_on(inner), scope)
    assert (await status_of(begun), await begun.read()) == (299, b"inner")
    assert inner == [scope] and inner[0] is scope


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
    inner: list[Message], root_path: str, path: str, status: int
) -> None:
    scope = scope_of(ECHO, path=path, root_path=root_path)
    assert await status_of(Visit(mounted_on(inner), scope, (ECHO.body,))) == status


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health"])
async def test_health_is_found_below_the_root_path(inner: list[Message], path: str) -> None:
    probe = Request(method="GET", path="/api" + path, headers=(HOST,))
    begun = Visit(mounted_on(inner), scope_of(probe, root_path="/api"))
    assert (await status_of(begun), await begun.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("written", ["/tools/mcp", "/tools/mcp/"])
async def test_mount_path_is_the_projects_choice(inner: list[Message], written: str) -> None:
    for path, status in [("/tools/mcp", 200), ("/tools/mcp/", 200), ("/mcp", 299)]:
        assert await status_of(Visit(mounted_on(inner, written), scope_of(ECHO, path=path), (ECHO.body,))) == status


async def test_user_of_the_scope_is_the_caller() -> None:
    begun = visit_whole(call("whoami"), user=get_user_model()(pk=7, username="cat"))
    await begun.read_head()
    assert await begun.text() == "cat"
    await begun.end()


async def test_client_without_an_address_is_served() -> None:
    assert await status_of(visit_whole(ECHO, client=None)) == 200  # a unix socket has none


# -- the method ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ["mounted", "asgi", "wsgi"])
async def test_a_long_method_is_repeated_in_part(
    in_process: InProcess, adapter: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mcp_transport")
    answer = await in_process(adapter).send(replace(ECHO, method="Q" * 50_000))
    assert answer.status == 405
    assert max(len(record.getMessage()) for record in caplog.records) < 300
