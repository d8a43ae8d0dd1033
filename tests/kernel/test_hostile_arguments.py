"""Tool arguments with 100,000 errors, or of great length, get a fast response of a few lines."""

from __future__ import annotations

import enum
import json
import logging
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from fastmcp import FastMCP
from mcp.server.lowlevel.server import Server
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.resolve import Resolve
from mcp_types import CallToolResult, TextContent
from pydantic import AfterValidator, AnyUrl, BaseModel, ConfigDict, Field, Json, create_model
from typing_extensions import TypedDict

from mcp_transport.kernel import Kernel, apply_spec_corrections
from tests.kernel.hostile import LONG, MANY, SHORT, at_once, objects, send, text_of
from tests.support.kernel import Recorder, exchange

pytestmark = pytest.mark.slow

Wide: type[BaseModel] = create_model("Wide", **{f"member{number}": (int, ...) for number in range(30)})  # type: ignore[call-overload]


class Colour(enum.Enum):
    RED = "red"


class Cat(BaseModel):
    kind: Literal["cat"]
    age: int


class Dog(BaseModel):
    kind: Literal["dog"]
    age: int


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Row(TypedDict):
    a: int
    b: str


@dataclass
class Point:
    x: int
    y: int = 0


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int = 0


class Nested(BaseModel):
    """A model whose fields are named like keys of pydantic's core schemas."""

    config: dict[str, Wide] = {}
    default: list[Wide] = []
    metadata: list[Wide] = []
    type: list[Wide] = []


class Tree(BaseModel):
    value: int = 0
    below: list[Tree] = []


def _quoting(value: str) -> str:
    raise ValueError(f"not this: {value}")


class Quoting(BaseModel):
    x: Annotated[str, AfterValidator(_quoting)]


WRONG: dict[str, tuple[Any, Any]] = {
    "list of texts for integers": (list[int], ["a"] * MANY),
    "list of lists for integers": (list[int], [[]] * MANY),
    "tuple": (tuple[int, ...], ["a"] * MANY),
    "set": (set[int], ["a"] * MANY),
    "frozenset": (frozenset[int], ["a"] * MANY),
    "object of texts for integers": (dict[str, int], {str(number): "a" for number in range(MANY)}),
    "objects for wide models": (list[Wide], objects()),
    "object of objects for wide models": (dict[str, Wide], {str(number): {} for number in range(MANY // 2)}),
    "union": (list[int | str | Wide], [[]] * MANY),
    "union of lists": (list[list[int] | list[Wide] | Wide], [[1.5, {}] for _ in range(MANY // 3)]),
    "discriminated union": (list[Pet], [{"kind": "cat"}] * MANY),
    "unknown kind": (list[Pet], [{"kind": "k" * 40}] * MANY),
    "typed dicts": (list[Row], objects()),
    "dataclasses": (list[Point], objects()),
    "enums": (list[Colour], ["blue"] * MANY),
    "optional list": (list[Wide] | None, objects()),
    "list of lists": (list[list[int]], [["a"] * 1000] * 100),
    "recursive models": (list[Tree], [{"value": "a", "below": [{"value": "a"}]}] * (MANY // 4)),
    "members named config": (Nested, {"config": {str(number): {} for number in range(MANY // 2)}}),
    "members named metadata": (Nested, {"metadata": objects()}),
    "members named default": (Nested, {"default": objects()}),
    "members named type": (Nested, {"type": objects()}),
    "superfluous members": (Strict, {str(number): 1 for number in range(MANY)}),
    "validator that quotes": (list[Quoting], [{"x": "y" * 30}] * MANY),
    "validator that quotes a long text": (Quoting, {"x": "y" * LONG}),
    "long name of a member": (dict[str, list[int]], {"k" * LONG: ["a"] * 20}),
    "long names of members": (dict[str, list[int]], {"k" * LONG: ["a"]}),
    "JSON in a text": (list[Wide], json.dumps(objects(1_000_000))),
    "JSON that pydantic reads": (Json[list[Wide]], json.dumps(objects())),
    "integer of many digits": (int, "9" * LONG),
    "pattern": (Annotated[str, Field(pattern="^(a+)+$")], "a" * LONG + "b"),
    "datetime": (datetime, "9" * LONG),
    "decimal": (Annotated[Decimal, Field(max_digits=5)], "9" * LONG),
    "UUID": (UUID, "9" * LONG),
    "URL": (AnyUrl, "h" * LONG),
    "constraint": (Annotated[list[int], Field(max_length=3)], [1] * MANY),
    "missing": (int, None),
}
RIGHT: dict[str, tuple[Any, Any]] = {
    "integers": (list[int], [*range(MANY)]),
    "lax integers": (list[int], ["1"] * 5000),
    "models": (list[Cat], [{"kind": "cat", "age": "3"}] * 5000),
    "discriminated union": (
        list[Annotated[Cat | Dog, Field(discriminator="kind")]],
        [{"kind": "dog", "age": 1}] * 3000,
    ),
    "typed dicts": (list[Row], [{"a": 1, "b": "b"}] * 3000),
    "dataclasses": (list[Point], [{"x": 1}] * 3000),
    "tree": (Tree, {"below": [{"value": 1, "below": [{"value": 2}]}] * 3000}),
    "nested": (Nested, {"type": [{f"member{number}": number for number in range(30)}] * 100}),
    "enums": (set[Colour], ["red"] * 3000),
    "long text": (str, "x" * LONG),
    "JSON in a text": (list[int], json.dumps([*range(50_000)])),
    "JSON in a text that shall be one": (str, json.dumps([*range(200_000)])),
    "text that looks like a number": (str | None, "1" * 5000),
}


def takes(kind: Any) -> Any:
    async def take(x: Any) -> str:
        return f"{x!r}"[:100]

    take.__annotations__ = {"x": kind, "return": str}
    return take


def serving(kind: Any) -> Kernel:
    server: MCPServer[Any] = MCPServer("hostile")
    server.add_tool(takes(kind), name="take")
    apply_spec_corrections(server)
    return Kernel(server)


# -- arguments of tools --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "extra"),
    [
        pytest.param("2026-07-28", {}, id="2026-07-28"),
        pytest.param("2025-11-25", {"requestState": None}, id="the SDK's whole way", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", WRONG)
async def test_wrong_arguments_are_refused_at_once(
    name: str, version: str, extra: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    kind, value = WRONG[name]
    kernel = serving(kind)
    await send(kernel, version, "tools/call", {"name": "take", "arguments": {"x": "y" * 3000}, **extra})
    caplog.clear()
    params = {"name": "take", "arguments": {"x": value}, **extra}
    outcome = await at_once(send(kernel, version, "tools/call", params))
    assert outcome.result is not None and outcome.result["isError"]
    assert "validation error" in text_of(outcome)
    assert 0 < max(len(record.getMessage()) for record in caplog.records) < SHORT
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize("name", RIGHT)
async def test_long_arguments_are_taken_as_the_sdk_takes_them(name: str) -> None:
    kind, value = RIGHT[name]
    server: MCPServer[Any] = MCPServer("right")
    server.add_tool(takes(kind), name="take")
    tool = server._tool_manager.get_tool("take")
    assert tool is not None
    expected = repr(tool.fn_metadata.validate_arguments({"x": value})["x"])[:100]
    outcome = await send(Kernel(server), "2026-07-28", "tools/call", {"name": "take", "arguments": {"x": value}})
    assert outcome.result is not None and outcome.result["structuredContent"] == {"result": expected}


async def error_text(kernel: Kernel, x: Any) -> str:
    return text_of(await send(kernel, "2026-07-28", "tools/call", {"name": "take", "arguments": {"x": x}}))


async def test_the_first_wrong_item_is_named() -> None:
    items: list[Any] = [{"kind": "cat", "age": 1}] * 5000
    items[4000] = {"kind": "cat", "age": "old"}
    assert "x.4000.age\n  Input should be a valid integer" in await error_text(serving(list[Cat]), items)


async def test_of_more_errors_than_can_be_listed_the_first_is_named() -> None:
    kernel = serving(list[int])
    listed = await error_text(kernel, ["a"] * 20)
    assert listed.startswith("Error executing tool take: 20 validation errors") and "x.19\n" in listed
    too_many = await error_text(kernel, ["a"] * 30)
    assert "1 validation error for takeArguments\nx.0\n  Input should be a valid integer" in too_many
    in_one_item = await error_text(serving(list[Wide]), objects(2000))
    assert "30 errors, too many to list: compare it with the schema" in in_one_item


async def test_a_text_with_more_json_in_it_than_a_body_may_hold_stays_a_text() -> None:
    kernel = serving(list[int])
    for count, text in ((100_000, "[1, 1"), (100_001, "x\n  Input should be a valid list")):
        arguments = {"x": f"[{','.join(['1'] * count)}]"}
        outcome = await send(kernel, "2026-07-28", "tools/call", {"name": "take", "arguments": arguments})
        assert text in text_of(outcome)[:200]


async def resolved() -> int:
    return 1


async def test_tools_that_resolve_parameters_refuse_wrong_arguments_at_once() -> None:
    async def take(x: list[Wide], y: Annotated[int, Resolve(resolved)]) -> int:
        return y

    server: MCPServer[Any] = MCPServer("hostile")
    server.add_tool(take)
    params = {"name": "take", "arguments": {"x": objects()}}
    assert "too many to list" in text_of(await at_once(send(Kernel(server), "2026-07-28", "tools/call", params)))


async def test_arguments_of_a_low_level_server_are_its_own_to_judge() -> None:
    async def call(ctx: Any, params: Any) -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text=str(len(params.arguments["x"])))])

    server: Server[Any] = Server("low", on_call_tool=call)
    outcome = await at_once(
        send(Kernel(server), "2026-07-28", "tools/call", {"name": "any", "arguments": {"x": objects()}})
    )
    assert text_of(outcome) == str(MANY)


async def test_arguments_of_a_fastmcp_server_count_like_all_parameters() -> None:
    server: FastMCP[Any] = FastMCP("fast")

    @server.tool
    def total(xs: list[int]) -> int:
        return sum(xs)

    kernel = Kernel(server)
    refused = await at_once(
        send(kernel, "2026-07-28", "tools/call", {"name": "total", "arguments": {"xs": ["a"] * MANY}})
    )
    assert refused.malformed and "may hold at most 2000 JSON values" in text_of(refused)
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    refused = await kernel.initialize(exchange(Recorder()), {**params, "arguments": {"xs": ["a"] * MANY}})
    assert "may hold at most 2000 JSON values" in text_of(refused)
