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
from tests.support.client import send_sessionless
from tests.support.project import Serve

pytestmark = pytest.mark.usefixtures("declarations", "transactional_db")

Declare = Callable[[Callable[..., Any]], Any]

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "tool": ("tools/call", {"name": "writes", "arguments": {}}),
    "resource": ("resources/read", {"uri": "x://writes"}),
    "prompt": ("prompts/get", {"name": "writes"}),
    "completion": (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "writes"}, "argument": {"name": "a", "value": ""}},
    ),
}


@pytest.fixture(autouse=True)
def atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    ran.clear()
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)


ran: list[str] = []
"""What has run, whether it is kept or not."""


def writing(error: BaseException | None = None, result: Any = "") -> Any:
    """Return a function that writes, and then fails or returns."""

    def writes() -> Any:
        ran.append("writes")
        User.objects.create_user("half")
        if error is not None:
            raise error
        return result() if callable(result) else result

    return writes


def failing() -> Any:
    return writing(ToolError("after the first half"))


async def is_written(serve: Serve, kind: str = "tool") -> bool:
    """Ask for what was declared; tell whether what it wrote is there."""
    await send_sessionless(serve(), *REQUESTS[kind])
    return await User.objects.filter(username="half").aexists()


def unreadable() -> Any:
    return User.objects.extra(where=["no_such_column = 1"])


def generated() -> Iterator[str]:
    yield "one"
    raise ToolError("after the first half")


LOST: dict[str, tuple[str, Declare, Any]] = {
    "tool": ("tool", tool, failing()),
    "resource": ("resource", resource("x://writes"), failing()),
    "prompt": ("prompt", prompt, failing()),
    "completion": ("completion", lambda function: completion(lambda ref, argument, context: function()), failing()),
    "tool that crashes": ("tool", tool, writing(RuntimeError("no"))),
    "tool that finds no key": ("tool", tool, writing(KeyError("no"))),
    "result that cannot be read": ("tool", tool, writing(result=unreadable)),
    "generator that fails": ("tool", tool, writing(result=generated)),
}


@pytest.mark.parametrize(("kind", "declare", "function"), LOST.values(), ids=LOST)
async def test_a_plain_function_that_fails_leaves_nothing_written(
    kind: str, declare: Declare, function: Any, serve: Serve
) -> None:
    declare(function)
    assert not await is_written(serve, kind)
    assert ran == ["writes"]


async def test_what_succeeds_is_committed(serve: Serve) -> None:
    committed: list[bool] = []

    @tool(name="writes")
    def succeeds() -> None:
        User.objects.create_user("half")
        assert connection.in_atomic_block
        transaction.on_commit(lambda: committed.append(connection.in_atomic_block))

    assert await is_written(serve)
    assert committed == [False]


COMMITTED: dict[str, tuple[str, Declare]] = {
    "tool": ("tool", tool(atomic=False)),
    "resource": ("resource", resource("x://writes", atomic=False)),
    "prompt": ("prompt", prompt(atomic=False)),
    "django's decorator": ("tool", lambda function: tool(transaction.non_atomic_requests(function))),
    "asynchronous function": ("tool", lambda function: tool(name="writes", atomic=False)(sync_to_async(function))),
}


@pytest.mark.parametrize(("kind", "declare"), COMMITTED.values(), ids=COMMITTED)
async def test_a_function_can_opt_out(kind: str, declare: Declare, serve: Serve) -> None:
    declare(failing())
    assert await is_written(serve, kind)


async def test_without_atomic_requests_there_is_no_transaction(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", False)
    tool(failing())
    assert await is_written(serve)
