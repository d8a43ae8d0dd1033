"""Values that tools keep for a session: from call to call, within limits, and not at all without a session."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mcp_transport import Context, tool
from mcp_transport.context import MAX_VALUE_BYTES, MAX_VALUES
from tests.support.calls import failure, opened, text_of
from tests.support.project import Serve

Use = Callable[..., Awaitable[Any]]
State = Callable[[], Awaitable[Use]]


@pytest.fixture
def tools(declarations: Any) -> None:
    """Declare a tool for each thing that can be done with the state."""

    @tool
    async def put(name: str, value: Any, ctx: Context) -> None:
        await ctx.session.set(name, value)

    @tool
    async def take(name: str, ctx: Context) -> Any:
        return {"value": await ctx.session.get(name, "nothing")}

    @tool
    async def drop(name: str, ctx: Context) -> bool:
        return await ctx.session.delete(name)

    @tool
    async def names(ctx: Context) -> list[str]:
        return await ctx.session.keys()

    @tool
    async def clear(ctx: Context) -> None:
        await ctx.session.clear()

    @tool
    async def fill(count: int, size: int, ctx: Context) -> None:
        for number in range(count):
            await ctx.session.set(f"n{number}", "x" * (size - 2))

    @tool
    async def put_object(ctx: Context) -> None:
        await ctx.session.set("object", object())

    @tool
    async def name_of_session(ctx: Context) -> str:
        return ctx.session.short_id


@pytest.fixture
async def state(tools: None, serve: Serve) -> State:
    """Return a function that opens a session and returns another, which calls a tool in it."""

    async def session() -> Use:
        client = await opened(serve())

        async def use(tool_name: str, /, **arguments: Any) -> Any:
            result = (await client.call(tool_name, arguments)).json["result"]
            if result.get("isError"):
                return result["content"][0]["text"]
            content = result.get("structuredContent") or json.loads(result["content"][0]["text"])
            return content["result"] if set(content) == {"result"} else content

        return use

    return session


async def test_state_lives_from_call_to_call_and_is_the_sessions_own(state: State) -> None:
    first, second = await state(), await state()
    for value in (1, "é", None, True, [1, {"a": None}], {"a": [1.5]}, 2**64, {"a": -(10**30)}):
        await first("put", name="cart", value=value)
        assert await first("take", name="cart") == {"value": value}
    assert await second("take", name="cart") == {"value": "nothing"}


async def test_state_is_listed_dropped_and_cleared(state: State) -> None:
    use = await state()
    for name in ("b", "a", "c"):
        await use("put", name=name, value=1)
    assert await use("names") == ["a", "b", "c"]
    assert await use("drop", name="b") is True
    assert await use("drop", name="b") is False
    assert await use("names") == ["a", "c"]
    await use("clear")
    assert await use("names") == []


async def test_state_has_room_for_so_many_values(state: State) -> None:
    use = await state()
    await use("fill", count=MAX_VALUES, size=4)
    assert f"session state must have at most {MAX_VALUES} keys" in await use("put", name="one more", value=1)
    await use("put", name="n0", value="replaced")
    assert await use("take", name="n0") == {"value": "replaced"}
    await use("drop", name="n1")
    await use("put", name="one more", value=1)
    assert len(await use("names")) == MAX_VALUES


async def test_value_has_room_for_so_many_bytes(state: State) -> None:
    use = await state()
    await use("fill", count=1, size=MAX_VALUE_BYTES)
    assert await use("names") == ["n0"]
    refusal = await use("fill", count=1, size=MAX_VALUE_BYTES + 1)
    assert f"must have at most {MAX_VALUE_BYTES} bytes, got {MAX_VALUE_BYTES + 1}" in refusal


async def test_value_must_be_json(state: State) -> None:
    use = await state()
    assert "session state 'object' must be JSON-serializable" in await use("put_object")
    assert await use("names") == []


async def test_session_has_a_name_for_logs_that_is_not_its_id(tools: None, serve: Serve) -> None:
    client = await opened(serve())
    short = text_of(await client.call("name_of_session"))
    assert len(short) == 10 and short not in client.session_id
    assert short == text_of(await client.call("name_of_session"))


async def test_without_a_session_the_error_points_to_handles(tools: None, serve: Serve) -> None:
    calls: dict[str, Any] = {"put": {"name": "a", "value": 1}, "take": {"name": "a"}, "drop": {"name": "a"}}
    for name in (*calls, "names", "clear", "name_of_session"):
        text = await failure(serve(), name, calls.get(name))
        assert "in 2026-07-28 every request is independent" in text
        assert "Return an explicit handle from one tool and accept it as an argument of the next" in text
