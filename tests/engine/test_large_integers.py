"""Numbers as JSON has them, wherever they stand: served exactly, as the official SDK's server does."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from mcp.server.mcpserver import Context, MCPServer

from mcp_transport.backends.base import Backend
from mcp_transport.backends.cache import CacheBackend
from mcp_transport.backends.codec import decode_id, decode_message, encode_id, encode_message
from mcp_transport.backends.memory import MemoryBackend
from mcp_transport.domain.node_messages import CancelCall, Cleared, Doubted, ReplyArrived
from mcp_transport.domain.policy import Policy
from mcp_transport.engine.codec import MAX_INTEGER_DIGITS
from mcp_transport.engine.endpoint import Endpoint
from mcp_transport.kernel import Kernel, apply_spec_corrections, register_session_handlers
from tests.support.client import SessionClient, request, send, send_sessionless
from tests.support.tools import KEYS, NAME_SCHEMA

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fast")]

BIG = 10**21
OLD, NEW = "2025-11-25", "2026-07-28"


def build_server() -> MCPServer[Any]:
    guard = logging.NullHandler()
    logging.getLogger().addHandler(guard)
    server: MCPServer[Any] = MCPServer("numbers")
    logging.getLogger().removeHandler(guard)
    register_session_handlers(server)

    @server.tool()
    def whole(x: int) -> int:
        return x

    @server.tool()
    def real(x: float) -> float:
        return x

    @server.tool()
    def anything(x: Any) -> dict[str, Any]:
        return {"x": x}

    @server.tool()
    async def meta(ctx: Context) -> dict[str, Any]:
        await ctx.report_progress(1, 2)
        return {"seen": (ctx.request_context.meta or {}).get("n")}

    @server.tool()
    async def ask(ctx: Context) -> str:
        answer = await ctx.session.elicit_form("how many?", NAME_SCHEMA)
        return str((answer.content or {}).get("name"))

    apply_spec_corrections(server)
    return server


@pytest.fixture(params=["memory", "cache"])
async def endpoint(request: pytest.FixtureRequest) -> AsyncIterator[Endpoint]:
    policy = Policy()
    store = MemoryBackend(policy, time.time) if request.param == "memory" else CacheBackend(policy, time.time)
    endpoint = Endpoint(Kernel(build_server()), Backend.of(store), policy, keys=KEYS)
    yield endpoint
    await endpoint.pool.stop()


@dataclass
class Caller:
    """Calls tools with arguments as they are written, in one of the eras."""

    endpoint: Endpoint
    version: str
    client: SessionClient

    async def call(self, tool: str, written: str, *, id: str = "1", meta: str = '"m": 1') -> Any:
        """Return the answer, its integers as they came."""
        body = request("tools/call", {"name": tool, "arguments": {"x": "?x"}, "_meta": {"?meta": 1}}, id="?id")
        if self.version == NEW:
            body["params"]["_meta"] |= {
                "io.modelcontextprotocol/protocolVersion": NEW,
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        raw = json.dumps(body).replace('"?x"', written).replace('"?id"', id).replace('"?meta": 1', meta)
        named = {"mcp-protocol-version": NEW, "mcp-method": "tools/call", "mcp-name": tool}
        headers = named if self.version == NEW else self.client.headers
        return await send(self.endpoint, raw=raw.encode(), headers=headers)


@pytest.fixture(params=[OLD, NEW])
async def caller(request: pytest.FixtureRequest, endpoint: Endpoint) -> Caller:
    client = SessionClient(endpoint, OLD)
    await client.open()
    return Caller(endpoint, request.param, client)


def result_of(answer: Any) -> Any:
    message = answer.json
    assert answer.status == 200, message
    assert not message["result"].get("isError"), message
    return message["result"]["structuredContent"]


INTEGERS = [2**63, 2**64 - 1, 2**64, -(2**63) - 1, BIG, -BIG, 10**307, int("9" * MAX_INTEGER_DIGITS)]


@pytest.mark.parametrize("number", INTEGERS, ids=lambda number: f"{len(str(number))} digits")
async def test_an_integer_of_any_size_is_served_exactly(caller: Caller, number: int) -> None:
    answer = await caller.call("whole", str(number))
    assert result_of(answer) == {"result": number}
    assert answer.json["result"]["content"][0]["text"] == str(number)
    assert result_of(await caller.call("anything", f'[{{"deep": {number}}}]')) == {"x": [{"deep": number}]}


@pytest.mark.parametrize(
    "written",
    [
        "1000000000000000000000",
        "100000000000000000000",
        "-1e20",
        "1E+20",
        "1e-400",
        "-0",
        "-0.0",
        "0.1000000000000000055511151231257827021181583404541015625",
        "123456789012345678901234567890.5",
        "1.7976931348623157e308",
        "5e-324",
        "9007199254740993",
    ],
)
async def test_a_float_is_what_the_number_says(caller: Caller, written: str) -> None:
    assert result_of(await caller.call("real", written)) == {"result": float(written)}


@pytest.mark.parametrize("written", ["1E400", "-1e309", "[1, 1e400]"])
async def test_a_number_that_no_double_holds_is_no_json_here(caller: Caller, written: str) -> None:
    answer = await caller.call("anything", written, id="7")
    assert (answer.status, answer.error_code, answer.json["id"]) == (400, -32700, 7)


@pytest.mark.parametrize("sign", ["", "-"])
async def test_an_integer_of_too_many_digits_is_refused_with_the_id(caller: Caller, sign: str) -> None:
    for id, digits in (("7", MAX_INTEGER_DIGITS + 2), (str(BIG), MAX_INTEGER_DIGITS + 2), ("7", 100_000)):
        answer = await caller.call("whole", sign + "1" * digits, id=id)
        assert (answer.status, answer.error_code, answer.json["id"]) == (400, -32700, int(id))
    assert result_of(await caller.call("whole", sign + "1" * MAX_INTEGER_DIGITS))


async def test_large_integers_nested_too_deep_are_refused_with_the_id(caller: Caller) -> None:
    answer = await caller.call("anything", "[" * 1000 + str(BIG) + "]" * 1000, id="7")
    assert (answer.status, answer.json["id"]) in {(400, 7), (200, 7)}


@pytest.mark.parametrize("id", [2**63, 2**64, BIG, -BIG, 10**255])
async def test_an_id_of_many_digits_comes_back_as_it_was(caller: Caller, id: Any) -> None:
    answer = await caller.call("whole", "5", id=str(id))
    assert (answer.json["id"], result_of(answer)) == (id, {"result": 5})


async def test_an_id_of_too_many_digits_is_refused(caller: Caller) -> None:
    answer = await caller.call("whole", "5", id=str(10**256))
    assert (answer.status, answer.error_code, "id" in answer.json) == (400, -32600, False)


async def test_large_integers_in_meta_and_as_a_progress_token(caller: Caller) -> None:
    answer = await caller.call("meta", "0", meta=f'"n": {BIG}, "progressToken": {BIG + 1}')
    report, last = await answer.messages()
    assert report["params"]["progressToken"] == BIG + 1
    assert last["result"]["structuredContent"] == {"seen": BIG}


async def test_large_integers_in_long_parameters_are_not_taken_for_too_long(caller: Caller) -> None:
    answer = await caller.call("meta", "0", meta=f'"n": {BIG}, "more": "{"x" * 60_000}"')
    assert result_of(answer) == {"seen": BIG}


async def test_a_client_that_describes_itself_with_large_integers(endpoint: Endpoint) -> None:
    client = SessionClient(endpoint, OLD)
    await client.open({"experimental": {"n": {"n": BIG}}, "elicitation": {}})
    assert (await client.request("ping")).json["result"] == {}


async def test_an_answer_to_a_question_may_hold_large_integers(endpoint: Endpoint) -> None:
    client = SessionClient(endpoint, OLD)
    await client.open()
    stream = await client.call("ask")
    question = await stream.message()
    assert (await client.reply(question["id"], {"action": "accept", "content": {"name": BIG}})).status == 202
    assert str(BIG) in (await stream.text())


async def test_a_cancellation_finds_a_request_with_an_id_of_many_digits(endpoint: Endpoint) -> None:
    client = SessionClient(endpoint, OLD)
    await client.open()
    call = asyncio.ensure_future(client.call("ask", id=BIG))
    await (await call).message()
    assert (await client.notify("notifications/cancelled", {"requestId": BIG})).status == 202
    await (await call).messages()


@pytest.mark.parametrize("number", [1, -1, 2**63, 2**64, BIG, -BIG])
def test_what_nodes_say_through_redis_keeps_integers(number: int) -> None:
    for message in (
        ReplyArrived("r", {"n": [number]}, None),
        CancelCall("K", number),
        Doubted("K", "aa", number, "n1"),
        Cleared("K", "aa", number, is_over=True),
    ):
        assert decode_message(encode_message(message)) == message
    assert decode_id(encode_id(number)) == number


async def test_2026_serves_large_integers_besides_arguments(endpoint: Endpoint) -> None:
    answer = await send_sessionless(endpoint, "tools/list", {"more": BIG})
    assert answer.status == 200
