"""Calls in flight listed and cancelled over the REST API, while they run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient
from rest_framework.authentication import BaseAuthentication
from rest_framework.test import APIClient

from mcp_transport import bootstrap, tool
from mcp_transport.api.base import OperatorView
from mcp_transport.domain.session import session_key
from tests.api.conftest import ROOT, record, store
from tests.support.client import SessionClient, until

pytestmark = pytest.mark.usefixtures("shared_cache")


class Hanging:
    """A tool that runs until it is cancelled, and the client that calls it."""

    def __init__(self, client: SessionClient) -> None:
        self.client, self.begun, self.ended = client, asyncio.Queue[str](), list[str]()
        self.url = f"{ROOT}sessions/{session_key(client.session_id)}/"

    async def call(self, id: Any, thing: str = "canary") -> asyncio.Task[Any]:
        """Begin a call, and return when it runs."""
        task = asyncio.ensure_future(self.client.call("hang", {"thing": thing}, id))
        async with asyncio.timeout(60):
            assert await self.begun.get() == thing
        return task

    async def calls_but(self, id: Any, client: APIClient) -> list[dict[str, Any]]:
        """Return the calls that run, as soon as one has left the books, which it does behind its answer."""
        async with asyncio.timeout(60):
            while True:
                calls: list[dict[str, Any]] = (await ask(client, "GET", f"{self.url}calls/")).json()["results"]
                if id not in [call["request_id"] for call in calls]:
                    return calls


@pytest.fixture
def memory(settings: Any) -> None:
    settings.MCP_TRANSPORT = {"BACKEND": "memory"}


@pytest.fixture
async def hanging(declarations: Any) -> AsyncIterator[Hanging]:
    @tool(read_only=True)
    async def hang(thing: str) -> str:
        made.begun.put_nowait(thing)
        try:
            await asyncio.Event().wait()
        finally:
            made.ended.append(thing)
        return "never"

    endpoint = bootstrap.endpoint()
    client = SessionClient(endpoint)
    await client.open()
    made = Hanging(client)
    yield made
    await endpoint.pool.stop()


async def ask(client: APIClient, method: str, path: str, body: Any = None) -> Any:
    """Ask from another thread, as an ASGI server would, while this loop serves."""
    content = "" if body is None else json.dumps(body)
    return await sync_to_async(client.generic)(method, path, content, "application/json")


async def test_running_calls_are_listed_without_what_they_were_called_with(
    hanging: Hanging, superuser: APIClient
) -> None:
    tasks = [await hanging.call(7), await hanging.call("7")]
    answer = await ask(superuser, "GET", f"{hanging.url}calls/")
    calls = answer.json()["results"]
    assert [call["request_id"] for call in calls] == [7, "7"]
    assert {tuple(call) for call in calls} == {("request_id", "operation", "node", "started", "safe")}
    assert {call["operation"] for call in calls} == {"tools/call hang"}
    detail = await ask(superuser, "GET", hanging.url)
    assert detail.json()["state"] == "busy"
    assert detail.json()["calls"] == calls
    assert b"canary" not in answer.content + detail.content
    for call in calls:
        await ask(superuser, "POST", f"{hanging.url}calls/cancel/", {"request_id": call["request_id"]})
    await until(lambda: len(hanging.ended) == 2)
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(("cancelled", "left"), [(7, "7"), ("7", 7)])
async def test_a_call_is_cancelled_and_another_one_goes_on(
    cancelled: Any, left: Any, hanging: Hanging, superuser: APIClient, caplog: Any
) -> None:
    tasks = {id: await hanging.call(id, repr(id)) for id in (7, "7")}
    with caplog.at_level("INFO", "mcp_transport.api"):
        answer = await ask(superuser, "POST", f"{hanging.url}calls/cancel/", {"request_id": cancelled})
    assert (answer.status_code, answer.content) == (204, b"")
    assert "user 9999 cancelled a call of session" in caplog.text
    await tasks[cancelled]
    assert hanging.ended == [repr(cancelled)]
    assert [call["request_id"] for call in await hanging.calls_but(cancelled, superuser)] == [left]
    again = await ask(superuser, "POST", f"{hanging.url}calls/cancel/", {"request_id": cancelled})
    assert again.status_code == 404
    assert (await ask(superuser, "DELETE", hanging.url)).status_code == 204
    await tasks[left]
    assert hanging.ended == [repr(cancelled), repr(left)]


def test_call_that_does_not_run_is_unknown(superuser: APIClient) -> None:
    store(record(1))
    url = f"{ROOT}sessions/{record(1).key}/calls/cancel/"
    for request_id in (7, "7", "", 10**30, -1, "\ud800", "a" * 256):
        answer = superuser.generic("POST", url, json.dumps({"request_id": request_id}), "application/json")
        assert (answer.status_code, answer.json()) == (404, {"detail": "No such call is running in this session."})


ODD_IDS = ["null", "true", "7.0", "[7]", '{"a": 1}', "NaN", f'"{"a" * 257}"', f'"{"a" * 5000}"', "[" * 4000]
ODD_BODIES = ["", "{", "[]", "7", "null", "{}", "[" * 4000, '{"request_id": 7}' + " " * 4096, b"\xff", b"\x00"]


def test_odd_body_is_refused(superuser: APIClient) -> None:
    store(record(1))
    url = f"{ROOT}sessions/{record(1).key}/calls/cancel/"
    for body in (*ODD_BODIES, *(f'{{"request_id": {id}}}' for id in ODD_IDS)):
        assert superuser.generic("POST", url, body, "application/json").status_code == 400, body[:30]
    for kind in ("text/plain", "multipart/form-data; boundary=a", "application/x-www-form-urlencoded"):
        assert superuser.generic("POST", url, "request_id=7", kind).status_code == 415


class Root(BaseAuthentication):  # type: ignore[misc]
    """Takes every caller for a superuser, and asks no database."""

    def authenticate(self, request: Any) -> Any:
        return User(pk=9999, username="root", is_superuser=True), None


async def test_process_of_an_asgi_server_cancels_its_own_calls(
    memory: None, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OperatorView, "authentication_classes", [Root])
    task = await hanging.call(7)
    client = AsyncClient()
    assert (await client.get(f"{hanging.url}calls/")).json()["results"][0]["request_id"] == 7
    answer = await client.post(f"{hanging.url}calls/cancel/", {"request_id": 7}, content_type="application/json")
    assert answer.status_code == 204
    await task
    assert hanging.ended == ["canary"]
