"""Coalescing in a project: declarations, threads, the language, CALL_CONTEXT, tests with MCPClient."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.utils import translation

from mcp_transport import Context, Principal, prompt, resource, tool
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.exceptions import DefinitionError
from mcp_transport.test import MCPClient
from tests.support.client import Answer, send_sessionless, text_of, until
from tests.support.clock import settle
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations")

entered: list[tuple[HttpRequest | None, Principal | None]] = []
tenant: ContextVar[str] = ContextVar("tenant", default="none")


@contextmanager
def context(request: HttpRequest | None, principal: Principal | None) -> Iterator[None]:
    """Note for whom a call runs."""
    entered.append((request, principal))
    yield


class Held:
    """A synchronous function that waits for the test."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.open = threading.Event()

    def __call__(self) -> str:
        text = f"{translation.get_language()} {tenant.get()}"
        self.begun.append(text)
        assert self.open.wait(60)
        return text


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.open.set()


def call(endpoint: Endpoint, name: str, **options: Any) -> asyncio.Task[Answer]:
    return asyncio.create_task(send_sessionless(endpoint, "tools/call", {"name": name}, **options))


# -- declarations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"coalesce": True}, "coalesce=True needs read_only=True"),
        ({"coalesce": True, "read_only": False}, "coalesce=True needs read_only=True"),
        ({"coalesce": 1, "read_only": True}, "coalesce must be True or False, got 1"),
        ({"shared": True, "read_only": True}, "shared=True needs coalesce=True"),
        ({"shared": True, "coalesce": True, "read_only": True}, "without a Context"),
    ],
)
def test_what_cannot_be_shared_is_refused_where_it_is_declared(options: dict[str, Any], problem: str) -> None:
    def look(ctx: Annotated[Context, "who calls"]) -> str:
        return ""

    with pytest.raises(DefinitionError, match=problem):
        tool(**options)(look)


# -- threads and callers -------------------------------------------------------------------------------------


async def test_equal_calls_run_in_one_thread(serve: Serve, held: Held) -> None:
    @tool(read_only=True, coalesce=True)
    def look() -> str:
        return held()

    served = serve()
    tasks = [call(served, "look", id=number) for number in range(50)]
    await until(lambda: held.begun)
    await settle()
    held_threads = served.pool.gauges().threads
    held.open.set()
    assert {text_of((await each).json) for each in tasks} == {f"{translation.get_language()} none"}
    assert (len(held.begun), held_threads) == (1, 1)


async def test_a_shared_run_has_no_caller_but_a_language(serve: Serve, held: Held, settings: Any) -> None:
    settings.MCP_TRANSPORT = {"CALL_CONTEXT": f"{__name__}.context"}

    @tool(read_only=True, coalesce=True, shared=True)
    def look() -> str:
        return held()

    served = serve()
    entered.clear()
    tenant.set("first")
    tasks: list[asyncio.Task[Answer]] = []
    for language in ("de", "fr", "de"):
        with translation.override(language):
            tasks.append(call(served, "look", peer=f"192.0.2.{len(tasks)}"))
    await until(lambda: len(held.begun) == 2)
    await settle()
    held.open.set()
    assert [text_of((await each).json) for each in tasks] == ["de none", "fr none", "de none"]
    assert [(request, principal and principal.binding) for request, principal in entered] == [(None, "")] * 2


async def test_an_item_that_is_hidden_from_a_caller_is_not_shared_with_it(serve: Serve, held: Held) -> None:
    @tool(read_only=True, coalesce=True, shared=True, visible=lambda principal: bool(principal.binding))
    def look() -> str:
        return held()

    served = serve()
    user = type("User", (), {"pk": 1, "is_authenticated": True, "is_active": True, "get_username": lambda self: "a"})
    allowed = call(served, "look", user=user())
    await until(lambda: held.begun)
    refused = await call(served, "look")
    assert "Unknown tool" in refused.json["error"]["message"]
    held.open.set()
    assert text_of((await allowed).json)


async def test_requests_in_different_languages_share_no_run(serve: Serve, held: Held) -> None:
    """A project's middleware may choose the language by what is in no request."""

    @resource("shop://slow")
    def read() -> str:
        return held()

    served, tasks = serve(), []
    for language in ("de", "fr", "de"):
        with translation.override(language):
            tasks.append(asyncio.create_task(send_sessionless(served, "resources/read", {"uri": "shop://slow"})))
    await until(lambda: len(held.begun) == 2)
    await settle()
    held.open.set()
    texts = [(await each).json["result"]["contents"][0]["text"] for each in tasks]
    assert texts == ["de none", "fr none", "de none"]


async def test_resources_and_prompts_share_runs_by_default(serve: Serve, held: Held) -> None:
    @resource("shop://slow")
    def read() -> str:
        return held()

    @prompt(name="slow")
    def ask() -> str:
        return held()

    served = serve()
    reads = [asyncio.create_task(send_sessionless(served, "resources/read", {"uri": "shop://slow"})) for _ in "ab"]
    prompts = [asyncio.create_task(send_sessionless(served, "prompts/get", {"name": "slow"})) for _ in "ab"]
    await until(lambda: len(held.begun) == 2)
    await settle()
    held.open.set()
    assert all("result" in answer.json for answer in await asyncio.gather(*reads, *prompts))
    assert len(held.begun) == 2


@pytest.mark.django_db
def test_a_shared_tool_sees_the_transaction_of_a_test() -> None:
    @tool(read_only=True, coalesce=True, shared=True)
    def groups() -> int:
        return Group.objects.count()

    @tool(read_only=True, coalesce=True, shared=True)
    async def groups_later() -> int:
        return await Group.objects.acount()

    Group.objects.create(name="a")
    with MCPClient() as client:
        assert (client.call("groups").result, client.call("groups_later").result) == (1, 1)
