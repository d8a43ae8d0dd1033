"""ATOMIC_REQUESTS holds for plain functions as for views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from mcp.server.mcpserver.exceptions import ToolError

from mcp_transport import completion, prompt, resource, tool
from tests.support.calls import result_of
from tests.support.client import send_sessionless

pytestmark = pytest.mark.usefixtures("declarations", "transactional_db")

READ = ("resources/read", {"uri": "x://writes"})
CALL = ("tools/call", {"name": "writes", "arguments": {}})
GET = ("prompts/get", {"name": "writes"})
COMPLETE = (
    "completion/complete",
    {"ref": {"type": "ref/prompt", "name": "writes"}, "argument": {"name": "a", "value": ""}},
)


@pytest.fixture(autouse=True)
def atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)


def writes() -> str:
    """Write, and fail."""
    User.objects.create_user("half")
    raise ToolError("after the first half")


async def half_is_there() -> bool:
    return await User.objects.filter(username="half").aexists()


@pytest.mark.parametrize(
    ("declare", "asked"),
    [(tool, CALL), (resource("x://writes"), READ), (prompt, GET)],
    ids=["tool", "resource", "prompt"],
)
async def test_a_plain_function_that_fails_leaves_nothing_written(
    declare: Callable[..., Any], asked: tuple[str, Any], serve: Any
) -> None:
    declare(writes)
    await send_sessionless(serve(), *asked)
    assert not await half_is_there()


async def test_a_completion_that_fails_leaves_nothing_written(serve: Any) -> None:
    @prompt(name="writes")
    def asks(a: str) -> str:
        return a

    @completion
    def complete(ref: Any, argument: Any, context: Any) -> None:
        writes()

    await send_sessionless(serve(), *COMPLETE)
    assert not await half_is_there()


@pytest.mark.parametrize("error", [ToolError, RuntimeError, KeyError])
async def test_any_error_rolls_back(error: type[Exception], serve: Any) -> None:
    @tool(name="writes")
    def fails() -> str:
        User.objects.create_user("half")
        raise error("no")

    assert (await result_of(serve(), *CALL))["isError"]
    assert not await half_is_there()


async def test_a_result_that_cannot_be_read_rolls_back(serve: Any) -> None:
    @tool(name="writes")
    def returns() -> list[User]:
        User.objects.create_user("half")
        return User.objects.extra(where=["no_such_column = 1"])

    assert (await result_of(serve(), *CALL))["isError"]
    assert not await half_is_there()


async def test_a_generator_that_fails_rolls_back(serve: Any) -> None:
    @tool(name="writes")
    def yields() -> Iterator[str]:
        User.objects.create_user("half")
        yield "one"
        raise ToolError("after the first half")

    assert (await result_of(serve(), *CALL))["isError"]
    assert not await half_is_there()


async def test_what_succeeds_is_committed(serve: Any) -> None:
    committed = []

    @tool(name="writes")
    def succeeds() -> bool:
        User.objects.create_user("half")
        transaction.on_commit(lambda: committed.append(connection.in_atomic_block))
        return connection.in_atomic_block

    assert (await result_of(serve(), *CALL))["structuredContent"] == {"result": True}
    assert await half_is_there()
    assert committed == [False]


@pytest.mark.parametrize(
    ("declare", "asked"),
    [
        (tool(atomic=False), CALL),
        (resource("x://writes", atomic=False), READ),
        (prompt(atomic=False), GET),
        (lambda function: tool(transaction.non_atomic_requests(function)), CALL),
    ],
    ids=["tool", "resource", "prompt", "django's decorator"],
)
async def test_a_function_can_opt_out(declare: Callable[..., Any], asked: tuple[str, Any], serve: Any) -> None:
    def own() -> str:
        return writes()

    own.__name__ = "writes"
    declare(own)
    await send_sessionless(serve(), *asked)
    assert await half_is_there()


async def test_an_asynchronous_function_has_no_transaction(serve: Any) -> None:
    @tool(name="writes", atomic=False)
    async def later() -> str:
        return await sync_to_async(writes)()

    assert (await result_of(serve(), *CALL))["isError"]
    assert await half_is_there()


async def test_without_atomic_requests_there_is_no_transaction(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", False)
    tool(writes)
    assert (await result_of(serve(), *CALL))["isError"]
    assert await half_is_there()
