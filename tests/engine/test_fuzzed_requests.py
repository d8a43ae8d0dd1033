"""Whatever is thrown at the endpoint: an answer below 500, in bounded time, and a clean house afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from copy import deepcopy
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.client import ENVELOPE, SessionClient, request, send, send_sessionless, text_of
from tests.support.clock import FakeClock, settle
from tests.support.endpoint import endpoint_of
from tests.support.stores import left_behind
from tests.support.tools import DETAIL, Gate, build_tools

_ResultT = TypeVar("_ResultT")
EVENT = "<an event of the session>"

# -- what is thrown -----------------------------------------------------------------------------------

TOOLS = "add blocked count burst talk poll announce whisper ask sample confirm fail"
GOOD = {"a": 1, "b": 2, "steps": 3, "level": "info", "text": "t"}
changes = st.fixed_dictionaries(
    {},
    optional={
        "a": st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
        "b": st.integers(min_value=-(2**70), max_value=2**70),
        "steps": st.integers(min_value=-1, max_value=40),
        "level": st.sampled_from(["info", "error", "loud"]),
        "text": st.text(max_size=5),
        "what": st.text(max_size=5),
        "speak": st.booleans(),
    },
)
arguments = st.sampled_from([GOOD, GOOD, {}]) | changes.map(lambda some: {**GOOD, **some})
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
ids = st.integers(min_value=-3, max_value=3) | st.sampled_from(["", "a", "b"])
SPOKEN = {"progressToken": "p", "io.modelcontextprotocol/logLevel": "debug"}
metas = st.sampled_from([None, {}, SPOKEN, SPOKEN, ENVELOPE, {**ENVELOPE, **SPOKEN}, {**ENVELOPE, **SPOKEN}])
METHODS = """
tools/list resources/list prompts/list resources/templates/list resources/read prompts/get completion/complete
ping initialize logging/setLevel resources/subscribe resources/unsubscribe server/discover subscriptions/listen
no/such
"""
PARAMS: list[dict[str, Any]] = [
    {},
    {"uri": "test://watched"},
    {"uri": "test://broken"},
    {"uri": "nonsense"},
    {"name": "stumble"},
    {"cursor": "x"},
    {"level": "debug"},
    {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["test://watched"]}},
    {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "g", "version": "1"}},
    {"ref": {"type": "ref/prompt", "name": "stumble"}, "argument": {"name": "a", "value": "b"}},
]


def with_meta(params: dict[str, Any], meta: Any) -> dict[str, Any]:
    return params if meta is None else {**params, "_meta": meta}


calls = st.builds(
    lambda name, values, meta, id: request("tools/call", with_meta({"name": name, "arguments": values}, meta), id),
    st.sampled_from(TOOLS.split()),
    arguments,
    metas,
    ids,
)
others = st.builds(
    lambda method, params, meta, id: request(method, with_meta(params, meta), id),
    st.sampled_from(METHODS.split()),
    st.sampled_from(PARAMS),
    metas,
    ids,
)
notifications = st.builds(
    lambda method, params: {"jsonrpc": "2.0", "method": method, "params": params},
    st.sampled_from(["notifications/initialized", "notifications/cancelled", "notifications/progress", "tools/call"]),
    st.fixed_dictionaries({}, optional={"requestId": ids, "progressToken": leaves, "progress": leaves}),
)
replies = st.builds(lambda id, result: {"jsonrpc": "2.0", "id": id, "result": result}, leaves, anything)
valid = calls | others | notifications | replies


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """Take a message and change a few of its members."""
    message = deepcopy(draw(valid))
    for _ in range(draw(st.integers(min_value=1, max_value=3))):
        at: Any = message
        while True:
            name = draw(st.sampled_from(sorted(at)))
            if isinstance(at[name], dict) and at[name] and draw(st.booleans()):
                at = at[name]
                continue
            break
        if draw(st.booleans()):
            at[name] = draw(anything)
        else:
            del at[name]
        if not message:
            break
    return message


@st.composite
def broken_bytes(draw: st.DrawFn) -> bytes:
    """Take a message's bytes, and cut or change them."""
    body = bytearray(json.dumps(draw(valid)).encode())
    if draw(st.booleans()):
        return bytes(body[: draw(st.integers(min_value=0, max_value=len(body)))])
    body[draw(st.integers(min_value=0, max_value=len(body) - 1))] = draw(st.integers(min_value=0, max_value=255))
    return bytes(body)


mostly_good = calls | calls | calls | others | valid
messages = mostly_good | mostly_good | mutated() | anything | st.lists(valid | mutated(), max_size=4)
written = messages.map(lambda value: json.dumps(value).encode())
bodies = written | written | written | broken_bytes() | st.binary(max_size=60)
latin = st.text(st.characters(max_codepoint=255), max_size=12)

USUAL: dict[str, list[str | None]] = {
    "accept": ["application/json", "text/event-stream", "*/*", "text/html", None],
    "content-type": ["application/json; charset=utf-8", "text/plain", None],
    "mcp-session-id": ["unknown", None],
    "mcp-protocol-version": ["2026-07-28", "2025-03-26", "2024-11-05", None],
    "host": ["127.0.0.1:80", "[::1]", "evil.example", None],
    "origin": ["http://localhost", "https://evil.example", "http://[", "null"],
    "content-length": ["0", "7", "99999999999", "-1", "x"],
    "last-event-id": ["g-0", "g-1", EVENT, "nonsense"],
    "mcp-method": ["tools/call", "tools/list", "subscriptions/listen", None],
    "mcp-name": ["add", "=?base64?YWRk?=", "=?base64?Y?=", None],
    "mcp-param-a": ["1"],
    "access-control-request-headers": ["mcp-param-a, x"],
}


@st.composite
def changed_headers(draw: st.DrawFn) -> dict[str, str | None]:
    """Draw a few headers to replace: none for most requests, some usual values, sometimes any text."""
    names = draw(st.lists(st.sampled_from(sorted(USUAL)), max_size=draw(st.sampled_from([0, 0, 0, 1, 2]))))
    return {name: draw(st.sampled_from(USUAL[name]) | latin) for name in names}


http_methods = st.sampled_from(["POST"] * 14 + ["GET"] * 4 + ["DELETE", "OPTIONS", "HEAD", "PUT", "", "post"])
doubled = st.lists(
    st.tuples(st.sampled_from(["accept", "mcp-session-id", "mcp-method", "origin", "x"]), latin),
    max_size=1,
)
few_doubled = st.sampled_from([False] * 9 + [True]).flatmap(lambda some: doubled if some else st.just([]))
thrown = st.tuples(http_methods, changed_headers(), few_doubled, bodies, st.sampled_from([None, None, None, "ann"]))


# -- throwing it --------------------------------------------------------------------------------------


async def bounded(clock: FakeClock, gate: Gate, work: Awaitable[_ResultT]) -> _ResultT:
    """Await, with the gate open and the clock going on as long as nothing happens."""
    task = asyncio.ensure_future(work)
    async with asyncio.timeout(60):
        while not task.done():
            await settle()
            if not task.done():
                gate.open.set()
                await clock.advance(1)
    return task.result()


def routed(client: SessionClient, body: bytes) -> dict[str, str | None]:
    """Give a body the headers that lead it to the session or, if it claims 2026-07-28, past it."""
    try:
        message = json.loads(body)
        params = message["params"]
        version = params["_meta"]["io.modelcontextprotocol/protocolVersion"]
        named = params.get("name", params.get("uri"))
        wanted = {"mcp-protocol-version": version, "mcp-method": message["method"], "mcp-name": named}
    except (ValueError, KeyError, TypeError, AttributeError):
        return client.headers
    return {name: value for name, value in wanted.items() if isinstance(value, str)}


async def throw(client: SessionClient, clock: FakeClock, gate: Gate, event: str, item: Any) -> None:
    method, changes, lines, body, user = item
    headers = {**routed(client, body), **changes}
    headers = {name: event if value == EVENT else value for name, value in headers.items()}
    work = send(client.endpoint, method, raw=body, headers=headers, extra_lines=lines, user=user)
    answer = await bounded(clock, gate, work)
    assert 200 <= answer.status < 500, (answer.status, answer.body)
    assert DETAIL.encode() not in answer.body
    assert b"Traceback" not in answer.body
    if answer.stream is None:
        if answer.body and answer.headers["content-type"] == "application/json":
            json.loads(answer.body)
        return
    for _ in range(5):
        reading = asyncio.ensure_future(answer.frame())
        await settle()
        if not reading.done():
            reading.cancel()
            await asyncio.wait([reading])
            break
        if (frame := reading.result()) is None:
            break
        if frame.data:
            assert DETAIL not in frame.data
            assert frame.message["jsonrpc"] == "2.0"
    answer.close()


async def run(items: list[Any]) -> None:
    clock, gate = FakeClock(), Gate()
    endpoint = endpoint_of(build_tools(gate), clock)
    gate.open.set()
    client = SessionClient(endpoint)
    await client.open()
    stream = await client.call("count", {"steps": 1}, id="first")
    first = await stream.frame()
    assert first is not None
    assert first.id is not None
    await stream.messages()
    try:
        for item in items:
            await throw(client, clock, gate, first.id, item)
        for _ in range(4):
            gate.open.set()
            await clock.advance(100)  # questions nobody answers are given up
        assert set(await left_behind(endpoint)) <= {"sessions"}
        arguments = {"name": "add", "arguments": {"a": 1, "b": 2}}
        assert text_of((await send_sessionless(endpoint, "tools/call", arguments)).json) == "3"
        another = SessionClient(endpoint)
        await another.open()
        assert text_of((await another.call("add", {"a": 1, "b": 2})).json) == "3"
    finally:
        await endpoint.pool.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


generated = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
garbage = given(st.lists(thrown, min_size=3, max_size=8))


@settings(generated, max_examples=10)
@garbage
def test_garbage_is_answered(items: list[Any]) -> None:
    asyncio.run(run(items))


@pytest.mark.slow
@settings(generated, max_examples=300)
@garbage
def test_any_garbage_is_answered_and_leaves_nothing(items: list[Any]) -> None:
    asyncio.run(run(items))
