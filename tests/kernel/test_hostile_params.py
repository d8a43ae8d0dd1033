"""Parameters that are wrong in a hundred thousand places, or long, are answered at once, in a few lines."""

from __future__ import annotations

import asyncio
import enum
import itertools
import json
import logging
import time
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from fastmcp import FastMCP
from mcp.server.lowlevel.server import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Resolve
from mcp_types import (
    CallToolResult,
    Completion,
    ListRootsRequest,
    ListRootsResult,
    NotificationParams,
    RequestParams,
    TextContent,
)
from pydantic import AfterValidator, AnyUrl, BaseModel, ConfigDict, Field, Json, create_model
from typing_extensions import TypedDict

from mcp_transport.engine.codec import encode
from mcp_transport.kernel import (
    Exchange,
    Kernel,
    Outcome,
    ask_client,
    conform,
    serve_completions,
    sessionful_features,
)
from mcp_transport.protocol.jsonrpc import Notification, Request
from tests.support.kernel import Recorder, exchange
from tests.support.plain_calls import envelope

VERSIONS = ("2025-11-25", "2026-07-28")
MANY = 100_000
LONG = 4_000_000

# Seconds of this thread's processor time. What is tried here took between 0.2 and 20 of them.
AT_ONCE = 0.2
SHORT = 2000
"""Characters of an answer, and of a log line."""

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
    """One whose members are named like parts of pydantic's own schemas."""

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


def objects(count: int = MANY) -> list[dict[str, Any]]:
    return [{} for _ in range(count)]


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
    conform(server)
    return Kernel(server)


class Lines(logging.Handler):
    """Remembers what is logged, as it would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.kept: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append((record.levelno, self.format(record)))


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, root = Lines(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


async def at_once(work: Awaitable[Outcome]) -> Outcome:
    """Wait for an outcome, which must take next to no processor time, and be short."""
    began = time.thread_time()
    outcome = await work
    written = encode(outcome.body(1))
    assert time.thread_time() - began < AT_ONCE
    assert len(written) < SHORT
    return outcome


def ask(kernel: Kernel, version: str, method: str, params: Mapping[str, Any], **options: Any) -> Awaitable[Outcome]:
    meta = params.get("_meta", {})
    whole = {**params, "_meta": {**envelope(version), **meta}} if isinstance(meta, dict) else params
    running: Exchange = options.pop("within", None) or exchange(Recorder(), version, **options)
    return kernel.serve(Request(7, method, whole), version, lambda: running)


def text_of(outcome: Outcome) -> str:
    if outcome.error is not None:
        return str(outcome.error["message"])
    assert outcome.result is not None
    return str(outcome.result["content"][0]["text"])


# -- arguments of tools --------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [{}, {"requestState": None}], ids=["plain", "whole way"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", WRONG)
async def test_wrong_arguments_are_refused_at_once(
    lines: Lines, name: str, version: str, extra: dict[str, Any]
) -> None:
    kind, value = WRONG[name]
    kernel = serving(kind)
    await ask(kernel, version, "tools/call", {"name": "take", "arguments": {"x": "y" * 3000}, **extra})
    lines.kept.clear()
    params = {"name": "take", "arguments": {"x": value}, **extra}
    outcome = await at_once(ask(kernel, version, "tools/call", params))
    assert outcome.result is not None and outcome.result["isError"]
    assert "validation error" in text_of(outcome)
    assert max(len(line) for _, line in lines.kept) < SHORT
    assert not [line for level, line in lines.kept if level > logging.INFO]


@pytest.mark.parametrize("name", RIGHT)
async def test_long_arguments_are_taken_as_the_sdk_takes_them(name: str) -> None:
    kind, value = RIGHT[name]
    server: MCPServer[Any] = MCPServer("right")
    server.add_tool(takes(kind), name="take")
    tool = server._tool_manager.get_tool("take")
    assert tool is not None
    wanted = repr(tool.fn_metadata.validate_arguments({"x": value})["x"])[:100]
    outcome = await ask(Kernel(server), "2026-07-28", "tools/call", {"name": "take", "arguments": {"x": value}})
    assert outcome.result is not None and outcome.result["structuredContent"] == {"result": wanted}


async def test_the_first_wrong_item_is_named() -> None:
    kernel = serving(list[Cat])
    items: list[Any] = [{"kind": "cat", "age": 1}] * 5000
    items[4000] = {"kind": "cat", "age": "old"}
    outcome = await at_once(ask(kernel, "2026-07-28", "tools/call", {"name": "take", "arguments": {"x": items}}))
    assert "x.4000.age\n  Input should be a valid integer" in text_of(outcome)


async def test_of_more_errors_than_can_be_listed_the_first_is_named() -> None:
    kernel = serving(list[int])
    outcome = await ask(kernel, "2026-07-28", "tools/call", {"name": "take", "arguments": {"x": ["a"] * 30}})
    assert "1 validation error for takeArguments\nx.0\n  Input should be a valid integer" in text_of(outcome)


async def test_few_errors_of_short_arguments_are_all_listed() -> None:
    kernel = serving(list[int])
    outcome = await ask(kernel, "2026-07-28", "tools/call", {"name": "take", "arguments": {"x": ["a"] * 20}})
    assert text_of(outcome).startswith("Error executing tool take: 20 validation errors")
    assert "x.19\n" in text_of(outcome)


async def test_errors_of_one_item_are_counted_where_they_are_too_many_to_list() -> None:
    kernel = serving(list[Wide])
    outcome = await ask(kernel, "2026-07-28", "tools/call", {"name": "take", "arguments": {"x": objects(2000)}})
    assert "30 errors, too many to list: compare it with the schema" in text_of(outcome)


async def test_a_text_with_more_json_in_it_than_a_body_may_hold_stays_a_text() -> None:
    kernel = serving(list[int])
    for count, words in ((100_000, "[1, 1"), (100_001, "x\n  Input should be a valid list")):
        arguments = {"x": f"[{','.join(['1'] * count)}]"}
        outcome = await ask(kernel, "2026-07-28", "tools/call", {"name": "take", "arguments": arguments})
        assert words in text_of(outcome)[:200]


async def resolved() -> int:
    return 1


async def test_tools_that_resolve_parameters_refuse_wrong_arguments_at_once() -> None:
    async def take(x: list[Wide], y: Annotated[int, Resolve(resolved)]) -> int:
        return y

    server: MCPServer[Any] = MCPServer("hostile")
    server.add_tool(take)
    params = {"name": "take", "arguments": {"x": objects()}}
    assert "too many to list" in text_of(await at_once(ask(Kernel(server), "2026-07-28", "tools/call", params)))


async def test_arguments_of_a_low_level_server_are_its_own_to_judge() -> None:
    async def call(ctx: Any, params: Any) -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text=str(len(params.arguments["x"])))])

    server: Server[Any] = Server("low", on_call_tool=call)
    outcome = await at_once(
        ask(Kernel(server), "2026-07-28", "tools/call", {"name": "any", "arguments": {"x": objects()}})
    )
    assert text_of(outcome) == str(MANY)


async def test_arguments_of_a_fastmcp_server_count_like_all_parameters() -> None:
    server: FastMCP[Any] = FastMCP("fast")

    @server.tool
    def total(xs: list[int]) -> int:
        return sum(xs)

    kernel = Kernel(server)
    refused = await at_once(
        ask(kernel, "2026-07-28", "tools/call", {"name": "total", "arguments": {"xs": ["a"] * MANY}})
    )
    assert refused.malformed and "may hold 2000 JSON values" in text_of(refused)


# -- other parameters ----------------------------------------------------------------------------------

EMPTY_LISTS: dict[str, Any] = {str(number): [] for number in range(MANY)}
REFERENCE = {"type": "ref/prompt", "name": "greet"}
ARGUMENT = {"name": "name", "value": ""}
VALUES = "may hold 2000 JSON values, got more"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
CLIENT = "io.modelcontextprotocol/clientInfo"

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "text to complete": (
        "completion/complete",
        {"ref": REFERENCE, "argument": {"name": "name", "value": "v" * LONG}},
        "params.argument may hold 65536 bytes of JSON, got more",
    ),
    "context of a completion": (
        "completion/complete",
        {"ref": REFERENCE, "argument": ARGUMENT, "context": {"arguments": EMPTY_LISTS}},
        VALUES,
    ),
    "reference": ("completion/complete", {"ref": EMPTY_LISTS, "argument": ARGUMENT}, VALUES),
    "cursor": ("tools/list", {"cursor": "c" * LONG}, "params.cursor may hold 65536 bytes of JSON"),
    "unknown member": ("tools/list", {"m" * LONG: "x" * LONG}, "mmm... may hold 65536 bytes of JSON"),
    "unknown members": ("tools/list", EMPTY_LISTS, VALUES),
    "_meta": ("tools/list", {"_meta": {"com.example/own": objects()}}, VALUES),
    "_meta of a call": ("tools/call", {"name": "ask", "_meta": {"com.example/own": objects()}}, VALUES),
    "long _meta of a call": ("tools/call", {"name": "ask", "_meta": {"com.example/own": "x" * LONG}}, "65536 bytes"),
    "deep _meta": ("tools/call", {"name": "ask", "_meta": {"a": json.loads("[" * 900 + "]" * 900)}}, "65536 bytes"),
    "capabilities": ("tools/call", {"name": "ask", "_meta": {CAPABILITIES: {"experimental": EMPTY_LISTS}}}, VALUES),
    "extensions": ("tools/list", {"_meta": {CAPABILITIES: {"extensions": EMPTY_LISTS}}}, VALUES),
    "icons": ("tools/list", {"_meta": {CLIENT: {"name": "c", "version": "1", "icons": objects()}}}, VALUES),
    "input responses": ("tools/call", {"name": "ask", "inputResponses": EMPTY_LISTS}, VALUES),
    "content of an input response": (
        "tools/call",
        {"name": "ask", "inputResponses": {"a": {"action": "accept", "content": EMPTY_LISTS}}},
        VALUES,
    ),
    "roots in an input response": (
        "tools/call",
        {"name": "ask", "inputResponses": {"a": {"roots": objects()}}},
        VALUES,
    ),
    "long input response": (
        "tools/call",
        {"name": "ask", "inputResponses": {"a": {"action": "accept", "content": {"a": "x" * LONG}}}},
        "params.inputResponses may hold 1048576 bytes of JSON",
    ),
    "level": ("logging/setLevel", {"level": "x" * LONG}, "params.level may hold 65536 bytes of JSON"),
    "_meta of a method of its own": ("acme/do", {"_meta": {"com.example/own": objects()}}, VALUES),
}


async def question(ctx: Context) -> str:
    """Ask for a name."""
    return (await ctx.elicit("Name?", create_model("Form", name=(str, ...)))).action


async def roots(ctx: Context) -> int:
    """Count the client's roots."""
    return len((await ask_client(ctx, ListRootsRequest(), ListRootsResult)).roots)


@pytest.fixture
def kernel() -> Kernel:
    server: MCPServer[Any] = MCPServer("hostile")
    server.add_tool(question, name="ask")
    server.add_tool(roots)

    @server.prompt()
    async def greet(name: str) -> str:
        return name

    async def complete(*asked: Any) -> Completion | None:
        return None

    serve_completions(server, complete)
    sessionful_features(server)
    conform(server)

    async def do(ctx: Any, params: Any) -> dict[str, Any]:
        return {}

    server._lowlevel_server.add_request_handler("acme/do", RequestParams, do)
    return Kernel(server)


@pytest.mark.parametrize(
    ("name", "version"),
    [pair for pair in itertools.product(REFUSED, VERSIONS) if pair != ("level", "2026-07-28")],  # which has none
)
async def test_parameters_beyond_a_limit_are_refused_at_once(kernel: Kernel, name: str, version: str) -> None:
    method, params, text = REFUSED[name]
    outcome = await at_once(ask(kernel, version, method, params))
    assert outcome.error is not None and outcome.error["code"] == -32602 and outcome.malformed
    assert text in outcome.error["message"]


async def test_parameters_of_methods_of_ones_own_have_no_limit_here(kernel: Kernel) -> None:
    outcome = await at_once(ask(kernel, "2026-07-28", "acme/do", {"name": "n" * 5000, "items": objects()}))
    assert outcome.error is None


async def test_errors_of_parameters_within_the_limits_are_counted_before_they_are_listed(kernel: Kernel) -> None:
    params = {"name": "ask", "inputResponses": {str(number): [] for number in range(1000)}}
    outcome = await at_once(ask(kernel, "2026-07-28", "tools/call", params))
    assert "Invalid params for tools/call: " in text_of(outcome)
    assert "errors, too many to list: compare it with the schema" in text_of(outcome)
    few = await ask(kernel, "2026-07-28", "tools/call", {"name": "ask", "inputResponses": {"a" * 5000: []}})
    assert text_of(few).count("aaa... more") == 0 and len(text_of(few)) < SHORT


async def test_texts_for_a_prompt_are_bounded_by_the_body_alone(kernel: Kernel) -> None:
    params = {"name": "greet", "arguments": {"name": "n" * LONG}}
    outcome = await ask(kernel, "2026-07-28", "prompts/get", params)
    assert outcome.result is not None
    wrong = {"name": "greet", "arguments": {"name": "Ann", **EMPTY_LISTS}}
    assert text_of(await at_once(ask(kernel, "2026-07-28", "prompts/get", wrong))) == (
        "Prompt greet takes no argument '0'"
    )


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_error_repeats_200_characters_of_a_uri(kernel: Kernel, version: str) -> None:
    outcome = await ask(kernel, version, "resources/read", {"uri": "x://" + "u" * 8000})
    shown = "x://" + "u" * 196 + "..."
    assert outcome.error is not None
    assert outcome.error["message"] == f"Unknown resource: {shown}"
    assert outcome.error["data"] == {"uri": shown}


@pytest.mark.parametrize(
    "said",
    [
        {"capabilities": {"experimental": EMPTY_LISTS}, "clientInfo": {"name": "c", "version": "1"}},
        {"capabilities": {}, "clientInfo": {"name": "c", "version": "1", "icons": objects()}},
    ],
    ids=["capabilities", "icons"],
)
async def test_initialize_is_refused_at_once(kernel: Kernel, said: dict[str, Any]) -> None:
    params = {"protocolVersion": "2025-11-25", **said}
    outcome = await at_once(kernel.initialize(exchange(Recorder()), params))
    assert outcome.malformed and VALUES in text_of(outcome)


# -- subscriptions and notifications -------------------------------------------------------------------


class Acknowledged(Recorder):
    """An outlet that tells when something was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.spoken = asyncio.Event()

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        await super().notify(method, params)
        self.spoken.set()


async def listening(uris: list[Any]) -> tuple[Outcome | None, Recorder]:
    """Listen, until that is refused or acknowledged."""
    kernel, outlet = Kernel(MCPServer("hostile")), Acknowledged()
    params = {"notifications": {"resourceSubscriptions": uris}, "_meta": envelope("2026-07-28")}
    running = exchange(outlet, "2026-07-28")
    began = time.thread_time()
    work = asyncio.create_task(
        kernel.serve(Request(7, "subscriptions/listen", params), "2026-07-28", lambda: running)
    )
    spoken = asyncio.create_task(outlet.spoken.wait())
    await asyncio.wait({work, spoken}, return_when=asyncio.FIRST_COMPLETED)
    spoken.cancel()
    assert time.thread_time() - began < AT_ONCE
    if work.done():
        return work.result(), outlet
    kernel.end_listening()
    await work
    return None, outlet


async def test_a_uri_that_is_listened_to_twice_counts_once() -> None:
    refused, outlet = await listening(["a://b", "a://c"] * MANY)
    assert refused is None
    _, acknowledged = outlet.sent[0]
    assert acknowledged is not None
    assert acknowledged["notifications"]["resourceSubscriptions"] == ["a://b", "a://c"]


@pytest.mark.parametrize(
    ("uris", "text"),
    [
        ([1] * MANY, "Input should be a valid string"),
        (["a://b", *objects()], "Input should be a valid string"),
    ],
)
async def test_subscriptions_that_are_no_uris_are_refused_at_once(uris: list[Any], text: str) -> None:
    refused, _ = await listening(uris)
    assert refused is not None and refused.malformed
    assert text in text_of(refused) and len(text_of(refused)) < SHORT


async def test_a_thousand_uris_may_be_listened_to() -> None:
    refused, outlet = await listening([f"a://{number}" for number in range(1000)])
    assert refused is None and outlet.sent


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": "unknown"}),
        ("tools/call", {"name": "ask", "requestState": "forged"}),
        ("prompts/get", {"name": "unknown"}),
        ("resources/read", {"uri": "x://unknown"}),
    ],
)
def test_what_should_have_been_a_request_is_heard_by_nobody(
    kernel: Kernel, method: str, params: dict[str, Any]
) -> None:
    assert not kernel.hears(Notification(method, params))


async def test_a_notification_beyond_a_limit_is_dropped_at_once(kernel: Kernel, lines: Lines) -> None:
    heard: list[Any] = []

    async def hear(ctx: Any, params: Any) -> None:
        heard.append(params)

    kernel.server.add_notification_handler("notifications/roots/list_changed", NotificationParams, hear)
    for params in ({}, {"_meta": {"a": objects()}}, EMPTY_LISTS):
        began = time.thread_time()
        await kernel.notify(exchange(Recorder()), Notification("notifications/roots/list_changed", params))
        assert time.thread_time() - began < AT_ONCE
    assert len(heard) == 1
    assert max(len(line) for _, line in lines.kept) < SHORT
