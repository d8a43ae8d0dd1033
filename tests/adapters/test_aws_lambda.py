"""A function of AWS Lambda: what it does in its time, and that nothing of an event outlives it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from django.test import override_settings
from django.urls import get_script_prefix

from mcp_transport import prewarm, tool
from mcp_transport.adapters.aws_events import read
from mcp_transport.adapters.aws_function import LambdaHandler
from mcp_transport.adapters.aws_lambda import lambda_handler
from mcp_transport.bootstrap import endpoint
from mcp_transport.exceptions import BackendError
from mcp_transport.signals import ToolCalled, tool_called
from mcp_transport.threads import borrowed_threads
from tests.support.aws_lambda import events
from tests.support.aws_lambda.carrier import Invoked
from tests.support.http.client import open_session, text
from tests.support.http.messages import alone, call, fresh
from tests.support.http.request import Request
from tests.support.site import settings as site

SHORT = 1.0
"""Seconds that a function has, in which nothing but a call that waits for ever does not end."""


@pytest_asyncio.fixture
async def function(project_without_database: None) -> AsyncIterator[Invoked]:
    carrier = Invoked("http")
    yield carrier
    await carrier.close()
    await endpoint().pool.stop()


async def left(function: Invoked) -> dict[str, Any]:
    """Return what is left of earlier events, but for what is permanent."""

    def look(handler: Any) -> dict[str, Any]:
        async def look() -> dict[str, Any]:
            node = await endpoint().pool.node()
            passing = asyncio.all_tasks() - node.tasks._permanent - {asyncio.current_task()}
            tasks = [task.get_name() for task in passing if "Supervised" not in repr(task)]
            return {
                "joined": node.has_joined,
                "calls": list(node.registry.running),
                "streams": list(node.registry.streams),
                "tasks": tasks,
                "threads": borrowed_threads(),
            }

        return {name: value for name, value in handler._loop.run_until_complete(look()).items() if value}

    return await function.run(look)


def sleep_since(when: float, handler: LambdaHandler) -> None:
    handler._last_event = when


# -- nothing outlives an event -----------------------------------------------------------------------


async def test_nothing_is_left_when_the_response_is_returned(function: Invoked) -> None:
    session = await open_session(function)
    requests = (session.call("add", a=1, b=2), call("add", a=1, b=2), session.call("chatter"), call("announce"))
    for request in (*requests, session.notify("notifications/initialized"), session.delete()):
        assert (await function.send(request)).status in (200, 202, 204)
        assert await left(function) == {}


@pytest.mark.parametrize("is_async", [True, False])
async def test_connections_of_a_call_are_closed_when_the_response_is_returned(
    transactional_db: None, function: Invoked, is_async: bool
) -> None:
    """As Django does after a request; the threads themselves stay for the next event."""
    used: list[Any] = []

    def look() -> str:
        """Query the database."""
        User.objects.count()
        used.append(connections["default"])
        assert used[-1].connection is not None
        return "queried"

    async def look_async() -> str:
        """Query the database."""
        return await sync_to_async(look)()

    tool(name="look")(look_async if is_async else look)
    for count in (1, 2):
        assert await text(function, call("look")) == "queried"
        assert len(used) == count and used[-1].connection is None
        assert await left(function) == {}


async def test_receivers_of_signals_have_got_the_event_when_the_response_is_returned(function: Invoked) -> None:
    seen: list[str] = []

    def receive(event: ToolCalled, **options: Any) -> None:
        time.sleep(0.05)  # longer than the response takes
        seen.append(event.tool)

    tool_called.connect(receive)
    try:
        for count in (1, 2):
            assert await text(function, call("echo", text="x")) == "x"
            assert seen == ["echo"] * count
    finally:
        tool_called.disconnect(receive)


@pytest.mark.parametrize("error", [BackendError("the store is away"), RuntimeError("a fault")])
async def test_response_is_returned_although_what_is_written_behind_is_not(
    function: Invoked, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    session = await open_session(function)

    async def fail() -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(endpoint().backend.sessions, "flush", fail)
        assert await text(function, session.call("echo", text="x")) == "x"
    assert (str(error) if isinstance(error, BackendError) else "a request could not be finished") in caplog.text
    assert await left(function) == {}
    assert await text(function, session.call("echo", text="y")) == "y"


async def test_connections_to_the_store_are_new_after_a_long_sleep(
    function: Invoked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await text(function, call("echo", text="x")) == "x"
    called: list[str] = []
    store = endpoint().backend.sessions

    async def away() -> None:
        called.append("ping")
        raise BackendError("the store is away")

    async def disconnect() -> None:
        called.append("disconnect")

    monkeypatch.setattr(store, "disconnect", disconnect)
    monkeypatch.setattr(store, "ping", away)
    for seconds, expected in ((30, []), (3600, ["disconnect", "ping"])):
        slept_since = time.time() - seconds
        await function.run(partial(sleep_since, slept_since))
        assert await text(function, call("echo", text="x")) == "x"
        assert called == expected


# -- the time of a function --------------------------------------------------------------------------


@pytest.mark.parametrize("in_session", [True, False])
async def test_call_that_outlives_its_function_ends_with_an_error_in_time(
    function: Invoked, in_session: bool
) -> None:
    session, name = await open_session(function), fresh()
    request = session.call("silent", name=name) if in_session else call("silent", name=name)
    function.seconds = SHORT
    answer = await function.send(request)
    outcome = await answer.outcome()
    assert outcome["id"] == json.loads(request.body)["id"]
    assert outcome["error"]["message"].startswith("the time of the function ended before the call ended")
    assert outcome["error"]["data"] == {"retryable": False}
    function.seconds = 900.0
    assert await text(function, call("journal", name=name, until="cancelled")) and await left(function) == {}


async def test_call_ends_before_its_front_door_gives_up(project_without_database: None) -> None:
    function = Invoked("url", answer_within=SHORT)
    try:
        outcome = await (await function.send(call("silent", name=fresh()))).outcome()
        assert "the time of the function ended" in outcome["error"]["message"]
        assert await text(function, call("echo", text="x")) == "x"
    finally:
        await function.close()


@pytest.mark.parametrize(
    ("is_shared", "is_keyed", "seconds"),
    [(True, True, 900), (True, False, 30), (False, True, 30), (False, False, 30)],
)
async def test_keyed_call_may_outlive_its_front_door_where_its_answer_is_kept_for_all(
    function: Invoked, is_shared: bool, is_keyed: bool, seconds: float
) -> None:
    """Its client can ask for the answer again: `tests/cluster/test_aws_lambda.py`."""
    request = call("echo", text="x").adding(*([("Idempotency-Key", '"k"')] if is_keyed else []))
    incoming = read(events.http(request))

    def granted(handler: LambdaHandler) -> float:
        handler._keeps_answers = is_shared
        return handler._seconds(incoming, 900.0)

    assert await function.run(granted) == seconds


async def test_synchronous_function_that_never_ends_delays_no_later_event(function: Invoked) -> None:
    release = threading.Event()

    def block() -> str:
        """Wait for the test."""
        release.wait(60)
        return "released"

    tool(name="block", atomic=False)(block)
    try:
        function.seconds = SHORT
        outcome = await (await function.send(call("block"))).outcome()
        assert "the time of the function ended" in outcome["error"]["message"]
        function.seconds = 900.0
        assert await text(function, call("echo", text="x")) == "x"
        assert await left(function) == {"threads": 1}
    finally:
        release.set()


async def test_request_that_hangs_before_its_call_is_answered_in_time(
    function: Invoked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*arguments: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(endpoint(), "_authenticate", hang)
    function.seconds = SHORT
    answer = await function.send(call("echo", text="x"))
    assert answer.status == 503
    assert "the time of the function ended before there was an answer" in (await answer.json())["error"]["message"]
    assert (await answer.json())["id"] == 1


async def test_result_that_no_front_door_passes_on_is_an_error(project_without_database: None) -> None:
    function = Invoked("alb")

    async def large() -> str:
        """Return more than a load balancer takes."""
        return "x" * 600_000

    tool(large)
    try:
        outcome = await (await function.send(call("large"))).outcome()
        assert outcome["id"] == 1
        assert "a load balancer passes on 1048576" in outcome["error"]["message"]
    finally:
        await function.close()


# -- what is served ----------------------------------------------------------------------------------


async def test_what_would_be_a_stream_is_refused(function: Invoked) -> None:
    session = await open_session(function)
    listening = alone("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    for request, status in ((session.get("abc-1"), 405), (session.get(), 405), (listening, 406)):
        assert (await function.send(request)).status == status
    outcome = await (await function.send(session.call("ask"))).outcome()
    assert "elicitation/create cannot be sent" in outcome["error"]["message"]


@pytest.mark.parametrize(
    ("event", "options", "prefix"),
    [
        (events.rest(call("prefix")), {}, "/prod/"),
        (events.http(call("prefix"), "dev"), {}, "/dev/"),
        (events.rest(replace(call("prefix"), path="/v1/mcp")), {"prefix": "/v1"}, "/prod/v1/"),
        (events.alb(call("prefix")), {}, "/"),
    ],
)
async def test_urls_of_tools_have_the_prefix_of_the_client(
    project_without_database: None, event: Any, options: Any, prefix: str
) -> None:
    async def prefix_of_urls() -> str:
        """Return what `reverse` begins with."""
        return get_script_prefix()

    tool(name="prefix")(prefix_of_urls)
    function = Invoked("http", **options)
    try:
        response = await function.invoke(event)
        assert json.loads(response["body"])["result"]["content"][0]["text"] == prefix
    finally:
        await function.close()


async def test_caller_is_whom_the_gateway_has_authenticated(project_without_database: None) -> None:
    arn = "arn:aws:iam::123456789012:user/ann"
    options = {"AUTHENTICATORS": [{"BACKEND": "aws", "OPTIONS": {"SOURCE": "iam"}}]}
    with override_settings(MCP_TRANSPORT={**site.MCP_TRANSPORT, **options}):
        function = Invoked("url")
        try:
            event = events.url(call("echo", text="x"))
            assert (await function.invoke(event))["statusCode"] == 401
            event["requestContext"]["authorizer"] = {"iam": {"userArn": arn}}
            assert (await function.invoke(event))["statusCode"] == 200
        finally:
            await function.close()


async def test_metadata_of_the_resource_is_served(project_without_database: None) -> None:
    options = {"RESOURCE_URL": "https://mcp.example/mcp", "AUTHORIZATION_SERVERS": ["https://auth.example"]}
    with override_settings(MCP_TRANSPORT={**site.MCP_TRANSPORT, **options}):
        function = Invoked("rest")
        try:
            path = "/.well-known/oauth-protected-resource/mcp"
            answer = await function.send(Request(method="GET", path=path, headers=(("Host", "localhost"),)))
            assert (await answer.json())["authorization_servers"] == ["https://auth.example"]
        finally:
            await function.close()


# -- the start ---------------------------------------------------------------------------------------


async def test_invalid_settings_are_logged_and_answered_with_500(
    project_without_database: None, caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(MCP_TRANSPORT={"BACKEND": "no.such.backend"}):
        function = Invoked("http")
        assert (await function.send(call("echo", text="x"))).status == 500
        await function.close()
    assert "no.such.backend" in caplog.text


async def test_functions_of_prewarm_are_called_once_before_the_first_event(
    project_without_database: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[str] = []

    def fail() -> None:
        called.append("fail")
        raise RuntimeError("no such host")

    async def succeed() -> None:
        called.append("succeed")

    monkeypatch.setattr(prewarm, "prewarm_functions", lambda: [fail, succeed])
    function = Invoked("http")
    try:
        assert await function.run(lambda handler: called) == ["fail", "succeed"]
        assert await text(function, call("echo", text="x")) == "x"
    finally:
        await function.close()
    assert called == ["fail", "succeed"] and "PREWARM[0] failed" in caplog.text


def test_module_of_the_handler_imports_nothing() -> None:
    """So that garbage collection is off while the rest is imported."""
    program = "import sys; before = set(sys.modules); import mcp_transport.adapters.aws_lambda; "
    program += "print(sorted(name for name in set(sys.modules) - before if name.split('.')[0] in ('django', 'mcp')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert done.stdout.strip() == "[]"


def test_unknown_event_is_an_error_of_the_function(project_without_database: None) -> None:
    handler = lambda_handler()
    try:
        with pytest.raises(ValueError, match="the event is none of"):
            handler({"source": "aws.events"}, None)
    finally:
        handler.close()
