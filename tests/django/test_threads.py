"""Which thread synchronous code of a call has; database connections of calls: `test_connections`."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from django.test import Client

from mcp_transport import threads, tool
from mcp_transport.threads import shared_thread
from tests.support.calls import opened, returned
from tests.support.http.messages import call
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")


def declare_where() -> None:
    @tool
    def where() -> int:
        return threading.get_ident()

    @tool
    async def where_later() -> int:
        return await sync_to_async(threading.get_ident)()


async def test_synchronous_code_of_one_call_shares_a_thread_and_that_of_two_does_not(serve: Serve) -> None:
    meeting = asyncio.Barrier(2)

    @tool
    async def twice() -> list[int]:
        first = await sync_to_async(threading.get_ident)()
        await meeting.wait()
        second = await sync_to_async(threading.get_ident)()
        return [first, second]

    served = serve()
    (one, same), (other, also) = await asyncio.gather(returned(served, "twice"), returned(served, "twice"))
    assert one == same != other == also


async def test_nothing_is_paid_where_no_synchronous_code_runs(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def borrow() -> Any:
        raise AssertionError("a thread was borrowed")

    monkeypatch.setattr(threads._threads, "borrow", borrow)

    @tool
    async def adds(a: int, b: int) -> int:
        return a + b

    served = serve()
    assert await returned(served, "adds", {"a": 1, "b": 2}) == 3
    await (await opened(served)).request("ping")


async def test_shared_thread_leaves_calls_where_their_caller_is(serve: Serve) -> None:
    declare_where()
    served = serve()
    own = await sync_to_async(threading.get_ident)()
    with shared_thread():
        assert [await returned(served, name) for name in ("where", "where_later")] == [own, own]
    assert own not in [await returned(served, name) for name in ("where", "where_later")]


def test_under_wsgi_a_tool_runs_in_the_thread_of_its_request() -> None:
    declare_where()
    for name in ("where", "where_later"):
        request = call(name).setting("Accept", "application/json")
        headers = {key.lower(): value for key, value in request.without("Host").headers}
        response = Client().post("/mcp", request.body, content_type="application/json", headers=headers)
        assert json.loads(response.content)["result"]["structuredContent"] == {"result": threading.get_ident()}


async def test_the_context_of_calls_is_asgirefs(serve: Serve) -> None:
    """`CallThread.enter` sets by hand what `ThreadSensitiveContext.__aenter__` sets."""
    observed: list[Any] = []

    @tool
    async def looks() -> int:
        observed.append(SyncToAsync.thread_sensitive_context.get())
        return 1

    await returned(serve(), "looks")
    assert observed == [threads._context]
    assert SyncToAsync.context_to_thread_executor[threads._context] is not None
    assert threads._context._exited is False
