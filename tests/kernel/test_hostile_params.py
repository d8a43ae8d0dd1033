"""Parameters, subscriptions and notifications over a limit are refused fast, with a short error."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import Completion, ListRootsRequest, ListRootsResult, NotificationParams, RequestParams
from pydantic import create_model

from mcp_transport.kernel import (
    Kernel,
    apply_spec_corrections,
    register_session_handlers,
    request_client,
    serve_completions,
)
from mcp_transport.protocol.jsonrpc import Notification, Outcome, Request
from tests.kernel.hostile import AT_ONCE, LONG, MANY, SHORT, VERSIONS, at_once, objects, send, text_of
from tests.support.kernel import Recorder, exchange
from tests.support.plain_calls import envelope

EMPTY_LISTS: dict[str, Any] = {str(number): [] for number in range(MANY)}
REFERENCE = {"type": "ref/prompt", "name": "greet"}
ARGUMENT = {"name": "name", "value": ""}
VALUES = "may hold at most 2000 JSON values, got more"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
CLIENT = "io.modelcontextprotocol/clientInfo"

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "text to complete": (
        "completion/complete",
        {"ref": REFERENCE, "argument": {"name": "name", "value": "v" * LONG}},
        "params.argument may hold at most 65536 bytes of JSON, got more",
    ),
    "context of a completion": (
        "completion/complete",
        {"ref": REFERENCE, "argument": ARGUMENT, "context": {"arguments": EMPTY_LISTS}},
        VALUES,
    ),
    "reference": ("completion/complete", {"ref": EMPTY_LISTS, "argument": ARGUMENT}, VALUES),
    "cursor": ("tools/list", {"cursor": "c" * LONG}, "params.cursor may hold at most 65536 bytes of JSON"),
    "unknown member": ("tools/list", {"m" * LONG: "x" * LONG}, "mmm... may hold at most 65536 bytes of JSON"),
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
        "params.inputResponses may hold at most 1048576 bytes of JSON",
    ),
    "level": ("logging/setLevel", {"level": "x" * LONG}, "params.level may hold at most 65536 bytes of JSON"),
    "_meta of a method of its own": ("acme/do", {"_meta": {"com.example/own": objects()}}, VALUES),
}


async def question(ctx: Context) -> str:
    """Ask for a name."""
    return (await ctx.elicit("Name?", create_model("Form", name=(str, ...)))).action


async def roots(ctx: Context) -> int:
    """Count the client's roots."""
    return len((await request_client(ctx, ListRootsRequest(), ListRootsResult)).roots)


@pytest.fixture
def kernel() -> Kernel:
    server: MCPServer[Any] = MCPServer("hostile")
    server.add_tool(question, name="ask")
    server.add_tool(roots)

    @server.prompt()
    async def greet(name: str) -> str:
        return name

    async def complete(*arguments: Any) -> Completion | None:
        return None

    serve_completions(server, complete)
    register_session_handlers(server)
    apply_spec_corrections(server)

    async def do(ctx: Any, params: Any) -> dict[str, Any]:
        return {}

    server._lowlevel_server.add_request_handler("acme/do", RequestParams, do)
    return Kernel(server)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        *((name, "2026-07-28") for name in REFUSED if name != "level"),  # which it has not
        ("level", "2025-11-25"),
        *(pytest.param(name, "2025-11-25", marks=pytest.mark.slow) for name in REFUSED if name != "level"),
    ],
)
async def test_parameters_beyond_a_limit_are_refused_at_once(kernel: Kernel, name: str, version: str) -> None:
    method, params, text = REFUSED[name]
    outcome = await at_once(send(kernel, version, method, params))
    assert outcome.error is not None and outcome.error["code"] == -32602 and outcome.malformed
    assert text in outcome.error["message"]


async def test_parameters_of_methods_of_ones_own_have_no_limit_here(kernel: Kernel) -> None:
    outcome = await at_once(send(kernel, "2026-07-28", "acme/do", {"name": "n" * 5000, "items": objects()}))
    assert outcome.error is None


async def test_errors_of_parameters_within_the_limits_are_counted_before_they_are_listed(kernel: Kernel) -> None:
    params = {"name": "ask", "inputResponses": {str(number): [] for number in range(1000)}}
    outcome = await at_once(send(kernel, "2026-07-28", "tools/call", params))
    assert "Invalid params for tools/call: " in text_of(outcome)
    assert "errors, too many to list: compare it with the schema" in text_of(outcome)
    outcome = await send(kernel, "2026-07-28", "tools/call", {"name": "ask", "inputResponses": {"a" * 5000: []}})
    assert text_of(outcome).count("aaa... more") == 0 and len(text_of(outcome)) < SHORT


async def test_texts_for_a_prompt_are_bounded_by_the_body_alone(kernel: Kernel) -> None:
    params = {"name": "greet", "arguments": {"name": "n" * LONG}}
    outcome = await send(kernel, "2026-07-28", "prompts/get", params)
    assert outcome.result is not None
    wrong = {"name": "greet", "arguments": {"name": "Ann", **EMPTY_LISTS}}
    assert text_of(await at_once(send(kernel, "2026-07-28", "prompts/get", wrong))) == (
        "Prompt greet takes no argument '0'"
    )


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_error_repeats_200_characters_of_a_uri(kernel: Kernel, version: str) -> None:
    outcome = await send(kernel, version, "resources/read", {"uri": "x://" + "u" * 8000})
    shown = "x://" + "u" * 196 + "..."
    assert outcome.error is not None
    assert outcome.error["message"] == f"Unknown resource: {shown}"
    assert outcome.error["data"] == {"uri": shown}


@pytest.mark.parametrize(
    "changes",
    [
        {"capabilities": {"experimental": EMPTY_LISTS}, "clientInfo": {"name": "c", "version": "1"}},
        {"capabilities": {}, "clientInfo": {"name": "c", "version": "1", "icons": objects()}},
    ],
    ids=["capabilities", "icons"],
)
async def test_initialize_is_refused_at_once(kernel: Kernel, changes: dict[str, Any]) -> None:
    params = {"protocolVersion": "2025-11-25", **changes}
    outcome = await at_once(kernel.initialize(exchange(Recorder()), params))
    assert outcome.malformed and VALUES in text_of(outcome)


# -- subscriptions and notifications -------------------------------------------------------------------


class Acknowledged(Recorder):
    """A client channel that sets an event when something is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.spoken = asyncio.Event()

    async def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        await super().notify(method, params)
        self.spoken.set()


async def listening(uris: list[Any]) -> tuple[Outcome | None, Recorder]:
    """Listen until the request is refused or acknowledged."""
    kernel, channel = Kernel(MCPServer("hostile")), Acknowledged()
    params = {"notifications": {"resourceSubscriptions": uris}, "_meta": envelope("2026-07-28")}
    running = exchange(channel, "2026-07-28")
    began = time.thread_time()
    work = asyncio.create_task(
        kernel.serve(Request(7, "subscriptions/listen", params), "2026-07-28", lambda: running)
    )
    spoken = asyncio.create_task(channel.spoken.wait())
    await asyncio.wait({work, spoken}, return_when=asyncio.FIRST_COMPLETED)
    spoken.cancel()
    assert time.thread_time() - began < AT_ONCE
    if work.done():
        return work.result(), channel
    kernel.close_listen_streams()
    await work
    return None, channel


async def test_a_thousand_uris_may_be_listened_to_and_each_counts_once() -> None:
    refused, channel = await listening([f"a://{number}" for number in range(1000)])
    assert refused is None and channel.sent
    refused, channel = await listening(["a://b", "a://c"] * MANY)
    _, acknowledged = channel.sent[0]
    assert refused is None and acknowledged is not None
    assert acknowledged["notifications"]["resourceSubscriptions"] == ["a://b", "a://c"]
    for uris in ([1] * MANY, ["a://b", *objects()]):
        refused, _ = await listening(uris)
        assert refused is not None and refused.malformed
        assert "Input should be a valid string" in text_of(refused) and len(text_of(refused)) < SHORT


def test_what_should_have_been_a_request_is_heard_by_nobody(kernel: Kernel) -> None:
    params = {"name": "unknown", "uri": "x://unknown", "requestState": "forged"}
    for method in ("tools/call", "prompts/get", "resources/read"):
        assert not kernel.has_listener(Notification(method, params))


async def test_a_notification_beyond_a_limit_is_dropped_at_once(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    received: list[Any] = []

    async def handler(ctx: Any, params: Any) -> None:
        received.append(params)

    kernel.server.add_notification_handler("notifications/roots/list_changed", NotificationParams, handler)
    for params in ({}, {"_meta": {"a": objects()}}, EMPTY_LISTS):
        began = time.thread_time()
        await kernel.notify(exchange(Recorder()), Notification("notifications/roots/list_changed", params))
        assert time.thread_time() - began < AT_ONCE
    assert len(received) == 1
    assert max(len(record.getMessage()) for record in caplog.records) < SHORT
