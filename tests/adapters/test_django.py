"""The view among what Django and a cautious project put around views."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import include, path, reverse

from tests.adapters.refusals import ECHO
from tests.support.http.inprocess import Direct
from tests.support.http.messages import SESSIONLESS, call
from tests.support.http.request import BOTH, Request
from tests.support.served import InProcess

_HEADERS = {
    "accept": BOTH,
    "mcp-protocol-version": SESSIONLESS,
    "mcp-method": "tools/call",
}


async def _ordinary(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ordinary")


urlpatterns = [
    path("mcp/", include("mcp_transport.urls")),
    path("api/v1/mcp", include("mcp_transport.urls")),
    path("ordinary", _ordinary),
]


def posted(client: Any, tool: str = "echo", **arguments: Any) -> Any:
    """Call a tool by one of Django's test clients."""
    body, headers = call(tool, **arguments).body, {**_HEADERS, "mcp-name": tool}
    return client.post("/mcp", body, content_type="application/json", headers=headers)


def test_body_may_be_larger_than_django_lets_forms_be(project_without_database: None) -> None:
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=10):
        answer = posted(Client(enforce_csrf_checks=True), text="x")
    assert (answer.status_code, answer.json()["result"]["content"][0]["text"]) == (200, "x")


def test_logged_in_test_client_is_the_caller(project: None) -> None:
    client = Client()
    client.force_login(get_user_model().objects.create_user("dan"))
    assert posted(client, "whoami").json()["result"]["content"][0]["text"] == "dan"


async def test_async_test_client_reads_a_stream(in_process: InProcess) -> None:
    answer: Any = await posted(AsyncClient(enforce_csrf_checks=True), "chatter")
    frames = [frame async for frame in answer.streaming_content]
    assert [frame.count(b"data: ") for frame in frames] == [1, 1, 1]
    assert b"said" in frames[-1]


async def test_settings_around_the_endpoint_are_in_force_elsewhere(project: None) -> None:
    """What the endpoint is exempt from does refuse an ordinary view: the other tests prove something."""
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
    with override_settings(ROOT_URLCONF=__name__):
        carrier = Direct(ASGIHandler())
        answer = await carrier.send(Request(path=written, headers=ECHO.headers, body=ECHO.body))
        assert answer.status == 200, await answer.read()
        await carrier.close()


def test_endpoint_has_a_name(project_without_database: None) -> None:
    assert reverse("mcp_transport:endpoint") == "/mcp"


async def test_response_never_read_cancels_its_handler(transactional_db: None, in_process: InProcess) -> None:
    """A middleware may throw a streaming response away; closing it must do."""
    answer = await posted(AsyncClient(), "slow", name="thrown-away")
    assert answer.streaming
    await sync_to_async(answer.close)()
    seen = await (await in_process("view").send(call("journal", name="thrown-away", until="cancelled"))).outcome()
    assert seen["result"]["structuredContent"]["result"] == ["cancelled", "started"]
