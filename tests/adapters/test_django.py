"""The view among what Django and a cautious project put around views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import include, path, reverse

from mcp_transport.bootstrap import endpoint
from tests.adapters.refusals import ECHO
from tests.support.inprocess import Direct
from tests.support.requests import SESSIONLESS, alone, call
from tests.support.wire import BOTH, Carrier, Request

InProcess = Callable[[str], Carrier]
_HEADERS = {
    "accept": BOTH,
    "mcp-protocol-version": SESSIONLESS,
    "mcp-method": "tools/call",
    "mcp-name": "echo",
}


async def _ordinary(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ordinary")


urlpatterns = [
    path("mcp/", include("mcp_transport.urls")),
    path("api/v1/mcp", include("mcp_transport.urls")),
    path("ordinary", _ordinary),
]


async def test_async_test_client_calls_a_tool(in_process: InProcess) -> None:
    in_process("view")
    client = AsyncClient(enforce_csrf_checks=True)
    answer = await client.post("/mcp", ECHO.body, content_type="application/json", headers=_HEADERS)
    assert (answer.status_code, answer.json()["result"]["content"][0]["text"]) == (200, "x")


async def test_async_test_client_reads_a_stream(in_process: InProcess) -> None:
    in_process("view")
    request = call("chatter")
    answer = await AsyncClient().post(
        "/mcp", request.body, content_type="application/json", headers={**_HEADERS, "mcp-name": "chatter"}
    )
    frames = [frame async for frame in answer.streaming_content]
    assert [frame.count(b"data: ") for frame in frames] == [1, 1, 1]
    assert b"said" in frames[-1]


def test_test_client_calls_a_tool(project: None) -> None:
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/mcp", ECHO.body, content_type="application/json", headers=_HEADERS)
    assert (answer.status_code, answer.json()["result"]["content"][0]["text"]) == (200, "x")


def test_logged_in_test_client_is_the_caller(project: None) -> None:
    client = Client()
    client.force_login(get_user_model().objects.create_user("dan"))
    answer = client.post(
        "/mcp", call("whoami").body, content_type="application/json", headers={**_HEADERS, "mcp-name": "whoami"}
    )
    assert answer.json()["result"]["content"][0]["text"] == "dan"


def test_body_may_be_larger_than_django_lets_forms_be(project: None) -> None:
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=10):
        answer = Client().post("/mcp", ECHO.body, content_type="application/json", headers=_HEADERS)
    assert answer.status_code == 200


async def test_settings_around_the_endpoint_are_in_force_elsewhere(in_process: InProcess) -> None:
    """What the endpoint is exempt from does refuse an ordinary view: the other tests prove something."""
    in_process("view")
    with override_settings(ROOT_URLCONF=__name__):
        client = AsyncClient(enforce_csrf_checks=True, raise_request_exception=False)
        asked = await client.get("/ordinary")
        assert asked.status_code == 302  # to the login page
        await sync_to_async(client.force_login)(await sync_to_async(get_user_model().objects.create_user)("eve"))
        posted = await client.post("/ordinary", b"{}", content_type="application/json")
        assert posted.status_code == 403  # CSRF
        asked = await client.get("/ordinary")
        assert asked.status_code == 500  # ATOMIC_REQUESTS


@pytest.mark.parametrize("written", ["/mcp/", "/api/v1/mcp", "/api/v1/mcp/"])
async def test_endpoint_lies_where_the_project_puts_it(in_process: InProcess, written: str) -> None:
    in_process("view")
    with override_settings(ROOT_URLCONF=__name__):
        carrier = Direct(ASGIHandler())
        answer = await carrier.send(Request(path=written, headers=ECHO.headers, body=ECHO.body))
        assert answer.status == 200, await answer.read()
        await carrier.close()


def test_endpoint_has_a_name(project: None) -> None:
    assert reverse("mcp_transport:endpoint") == "/mcp"


async def test_answer_says_no_content_type_without_content(in_process: InProcess) -> None:
    carrier = in_process("view")
    answer = await carrier.send(Request(method="OPTIONS", headers=(("Host", "localhost"),)))
    assert (answer.status, answer.header("content-type")) == (204, None)


async def test_response_never_read_cancels_its_handler(in_process: InProcess) -> None:
    """A middleware may throw a streaming response away; closing it must do."""
    carrier = in_process("view")
    request: Any = call("slow", name="thrown-away")
    client = AsyncClient()
    answer = await client.post(
        "/mcp", request.body, content_type="application/json", headers={**_HEADERS, "mcp-name": "slow"}
    )
    assert answer.streaming
    await sync_to_async(answer.close)()
    seen = await (await carrier.send(call("journal", name="thrown-away", until="cancelled"))).outcome()
    assert seen["result"]["structuredContent"]["result"] == ["cancelled", "started"]


async def test_discovery_names_the_project(in_process: InProcess) -> None:
    carrier = in_process("view")
    outcome = await (await carrier.send(alone("server/discover", {}))).outcome()
    assert outcome["result"]["supportedVersions"] == [SESSIONLESS]
    assert endpoint().policy.max_request_bytes == 16_384
